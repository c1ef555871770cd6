"""A copy taken in the middle of the work is a data directory from which everything accepted finishes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stepwell.engine import Engine
from stepwell.engine.backup import backup
from stepwell.engine.errors import JournalError
from stepwell.toolkit.environment import Resources

WAIT = {
    "StartAt": "W",
    "States": {"W": {"Type": "Wait", "Seconds": 1, "Next": "P"}, "P": {"Type": "Pass", "Result": "ok", "End": True}},
}


async def test_a_copy_taken_while_it_runs_continues_what_was_open(tmp_path: Path) -> None:
    live, copy = tmp_path / "live", tmp_path / "copy"
    async with Engine.open(live) as engine:
        machine = await engine.load(WAIT, name="m")
        arns = [(await machine.start({}, name=f"n{number}")).arn for number in range(20)]
        resources = Resources(
            "embedded", live, {"buckets": {"b": {"name": "b"}}, "tables": {"t": {"name": "t", "key": ["id"]}}}
        )
        resources.bucket("b").put("a.txt", b"kept")
        resources.table("t").put({"id": "1", "value": "kept"})
        assert backup(live, copy) > 0
    async with Engine.open(copy) as engine:
        for arn in arns:
            assert (await engine.executions.wait(arn)).output == '"ok"'
    restored = Resources("embedded", copy, resources.declared)
    assert restored.bucket("b").get("a.txt") == b"kept"
    assert restored.table("t").get("1") == {"id": "1", "value": "kept"}


def test_what_is_no_data_directory_or_exists_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(JournalError, match="is not a Stepwell data directory"):
        backup(tmp_path / "empty", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


async def test_copies_taken_under_load_are_whole(tmp_path: Path) -> None:
    """Each copy is the directory as of one moment: what was acknowledged before is in it, and all of it finishes."""
    live = tmp_path / "live"
    chain = {f"S{n}": {"Type": "Pass", "Next": f"S{n + 1}"} for n in range(20)} | {
        "S20": {"Type": "Wait", "Seconds": 1, "End": True}
    }
    acknowledged: list[str] = []
    stop = asyncio.Event()
    copies: dict[Path, int] = {}
    async with Engine.open(live) as engine:
        machine = await engine.load({"StartAt": "S0", "States": chain}, name="m")

        async def load(worker: int) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                acknowledged.append((await machine.start({"x": "y" * 2000}, name=f"w{worker}-{number}")).arn)

        loads = [asyncio.create_task(load(worker)) for worker in range(4)]
        for number in range(3):
            await asyncio.sleep(0.1)
            copies[tmp_path / f"copy{number}"] = len(acknowledged)
            before = len(acknowledged)
            await asyncio.to_thread(backup, live, tmp_path / f"copy{number}")
            assert len(acknowledged) > before, "the engine stood still meanwhile"
        stop.set()
        await asyncio.gather(*loads)
    for copy, count in copies.items():
        async with Engine.open(copy) as engine:
            for arn in acknowledged[:count]:
                assert (await engine.executions.wait(arn)).status == "SUCCEEDED"
            assert engine.journal._read("PRAGMA integrity_check")[0][0] == "ok"
