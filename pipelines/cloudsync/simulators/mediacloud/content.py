"""What the simulated camera cloud serves: real video files, plain bytes, or a stream of any length that takes no memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

BLOCK = 1024 * 1024


class Content(Protocol):
    """Bytes of a known size that can be read from any offset, any number of times."""

    @property
    def size(self) -> int: ...

    @property
    def etag(self) -> str: ...

    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        """The bytes from `start` up to but not including `end`, in pieces of at most 1 MiB."""
        ...


@dataclass(frozen=True)
class BytesContent:
    """Bytes in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    @cached_property
    def etag(self) -> str:
        return hashlib.md5(self.data, usedforsecurity=False).hexdigest()

    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        view = memoryview(self.data)
        for offset in range(start, end, BLOCK):
            yield view[offset : min(offset + BLOCK, end)]


@dataclass(frozen=True)
class FileContent:
    """A file on disk."""

    path: Path

    @cached_property
    def size(self) -> int:
        return self.path.stat().st_size

    @cached_property
    def etag(self) -> str:
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()

    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        with self.path.open("rb") as file:
            file.seek(start)
            left = end - start
            while left > 0 and (piece := file.read(min(BLOCK, left))):
                left -= len(piece)
                yield piece


@dataclass(frozen=True)
class SyntheticContent:
    """A stream of `size` bytes in which every block of 1 MiB begins with its own number.

    So a lost, doubled or misplaced piece shows, while nothing but one block is ever in memory.
    """

    size: int
    seed: int = 0

    @property
    def etag(self) -> str:
        return hashlib.md5(f"synthetic {self.seed} {self.size}".encode(), usedforsecurity=False).hexdigest()

    @cached_property
    def _filling(self) -> bytes:
        return hashlib.shake_256(f"block {self.seed}".encode()).digest(BLOCK)

    def block(self, number: int) -> bytes:
        return number.to_bytes(8, "big") + self._filling[8:]

    def read(self, start: int, end: int) -> Iterator[bytes | memoryview]:
        scratch = bytearray(self._filling)
        offset = start
        while offset < end:
            number, inside = divmod(offset, BLOCK)
            scratch[:8] = number.to_bytes(8, "big")
            upto = min(BLOCK, inside + end - offset)
            yield bytes(memoryview(scratch)[inside:upto]) if inside or upto < BLOCK else bytes(scratch)
            offset += upto - inside
