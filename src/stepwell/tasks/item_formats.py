"""Taking a window of bytes apart into items: CSV, JSON Lines, and the elements of a JSON array.

An object is read in windows, so that its size does not matter. Each function takes a window that begins at the start of a
record and gives the complete records in it with the number of bytes they took; the next window begins there. `last` says that the
window reaches the end of the object, where a record needs no terminator.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from typing import Any

import orjson

BOM = b"\xef\xbb\xbf"
COMPRESSED = (".gz", ".zst", ".zstd")
LARGEST_DOCUMENT = 512 * 1024 * 1024
"""Of what is read whole: a compressed file, and a JSON file in which ItemsPointer points at the array."""
DELIMITERS = {"COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "SPACE": " ", "TAB": "\t"}

# The largest field a CSV may have: any.
csv.field_size_limit(2**31 - 1)


class Malformed(ValueError):
    """The object is not what InputType says."""


class _Lines:
    """The complete lines of a window, counting the bytes handed out."""

    def __init__(self, window: bytes, last: bool) -> None:
        self.window = window
        self.last = last
        self.taken = 0

    def __iter__(self) -> Iterator[str]:
        window = self.window
        while self.taken < len(window):
            end = window.find(b"\n", self.taken)
            if end < 0:
                if not self.last:
                    return
                end = len(window) - 1
            line = window[self.taken : end + 1]
            self.taken = end + 1
            try:
                yield line.decode()
            except UnicodeDecodeError as error:
                raise Malformed(f"The file is not UTF-8 text: {error}") from error


def csv_rows(window: bytes, last: bool, limit: int, delimiter: str = ",") -> tuple[list[list[str]], int]:
    """Up to `limit` rows and the bytes they took. Empty lines are left out."""
    lines = _Lines(window, last)
    rows: list[list[str]] = []
    used = 0
    complete = len(window) if last else window.rfind(b"\n") + 1
    try:
        for row in csv.reader(iter(lines), delimiter=delimiter):
            if not last and lines.taken >= complete:
                break  # it may go on behind the window: a quoted field can hold line ends
            used = lines.taken
            if row:
                rows.append(row)
                if len(rows) == limit:
                    break
    except csv.Error as error:
        raise Malformed(f"The file is not valid CSV: {error}") from error
    return rows, used


def csv_items(rows: list[list[str]], headers: list[str]) -> list[dict[str, str]]:
    """Rows as objects: what is missing is empty, what is beyond the headers is dropped."""
    width = len(headers)
    return [dict(zip(headers, row + [""] * (width - len(row)), strict=False)) for row in rows]


def jsonl_items(window: bytes, last: bool, limit: int) -> tuple[list[Any], int]:
    """Up to `limit` values of a JSON Lines window and the bytes they took."""
    items: list[Any] = []
    position = 0
    while position < len(window) and len(items) < limit:
        end = window.find(b"\n", position)
        if end < 0:
            if not last:
                break
            end = len(window)
        line = window[position:end].strip()
        if line:
            try:
                items.append(orjson.loads(line))
            except orjson.JSONDecodeError as error:
                raise Malformed(f"A line is not valid JSON: {error}") from error
        position = min(end + 1, len(window))
    return items, position


_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|["\[\]{},]', re.S)


def array_items(window: bytes, last: bool, limit: int, *, inside: bool) -> tuple[list[Any], int, bool]:
    """Up to `limit` elements of a JSON array, the bytes they took, and whether the array ended.

    `inside`: the window begins at an element (or the closing bracket), not at the opening one. Raises Malformed when the document
    is not an array.
    """
    start = 0
    if not inside:
        text = window.lstrip()
        if not text:
            if last:
                raise Malformed("The file is empty.")
            return [], 0, False
        if not text.startswith(b"["):
            raise Malformed("Attempting to map over non-iterable node.")
        start = len(window) - len(text) + 1
    depth = 0
    cut = start
    count = 0
    ended = False
    for match in _TOKEN.finditer(window, start):
        token = match.group()
        if token in (b"[", b"{"):
            depth += 1
        elif token in (b"]", b"}"):
            depth -= 1
            if depth < 0:
                if window[cut : match.start()].strip():
                    count += 1
                cut = match.start()
                ended = True
                break
        elif token == b"," and depth == 0:
            count += 1
            cut = match.end()
            if count == limit:
                break
        elif token == b'"':
            break  # a string that goes on behind the window
    if last and not ended and count < limit:
        raise Malformed("The file is not valid JSON: the array does not end.")
    body = window[start:cut].rstrip()
    body = body if ended else body.removesuffix(b",")
    try:
        items = orjson.loads(b"[" + body + b"]")
    except orjson.JSONDecodeError as error:
        raise Malformed(f"The file is not valid JSON: {error}") from error
    return items, cut + 1 if ended else cut, ended


def unpack(packed: bytes, name: str) -> bytes:
    """What a gzip or (by its name) Zstandard file holds. Raises Malformed."""
    try:
        with gzip.open(io.BytesIO(packed)) if name.endswith(".gz") else _zstandard(packed) as stream:
            data: bytes = stream.read(LARGEST_DOCUMENT + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Malformed(f"The compressed file {name} cannot be unpacked: {error}") from error
    if len(data) > LARGEST_DOCUMENT:
        raise Malformed(f"The compressed file {name} has more than {LARGEST_DOCUMENT} bytes.")
    return data


def _zstandard(packed: bytes) -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise Malformed("Zstandard files need pyarrow, which is not installed: install stepwell[parquet].") from error
    return pyarrow.CompressedInputStream(pyarrow.BufferReader(packed), "zstd")
