"""Any prefix of the journal is a state to go on from."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from stepwell.engine import Engine, VirtualClock
from stepwell.engine.errors import TaskTimedOut
from stepwell.engine.journal import KEY_BITS
from stepwell.tasks.requests import TaskError

from .conftest import TOKEN_TASK, Runner, machine, task

DEFINITION = machine(
    First=task("first", Next="Both"),
    Both={
        "Type": "Parallel",
        "Branches": [
            machine(
                Nap={"Type": "Wait", "Seconds": 7, "Next": "Each"},
                Each={
                    "Type": "Map",
                    "ItemsPath": "$.items",
                    "MaxConcurrency": 2,
                    "ItemProcessor": machine(Square=task("square")),
                    "End": True,
                },
            ),
            machine(Ask=TOKEN_TASK),
            machine(
                Flaky=task("flaky", Retry=[{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 3, "MaxAttempts": 9}])
            ),
        ],
        "Next": "Last",
    },
    Last={"Type": "Pass", "End": True},
)
OUTPUT = [[1, 4, 9, 16], "yes", "at last"]


class Answering(Runner):
    """Answers everything, the tokens too."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self.answers |= {
            "first": {"items": [1, 2, 3, 4]},
            "square": lambda n: n * n,
            "flaky": self.flaky,
        }

    def flaky(self, _: Any) -> Any:
        self.failures += 1
        return TaskError("Flaky", None) if self.failures < 3 else "at last"


async def finish(directory: Path, start: int, name: str = "e") -> tuple[Any, list[dict[str, Any]]]:
    """Open the directory and see the execution end, answering whatever it still asks."""
    runner = Answering()
    async with Engine.open(directory, runner=runner, clock=VirtualClock(start)) as engine:
        arn = engine.machine("machine").arn.replace(":stateMachine:", ":execution:") + f":{name}"
        execution = engine.execution(arn)
        token = ""
        async for event in execution.events():
            if event["type"] == "TaskScheduled":
                token = orjson.loads(event["taskScheduledEventDetails"]["parameters"])["MessageBody"]["token"]
            if event["type"] == "TaskSubmitted":
                with suppress(TaskTimedOut):  # it was answered before the cut
                    await engine.callbacks.succeed(token, '"yes"')
        return await execution, execution.history()


@pytest.fixture
async def whole(tmp_path: Path) -> Path:
    directory = tmp_path / "whole"
    clock = VirtualClock()
    async with Engine.open(directory, runner=Answering(), clock=clock) as engine:
        await (await engine.load(DEFINITION)).start({}, name="e")
    output, _ = await finish(directory, clock.now())
    assert output == OUTPUT
    return directory


async def test_every_prefix_goes_on_to_the_same_result(whole: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(whole / "journal.db")
    inputs = [key for (key,) in connection.execute("SELECT key FROM inputs ORDER BY key")]
    (id,) = connection.execute("SELECT id FROM executions").fetchone()
    connection.close()
    assert len(inputs) > 12
    for count in range(len(inputs)):
        cut = tmp_path / f"cut{count}"
        shutil.copytree(whole, cut)
        connection = sqlite3.connect(cut / "journal.db")
        connection.execute("DELETE FROM inputs WHERE key > ?", (id << KEY_BITS | count,))
        connection.execute("UPDATE executions SET status = 'RUNNING', stop = NULL, output = NULL")
        connection.execute("INSERT INTO open_executions VALUES (?, 1, NULL)", (id,))
        kept = await history_after(whole, count)
        connection.execute("DELETE FROM history WHERE last > ?", (kept,))
        connection.commit()
        connection.close()
        output, history = await finish(cut, VirtualClock().now())
        assert output == OUTPUT, f"after {count} of {len(inputs)} inputs"
        assert [event["id"] for event in history] == list(range(1, len(history) + 1))


async def history_after(directory: Path, count: int) -> int:
    """The id of the last history event after so many inputs."""
    from stepwell.engine.launching import identity_of
    from stepwell.interpreter import events, start

    async with Engine.open(directory, mode="read") as engine:
        row = engine.journal.execution(1)
        assert row is not None
        machine = engine.registry.compiled(row.revision)
        identity = identity_of(row, engine.registry)
        execution, _ = start(machine, row.input, identity, at=row.start, seed=row.seed)
        for _, data in engine.journal.inputs(1)[:count]:
            execution.handle(events.decode(data))
        return execution.event_count
