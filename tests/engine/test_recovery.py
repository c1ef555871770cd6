"""What a restart brings back. `restart` abandons the engine as a crash would: nothing is written on the way out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stepwell.engine import Engine, VirtualClock, host
from stepwell.engine.errors import TaskTimedOut
from stepwell.interpreter import events
from stepwell.tasks.requests import TaskError

from .conftest import TOKEN_TASK, Runner, machine, task, types


class Site:
    """A data directory whose engine can be crashed and opened again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = VirtualClock()
        self.runner = Runner()
        self.engine: Engine

    async def open(self) -> Engine:
        self.engine = Engine.open(self.directory, runner=self.runner, clock=self.clock)
        return await self.engine.__aenter__()

    async def restart(self) -> Engine:
        """Crash and open again, with a new runner and the clock going on."""
        self.crash()
        self.clock = VirtualClock(self.clock.now())
        self.runner = Runner()
        return await self.open()

    def crash(self) -> None:
        self.engine._host.stop()
        self.engine.schedules.stop()
        self.engine.journal._abandon()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    one = Site(tmp_path / "data")
    yield one
    one.crash()


async def test_a_wait_goes_on_at_its_due_time(site: Site) -> None:
    engine = await site.open()
    waiting = await engine.load(machine(Nap={"Type": "Wait", "Seconds": 86400, "End": True}))
    execution = await waiting.start({"x": 1})
    began = site.clock.now()
    engine = await site.restart()
    await site.clock.advance(86399)
    assert engine.execution(execution.arn).status == "RUNNING"
    assert await engine.execution(execution.arn) == {"x": 1}
    assert site.clock.now() - began == 86_400_000
    history = engine.execution(execution.arn).history()
    assert [event["id"] for event in history] == list(range(1, len(history) + 1))


async def test_a_wait_that_ended_during_the_downtime_goes_on_at_once(site: Site) -> None:
    engine = await site.open()
    waiting = await engine.load(machine(Nap={"Type": "Wait", "Seconds": 60, "End": True}))
    execution = await waiting.start()
    site.crash()
    site.clock = VirtualClock(site.clock.now() + 3_600_000)
    engine = await site.open()
    assert await engine.execution(execution.arn) == {}
    assert site.clock.now() - 1_767_225_600_000 == 3_600_000


async def test_a_task_in_flight_is_run_again_with_the_same_attempt_id(site: Site) -> None:
    engine = await site.open()
    work = await engine.load(machine(Work=task("work")))
    execution = await work.start({"n": 7})
    first = await site.runner.wait_for_call()
    engine = await site.restart()
    second = await site.runner.wait_for_call()
    assert (second.command, second.arguments) == (first.command, first.arguments)
    site.crash()
    site.runner = Runner()
    site.runner.answers["work"] = {"ok": True}
    engine = await site.open()
    assert await engine.execution(execution.arn) == {"ok": True}
    assert types(engine.execution(execution.arn).history()).count("LambdaFunctionScheduled") == 1


async def test_a_retry_comes_at_its_due_time(site: Site) -> None:
    engine = await site.open()
    retrying = {"Retry": [{"ErrorEquals": ["Busy"], "IntervalSeconds": 1000, "MaxAttempts": 2}]}
    site.runner.answers["work"] = TaskError("Busy", "later")
    execution = await (await engine.load(machine(Work=task("work", **retrying)))).start()
    await site.runner.wait_for_call()
    await asyncio.sleep(0.01)
    began = site.clock.now()
    engine = await site.restart()
    assert not site.runner.calls
    site.runner.answers["work"] = 1
    assert await engine.execution(execution.arn) == 1
    assert site.clock.now() - began == 1_000_000


async def test_a_task_token_stays_valid(site: Site) -> None:
    engine = await site.open()
    asking = await engine.load(machine(Ask=TOKEN_TASK))
    execution = await asking.start()
    await site.runner.wait_for_call()
    token = site.runner.calls[0].token
    assert token is not None
    engine = await site.restart()
    await engine.callbacks.heartbeat(token)
    await engine.callbacks.succeed(token, '{"approved":true}')
    engine = await site.restart()
    assert await engine.execution(execution.arn) == {"approved": True}
    assert not site.runner.submissions, "the request was sent before the crash and must not be sent again"
    with pytest.raises(TaskTimedOut):
        await engine.callbacks.succeed(token, "{}")


async def test_an_unacknowledged_submission_is_sent_again(site: Site) -> None:
    engine = await site.open()

    async def never(_task: Any, _submitted: Any) -> None:
        site.runner.called.set()
        await asyncio.Event().wait()

    site.runner.run = never  # type: ignore[method-assign, assignment]
    execution = await (await engine.load(machine(Ask=TOKEN_TASK))).start()
    await site.runner.called.wait()
    engine = await site.restart()
    await site.runner.wait_for_call()
    assert len(site.runner.submissions) == 1
    await engine.callbacks.succeed(site.runner.submissions[0].token or "", "1")
    assert await engine.execution(execution.arn) == 1


async def test_a_map_in_the_middle_finishes_each_item_once_more_at_most(site: Site) -> None:
    engine = await site.open()
    gate: dict[int, asyncio.Event] = {n: asyncio.Event() for n in range(6)}

    async def answer(n: int) -> int:
        await gate[n].wait()
        return n * n

    site.runner.answers["square"] = answer
    definition = machine(
        Each={"Type": "Map", "ItemProcessor": machine(Square=task("square")), "MaxConcurrency": 3, "End": True}
    )
    execution = await (await engine.load(definition)).start([0, 1, 2, 3, 4, 5])
    await site.runner.wait_for_call()
    for n in (0, 2):
        gate[n].set()
    while len(site.runner.calls) < 5:
        await site.runner.wait_for_call()
    await engine.journal.committed()
    engine = await site.restart()
    site.runner.answers["square"] = lambda n: n * n
    assert await engine.execution(execution.arn) == [0, 1, 4, 9, 16, 25]
    assert sorted(int(call.arguments) for call in site.runner.calls) == [1, 3, 4, 5]


async def test_snapshots_shorten_the_replay_and_change_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "SNAPSHOT_BYTES", 200)
    engine = await site.open()
    site.runner.answers["step"] = lambda state: {"n": state["n"] + 1}
    loop = machine(
        Step=task("step", Next="Check"),
        Check={
            "Type": "Choice",
            "Choices": [{"Variable": "$.n", "NumericLessThan": 50, "Next": "Step"}],
            "Default": "Last",
        },
        Last=task("last"),
    )
    execution = await (await engine.load(loop)).start({"n": 0})
    while not site.runner.counts["last"]:
        await site.runner.wait_for_call()
    row = engine.journal.find("machine", execution.name)
    assert row is not None
    snapshot = engine.journal.snapshot(row.id)
    assert snapshot is not None
    assert snapshot[0] > 40
    before = execution.history()
    engine = await site.restart()
    site.runner.answers["last"] = "end"
    assert await engine.execution(execution.arn) == "end"
    history = engine.execution(execution.arn).history()
    assert history[: len(before)] == before
    assert [event["id"] for event in history] == list(range(1, len(history) + 1))
    assert [event["previousEventId"] for event in history[2:]] == list(range(2, len(history)))


async def test_replaying_every_input_gives_the_same_history_and_state(site: Site) -> None:
    """Determinism: from the journal's inputs alone, the same bytes."""
    engine = await site.open()
    site.runner.answers["flaky"] = TaskError("Flaky", "no")
    definition = machine(
        All={
            "Type": "Parallel",
            "Branches": [
                machine(A={"Type": "Wait", "Seconds": 5, "End": True}),
                machine(
                    B=task(
                        "flaky",
                        Retry=[{"ErrorEquals": ["States.ALL"], "MaxAttempts": 3, "JitterStrategy": "FULL"}],
                        Catch=[{"ErrorEquals": ["States.ALL"], "Next": "C"}],
                    ),
                    C={"Type": "Pass", "Parameters": {"id.$": "States.UUID()"}, "End": True},
                ),
            ],
            "End": True,
        }
    )
    execution = await (await engine.load(definition)).start({})
    await execution
    row = engine.journal.find("machine", execution.name)
    assert row is not None
    from stepwell.engine.launching import identity_of
    from stepwell.interpreter import start
    from stepwell.interpreter.effects import EmitHistory

    replayed, effects = start(
        engine.registry.compiled(row.revision),
        row.input,
        identity_of(row, engine.registry),
        at=row.start,
        seed=row.seed,
    )
    for _, data in engine.journal.inputs(row.id):
        effects += replayed.handle(events.decode(data))
    history = [event for effect in effects if isinstance(effect, EmitHistory) for event in effect.events]
    assert history == execution.history()
    assert replayed.output == row.output


async def test_ten_crashes_in_a_row(site: Site) -> None:
    engine = await site.open()
    chain = machine(
        **{
            f"W{n}": {"Type": "Wait", "Seconds": 10, **({"Next": f"W{n + 1}"} if n < 9 else {"End": True})}
            for n in range(10)
        }
    )
    execution = await (await engine.load(chain)).start({"kept": 1})
    for _ in range(10):
        await site.clock.advance(10)
        engine = await site.restart()
    assert await engine.execution(execution.arn) == {"kept": 1}
    assert len(engine.execution(execution.arn).history()) == 22


async def test_one_unreadable_execution_leaves_the_others_running(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    engine = await site.open()
    work = await engine.load(machine(Work=task("work")))
    bad, good = await work.start(name="bad"), await work.start(name="good")
    await site.runner.wait_for_call()
    row = engine.journal.find("machine", "bad")
    assert row is not None
    engine.journal.put_snapshot(row.id, 0, b"rubbish")
    engine.journal.flush()
    site.crash()
    site.clock, site.runner = VirtualClock(), Runner()
    site.runner.answers["work"] = 1
    engine = await site.open()
    assert await engine.execution(good.arn) == 1
    assert engine.execution(bad.arn).status == "RUNNING"
    assert "cannot be rebuilt" in caplog.text
