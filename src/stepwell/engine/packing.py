"""The form of a chunk of history in the journal: the JSON text of an array, compressed when it is long enough.

A state's output is the next one's input, and each event repeats the names of its fields: compressed, a history takes a fifth to a
fiftieth of its text, and what is not written need not be copied to the database by the checkpoint either. LZ4, because compressing has
to cost less than writing: see docs/decisions/0011.
"""

from __future__ import annotations

from lz4.block import LZ4BlockError, compress, decompress

__all__ = ["PackingError", "pack", "unpack"]

LEAST = 1_024
"""Bytes; a shorter text is kept as it is. A text begins with `[`, which tells it from a compressed one."""
_LZ4 = b"\x01"

PackingError = LZ4BlockError
"""Compressed history is damaged."""


def pack(text: bytes) -> bytes:
    """What is stored for the JSON text of an array."""
    if len(text) < LEAST:
        return text
    packed: bytes = compress(text)
    return _LZ4 + packed


def unpack(data: bytes) -> bytes:
    """The JSON text of what `pack` gave. Raises PackingError."""
    if data[:1] != _LZ4:
        return data
    text: bytes = decompress(memoryview(data)[1:])
    return text
