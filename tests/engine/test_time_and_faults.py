"""Clocks that jump, retention, events that cannot be handled."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from stepwell.engine import Engine, SystemClock, VirtualClock, clock
from stepwell.engine.errors import ExecutionDoesNotExist
from stepwell.interpreter import events
from stepwell.interpreter.execution import Execution

from .conftest import Runner, machine, task, types

HELLO = machine(Hello={"Type": "Pass", "Result": {"hello": "world"}, "End": True})


class JumpingClock(SystemClock):
    """The system's clock, that somebody sets."""

    def __init__(self) -> None:
        self.offset = 0

    def now(self) -> int:
        return super().now() + self.offset

    def arm(self, due: int, callback: Any) -> Any:
        return super().arm(due - self.offset, callback)


async def test_a_clock_set_forward_is_noticed(monkeypatch: pytest.MonkeyPatch, runner: Runner) -> None:
    monkeypatch.setattr(clock, "LONGEST_NAP", 0.05)
    jumping = JumpingClock()
    async with Engine.open(clock=jumping, runner=runner) as engine:
        nap = await engine.load(machine(Nap={"Type": "Wait", "Seconds": 3600, "End": True}))
        execution = await nap.start()
        jumping.offset = 3_600_000
        began = time.monotonic()
        await execution
        assert time.monotonic() - began < 5


async def test_a_clock_set_back_makes_nothing_early_and_history_stays_in_order(runner: Runner) -> None:
    jumping = JumpingClock()
    async with Engine.open(clock=jumping, runner=runner) as engine:
        working = await engine.load(machine(A=task("a", Next="Nap"), Nap={"Type": "Wait", "Seconds": 1, "End": True}))
        execution = await working.start()
        await runner.wait_for_call()
        jumping.offset = -600_000
        runner.answers["a"] = 1
        await execution.stop()
        times = [event["timestamp"] for event in execution.history()]
        assert times == sorted(times)


async def test_timers_are_not_early_on_the_system_clock(runner: Runner) -> None:
    async with Engine.open(runner=runner) as engine:
        nap = await engine.load(machine(Nap={"Type": "Wait", "Seconds": 1, "End": True}))
        runs = [await nap.start() for _ in range(20)]
        await asyncio.gather(*(run.wait() for run in runs))
        for run in runs:
            at = {event["type"]: event["timestamp"] for event in run.history()}
            assert 1.0 <= at["WaitStateExited"] - at["WaitStateEntered"] < 3


async def test_closed_executions_are_forgotten_after_ninety_days(engine: Engine, clock: VirtualClock) -> None:
    hello = await engine.load(HELLO)
    nap = await engine.load(machine(Nap={"Type": "Wait", "Seconds": 86400 * 200, "End": True}), name="nap")
    waiting = await nap.start()
    old = [await hello.start(name=f"old{n}") for n in range(120)]
    await clock.advance(60 * 86400)
    young = await hello.start()
    await clock.advance(31 * 86400)
    assert engine.retention.deleted == 120
    for execution in old:
        with pytest.raises(ExecutionDoesNotExist):
            execution.describe()
    assert young.status == "SUCCEEDED"
    assert waiting.status == "RUNNING"
    counts = [
        engine.journal._connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("executions", "history")
    ]
    assert counts == [2, 2]


async def test_an_event_that_cannot_be_handled_stalls_nobody_else(
    engine: Engine, runner: Runner, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    handle = Execution.handle

    def broken(self: Execution, event: Any) -> Any:
        if isinstance(event, events.TimerFired) and self.identity.name == "bad":
            raise RuntimeError("a fault of the interpreter")
        return handle(self, event)

    monkeypatch.setattr(Execution, "handle", broken)
    nap = await engine.load(machine(Nap={"Type": "Wait", "Seconds": 5, "End": True}))
    bad = await nap.start(name="bad")
    good = [await nap.start(name=f"good{n}") for n in range(3)]
    assert [await execution for execution in good] == [{}] * 3
    assert bad.status == "RUNNING"
    assert types(bad.history())[-1] == "WaitStateEntered"
    assert "could not be handled" in caplog.text
    monkeypatch.undo()
    await bad.stop()
    assert bad.status == "ABORTED"
