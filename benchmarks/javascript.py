"""Stepwell in process beside the JavaScript library aws-local-stepfunctions, alternating in one run.

    python -m benchmarks.javascript [--rounds 7] [--seconds 0.4] [--durability process|power] [--only W1,W3] [--markdown]

The library keeps nothing: no journal, no history. Stepwell runs with both, its journal on disk. The same definitions run to their end in
both, and must give the same output. A figure is the median of the rounds, a ratio is taken round by round, CPU is that of the process.

`make javascript` installs the library (npm) into `benchmarks/javascript`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import workloads
from stepwell.engine import Engine, Machine
from stepwell.engine.blocking import new_loop

FOLDER = Path(__file__).parent / "javascript"
LIBRARY = FOLDER / "node_modules" / "aws-local-stepfunctions"


@dataclass
class Case:
    """A workload: `at_once` executions, `operations` each, and the number of events its history must have."""

    key: str
    unit: str
    definition: workloads.Definition
    input: Any
    operations: int
    events: int
    at_once: int = 1


CASES = [
    Case("W1", "transitions/s", workloads.chain(100), {}, 100, 202),
    Case("W1, 16 at once", "transitions/s", workloads.chain(100), {}, 100, 202, at_once=16),
    Case("W3", "transitions/s", workloads.loop(2000), {}, 4002, 8006),
    Case("W4", "items/s", workloads.each({"Type": "Pass"}), workloads.items(1000), 1000, 4006),
    Case("W5", "executions/s", workloads.parallel(20, 10), {}, 1, 406),
    Case("W8", "executions/s", workloads.chain(5), {}, 1, 12, at_once=500),
]


@dataclass
class Figures:
    """One round: operations a second, microseconds of CPU for each, and the last execution's output."""

    rate: float
    cpu: float
    output: Any


class Library:
    """The library in a node process that answers one request a line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def measure(self, case: Case, seconds: float) -> Figures:
        """Run it for so long. Raises RuntimeError when an execution did not end well."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        request = {
            "definition": case.definition,
            "input": case.input,
            "at_once": case.at_once,
            "seconds": seconds,
        }
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or '{"error": "node ended"}')
        if "error" in answer:
            raise RuntimeError(f"{case.key} in the JavaScript library: {answer['error']}")
        operations = answer["runs"] * case.operations
        return Figures(operations / answer["seconds"], answer["cpu"] / operations * 1e6, answer["output"])


@contextlib.contextmanager
def library(node: str) -> Iterator[Library]:
    """The library, ready; stopped at the end."""
    words = [node, str(FOLDER / "driver.mjs")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Library(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)


async def stepwell(machine: Machine, case: Case, seconds: float) -> Figures:
    """The same in this process."""
    runs = 0
    began, cpu = time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - began) < seconds:
        if case.at_once == 1:
            output = await machine.run(case.input)
        else:
            output = (await asyncio.gather(*(machine.run(case.input) for _ in range(case.at_once))))[-1]
        runs += case.at_once
    operations = runs * case.operations
    return Figures(operations / elapsed, (time.process_time() - cpu) / operations * 1e6, output)


async def check(machine: Machine, case: Case, theirs: Any) -> None:
    """Both ran to the end: the outputs are the same, and our history has every event. Raises RuntimeError."""
    execution = await machine.start(case.input)
    output = await execution
    if output != theirs:
        raise RuntimeError(f"{case.key}: the outputs differ: {str(output)[:100]} and {str(theirs)[:100]}")
    history = execution.history()
    if [event["id"] for event in history] != list(range(1, case.events + 1)):
        raise RuntimeError(f"{case.key}: {len(history)} events of {case.events}")


async def run(node: str, cases: list[Case], rounds: int, seconds: float, durability: Any) -> list[list[str]]:
    """The rows of the table."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="stepwell-bench-") as directory, library(node) as other:
        async with Engine.open(Path(directory) / "data", durability=durability) as engine:
            gc.freeze()  # as `stepwell serve` does: full collections leave out the modules
            for number, case in enumerate(cases):
                machine = await engine.load(case.definition, name=f"m{number}")
                await check(machine, case, other.measure(case, seconds).output)
                await stepwell(machine, case, seconds)
                ours, theirs = [], []
                for round_ in range(rounds):
                    for mine in (True, False) if round_ % 2 else (False, True):
                        if mine:
                            ours.append(await stepwell(machine, case, seconds))
                        else:
                            theirs.append(other.measure(case, seconds))
                rows.append(_row(case, ours, theirs))
    return rows


def _row(case: Case, ours: list[Figures], theirs: list[Figures]) -> list[str]:
    ratios = sorted(mine.rate / other.rate for mine, other in zip(ours, theirs, strict=True))
    cpu = statistics.median(other.cpu / mine.cpu for mine, other in zip(ours, theirs, strict=True))

    def middle(values: list[float]) -> str:
        return f"{statistics.median(values):,.3g}" if values[0] < 100 else f"{statistics.median(values):,.0f}"

    return [
        f"{case.key}, {case.unit}",
        middle([figure.rate for figure in ours]),
        middle([figure.rate for figure in theirs]),
        f"{statistics.median(ratios):.2f}x ({ratios[0]:.2f}-{ratios[-1]:.2f})",
        middle([figure.cpu for figure in ours]),
        middle([figure.cpu for figure in theirs]),
        f"{cpu:.2f}x",
    ]


TITLES = (
    "workload",
    "Stepwell, journal on",
    "JavaScript library",
    "ratio (lowest-highest round)",
    "CPU us each, Stepwell",
    "CPU us each, library",
    "ratio of CPU",
)


def report(rows: list[list[str]], markdown: bool) -> None:
    """Print the table; a ratio over 1 is in Stepwell's favour."""
    if markdown:
        print("| " + " | ".join(TITLES) + " |\n|---" + "|---:" * (len(TITLES) - 1) + "|")
        for row in rows:
            print("| " + " | ".join(row) + " |")
        return
    table = Table(title="in process; over 1x: Stepwell is ahead")
    for title in TITLES:
        table.add_column(title, justify="left" if title == "workload" else "right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--durability", choices=["process", "power"], default="process")
    parser.add_argument("--only", help="W1,W3,...")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    node = shutil.which("node")
    if node is None or not LIBRARY.exists():
        why = "there is no node" if node is None else "the library is not installed: `make javascript` (needs npm)"
        print(f"skipped: {why}")
        return
    wanted = None if options.only is None else set(options.only.split(","))
    cases = [case for case in CASES if wanted is None or case.key.partition(",")[0] in wanted]
    with asyncio.Runner(loop_factory=new_loop) as runner:
        report(runner.run(run(node, cases, options.rounds, options.seconds, options.durability)), options.markdown)


if __name__ == "__main__":
    main()
