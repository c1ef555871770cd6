"""Parquet files as items: row group by row group, each read from the store at once and decoded in batches.

AWS's limits are kept: a row group of 256 MB, a footer of 5 MB. Memory holds one row group as it is stored and one decoded batch.
Values become JSON: numbers, booleans, strings, null, lists and objects as such; dates and times in ISO 8601; decimals as strings,
which keeps every digit; bytes that are not UTF-8 in base64.
Source: https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itemreader.html
"""

from __future__ import annotations

import asyncio
import base64
import datetime
import decimal
import io
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from stepwell.tasks.item_formats import Malformed

if TYPE_CHECKING:
    from stepwell.tasks.stores import Store

LARGEST_ROW_GROUP = 256 * 1024 * 1024
LARGEST_FOOTER = 5 * 1024 * 1024
TAIL = 64 * 1024
"""So much of the end is read at first: usually the whole footer."""
MAGIC = b"PAR1"
OPEN_FILES = 4


class _Window(io.RawIOBase):
    """A file of which only some parts are in memory; the reader asks for no others."""

    def __init__(self, size: int, parts: dict[int, bytes]) -> None:
        self._size = size
        self._parts = parts
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._size, self._position + size)
        for start, data in self._parts.items():
            if start <= self._position and end <= start + len(data):
                found = data[self._position - start : end - start]
                self._position = end
                return found
        raise Malformed(f"The Parquet file refers to bytes {self._position} to {end}, outside of its row group.")


class ParquetFile:
    """One file that is read from some row on."""

    def __init__(self, store: Store, key: str, size: int, etag: str) -> None:
        self.etag = etag
        self.rows = 0
        """Of the whole file."""
        self.position = 0
        """The next row."""
        self._store = store
        self._key = key
        self._size = size
        self._metadata: Any = None
        self._footer: dict[int, bytes] = {}
        self._plain = False
        self._group = 0
        self._batches: Iterator[Any] | None = None
        self._rest: Any = None
        """What is left of the batch decoded last."""

    async def open(self, row: int) -> None:
        """Read the footer and go to a row. Raises Malformed, CallFailed."""
        start = max(0, self._size - TAIL)
        tail = await self._store.read(self._key, start, max(1, self._size - start))
        if len(tail) < 12 or tail[-4:] != MAGIC:
            raise Malformed(f"The object {self._key} is not a Parquet file.")
        length = int.from_bytes(tail[-8:-4], "little")
        if length > LARGEST_FOOTER:
            raise Malformed(f"The footer of the Parquet file {self._key} is larger than {LARGEST_FOOTER} bytes.")
        if length + 8 > self._size:
            raise Malformed(f"The object {self._key} is not a Parquet file.")
        if length + 8 > len(tail):
            start = self._size - length - 8
            tail = await self._store.read(self._key, start, length + 8)
        self._footer = {start: tail}
        await asyncio.to_thread(self._read_metadata)
        self.rows = self._metadata.num_rows
        while self._group < self._metadata.num_row_groups:
            count = self._metadata.row_group(self._group).num_rows
            if row < self.position + count:
                break
            self.position += count
            self._group += 1
        while self.position < row:  # in the middle of a row group, after a restart
            await self.take(row - self.position)

    def _read_metadata(self) -> None:
        try:
            import pyarrow as arrow
            from pyarrow import parquet
        except ImportError as error:
            raise Malformed(
                "InputType PARQUET needs pyarrow, which is not installed: install stepwell[parquet]."
            ) from error
        try:
            source = arrow.PythonFile(_Window(self._size, self._footer), mode="r")
            self._metadata = parquet.read_metadata(source)
            schema = self._metadata.schema.to_arrow_schema()
        except (arrow.ArrowException, OSError) as error:
            raise Malformed(f"The Parquet file {self._key} cannot be read: {error}") from error
        if len(set(schema.names)) < len(schema.names):
            raise Malformed("Parquet columns cannot contain duplicates.")
        self._plain = all(_is_plain(arrow.types, column.type) for column in schema)

    async def take(self, limit: int) -> list[dict[str, Any]]:
        """At most `limit` rows, at least one unless the file has ended. Raises Malformed, CallFailed."""
        while self._rest is None or not self._rest.num_rows:
            if self._batches is None:
                if self._group >= self._metadata.num_row_groups:
                    return []
                self._batches = await self._open_group(limit)
            self._rest = await asyncio.to_thread(self._decode)
            if self._rest is None:
                self._batches = None
                self._group += 1
        batch = self._rest.slice(0, limit)
        self._rest = self._rest.slice(batch.num_rows)
        self.position += batch.num_rows
        return await asyncio.to_thread(self._items, batch)

    async def _open_group(self, limit: int) -> Iterator[Any]:
        group = self._metadata.row_group(self._group)
        first, end = self._size, 0
        for number in range(group.num_columns):
            column = group.column(number)
            begins = column.data_page_offset
            if column.has_dictionary_page and column.dictionary_page_offset:
                begins = min(begins, column.dictionary_page_offset)
            first = min(first, begins)
            end = max(end, begins + column.total_compressed_size)
        if end - first > LARGEST_ROW_GROUP:
            raise Malformed(f"A row group of the Parquet file {self._key} is larger than {LARGEST_ROW_GROUP} bytes.")
        data = await self._store.read(self._key, first, max(1, end - first))
        return await asyncio.to_thread(self._decoder, {first: data, **self._footer}, limit)

    def _decoder(self, parts: dict[int, bytes], limit: int) -> Iterator[Any]:
        import pyarrow as arrow
        from pyarrow import parquet

        source = arrow.PythonFile(_Window(self._size, parts), mode="r")
        file = parquet.ParquetFile(source, metadata=self._metadata, pre_buffer=False)
        batches: Iterator[Any] = file.iter_batches(batch_size=limit, row_groups=[self._group], use_threads=False)
        return batches

    def _decode(self) -> Any:
        import pyarrow as arrow

        assert self._batches is not None
        try:
            return next(self._batches, None)
        except (arrow.ArrowException, OSError) as error:
            raise Malformed(f"The Parquet file {self._key} cannot be read: {error}") from error

    def _items(self, batch: Any) -> list[dict[str, Any]]:
        if self._plain:
            rows: list[dict[str, Any]] = batch.to_pylist()
            return rows
        import pyarrow as arrow

        columns = []
        for column in batch.columns:
            if arrow.types.is_timestamp(column.type) and column.type.unit == "ns":
                column = column.cast(arrow.timestamp("us", column.type.tz), safe=False)
            columns.append([_json(value) for value in column.to_pylist()])
        names = batch.schema.names
        return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


class ParquetFiles:
    """The files that were read last, each at the row where its reader goes on."""

    def __init__(self) -> None:
        self._files: OrderedDict[tuple[str, str, str], ParquetFile] = OrderedDict()

    async def page(
        self, place: tuple[str, str, str], store: Store, size: int, etag: str, row: int, limit: int
    ) -> tuple[list[dict[str, Any]], bool]:
        """At most `limit` items from a row on, and whether there are more. `place`: who reads, bucket and key."""
        file = self._files.pop(place, None)  # held by nobody else until the page is complete
        if file is None or file.etag != etag or file.position != row:
            file = ParquetFile(store, place[2], size, etag)
            await file.open(row)
        items = await file.take(limit)
        more = file.position < file.rows
        if more:
            self._files[place] = file
            while len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)
        return items, more


def _is_plain(types: Any, kind: Any) -> bool:
    """Whether pyarrow's Python values of a type are JSON already."""
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_boolean(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_null(kind)
    )


def _json(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(_json(key)): _json(item) for key, item in value.items()}
    if isinstance(value, list):
        if value and all(isinstance(item, tuple) for item in value):  # a map
            return {str(_json(key)): _json(item) for key, item in value}
        return [_json(item) for item in value]
    if isinstance(value, datetime.datetime):
        return value.isoformat() if value.tzinfo is None else _utc(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return str(value)


def _utc(value: datetime.datetime) -> str:
    return value.astimezone(datetime.UTC).replace(tzinfo=None).isoformat() + "Z"
