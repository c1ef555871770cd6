"""What the journal takes in, beside what SQLite itself takes.

    python -m benchmarks.journal_vs_sqlite [--rounds 5]

An event is an input of 300 bytes with its history of two events (500 bytes): two rows. "SQLite" is a bare loop of executemany into a
table of 300-byte rows, a hundred rows a commit, as in the published figures. All ways alternate; medians, spread, ratio.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from stepwell.engine.blocking import new_loop
from stepwell.engine.journal import Journal
from stepwell.engine.rows import ExecutionRow

ROW = os.urandom(150).hex().encode()
HISTORY = b'[{"x":"' + os.urandom(250).hex().encode()[:485] + b'"}]'
COUNT = 10_000


def sqlite(directory: Path, synchronous: str, per_commit: int, rows: int, seconds: float = 60) -> float:
    """Rows a second of SQLite itself; stops after so many seconds."""
    file = directory / f"raw-{synchronous}-{per_commit}-{time.monotonic_ns()}.db"
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, data BLOB)")
    began = time.perf_counter()
    done = 0
    while done < rows and time.perf_counter() - began < seconds:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(done + n, ROW) for n in range(per_commit)])
        connection.execute("COMMIT")
        done += per_commit
    elapsed = time.perf_counter() - began
    connection.close()
    return done / elapsed


def threaded(directory: Path) -> float:
    """Rows a second when a thread writes a hundred rows a commit while the main thread computes: what the GIL costs."""
    rates: list[float] = []
    thread = threading.Thread(target=lambda: rates.append(sqlite(directory, "NORMAL", 100, 10 * COUNT, seconds=1.5)))
    thread.start()
    count = 0
    while thread.is_alive():
        for _ in range(1000):
            count += 1
    return rates[0]


async def journal(directory: Path, durability: Any, per_commit: int, events: int) -> float:
    """Events a second of the journal; each is an input and its history, in executions of 100 events."""
    one = Journal(directory / f"journal-{durability}-{per_commit}-{time.monotonic_ns()}", durability=durability)
    began = time.perf_counter()
    for first in range(0, events, per_commit):
        for number in range(first, first + per_commit):
            id, sequence = number // 100 + 1, number % 100 + 1
            if sequence == 1:
                one.start_execution(
                    ExecutionRow(
                        id, "machine", str(id), 1, None, None, None, None, None, None, None, 1, 1, None, "RUNNING",
                        0, None, None, None, b"{}", None,
                    )
                )  # fmt: skip
                one.set_open(id, busy=True, wake=None)
            one.add_input(id, sequence, ROW)
            one.add_history(id, sequence * 2 - 1, sequence * 2, HISTORY)
        await one.committed()
    elapsed = time.perf_counter() - began
    await one.close()
    return events / elapsed


async def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)

        async def raw(synchronous: str, per_commit: int, rows: int) -> float:
            return sqlite(directory, synchronous, per_commit, rows)

        async def busy() -> float:
            return threaded(directory)

        groups: dict[str, dict[str, Callable[[], Awaitable[float]]]] = {
            "survives kill -9 (the default)": {
                "SQLite NORMAL, 100 rows a commit": lambda: raw("NORMAL", 100, COUNT),
                "SQLite NORMAL, 1 row a commit": lambda: raw("NORMAL", 1, COUNT),
                "SQLite NORMAL, 100, busy main thread": busy,
                "journal, 100 events a commit": lambda: journal(directory, "process", 100, COUNT),
                "journal, 10 events a commit": lambda: journal(directory, "process", 10, COUNT),
                "journal, 1 event a commit": lambda: journal(directory, "process", 1, COUNT // 5),
            },
            "survives power loss (durability = power)": {
                "SQLite FULL, 100 rows a commit": lambda: raw("FULL", 100, COUNT),
                "SQLite FULL, 1 row a commit": lambda: raw("FULL", 1, 300),
                "journal, 100 events a commit": lambda: journal(directory, "power", 100, COUNT),
                "journal, 1 event a commit": lambda: journal(directory, "power", 1, 300),
            },
        }
        print(f"{'':40}{'a second':>12} {'spread':>19}{'of SQLite at 100 rows':>24}")
        for title, ways in groups.items():
            figures: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, run in ways.items():
                    figures[way].append(await run())
            print(title)
            base = statistics.median(next(iter(figures.values())))
            for way, rates in figures.items():
                middle = statistics.median(rates)
                print(
                    f"  {way:38}{middle:>12,.0f} {f'({min(rates):,.0f}-{max(rates):,.0f})':>19}{middle / base:>23.0%}"
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main(parser.parse_args().rounds))
