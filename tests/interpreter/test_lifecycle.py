"""Limits, timeouts, stop, redrive; and the states that do no work."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stepwell.interpreter.effects import CancelTask, RunTask, SetTimer
from stepwell.interpreter.events import Redriven, TaskFailed, TaskSucceeded
from stepwell.interpreter.execution import BREATH
from stepwell.language.compiler import compile_machine

from .helpers import begin, chain, details, machine, of, output, passing, run, scripted, silent, task
from .memory_host import Run, identity
from .test_children import mapping, parallel

LOOP = machine({"A": passing(Next="B"), "B": passing(Next="A")})


def redrive(run_: Any) -> None:
    run_.finish = None
    run_.now += 60_000
    run_.handle(run_.event(Redriven))


# -- limits


def test_the_last_of_25000_events_is_a_failure() -> None:
    done = run(LOOP)
    assert len(done.history) == 25_000
    assert done.history[-1] == {
        "timestamp": done.history[-1]["timestamp"],
        "type": "ExecutionFailed",
        "id": 25_000,
        "previousEventId": 24_999,
        "executionFailedEventDetails": {
            "error": "States.Runtime",
            "cause": "The execution reached the maximum number of history events (25000).",
        },
    }
    assert done.finish is not None and done.finish.error == "States.Runtime"


@pytest.mark.parametrize(("states", "status"), [(12_499, "SUCCEEDED"), (12_500, "FAILED")])
def test_an_execution_may_succeed_with_its_25000th_event(states: int, status: str) -> None:
    definition = machine(
        {f"S{n}": passing(Next=f"S{n + 1}") for n in range(states - 1)} | {f"S{states - 1}": passing()}
    )
    done = run(definition)
    assert done.finish is not None and done.finish.status == status
    assert len(done.history) == 25_000


def test_express_has_no_event_limit_but_five_minutes() -> None:
    endless = machine({"W": {"Type": "Wait", "Seconds": 1, "Next": "P"}, "P": passing(Next="W")})
    done = run(endless, type="EXPRESS")
    assert done.finish is not None and done.finish.status == "TIMED_OUT"
    assert done.now - done.execution.identity.start_time == 300_000


def test_an_endless_loop_gives_its_host_a_turn() -> None:
    started = begin(LOOP, type="EXPRESS")
    assert started.types.count("PassStateEntered") == BREATH
    breath, timeout = of(started, SetTimer)
    assert breath.due == started.now < timeout.due
    started.step()
    assert started.types.count("PassStateEntered") == 2 * BREATH
    started.stop()
    assert started.execution.status == "ABORTED"


def test_state_output_over_the_limit() -> None:
    state = passing(Parameters={"a.$": "$.x", "b.$": "$.x"})
    done = run(machine({"P": state}), {"x": "y" * 140_000})
    assert done.finish is not None and done.finish.error == "States.DataLimitExceeded"
    assert (
        done.finish.cause
        == "The state/task 'P' returned a result with a size exceeding the maximum number of bytes service limit."
    )


def test_variable_limits() -> None:
    done = run(machine({"P": passing(Assign={"a.$": "$", "b.$": "$"})}), "x" * 140_000)
    assert done.finish is not None and done.finish.error == "States.DataLimitExceeded"
    states = {f"S{n}": passing(Assign={f"v{n}.$": "$"}, Next=f"S{n + 1}") for n in range(42)} | {"S42": passing()}
    full = run(machine(states), "x" * 250_000)
    assert full.finish is not None and full.finish.error == "States.DataLimitExceeded"
    assert full.types.count("PassStateExited") == 41
    again = {"S": passing(Assign={"v.$": "$"}, Next="C"), "C": passing(Next="S")}
    assert run(machine(again), "x" * 200_000).types.count("PassStateExited") > 10_000


def test_execution_timeout() -> None:
    done = run(machine({"T": task()}, TimeoutSeconds=30))
    assert done.now - done.execution.identity.start_time == 30_000
    assert chain(done)[-1] == ("ExecutionTimedOut", 0)
    assert details(done.history[-1]) == {"error": "States.Timeout"}
    assert done.finish is not None
    assert (done.finish.status, done.finish.error, done.finish.cause) == ("TIMED_OUT", None, None)
    assert of(done, CancelTask)


# -- stop


def test_stop_records_what_was_given_and_nothing_else() -> None:
    waiting = begin(machine({"P": parallel({"A": task()}, {"W": {"Type": "Wait", "Seconds": 5, "End": True}})}))
    waiting.stop()
    assert chain(waiting)[-1] == ("ExecutionAborted", 0)
    assert details(waiting.history[-1]) == {}
    assert len(of(waiting, CancelTask)) == 1
    assert waiting.execution.pending() == []
    named = begin(machine({"T": task()}))
    named.stop(error="E", cause="c")
    assert details(named.history[-1]) == {"error": "E", "cause": "c"}
    assert named.finish is not None and (named.finish.error, named.finish.cause) == ("E", "c")


# -- redrive


def test_redrive_schedules_the_task_again() -> None:
    states = {"P": passing(Result={"a": 1}, Next="T"), "T": task(Retry=[{"ErrorEquals": ["E"], "MaxAttempts": 1}])}
    answers = scripted(Exception("E"), Exception("E"), Exception("E"), {"ok": True})
    failed = run(machine(states), None, answers)
    events = len(failed.history)
    redrive(failed)
    failed.run()
    assert output(failed) == {"ok": True}
    assert failed.types[events : events + 4] == [
        "ExecutionRedriven",
        "LambdaFunctionScheduled",
        "LambdaFunctionStarted",
        "LambdaFunctionFailed",
    ]
    assert details(failed.history[events]) == {"redriveCount": 1}
    assert failed.types.count("TaskStateEntered") == 1
    assert failed.execution.redrive_count == 1


def test_redrive_is_in_the_context_object() -> None:
    state = task(Parameters={"e.$": "$$.Execution"})
    failed = run(machine({"T": state}), None, scripted(Exception("E")))
    assert "RedriveTime" not in json.loads(of(failed, RunTask)[0].arguments)["e"]
    redrive(failed)
    again = json.loads(of(failed, RunTask)[1].arguments)["e"]
    assert again["RedriveCount"] == 1
    assert again["RedriveTime"].endswith("Z")


def test_redrive_keeps_branches_that_succeeded() -> None:
    states = {"P": parallel({"A": task()}, {"B": task()}, {"C": task()})}
    failed = begin(machine(states))
    a, b, _ = of(failed, RunTask)
    failed.handle(failed.event(TaskSucceeded, command=a.command, output=b'"a"'))
    failed.handle(failed.event(TaskFailed, command=b.command, error="E"))
    assert failed.finish is not None and failed.finish.status == "FAILED"
    redrive(failed)
    again = of(failed, RunTask)[3:]
    assert [effect.state for effect in again] == ["B", "C"]
    for effect in again:
        failed.handle(failed.event(TaskSucceeded, command=effect.command, output=json.dumps(effect.state).encode()))
    assert output(failed) == ["a", "B", "C"]
    assert failed.types.count("ParallelStateStarted") == 1


def test_redrive_goes_on_with_iterations_that_never_began() -> None:
    definition = machine({"M": mapping({"P": passing(Next="T"), "T": task()}, MaxConcurrency=1)})
    failed = run(definition, [1, 2, 3], scripted("a", Exception("E"), "b", "c"))
    assert failed.types.count("MapIterationStarted") == 2
    redrive(failed)
    failed.run()
    assert output(failed) == ["a", "b", "c"]
    assert failed.types.count("MapIterationStarted") == 3
    assert failed.types.count("PassStateEntered") == 3


def test_redrive_after_a_timeout_starts_the_clock_anew() -> None:
    failed = run(machine({"W": {"Type": "Wait", "Seconds": 60, "End": True}}, TimeoutSeconds=30))
    redrive(failed)
    assert failed.timers and min(failed.timers.values()) == failed.now + 30_000
    failed.run()
    assert failed.finish is not None and failed.finish.status == "TIMED_OUT"
    assert failed.types.count("WaitStateEntered") == 1


def test_redrive_reruns_a_parallel_whose_result_was_too_big() -> None:
    big = "a" * 200_000
    failed = run(machine({"P": parallel({"A": task()}, {"B": task()})}), None, scripted(big, big, 1, 2))
    redrive(failed)
    failed.run()
    assert output(failed) == [1, 2]


def test_redrive_enters_a_failed_pure_state_anew() -> None:
    failed = run(machine({"F": {"Type": "Fail", "Error": "E"}}))
    redrive(failed)
    assert failed.types[3:] == ["ExecutionRedriven", "FailStateEntered", "ExecutionFailed"]


def test_only_what_did_not_succeed_is_redriven() -> None:
    done = run(machine({"P": passing()}))
    assert done.execution.handle(done.event(Redriven)) == []
    waiting = begin(machine({"T": task()}))
    assert waiting.execution.handle(waiting.event(Redriven)) == []


# -- pure states


def test_fail_by_path_and_expression() -> None:
    done = run(
        machine({"F": {"Type": "Fail", "ErrorPath": "$.e", "CausePath": "States.Format('{}!', $.c)"}}),
        {"e": "E", "c": "x"},
    )
    assert done.finish is not None and (done.finish.error, done.finish.cause) == ("E", "x!")
    jsonata = machine({"F": {"Type": "Fail", "Error": "{% $states.input.e %}"}}, QueryLanguage="JSONata")
    done = run(jsonata, {"e": "E"})
    assert done.finish is not None and (done.finish.error, done.finish.cause) == ("E", None)


def test_choice_without_a_match() -> None:
    state = {"Type": "Choice", "Choices": [{"Variable": "$.a", "NumericEquals": 1, "Next": "P"}]}
    done = run(machine({"C": state, "P": passing()}), {"a": 2})
    assert done.finish is not None and done.finish.error == "States.Runtime"
    assert str(done.finish.cause).endswith("The state does not point to a next state.")


def test_choice_assigns_by_rule_or_by_default() -> None:
    state = {
        "Type": "Choice",
        "Choices": [{"Variable": "$.a", "NumericEquals": 1, "Next": "P", "Assign": {"v": "rule"}}],
        "Default": "P",
        "Assign": {"v": "default"},
    }
    states = machine({"C": state, "P": passing(Parameters={"v.$": "$v"})})
    assert output(run(states, {"a": 1})) == {"v": "rule"}
    assert output(run(states, {"a": 2})) == {"v": "default"}


def test_null_paths() -> None:
    assert output(run(machine({"P": passing(InputPath=None)}), {"a": 1})) == {}
    assert output(run(machine({"P": passing(OutputPath=None)}), {"a": 1})) == {}
    assert output(run(machine({"P": passing(ResultPath=None, Result=5)}), {"a": 1})) == {"a": 1}
    assert output(run(machine({"S": {"Type": "Succeed", "InputPath": "$.a"}}), {"a": 1})) == 1


@pytest.mark.parametrize(
    ("fields", "due"),
    [
        ({"Seconds": 10}, 10_000),
        ({"SecondsPath": "$.s"}, 20_000),
        ({"SecondsPath": "$.text"}, 30_000),
        ({"Timestamp": "2023-11-14T22:13:25Z"}, 5_000),
        ({"TimestampPath": "$.t"}, 6_500),
        ({"Timestamp": "2001-01-01T00:00:00Z"}, 0),
    ],
)
def test_wait(fields: dict[str, Any], due: int) -> None:
    state = {"Type": "Wait", "End": True, **fields}
    done = run(machine({"W": state}), {"s": 20, "text": "30", "t": "2023-11-14T22:13:26.500+00:00"})
    assert done.now - done.execution.identity.start_time == due
    assert done.types[-2:] == ["WaitStateExited", "ExecutionSucceeded"]


# -- odd data


def test_what_is_not_json_is_refused() -> None:
    for text in (b"NaN", b"[Infinity]", b"{", b"", b"[" * 100_000):
        with pytest.raises(ValueError, match=r".*"):
            Run(compile_machine(machine({"P": passing()})), text, identity(), silent)


def test_lone_surrogates_and_big_numbers_pass() -> None:
    data = b'["\\ud800", 1e300, 123456789012345678901234567890, -0.0]'
    done = Run(compile_machine(machine({"P": passing(Parameters={"x.$": "$"})})), data, identity(), silent)
    assert output(done)["x"][0] == "\ud800"


def test_data_nested_too_deeply_fails_the_state_only() -> None:
    deep = ("[" * 980 + "]" * 980).encode()
    grow = {"G": passing(Parameters={"x": {"y": {"z.$": "$"}}}, Next="C"), "C": passing(Next="G")}
    done = Run(compile_machine(machine(grow)), deep, identity(), silent).run()
    assert done.finish is not None and done.finish.error == "States.Runtime"
    assert "nested too deeply" in str(done.finish.cause)
