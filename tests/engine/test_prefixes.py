"""Any prefix of the journal recovers to a valid state: cut after each commit, everything in it ends as its definition says."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from stepwell.engine import Engine, VirtualClock
from stepwell.tasks.requests import TaskError

from .conftest import Runner, machine, task

DEFINITION = machine(
    P={
        "Type": "Parallel",
        "Branches": [
            machine(W={"Type": "Wait", "Seconds": 5, "Next": "E"}, E=task("double")),
            machine(F=task("flaky", Retry=[{"ErrorEquals": ["Flaky"], "MaxAttempts": 3}])),
            machine(
                M={
                    "Type": "Map",
                    "ItemsPath": "$.items",
                    "MaxConcurrency": 2,
                    "ItemProcessor": machine(T=task("double")),
                    "End": True,
                }
            ),
        ],
        "Next": "D",
    },
    D={
        "Type": "Map",
        "ItemsPath": "$[2]",
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            **machine(U=task("double")),
        },
        "End": True,
    },
)
INPUT = {"n": 1, "items": [1, 2, 3]}
OUTPUT = [4, 8, 12]
PAGE = 4096


def answering() -> Runner:
    runner = Runner()

    def flaky(event: Any) -> Any:
        if runner.counts["flaky"] % 2:
            return TaskError("Flaky", "once more")
        return event["n"]

    def double(event: Any) -> Any:
        return 2 * event if isinstance(event, int) else event

    runner.answers = {"double": double, "flaky": flaky}
    return runner


def commits(log: bytes) -> Iterator[int]:
    """Where each transaction of a write-ahead log ends. https://sqlite.org/fileformat2.html#the_write_ahead_log"""
    for end in range(32 + 24 + PAGE, len(log) + 1, 24 + PAGE):
        if struct.unpack(">I", log[end - PAGE - 20 : end - PAGE - 16])[0]:
            yield end


async def test_every_commit_is_a_place_to_go_on_from(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    async with Engine.open(whole, clock=VirtualClock(), runner=answering()) as engine:
        loaded = await engine.load(DEFINITION)
        for number in range(3):
            assert await loaded.run(INPUT, name=f"e{number}") == OUTPUT
        last = engine.clock.now()
        before = tmp_path / "before"
        before.mkdir()
        for name in ("journal.db", "journal.db-wal"):
            shutil.copy(whole / name, before / name)
        histories = {
            item.execution_arn: engine.execution(item.execution_arn).history()
            for item in engine.executions.list().items
        }
    log = (before / "journal.db-wal").read_bytes()
    ends = list(commits(log))
    assert len(ends) > 20
    for end in ends:
        cut = tmp_path / f"cut{end}"
        shutil.copytree(before, cut)
        (cut / "journal.db-wal").write_bytes(log[:end])
        await goes_on(cut, last, histories)


async def goes_on(directory: Path, now: int, histories: dict[str, list[dict[str, Any]]]) -> None:
    async with Engine.open(directory, mode="read") as engine:
        kept = {
            item.execution_arn: engine.execution(item.execution_arn).history()
            for item in engine.executions.list().items
        }
    for arn, history in kept.items():
        whole = histories.get(arn, history)
        assert orjson.dumps(history) == orjson.dumps(whole[: len(history)])
    async with Engine.open(directory, clock=VirtualClock(now), runner=answering()) as engine:
        for arn, history in kept.items():
            is_top = ":execution:machine:" in arn
            assert await engine.execution(arn) == OUTPUT if is_top else True
            final = engine.execution(arn).history()
            assert orjson.dumps(final[: len(history)]) == orjson.dumps(history)
            if is_top:
                assert [event["id"] for event in final] == list(range(1, len(final) + 1))
                assert final[-1]["type"] == "ExecutionSucceeded"
        assert engine.open_executions == 0
