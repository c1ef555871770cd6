"""Redrive, EXPRESS, eviction, schedules, the blocking facade, modes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import stepwell
from stepwell.engine import Engine, ExecutionFailed, VirtualClock, host
from stepwell.engine.errors import (
    ExecutionNotRedrivable,
    InvalidArn,
    StateMachineTypeNotSupported,
)
from stepwell.project.schedules import Schedule
from stepwell.tasks.requests import TaskError

from .conftest import TOKEN_TASK, Runner, machine, task, types

HELLO = machine(Hello={"Type": "Pass", "Result": {"hello": "world"}, "End": True})


# -- redrive


async def test_redrive_goes_on_from_the_failed_state(engine: Engine, runner: Runner, clock: VirtualClock) -> None:
    runner.answers |= {"first": 1, "second": TaskError("Broken", "no")}
    work = await engine.load(machine(First=task("first", Next="Second"), Second=task("second")))
    execution = await work.start()
    with pytest.raises(ExecutionFailed):
        await execution
    assert execution.describe().redrive_status == "REDRIVABLE"
    runner.answers["second"] = 2
    await clock.advance(60)
    await execution.redrive()
    assert await execution == 2
    assert runner.counts == {"first": 1, "second": 2}
    record = execution.describe()
    assert (record.status, record.redrive_count, record.stop_date) == ("SUCCEEDED", 1, clock.now() / 1000)
    assert record.redrive_date is not None
    history = execution.history()
    assert "ExecutionRedriven" in types(history)
    assert [event["id"] for event in history] == list(range(1, len(history) + 1))
    with pytest.raises(ExecutionNotRedrivable, match=r"^Execution is SUCCEEDED and cannot be redriven$"):
        await execution.redrive()


async def test_redrive_is_idempotent_by_its_token(engine: Engine, runner: Runner) -> None:
    stuck = await (await engine.load(machine(Stuck=task("stuck")))).start()
    await runner.wait_for_call()
    with pytest.raises(ExecutionNotRedrivable, match=r"^Execution is RUNNING and cannot be redriven$"):
        await stuck.redrive()
    await stuck.stop()
    first = await engine.executions.redrive(stuck.arn, client_token="t")
    assert await engine.executions.redrive(stuck.arn, client_token="t") == first
    assert stuck.describe().redrive_count == 1
    await stuck.stop()


async def test_redriven_executions_survive_a_restart(tmp_path: Path) -> None:
    runner, clock = Runner(), VirtualClock()
    async with Engine.open(tmp_path, runner=runner, clock=clock) as engine:
        work = await engine.load(machine(Nap={"Type": "Wait", "Seconds": 5, "Next": "Work"}, Work=task("work")))
        runner.answers["work"] = TaskError("E", "C")
        execution = await work.start()
        await execution.wait()
        del runner.answers["work"]
        await execution.redrive()
    runner = Runner()
    runner.answers["work"] = "at last"
    async with Engine.open(tmp_path, runner=runner, clock=clock) as engine:
        assert await engine.execution(execution.arn) == "at last"
        assert engine.execution(execution.arn).describe().redrive_count == 1


# -- EXPRESS


async def test_express_runs_in_memory(engine: Engine, runner: Runner) -> None:
    runner.answers["double"] = lambda n: 2 * n
    fast = await engine.load(machine(Double=task("double")), type="EXPRESS", name="fast")
    commits = engine.journal.commits
    assert await fast.run(21) == 42
    record = await engine.executions.start_sync(fast.arn, "4", name="n")
    assert (record.status, record.output, record.billing_details["billedDurationInMilliseconds"]) == (
        "SUCCEEDED",
        "8",
        100,
    )
    assert record.execution_arn.startswith("arn:aws:states:us-east-1:000000000000:express:fast:n:")
    assert engine.journal.commits == commits
    with pytest.raises(StateMachineTypeNotSupported):
        engine.executions.list(state_machine_arn=fast.arn)
    with pytest.raises(InvalidArn):
        engine.executions.describe(record.execution_arn)
    standard = await engine.load(HELLO)
    with pytest.raises(StateMachineTypeNotSupported):
        await engine.executions.start_sync(standard.arn)


async def test_express_failures_and_names(engine: Engine) -> None:
    failing = await engine.load(machine(No={"Type": "Fail", "Error": "E", "Cause": "C"}), type="EXPRESS")
    with pytest.raises(ExecutionFailed, match="E: C"):
        await failing.run()
    arns = {(await engine.executions.start(failing.arn, name="same")).execution_arn for _ in range(3)}
    assert len(arns) == 3, "names of EXPRESS executions need not be unique"


async def test_express_times_out_after_five_minutes(engine: Engine, clock: VirtualClock, runner: Runner) -> None:
    slow = await engine.load(machine(Stuck=task("stuck")), type="EXPRESS")
    began = clock.now()
    assert (await engine.executions.start_sync(slow.arn)).status == "TIMED_OUT"
    assert clock.now() - began == 300_000
    while not runner.cancelled:
        await asyncio.sleep(0)


async def test_a_caller_that_leaves_aborts_a_sync_execution(engine: Engine, runner: Runner) -> None:
    slow = await engine.load(machine(Stuck=task("stuck")), type="EXPRESS")
    waiting = asyncio.create_task(engine.executions.start_sync(slow.arn))
    await runner.wait_for_call()
    waiting.cancel()
    while not runner.cancelled:
        await asyncio.sleep(0)
    assert engine.open_executions == 0


# -- time and memory


async def test_a_year_passes_at_once(engine: Engine, clock: VirtualClock) -> None:
    began = clock.now()
    year = machine(Nap={"Type": "Wait", "Seconds": 364 * 86400, "End": True})
    await (await engine.load(year)).run()
    assert clock.now() - began == 364 * 86_400_000


async def test_time_stands_still_while_a_task_runs(engine: Engine, runner: Runner, clock: VirtualClock) -> None:
    async def slow(_: Any) -> str:
        await asyncio.sleep(0.05)
        return "worked"

    runner.answers["slow"] = slow
    began = clock.now()
    assert await (await engine.load(machine(Slow=task("slow", TimeoutSeconds=1)))).run() == "worked"
    assert clock.now() == began


async def test_timers_fire_in_the_order_they_are_due(engine: Engine) -> None:
    ended: list[str] = []
    engine.subscribe(
        lambda who, events: ended.extend(who.name for event in events if event["type"] == "ExecutionSucceeded")
    )
    nap = await engine.load(machine(Nap={"Type": "Wait", "SecondsPath": "$", "End": True}))
    running = [await nap.start(seconds, name=f"s{seconds}") for seconds in (30, 10, 20, 5, 40)]
    await asyncio.gather(*(execution.wait() for execution in running))
    assert ended == ["s5", "s10", "s20", "s30", "s40"]


async def test_waiting_executions_leave_memory_and_come_back(
    engine: Engine, runner: Runner, monkeypatch: pytest.MonkeyPatch, clock: VirtualClock
) -> None:
    monkeypatch.setattr(host, "LIVE_LIMIT", 10)
    engine._host._evict_at = 10
    nap = await engine.load(machine(Nap={"Type": "Wait", "Seconds": 600, "End": True}), name="nap")
    asking = await engine.load(machine(Ask={**TOKEN_TASK, "TimeoutSeconds": 7200}), name="ask")
    naps = [await nap.start(n) for n in range(50)]
    asks = []
    for n in range(50):
        asks.append(await asking.start(n))
        await runner.wait_for_call()
    await asyncio.sleep(0)
    assert len(engine._host.live) <= 25
    assert engine.open_executions == 100
    assert [await execution for execution in naps] == list(range(50))
    for n, call in enumerate(runner.calls):
        await engine.callbacks.succeed(call.token or "", str(n))
    assert [await execution for execution in asks] == list(range(50))
    assert not runner.cancelled
    assert len(runner.submissions) == 50
    assert len(engine._host.timers) == 0


# -- schedules


async def test_each_due_time_starts_one_execution_also_after_downtime(tmp_path: Path) -> None:
    clock = VirtualClock()
    arn = "arn:aws:states:us-east-1:000000000000:stateMachine:hello"
    hourly = Schedule.parse("cron(0 * * * ? *)")
    async with Engine.open(tmp_path, clock=clock) as engine:
        await engine.load(HELLO, name="hello")
        await engine.schedules.put("hourly", arn, hourly, input=b'{"by":"clock"}', catch_up="all")
        await clock.advance(2 * 3600)
        items = engine.executions.list(state_machine_arn=arn).items
        assert len(items) == 2
        assert engine.executions.describe(items[0].execution_arn).input == '{"by":"clock"}'
        assert [item.name for item in items] == [
            "schedule-hourly-20260101T020000Z",
            "schedule-hourly-20260101T010000Z",
        ]
    clock = VirtualClock(clock.now() + 3 * 3_600_000 + 1_800_000)
    for _ in range(2):
        async with Engine.open(tmp_path, clock=clock) as engine:
            await engine.load(HELLO, name="hello")
            await engine.schedules.put("hourly", arn, hourly, input=b'{"by":"clock"}', catch_up="all")
            await clock.advance(0)
            assert len(engine.executions.list(state_machine_arn=arn).items) == 5
            assert engine.schedules.next_due("hourly") == datetime(2026, 1, 1, 6, tzinfo=UTC)
    async with Engine.open(tmp_path, clock=clock) as engine:
        await engine.schedules.delete("hourly")
        await clock.advance(timedelta(days=1).total_seconds())
        assert len(engine.executions.list(state_machine_arn=arn).items) == 5


# -- facades and modes


def test_running_from_a_script(tmp_path: Path) -> None:
    def greet(event: dict[str, str], _context: Any) -> str:
        return f"hello {event['name']}"

    definition = machine(Greet={"Type": "Task", "Resource": "${greet}", "End": True})
    assert stepwell.run(definition, {"name": "Ada"}, functions={"greet": greet}) == "hello Ada"
    with stepwell.open(tmp_path) as engine:
        execution = engine.load(definition, functions={"greet": greet}).start({"name": "Bob"}, name="b")
        seen = [event["type"] for event in execution.events()]
        assert execution.result() == "hello Bob"
        assert seen == types(execution.history())
    with stepwell.open(tmp_path) as engine:
        assert engine.execution(execution.arn).status == "SUCCEEDED"
    with pytest.raises(ExecutionFailed):
        stepwell.run(machine(No={"Type": "Fail"}))


async def test_accept_mode_takes_work_and_leaves_it_for_later(tmp_path: Path) -> None:
    runner = Runner()
    runner.answers["work"] = "done"
    async with Engine.open(tmp_path, runner=runner) as engine:
        work = await engine.load(machine(Work=task("work")))
    async with Engine.open(tmp_path, mode="accept") as engine:
        started = await engine.executions.start(work.arn, "{}", name="later")
        other = await engine.executions.start(work.arn, "{}", name="never")
        await engine.executions.stop(other.execution_arn)
        assert engine.executions.status(started.execution_arn) == "RUNNING"
    assert not runner.calls
    async with Engine.open(tmp_path, runner=runner) as engine:
        assert await engine.execution(started.execution_arn) == "done"
        assert engine.executions.status(other.execution_arn) == "ABORTED"
    assert len(runner.calls) == 1
