"""Parallel and inline Map: windows, joins, failures, scopes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stepwell.interpreter.effects import CancelTask, RunTask
from stepwell.interpreter.events import TaskFailed, TaskSucceeded

from .helpers import begin, chain, details, machine, of, output, passing, run, scripted, task


def parallel(*branches: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "Type": "Parallel",
        "Branches": [machine(branch) for branch in branches],
        **({} if "Next" in fields else {"End": True}),
        **fields,
    }


def mapping(states: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "Type": "Map",
        "ItemProcessor": machine(states),
        **({} if "Next" in fields else {"End": True}),
        **fields,
    }


def test_parallel_gives_the_results_in_the_order_of_its_branches() -> None:
    waiting = begin(machine({"P": parallel({"A": task()}, {"B": task()}, {"C": passing(Result="c")})}), {"x": 1})
    first, second = of(waiting, RunTask)
    waiting.handle(waiting.event(TaskSucceeded, command=second.command, output=b'"b"'))
    waiting.handle(waiting.event(TaskSucceeded, command=first.command, output=b'"a"'))
    assert output(waiting) == ["a", "b", "c"]
    ids = {event["type"]: event["id"] for event in waiting.history}
    ends = [event for event in waiting.history if event["type"].startswith("ParallelState")][-2:]
    last = waiting.history[ends[0]["id"] - 2]
    assert last["type"] == "TaskStateExited" and details(last)["name"] == "A"
    assert [event["previousEventId"] for event in ends] == [last["id"], last["id"]]
    assert ids["ExecutionSucceeded"] == len(waiting.history)


def test_parallel_failure_cuts_the_others_off() -> None:
    wait = {"Type": "Wait", "Seconds": 100, "End": True}
    inner = mapping({"W": wait})
    branches = parallel({"A": task()}, {"B": task()}, {"W": wait}, {"M": inner}, {"Q": parallel({"Z": task()})})
    waiting = begin(machine({"P": branches}), [1, 2])
    commands = [effect.command for effect in of(waiting, RunTask)]
    waiting.handle(waiting.event(TaskFailed, command=commands[0], error="E", cause="c"))
    failed = next(event["id"] for event in waiting.history if event["type"] == "LambdaFunctionFailed")
    assert chain(waiting)[failed:] == [
        ("TaskStateAborted", failed),
        ("TaskStateAborted", failed),
        ("WaitStateAborted", failed),
        ("MapIterationAborted", failed),
        ("WaitStateAborted", failed),
        ("MapIterationAborted", failed),
        ("WaitStateAborted", failed),
        ("MapStateAborted", failed),
        ("TaskStateAborted", failed),
        ("ParallelStateAborted", failed),
        ("ParallelStateFailed", failed),
        ("ExecutionFailed", len(waiting.history) - 1),
    ]
    assert {effect.command for effect in of(waiting, CancelTask)} == set(commands[1:])
    assert waiting.finish is not None and waiting.finish.error == "E"


def test_a_branch_that_failed_before_others_began_leaves_them_out() -> None:
    done = run(machine({"P": parallel({"F": {"Type": "Fail", "Error": "E"}}, {"A": task()})}))
    assert done.types[2:] == ["ParallelStateStarted", "FailStateEntered", "ParallelStateFailed", "ExecutionFailed"]


def test_parallel_is_retried_as_a_whole_and_caught() -> None:
    state = parallel(
        {"A": task()},
        Retry=[{"ErrorEquals": ["E"], "MaxAttempts": 1}],
        Catch=[{"ErrorEquals": ["E"], "ResultPath": "$.e", "Next": "P2"}],
    )
    done = run(machine({"P": state, "P2": passing()}), {"a": 1}, scripted(Exception("E"), Exception("E", "c")))
    assert output(done) == {"a": 1, "e": {"Error": "E", "Cause": "c"}}
    assert done.types.count("ParallelStateStarted") == 2
    assert done.types.count("ParallelStateFailed") == 1
    assert not done.execution.frames


def test_runtime_faults_inside_a_branch_end_the_execution_at_once() -> None:
    done = run(
        machine({"P": parallel({"A": passing(InputPath="$.no")}, Catch=[{"ErrorEquals": ["States.ALL"], "Next": "P"}])})
    )
    assert done.types[-2:] == ["PassStateEntered", "ExecutionFailed"]


def test_branches_read_outer_variables_and_keep_theirs_to_themselves() -> None:
    states = {
        "S": passing(Assign={"x": 1}, Next="P"),
        "P": parallel(
            {"A": passing(Assign={"y.$": "$x"}, Next="A2"), "A2": passing(Parameters={"y.$": "$y"})},
            {"B": passing(Parameters={"x.$": "$x"})},
            Next="E",
        ),
        "E": passing(Parameters={"x.$": "$x", "joined.$": "$"}),
    }
    done = run(machine(states))
    assert output(done) == {"x": 1, "joined": [{"y": 1}, {"x": 1}]}
    states["E"] = passing(Parameters={"y.$": "$y"})
    assert run(machine(states)).execution.status == "FAILED"


def test_parallel_result_over_the_limit_fails_the_state() -> None:
    big = "a" * 200_000
    done = run(machine({"P": parallel({"A": task()}, {"B": task()})}), None, scripted(big, big))
    assert done.finish is not None and done.finish.error == "States.DataLimitExceeded"
    assert "'P' returned a result" in str(done.finish.cause)


# -- Map


def test_window_of_forty_when_concurrency_is_not_limited() -> None:
    waiting = begin(machine({"M": mapping({"T": task()})}), list(range(50)))
    assert len(of(waiting, RunTask)) == 40
    assert [details(event)["index"] for event in waiting.history if event["type"] == "MapIterationStarted"] == list(
        range(40)
    )
    waiting.handle(waiting.event(TaskSucceeded, command=of(waiting, RunTask)[7].command, output=b"1"))
    assert len(of(waiting, RunTask)) == 41
    assert details(waiting.history[-4])["index"] == 40


@pytest.mark.parametrize(("limit", "window"), [(1, 1), (3, 3), (40, 40), (100, 40)])
def test_window_is_max_concurrency(limit: int, window: int) -> None:
    waiting = begin(machine({"M": mapping({"T": task()}, MaxConcurrency=limit)}), list(range(60)))
    assert len(of(waiting, RunTask)) == window
    by_path = begin(
        machine({"M": mapping({"T": task()}, ItemsPath="$.i", MaxConcurrencyPath="$.n")}), {"i": [1] * 60, "n": limit}
    )
    assert len(of(by_path, RunTask)) == window


def test_results_keep_the_order_of_the_items() -> None:
    waiting = begin(machine({"M": mapping({"T": task()})}), [1, 2, 3])
    for effect in reversed(of(waiting, RunTask)):
        waiting.handle(waiting.event(TaskSucceeded, command=effect.command, output=effect.arguments))
    assert output(waiting) == [1, 2, 3]


def test_no_items_no_iterations() -> None:
    done = run(machine({"M": mapping({"T": task()})}), [])
    assert output(done) == []
    assert chain(done)[2:] == [
        ("MapStateStarted", 2),
        ("MapStateSucceeded", 3),
        ("MapStateExited", 3),
        ("ExecutionSucceeded", 5),
    ]


def test_item_selector_sees_the_item_and_the_input() -> None:
    selector = {
        "v.$": "$$.Map.Item.Value",
        "i.$": "$$.Map.Item.Index",
        "from.$": "$$.Map.Item.Source",
        "base.$": "$.base",
    }
    state = mapping(
        {"P": passing(Parameters={"in.$": "$", "again.$": "$$.Map.Item.Index"})}, ItemsPath="$.l", ItemSelector=selector
    )
    assert output(run(machine({"M": state}), {"l": ["a"], "base": 5})) == [
        {"in": {"v": "a", "i": 0, "from": "STATE_DATA", "base": 5}, "again": 0}
    ]


def test_jsonata_map() -> None:
    state = mapping(
        {"P": passing(Output="{% $states.input.v & 'x' %}")},
        Items="{% $states.input.l %}",
        ItemSelector={"v": "{% $states.context.Map.Item.Value %}"},
        Output={"all": "{% $states.result %}"},
    )
    assert output(run(machine({"M": state}, QueryLanguage="JSONata"), {"l": ["a", "b"]})) == {"all": ["ax", "bx"]}


def test_a_selector_that_fails_fails_the_map() -> None:
    state = mapping({"T": task()}, MaxConcurrency=1, ItemSelector={"v.$": "$$.Map.Item.Value.x"})
    waiting = begin(machine({"M": state}), [{"x": 1}, {}])
    waiting.handle(waiting.event(TaskSucceeded, command=of(waiting, RunTask)[0].command, output=b"1"))
    assert waiting.execution.status == "FAILED"


def test_what_is_no_array_is_refused() -> None:
    for value in ({}, "x", None):
        done = run(machine({"M": mapping({"T": task()}, ItemsPath="$.l")}), {"l": value})
        assert done.finish is not None and done.finish.error == "States.Runtime"
        assert 'Reference path "$.l" must point to array.' in str(done.finish.cause)


def test_tolerated_iterations_leave_no_result() -> None:
    state = mapping({"T": task()}, ToleratedFailureCount=1, MaxConcurrency=1)
    done = run(machine({"M": state}), [1, 2, 3], scripted("a", Exception("E"), "c"))
    assert output(done) == ["a", "c"]
    assert done.types.count("MapIterationFailed") == 1
    failed = run(machine({"M": state}), [1, 2, 3], scripted("a", Exception("E"), Exception("E")))
    assert failed.finish is not None and failed.finish.error == "E"


def test_nested_maps_join() -> None:
    inner = mapping({"P": passing()}, ItemsPath="$")
    assert output(run(machine({"M": mapping({"N": inner})}), [[1, 2], [], [3]])) == [[1, 2], [], [3]]


def test_one_iteration_costs_the_same_with_few_or_many_siblings() -> None:
    costs = []
    for items in (10, 5_000):
        waiting = begin(machine({"M": mapping({"T": task()}, MaxConcurrency=2)}), list(range(items)))
        waiting.execution.dump_changes()
        command = of(waiting, RunTask)[0].command
        waiting.execution.handle(waiting.event(TaskSucceeded, command=command, output=b"1"))
        records = waiting.execution.dump_changes()
        costs.append((len(records), sum(len(data or b"") for data in records.values())))
    assert costs[0][0] == costs[1][0]
    assert abs(costs[0][1] - costs[1][1]) < 30


def test_a_big_map_of_pure_states_yields_to_its_host_and_finishes() -> None:
    done = run(machine({"M": mapping({"P": passing()}, ResultPath=None)}), list(range(4000)))
    assert json.loads(str(done.finish and done.finish.output and done.finish.output.decode()))[-1] == 3999
