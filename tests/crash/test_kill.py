"""kill -9 at random moments: nothing acknowledged is lost, everything ends as its definition says.

The short form runs with the suite. `STEPWELL_KILLS=1000 STEPWELL_SEED=7 pytest tests/crash -s` is a longer one; a failure prints
the seed that repeats it.
"""

from __future__ import annotations

import os
import random
import select
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from stepwell.engine import Engine

from .machines import KINDS, output_of

KILLS = int(os.environ.get("STEPWELL_KILLS", "12"))
SEED = int(os.environ.get("STEPWELL_SEED", str(random.SystemRandom().randrange(10**6))))
PER_ROUND = 60
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.crash


class Child:
    """The engine's process and the facts it has reported."""

    def __init__(self, directory: Path, first: int, count: int, durability: str) -> None:
        command = [sys.executable, "-m", "tests.crash.load", str(directory), str(first), str(count), durability]
        self.log = (directory / "load.log").open("ab")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, cwd=ROOT, start_new_session=True
        )
        assert self.process.stdout is not None
        self.out = self.process.stdout.fileno()
        self.buffer = b""

    def read(self, until: float) -> list[str]:
        """The lines that came until that time, or until the process closed its end."""
        lines: list[str] = []
        while (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([self.out], [], [], left)
            if not ready:
                break
            data = os.read(self.out, 65536)
            if not data:
                break
            self.buffer += data
            *complete, self.buffer = self.buffer.split(b"\n")
            lines += [line.decode() for line in complete]
            if "idle" in lines:
                break
        return lines

    def kill(self) -> list[str]:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        rest = self.read(time.monotonic() + 1)
        self.log.close()
        return rest


@pytest.mark.parametrize("durability", ["process", "power"])
async def test_kill_at_random_moments(tmp_path: Path, durability: str) -> None:
    rng = random.Random(f"{SEED}{durability}")
    kills = KILLS if durability == "process" else max(KILLS // 4, 2)
    print(f"seed {SEED}, {kills} kills, durability {durability}")
    facts: list[str] = []
    first = 0
    for _ in range(kills):
        child = Child(tmp_path, first, PER_ROUND, durability)
        lines: list[str] = []
        while "open" not in lines and child.process.poll() is None:
            lines += child.read(time.monotonic() + 0.1)
        lines += child.read(time.monotonic() + rng.uniform(0.0, 0.7))
        lines += child.kill()
        facts += lines
        assert "open" in lines, (tmp_path / "load.log").read_text()[-3000:]
        # The next round begins with the executions whose acknowledgement may have been lost.
        first += sum(line.startswith("started") for line in lines)
    child = Child(tmp_path, first, 1, durability)
    deadline = time.monotonic() + 60
    while "idle" not in facts and time.monotonic() < deadline and child.process.poll() is None:
        facts += child.read(time.monotonic() + 1)
    child.process.wait(20)
    text = (tmp_path / "load.log").read_text()
    assert "idle" in facts, text[-3000:]
    assert "Traceback" not in text, text[-3000:]
    started = {line.split()[1] for line in facts if line.startswith("started")}
    answered = [line.split()[1] for line in facts if line.startswith("answered")]
    assert len(answered) == len(set(answered)), "a token was answered twice"
    await check(tmp_path / "data", started)
    print(f"{len(started)} acknowledged starts, {len(answered)} acknowledged answers")


async def check(directory: Path, started: set[str]) -> None:
    """Every acknowledged execution is there, every execution ended right, with a whole history, and on time."""
    connection = sqlite3.connect(directory / "journal.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    async with Engine.open(directory, mode="read") as engine:
        names = set()
        for kind in KINDS:
            token = None
            while True:
                page = engine.executions.list(
                    state_machine_arn=engine.machine(kind).arn, max_results=1000, next_token=token
                )
                for item in page.items:
                    if item.name.startswith(kind):  # others were started by nested executions
                        names.add(item.name)
                        number = int(item.name.rpartition("-")[2])
                        record = engine.executions.describe(item.execution_arn)
                        assert record.status == "SUCCEEDED", (item.name, record.error, record.cause)
                        assert orjson.loads(record.output or "") == output_of(kind, number), item.name
                    check_history(engine.execution(item.execution_arn).history())
                token = page.next_token
                if token is None:
                    break
        assert started <= names, started - names


def check_history(events: list[dict[str, object]]) -> None:
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert events[0]["type"] == "ExecutionStarted"
    assert events[-1]["type"] == "ExecutionSucceeded"
    times = [float(str(event["timestamp"])) for event in events]
    assert times == sorted(times)
    entered = None
    for event, at in zip(events, times, strict=True):
        assert 0 <= int(str(event["previousEventId"])) < int(str(event["id"]))
        if event["type"] == "WaitStateEntered":
            entered = at
        if event["type"] == "WaitStateExited":
            assert entered is not None
            assert at - entered >= 1, "a timer fired early"
