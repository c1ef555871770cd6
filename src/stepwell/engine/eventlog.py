"""Execution events as a state machine's logging configuration asks for them, in the form CloudWatch Logs has them on AWS.

A projection of committed history: written to the logger `stepwell.executions`, to `logs/executions-*.jsonl` in the data directory, and to
the configured log group. As on AWS, delivery to a log group is best effort and never slows an execution down.

Sources: https://docs.aws.amazon.com/step-functions/latest/dg/cw-logs.html and .../cloudwatch-log-level.html, and AWS's recordings.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from stepwell.interpreter import tokens
from stepwell.interpreter.identity import Identity

if TYPE_CHECKING:
    from stepwell.functions.lines import RotatedLines

__all__ = ["FATAL_EVENTS", "EventLog", "LogSink", "entry_of", "is_logged"]

log = logging.getLogger("stepwell.executions")

FATAL_EVENTS = frozenset({"ExecutionAborted", "ExecutionFailed", "ExecutionTimedOut"})
_ERROR_ENDINGS = ("Failed", "Aborted", "TimedOut")
PAYLOAD_LIMIT = 248 * 1024
"""An input or output whose JSON text is longer, escaped as it is in the entry, is cut."""

_DATA = ("input", "output", "parameters", "assignedVariables")
"""What a configuration without execution data leaves out, each with its `...Details`."""


class LogSink(Protocol):
    """Where a log group is: `stepwell.tasks.cloudwatch_logs`."""

    def put(self, group_arn: str, machine: str, entries: list[tuple[int, bytes]]) -> None:
        """Deliver (milliseconds, JSON text) in this order, soon. Must neither raise nor wait."""
        ...

    async def has_group(self, group_arn: str) -> bool:
        """Whether the log group may exist: False only when that is known."""
        ...

    async def close(self) -> None:
        """Deliver what waits, for a few seconds at most."""
        ...


def is_logged(event_type: str, level: str) -> bool:
    """Whether a level covers a type of event: ERROR all failures, aborts and timeouts and the entry of a Fail state."""
    if level == "ALL":
        return True
    if event_type in FATAL_EVENTS:
        return level in ("ERROR", "FATAL")
    return level == "ERROR" and (event_type == "FailStateEntered" or event_type.endswith(_ERROR_ENDINGS))


def entry_of(event: Mapping[str, Any], execution_arn: str, redrive_count: int, *, include_data: bool) -> dict[str, Any]:
    """The log entry of a history event (in the shape of GetExecutionHistory)."""
    details: dict[str, Any] = {}
    for key, value in event.items():
        if key.endswith("EventDetails") and isinstance(value, dict):
            details = _cut(value) if include_data else _without_data(value)
    return {
        "id": str(event["id"]),
        "type": event["type"],
        "details": details,
        "redrive_count": str(redrive_count),
        "previous_event_id": str(event.get("previousEventId", 0)),
        "event_timestamp": str(_milliseconds(event)),
        "execution_arn": execution_arn,
    }


def _milliseconds(event: Mapping[str, Any]) -> int:
    return round(float(event["timestamp"]) * 1000)


def _without_data(details: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in details.items() if name.removesuffix("Details") not in _DATA}


def _cut(details: dict[str, Any]) -> dict[str, Any]:
    """Payloads of CloudWatch's size; `truncated` says which were cut."""
    for name in ("input", "output"):
        text = details.get(name)
        if isinstance(text, str) and len(text) * 2 > PAYLOAD_LIMIT:
            escaped = orjson.dumps(text)[1:-1]
            if len(escaped) > PAYLOAD_LIMIT:
                details = {**details, name: _prefix(escaped), f"{name}Details": {"truncated": True}}
    return details


def _prefix(escaped: bytes) -> str:
    """The longest text whose escaped form is within the limit."""
    part = escaped[:PAYLOAD_LIMIT].decode(errors="ignore")
    for spare in range(7):  # an escape sequence that was cut in two is at most \\uXXXX long
        try:
            text: str = orjson.loads(f'"{part[: len(part) - spare]}"')
            return text
        except orjson.JSONDecodeError:
            continue
    return ""


class EventLog:
    """Writes the entries. Only the engine's own log is written here; `sink` delivers to log groups."""

    def __init__(self, directory: Path | None, sink: LogSink | None) -> None:
        self._lines: RotatedLines | None = None
        if directory is not None:
            from stepwell.functions.lines import RotatedLines

            self._lines = RotatedLines(directory / "logs", "executions-")
        self._sink = sink
        self._waiting: list[bytes] = []

    async def has_group(self, group_arn: str) -> bool:
        """Whether there may be a log group of that ARN."""
        return self._sink is None or await self._sink.has_group(group_arn)

    def write(
        self, identity: Identity, history: list[dict[str, Any]], configuration: Mapping[str, Any], redrive_count: int
    ) -> None:
        """Log committed events of an execution by a logging configuration in the API's shape."""
        level = configuration.get("level", "OFF")
        include_data = bool(configuration.get("includeExecutionData"))
        entries = [
            (
                _milliseconds(event),
                orjson.dumps(entry_of(event, identity.execution_arn, redrive_count, include_data=include_data)),
            )
            for event in history
            if is_logged(event["type"], level)
        ]
        if not entries:
            return
        for _, text in entries:
            self._keep(text)
        if self._sink is not None:
            for destination in configuration.get("destinations") or ():
                arn = (destination.get("cloudWatchLogsLogGroup") or {}).get("logGroupArn")
                if arn:
                    self._sink.put(arn, identity.state_machine_name.partition("/")[0], entries)

    def _keep(self, text: bytes) -> None:
        """Write to the engine's own log. Whoever reads it must not be able to answer for a task."""
        concealed = tokens.conceal(text.decode())
        log.info("%s", concealed)
        if self._lines is None:
            return
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(concealed.encode() + b"\n")

    def _flush(self) -> None:
        lines, self._waiting = self._waiting, []
        if self._lines is None or not lines:
            return
        try:
            self._lines.write(b"".join(lines))
        except OSError as error:
            log.error("%d execution events could not be written to %s: %s", len(lines), self._lines.directory, error)

    async def close(self) -> None:
        """Write and deliver what waits."""
        self._flush()
        if self._lines is not None:
            self._lines.close()
        if self._sink is not None:
            await self._sink.close()
