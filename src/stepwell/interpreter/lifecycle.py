"""Beginning, ends and second lives of an execution; and the timers that belong to no single state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepwell.interpreter import mapruns, parallels, tasks
from stepwell.interpreter.effects import CancelTimer, Finish, SetTimer
from stepwell.interpreter.failures import Failure, fault
from stepwell.interpreter.frames import FRAME_BITS, ROOT, Phase
from stepwell.interpreter.states import wait_over
from stepwell.language.errors import RUNTIME, TIMEOUT, StatesError

if TYPE_CHECKING:
    from stepwell.interpreter.effects import AnyEffect
    from stepwell.interpreter.events import Redriven, StopRequested, TimerFired
    from stepwell.interpreter.execution import Execution
    from stepwell.interpreter.frames import Frame
    from stepwell.interpreter.payload import Payload

__all__ = [
    "begin",
    "breathe",
    "fail",
    "guard",
    "history_full",
    "pending",
    "redrive",
    "stop",
    "succeed",
    "timer_fired",
]

LONGEST = {"STANDARD": 31_536_000, "EXPRESS": 300}
"""Seconds an execution may take when its definition does not say less."""

HISTORY_FULL = "The execution reached the maximum number of history events (25000)."


def begin(x: Execution) -> None:
    """Record ExecutionStarted and put the first frame before its first state."""
    details: dict[str, Any] = {
        "input": x.input.text,
        "inputDetails": {"truncated": False},
        "roleArn": x.identity.role_arn,
    }
    if x.identity.alias_arn is not None:
        details["stateMachineAliasArn"] = x.identity.alias_arn
    if x.identity.version_arn is not None:
        details["stateMachineVersionArn"] = x.identity.version_arn
    x.record("ExecutionStarted", 0, "executionStartedEventDetails", details)
    x.go(x.spawn(None, 0, x.machine, x.input, 0))
    x.deadline = x.at + _seconds(x) * 1000


def _seconds(x: Execution) -> int:
    longest = LONGEST[x.identity.type]
    return min(x.machine.timeout_seconds or longest, longest)


def guard(x: Execution, effects: list[AnyEffect]) -> None:
    """An execution that has to wait gets its timeout; one that ends in its first step never needs it."""
    if x.timeout_timer is None and x.deadline is not None:
        x.timeout_timer = x.allot(x.frames[ROOT])
        effects.append(SetTimer(x.timeout_timer, x.deadline))


def breathe(x: Execution) -> None:
    """Give the host its turn: the queue goes on when the timer fires, which it does at once."""
    x.breath_timer = x.allot(x.frames[ROOT])
    x.breath_due = x.at
    x.effects.append(SetTimer(x.breath_timer, x.at))


def timer_fired(x: Execution, event: TimerFired) -> None:
    """A timer is due."""
    timer = event.timer
    if timer == x.breath_timer:
        x.breath_timer = None
        return
    if timer == x.timeout_timer:
        _time_out(x)
        return
    frame = x.frames.get(timer >> FRAME_BITS)
    if frame is None:
        return
    if timer == frame.timer:
        frame.timer = None
        x.changes.touch(frame)
        if frame.phase == Phase.RETRY:
            x.go(frame, again=True)
            return
        frame.phase = Phase.STUCK
        try:
            if wait_over(x, frame, frame.state):  # type: ignore[arg-type]
                x.go(frame)
        except StatesError as error:
            fault(x, frame, error)
        return
    attempt = frame.attempt
    if attempt is not None and timer in (attempt.timeout_timer, attempt.heartbeat_timer):
        x.changes.touch(frame)
        tasks.timed_out(x, frame, attempt, timer)


# -- ends


def _end(x: Execution, status: str) -> None:
    x.status = status
    parallels.halt(x)
    if x.timeout_timer is not None:
        x.effects.append(CancelTimer(x.timeout_timer))
        x.timeout_timer = None
    x.breath_timer = None
    x.effects.append(Finish(status=status, output=x.output, error=x.error, cause=x.cause))


def succeed(x: Execution, frame: Frame, output: Payload) -> None:
    """The machine's last state was left."""
    details = {"output": output.text, "outputDetails": {"truncated": False}}
    x.record("ExecutionSucceeded", frame.previous, "executionSucceededEventDetails", details)
    x.output = output.encode()
    x.frames.clear()
    x.changes.drop(frame)
    _end(x, "SUCCEEDED")


def fail(x: Execution, failure: Failure, previous: int) -> None:
    """Nothing caught a failure."""
    x.record_last("ExecutionFailed", previous, "executionFailedEventDetails", dict(failure.details))
    x.error, x.cause = failure.error, failure.cause
    _end(x, "FAILED")


def history_full(x: Execution) -> None:
    """There is no room for what should happen next: AWS makes the last event a failure."""
    if x.status == "RUNNING":
        fail(x, Failure(RUNTIME, HISTORY_FULL), x.event_count)


def _time_out(x: Execution) -> None:
    # DescribeExecution names no error; only the event does (observed).
    x.record_last("ExecutionTimedOut", 0, "executionTimedOutEventDetails", {"error": TIMEOUT})
    x.timeout_timer = None
    _end(x, "TIMED_OUT")


def stop(x: Execution, event: StopRequested) -> None:
    """StopExecution."""
    x.error, x.cause = event.error, event.cause
    details = Failure(event.error, event.cause).details
    x.record_last("ExecutionAborted", 0, "executionAbortedEventDetails", details)
    _end(x, "ABORTED")


# -- a second life


def redrive(x: Execution, event: Redriven) -> None:
    """Go on from the states that did not succeed.

    A Task, Parallel or Map goes on without being entered again; so does a Wait. Any other state is entered anew. Results
    of branches and iterations that succeeded are kept (AWS, "Restarting state machine executions with redrive").
    """
    if x.status in ("RUNNING", "SUCCEEDED") or ROOT not in x.frames:
        return
    x.status = "RUNNING"
    x.output = x.error = x.cause = None
    x.redrive_count += 1
    x.redrive_time = x.at
    x.deadline = x.at + _seconds(x) * 1000
    previous = x.record(
        "ExecutionRedriven", x.event_count, "executionRedrivenEventDetails", {"redriveCount": x.redrive_count}
    )
    root = x.frames[ROOT]
    root.previous = previous
    root.retries = None
    root.retry_count = 0
    x.go(root, again=root.phase != Phase.HELD)


# -- recovery


def pending(x: Execution) -> list[AnyEffect]:
    """What the host still owes an answer for."""
    effects: list[AnyEffect] = []
    if x.status != "RUNNING":
        return effects
    for frame in x.frames.values():
        attempt = frame.attempt
        if attempt is not None:
            effects.append(tasks.effect(frame, attempt, frame.state))  # type: ignore[arg-type]
            if attempt.timeout_timer is not None and attempt.deadline is not None:
                effects.append(SetTimer(attempt.timeout_timer, attempt.deadline))
            if attempt.heartbeat_timer is not None:
                effects.append(SetTimer(attempt.heartbeat_timer, attempt.heartbeat_due))
        if frame.timer is not None:
            effects.append(SetTimer(frame.timer, frame.timer_due))
        if frame.map_run is not None:
            effects.extend(mapruns.pending(frame, frame.map_run))
    if x.timeout_timer is not None and x.deadline is not None:
        effects.append(SetTimer(x.timeout_timer, x.deadline))
    if x.breath_timer is not None:
        effects.append(SetTimer(x.breath_timer, x.breath_due))
    return effects
