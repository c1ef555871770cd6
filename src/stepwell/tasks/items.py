"""ItemReader: the items of a distributed Map from S3 or a local bucket, page by page.

A page is read from where its cursor says, so that a restart goes on in the middle and memory holds one window of the object, whatever its
size. The cursor carries the object's etag: an object that is replaced while it is read fails the map run instead of mixing two.
Source: https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itemreader.html
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import msgspec
import orjson

from stepwell.interpreter.effects import ReadItems, WriteResults
from stepwell.language.errors import ITEM_READER_FAILED, RESULT_WRITER_FAILED
from stepwell.tasks.aws_clients import AwsClients, Caller, CallFailed
from stepwell.tasks.item_formats import (
    BOM,
    COMPRESSED,
    DELIMITERS,
    LARGEST_DOCUMENT,
    Malformed,
    array_items,
    csv_items,
    csv_rows,
    jsonl_items,
    unpack,
)
from stepwell.tasks.parquet import ParquetFiles
from stepwell.tasks.requests import TaskError
from stepwell.tasks.results import Outcomes, export
from stepwell.tasks.stores import Store, Stores

WINDOW = 256 * 1024
LARGEST_WINDOW = 64 * 1024 * 1024
"""No single item is larger than this."""


class Cursor(
    msgspec.Struct,
    omit_defaults=True,
    rename={"offset": "o", "window": "w", "headers": "h", "etag": "e", "inside": "i"},
):
    """Where the next page begins."""

    offset: int = 0
    window: int = WINDOW
    headers: list[str] | None = None
    etag: str = ""
    inside: bool = False
    number: int = 0
    """Of a list of objects (a manifest, a listing that is flattened): which one."""
    token: str | None = None
    """Of a listing: the page."""
    rows: int = 0
    """Of a Parquet file, or an array that ItemsPointer points at: items taken."""


class Unpacked:
    """A compressed file, unpacked."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def read(self, key: str, start: int, length: int) -> bytes:
        """A part of it, as of an object in a Store."""
        del key
        return self.data[start : start + length]


class Items:
    """Reads items and writes results for the engine: local buckets under `data` first, then S3 by `aws`."""

    def __init__(self, *, aws: AwsClients | None = None, data: Path | None = None) -> None:
        self._stores = Stores(aws, data)
        self._unpacked: dict[tuple[str, str, str], Unpacked] = {}
        """The compressed file that was read last, by bucket, key and etag: its pages come one after the other."""
        self._parquet = ParquetFiles()

    async def read(self, request: ReadItems, role_arn: str) -> tuple[bytes, str | None, list[tuple[int, str]] | None]:
        """A page of at most `request.limit` items as a JSON array, the cursor of the next page, and the items' sources.

        Sources are (number of items, Map.Item.Source) in their order when the reader reads several objects. Raises TaskError.
        """
        del role_arn  # the process's own credentials read; a role would need an sts:AssumeRole that laptops do not have
        cursor = Cursor() if request.cursor is None else msgspec.json.decode(request.cursor, type=Cursor)
        try:
            reader = _Reader(self._stores, request, self._unpacked, self._parquet)
            items, following = await reader.page(cursor, request.limit)
        except CallFailed as failure:
            raise TaskError(
                ITEM_READER_FAILED, f"{failure.message} (Service: S3, Status Code: {failure.status})"
            ) from failure
        except (Malformed, orjson.JSONDecodeError) as error:
            raise TaskError(ITEM_READER_FAILED, str(error)) from error
        text = None if following is None else msgspec.json.encode(following).decode()
        return orjson.dumps(items), text, reader.sources or None

    async def write(self, request: WriteResults, role_arn: str, outcomes: Outcomes) -> bytes:
        """Export a map run's outcomes; gives the JSON the Map state gets as its result. Raises TaskError."""
        del role_arn
        try:
            return await export(request, outcomes, self._stores, caller_of(request.map_run_arn))
        except CallFailed as failure:
            raise TaskError(
                RESULT_WRITER_FAILED, f"{failure.message} (Service: S3, Status Code: {failure.status})"
            ) from failure


def caller_of(arn: str) -> Caller:
    parts = arn.split(":")
    return Caller(parts[4], parts[3])


Page = tuple[list[Any], Cursor | None]


class _Reader:
    """One reader's way through its object or objects."""

    def __init__(
        self,
        stores: Stores,
        request: ReadItems,
        unpacked: dict[tuple[str, str, str], Unpacked],
        parquet: ParquetFiles,
    ) -> None:
        self.stores = stores
        self.unpacked = unpacked
        self.parquet = parquet
        self.map_run = request.map_run_arn
        self.caller = caller_of(request.map_run_arn)
        reader = request.reader
        parameters = reader.get("Parameters") or reader.get("Arguments") or {}
        self.config: dict[str, Any] = reader.get("ReaderConfig") or {}
        self.action = str(reader.get("Resource", "")).rpartition(":")[2]
        self.bucket = _text(parameters, "Bucket")
        self.key = _text(parameters, "Key") if self.action == "getObject" else ""
        self.prefix = str(parameters.get("Prefix") or "")
        self.options = {name: parameters[name] for name in ("VersionId", "ExpectedBucketOwner") if parameters.get(name)}
        self.sources: list[tuple[int, str]] = []
        """Of the page: where its items come from, when that is several objects."""
        self.kind = str(self.config.get("InputType") or "JSON").upper()
        if self.action not in ("getObject", "listObjectsV2"):
            raise Malformed(
                f"The ItemReader's Resource ends in neither s3:getObject nor s3:listObjectsV2: {reader.get('Resource')}"
            )
        if self.kind == "PARQUET" and parameters.get("VersionId") is not None:
            raise Malformed("VersionId is not supported for InputType PARQUET.")

    def store(self, bucket: str, key: str = "") -> Store:
        """The bucket's store; for the object that the parameters name, with what they say of its version and owner."""
        named = key == self.key and bucket == self.bucket
        return self.stores.of(bucket, self.caller, self.options if named else None)

    async def page(self, cursor: Cursor, limit: int) -> Page:
        if self.action == "listObjectsV2":
            if self.config.get("Transformation") == "LOAD_AND_FLATTEN":
                return await self._flattened_listing(cursor, limit)
            return await self._listing(cursor)
        if self.kind == "MANIFEST" or self.config.get("ManifestType") is not None:
            return await self._manifest(cursor, limit)
        return await self._object(self.bucket, self.key, cursor, limit)

    # -- one object ------------------------------------------------------------------------------------------------------------

    async def _object(self, bucket: str, key: str, cursor: Cursor, limit: int) -> Page:
        store = self.store(bucket, key)
        size, etag = await store.size(key)
        if cursor.etag and cursor.etag != etag:
            raise Malformed(f"The object {bucket}/{key} was replaced while its items were read.")
        cursor.etag = etag
        if self.kind == "PARQUET":
            place = (self.map_run, bucket, key)
            found, more = await self.parquet.page(place, store, size, etag, cursor.rows, limit)
            cursor.rows += len(found)
            return found, cursor if more else None
        source: Store | Unpacked = store
        if key.endswith(COMPRESSED):
            source = await self._unpack(store, (bucket, key, etag), size)
            size = len(source.data)
        if self.kind == "JSON" and self.config.get("ItemsPointer"):
            return await self._pointed(source, key, size, cursor, limit)
        items: list[Any] = []
        while cursor.offset < size and len(items) < limit:
            window = await source.read(key, cursor.offset, cursor.window)
            last = cursor.offset + len(window) >= size
            found, used, ended = self._take(window, last, limit - len(items), cursor)
            if ended:
                return items + found, None
            if not used and not last:
                if cursor.window >= LARGEST_WINDOW:
                    raise Malformed(f"An item of {bucket}/{key} is over {LARGEST_WINDOW} bytes.")
                cursor.window *= 4
                continue
            items += found
            cursor.offset += used
            if last and not used:
                break
            if found and used:
                # So much as the next page takes, and a quarter more.
                wanted = used * limit // len(found) * 5 // 4
                cursor.window = min(max(4096, wanted), 4 * 1024 * 1024)
        return items, cursor if cursor.offset < size else None

    def _take(self, window: bytes, last: bool, limit: int, cursor: Cursor) -> tuple[list[Any], int, bool]:
        skipped = len(BOM) if cursor.offset == 0 and window.startswith(BOM) else 0
        window = window[skipped:]
        if self.kind == "CSV":
            items, used = self._take_csv(window, last, limit, cursor)
            ended = False
        elif self.kind == "JSONL":
            items, used = jsonl_items(window, last, limit)
            ended = False
        elif self.kind == "JSON":
            items, used, ended = array_items(window, last, limit, inside=cursor.inside)
            cursor.inside = cursor.inside or used > 0
        else:
            raise Malformed(f"The ItemReader's InputType {self.kind} is not known.")
        return items, used + skipped if used else 0, ended

    def _take_csv(self, window: bytes, last: bool, limit: int, cursor: Cursor) -> tuple[list[Any], int]:
        delimiter = DELIMITERS.get(str(self.config.get("CSVDelimiter") or "COMMA"))
        if delimiter is None:
            raise Malformed(f"CSVDelimiter must be one of {', '.join(DELIMITERS)}.")
        first = 0
        if cursor.headers is None:
            if self.config.get("CSVHeaderLocation") == "GIVEN":
                cursor.headers = [str(header) for header in self.config.get("CSVHeaders") or []]
            else:
                rows, first = csv_rows(window, last, 1, delimiter)
                if not rows:
                    return [], first
                cursor.headers = rows[0]
            if len(set(cursor.headers)) < len(cursor.headers):
                raise Malformed("CSV headers cannot contain duplicates.")
        rows, used = csv_rows(window[first:], last, limit, delimiter)
        return csv_items(rows, cursor.headers), first + used

    async def _pointed(self, store: Store | Unpacked, key: str, size: int, cursor: Cursor, limit: int) -> Page:
        if size > LARGEST_DOCUMENT:
            raise Malformed(f"With ItemsPointer an object may have at most {LARGEST_DOCUMENT} bytes.")
        document = orjson.loads(await store.read(key, 0, max(size, 1)))
        for part in str(self.config["ItemsPointer"]).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(document, list) and name.isdigit() and int(name) < len(document):
                document = document[int(name)]
            elif isinstance(document, dict) and name in document:
                document = document[name]
            else:
                raise Malformed(f"ItemsPointer '{self.config['ItemsPointer']}' points at nothing in the file.")
        if not isinstance(document, list):
            raise Malformed("Attempting to map over non-iterable node.")
        items = document[cursor.rows : cursor.rows + limit]
        cursor.rows += len(items)
        return items, cursor if cursor.rows < len(document) else None

    # -- listings --------------------------------------------------------------------------------------------------------------

    async def _listing(self, cursor: Cursor) -> Page:
        found, following = await self.store(self.bucket).list(self.prefix, cursor.token)
        items = [
            {
                "Etag": f'"{item.etag}"',
                "Key": item.key,
                "LastModified": item.modified,
                "Size": item.size,
                "StorageClass": item.storage_class,
            }
            for item in found
        ]
        return items, None if following is None else Cursor(token=following)

    async def _flattened_listing(self, cursor: Cursor, limit: int) -> Page:
        """The items of every object of the listing, one after the other."""
        found, following = await self.store(self.bucket).list(self.prefix, cursor.token)
        places = [(self.bucket, item.key) for item in found if item.size]
        items, rest = await self._chain(places, cursor, limit)
        if rest is None and following is not None:
            rest = Cursor(token=following)
        return items, rest

    async def _chain(self, places: list[tuple[str, str]], cursor: Cursor, limit: int) -> Page:
        """The items of the objects `places`, from `cursor.number` on."""
        items: list[Any] = []
        while cursor.number < len(places):
            bucket, key = places[cursor.number]
            found, following = await self._object(bucket, key, cursor, limit - len(items))
            items += found
            if found:
                self.sources.append((len(found), f"S3://{bucket}/{key}"))
            if following is not None:
                following.number, following.token = cursor.number, cursor.token
                return items, following
            cursor = Cursor(number=cursor.number + 1, token=cursor.token)
            if len(items) >= limit:
                break
        return items, cursor if cursor.number < len(places) else None

    # -- manifests -------------------------------------------------------------------------------------------------------------

    async def _manifest(self, cursor: Cursor, limit: int) -> Page:
        """An S3 inventory's manifest.json, or the list of objects that Athena's UNLOAD leaves."""
        store = self.store(self.bucket, self.key)
        size, _ = await store.size(self.key)
        text = await store.read(self.key, 0, max(size, 1))
        if self.config.get("ManifestType") == "ATHENA_DATA":
            places = []
            for line in text.decode(errors="replace").splitlines():
                uri = line.strip().strip('"')
                if uri:
                    bucket, _, key = uri.removeprefix("s3://").partition("/")
                    places.append((bucket, key))
            if self.kind == "MANIFEST":
                self.kind = "JSONL"
            return await self._chain(places, cursor, limit)
        manifest = orjson.loads(text)
        if not isinstance(manifest, dict) or manifest.get("fileFormat") != "CSV":
            raise Malformed("Only S3 inventories in the CSV format can be read.")
        columns = [name.strip() for name in str(manifest.get("fileSchema", "")).split(",")]
        destination = str(manifest.get("destinationBucket") or self.bucket).rpartition(":::")[2]
        self.kind = "CSV"
        self.config = {**self.config, "CSVHeaderLocation": "GIVEN", "CSVHeaders": columns, "CSVDelimiter": "COMMA"}
        places = [(destination, str(entry["key"])) for entry in manifest.get("files") or []]
        items, following = await self._chain(places, cursor, limit)
        self.sources.clear()  # the items are the inventory's own lines
        for item in items:
            if "Key" in item:
                item["Key"] = unquote_plus(item["Key"])
        return items, following

    async def _unpack(self, store: Store, place: tuple[str, str, str], size: int) -> Unpacked:
        """A compressed file: it cannot be entered in the middle."""
        found = self.unpacked.get(place)
        if found is None:
            bucket, key, _ = place
            packed = await store.read(key, 0, max(size, 1))
            found = Unpacked(await asyncio.to_thread(unpack, packed, f"{bucket}/{key}"))
            self.unpacked.clear()
            self.unpacked[place] = found
        return found


def _text(parameters: dict[str, Any], name: str) -> str:
    value = parameters.get(name)
    if not isinstance(value, str) or not value:
        raise Malformed(f"The ItemReader's Parameters must have the string '{name}'.")
    return value
