"""The mock configuration file of Step Functions Local."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from stepwell.engine import Engine, VirtualClock
from stepwell.engine.errors import ValidationException
from stepwell.engine.mockfile import MockFileError, Return, Throw, read_mock_file

from .conftest import ROLE, TOKEN_TASK, Runner, machine, task

BUSY = {"Throw": {"Error": "Lambda.TooManyRequestsException", "Cause": "busy"}}
RETRY = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 2, "MaxAttempts": 3, "BackoffRate": 2}]


def invoke(**fields: Any) -> dict[str, Any]:
    """A Task state that calls a function by `lambda:invoke`."""
    resource = "arn:aws:states:::lambda:invoke"
    return {"Type": "Task", "Resource": resource, "Parameters": {"FunctionName": "f"}, "End": True, **fields}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "MockConfigFile.json"


def write(file: Path, cases: dict[str, Any], responses: dict[str, Any], machine: str = "m") -> None:
    """A file for one state machine."""
    file.write_bytes(orjson.dumps({"StateMachines": {machine: {"TestCases": cases}}, "MockedResponses": responses}))


def opened(file: Path, runner: Runner, directory: Path | None = None) -> Engine:
    return Engine.open(directory, runner=runner, clock=VirtualClock(), mock_file=file)


async def run(engine: Engine, definition: dict[str, Any], case: str | None, input: str = "{}") -> Any:
    """The outcome of a test case of the machine `m`."""
    if "m" not in engine.registry.machines:
        await engine.machines.create("m", orjson.dumps(definition).decode(), ROLE)
    suffix = "" if case is None else f"#{case}"
    started = await engine.executions.start(engine.arns.machine("m") + suffix, input)
    return await engine.executions.wait(started.execution_arn)


async def test_the_documentations_example(file: Path, runner: Runner) -> None:
    """Retries get consecutive answers; a state that is not mocked in a case calls its real service."""
    success = {"Return": {"StatusCode": 200, "Payload": {"body": "Hello from Lambda!"}}}
    write(
        file,
        {
            "HappyPath": {"LambdaState": "Success", "SQSState": "Sent"},
            "RetryPath": {"LambdaState": "Retry", "SQSState": "Sent"},
            "HybridPath": {"LambdaState": "Success"},
        },
        {"Success": {"0": success}, "Retry": {"0": BUSY, "1-2": BUSY, "3": success}, "Sent": {"0": {"Return": "sent"}}},
    )
    definition = machine(LambdaState=invoke(Retry=RETRY, Next="SQSState"), SQSState=task("queue"))
    del definition["States"]["LambdaState"]["End"]
    runner.answers["queue"] = "really sent"
    async with opened(file, runner) as engine:
        assert (await run(engine, definition, "HappyPath")).output == '"sent"'
        retried = await run(engine, definition, "RetryPath")
        assert retried.output == '"sent"'
        types = [event["type"] for event in engine.execution(retried.execution_arn).history()]
        assert types.count("TaskFailed") == 3
        assert types.count("TaskSucceeded") == 1
        assert runner.calls == []
        assert (await run(engine, definition, "HybridPath")).output == '"really sent"'
        assert len(runner.calls) == 1


async def test_without_a_test_case_nothing_is_mocked(file: Path, runner: Runner) -> None:
    write(file, {"C": {"A": "R"}}, {"R": {"0": {"Return": 1}}})
    runner.answers["f"] = "real"
    async with opened(file, runner) as engine:
        assert (await run(engine, machine(A=task("f")), None)).output == '"real"'
        assert (await run(engine, machine(A=task("f")), "C")).output == "1"


async def test_the_result_of_an_invoke_serves_a_functions_arn_too(file: Path, runner: Runner) -> None:
    write(
        file,
        {"C": {"A": "Invoke", "B": "Plain"}},
        {
            "Invoke": {"0": {"Return": {"StatusCode": 200, "Payload": {"x": 1}}}},
            "Plain": {"0": {"Return": {"Payload": 1, "y": 2}}},
        },
    )
    definition = machine(A=task("a", ResultPath="$.a", Next="B"), B=task("b", ResultPath="$.b"))
    async with opened(file, runner) as engine:
        output = orjson.loads((await run(engine, definition, "C")).output)
    assert output == {"a": {"x": 1}, "b": {"Payload": 1, "y": 2}}


@pytest.mark.parametrize(("answer", "end"), [({"Return": {"done": True}}, "TaskSucceeded"), (BUSY, "TaskFailed")])
@pytest.mark.parametrize("resource", ["sqs:sendMessage.waitForTaskToken", "states:startExecution.sync:2"])
async def test_callbacks_and_jobs_are_submitted_and_answered(
    file: Path, runner: Runner, resource: str, answer: dict[str, Any], end: str
) -> None:
    write(file, {"C": {"A": "R"}}, {"R": {"0": answer}})
    parameters = TOKEN_TASK["Parameters"] if "sqs" in resource else {"StateMachineArn": "arn:aws:states:::x"}
    state = {**TOKEN_TASK, "Resource": f"arn:aws:states:::{resource}", "Parameters": parameters}
    async with opened(file, runner) as engine:
        record = await run(engine, machine(A=state), "C")
        types = [event["type"] for event in engine.execution(record.execution_arn).history()]
    assert types[2:6] == ["TaskScheduled", "TaskStarted", "TaskSubmitted", end]
    assert runner.calls == []


async def test_an_invocation_without_an_answer_fails_the_execution(file: Path, runner: Runner) -> None:
    write(file, {"C": {"A": "R"}}, {"R": {"0": BUSY}})
    async with opened(file, runner) as engine:
        record = await run(engine, machine(A=invoke(Retry=RETRY)), "C")
    assert record.status == "FAILED"
    assert record.error == "States.Runtime"
    assert "'R' has no answer to invocation 1 of the state 'A'" in record.cause


async def test_iterations_count_as_invocations(file: Path, runner: Runner) -> None:
    write(file, {"C": {"A": "R"}}, {"R": {"0": {"Return": "a"}, "1-2": {"Return": "b"}}})
    definition = machine(
        M={"Type": "Map", "MaxConcurrency": 1, "ItemsPath": "$", "ItemProcessor": machine(A=invoke()), "End": True}
    )
    async with opened(file, runner) as engine:
        assert (await run(engine, definition, "C", "[1,2,3]")).output == '["a","b","b"]'


async def test_the_children_of_a_map_run_are_mocked_too(file: Path, runner: Runner) -> None:
    write(file, {"C": {"A": "R"}}, {"R": {"0-9": {"Return": "mocked"}}})
    processor = {**machine(A=invoke()), "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}
    definition = machine(M={"Type": "Map", "ItemsPath": "$", "ItemProcessor": processor, "End": True})
    async with opened(file, runner) as engine:
        assert (await run(engine, definition, "C", "[1,2,3]")).output == '["mocked","mocked","mocked"]'
    assert runner.calls == []


@pytest.mark.parametrize("synchronous", [True, False])
async def test_express_executions(file: Path, runner: Runner, synchronous: bool) -> None:
    write(file, {"C": {"A": "R"}}, {"R": {"0": {"Return": "mocked"}}})
    async with opened(file, runner) as engine:
        await engine.machines.create("m", orjson.dumps(machine(A=invoke())).decode(), ROLE, type="EXPRESS")
        ends: list[str] = []
        engine.subscribe(lambda identity, events: ends.extend(event["type"] for event in events))
        arn = engine.arns.machine("m") + "#C"
        if synchronous:
            assert (await engine.executions.start_sync(arn)).output == '"mocked"'
        else:
            await engine.executions.start(arn)
            while "ExecutionSucceeded" not in ends:
                await asyncio.sleep(0)
    assert runner.calls == []


async def test_a_test_case_outlives_a_restart(file: Path, tmp_path: Path, runner: Runner) -> None:
    """Also the count of invocations: the second one comes after the restart."""
    write(file, {"C": {"A": "R"}}, {"R": {"0": BUSY, "1": {"Return": "second"}}})
    data = tmp_path / "data"
    definition = machine(A=invoke(Retry=[{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 60}]))
    async with Engine.open(data, runner=runner, mock_file=file) as engine:
        await engine.machines.create("m", orjson.dumps(definition).decode(), ROLE)
        started = await engine.executions.start(engine.arns.machine("m") + "#C")
        async for event in engine.executions.events(started.execution_arn):
            if event["type"] == "TaskFailed":
                break
    async with opened(file, runner, data) as engine:
        assert (await engine.executions.wait(started.execution_arn)).output == '"second"'
    assert runner.calls == []


async def test_an_unknown_test_case_names_those_there_are(file: Path, runner: Runner) -> None:
    write(file, {"Happy": {"A": "R"}, "Sad": {"A": "R"}}, {"R": {"0": {"Return": 1}}})
    async with opened(file, runner) as engine:
        with pytest.raises(
            ValidationException, match=r"no test case 'Hapy' of the state machine 'm' \(known: Happy, Sad\)"
        ):
            await run(engine, machine(A=invoke()), "Hapy")


async def test_without_a_file_the_error_says_what_to_do(engine: Engine) -> None:
    with pytest.raises(ValidationException, match="set SFN_MOCK_CONFIG"):
        await run(engine, machine(A=invoke()), "C")


async def test_a_file_that_changed_is_read_again(file: Path, runner: Runner) -> None:
    write(file, {"C": {"A": "R"}}, {"R": {"0": {"Return": 1}}})
    async with opened(file, runner) as engine:
        assert (await run(engine, machine(A=invoke()), "C")).output == "1"
        write(file, {"C": {"A": "R"}}, {"R": {"0": {"Return": 2}}})
        os.utime(file, ns=(1, 1))
        assert (await run(engine, machine(A=invoke()), "C")).output == "2"
        file.write_text("{")
        with pytest.raises(ValidationException, match="not JSON"):
            await run(engine, machine(A=invoke()), "C")


def test_reading(file: Path) -> None:
    write(file, {"C": {"A": "R"}}, {"R": {"0": {"Throw": {"Error": "E"}}, "2-3": {"Return": None}}})
    response = read_mock_file(file).machines["m"]["C"]["A"]
    answers = [response.answer(number) for number in range(5)]
    assert answers == [Throw("E", None), None, Return(None), Return(None), None]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not JSON"),
        ("{\n  broken", ":2:"),
        ("[]", ":1:1: /: the file must be an object"),
        ('{"Machines": {}}', "/Machines: the field is unknown here; known: StateMachines, MockedResponses"),
        ('{"StateMachines": {"m": {"TestCase": {}}}}', "/StateMachines/m/TestCase: the field is unknown"),
        ('{"StateMachines": {"m": {"TestCases": {"C": {"A": "R"}}}}}', "'R' is not the name of one of MockedResponses"),
        ('{"MockedResponses": {"R": {}}}', "/MockedResponses/R: it must answer at least invocation"),
        ('{"MockedResponses": {"R": {"first": {"Return": 1}}}}', "must be the number of an invocation"),
        ('{"MockedResponses": {"R": {"2-1": {"Return": 1}}}}', "must be the number of an invocation"),
        (
            '{"MockedResponses": {"R": {"0-2": {"Return": 1}, "1": {"Return": 1}}}}',
            "/R/1: the invocation is mocked twice",
        ),
        ('{"MockedResponses": {"R": {"0": {"Returns": 1}}}}', "it must have one field, Return or Throw"),
        ('{"MockedResponses": {"R": {"0": {"Return": 1, "Throw": {}}}}}', "it must have one field, Return or Throw"),
        ('{"MockedResponses": {"R": {"0": {"Throw": {"Error": 1}}}}}', "Error and Cause must be strings"),
        (
            '{"MockedResponses": {"R": {"0": {"Throw": {"Error": "E", "Reason": ""}}}}}',
            "/Throw/Reason: the field is unknown",
        ),
    ],
)
def test_a_bad_file_is_refused_with_the_place(file: Path, text: str, complaint: str) -> None:
    file.write_text(text)
    with pytest.raises(MockFileError) as refusal:
        read_mock_file(file)
    assert complaint in str(refusal.value)
    assert str(file) in str(refusal.value)


def test_a_missing_file_is_told(file: Path) -> None:
    with pytest.raises(MockFileError, match="cannot be read: No such file"):
        read_mock_file(file)
