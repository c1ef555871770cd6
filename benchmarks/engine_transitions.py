"""State transitions in process: what the durable engine adds to the interpreter.

    python -m benchmarks.engine_transitions [--rounds 5] [--durability process|power]

Three ways alternate in each round: the interpreter alone (its figures are the ceiling), the engine in memory, and the engine with
its journal on disk. Medians of the rounds are printed with their spread, CPU time of this process, and the ratio to the interpreter.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks import workloads
from stepwell.engine import Engine, Machine
from stepwell.engine.blocking import new_loop
from stepwell.interpreter import Identity, start
from stepwell.interpreter.effects import SetTimer
from stepwell.interpreter.events import TimerFired
from stepwell.language import compile_machine


@dataclass
class Case:
    """`executions` of a machine at once, `transitions` each."""

    name: str
    definition: dict[str, Any]
    input: Any
    transitions: int
    executions: int


CASES = [
    Case("chain of 100 Pass, one by one", workloads.chain(100), {}, 100, 1),
    Case("chain of 100 Pass, 16 at once", workloads.chain(100), {}, 100, 16),
    Case("loop of 2,000 turns", workloads.loop(2000), {}, 4002, 1),
    Case("500 executions of 5 states", workloads.chain(5), {}, 5, 500),
]


def interpreter(case: Case) -> Callable[[], Awaitable[None]]:
    machine = compile_machine(case.definition)
    data = orjson.dumps(case.input)
    identity = Identity(
        execution_arn="arn:aws:states:us-east-1:000000000000:execution:m:e",
        name="e",
        state_machine_arn="arn:aws:states:us-east-1:000000000000:stateMachine:m",
        state_machine_name="m",
        role_arn="arn:aws:iam::000000000000:role/r",
        start_time=1_700_000_000_000,
    )

    async def run() -> None:
        for _ in range(case.executions):
            execution, effects = start(machine, data, identity, at=1_700_000_000_000, seed=1)
            while execution.status == "RUNNING":
                due = [effect for effect in effects if isinstance(effect, SetTimer) and effect.due <= 1_700_000_000_000]
                effects = execution.handle(TimerFired(at=1_700_000_000_000, seed=1, timer=due[0].timer))

    return run


def engine(machine: Machine, case: Case) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        if case.executions == 1:
            await machine.run(case.input)
        else:
            await asyncio.gather(*(machine.run(case.input) for _ in range(case.executions)))

    return run


async def measure(run: Callable[[], Awaitable[None]], transitions: int) -> tuple[float, float]:
    """(transitions a second, microseconds of CPU for each) over at least 0.2 seconds."""
    count = 0
    began, cpu = time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - began) < 0.2:
        await run()
        count += transitions
    return count / elapsed, (time.process_time() - cpu) / count * 1e6


async def latency(machine: Machine, count: int = 400) -> tuple[float, float]:
    """(median, 99th percentile) in milliseconds from start to result."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        await machine.run({})
        times.append((time.perf_counter() - began) * 1000)
    times.sort()
    return statistics.median(times), times[int(count * 0.99)]


async def main(rounds: int, durability: Any) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with Engine.open() as memory, Engine.open(Path(directory) / "data", durability=durability) as disk:
            print(f"{'':34}{'transitions/s':>26}{'CPU us each':>13}{'of interpreter':>16}")
            for number, case in enumerate(CASES):
                ways = {
                    "interpreter alone": interpreter(case),
                    "engine in memory": engine(await memory.load(case.definition, name=f"m{number}"), case),
                    f"journal on ({durability})": engine(await disk.load(case.definition, name=f"m{number}"), case),
                }
                figures: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
                for _ in range(rounds):
                    for way, run in ways.items():
                        figures[way].append(await measure(run, case.transitions * case.executions))
                print(case.name)
                ceiling = statistics.median(rate for rate, _ in figures["interpreter alone"])
                for way, values in figures.items():
                    rates = [rate for rate, _ in values]
                    middle = statistics.median(rates)
                    spread = f"({min(rates):,.0f}-{max(rates):,.0f})"
                    cpu = statistics.median(cpu for _, cpu in values)
                    print(f"  {way:26}{middle:>12,.0f} {spread:>19}{cpu:>13.1f}{middle / ceiling:>15.0%}")
            hello = {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}}
            print("start to result of one Pass state, ms (median, p99)")
            for way, one in (("engine in memory", memory), (f"journal on ({durability})", disk)):
                median, p99 = await latency(await one.load(hello, name="hello"))
                print(f"  {way:26}{median:>12.3f}{p99:>12.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--durability", choices=["process", "power"], default="process")
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main(arguments.rounds, arguments.durability))
