"""Distributed Maps: reading, batching, windows, thresholds, writing, redriving."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stepwell.interpreter import child_identity, load
from stepwell.interpreter.effects import (
    CloseMapRun,
    OpenMapRun,
    ReadItems,
    RedriveChild,
    StartChild,
    StopChild,
    UpdateMapRun,
    WriteResults,
)
from stepwell.interpreter.events import (
    ChildFinished,
    ItemsRead,
    MapRunChanged,
    Redriven,
    ResultsWritten,
    TaskFailed,
)
from stepwell.language.compiler import compile_machine

from .helpers import chain, details, machine, of, output, passing, run, scripted, silent, task
from .memory_host import Run, identity

READER = {"Resource": "arn:aws:states:::s3:getObject", "Parameters": {"Bucket": "b", "Key.$": "$.key"}}


class Parent(Run):
    """A run whose child executions are answered by hand."""

    def _start_child(self, effect: StartChild) -> None:
        return

    def finish_child(self, effect: Any, status: str = "SUCCEEDED", output: Any = None, **fields: Any) -> None:
        data = json.dumps(output).encode() if status == "SUCCEEDED" else None
        self.handle(self.event(ChildFinished, command=effect.command, status=status, output=data, **fields))


def distributed(states: dict[str, Any] | None = None, kind: str = "STANDARD", **fields: Any) -> dict[str, Any]:
    processor = machine(states or {"P": passing()}, ProcessorConfig={"Mode": "DISTRIBUTED", "ExecutionType": kind})
    return machine({"M": {"Type": "Map", "ItemProcessor": processor, "End": True, **fields}})


def parent(definition: Any, input: Any = None) -> Parent:
    return Parent(compile_machine(definition), json.dumps({} if input is None else input).encode(), identity(), silent)


def started(run_: Run) -> list[Any]:
    return of(run_, StartChild)


def test_children_run_and_their_outputs_are_the_result() -> None:
    done = run(distributed({"P": passing(Parameters={"v.$": "$", "id.$": "$$.Execution.Id"})}, Label="sub"), [1, 2])
    results = output(done)
    assert [result["v"] for result in results] == [1, 2]
    assert results[0]["id"].startswith("arn:aws:states:us-east-1:000000000000:execution:machine/sub:")
    assert [kind for kind, _ in chain(done)[1:]] == [
        "MapStateEntered",
        "MapStateStarted",
        "MapRunStarted",
        "MapRunSucceeded",
        "MapStateSucceeded",
        "MapStateExited",
        "ExecutionSucceeded",
    ]
    arn = details(done.history[3])["mapRunArn"]
    assert arn.startswith("arn:aws:states:us-east-1:000000000000:mapRun:machine/sub:")
    assert [type(effect) for effect in done.effects if isinstance(effect, (OpenMapRun, CloseMapRun))] == [
        OpenMapRun,
        CloseMapRun,
    ]


def test_child_identity() -> None:
    who = identity(role_arn="r")
    arn = "arn:aws:states:us-east-1:000000000000:mapRun:machine/label:1234"
    child = child_identity(who, arn, "name", "STANDARD", 5)
    assert child.execution_arn == "arn:aws:states:us-east-1:000000000000:execution:machine/label:name"
    assert (child.state_machine_name, child.type, child.start_time, child.map_run_arn) == (
        "machine/label",
        "STANDARD",
        5,
        arn,
    )
    express = child_identity(who, arn, "name", "EXPRESS", 5)
    assert express.execution_arn == "arn:aws:states:us-east-1:000000000000:express:machine/label:name:name"


def test_window_and_counts() -> None:
    waiting = parent(distributed(MaxConcurrency=2), list(range(5)))
    assert len(started(waiting)) == 2
    counts = of(waiting, UpdateMapRun)[-1].item_counts
    assert (counts["pending"], counts["running"], counts["total"]) == (3, 2, 5)
    waiting.finish_child(started(waiting)[1], output="b")
    assert len(started(waiting)) == 3
    waiting.finish_child(started(waiting)[0], output="a")
    for position in (2, 3, 4):
        waiting.finish_child(started(waiting)[position], output=position)
    assert output(waiting) == ["a", "b", 2, 3, 4]
    assert of(waiting, UpdateMapRun)[-1].execution_counts["succeeded"] == 5


def test_item_selector_and_batches() -> None:
    fields = {
        "ItemsPath": "$.l",
        "ItemSelector": {"v.$": "$$.Map.Item.Value", "i.$": "$$.Map.Item.Index", "b.$": "$.base"},
        "ItemBatcher": {"MaxItemsPerBatch": 2, "BatchInput": {"base.$": "$.base"}},
    }
    waiting = parent(distributed(**fields), {"l": ["a", "b", "c"], "base": 1})
    first, second = (json.loads(effect.input) for effect in started(waiting))
    assert first == {"BatchInput": {"base": 1}, "Items": [{"v": "a", "i": 0, "b": 1}, {"v": "b", "i": 1, "b": 1}]}
    assert [item["i"] for item in second["Items"]] == [2]
    assert [effect.item_count for effect in started(waiting)] == [2, 1]


def test_batches_by_bytes() -> None:
    waiting = parent(distributed(ItemBatcher={"MaxInputBytesPerBatch": 40}), ["x" * 10] * 5)
    inputs = [effect.input for effect in started(waiting)]
    assert [len(json.loads(data)["Items"]) for data in inputs] == [2, 2, 1]
    assert all(len(data) <= 40 for data in inputs)
    alone = parent(distributed(ItemBatcher={"MaxInputBytesPerBatch": 5}), ["x" * 10] * 2)
    assert [len(json.loads(effect.input)["Items"]) for effect in started(alone)] == [1, 1]


def test_reader_pages() -> None:
    waiting = parent(distributed(ItemReader=READER, MaxConcurrency=3), {"key": "k"})
    read = of(waiting, ReadItems)[0]
    assert details(waiting.history[2]) == {"length": 0}
    assert read.reader == {
        "Resource": READER["Resource"],
        "Parameters": {"Bucket": "b", "Key": "k"},
        "ReaderConfig": {},
    }
    assert (read.cursor, waiting.execution.awaits(read.command)) == (None, True)
    waiting.handle(waiting.event(ItemsRead, command=read.command, items=b"[1,2,3,4]", cursor="next"))
    assert len(started(waiting)) == 3
    second = of(waiting, ReadItems)[1]
    assert second.cursor == "next"
    waiting.handle(waiting.event(ItemsRead, command=second.command, items=b"[5]"))
    for position in range(5):
        waiting.finish_child(started(waiting)[position], output=position)
    assert output(waiting) == [0, 1, 2, 3, 4]


def test_reader_config_and_max_items() -> None:
    reader = {**READER, "ReaderConfig": {"InputType": "CSV", "MaxItemsPath": "$.n"}}
    waiting = parent(distributed(ItemReader=reader), {"key": "k", "n": 3})
    read = of(waiting, ReadItems)[0]
    assert (read.limit, read.reader["ReaderConfig"]) == (3, {"InputType": "CSV"})
    waiting.handle(waiting.event(ItemsRead, command=read.command, items=b"[1,2,3,4,5]", cursor="more"))
    assert [json.loads(effect.input) for effect in started(waiting)] == [1, 2, 3]
    assert len(of(waiting, ReadItems)) == 1
    negative = parent(distributed(ItemReader=reader), {"key": "k", "n": -1})
    assert negative.types[-3:] == ["MapRunFailed", "MapStateFailed", "ExecutionFailed"]
    assert details(negative.history[-1]) == {
        "error": "States.ItemReaderFailed",
        "cause": "field MaxItems must be positive",
    }


def test_reader_failure_can_be_caught() -> None:
    definition = distributed(ItemReader=READER, Catch=[{"ErrorEquals": ["States.ItemReaderFailed"], "Next": "E"}])
    definition["States"]["E"] = passing()
    waiting = parent(definition, {"key": "k"})
    read = of(waiting, ReadItems)[0]
    waiting.handle(
        waiting.event(TaskFailed, command=read.command, error="States.ItemReaderFailed", cause="no such key")
    )
    assert output(waiting) == {"Error": "States.ItemReaderFailed", "Cause": "no such key"}


def test_an_object_is_iterated_by_its_entries() -> None:
    selector = {"k.$": "$$.Map.Item.Key", "v.$": "$$.Map.Item.Value"}
    waiting = parent(distributed(ItemSelector=selector), {"a": 1, "b": 2})
    assert [json.loads(effect.input) for effect in started(waiting)] == [{"k": "a", "v": 1}, {"k": "b", "v": 2}]


@pytest.mark.parametrize(
    ("fields", "failures", "fails"),
    [
        ({}, 1, True),
        ({"ToleratedFailureCount": 2}, 2, False),
        ({"ToleratedFailureCount": 2}, 3, True),
        ({"ToleratedFailurePercentage": 20}, 2, False),
        ({"ToleratedFailurePercentage": 20}, 3, True),
        ({"ToleratedFailureCount": 5, "ToleratedFailurePercentage": 10}, 2, True),
        ({"ToleratedFailurePercentage": 100}, 10, False),
    ],
)
def test_thresholds(fields: dict[str, Any], failures: int, fails: bool) -> None:
    waiting = parent(distributed(**fields), list(range(10)))
    for position, effect in enumerate(started(waiting)):
        waiting.finish_child(effect, "FAILED" if position < failures else "SUCCEEDED", output=position)
    assert waiting.finish is not None
    if fails:
        assert waiting.finish.error == "States.ExceedToleratedFailureThreshold"
        assert waiting.types[-3:] == ["MapRunFailed", "MapStateFailed", "ExecutionFailed"]
        assert of(waiting, CloseMapRun)[0].status == "FAILED"
        assert len(of(waiting, StopChild)) == 10 - failures
    else:
        assert output(waiting) == list(range(failures, 10))


def test_failed_items_of_a_batch_all_count() -> None:
    waiting = parent(distributed(ToleratedFailureCount=1, ItemBatcher={"MaxItemsPerBatch": 2}), [1, 2, 3])
    waiting.finish_child(started(waiting)[0], "TIMED_OUT")
    assert waiting.execution.status == "FAILED"


def test_writer_exports_instead_of_keeping() -> None:
    writer = {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "b", "Prefix.$": "$.key"}}
    waiting = parent(distributed(ItemsPath="$.l", ResultWriter=writer), {"l": [1], "key": "k"})
    waiting.finish_child(started(waiting)[0], output=1)
    write = of(waiting, WriteResults)[0]
    assert write.writer == {
        "Resource": writer["Resource"],
        "WriterConfig": {},
        "Parameters": {"Bucket": "b", "Prefix": "k"},
    }
    assert waiting.execution.pending()[0] == write
    waiting.handle(waiting.event(ResultsWritten, command=write.command, output=b'{"MapRunArn": "x"}'))
    assert output(waiting) == {"MapRunArn": "x"}


def test_items_of_several_objects_have_their_sources() -> None:
    reader = {"Resource": "arn:aws:states:::s3:listObjectsV2", "Parameters": {"Bucket": "b"}}
    selector = {"v.$": "$$.Map.Item.Value", "from.$": "$$.Map.Item.Source"}
    waiting = parent(distributed(ItemReader=reader, ItemSelector=selector, MaxConcurrency=2))
    pages = [
        (b"[1,2,3]", "c", [(2, "S3://b/1"), (1, "S3://b/2")]),
        (b"[4,5]", "d", [(2, "S3://b/2")]),
        (b"[6]", None, [(1, "S3://b/3")]),
    ]
    inputs: list[Any] = []
    answered: set[int] = set()
    while waiting.execution.status == "RUNNING":
        for read in of(waiting, ReadItems):
            if read.command not in answered:
                answered.add(read.command)
                items, cursor, sources = pages.pop(0)
                event = waiting.event(ItemsRead, command=read.command, items=items, cursor=cursor, sources=sources)
                waiting.handle(event)
        for child in started(waiting):
            if child.command not in answered:
                answered.add(child.command)
                inputs.append(json.loads(child.input))
                waiting.finish_child(child, output=1)
    assert [(one["v"], one["from"]) for one in inputs] == [
        (1, "S3://b/1"),
        (2, "S3://b/1"),
        (3, "S3://b/2"),
        (4, "S3://b/2"),
        (5, "S3://b/2"),
        (6, "S3://b/3"),
    ]


def test_flatten() -> None:
    done = run(distributed(ResultWriter={"WriterConfig": {"Transformation": "FLATTEN"}}), [[1, 2], [], [3]])
    assert output(done) == [1, 2, 3]


def test_results_over_the_limit_are_not_kept_and_fail_the_state() -> None:
    waiting = parent(distributed(), list(range(5)))
    for effect in started(waiting):
        waiting.finish_child(effect, output="x" * 100_000)
    assert waiting.finish is not None and waiting.finish.error == "States.DataLimitExceeded"
    assert waiting.types[-3:] == ["MapRunSucceeded", "MapStateFailed", "ExecutionFailed"]


def test_stop_aborts_the_map_run() -> None:
    waiting = parent(distributed(), [1, 2])
    waiting.stop()
    assert of(waiting, CloseMapRun)[0].status == "ABORTED"
    assert len(of(waiting, StopChild)) == 2
    assert of(waiting, UpdateMapRun)[-1].item_counts["aborted"] == 2


def test_new_limits_for_a_running_map_run() -> None:
    waiting = parent(distributed(MaxConcurrency=1), list(range(5)))
    arn = of(waiting, OpenMapRun)[0].map_run_arn
    waiting.handle(waiting.event(MapRunChanged, map_run_arn=arn, max_concurrency=3, tolerated_failure_count=1))
    assert len(started(waiting)) == 3
    waiting.finish_child(started(waiting)[0], "FAILED")
    assert waiting.execution.status == "RUNNING"
    waiting.finish_child(started(waiting)[1], "FAILED")
    assert waiting.execution.status == "FAILED"


@pytest.mark.parametrize("kind", ["STANDARD", "EXPRESS"])
def test_redrive_continues_children_that_did_not_succeed_and_items_never_started(kind: str) -> None:
    waiting = parent(distributed(kind=kind, MaxConcurrency=2), ["a", "b", "c", "d"])
    waiting.finish_child(started(waiting)[0], output="A")
    failed, aborted = started(waiting)[1:3]
    waiting.finish_child(failed, "FAILED")
    assert waiting.finish is not None
    waiting.finish = None
    waiting.execution = load(waiting.machine, waiting.execution.dump())
    waiting.handle(waiting.event(Redriven))
    assert waiting.types[-2:] == ["ExecutionRedriven", "MapRunRedriven"]
    again = of(waiting, RedriveChild)
    assert [(effect.name, effect.input) for effect in again] == [
        (effect.name, effect.input if kind == "EXPRESS" else None) for effect in (failed, aborted)
    ]
    assert of(waiting, OpenMapRun)[-1].redrive_count == 1
    assert waiting.execution.awaits(again[0].command)
    waiting.finish_child(again[0], output="B")
    waiting.finish_child(again[1], output="C")
    waiting.finish_child(started(waiting)[-1], output="D")
    assert output(waiting) == ["A", "B", "C", "D"]
    assert of(waiting, UpdateMapRun)[-1].item_counts["succeeded"] == 4


def test_redrive_keeps_the_window() -> None:
    waiting = parent(distributed(ToleratedFailureCount=3, MaxConcurrency=2), list(range(6)))
    for _ in range(4):
        waiting.finish_child(started(waiting)[-2] if len(started(waiting)) < 6 else started(waiting)[-1], "FAILED")
        if waiting.finish is not None:
            break
    assert waiting.execution.status == "FAILED"
    waiting.finish = None
    waiting.handle(waiting.event(Redriven))
    assert len(of(waiting, RedriveChild)) == 2
    counts = of(waiting, UpdateMapRun)[-1].item_counts
    assert counts["running"] == 2
    assert counts["pendingRedrive"] + counts["pending"] == 4


def test_a_million_items_cost_what_ten_do() -> None:
    costs = []
    for length in (10, 100_000):
        waiting = parent(distributed(ItemReader=READER, MaxConcurrency=5, ResultPath=None), {"key": "k"})
        page = 0
        while True:
            read = of(waiting, ReadItems)[-1]
            count = min(1000, length - page)
            page += count
            items = json.dumps(list(range(count))).encode()
            waiting.effects.clear()
            waiting.handle(
                waiting.event(ItemsRead, command=read.command, items=items, cursor=str(page) if page < length else None)
            )
            children = started(waiting)
            if page >= length or length > 10:
                break
        waiting.execution.dump_changes()
        waiting.execution.handle(
            waiting.event(ChildFinished, command=children[0].command, status="SUCCEEDED", output=b"1")
        )
        records = waiting.execution.dump_changes()
        costs.append(sum(len(data or b"") for data in records.values()))
    assert abs(costs[0] - costs[1]) < 50


def test_variables_do_not_reach_child_executions() -> None:
    definition = distributed({"P": passing(Parameters={"v.$": "$v"})})
    definition["States"]["S"] = passing(Assign={"v": 1}, Next="M")
    definition["StartAt"] = "S"
    assert run(definition, [1]).execution.status == "FAILED"


def test_retry_opens_a_new_map_run() -> None:
    waiting = parent(distributed(Retry=[{"ErrorEquals": ["States.ALL"], "MaxAttempts": 1}]), [1])
    waiting.finish_child(started(waiting)[0], "FAILED")
    assert waiting.step()
    assert len({effect.map_run_arn for effect in of(waiting, OpenMapRun)}) == 2
    waiting.finish_child(started(waiting)[-1], output="ok")
    assert output(waiting) == ["ok"]


def test_a_task_in_a_child_has_its_own_history() -> None:
    done = run(distributed({"T": task()}), [1], scripted("ok"))
    child = next(iter(done.children.values()))
    assert child.types == [
        "ExecutionStarted",
        "TaskStateEntered",
        "LambdaFunctionScheduled",
        "LambdaFunctionStarted",
        "LambdaFunctionSucceeded",
        "TaskStateExited",
        "ExecutionSucceeded",
    ]
    assert output(done) == ["ok"]
    assert len(done.history) == 8
