"""Does it stay as fast as it grows? CPU per unit of work, from small to large, with the journal on disk.

    python -m benchmarks.growth [--short] [--only events,open,items,payload,csv] [--write]

In process, one core. The figure is CPU time, which other work on the machine hardly touches; the median of the rounds. `--write` draws
the plots of docs/performance.md (docs/performance/*.svg) and writes the figures beside them as JSON.

    events    a loop, by the length of its history: microseconds a transition
    open      executions of ten states, and stopping one of those that wait, by how many others are open
    items     an inline Map (to AWS's limits of history and payload) and a distributed one, by items
    payload   a chain of Pass states, by what it carries: every event of the history holds it
    csv       a distributed Map over a CSV file in a local bucket: memory while it runs
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks import workloads
from benchmarks.plots import Line, plot
from stepwell.engine import Engine
from stepwell.engine.blocking import new_loop
from stepwell.toolkit.environment import Resources

DOCS = Path(__file__).parent.parent / "docs" / "performance"
WAITING = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 31_536_000, "End": True}}}
BUCKET = "growth"


@dataclass
class Series:
    """A line of a plot: (size, CPU microseconds for each)."""

    name: str
    unit: str
    points: list[tuple[float, float]] = field(default_factory=list)

    def add(self, size: float, value: float) -> None:
        self.points.append((size, value))
        print(f"  {self.name:44}{size:>12,.0f}{value:>12,.1f} {self.unit}", flush=True)


async def cpu_of(run: Callable[[], Awaitable[Any]], count: float, *, seconds: float = 0.3, rounds: int = 3) -> float:
    """Microseconds of CPU for each of the `count` pieces of work of one run: the median of rounds of at least that long."""
    figures = []
    for _ in range(rounds):
        began, done = time.process_time(), 0
        while True:
            await run()
            done += 1
            if time.process_time() - began >= seconds:
                break
        figures.append((time.process_time() - began) / done / count * 1e6)
    return statistics.median(figures)


async def events(folder: Path, short: bool) -> list[Series]:
    """A loop makes four events a turn: Add and Check, entered and exited."""
    series = Series("a loop, by events of its history", "us a transition")
    async with Engine.open(folder) as engine:
        for count in (10, 100, 1_000, 5_000, 20_000)[: 3 if short else None]:
            turns = max((count - 6) // 4, 1)
            machine = await engine.load(workloads.loop(turns), name=f"loop{count}")
            series.add(count, await cpu_of(machine.run, 2 * turns + 2))
    return [series]


async def opened(folder: Path, short: bool) -> list[Series]:
    """Others that only wait must cost nothing; one of them that goes on must cost what it costs alone."""
    others = Series("ten states, by other open executions", "us a transition")
    stops = Series("stopping one of them", "us")
    memory = Series("memory of the process", "MiB")
    process = psutil.Process()
    async with Engine.open(folder) as engine:
        chain = await engine.load(workloads.chain(10), name="chain")
        waiting = await engine.load(WAITING, name="waiting")
        arns: list[str] = []
        for count in (1, 10, 100, 1_000, 10_000, 100_000)[: 4 if short else None]:
            while len(arns) < count:
                begun = await asyncio.gather(*(waiting.start({}) for _ in range(min(500, count - len(arns)))))
                arns += [execution.arn for execution in begun]
            others.add(count, await cpu_of(chain.run, 10))
            random.Random(count).shuffle(arns)
            chosen, arns = arns[: max(1, min(200, count // 2))], arns[max(1, min(200, count // 2)) :]

            async def stop(chosen: list[str] = chosen) -> None:
                for arn in chosen:
                    await engine.executions.stop(arn)

            began = time.process_time()
            await stop()
            stops.add(count, (time.process_time() - began) / len(chosen) * 1e6)
            memory.add(count, process.memory_info().rss / 2**20)
    return [others, stops, memory]


def distributed(key: str, kind: str) -> dict[str, Any]:
    """A distributed Map over the lines of a CSV; its results are written, as they would be too long."""
    return {
        "StartAt": "Each",
        "States": {
            "Each": {
                "Type": "Map",
                "Label": "Each",
                "MaxConcurrency": 100,
                "ItemReader": {
                    "Resource": "arn:aws:states:::s3:getObject",
                    "ReaderConfig": {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"},
                    "Parameters": {"Bucket": BUCKET, "Key": key},
                },
                "ItemProcessor": {
                    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": kind},
                    "StartAt": "One",
                    "States": {"One": {"Type": "Pass", "Parameters": {"n.$": "$.n"}, "End": True}},
                },
                "ResultWriter": {
                    "Resource": "arn:aws:states:::s3:putObject",
                    "Parameters": {"Bucket": BUCKET, "Prefix": "results"},
                },
                "End": True,
            }
        },
    }


def write_csv(folder: Path, key: str, lines: int) -> None:
    """A file of the local bucket, made in another process: what that needs is none of the engine's memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as other:
        other.submit(_write_csv, folder, key, lines).result()


def _write_csv(folder: Path, key: str, lines: int) -> None:
    bucket = Resources("embedded", folder, {"buckets": {BUCKET: {"name": BUCKET}}}).bucket(BUCKET)
    text = "n,name,amount\n" + "".join(f"{n},customer {n},{n % 997}.50\n" for n in range(lines))
    bucket.put(key, text.encode())


async def items(folder: Path, short: bool) -> list[Series]:
    """Inline to AWS's limits (25,000 events, 256 KB), distributed beyond."""
    inline = Series("inline Map", "us an item")
    children = [Series(f"distributed, {kind}", "us an item") for kind in ("EXPRESS", "STANDARD")]
    async with Engine.open(folder) as engine:
        each = await engine.load(workloads.each({"Type": "Pass"}), name="each")
        for count in (10, 100, 1_000, 5_000)[: 3 if short else None]:
            given = workloads.items(count)
            series_run = lambda given=given: each.run(given)  # noqa: E731
            inline.add(count, await cpu_of(series_run, count))
        for count in (10, 100, 1_000, 10_000, 100_000)[: 3 if short else None]:
            write_csv(folder, f"{count}.csv", count)
            for series, kind in zip(children, ("EXPRESS", "STANDARD"), strict=True):
                machine = await engine.load(distributed(f"{count}.csv", kind), name=f"{kind}{count}")
                rounds = 1 if count >= 100_000 else 3
                series.add(count, await cpu_of(machine.run, count, rounds=rounds))
    return [inline, *children]


async def payload(folder: Path, short: bool) -> list[Series]:
    """Two events of the history a transition, each with the whole payload: that much is written to disk."""
    series = Series("a chain of 20 Pass states", "us a transition")
    written = Series("the same for each KB that is written", "us a KB")
    async with Engine.open(folder) as engine:
        states = {f"S{n}": {"Type": "Pass", "Next": f"S{n + 1}"} for n in range(19)} | {"S19": {"Type": "Succeed"}}
        chain = await engine.load({"StartAt": "S0", "States": states}, name="carrying")
        for size in (1, 4, 16, 64, 255)[: 3 if short else None]:
            given = {"text": "x" * (size * 1000)}
            run = lambda given=given: chain.run(given)  # noqa: E731
            cost = await cpu_of(run, 20)
            series.add(size, cost)
            written.add(size, cost / size / 2)
    return [series, written]


async def csv(folder: Path, short: bool) -> list[Series]:
    """A million lines, one child execution each."""
    lines = 20_000 if short else 1_000_000
    memory = Series(f"memory during {lines:,} lines", "MiB")
    write_csv(folder, "lines.csv", lines)
    process = psutil.Process()
    async with Engine.open(folder) as engine:
        machine = await engine.load(distributed("lines.csv", "EXPRESS"), name="csv")
        began, cpu = time.perf_counter(), time.process_time()
        execution = await machine.start({})
        done = asyncio.ensure_future(_result(execution))
        sampled = 0
        while not done.done():
            await asyncio.wait([done], timeout=0.5)
            runs = engine.map_runs.list(execution.arn).items
            if runs:
                finished = engine.map_runs.describe(runs[0].map_run_arn).item_counts.get("succeeded", 0)
                if finished >= sampled:
                    memory.add(finished, process.memory_info().rss / 2**20)
                    sampled = finished + lines // 20
        await done
        print(
            f"  {lines:,} lines in {time.perf_counter() - began:.0f} s, {time.process_time() - cpu:.0f} s of CPU; peak ",
            end="",
        )
        print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    return [memory]


async def _result(execution: Any) -> Any:
    return await execution


PARTS = {"events": events, "open": opened, "items": items, "payload": payload, "csv": csv}
TITLES = {
    "events": ("The longer the history", "events of the history", "CPU us a transition"),
    "open": ("The more executions are open", "open executions", "CPU us"),
    "items": ("The more items a Map has", "items", "CPU us an item"),
    "payload": ("The more a state carries", "KB", "CPU us"),
    "csv": ("Memory of a Map over a CSV file", "lines done", "MiB"),
}


def draw(part: str, series: list[Series]) -> None:
    title, x, y = TITLES[part]
    lines = [Line(one.name, one.points) for one in series if not (part == "open" and one.unit == "MiB")]
    DOCS.mkdir(parents=True, exist_ok=True)
    (DOCS / f"{part}.svg").write_text(plot(title, x, y, lines, log_x=part != "csv", log_y=part == "payload"))
    (DOCS / f"{part}.json").write_text(json.dumps([asdict(one) for one in series], indent=1) + "\n")


async def main(part: str, short: bool, write: bool) -> None:
    print(TITLES[part][0])
    with tempfile.TemporaryDirectory() as folder:
        series = await PARTS[part](Path(folder), short)
    if write:
        draw(part, series)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="the smaller sizes only")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    if len(parts) > 1:  # each in a process of its own, which begins small
        flags = ["--short"] * arguments.short + ["--write"] * arguments.write
        raise SystemExit(
            max(subprocess.call([sys.executable, "-m", "benchmarks.growth", "--only", part, *flags]) for part in parts)
        )
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main(parts[0], arguments.short, arguments.write))
