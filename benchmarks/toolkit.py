"""The embedded toolkit beside what its disk and SQLite cost alone: `python benchmarks/toolkit.py [DIRECTORY]`.

"floor" is the least that could be promised to be on disk: one synced file and one commit for an object, one commit for a record.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stepwell.toolkit.measurements import Metrics, SpoolSink
from stepwell.toolkit.objects.local import LocalBucket
from stepwell.toolkit.records import Index, Schema
from stepwell.toolkit.records.sqlite import SqliteTable

ITEM = {
    "filename": "GH010042.MP4",
    "file_size": 734003200,
    "status": "IN_PROGRESS",
    "at": "2025-11-10",
    "note": "x" * 200,
}


def measure(title: str, work: Callable[[int], object], times: int = 400) -> float:
    """Print and return the median in microseconds."""
    for number in range(10):
        work(10**6 + number)
    seconds = []
    cpu = time.process_time()
    for number in range(times):
        start = time.perf_counter()
        work(number)
        seconds.append(time.perf_counter() - start)
    cpu = time.process_time() - cpu
    seconds.sort()
    middle = seconds[times // 2] * 1e6
    print(
        f"{title:44} {middle:8.0f} us   p99 {seconds[int(times * 0.99)] * 1e6:8.0f} us   CPU {cpu / times * 1e6:6.0f} us"
    )
    return middle


def floor(folder: Path) -> tuple[Callable[[int], object], Callable[[int], object]]:
    connection = sqlite3.connect(folder / "floor.sqlite3", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE t (k PRIMARY KEY, v) WITHOUT ROWID")
    (folder / "floor").mkdir()

    def record(number: int) -> None:
        connection.execute("INSERT OR REPLACE INTO t VALUES (?, ?)", (str(number), b"x" * 300))

    def put(number: int) -> None:
        descriptor = os.open(folder / "floor" / str(number), os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"x" * 1000)
        os.fsync(descriptor)
        os.close(descriptor)
        record(number)

    return put, record


def main() -> None:
    folder = Path(tempfile.mkdtemp(dir=sys.argv[1] if len(sys.argv) > 1 else None))
    try:
        put, record = floor(folder)
        bucket = LocalBucket(folder, "b")
        table = SqliteTable(folder, "t", Schema(("id",), {"by-status": Index("status", "at")}))
        metrics = Metrics("N", {"a": "b"}, SpoolSink(folder / "metrics.sqlite3"))
        low = measure("floor of an object of 1 KB", put)
        high = measure("objects: put 1 KB", lambda n: bucket.put(f"k/{n}.json", b"x" * 1000))
        print(f"{'':44} {high / low:8.2f} times the floor")
        measure("objects: get 1 KB", lambda n: bucket.get(f"k/{n}.json"))
        measure("objects: list 400", lambda n: bucket.list_page("k/"), 50)
        low = measure("floor of a record", record)
        measure("records: put", lambda n: table.put({**ITEM, "id": str(n)}))
        high = measure("records: mutate", lambda n: table.mutate(str(n), lambda item: {**(item or {}), "n": n}))
        print(f"{'':44} {high / low:8.2f} times the floor")
        measure("records: get", lambda n: table.get(str(n)))
        measure(
            "records: query 100 by index", lambda n: table.query_page("IN_PROGRESS", index="by-status", limit=100), 50
        )
        measure("metrics: count", lambda n: metrics.count("x"))
        stream(bucket)
    finally:
        shutil.rmtree(folder)


def stream(bucket: LocalBucket) -> None:
    chunk, size = os.urandom(1024 * 1024), 1024
    start = time.perf_counter()
    with bucket.writer("large") as out:
        for _ in range(size):
            out.write(chunk)
    middle = time.perf_counter()
    with bucket.open("large") as reader:
        for _ in reader:
            pass
    end = time.perf_counter()
    print(f"objects: 1 GB written at {size / (middle - start):.0f} MB/s, read at {size / (end - middle):.0f} MB/s")


if __name__ == "__main__":
    main()
