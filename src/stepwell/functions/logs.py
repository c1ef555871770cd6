"""What functions log and print, kept line by line and found again by execution."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec


class LogRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line of a function's log. Its JSON form has the same names; `fields` holds what a structured line carried besides."""

    time: str
    """UTC, ISO 8601 with milliseconds and ``Z``."""
    level: str
    """DEBUG, INFO, WARNING, ERROR or CRITICAL; INFO for printed lines."""
    message: str
    function: str
    request_id: str | None = None
    execution: str | None = None
    correlation_id: str | None = None
    state: str | None = None
    attempt: int | None = None
    logger: str | None = None
    """The Python logger's name; None for printed lines."""
    fields: dict[str, Any] = msgspec.field(default_factory=dict)
    """Extras of a structured record: a printed JSON object's members (the CloudWatch metric format among them), ``exception``."""


class LogStore:
    """A folder of JSON-lines files, rotated by size, the oldest deleted. One process writes, any number read."""

    def __init__(self, directory: Path, *, max_bytes: int = 64 * 1024 * 1024, keep: int = 16) -> None:
        raise NotImplementedError

    def write(self, record: LogRecord) -> None:
        raise NotImplementedError

    def read(
        self,
        *,
        execution: str | None = None,
        function: str | None = None,
        request_id: str | None = None,
        since: str | None = None,
    ) -> Iterator[LogRecord]:
        """The records that match all given filters, oldest first. `execution` is an ARN or an execution's name."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError
