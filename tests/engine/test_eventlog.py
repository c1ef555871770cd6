"""Execution events by logging configuration: what is logged, in which form, and where."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import orjson
import pytest

from stepwell.engine import Engine
from stepwell.engine.eventlog import PAYLOAD_LIMIT, EventLog, entry_of, is_logged
from stepwell.tasks.requests import TaskError

from .conftest import ROLE, Runner, machine, task

GROUP = "arn:aws:logs:us-east-1:000000000000:log-group:/aws/vendedlogs/states/test:*"


def configuration(level: str, *, data: bool = True) -> dict[str, Any]:
    return {
        "level": level,
        "includeExecutionData": data,
        "destinations": [{"cloudWatchLogsLogGroup": {"logGroupArn": GROUP}}],
    }


class Sink:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.places: set[tuple[str, str]] = set()

    def put(self, group_arn: str, machine: str, entries: list[tuple[int, bytes]]) -> None:
        self.places.add((group_arn, machine))
        self.entries += [orjson.loads(text) for _, text in entries]

    async def has_group(self, group_arn: str) -> bool:
        return True

    async def close(self) -> None:
        pass


@pytest.fixture
def sink(engine: Engine) -> Sink:
    sink = Sink()
    engine._host.log = EventLog(None, sink)
    return sink


def event(**fields: Any) -> dict[str, Any]:
    return {"id": 7, "previousEventId": 6, "timestamp": 1700000000.123, "type": "X", **fields}


@pytest.mark.parametrize(
    ("level", "logged"),
    [
        (
            "ALL",
            "ExecutionStarted PassStateEntered TaskFailed FailStateEntered MapRunFailed EvaluationFailed ExecutionTimedOut",
        ),
        ("ERROR", "TaskFailed FailStateEntered MapRunFailed EvaluationFailed ExecutionTimedOut"),
        ("FATAL", "ExecutionTimedOut"),
        ("OFF", ""),
    ],
)
def test_levels(level: str, logged: str) -> None:
    """The table of https://docs.aws.amazon.com/step-functions/latest/dg/cloudwatch-log-level.html."""
    types = (
        "ExecutionStarted PassStateEntered TaskFailed FailStateEntered MapRunFailed EvaluationFailed ExecutionTimedOut"
    )
    assert [type for type in types.split() if is_logged(type, level)] == logged.split()


def test_an_entry_has_text_numbers_and_the_events_details() -> None:
    details = {"input": "{}", "inputDetails": {"truncated": False}, "name": "State_1"}
    found = entry_of(event(stateEnteredEventDetails=details), "arn:e", 2, include_data=True)
    assert found == {
        "id": "7",
        "type": "X",
        "details": details,
        "redrive_count": "2",
        "previous_event_id": "6",
        "event_timestamp": "1700000000123",
        "execution_arn": "arn:e",
    }


def test_without_execution_data_only_payloads_are_left_out() -> None:
    details = {
        "parameters": '{"a":1}',
        "region": "us-east-1",
        "resource": "publish",
        "timeoutInSeconds": 3,
        "output": "1",
        "outputDetails": {"truncated": False},
        "assignedVariables": {"x": "1"},
        "assignedVariablesDetails": {"truncated": False},
    }
    found = entry_of(event(taskScheduledEventDetails=details), "arn:e", 0, include_data=False)
    assert found["details"] == {"region": "us-east-1", "resource": "publish", "timeoutInSeconds": 3}


@pytest.mark.parametrize("character", ["a", '"', "ä", "\n", "\u0001"])
def test_a_payload_over_248_kib_is_cut_and_says_so(character: str) -> None:
    details = {"output": character * PAYLOAD_LIMIT * 2, "outputDetails": {"truncated": False}}
    found = entry_of(event(taskSucceededEventDetails=details), "arn:e", 0, include_data=True)["details"]
    escaped = len(orjson.dumps(found["output"])) - 2
    assert PAYLOAD_LIMIT - 6 <= escaped <= PAYLOAD_LIMIT
    assert set(found["output"]) == {character}
    assert found["outputDetails"] == {"truncated": True}
    assert details["outputDetails"] == {"truncated": False}


async def test_a_standard_execution_and_its_redrive(engine: Engine, runner: Runner, sink: Sink) -> None:
    arn = engine.arns.machine("m")
    definition = orjson.dumps(machine(A=task("broken"))).decode()
    await engine.machines.create("m", definition, ROLE, logging_configuration=configuration("FATAL"))
    runner.answers["broken"] = TaskError("Broken", "always")
    started = await engine.executions.start(arn)
    record = await engine.executions.wait(started.execution_arn)
    await engine.executions.redrive(started.execution_arn)
    await engine.executions.wait(started.execution_arn)
    assert record.status == "FAILED"
    assert [(e["type"], e["redrive_count"]) for e in sink.entries] == [
        ("ExecutionFailed", "0"),
        ("ExecutionFailed", "1"),
    ]
    assert {e["execution_arn"] for e in sink.entries} == {started.execution_arn}
    assert sink.places == {(GROUP, "m")}


async def test_every_event_of_the_history_in_order(engine: Engine, runner: Runner, sink: Sink) -> None:
    runner.answers["f"] = {"answer": 42}
    definition = machine(
        A=task("f", Next="B"),
        B={
            "Type": "Map",
            "ItemsPath": "$.list",
            "ItemProcessor": machine(C={"Type": "Pass", "End": True}),
            "End": True,
        },
    )
    runner.answers["f"] = {"list": [1, 2, 3]}
    await engine.machines.create(
        "m", orjson.dumps(definition).decode(), ROLE, logging_configuration=configuration("ALL", data=False)
    )
    started = await engine.executions.start(engine.arns.machine("m"))
    await engine.executions.wait(started.execution_arn)
    history = engine.execution(started.execution_arn).history()
    assert [(int(e["id"]), e["type"]) for e in sink.entries] == [(e["id"], e["type"]) for e in history]
    assert all("input" not in e["details"] and "output" not in e["details"] for e in sink.entries)


async def test_express_executions(engine: Engine, sink: Sink) -> None:
    definition = orjson.dumps(machine(A={"Type": "Pass", "End": True})).decode()
    await engine.machines.create("x", definition, ROLE, type="EXPRESS", logging_configuration=configuration("ALL"))
    record = await engine.executions.start_sync(engine.arns.machine("x"), '{"a":1}')
    assert [e["type"] for e in sink.entries] == [
        "ExecutionStarted",
        "PassStateEntered",
        "PassStateExited",
        "ExecutionSucceeded",
    ]
    assert {e["execution_arn"] for e in sink.entries} == {record.execution_arn}
    assert orjson.loads(sink.entries[-1]["details"]["output"]) == {"a": 1}


async def test_no_logging_without_a_configuration(engine: Engine, sink: Sink) -> None:
    definition = orjson.dumps(machine(A={"Type": "Pass", "End": True})).decode()
    await engine.machines.create("m", definition, ROLE)
    started = await engine.executions.start(engine.arns.machine("m"))
    await engine.executions.wait(started.execution_arn)
    assert sink.entries == []


async def test_the_engines_own_log_has_the_lines_but_no_task_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token_task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
        "Parameters": {"QueueUrl": "https://q", "MessageBody": {"token.$": "$$.Task.Token"}},
        "End": True,
    }
    runner = Runner()
    caplog.set_level(logging.INFO, "stepwell.executions")
    async with Engine.open(tmp_path, runner=runner) as engine:
        engine._host.log = EventLog(tmp_path, None)
        await engine.machines.create(
            "m", orjson.dumps(machine(A=token_task)).decode(), ROLE, logging_configuration=configuration("ALL")
        )
        started = await engine.executions.start(engine.arns.machine("m"))
        token = (await runner.wait_for_call()).token
        assert token is not None
        await engine.callbacks.succeed(token, '"done"')
        await engine.executions.wait(started.execution_arn)
    (file,) = (tmp_path / "logs").glob("executions-*.jsonl")
    text = file.read_text()
    lines = [orjson.loads(line) for line in text.splitlines()]
    assert [line["type"] for line in lines][-2:] == ["TaskStateExited", "ExecutionSucceeded"]
    assert "[task token]" in text
    assert token not in text
    assert token not in caplog.text
    assert caplog.text.count("execution_arn") == len(lines)
