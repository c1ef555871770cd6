"""From a line of a worker's output to a log record."""

from __future__ import annotations

import re
import time
from typing import Any

import msgspec

from stepwell.functions import wire
from stepwell.functions.logs import LogRecord, level_name, timestamp
from stepwell.functions.spec import Call

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_decode = msgspec.json.Decoder().decode


def record_of(line: bytes, function: str, call: Call | None) -> LogRecord:
    """The record of one output line, stamped with the call it belongs to.

    A marked line is a Python log record, a line that is a JSON object a structured record by another logger, anything else text.
    """
    if line.startswith(wire.RECORD_MARK) and (entry := _object(line[1:])) is not None:
        record = LogRecord(
            time=timestamp(entry["time"]),
            level=level_name(entry["level"]),
            message=entry["message"],
            function=function,
            logger=entry["logger"],
            fields=entry["fields"],
        )
    elif line.startswith(b"{") and (entry := _object(line)) is not None:
        record = _structured(entry, function)
    else:
        text = line.lstrip(wire.RECORD_MARK).decode("utf-8", "replace").rstrip("\r")
        record = LogRecord(time=timestamp(time.time()), level="INFO", message=text, function=function)
    if call is not None:
        record.request_id = call.request_id
        record.execution = call.execution
        record.state = call.state
        record.attempt = call.attempt
        if call.correlation_id is not None:
            record.correlation_id = call.correlation_id
        elif record.correlation_id is None and call.execution is not None:
            record.correlation_id = _execution_name(call.execution)
    return record


def _structured(entry: dict[str, Any], function: str) -> LogRecord:
    """A line of a JSON logger. What the record has a place for moves there, under the names that loggers commonly use."""
    moment = entry.pop("timestamp", None)
    if not (isinstance(moment, str) and _TIME.fullmatch(moment)):
        moment = timestamp(time.time())
    if entry.get("function_name") in (None, function):
        entry.pop("function_name", None)
    correlation = entry.pop("correlation_id", None)
    logger = entry.pop("logger", None)
    return LogRecord(
        time=moment,
        level=level_name(entry.pop("level", "INFO")),
        message=str(entry.pop("message", "")),
        function=function,
        correlation_id=None if correlation is None else str(correlation),
        logger=None if logger is None else str(logger),
        fields={name: value for name, value in entry.items() if value is not None},
    )


def _execution_name(arn: str) -> str:
    """An execution's name: the usual correlation id. Express executions have a further part behind it."""
    parts = arn.split(":")
    return parts[7] if len(parts) > 7 else parts[-1]


def tail_line(record: LogRecord, line: bytes) -> bytes:
    """The line as Lambda's own log shows it."""
    if line.startswith(wire.RECORD_MARK):
        exception = record.fields.get("exception")
        text = f"[{record.level}]\t{record.time}\t{record.request_id or ''}\t{record.message}\n"
        return (text + (f"{exception}\n" if exception else "")).encode()
    return line + b"\n"


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = _decode(line)
    except msgspec.DecodeError:
        return None
    return value if isinstance(value, dict) else None
