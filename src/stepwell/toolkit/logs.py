"""Structured logs: one flat JSON object a line, on standard output.

    log = toolkit.logger(__name__)
    with logs.bind(correlation_id=event["correlation_id"]):
        log.info("page listed", event_type="listing_page", kept=27)

Every line carries `timestamp` (UTC, milliseconds, Z), `level` (DEBUG, INFO, WARN, ERROR, CRITICAL), `correlation_id`,
`function_name`, `event_type` and `message`; then what was bound and what the call gave, flat; and `exception`, the traceback as
text, when there is one. Secrets are masked (see `redaction`). A value that JSON cannot hold becomes its `str`.

Lines go to whatever `sys.stdout` is at that moment, in one write each, so that workers and tests that replace it see them.
Standard output is what CloudWatch and Stepwell's function workers read.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

import orjson

from stepwell.toolkit import redaction

LEVELS: Final[Mapping[str, int]] = {"DEBUG": 10, "INFO": 20, "WARN": 30, "ERROR": 40, "CRITICAL": 50}
_NAMES: Final = {level: name for name, level in LEVELS.items()}
_FIRST: Final = ("timestamp", "level", "correlation_id", "function_name", "event_type", "message")

_bound: ContextVar[Mapping[str, Any]] = ContextVar("stepwell_log_context", default=MappingProxyType({}))


@contextlib.contextmanager
def bind(**context: Any) -> Iterator[None]:
    """Put these fields on every line written inside the block, by this thread or task and those it starts by copying."""
    token = _bound.set({**_bound.get(), **context})
    try:
        yield
    finally:
        _bound.reset(token)


def bound() -> Mapping[str, Any]:
    """The fields bound now."""
    return _bound.get()


class Logger:
    """Writes structured lines. `event_type` names the kind of event for searches; further keywords become fields."""

    def __init__(self, name: str, context: Mapping[str, Any] | None = None) -> None:
        self.name = name
        self._context = dict(context or {})

    def bind(self, **context: Any) -> Logger:
        """A logger with further fields on every line."""
        return Logger(self.name, {**self._context, **context})

    def debug(self, message: str, *, event_type: str | None = None, **fields: Any) -> None:
        """Detail for finding faults; written only when LOG_LEVEL is DEBUG."""
        self._write(10, message, event_type, fields)

    def info(self, message: str, *, event_type: str | None = None, **fields: Any) -> None:
        """What normally happens."""
        self._write(20, message, event_type, fields)

    def warning(self, message: str, *, event_type: str | None = None, **fields: Any) -> None:
        """Something unexpected that the program copes with. The level is written WARN."""
        self._write(30, message, event_type, fields)

    def error(self, message: str, *, event_type: str | None = None, **fields: Any) -> None:
        """Something failed. `exc_info=True`, or an exception, adds its traceback."""
        self._write(40, message, event_type, fields)

    def exception(self, message: str, *, event_type: str | None = None, **fields: Any) -> None:
        """`error` with the traceback of the exception being handled."""
        self._write(40, message, event_type, {"exc_info": True, **fields})

    def critical(self, message: str, *, event_type: str | None = None, **fields: Any) -> None:
        """Nothing works any more."""
        self._write(50, message, event_type, fields)

    def _write(self, level: int, message: str, event_type: str | None, fields: Mapping[str, Any]) -> None:
        if level < _threshold():
            return
        extra = {**_bound.get(), **self._context, "logger": self.name, **fields}
        trace = _traceback(extra.pop("exc_info", None))
        emit(level, message, event_type, extra, trace)


def logger(name: str, **context: Any) -> Logger:
    """A logger; `context` is on each of its lines."""
    return Logger(name, context)


def emit(level: int, message: str, event_type: str | None, fields: Mapping[str, Any], trace: str | None = None) -> None:
    """Write one line whatever the threshold."""
    sys.stdout.write(line(level, message, event_type, fields, trace))
    sys.stdout.flush()


def line(level: int, message: str, event_type: str | None, fields: Mapping[str, Any], trace: str | None = None) -> str:
    """One log line, with its line feed. Fields that collide with the fixed names are kept as `context_<name>`."""
    clean = redaction.fields(fields)
    record: dict[str, Any] = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": _NAMES.get(level) or _NAMES[max(step for step in _NAMES if step <= max(level, 10))],
        "correlation_id": clean.pop("correlation_id", None),
        "function_name": clean.pop("function_name", None) or os.environ.get("AWS_LAMBDA_FUNCTION_NAME"),
        "event_type": event_type or clean.pop("event_type", None),
        "message": redaction.text(message),
    }
    for name, value in clean.items():
        record[f"context_{name}" if name in _FIRST else name] = value
    if trace is not None:
        record["exception"] = redaction.text(trace)
    return _encode(record) + "\n"


class JsonFormatter(logging.Formatter):
    """The same line for records of standard logging (libraries), `extra=` included."""

    def format(self, record: logging.LogRecord) -> str:
        extra = {name: value for name, value in record.__dict__.items() if name not in redaction._STANDARD}
        trace = self.formatException(record.exc_info) if record.exc_info else record.exc_text
        return line(record.levelno, record.getMessage(), None, {**_bound.get(), "logger": record.name, **extra}, trace)[
            :-1
        ]


def _threshold() -> int:
    name = os.environ.get("LOG_LEVEL", "INFO").upper()
    return LEVELS.get("WARN" if name == "WARNING" else name, 20)


def _traceback(exc_info: Any) -> str | None:
    if not exc_info:
        return None
    error = exc_info if isinstance(exc_info, BaseException) else sys.exc_info()[1]
    return None if error is None else "".join(traceback.format_exception(error)).rstrip()


def _encode(record: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(record, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except (TypeError, ValueError):
        # Lone surrogates and integers beyond 64 bits: rare, and a log line must never fail.
        return orjson.dumps({name: _plain(value) for name, value in record.items()}).decode()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else str(value)
    return str(value).encode("utf-8", "replace").decode()
