"""Executions that start executions: nested ones, and the children of distributed Maps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stepwell.engine import Engine, ExecutionFailed, VirtualClock
from stepwell.engine.errors import ResourceNotFound, ValidationException
from stepwell.engine.mapruns import Outcomes
from stepwell.engine.rows import ExecutionRow
from stepwell.interpreter.effects import ReadItems, WriteResults
from stepwell.tasks import TaskError

from .conftest import Runner, machine, task, types

CHILD = "arn:aws:states:us-east-1:000000000000:stateMachine:child"


@pytest.fixture
async def nested(clock: VirtualClock) -> AsyncIterator[Engine]:
    """With the real dispatcher, whose nested executions come back to this engine."""
    async with Engine.open(clock=clock) as engine:
        yield engine


def starting(pattern: str, **parameters: Any) -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": f"arn:aws:states:::states:startExecution{pattern}",
        "Parameters": {"StateMachineArn": CHILD, **parameters},
        "End": True,
    }


async def test_start_and_forget(nested: Engine) -> None:
    await nested.load(machine(Nap={"Type": "Wait", "Seconds": 9, "End": True}), name="child")
    parent = await nested.load(machine(Start=starting("", Name="kid", Input={"x": 1})))
    answer = await parent.run()
    child = nested.execution(answer["ExecutionArn"])
    assert child.name == "kid"
    assert await child == {"x": 1}


@pytest.mark.parametrize(("pattern", "output"), [(".sync", '{"x":1}'), (".sync:2", {"x": 1})])
async def test_waiting_for_a_child(nested: Engine, pattern: str, output: Any) -> None:
    await nested.load(machine(Nap={"Type": "Wait", "Seconds": 9, "End": True}), name="child")
    parent = await nested.load(machine(Start=starting(pattern, Input={"x": 1})))
    answer = await parent.run()
    assert answer["Output"] == output
    assert answer["Status"] == "SUCCEEDED"


async def test_a_failed_child_fails_the_task(nested: Engine) -> None:
    await nested.load(machine(No={"Type": "Fail", "Error": "E", "Cause": "C"}), name="child")
    parent = await nested.load(machine(Start=starting(".sync:2")))
    with pytest.raises(ExecutionFailed, match=r'States\.TaskFailed.*"Error":"E"'):
        await parent.run()


async def test_stopping_the_parent_stops_the_child(nested: Engine) -> None:
    await nested.load(machine(Nap={"Type": "Wait", "Seconds": 9000, "End": True}), name="child")
    parent = await nested.load(machine(Start=starting(".sync")), name="parent")
    execution = await parent.start()
    while not nested.executions.list(state_machine_arn=CHILD).items:
        await asyncio.sleep(0)
    child = nested.executions.list(state_machine_arn=CHILD).items[0]
    await execution.stop()
    assert (await nested.executions.wait(child.execution_arn)).status == "ABORTED"


async def test_a_child_is_found_again_after_a_restart(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with Engine.open(tmp_path, clock=clock) as engine:
        await engine.load(machine(Nap={"Type": "Wait", "Seconds": 9000, "End": True}), name="child")
        parent = await engine.load(machine(Start=starting(".sync:2", Input={"n": 1})), name="parent")
        execution = await parent.start()
        while not engine.executions.list(state_machine_arn=CHILD).items:
            await asyncio.sleep(0)
    async with Engine.open(tmp_path, clock=VirtualClock(clock.now())) as engine:
        assert (await engine.execution(execution.arn))["Output"] == {"n": 1}
        assert len(engine.executions.list(state_machine_arn=CHILD).items) == 1


# -- distributed maps


def distributed(processor: dict[str, Any], kind: str = "STANDARD", **fields: Any) -> dict[str, Any]:
    return machine(
        D={
            "Type": "Map",
            "Label": "Items",
            "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": kind}, **processor},
            "End": True,
            **fields,
        }
    )


@pytest.mark.parametrize("kind", ["STANDARD", "EXPRESS"])
async def test_children_run_and_the_results_are_in_order(engine: Engine, runner: Runner, kind: str) -> None:
    async def later(n: int) -> int:
        for _ in range(10 - n):
            await asyncio.sleep(0)
        return n * n

    runner.answers["square"] = later
    each = await engine.load(distributed(machine(S=task("square")), kind, MaxConcurrency=3))
    execution = await each.start(list(range(8)))
    assert await execution == [n * n for n in range(8)]
    runs = engine.map_runs.list(execution.arn).items
    assert len(runs) == 1
    run = engine.map_runs.describe(runs[0].map_run_arn)
    assert run.status == "SUCCEEDED"
    assert run.max_concurrency == 3
    assert run.item_counts["succeeded"] == run.item_counts["total"] == 8
    assert run.execution_arn == execution.arn
    assert run.map_run_arn.startswith("arn:aws:states:us-east-1:000000000000:mapRun:machine/Items:")
    children = engine.executions.list(map_run_arn=run.map_run_arn).items
    if kind == "STANDARD":
        assert len(children) == 8
        child = engine.execution(children[0].execution_arn)
        assert ":execution:machine/Items:" in child.arn
        assert child.describe().map_run_arn == run.map_run_arn
        assert types(child.history())[0] == "ExecutionStarted"
        assert engine.machines.describe_for_execution(child.arn).label == "Items"
    else:
        assert children == []


async def test_a_failed_child_ends_the_map_run(engine: Engine) -> None:
    each = await engine.load(distributed(machine(No={"Type": "Fail", "Error": "E"})))
    execution = await each.start([1, 2, 3])
    with pytest.raises(ExecutionFailed, match=r"States\.ExceedToleratedFailureThreshold"):
        await execution
    run = engine.map_runs.describe(engine.map_runs.list(execution.arn).items[0].map_run_arn)
    assert run.status == "FAILED"
    assert run.stop_date is not None


async def test_stopping_the_parent_aborts_the_children(engine: Engine, runner: Runner) -> None:
    each = await engine.load(distributed(machine(S=task("stuck"))))
    execution = await each.start([1, 2, 3])
    while len(runner.calls) < 3:
        await runner.wait_for_call()
    await execution.stop()
    run = engine.map_runs.list(execution.arn).items[0].map_run_arn
    while {item.status for item in engine.executions.list(map_run_arn=run).items} != {"ABORTED"}:
        await asyncio.sleep(0)
    assert engine.map_runs.describe(run).status == "ABORTED"
    while len(runner.cancelled) < 3:
        await asyncio.sleep(0)


@pytest.mark.parametrize("kind", ["STANDARD", "EXPRESS"])
async def test_a_map_run_goes_on_after_a_restart(tmp_path: Path, kind: str) -> None:
    clock, runner = VirtualClock(), Runner()
    runner.answers["square"] = lambda n: n * n if n < 4 else asyncio.Event().wait()
    async with Engine.open(tmp_path, clock=clock, runner=runner) as engine:
        each = await engine.load(distributed(machine(S=task("square")), kind))
        execution = await each.start(list(range(8)))
        while len(runner.calls) < 8:
            await runner.wait_for_call()
        await engine.journal.committed()
    runner = Runner()
    runner.answers["square"] = lambda n: n * n
    async with Engine.open(tmp_path, clock=VirtualClock(clock.now()), runner=runner) as engine:
        assert await engine.execution(execution.arn) == [n * n for n in range(8)]
        again = sorted(int(call.arguments) for call in runner.calls)
        assert again == [4, 5, 6, 7]
        run = engine.map_runs.describe(engine.map_runs.list(execution.arn).items[0].map_run_arn)
        assert run.item_counts["succeeded"] == 8


async def test_new_limits_for_a_running_map_run(engine: Engine, runner: Runner) -> None:
    each = await engine.load(distributed(machine(S=task("stuck")), MaxConcurrency=1))
    execution = await each.start([1, 2, 3, 4])
    await runner.wait_for_call()
    run = engine.map_runs.list(execution.arn).items[0].map_run_arn
    await engine.map_runs.update(run, max_concurrency=3)
    while len(runner.calls) < 3:
        await runner.wait_for_call()
    assert engine.map_runs.describe(run).max_concurrency == 3
    await execution.stop()
    await execution.wait()
    with pytest.raises(ValidationException):
        await engine.map_runs.update(run, max_concurrency=4)
    with pytest.raises(ResourceNotFound):
        engine.map_runs.describe(run + "x")


class Items:
    """A reader of numbers, page by page, and a writer that sums up."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.reads = 0
        self.written: list[tuple[str, bytes]] = []

    async def read(self, request: ReadItems, role_arn: str) -> tuple[bytes, str | None, list[tuple[int, str]] | None]:
        self.reads += 1
        first = int(request.cursor or 0)
        last = min(first + request.limit, self.total)
        page = ",".join(map(str, range(first, last)))
        return f"[{page}]".encode(), None if last == self.total else str(last), None

    async def write(self, request: WriteResults, role_arn: str, outcomes: Outcomes) -> bytes:
        after = 0
        while rows := outcomes.page(after, 100):
            after = rows[-1].id
            self.written += [(row.status, row.output or b"") for row in rows]
        return b'{"MapRunArn":"x","ResultWriterDetails":{"Bucket":"b","Key":"k"}}'


async def test_items_are_read_by_pages_and_results_written(clock: VirtualClock, runner: Runner) -> None:
    items = Items(2500)
    async with Engine.open(clock=clock, runner=runner, items=items) as engine:
        definition = distributed(
            machine(P={"Type": "Pass", "End": True}),
            ItemReader={"Resource": "arn:aws:states:::s3:getObject", "Parameters": {"Bucket": "b", "Key": "k"}},
            ResultWriter={"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "b", "Prefix": "p"}},
        )
        execution = await (await engine.load(definition)).start()
        assert (await execution)["ResultWriterDetails"] == {"Bucket": "b", "Key": "k"}
        assert items.reads >= 3
        assert sorted(int(output) for _, output in items.written) == list(range(2500))
        run = engine.map_runs.list(execution.arn).items[0].map_run_arn
        assert engine.map_runs.describe(run).item_counts["succeeded"] == 2500


class Exported(Items):
    """A writer that remembers whole rows."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.rows: list[ExecutionRow] = []

    async def write(self, request: WriteResults, role_arn: str, outcomes: Outcomes) -> bytes:
        self.rows = []
        while rows := outcomes.page(self.rows[-1].id if self.rows else 0, 2):
            self.rows += rows
        return b"{}"


def exported(kind: str, **fields: Any) -> dict[str, Any]:
    reader = {"Resource": "arn:aws:states:::s3:getObject", "Parameters": {"Bucket": "b", "Key": "k"}}
    writer = {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "b", "Prefix": "p"}}
    return distributed(machine(S=task("square")), kind, ItemReader=reader, ResultWriter=writer, **fields)


def odd(n: int) -> int:
    if n % 2:
        return n * n
    raise TaskError("Even", str(n))


@pytest.mark.parametrize("kind", ["STANDARD", "EXPRESS"])
async def test_the_outcomes_of_both_types_are_exported(clock: VirtualClock, runner: Runner, kind: str) -> None:
    runner.answers["square"] = odd
    items = Exported(5)
    async with Engine.open(clock=clock, runner=runner, items=items) as engine:
        execution = await (await engine.load(exported(kind, ToleratedFailureCount=9))).start()
        assert await execution == {}
        assert [row.input for row in items.rows] == [b"0", b"1", b"2", b"3", b"4"], "in the order of their starts"
        assert [(row.status, row.output, row.error) for row in items.rows] == [
            ("SUCCEEDED", str(n * n).encode(), None) if n % 2 else ("FAILED", None, "Even") for n in range(5)
        ]
        assert all(row.stop is not None for row in items.rows)
        run = engine.map_runs.list(execution.arn).items[0].map_run_arn
        listed = [item.execution_arn for item in engine.executions.list(map_run_arn=run).items]
        everything = [item.execution_arn for item in engine.executions.list().items]
        assert len(listed) == (5 if kind == "STANDARD" else 0)
        assert sorted(everything) == sorted([*listed, execution.arn]), (
            "what is kept of EXPRESS children is no execution"
        )


@pytest.mark.parametrize("kind", ["STANDARD", "EXPRESS"])
async def test_an_export_after_a_crash_and_a_redrive_has_every_child_once(tmp_path: Path, kind: str) -> None:
    clock, runner, items = VirtualClock(), Runner(), Exported(6)
    runner.answers["square"] = lambda n: n * n if n < 3 else asyncio.Event().wait()
    async with Engine.open(tmp_path, clock=clock, runner=runner, items=items) as engine:
        execution = await (await engine.load(exported(kind, ToleratedFailureCount=2))).start()
        while len(runner.calls) < 6:
            await runner.wait_for_call()
        await engine.journal.committed()
    runner = Runner()
    runner.answers["square"] = odd
    async with Engine.open(tmp_path, clock=VirtualClock(clock.now()), runner=runner, items=items) as engine:
        assert await engine.execution(execution.arn) == {}
        assert sorted(int(call.arguments) for call in runner.calls) == [3, 4, 5]
        assert [(row.input, row.status) for row in items.rows if row.status == "FAILED"] == [(b"4", "FAILED")]
        assert sorted(row.input for row in items.rows) == [str(n).encode() for n in range(6)]
        each = await engine.load(exported(kind), name="strict")
        strict = await each.start()
        with pytest.raises(ExecutionFailed):
            await strict
        runner.answers["square"] = lambda n: n * n
        await strict.redrive()
        assert await strict == {}
        assert sorted((row.input, row.status) for row in items.rows) == [
            (str(n).encode(), "SUCCEEDED") for n in range(6)
        ]
