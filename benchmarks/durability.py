"""What it costs to wait for the disk: a start until it is acknowledged, with each durability, at 1 and 16 callers.

    python -m benchmarks.durability [--rounds 5] [--directory WHERE]

The two alternate. `process` hands each commit to the operating system; `power` waits for an fdatasync too, which callers share.
The figure is the disk's more than Stepwell's: run it on yours.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from stepwell.engine import Engine
from stepwell.engine.blocking import new_loop

STARTS = 600
DEFINITION = {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}}


async def starts(durability: Any, clients: int, directory: str | None) -> tuple[float, float, float]:
    """(starts a second, median and 99th percentile of one in milliseconds)."""
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        async with Engine.open(Path(folder) / "data", durability=durability) as engine:
            machine = await engine.load(DEFINITION)
            times: list[float] = []

            async def client() -> None:
                for _ in range(STARTS // clients):
                    began = time.perf_counter()
                    await machine.start({})
                    times.append(time.perf_counter() - began)

            began = time.perf_counter()
            await asyncio.gather(*(client() for _ in range(clients)))
            rate = len(times) / (time.perf_counter() - began)
    times.sort()
    return rate, statistics.median(times) * 1000, times[int(len(times) * 0.99)] * 1000


def fdatasync(directory: str | None, count: int = 200) -> float:
    """The disk itself: the median of appending 4 KB and fdatasync, in milliseconds."""
    times = []
    with tempfile.TemporaryFile(dir=directory) as file:
        for _ in range(count):
            began = time.perf_counter()
            os.write(file.fileno(), bytes(4096))
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


async def main(rounds: int, directory: str | None) -> None:
    print(f"the disk alone, 4 KB and fdatasync: {fdatasync(directory):.2f} ms")
    print(f"{'':24}{'starts/s':>10}{'median ms':>12}{'p99 ms':>10}")
    for clients in (1, 16):
        figures: dict[str, list[tuple[float, float, float]]] = {"process": [], "power": []}
        for _ in range(rounds):
            for durability, values in figures.items():
                values.append(await starts(durability, clients, directory))
        for durability, values in figures.items():
            rate, median, p99 = (statistics.median(column) for column in zip(*values, strict=True))
            print(f"{durability:>10}, {clients:2} callers{rate:>10,.0f}{median:>12.2f}{p99:>10.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", help="where the data directories are made; default: the temporary directory")
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main(arguments.rounds, arguments.directory))
