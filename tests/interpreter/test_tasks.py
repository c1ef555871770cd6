"""Task states: attempts, answers, timeouts, heartbeats, tokens, retries and catches."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from stepwell.interpreter import tokens
from stepwell.interpreter.effects import CancelTask, RunTask, SetTimer
from stepwell.interpreter.events import (
    StopRequested,
    TaskFailed,
    TaskHeartbeat,
    TaskQueued,
    TaskStarted,
    TaskSubmitted,
    TaskSucceeded,
    TimerFired,
)

from .helpers import (
    ACTIVITY,
    CALLBACK,
    begin,
    details,
    machine,
    of,
    output,
    passing,
    run,
    scripted,
    task,
)


def test_a_function_has_lambda_events() -> None:
    done = run(machine({"T": task(Parameters={"x.$": "$.a"}, TimeoutSeconds=9)}), {"a": 1}, scripted({"r": 2}))
    assert output(done) == {"r": 2}
    assert done.types[2:5] == ["LambdaFunctionScheduled", "LambdaFunctionStarted", "LambdaFunctionSucceeded"]
    scheduled = details(done.history[2])
    assert (scheduled["input"], scheduled["timeoutInSeconds"]) == ('{"x":1}', 9)
    effect = of(done, RunTask)[0]
    assert (effect.kind, effect.arguments, effect.token, effect.timeout_seconds) == ("lambda", b'{"x":1}', None, 9)


def test_an_unmapped_input_reaches_the_function_as_it_was_written() -> None:
    effect = of(run(machine({"T": task()}), {"a": [1, 2]}), RunTask)[0]
    assert effect.arguments == b'{"a": [1, 2]}'


def test_integrations_name_service_and_action() -> None:
    started = begin(machine({"T": task(Resource="arn:aws:states:::aws-sdk:s3:getObject", Parameters={"Bucket": "b"})}))
    scheduled = details(started.history[2])
    assert scheduled == {
        "resourceType": "aws-sdk:s3",
        "resource": "getObject",
        "region": "us-east-1",
        "parameters": '{"Bucket":"b"}',
    }


def test_result_selector_path_and_output_path_work_in_this_order() -> None:
    state = task(ResultSelector={"n.$": "$.deep.n"}, ResultPath="$.r", OutputPath="$.r")
    assert output(run(machine({"T": state}), {"a": 1}, scripted({"deep": {"n": 7}}))) == {"n": 7}


def test_assign_sees_the_raw_result_and_later_states_see_the_variable() -> None:
    states = {
        "T": task(ResultSelector={}, Assign={"n.$": "$.n", "arn.$": "$$.Execution.Id"}, Next="P"),
        "P": passing(Parameters={"seen.$": "$n"}),
    }
    done = run(machine(states), None, scripted({"n": 3}))
    assert output(done) == {"seen": 3}
    exited = next(details(event) for event in done.history if event["type"] == "TaskStateExited")
    assert exited["assignedVariables"]["n"] == "3"


def test_callback_token_answers_once_and_only_with_its_nonce() -> None:
    state = task(Resource=CALLBACK, Parameters={"Token.$": "$$.Task.Token"})
    waiting = begin(machine({"T": state}))
    effect = of(waiting, RunTask)[0]
    assert json.loads(effect.arguments)["Token"] == effect.token
    token = tokens.decode(effect.token)
    assert token.execution_arn == waiting.execution.identity.execution_arn
    assert token.command == effect.command
    x = waiting.execution
    assert x.awaits(token.command, token.nonce)
    assert not x.awaits(token.command, "0" * 32)
    waiting.handle(waiting.event(TaskSubmitted, command=effect.command, output=b'{"MessageId": "m"}'))
    assert waiting.types[-1] == "TaskSubmitted"
    waiting.handle(waiting.event(TaskSucceeded, command=token.command, nonce="wrong", output=b"1"))
    assert waiting.types[-1] == "TaskSubmitted"
    waiting.handle(waiting.event(TaskSucceeded, command=token.command, nonce=token.nonce, output=b"1"))
    assert output(waiting) == 1
    assert not x.awaits(token.command, token.nonce)


def test_a_token_answer_stops_a_sync_task() -> None:
    state = task(Resource="arn:aws:states:::states:startExecution.sync:2", Parameters={"T.$": "$$.Task.Token"})
    waiting = begin(machine({"T": state}))
    token = tokens.decode(of(waiting, RunTask)[0].token)
    waiting.handle(waiting.event(TaskSucceeded, command=token.command, nonce=token.nonce, output=b'"early"'))
    assert output(waiting) == "early"
    assert of(waiting, CancelTask)


def test_activity_is_scheduled_when_it_is_queued_and_started_by_its_worker() -> None:
    waiting = begin(machine({"T": task(Resource=ACTIVITY, HeartbeatSeconds=5)}))
    command = of(waiting, RunTask)[0].command
    assert waiting.types == ["ExecutionStarted", "TaskStateEntered"]
    for _ in range(2):
        waiting.handle(waiting.event(TaskQueued, command=command))
        waiting.handle(waiting.event(TaskStarted, command=command, worker_name="w"))
    assert waiting.types[2:] == ["ActivityScheduled", "ActivityStarted"]
    assert details(waiting.history[2])["heartbeatInSeconds"] == 5
    assert details(waiting.history[3]) == {"workerName": "w"}
    waiting.handle(waiting.event(TaskFailed, command=command, error="E", cause="c"))
    assert waiting.types[4:] == ["ActivityFailed", "ExecutionFailed"]


def test_an_activity_that_does_not_exist_ends_the_execution() -> None:
    waiting = begin(machine({"T": task(Resource=ACTIVITY, Catch=[{"ErrorEquals": ["States.ALL"], "Next": "T"}])}))
    command = of(waiting, RunTask)[0].command
    gone = f"The activity {ACTIVITY} does not exist."
    waiting.handle(waiting.event(TaskFailed, command=command, error="States.Runtime", cause=gone, phase="schedule"))
    assert waiting.types == ["ExecutionStarted", "TaskStateEntered", "ExecutionFailed"]
    assert waiting.finish is not None and waiting.finish.cause is not None and waiting.finish.cause.endswith(gone)


def test_timeout_has_no_cause_and_caught_an_empty_one() -> None:
    done = run(machine({"T": task(TimeoutSeconds=5)}))
    assert done.types[-2:] == ["LambdaFunctionTimedOut", "ExecutionFailed"]
    assert details(done.history[-1]) == {"error": "States.Timeout"}
    assert of(done, CancelTask)
    caught = task(TimeoutSeconds=5, Catch=[{"ErrorEquals": ["States.Timeout"], "Next": "P"}])
    assert output(run(machine({"T": caught, "P": passing()}))) == {"Error": "States.Timeout", "Cause": ""}


def test_heartbeat_restarts_the_clock_and_its_timeout_has_two_names() -> None:
    state = task(
        Resource=CALLBACK, HeartbeatSeconds=10, Catch=[{"ErrorEquals": ["States.HeartbeatTimeout"], "Next": "P"}]
    )
    waiting = begin(machine({"T": state, "P": passing()}))
    command = of(waiting, RunTask)[0].command
    waiting.now += 9_000
    waiting.handle(waiting.event(TaskHeartbeat, command=command))
    began = waiting.now
    done = waiting.run()
    assert output(done) == {"Error": "States.Timeout", "Cause": ""}
    assert done.now == began + 10_000


def test_timeout_by_path_is_checked_at_run_time() -> None:
    fine = begin(machine({"T": task(TimeoutSecondsPath="$.t")}), {"t": 7})
    assert of(fine, RunTask)[0].timeout_seconds == 7
    for value in ("x", 1.5, 0, -1, True, None, {}):
        bad = run(machine({"T": task(TimeoutSecondsPath="$.t")}), {"t": value})
        assert bad.finish is not None and bad.finish.error == "States.Runtime"
        assert "'T' (entered at the event id #2). The TimeoutSecondsPath" in str(bad.finish.cause)
    missing = run(machine({"T": task(TimeoutSecondsPath="$.t")}))
    assert str(missing.finish and missing.finish.cause).endswith("does not reference an input value: $.t")


def test_late_and_foreign_answers_have_no_effect() -> None:
    waiting = begin(machine({"T": task(TimeoutSeconds=5, Next="W"), "W": {"Type": "Wait", "Seconds": 60, "End": True}}))
    command = of(waiting, RunTask)[0].command
    waiting.handle(waiting.event(TaskSucceeded, command=command, output=b"1"))
    before = len(waiting.history)
    for event in (
        waiting.event(TaskSucceeded, command=command, output=b"2"),
        waiting.event(TaskFailed, command=command, error="E"),
        waiting.event(TaskSucceeded, command=12345 << 24, output=b"3"),
        waiting.event(TimerFired, timer=99 << 24),
        waiting.event(TaskHeartbeat, command=command),
    ):
        assert waiting.execution.handle(event) == []
    assert len(waiting.history) == before
    waiting.run()
    assert waiting.execution.handle(waiting.event(StopRequested)) == []


def test_a_result_over_the_limit_fails_under_the_name_of_the_task() -> None:
    big = "a" * 262_145
    done = run(machine({"T": task()}), None, scripted(big))
    assert done.types[-2:] == ["LambdaFunctionFailed", "ExecutionFailed"]
    assert done.finish is not None and done.finish.error == "States.DataLimitExceeded"
    assert ":function:f' returned a result with a size exceeding" in str(done.finish.cause)
    exact = "a" * (262_144 - 2)
    assert output(run(machine({"T": task()}), None, scripted(exact))) == exact
    umlauts = "ä" * 131_072
    assert run(machine({"T": task()}), None, scripted(umlauts)).execution.status == "FAILED"


# -- retry


def delays(done: Any) -> list[float]:
    starts = [event["timestamp"] for event in done.history if event["type"] == "LambdaFunctionScheduled"]
    return [round(b - a, 3) for a, b in itertools.pairwise(starts)]


def retry(**fields: Any) -> list[dict[str, Any]]:
    return [{"ErrorEquals": ["States.ALL"], **fields}]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [1, 2, 4]),
        ({"IntervalSeconds": 3, "BackoffRate": 1.5, "MaxAttempts": 2}, [3, 4.5]),
        ({"IntervalSeconds": 10, "BackoffRate": 10, "MaxDelaySeconds": 30}, [10, 30, 30]),
        ({"MaxAttempts": 0}, []),
    ],
)
def test_backoff(fields: dict[str, Any], expected: list[float]) -> None:
    done = run(machine({"T": task(Retry=retry(**fields))}), None, scripted(*[Exception("E")] * 9))
    assert delays(done) == expected
    assert done.finish is not None and done.finish.error == "E"


def test_full_jitter_stays_below_the_delay_and_varies() -> None:
    state = task(Retry=retry(IntervalSeconds=100, BackoffRate=1, MaxAttempts=20, JitterStrategy="FULL"))
    seen = delays(run(machine({"T": state}), None, scripted(*[Exception("E")] * 30)))
    assert len(seen) == 20 == len(set(seen))
    assert all(0 <= delay <= 100 for delay in seen)


def test_each_retrier_counts_for_itself_and_the_first_match_decides() -> None:
    entries = [
        {"ErrorEquals": ["A"], "MaxAttempts": 1},
        {"ErrorEquals": ["B"], "MaxAttempts": 2},
        {"ErrorEquals": ["States.ALL"], "MaxAttempts": 5},
    ]
    done = run(machine({"T": task(Retry=entries)}), None, scripted(*[Exception(e) for e in "ABBAC"]))
    assert done.types.count("LambdaFunctionFailed") == 4
    assert done.finish is not None and done.finish.error == "A"


def test_retry_evaluates_the_arguments_again_with_the_retry_count() -> None:
    state = task(Parameters={"n.$": "$$.State.RetryCount"}, Retry=retry())
    done = run(machine({"T": state}), None, scripted(Exception("E"), Exception("E"), "ok"))
    assert [json.loads(effect.arguments)["n"] for effect in of(done, RunTask)] == [0, 1, 2]
    assert [effect.retry_count for effect in of(done, RunTask)] == [0, 1, 2]


def test_a_state_visited_again_has_fresh_counters() -> None:
    states = {
        "T": task(Retry=retry(MaxAttempts=1), ResultPath="$.r", Next="C"),
        "C": {"Type": "Choice", "Choices": [{"Variable": "$.r", "NumericEquals": 1, "Next": "T"}], "Default": "P"},
        "P": passing(),
    }
    done = run(machine(states), None, scripted(Exception("E"), 1, Exception("E"), 2))
    assert output(done) == {"r": 2}


# -- catch


def test_catch_puts_the_error_into_the_input() -> None:
    state = task(Catch=[{"ErrorEquals": ["E"], "ResultPath": "$.e", "Next": "P"}])
    assert output(run(machine({"T": state, "P": passing()}), {"a": 1}, scripted(Exception("E", "c")))) == {
        "a": 1,
        "e": {"Error": "E", "Cause": "c"},
    }


def test_catch_assigns_from_the_error_output() -> None:
    state = task(Catch=[{"ErrorEquals": ["E"], "ResultPath": None, "Assign": {"why.$": "$.Cause"}, "Next": "P"}])
    states = {"T": state, "P": passing(Parameters={"why.$": "$why", "in.$": "$"})}
    assert output(run(machine(states), {"a": 1}, scripted(Exception("E", "c")))) == {"why": "c", "in": {"a": 1}}


def test_jsonata_catch_has_output_and_error_output() -> None:
    catch = [
        {
            "ErrorEquals": ["States.ALL"],
            "Output": {"e": "{% $states.errorOutput.Error %}", "i": "{% $states.input %}"},
            "Next": "P",
        }
    ]
    definition = machine({"T": task(Catch=catch), "P": passing()}, QueryLanguage="JSONata")
    assert output(run(definition, {"a": 1}, scripted(Exception("E", "c")))) == {"e": "E", "i": {"a": 1}}


def test_states_all_catches_neither_runtime_nor_data_limit_faults() -> None:
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "P"}]
    runtime = run(machine({"T": task(InputPath="$.no", Catch=catch), "P": passing()}))
    assert runtime.finish is not None and runtime.finish.error == "States.Runtime"
    limit = run(machine({"T": task(Catch=catch), "P": passing()}), None, scripted("a" * 300_000))
    assert limit.finish is not None and limit.finish.error == "States.DataLimitExceeded"
    by_name = [{"ErrorEquals": ["States.DataLimitExceeded"], "Next": "P"}]
    assert output(run(machine({"T": task(Catch=by_name), "P": passing()}), None, scripted("a" * 300_000)))["Error"]


def test_a_failed_expression_can_be_caught() -> None:
    catch = [{"ErrorEquals": ["States.QueryEvaluationError"], "Next": "P"}]
    definition = machine({"T": task(Arguments="{% $nope %}", Catch=catch), "P": passing()}, QueryLanguage="JSONata")
    done = run(definition)
    assert output(done)["Error"] == "States.QueryEvaluationError"
    assert done.types[2] == "EvaluationFailed"


def test_pending_gives_the_same_effects_again() -> None:
    state = task(Resource=CALLBACK, TimeoutSeconds=50, HeartbeatSeconds=20, Parameters={"t.$": "$$.Task.Token"})
    waiting = begin(machine({"T": state}))
    asked = [effect for effect in waiting.effects if isinstance(effect, (RunTask, SetTimer))]
    assert waiting.execution.pending() == asked
    waiting.handle(waiting.event(TaskSubmitted, command=asked[0].command, output=b"{}"))
    again = waiting.execution.pending()[0]
    assert isinstance(again, RunTask)
    assert (again.submitted, again.token) == (b"{}", asked[0].token)
