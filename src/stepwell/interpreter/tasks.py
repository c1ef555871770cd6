"""Task states: an attempt goes out as RunTask, its answer comes back as an event.

What AWS records depends on the kind of task: a function's ARN as Resource gives `LambdaFunction*` events, an activity
`Activity*`, everything else `Task*` with the integration's service and action.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepwell.interpreter import mapruns, tokens
from stepwell.interpreter.effects import CancelTask, RunTask, SetTimer
from stepwell.interpreter.failures import Failure, data_limit, fault, state_failed
from stepwell.interpreter.frames import FRAME_BITS, Attempt, Phase
from stepwell.interpreter.numbers import integer
from stepwell.interpreter.payload import LIMIT, Payload, text_of
from stepwell.interpreter.states import complete
from stepwell.language.errors import QUERY_EVALUATION_ERROR, RUNTIME, StatesError
from stepwell.language.jsonpath import PathNotFound

if TYPE_CHECKING:
    from stepwell.interpreter.events import (
        TaskFailed,
        TaskHeartbeat,
        TaskQueued,
        TaskStarted,
        TaskSubmitted,
        TaskSucceeded,
    )
    from stepwell.interpreter.execution import Execution
    from stepwell.interpreter.frames import Frame
    from stepwell.language.model import NumberField, TaskState
    from stepwell.language.scope import Scope

__all__ = [
    "abandon",
    "answer_failed",
    "answer_succeeded",
    "due_timer",
    "effect",
    "enter",
    "failed",
    "heartbeat",
    "queued",
    "started",
    "submitted",
    "succeeded",
    "timed_out",
]

_COMPLETE = {"truncated": False}

LONGEST_TIMEOUT = 99_999_999
"""Seconds; the States Language's limit for TimeoutSeconds and HeartbeatSeconds."""


def enter(x: Execution, frame: Frame, state: TaskState, again: bool) -> bool:
    """Evaluate the task's input and send the attempt out. Always waits."""
    if not again:
        x.enter(frame, state)
    command = x.allot(frame)
    nonce = token = None
    if state.pattern or state.kind == "activity":
        nonce = x.random.nonce()
        token = tokens.encode(x.identity.execution_arn, command, nonce)
    arguments, scope = _arguments(x, frame, state, token)
    attempt = Attempt(command, arguments)
    attempt.nonce = nonce
    attempt.token = token
    attempt.credentials = None if state.credentials is None else _credentials(state.credentials(scope))
    if state.timeout is not None:
        attempt.timeout_seconds = _seconds(state.timeout, scope)
    if state.heartbeat is not None:
        attempt.heartbeat_seconds = _seconds(state.heartbeat, scope)
    if arguments is not frame.input and arguments.size > LIMIT:
        raise data_limit(state.name)
    frame.attempt = attempt
    frame.phase = Phase.TASK
    if state.kind == "activity":
        attempt.queued = False
    else:
        _record_scheduled(x, frame, state, attempt)
        if state.kind == "lambda":
            frame.previous = x.record("LambdaFunctionStarted", frame.previous)
        else:
            frame.previous = x.record("TaskStarted", frame.previous, "taskStartedEventDetails", _resource(state))
        attempt.started = True
    x.effects.append(effect(frame, attempt, state))
    _arm(x, frame, attempt)
    return False


def _credentials(value: Any) -> dict[str, Any]:
    if isinstance(value, dict) and isinstance(value.get("RoleArn", ""), str):
        return value
    raise StatesError(RUNTIME, "The Credentials field must be a JSON object whose RoleArn is a string.")


def effect(frame: Frame, attempt: Attempt, state: TaskState) -> RunTask:
    """The effect that asks for an attempt, now or after a restart."""
    return RunTask(
        command=attempt.command,
        kind=state.kind,
        resource=state.resource,
        arguments=attempt.arguments.encode(),
        state=state.name,
        retry_count=frame.retry_count,
        token=attempt.token,
        timeout_seconds=attempt.timeout_seconds,
        heartbeat_seconds=attempt.heartbeat_seconds,
        credentials=attempt.credentials,
        submitted=attempt.submitted,
        taken=attempt.started and state.kind == "activity",
    )


def _arguments(x: Execution, frame: Frame, state: TaskState, token: str | None) -> tuple[Payload, Scope]:
    payload = frame.input
    if state.jsonata:
        scope = x.scope(frame, payload.value, states={"input": payload.value}, token=token)
    else:
        scope = x.scope(frame, payload.value, token=token)
        if state.input_path is not None:
            payload = Payload(state.input_path(scope))
            scope = scope.with_document(payload.value)
    effective = payload
    if state.parameters is not None:
        payload = Payload(state.parameters(scope))
    if x.inspection is not None:
        if not state.jsonata:
            x.inspection["afterInputPath"] = effective
            x.inspection["afterParameters"] = payload
        elif state.parameters is not None:
            x.inspection["afterArguments"] = payload
    return payload, scope


def _seconds(field: NumberField, scope: Scope) -> int:
    """TimeoutSeconds or HeartbeatSeconds, whichever way it is given."""
    if field.evaluate is None:
        assert field.value is not None
        return int(field.value)
    try:
        value = field.evaluate(scope)
    except PathNotFound as error:
        raise StatesError(
            RUNTIME, f"The {field.name} parameter does not reference an input value: {field.text}"
        ) from error
    error_name = QUERY_EVALUATION_ERROR if field.jsonata else RUNTIME
    location = field.name if field.jsonata else None
    number = integer(value)
    if number is None:
        text = (
            f"The {field.name} field cannot be parsed as a long value: {text_of(value)}"
            if field.jsonata
            else f"The {field.name} parameter cannot be parsed as a long value: {field.text} == {text_of(value)}"
        )
        raise StatesError(error_name, text, location)
    if not 0 < number <= LONGEST_TIMEOUT:
        text = (
            f"The {field.name} field must be a positive number of at most {LONGEST_TIMEOUT}: {text_of(value)}"
            if field.jsonata
            else f"The {field.name} parameter references a value that is not positive, or is more than {LONGEST_TIMEOUT}: "
            f"{field.text} == {text_of(value)}"
        )
        raise StatesError(error_name, text, location)
    return number


# -- the history of an attempt


def _resource(state: TaskState) -> dict[str, Any]:
    return {"resourceType": state.service, "resource": state.action}


def _record_scheduled(x: Execution, frame: Frame, state: TaskState, attempt: Attempt) -> None:
    if state.kind == "service":
        details: dict[str, Any] = _resource(state)
        details["region"] = x.identity.state_machine_arn.split(":", 4)[3]
        details["parameters"] = attempt.arguments.text
        type, key = "TaskScheduled", "taskScheduledEventDetails"
    else:
        details = {"resource": state.resource, "input": attempt.arguments.text, "inputDetails": _COMPLETE}
        if state.kind == "lambda":
            type, key = "LambdaFunctionScheduled", "lambdaFunctionScheduledEventDetails"
        else:
            type, key = "ActivityScheduled", "activityScheduledEventDetails"
    if attempt.timeout_seconds is not None:
        details["timeoutInSeconds"] = attempt.timeout_seconds
    if attempt.heartbeat_seconds is not None and state.kind != "lambda":
        details["heartbeatInSeconds"] = attempt.heartbeat_seconds
    if attempt.credentials is not None and state.kind != "activity":
        role = attempt.credentials.get("RoleArn")
        details["taskCredentials"] = {} if role is None else {"roleArn": role}
    frame.previous = x.record(type, frame.previous, key, details)
    attempt.queued = True


_PREFIX = {
    "lambda": ("LambdaFunction", "lambdaFunction"),
    "activity": ("Activity", "activity"),
    "service": ("Task", "task"),
}

_PHASES = {
    ("lambda", "schedule"): "ScheduleFailed",
    ("lambda", "start"): "StartFailed",
    ("activity", "schedule"): "ScheduleFailed",
    ("service", "start"): "StartFailed",
    ("service", "submit"): "SubmitFailed",
}


def _record_outcome(x: Execution, frame: Frame, state: TaskState, suffix: str, details: dict[str, Any]) -> None:
    type, key = _PREFIX[state.kind]
    if state.kind == "service":
        details = {**_resource(state), **details}
    frame.previous = x.record(f"{type}{suffix}", frame.previous, f"{key}{suffix}EventDetails", details)


# -- timers


def _arm(x: Execution, frame: Frame, attempt: Attempt) -> None:
    if attempt.timeout_seconds is not None:
        attempt.timeout_timer = x.allot(frame)
        due = attempt.deadline = x.at + attempt.timeout_seconds * 1000
        x.effects.append(SetTimer(attempt.timeout_timer, due))
    if attempt.heartbeat_seconds is not None:
        _arm_heartbeat(x, frame, attempt)


def _arm_heartbeat(x: Execution, frame: Frame, attempt: Attempt) -> None:
    assert attempt.heartbeat_seconds is not None
    x.cancel_timer(attempt.heartbeat_timer)
    attempt.heartbeat_timer = x.allot(frame)
    attempt.heartbeat_due = x.at + attempt.heartbeat_seconds * 1000
    x.effects.append(SetTimer(attempt.heartbeat_timer, attempt.heartbeat_due))


def due_timer(attempt: Attempt, at: int) -> bool:
    """Whether the attempt's timeout or heartbeat is due at a moment."""
    return (attempt.deadline is not None and attempt.deadline <= at) or (
        attempt.heartbeat_timer is not None and attempt.heartbeat_due <= at
    )


def _disarm(x: Execution, frame: Frame, fired: int | None = None) -> None:
    """The attempt has its answer: the frame waits for nothing any more."""
    attempt = frame.attempt
    assert attempt is not None
    for timer in (attempt.timeout_timer, attempt.heartbeat_timer):
        if timer != fired:
            x.cancel_timer(timer)
    frame.attempt = None
    frame.phase = Phase.STUCK


def abandon(x: Execution, frame: Frame) -> None:
    """Nobody waits for the attempt any more."""
    attempt = frame.attempt
    if attempt is not None:
        x.effects.append(CancelTask(attempt.command))
        _disarm(x, frame)


# -- events


def _find(x: Execution, command: int, nonce: str | None) -> tuple[Frame, Attempt] | None:
    """The attempt that an answer is for, if it still waits."""
    frame = x.frames.get(command >> FRAME_BITS)
    if frame is None or frame.attempt is None or frame.attempt.command != command:
        return None
    if nonce is not None and frame.attempt.nonce != nonce:
        return None
    x.changes.touch(frame)
    return frame, frame.attempt


def _ensure_scheduled(x: Execution, frame: Frame, attempt: Attempt) -> None:
    if not attempt.queued:
        _record_scheduled(x, frame, frame.state, attempt)  # type: ignore[arg-type]


def queued(x: Execution, event: TaskQueued) -> None:
    """An activity took the task into its queue."""
    found = _find(x, event.command, None)
    if found is not None:
        _ensure_scheduled(x, *found)


def started(x: Execution, event: TaskStarted) -> None:
    """A worker took an activity task."""
    found = _find(x, event.command, None)
    if found is None:
        return
    frame, attempt = found
    if attempt.started:
        return
    _ensure_scheduled(x, frame, attempt)
    attempt.started = True
    details = {} if event.worker_name is None else {"workerName": event.worker_name}
    frame.previous = x.record("ActivityStarted", frame.previous, "activityStartedEventDetails", details)


def submitted(x: Execution, event: TaskSubmitted) -> None:
    """The request of a `.sync` or `.waitForTaskToken` integration was accepted."""
    found = _find(x, event.command, None)
    if found is None:
        return
    frame, attempt = found
    state: TaskState = frame.state  # type: ignore[assignment]
    if attempt.submitted is not None or state.kind != "service":
        return
    attempt.submitted = event.output
    details = {**_resource(state), "output": event.output.decode(), "outputDetails": _COMPLETE}
    frame.previous = x.record("TaskSubmitted", frame.previous, "taskSubmittedEventDetails", details)


def succeeded(x: Execution, event: TaskSucceeded) -> None:
    """The attempt has a result."""
    found = _find(x, event.command, event.nonce)
    if found is None:
        return
    frame, attempt = found
    _ensure_scheduled(x, frame, attempt)
    if event.nonce is not None:
        x.effects.append(CancelTask(attempt.command))
    answer_succeeded(x, frame, event.output)


def answer_succeeded(x: Execution, frame: Frame, output: bytes) -> None:
    """The attempt of a frame has this result."""
    attempt = frame.attempt
    assert attempt is not None
    state: TaskState = frame.state  # type: ignore[assignment]
    _disarm(x, frame)
    try:
        result = Payload.of_text(output)
    except ValueError as error:
        _fail(x, frame, state, Failure(RUNTIME, f"The task's result is not JSON: {error}"), "run")
        return
    if result.size > LIMIT:
        limit = data_limit(state.resource if state.kind != "service" else state.service)
        _fail(x, frame, state, Failure(limit.error, limit.cause), "run")
        return
    _record_outcome(x, frame, state, "Succeeded", {"output": result.text, "outputDetails": _COMPLETE})
    try:
        if complete(x, frame, state, result, token=attempt.token):
            x.go(frame)
    except StatesError as error:
        fault(x, frame, error)


def failed(x: Execution, event: TaskFailed) -> None:
    """The attempt failed."""
    found = _find(x, event.command, event.nonce)
    if found is None:
        mapruns.task_failed(x, event)
        return
    frame, attempt = found
    state: TaskState = frame.state  # type: ignore[assignment]
    if event.nonce is not None:
        x.effects.append(CancelTask(attempt.command))
    _disarm(x, frame)
    if event.phase == "schedule" and event.error == RUNTIME:
        # The task never came to be, such as one of an activity that does not exist: AWS records the end only.
        fault(x, frame, StatesError(RUNTIME, event.cause or ""))
        return
    if not (event.phase == "schedule" and state.kind == "activity"):
        _ensure_scheduled(x, frame, attempt)
    if event.timeout:
        failure = Failure(event.error, event.cause)
        _record_outcome(x, frame, state, "TimedOut", failure.details)
        state_failed(x, frame, failure)
        return
    _fail(x, frame, state, Failure(event.error, event.cause), event.phase)


def answer_failed(x: Execution, frame: Frame, failure: Failure) -> None:
    """The attempt of a frame failed."""
    _disarm(x, frame)
    _fail(x, frame, frame.state, failure, "run")  # type: ignore[arg-type]


def _fail(x: Execution, frame: Frame, state: TaskState, failure: Failure, phase: str) -> None:
    suffix = _PHASES.get((state.kind, phase), "Failed")
    _record_outcome(x, frame, state, suffix, failure.details)
    state_failed(x, frame, failure)


def heartbeat(x: Execution, event: TaskHeartbeat) -> None:
    """The worker is alive."""
    found = _find(x, event.command, event.nonce)
    if found is not None and found[1].heartbeat_seconds is not None:
        _arm_heartbeat(x, *found)


def timed_out(x: Execution, frame: Frame, attempt: Attempt, timer: int) -> None:
    """The timeout or the heartbeat of the attempt is due."""
    failure = record_timeout(x, frame, attempt, timer)
    state_failed(x, frame, failure)


def record_timeout(x: Execution, frame: Frame, attempt: Attempt, timer: int | None) -> Failure:
    """Record that the attempt timed out and stop it."""
    failure = Failure.timed_out(heartbeat=timer is not None and timer == attempt.heartbeat_timer)
    _ensure_scheduled(x, frame, attempt)
    x.effects.append(CancelTask(attempt.command))
    _disarm(x, frame, timer)
    _record_outcome(x, frame, frame.state, "TimedOut", failure.details)  # type: ignore[arg-type]
    return failure
