"""The context object: `$$` in JSONPath, `$states.context` in JSONata."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepwell.interpreter.execution import Execution
    from stepwell.interpreter.frames import Frame

__all__ = ["build", "timestamp"]

_WITH_RETRIES = frozenset({"Task", "Parallel", "Map"})


def timestamp(at: int) -> str:
    """Milliseconds since the epoch as AWS writes them in the context object: `2024-05-01T12:00:00.123Z`."""
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{at % 1000:03d}Z"


def build(
    x: Execution, frame: Frame, *, token: str | None = None, item: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The context object of the state a frame is in.

    `item` is the Map.Item of an iteration that is about to start, for ItemSelector; otherwise it is the innermost
    iteration the frame is part of.
    """
    identity = x.identity
    execution: dict[str, Any] = {
        "Id": identity.execution_arn,
        "Input": x.input.value,
        "StartTime": timestamp(identity.start_time),
        "Name": identity.name,
        "RoleArn": identity.role_arn,
    }
    if not identity.synchronous:
        execution["RedriveCount"] = x.redrive_count
    if x.redrive_time is not None:
        execution["RedriveTime"] = timestamp(x.redrive_time)
    state: dict[str, Any] = {"Name": frame.state.name, "EnteredTime": timestamp(frame.entered_at)}
    if frame.state.TYPE in _WITH_RETRIES:
        state["RetryCount"] = frame.retry_count
    context: dict[str, Any] = {
        "Execution": execution,
        "StateMachine": {"Id": identity.state_machine_arn, "Name": identity.state_machine_name},
        "State": state,
    }
    if token is not None:
        context["Task"] = {"Token": token}
    if item is None:
        item = _item(x, frame)
    if item is not None:
        context["Map"] = {"Item": item}
    return context


def _item(x: Execution, frame: Frame) -> dict[str, Any] | None:
    while frame.parent is not None:
        if frame.iteration is not None:
            return frame.iteration
        frame = x.frames[frame.parent]
    return None
