"""The journal's file: locks, versions, full disks, damage, durability."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from stepwell.engine import Engine, journal
from stepwell.engine.errors import DirectoryInUse, JournalBusy, JournalCorrupt, JournalError, JournalFull, JournalTooNew
from stepwell.engine.journal import Journal
from stepwell.engine.packing import pack, unpack
from stepwell.engine.rows import ExecutionRow, Outcome

from .conftest import machine, task

HELLO = machine(Hello={"Type": "Pass", "Result": {"hello": "world"}, "End": True})


def row(id: int, name: str = "", **columns: object) -> ExecutionRow:
    fields = dict.fromkeys(ExecutionRow.__struct_fields__)
    fields |= {"id": id, "resource": "m", "name": name or f"n{id}", "revision": 1, "seed": 1, "start": 1000 + id}
    fields |= {"status": "RUNNING", "redrive_count": 0, "input": b"{}"}
    return ExecutionRow(**{**fields, **columns})


async def test_two_processes_on_one_directory_are_refused(tmp_path: Path) -> None:
    async with Engine.open(tmp_path):
        with pytest.raises(DirectoryInUse, match=rf"in use by process {os.getpid()}.*stop that process"):
            await Engine.open(tmp_path).__aenter__()
        async with Engine.open(tmp_path, mode="read") as reader:
            assert reader.executions.list().items == []
    async with Engine.open(tmp_path):
        pass


async def test_the_lock_goes_with_a_killed_process(tmp_path: Path) -> None:
    code = f"""
import asyncio, os, signal
from stepwell.engine import Engine
async def main():
    async with Engine.open({str(tmp_path)!r}):
        os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    async with Engine.open(tmp_path):
        pass


async def test_a_newer_directory_is_refused_and_left_alone(tmp_path: Path) -> None:
    async with Engine.open(tmp_path):
        pass
    connection = sqlite3.connect(tmp_path / "journal.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for mode in ("run", "read"):
        with pytest.raises(JournalTooNew, match=r"newer Stepwell \(journal version 99.*upgrade Stepwell"):
            await Engine.open(tmp_path, mode=mode).__aenter__()
    connection = sqlite3.connect(tmp_path / "journal.db")
    assert connection.execute("PRAGMA user_version").fetchone() == (99,)


async def test_reading_what_is_no_data_directory(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"is not a Stepwell data directory"):
        await Engine.open(tmp_path / "none", mode="read").__aenter__()
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("damage", [b"this is not a database, it is a text file.....", None])
async def test_a_damaged_file_is_reported(tmp_path: Path, damage: bytes | None) -> None:
    async with Engine.open(tmp_path) as engine:
        for _ in range(50):
            await (await engine.load(HELLO)).run()
    file = tmp_path / "journal.db"
    if damage is not None:
        file.write_bytes(damage * 100)
    else:
        data = bytearray(file.read_bytes())
        data[4096:12288] = b"\xff" * 8192
        file.write_bytes(data)
    with pytest.raises(JournalCorrupt, match=r"is damaged.*restore a backup"):
        async with Engine.open(tmp_path) as engine:
            engine.executions.list()
            engine.journal.documents("machine")


def test_long_histories_are_compressed_and_short_ones_are_not() -> None:
    short, long = b'[{"id":1}]', b"[" + b",".join(b'{"id":%d,"type":"PassStateEntered"}' % n for n in range(100)) + b"]"
    assert pack(short) == short
    assert len(pack(long)) < len(long) / 3
    assert [unpack(pack(text)) for text in (short, long)] == [short, long]


async def test_damaged_compressed_history_is_named(tmp_path: Path) -> None:
    text = b"[" + b",".join(b'{"id":%d,"type":"PassStateEntered"}' % n for n in range(1, 101)) + b"]"
    opened = Journal(tmp_path)
    opened.start_execution(row(1))
    opened.add_history(1, 1, 100, text)
    await opened.committed()
    assert opened.history(1, 1, 100) == [(1, 100, text)]
    database = sqlite3.connect(tmp_path / "journal.db")
    with database:
        assert database.execute("UPDATE history SET data = substr(data, 1, 40)").rowcount == 1
    database.close()
    with pytest.raises(JournalCorrupt, match=r"history of execution 1 .* is damaged .*restore a backup"):
        opened.history(1, 1, 100)
    await opened.close()


async def test_a_lock_held_by_another_program_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Engine.open(tmp_path) as engine:
        hello = await engine.load(HELLO)
        other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalBusy, match=r"another program holds a lock"):
            await hello.start(name="a")
        with pytest.raises(JournalBusy):  # refused at once: nothing new while nothing can be written
            await hello.start(name="b")
        other.execute("ROLLBACK")
        while engine.journal.trouble is not None:
            await asyncio.sleep(0.05)
        assert "can be written again" in caplog.text
        # The first answer was an error, so its outcome was open: it was kept and written in the end, the refused one was not.
        assert [item.name for item in engine.executions.list().items] == ["a"]
        assert await engine.execution(engine.executions.list().items[0].execution_arn) == {"hello": "world"}
        await hello.run(name="b")


async def test_a_full_disk_loses_nothing_acknowledged_and_work_goes_on_after(tmp_path: Path) -> None:
    async with Engine.open(tmp_path) as engine:
        big = await engine.load(machine(Big={"Type": "Pass", "End": True}))
        connection = engine.journal._connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 40}")
        acknowledged = []
        with pytest.raises(JournalFull, match=r"the disk of .* is full; nothing acknowledged is lost"):
            for number in range(100):
                await big.start("x" * 20_000, name=f"e{number}")
                acknowledged.append(f"e{number}")
        assert acknowledged
        with pytest.raises(JournalFull):
            await engine.machines.create(
                "m", '{"StartAt":"A","States":{"A":{"Type":"Succeed"}}}', "arn:aws:iam::1:role/r"
            )
        connection.execute("PRAGMA max_page_count = 1000000")
        while engine.journal.trouble is not None:
            await asyncio.sleep(0.05)
        assert await big.run("again", name="later") == "again"
    async with Engine.open(tmp_path) as engine:
        names = {item.name for item in engine.executions.list(max_results=1000).items}
        assert names >= {*acknowledged, "later"}


def test_a_file_size_limit_counts_as_full(tmp_path: Path) -> None:
    """A real failing write() (EFBIG), in a process of its own."""
    code = f"""
import asyncio, resource, signal
from stepwell.engine import Engine
from stepwell.engine.errors import JournalError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
async def main():
    done = 0
    async with Engine.open({str(tmp_path)!r}) as engine:
        m = await engine.load({machine(Big={"Type": "Pass", "End": True})!r})
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
        try:
            for n in range(1000):
                await m.start("x" * 20_000, name=f"e{{n}}")
                done = n + 1
        except JournalError as error:
            print(type(error).__name__, done, flush=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        while engine.journal.trouble is not None:
            await asyncio.sleep(0.05)
        await m.run(name="after")
        print(len(engine.executions.list(max_results=1000).items))
asyncio.run(main())
"""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = ran.stdout.split("\n")[:2]
    acknowledged = int(first.split()[1])
    assert acknowledged > 0
    assert int(second) == acknowledged + 2  # the one whose answer was an error was written in the end


async def test_a_batch_is_one_commit_and_all_or_nothing(tmp_path: Path) -> None:
    one = Journal(tmp_path)
    for id in range(1, 101):
        one.start_execution(row(id))
        one.add_input(id, 1, b"event")
        one.add_history(id, 1, 3, b"[1,2,3]")
        one.set_open(id, busy=True, wake=None)
    await one.committed()
    assert one.commits == 1
    assert len(one.executions(limit=1000)) == 100
    one.start_execution(row(200))
    one.add_input(100, 1, b"a second input of that number")  # violates the key: the transaction fails as a whole
    with pytest.raises(JournalError):
        await one.committed()
    assert one.execution(200) is None
    one._backlog.clear()
    one.trouble = None
    await one.close()


async def test_outcomes_of_one_batch_are_one_row(tmp_path: Path) -> None:
    one = Journal(tmp_path)
    one.start_execution(row(1))
    one.set_open(1, busy=True, wake=None)
    one.set_outcome(1, Outcome("SUCCEEDED", 5, output=b"1"))
    one.set_closed(1)
    await one.committed()
    found = one.execution(1)
    assert found is not None
    assert (found.status, found.stop, found.output) == ("SUCCEEDED", 5, b"1")
    assert one.open_executions() == []
    await one.close()


async def test_callbacks_come_after_the_commit_in_order(tmp_path: Path) -> None:
    one = Journal(tmp_path)
    seen: list[object] = []
    one.start_execution(row(1))
    one.after_commit(lambda: seen.append(one.execution(1) is not None))
    one.after_commit(lambda: (one.start_execution(row(2)), one.after_commit(lambda: seen.append("second")))[0])
    one.after_commit(lambda: seen.append("first"))
    await one.committed()
    await one.committed()
    assert seen == [True, "first", "second"]
    await one.close()


async def test_power_durability_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []

    def sync(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(journal, "sync_file", sync)
    async with Engine.open(tmp_path, durability="power") as engine:
        hello = await engine.load(HELLO)
        before = len(synced)
        await asyncio.gather(*(hello.start(name=f"n{n}") for n in range(20)))
        assert before < len(synced) <= before + 3  # one for all, or two when some came late
        assert synced[-1] == (tmp_path / "journal.db-wal").stat().st_size


async def test_process_durability_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(_descriptor: int) -> None:
        raise AssertionError

    monkeypatch.setattr(journal, "sync_file", sync)
    async with Engine.open(tmp_path) as engine:
        await (await engine.load(HELLO)).run()


async def test_the_log_is_checkpointed_in_the_background(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "CHECKPOINT_BYTES", 200_000)
    one = Journal(tmp_path)
    wal = tmp_path / "journal.db-wal"
    largest = 0
    for id in range(1, 3001):
        one.start_execution(row(id))
        one.add_history(id, 1, 2, b"x" * 2000)
        if id % 10 == 0:
            await one.committed()
            largest = max(largest, wal.stat().st_size)
    assert largest < 8_000_000, "14 MB were written: the log must be copied and used anew"
    assert len(one.history(3000, 1, 10)) == 1
    await one.close()
    assert not wal.exists()


async def test_deleting_an_execution_leaves_nothing_of_it(tmp_path: Path) -> None:
    one = Journal(tmp_path)
    for id in (1, 2, 3):
        one.start_execution(row(id))
        one.add_input(id, 1, b"e")
        one.add_history(id, 1, 1, b"[1]")
        one.put_snapshot(id, 1, b"s")
        one.put_map_run(f"arn{id}", id, 0, b"m")
    await one.committed()
    one.delete_execution(2)
    one.start_execution(row(4, "n2"))  # its name is free
    await one.committed()
    assert one.find("m", "n2") == row(4, "n2")
    assert [one.execution(id) is not None for id in (1, 2, 3)] == [True, False, True]
    assert [len(one.inputs(id)) for id in (1, 2, 3)] == [1, 0, 1]
    assert [len(one.history(id, 1, 9)) for id in (1, 2, 3)] == [1, 0, 1]
    assert [one.snapshot(id) is None for id in (1, 2, 3)] == [False, True, False]
    assert [one.map_run(f"arn{id}") is None for id in (1, 2, 3)] == [False, True, False]
    await one.close()


async def test_a_full_disk_fails_no_nested_execution(tmp_path: Path) -> None:
    """The start of the child, its acceptance and its end: each waits until the disk has room."""
    go = asyncio.Event()

    async def held(event: object, _context: object) -> object:
        await go.wait()
        return event

    nested = {
        "Type": "Task",
        "Resource": "arn:aws:states:::states:startExecution.sync:2",
        "Parameters": {
            "StateMachineArn": "arn:aws:states:us-east-1:000000000000:stateMachine:child",
            "Input": {"n": 1},
        },
        "OutputPath": "$.Output",
        "End": True,
    }
    async with Engine.open(tmp_path) as engine:
        await engine.load(HELLO, name="child")
        definition = machine(A=task("held", Next="N"), N=nested)
        parent = await engine.load(definition, name="parent", functions={"held": held})
        execution = await parent.start({}, name="p")
        connection = engine.journal._connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(JournalFull):
            while True:
                await parent.start("x" * 20_000)
        go.set()
        for _ in range(3):
            await asyncio.sleep(0.2)
            assert engine.executions.status(execution.arn) == "RUNNING"
        connection.execute("PRAGMA max_page_count = 1000000")
        assert await asyncio.wait_for(_outcome(engine, execution.arn), 10) == {"hello": "world"}


async def _outcome(engine: Engine, arn: str) -> object:
    return await engine.execution(arn)
