"""The process that is killed: runs an engine and starts executions without pause.

    python -m tests.crash.load DIRECTORY FIRST COUNT DURABILITY

Starts the executions FIRST to FIRST + COUNT, then waits until everything has ended. Each line on standard output is a fact the
engine has acknowledged: `started KIND-NUMBER`, `answered NAME`, `idle`.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from stepwell.engine import Engine
from stepwell.engine.blocking import new_loop
from stepwell.engine.errors import ExecutionAlreadyExists, TaskTimedOut

from .machines import KINDS, MACHINES, input_of

STARTERS = 8


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


class Load:
    def __init__(self, directory: Path) -> None:
        self.tokens = directory / "tokens.txt"
        self.asked: asyncio.Queue[tuple[str, str, int]] = asyncio.Queue()

    async def ask(self, event: dict[str, Any], _context: Any) -> None:
        """Keep the token as a person would, in a file, and answer some time later."""
        with self.tokens.open("a") as file:
            file.write(f"{event['token']} {event['name']} {event['n']}\n")
        self.asked.put_nowait((event["token"], event["name"], event["n"]))

    async def answer(self, engine: Engine) -> None:
        if self.tokens.exists():
            for line in self.tokens.read_text().splitlines():
                if len(line.split()) == 3:
                    token, name, n = line.split()
                    self.asked.put_nowait((token, name, int(n)))
        while True:
            token, name, n = await self.asked.get()
            await asyncio.sleep(0.005)
            try:
                await engine.callbacks.heartbeat(token)
                await engine.callbacks.succeed(token, orjson.dumps(n + 1000))
            except TaskTimedOut:
                continue
            say(f"answered {name}")


async def double(event: int, _context: Any) -> int:
    return event * 2


async def slow(event: int, _context: Any) -> int:
    await asyncio.sleep(0.03)
    return event


class Flaky(Exception):
    pass


async def flaky(event: dict[str, int], _context: Any) -> int:
    if event["tries"] < 1:
        raise Flaky("once more")
    return event["n"]


async def main(directory: Path, first: int, count: int, durability: Any) -> None:
    load = Load(directory)
    async with Engine.open(directory / "data", durability=durability) as engine:
        functions = {"double": double, "slow": slow, "flaky": flaky, "ask": load.ask}
        machines = {
            name: await engine.load(definition, name=name, functions=functions) for name, definition in MACHINES.items()
        }
        answering = asyncio.create_task(load.answer(engine))
        numbers = iter(range(first, first + count))

        async def start() -> None:
            for number in numbers:
                kind = KINDS[number % len(KINDS)]
                name = f"{kind}-{number}"
                with suppress(ExecutionAlreadyExists):  # started before the kill, its acknowledgement was lost
                    await machines[kind].start(input_of(kind, number), name=name)
                say(f"started {name}")
                await asyncio.sleep(0.002)

        say("open")
        await asyncio.gather(*(start() for _ in range(STARTERS)))
        while engine.open_executions:
            await asyncio.sleep(0.02)
        answering.cancel()
        say("idle")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
