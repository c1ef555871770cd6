"""From a line of a worker's output to a log record."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from stepwell.functions import wire
from stepwell.functions.logs import LogRecord, level_name, timestamp
from stepwell.functions.spec import Call

_decode = msgspec.json.Decoder().decode


def record_of(line: bytes, function: str, call: Call | None) -> LogRecord:
    """The record of one output line, stamped with the call it belongs to.

    A marked line is a Python log record, a line that is a JSON object a structured record by another logger, anything else text.
    """
    moment = time.time()
    level, message, logger, fields = "INFO", "", None, {}
    if line.startswith(wire.RECORD_MARK):
        entry = _object(line[1:])
        if entry is not None:
            moment = entry["time"]
            level, message, logger, fields = (
                level_name(entry["level"]),
                entry["message"],
                entry["logger"],
                entry["fields"],
            )
        else:
            message = _text(line[1:])
    elif line.startswith(b"{") and (entry := _object(line)) is not None:
        level = level_name(entry.pop("level", "INFO"))
        message = str(entry.pop("message", ""))
        fields = entry
    else:
        message = _text(line)
    record = LogRecord(
        time=timestamp(moment), level=level, message=message, function=function, logger=logger, fields=fields
    )
    if call is not None:
        record.request_id = call.request_id
        record.execution = call.execution
        record.correlation_id = call.correlation_id
        record.state = call.state
        record.attempt = call.attempt
    return record


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


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r")
