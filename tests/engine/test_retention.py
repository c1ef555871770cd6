"""The database stays bounded: closed executions go by age and by number, and what they held is given back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stepwell.engine import Engine, journal, retention
from stepwell.engine.journal import Journal

from .conftest import Runner, machine, task

HELLO = machine(Hello={"Type": "Pass", "End": True})


async def test_only_the_newest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "OFTEN", 50)
    async with Engine.open(tmp_path, retention_count=20) as engine:
        hello = await engine.load(HELLO, name="hello")
        waiting = await (await engine.load(machine(W={"Type": "Wait", "Seconds": 9999, "End": True}), name="w")).start()
        for number in range(100):
            await hello.run(number, name=f"e{number}")
        async with asyncio.timeout(10):
            while engine.retention.deleted < 80:
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        names = [item.name for item in engine.executions.list(state_machine_arn=hello.arn).items]
        assert names == [f"e{number}" for number in range(99, 79, -1)]
        assert waiting.status == "RUNNING"


async def test_children_stay_as_long_as_their_parent_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "OFTEN", 20)
    runner = Runner()
    go = asyncio.Event()

    async def held(event: int) -> int:
        if event == 29:
            await go.wait()
        return event

    runner.answers = {"held": held}
    processor = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, **machine(T=task("held"))}
    mapped = machine(M={"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": processor, "End": True})
    async with Engine.open(tmp_path, retention_count=5, runner=runner) as engine:
        execution = await (await engine.load(mapped)).start({"items": list(range(30))})
        await asyncio.sleep(0.3)
        assert engine.retention.deleted == 0
        go.set()
        assert await execution == list(range(30))
        async with asyncio.timeout(10):
            while engine.retention.deleted < 25:
                await asyncio.sleep(0.05)
        [run] = engine.map_runs.list(execution.arn).items  # the parent of those that are kept is kept too
        assert len(engine.executions.list(map_run_arn=run.map_run_arn).items) == 5


async def test_free_pages_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "OFTEN", 20)
    monkeypatch.setattr(journal, "CHECKPOINT_BYTES", 200_000)
    async with Engine.open(tmp_path, retention_count=5) as engine:
        hello = await engine.load(HELLO)
        for _ in range(60):
            await hello.run("x" * 200_000)
        async with asyncio.timeout(20):
            while engine.retention.deleted < 55 or engine.journal._read("PRAGMA freelist_count")[0][0] > 1000:
                await asyncio.sleep(0.05)
        pages = engine.journal._read("PRAGMA page_count")[0][0]
    assert pages * 4096 < 20_000_000, "36 MB were written, of which 3 MB are kept"
    assert (tmp_path / "journal.db").stat().st_size == pages * 4096


async def test_a_directory_that_cannot_shrink_is_left_alone(tmp_path: Path) -> None:
    one = Journal(tmp_path)
    assert one.shrink(10) is False
    await one.close()
