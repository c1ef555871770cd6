"""Files of lines, rotated by size."""

from __future__ import annotations

import os
from pathlib import Path

SUFFIX = ".jsonl"


class RotatedLines:
    """JSON-lines files `PREFIX00000001.jsonl`, ... of a folder, each of at most `max_bytes`; the oldest beyond `keep` are deleted.

    One process writes, any number read. A line is with the operating system when `write` returns: it outlives this process, not a
    power cut.
    """

    def __init__(self, directory: Path, prefix: str, *, max_bytes: int = 64 * 1024 * 1024, keep: int = 16) -> None:
        self.directory = Path(directory)
        self.prefix = prefix
        self.max_bytes = max_bytes
        self.keep = keep
        self._file: int | None = None
        self._size = 0

    def write(self, lines: bytes) -> None:
        """Append whole lines, each with its newline. Raises OSError when the disk refuses it."""
        if self._file is None or self._size + len(lines) > self.max_bytes:
            self._rotate(len(lines))
        assert self._file is not None
        self._size += len(lines)
        rest = lines
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def files(self) -> list[Path]:
        """Oldest first."""
        return sorted(self.directory.glob(f"{self.prefix}*{SUFFIX}"))

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _rotate(self, incoming: int) -> None:
        self.close()
        self.directory.mkdir(parents=True, exist_ok=True)
        files = self.files()
        number = int(files[-1].name[len(self.prefix) : -len(SUFFIX)]) if files else 1
        if files and files[-1].stat().st_size + incoming > self.max_bytes:
            number += 1
        path = self.directory / f"{self.prefix}{number:08d}{SUFFIX}"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size
        if self._size and os.pread(self._file, 1, self._size - 1) != b"\n":
            self._size += os.write(self._file, b"\n")
        for old in self.files()[: -self.keep]:
            old.unlink(missing_ok=True)
