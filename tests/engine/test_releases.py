"""A data directory of the first release opens, shows what it held, and goes on."""

from __future__ import annotations

import asyncio
import json
import zipfile
from pathlib import Path

import pytest

from stepwell.engine import Engine, VirtualClock
from stepwell.engine.errors import ExecutionAlreadyExists
from stepwell.tasks.requests import TaskError

from .conftest import Runner
from .fixtures.release_1 import ARCHIVE, DEFINITIONS, START

PREFIX = "arn:aws:states:us-east-1:123456789012:"
RUNNING = ("waiting", "asking", "working", "retrying", "handwork", "halfway")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def arn(name: str) -> str:
    return f"{PREFIX}execution:{name}:e"


async def _result(engine: Engine, execution: str) -> object:
    return await engine.execution(execution)


async def test_what_ended_is_shown_as_it_was(directory: Path) -> None:
    async with Engine.open(directory, mode="read") as engine:
        assert {item.name for item in engine.machines.list().items} == set(DEFINITIONS)
        done = engine.executions.describe(arn("done"))
        assert (done.status, done.input, done.output) == ("SUCCEEDED", '{"n":21}', '{"n":42}')
        history = engine.execution(arn("done")).history()
        assert [event["id"] for event in history] == list(range(1, len(history) + 1))
        assert history[-1]["executionSucceededEventDetails"]["output"] == '{"n":42}'
        failed = engine.executions.describe(arn("failed"))
        assert (failed.status, failed.error, failed.cause) == ("FAILED", "Broken", "as asked")
        assert engine.executions.describe(arn("mapped")).output == "[2,4,6]"
        [run] = engine.map_runs.list(arn("mapped")).items
        assert engine.map_runs.describe(run.map_run_arn).item_counts["succeeded"] == 3
        assert len(engine.executions.list(map_run_arn=run.map_run_arn).items) == 3
        assert {name: engine.executions.status(arn(name)) for name in RUNNING} == dict.fromkeys(RUNNING, "RUNNING")
        assert [
            version.state_machine_version_arn[-2:]
            for version in engine.machines.list_versions(f"{PREFIX}stateMachine:done").items
        ] == [":1"]
        assert engine.machines.describe_alias(f"{PREFIX}stateMachine:done:live").description == "what is live"
        assert [record.expression for record in engine.schedules.list()] == ["cron(0 1 * * ? *)"]


async def test_what_ran_goes_on(directory: Path) -> None:
    token = json.loads((directory / "facts.json").read_text())["token"]
    runner = Runner()
    runner.answers = {"double": lambda n: 2 * n, "held": 7, "flaky": 5, "broken": {"mended": True}}
    async with Engine.open(directory, clock=VirtualClock(START + 3_600_000), runner=runner) as engine:
        await engine.callbacks.succeed(token, '"asked"')
        task = await engine.activities.get_task(f"{PREFIX}activity:hands", wait_seconds=1)
        assert task is not None
        await engine.callbacks.succeed(task.task_token, '"by hand"')
        await engine.executions.redrive(arn("failed"))
        ended = {name: await asyncio.wait_for(_result(engine, arn(name)), 10) for name in (*RUNNING, "failed")}
        assert ended == {
            "waiting": 10,
            "asking": "asked",
            "working": 7,
            "retrying": 5,
            "handwork": "by hand",
            "halfway": 17,
            "failed": {"mended": True},
        }
        with pytest.raises(ExecutionAlreadyExists):
            await engine.machine("done").start({"n": 1}, name="e")


async def test_errors_are_as_they_were(directory: Path) -> None:
    runner = Runner()
    runner.answers = {"flaky": TaskError("Flaky", "still"), "double": 1}
    async with Engine.open(directory, clock=VirtualClock(START + 3_600_000), runner=runner) as engine:
        record = await engine.executions.wait(arn("retrying"))
        assert (record.status, record.error) == ("FAILED", "Flaky")
        assert runner.counts["flaky"] == 2  # of three attempts one was made before
