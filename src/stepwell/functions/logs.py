"""What functions log and print, kept line by line and found again by execution."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from stepwell.functions.lines import RotatedLines

_PREFIX = "functions-"
_LEVELS = {"WARN": "WARNING", "FATAL": "CRITICAL", "TRACE": "DEBUG"}
LEVELS = frozenset({"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"})


class LogRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line of a function's log. Its JSON form has the same names."""

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
    """What a structured line carried besides: the extras of a log record, ``exception`` (a traceback's text), the
    members of a printed JSON object (among them ``_aws``, CloudWatch's embedded metric format)."""

    def text(self) -> str:
        """The line for people: time, level, function, message, extras, traceback."""
        extras = {key: value for key, value in self.fields.items() if key != "exception"}
        line = f"{self.time} {self.level:<8} {self.function} {self.message}"
        if extras:
            line += " " + msgspec.json.encode(extras).decode()
        exception = self.fields.get("exception")
        return f"{line}\n{exception}" if exception else line


def timestamp(seconds: float) -> str:
    """Epoch seconds as a record's time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def level_name(value: object) -> str:
    """A level in the record's vocabulary, whatever a JSON logger called it; INFO when it is none."""
    name = str(value).upper()
    name = _LEVELS.get(name, name)
    return name if name in LEVELS else "INFO"


class LogStore:
    """A folder of JSON-lines files (see `RotatedLines`). One process writes, any number read."""

    def __init__(self, directory: Path, *, max_bytes: int = 64 * 1024 * 1024, keep: int = 16) -> None:
        self._lines = RotatedLines(directory, _PREFIX, max_bytes=max_bytes, keep=keep)
        self._encoder = msgspec.json.Encoder()

    @property
    def directory(self) -> Path:
        return self._lines.directory

    def write(self, record: LogRecord) -> None:
        """Raises OSError when the disk refuses it."""
        self._lines.write(self._encoder.encode(record) + b"\n")

    def read(
        self,
        *,
        execution: str | None = None,
        function: str | None = None,
        request_id: str | None = None,
        since: str | None = None,
    ) -> Iterator[LogRecord]:
        """The records that match all given filters, oldest first.

        `execution` is an ARN or an execution's name; `since` a time as in the records.
        """
        needle = None
        if request_id is not None:
            needle = f'"{request_id}"'.encode()
        elif execution is not None:
            needle = (f'"{execution}"' if execution.startswith("arn:") else f':{execution}"').encode()
        decoder = msgspec.json.Decoder(LogRecord)
        for path in self._lines.files():
            for line in _lines(path, needle):
                try:
                    record = decoder.decode(line)
                except msgspec.DecodeError:
                    continue  # The torn last line of a process that was killed while it wrote.
                if (
                    (execution is None or _is_of(record.execution, execution))
                    and (function is None or record.function == function)
                    and (request_id is None or record.request_id == request_id)
                    and (since is None or record.time >= since)
                ):
                    yield record

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        self._lines.close()


def _is_of(recorded: str | None, wanted: str) -> bool:
    return recorded is not None and (recorded == wanted or recorded.endswith(":" + wanted))


def _lines(path: Path, needle: bytes | None) -> Iterator[bytes]:
    """The lines that contain the needle. A search in mapped memory, so that a few lines in a gigabyte cost a second."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return  # Rotated away meanwhile.
    with file:
        if needle is None:
            yield from file
            return
        if os.fstat(file.fileno()).st_size == 0:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            position = 0
            while (found := data.find(needle, position)) >= 0:
                start = data.rfind(b"\n", 0, found) + 1
                end = data.find(b"\n", found)
                end = len(data) if end < 0 else end
                yield data[start:end]
                position = end + 1
