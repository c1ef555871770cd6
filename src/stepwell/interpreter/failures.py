"""What happens when a state fails: Retry, Catch, and the way up to the execution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepwell.interpreter.effects import SetTimer
from stepwell.interpreter.frames import Phase
from stepwell.interpreter.payload import Payload
from stepwell.language.errors import (
    DATA_LIMIT_EXCEEDED,
    HEARTBEAT_TIMEOUT,
    QUERY_EVALUATION_ERROR,
    RUNTIME,
    TIMEOUT,
    StatesError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepwell.interpreter.execution import Execution
    from stepwell.interpreter.frames import Frame
    from stepwell.language.model import Catcher, Retrier

__all__ = ["Failure", "InvalidValue", "VerbatimError", "data_limit", "fault", "state_failed"]


class VerbatimError(StatesError):
    """A fault whose cause AWS gives without "An error occurred while executing the state"."""


class InvalidValue(StatesError):
    """A value of a JSONata field was computed, but is not usable. AWS records it one step later than a failed evaluation."""


def data_limit(name: str) -> VerbatimError:
    """AWS's States.DataLimitExceeded; `name` is the state's name, a function's ARN or an integration's service."""
    return VerbatimError(
        DATA_LIMIT_EXCEEDED,
        f"The state/task '{name}' returned a result with a size exceeding the maximum number of bytes service limit.",
    )


class Failure:
    """Why a state failed.

    `error` and `cause` may be None: absent in the history, null in what Catch gets, except that a timeout's cause is
    absent in the history and empty in Catch. `terminal` failures end the execution: nothing catches States.Runtime.
    """

    __slots__ = ("aliases", "caught_cause", "cause", "error", "terminal")

    def __init__(self, error: str | None, cause: str | None, *, terminal: bool = False) -> None:
        self.error = error
        self.cause = cause
        self.caught_cause = cause
        self.terminal = terminal
        self.aliases: tuple[str, ...] = ()

    @classmethod
    def timed_out(cls, *, heartbeat: bool = False) -> Failure:
        """A timeout. A missed heartbeat is recorded as States.Timeout too, and is caught under either name."""
        failure = cls(TIMEOUT, None)
        failure.caught_cause = ""
        if heartbeat:
            failure.aliases = (HEARTBEAT_TIMEOUT,)
        return failure

    def matched_by(self, matches: Callable[[str], bool]) -> bool:
        """Whether a Retry or Catch entry with this matcher is for this failure."""
        return matches(self.error or "") or any(matches(name) for name in self.aliases)

    @property
    def output(self) -> dict[str, Any]:
        """The error output, as Catch gets it."""
        return {"Error": self.error, "Cause": self.caught_cause}

    @property
    def details(self) -> dict[str, str]:
        """Error and cause as history details have them: absent when absent."""
        details = {}
        if self.error is not None:
            details["error"] = self.error
        if self.cause is not None:
            details["cause"] = self.cause
        return details


def fault(x: Execution, frame: Frame, error: StatesError) -> None:
    """A state could not be evaluated: record what AWS records and fail the state."""
    if isinstance(error, VerbatimError):
        state_failed(x, frame, Failure(error.error, error.cause, terminal=error.error == RUNTIME))
        return
    state = frame.state
    cause = f"An error occurred while executing the state '{state.name}' (entered at the event id #{frame.entered}). {error.cause}"
    if error.error == QUERY_EVALUATION_ERROR:
        # In the step that entered the state, AWS hangs the event beside the Entered event, not below it.
        beside = frame.previous == frame.entered and not isinstance(error, InvalidValue)
        details = {"error": error.error, "cause": cause, "state": state.name}
        if error.location is not None:
            details["location"] = error.location
        frame.previous = x.record(
            "EvaluationFailed",
            frame.entered_previous if beside else frame.previous,
            "evaluationFailedEventDetails",
            details,
        )
    state_failed(x, frame, Failure(error.error, cause, terminal=error.error == RUNTIME))


def state_failed(x: Execution, frame: Frame, failure: Failure) -> None:
    """Retry the state, else catch the failure, else fail what the frame is part of."""
    state = frame.state
    if failure.terminal:
        x.fail(failure, frame.previous)
        return
    if x.inspection is not None:
        x.inspection["failure"] = failure
    for index, retrier in enumerate(state.retriers):
        if failure.matched_by(retrier.matches):
            if frame.retries is None:
                frame.retries = [0] * len(state.retriers)
            if frame.retries[index] < retrier.max_attempts:
                _retry(x, frame, retrier, index)
                return
            break
    if state.TYPE in ("Map", "Parallel"):
        frame.previous = x.record(f"{state.TYPE}StateFailed", frame.previous)
    for index, catcher in enumerate(state.catchers):
        if failure.matched_by(catcher.matches):
            if x.inspection is not None:
                x.inspection["errorDetails"] = {"catchIndex": index}
            x.drop_children(frame)
            try:
                _catch(x, frame, catcher, failure)
            except StatesError as error:
                # A Catch that cannot be carried out is a fault of its own, and no Catch or Retry is for it.
                uncaught(x, frame, error)
            return
    x.frame_failed(frame, failure)


def uncaught(x: Execution, frame: Frame, error: StatesError) -> None:
    """A fault in a Catch: the failure goes up."""
    cause = error.cause
    state = frame.state
    if not isinstance(error, VerbatimError):
        cause = f"An error occurred while executing the state '{state.name}' (entered at the event id #{frame.entered}). {cause}"
    if error.error == QUERY_EVALUATION_ERROR:
        details = {"error": error.error, "cause": cause, "state": state.name}
        if error.location is not None:
            details["location"] = error.location
        frame.previous = x.record("EvaluationFailed", frame.previous, "evaluationFailedEventDetails", details)
    failure = Failure(error.error, cause, terminal=error.error == RUNTIME)
    if failure.terminal:
        x.fail(failure, frame.previous)
    else:
        x.frame_failed(frame, failure)


def _retry(x: Execution, frame: Frame, retrier: Retrier, index: int) -> None:
    assert frame.retries is not None
    seconds = backoff(retrier, frame.retries[index])
    if x.inspection is not None:
        whole = int(seconds) if seconds == int(seconds) else seconds
        x.inspection["errorDetails"] = {"retryIndex": index, "retryBackoffIntervalSeconds": whole}
    if retrier.full_jitter:
        seconds *= x.random.random()
    frame.retries[index] += 1
    frame.retry_count += 1
    x.drop_children(frame)
    frame.phase = Phase.RETRY
    frame.timer = x.allot(frame)
    frame.timer_due = x.at + round(seconds * 1000)
    x.effects.append(SetTimer(frame.timer, frame.timer_due))


def backoff(retrier: Retrier, used: int) -> float:
    """Seconds before the next attempt, when the retrier was used `used` times; without jitter."""
    try:
        seconds = float(retrier.interval_seconds * retrier.backoff_rate**used)
    except OverflowError:
        seconds = float("inf")
    if retrier.max_delay_seconds is not None:
        seconds = min(seconds, retrier.max_delay_seconds)
    return min(seconds, _LONGEST_DELAY)


_LONGEST_DELAY = 366 * 24 * 3600.0
"""Longer than any execution may last."""


def _catch(x: Execution, frame: Frame, catcher: Catcher, failure: Failure) -> None:
    state = frame.state
    error_output = failure.output
    raw = frame.input
    scope = None
    if state.jsonata:
        output = Payload(error_output)
        if catcher.output is not None or catcher.assign is not None:
            scope = x.scope(frame, None, states={"input": raw.value, "errorOutput": error_output})
        if catcher.output is not None and scope is not None:
            output = Payload(catcher.output(scope))
    else:
        scope = x.scope(frame, error_output)
        if catcher.discard:
            output = raw
        elif catcher.result_path is not None:
            output = Payload(catcher.result_path.write(raw.value, error_output))
        else:
            output = Payload(error_output)
    if x.leave(frame, output, catcher.assign, scope, catcher.next):
        x.go(frame)
