"""Replays the recorded cases of ../shared/conformance through the interpreter, without any service.

The conformance runner is used as it is; only its clients are replaced: Step Functions is a dictionary of `MemoryHost`
runs, every other service answers something plausible, and what a task answered is taken from the recorded history.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
import time
import types
from argparse import Namespace
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stepwell.interpreter.effects import ReadItems, RunTask, WriteResults
from stepwell.interpreter.events import (
    AnyEvent,
    ItemsRead,
    TaskFailed,
    TaskQueued,
    TaskStarted,
    TaskSubmitted,
    TaskSucceeded,
)
from stepwell.interpreter.teststate import Mock, Situation, Trial, find_state
from stepwell.language.compiler import compile_machine

from .memory_host import Run, identity

SHARED = Path(__file__).resolve().parents[3] / "shared" / "conformance"
ACCOUNT = "000000000000"
REGION = "us-east-1"
MOMENT = datetime(2025, 1, 1, tzinfo=UTC)
METADATA = {"HTTPStatusCode": 200, "HTTPHeaders": {}}


def runner() -> types.ModuleType:
    """The conformance runner, imported from where it lies."""
    name = "run_conformance"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, SHARED / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def cases() -> list[dict[str, Any]]:
    """All cases of executions and of states tried by themselves."""
    found = []
    for path in sorted((SHARED / "cases").glob("*/*.json")):
        case = json.loads(path.read_bytes())
        if case["kind"] in ("execution", "test_state"):
            found.append(case)
    return found


# -- recorded answers


def _text(value: Any) -> bytes:
    return (value if isinstance(value, str) else json.dumps(value)).encode()


class Recording:
    """A recorded history, asked for the outcome of each attempt of a task."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.events = events
        self.scheduled: dict[str, list[int]] = defaultdict(list)
        entered: dict[Any, str] = {}
        for position, event in enumerate(events):
            name = entered.get(event["previousEventId"])
            details = event.get("stateEnteredEventDetails")
            if details is not None:
                name = details["name"]
            if name is not None and isinstance(event["id"], int):
                entered[event["id"]] = name
            if event["type"].endswith("Scheduled"):
                self.scheduled[name or ""].append(position)

    def outcome(self, state: str) -> list[dict[str, Any]]:
        """The events of the next attempt of this state, Scheduled first; empty when nothing more was recorded."""
        if not self.scheduled[state]:
            return []
        position = self.scheduled[state].pop(0)
        chain = [self.events[position]]
        for event in self.events[position + 1 :]:
            follows = event["previousEventId"] == chain[-1]["id"]
            if follows and event["type"].startswith(("Task", "Lambda", "Activity")) and "State" not in event["type"]:
                chain.append(event)
        return chain

    def items(self, state: str) -> Any:
        """What a Map that only passes its items on read."""
        for event in self.events:
            details = event.get("stateExitedEventDetails")
            if details is not None and details["name"] == state:
                output = details["output"]
                return json.loads(output) if isinstance(output, str) else output
        return []


def _details(event: dict[str, Any]) -> dict[str, Any]:
    for key, value in event.items():
        if key.endswith("EventDetails"):
            return value
    return {}


class Answers:
    """Answers effects from a recording."""

    def __init__(self, recording: Recording | None) -> None:
        self.recording = recording

    def __call__(self, run: Run, effect: Any) -> list[AnyEvent]:
        if isinstance(effect, ReadItems):
            return self.read(run, effect)
        if isinstance(effect, WriteResults) or self.recording is None:
            return []
        assert isinstance(effect, RunTask)
        if run.execution.identity.map_run_arn is not None:
            return [run.event(TaskSucceeded, command=effect.command, output=effect.arguments)]
        chain = self.recording.outcome(effect.state)
        events: list[AnyEvent] = []
        if effect.kind == "activity":
            if not chain:
                cause = f"The activity {effect.resource} does not exist."
                return [
                    run.event(TaskFailed, command=effect.command, error="States.Runtime", cause=cause, phase="schedule")
                ]
            events.append(run.event(TaskQueued, command=effect.command))
        for event in chain:
            details = _details(event)
            kind = event["type"]
            if kind == "ActivityStarted":
                events.append(run.event(TaskStarted, command=effect.command, worker_name=details.get("workerName")))
            elif kind == "TaskSubmitted":
                events.append(run.event(TaskSubmitted, command=effect.command, output=_text(details["output"])))
            elif kind.endswith("Succeeded"):
                events.append(run.event(TaskSucceeded, command=effect.command, output=_text(details["output"])))
            elif kind.endswith("Failed"):
                events.append(self.failed(run, effect, details))
        return events

    def failed(self, run: Run, effect: RunTask, details: dict[str, Any]) -> AnyEvent:
        if details.get("error") == "States.DataLimitExceeded":
            # AWS replaced the answer: give one that is too big.
            return run.event(TaskSucceeded, command=effect.command, output=json.dumps("a" * 300_000).encode())
        cause = details.get("cause")
        if cause is not None and not isinstance(cause, str):
            cause = json.dumps(cause, separators=(",", ":"))
        return run.event(TaskFailed, command=effect.command, error=details.get("error"), cause=cause)

    def read(self, run: Run, effect: ReadItems) -> list[AnyEvent]:
        frame = next(frame for frame in run.execution.frames.values() if frame.map_run is not None)
        assert self.recording is not None
        for event in self.recording.events:
            if event["type"] == "MapRunFailed":
                return [run.event(TaskFailed, command=effect.command, **_details(event))]
        items = self.recording.items(frame.state.name)
        return [run.event(ItemsRead, command=effect.command, items=json.dumps(items).encode())]


# -- the clients of the conformance runner


class StepFunctions:
    """A Step Functions client as far as the cases of kind execution use one."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.case = case
        self.machines: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, Run] = {}
        self.started = 0
        self.recordings = _recordings(case)

    def create_state_machine(
        self, name: str, definition: str, roleArn: str, type: str = "STANDARD", account: str = ACCOUNT, **_: Any
    ) -> Any:
        arn = f"arn:aws:states:{REGION}:{account}:stateMachine:{name}"
        self.machines[arn] = {
            "name": name,
            "machine": compile_machine(json.loads(definition)),
            "role": roleArn,
            "type": type,
        }
        return {"stateMachineArn": arn, "creationDate": MOMENT}

    def update_state_machine(self, stateMachineArn: str, **fields: Any) -> Any:
        if "definition" in fields:
            self.machines[stateMachineArn]["machine"] = compile_machine(json.loads(fields["definition"]))
        return {"updateDate": MOMENT}

    def delete_state_machine(self, stateMachineArn: str) -> Any:
        return {}

    def create_activity(self, name: str) -> Any:
        return {"activityArn": f"arn:aws:states:{REGION}:{ACCOUNT}:activity:{name}", "creationDate": MOMENT}

    def delete_activity(self, activityArn: str) -> Any:
        return {}

    def start_execution(
        self, stateMachineArn: str, input: str = "{}", name: str | None = None, step: str = "", **_: Any
    ) -> Any:
        machine = self.machines[stateMachineArn]
        self.started += 1
        name = name or f"{self.started:08x}-1111-4111-8111-111111111111"
        express = machine["type"] == "EXPRESS"
        kind, suffix = ("express", f":{self.started:08x}-2222-4222-8222-222222222222") if express else ("execution", "")
        arn = f"arn:aws:states:{REGION}:{ACCOUNT}:{kind}:{machine['name']}:{name}{suffix}"
        now = int(time.time() * 1000)
        who = identity(
            name,
            machine["name"],
            machine["type"],
            execution_arn=arn,
            state_machine_arn=stateMachineArn,
            role_arn=machine["role"],
            start_time=now,
        )
        run = Run(machine["machine"], input.encode(), who, Answers(self.recordings.get(step)))
        self.runs[arn] = run
        return {"executionArn": arn, "startDate": MOMENT}

    def describe_execution(self, executionArn: str) -> Any:
        run = self.runs[executionArn]
        x = run.execution
        answer = {
            "executionArn": executionArn,
            "stateMachineArn": x.identity.state_machine_arn,
            "name": x.identity.name,
            "status": x.status,
            "startDate": MOMENT,
            "stopDate": MOMENT,
            "input": x.input.text,
            "inputDetails": {"included": True},
            "redriveCount": 0,
            "redriveStatus": "REDRIVABLE",
        }
        if x.status == "SUCCEEDED":
            answer["redriveStatus"] = "NOT_REDRIVABLE"
            answer["redriveStatusReason"] = "Execution is SUCCEEDED and cannot be redriven"
        if x.output is not None:
            answer["output"] = x.output.decode()
            answer["outputDetails"] = {"included": True}
        for field in ("error", "cause"):
            if getattr(x, field) is not None:
                answer[field] = getattr(x, field)
        return answer

    def get_execution_history(self, executionArn: str, **_: Any) -> Any:
        return {"events": self.runs[executionArn].history}

    def test_state(self, definition: str, input: str = "{}", **arguments: Any) -> Any:
        plain = json.loads(definition)
        name = arguments.get("stateName", "StateName")
        machine = compile_machine(plain if "StartAt" in plain else {"StartAt": name, "States": {name: plain}})
        state = find_state(machine, name)
        assert state is not None
        settings = arguments.get("stateConfiguration", {})
        data = settings.get("mapItemReaderData")
        mock = arguments.get("mock")
        error = (mock or {}).get("errorOutput", {})
        self.started += 1
        label = f"{self.started:08x}-3333-4333-8333-333333333333"
        trial = Trial(
            state,
            input.encode(),
            identity(
                label,
                f"{self.started:08x}-4444-4444-8444-444444444444",
                "EXPRESS",
                execution_arn=f"arn:aws:states:{REGION}:{ACCOUNT}:express:"
                f"{self.started:08x}-4444-4444-8444-444444444444:{label}",
                role_arn=arguments.get("roleArn", "role"),
                synchronous=True,
            ),
            at=int(time.time() * 1000),
            seed=1,
            mock=None
            if mock is None
            else Mock(
                result=mock["result"].encode() if "result" in mock else None,
                error=error.get("error"),
                cause=error.get("cause"),
            ),
            situation=Situation(
                variables=json.loads(arguments.get("variables", "{}")),
                context=json.loads(arguments["context"]) if "context" in arguments else None,
                retrier_retry_count=settings.get("retrierRetryCount", 0),
                map_iteration_failure_count=settings.get("mapIterationFailureCount"),
                map_item_reader_data=None if data is None else data.encode(),
            ),
        )
        if trial.task is not None:
            raise Skip("invokes a function")
        outcome = trial.outcome
        assert outcome is not None
        answer: dict[str, Any] = {"status": outcome.status}
        for key, value in (("output", outcome.output), ("error", outcome.error), ("cause", outcome.cause)):
            if value is not None:
                answer[key] = value
        if outcome.next_state is not None:
            answer["nextState"] = outcome.next_state
        if arguments.get("inspectionLevel", "INFO") != "INFO":
            answer["inspectionData"] = outcome.inspection
        return answer

    def stop_execution(self, executionArn: str, **fields: Any) -> Any:
        self.runs[executionArn].stop(**fields)
        return {"stopDate": MOMENT}


def _recordings(case: dict[str, Any]) -> dict[str, Recording]:
    """By the id of the step that starts an execution, what was recorded of it."""
    histories, matched = {}, {}
    for step in case["steps"]:
        if step.get("op") == "get_execution_history":
            histories[step["id"]] = step["args"]["executionArn"].strip("⟦⟧").split(".")[0]
        if "match" in step and isinstance(step["value"], dict) and "$ref" in step["value"]:
            matched[step["value"]["$ref"]] = step["match"]
    found = {}
    for history, started in histories.items():
        recorded = case["expected"].get(matched.get(history, ""))
        if isinstance(recorded, dict) and "events" in recorded:
            found[started] = Recording(recorded["events"])
    return found


class Anything:
    """Any other service: plausible answers to the calls that set a case up."""

    def __init__(self, service: str) -> None:
        self.service = service

    def __getattr__(self, operation: str) -> Any:
        return lambda **arguments: self.answer(operation, arguments)

    def answer(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if operation == "create_queue":
            return {"QueueUrl": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{arguments['QueueName']}"}
        if operation == "get_queue_attributes":
            return {"Attributes": {"QueueArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:queue"}}
        if operation == "create_topic":
            return {"TopicArn": f"arn:aws:sns:{REGION}:{ACCOUNT}:{arguments['Name']}"}
        if operation == "describe_log_groups":
            prefix = arguments.get("logGroupNamePrefix", "")
            return {
                "logGroups": [{"arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{prefix}:*", "logGroupName": prefix}]
            }
        if operation == "put_rule":
            return {"RuleArn": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{arguments['Name']}"}
        if operation == "get_object":
            raise Skip("reads S3")
        if operation == "receive_message":
            return {"Messages": []}
        return {}


class Skip(Exception):
    """The case needs more than an interpreter."""


def replay(case: dict[str, Any]) -> dict[str, Any]:
    """Run a case and judge it. Raises Skip."""
    module = runner()
    client = StepFunctions(case)

    class Replay(module.Run):  # type: ignore[name-defined,misc]
        def call(self, s: dict[str, Any]) -> None:
            arguments = self.sub(s["args"])
            if s["service"] == "stepfunctions":
                if s.get("error"):
                    raise Skip(f"{s['op']} must fail")
                operation = getattr(client, s["op"], None)
                if operation is None:
                    raise Skip(s["op"])
                if arguments.get("publish"):
                    raise Skip("publishes a version")
                if s["op"] == "create_state_machine" and s.get("account", 1) != 1:
                    arguments["account"] = "000000000002"
                if s["op"] == "start_execution":
                    arguments["step"] = s["id"]
                self.r[s["id"]] = {**operation(**arguments), "ResponseMetadata": METADATA}
            else:
                self.r[s["id"]] = Anything(s["service"]).answer(s["op"], arguments)

        def make_lambda(self, name: str, behaviour: str, extra: Any, account: int = 1) -> dict[str, Any]:
            arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
            return {"arn": arn, "CreateFunctionResponse": {"FunctionName": name, "FunctionArn": arn}}

        def wait(self, s: dict[str, Any]) -> None:
            if s["wait"] == "settle":
                return
            run = client.runs[self.sub(s["execution_arn"])]
            wanted = self.open_ended()
            until = s.get("until_type")
            if wanted:
                run.run(lambda: len(run.history) >= wanted)
            elif s["wait"] == "execution_terminated":
                run.run()
            elif until:
                run.run(lambda: until in run.types)

        def poll(self, s: dict[str, Any]) -> None:
            raise Skip("polls another service")

        def sqs_events(self, s: dict[str, Any]) -> Any:
            raise Skip("reads EventBridge events")

        def read_logs(self, group: str) -> Any:
            raise Skip("reads CloudWatch Logs")

        def bg(self, steps: list[Any]) -> None:
            return

    environment = {"region": REGION, "account": ACCOUNT, "lambda_role": "arn:aws:iam::000000000000:role/lambda"}
    run = Replay(case, None, Namespace(timeout=5, poll=0), environment)
    error = None
    try:
        run.go(case["steps"])
    except (module.Abort, module.Missing) as problem:
        error = str(problem)
    for observed in run.obs.values():
        for event in observed.get("events", []) if isinstance(observed, dict) else []:
            assert isinstance(event["timestamp"], float)
    observed = module.normalise(copy.deepcopy(run.obs), run.transformers(), environment)
    result: dict[str, Any] = module.judge(case, case["expected"], observed)
    result["error"] = error
    return result


def main() -> None:
    """Print what passes, by level and area; with arguments, the differences of the cases whose id contains one."""
    levels = ("L1", "L2", "L3", "S3")
    totals: dict[str, int] = defaultdict(int)
    failing = []
    for case in cases():
        if len(sys.argv) > 1 and not any(part in case["id"] for part in sys.argv[1:]):
            continue
        try:
            result = replay(case)
        except Skip as reason:
            totals[f"skipped: {reason}"] += 1
            continue
        except Exception as error:
            result = dict.fromkeys(levels, False) | {"diff": [f"{type(error).__name__}: {error}"], "error": None}
            if len(sys.argv) > 1:
                raise
        totals["cases"] += 1
        for level in levels:
            totals[level] += bool(result[level])
        if not result["S3"]:
            failing.append((case["id"], result))
    for name, result in failing:
        print("".join(level if result[level] else "--" for level in levels), name, result["error"] or "")
        for line in result["diff"][:6]:
            print("     ", line[:420])
    print(dict(totals))


if __name__ == "__main__":
    main()
