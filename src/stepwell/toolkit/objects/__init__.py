"""Objects: bytes under a key, in a bucket.

One port, `Bucket`, with two adapters: `local.LocalBucket` (a directory) and `s3.S3Bucket`. Both keep S3's promises:
a reader sees the old object or the new one, never a mixture; a write that was acknowledged survives `kill -9`; listings are
in the order of the key's UTF-8 bytes; conditional writes are atomic among all writers.

Limits, on both sides: keys of 1 to 1,024 UTF-8 bytes without control characters and without a `.` or `..` between slashes;
at most 10,000 parts an upload, each but the last of at least 5 MiB; user metadata of 2 KB; 10 tags.
Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from __future__ import annotations

import io
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypedDict, Unpack

from stepwell.toolkit.errors import ObjectNotFound, StorageError

Data = bytes | bytearray | memoryview

MAX_KEY_BYTES = 1024
MAX_PARTS = 10_000
MIN_PART_BYTES = 5 * 1024 * 1024
MAX_METADATA_BYTES = 2048
MAX_TAGS = 10
MAX_PRESIGN_SECONDS = 7 * 24 * 3600
READ_BYTES = 1024 * 1024


class Attributes(TypedDict, total=False):
    """What may be said about an object when it is written.

    `metadata` names are read back in lower case, as S3 does. `storage_class` and `kms_key_id` are handed to S3; the local
    bucket records them and returns them from `head`, so that a test can assert on them.
    """

    content_type: str
    cache_control: str
    metadata: Mapping[str, str]
    tags: Mapping[str, str]
    storage_class: str
    kms_key_id: str


@dataclass(frozen=True, slots=True)
class ObjectSummary:
    """One line of a listing. `etag` has no quotes; `size` is in bytes; `modified` is in UTC."""

    key: str
    size: int
    etag: str
    modified: datetime
    storage_class: str = "STANDARD"


@dataclass(frozen=True, slots=True)
class ObjectInfo(ObjectSummary):
    """What `head`, `put` and `open` know of an object."""

    content_type: str = "application/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)
    kms_key_id: str | None = None
    cache_control: str | None = None


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """Up to 1,000 summaries in key order; `next` is None on the last page."""

    items: list[ObjectSummary]
    next: str | None


@dataclass(frozen=True, slots=True)
class Part:
    """One stored part of an upload: numbers run from 1 to 10,000."""

    number: int
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """An upload that was begun and neither completed nor aborted; its parts take space until it is."""

    key: str
    upload_id: str
    started: datetime


class ObjectReader(io.RawIOBase):
    """A binary stream over an object (or a range of it). Iterating gives chunks of up to 1 MiB, not lines."""

    info: ObjectInfo

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read(READ_BYTES):
            yield chunk

    def readable(self) -> bool:
        return True


class ObjectWriter(ABC):
    """A stream into a new object, for data of unknown length.

    Used as a context manager: leaving it normally publishes the object, leaving it by an exception (or calling `abort`)
    leaves nothing behind. Memory is bounded by one part, whatever the size of the object.
    """

    info: ObjectInfo | None = None
    """The published object, once the writer is closed."""
    size: int = 0
    """Bytes written so far."""

    @abstractmethod
    def write(self, data: Data) -> int:
        """Append bytes."""

    @abstractmethod
    def close(self) -> ObjectInfo:
        """Publish the object. Raises `PreconditionFailed` when `if_absent` or `if_match` does not hold."""

    @abstractmethod
    def abort(self) -> None:
        """Give up; nothing is published. Harmless after `close`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
        elif not self.finished:
            self.close()

    @property
    @abstractmethod
    def finished(self) -> bool:
        """Whether the writer was closed or aborted."""


class Upload(ABC):
    """A multipart upload. Used as a context manager it aborts itself unless `complete` was called.

    Parts may be sent in any order, again, and from several threads or processes (`Bucket.resume_upload`).
    """

    key: str
    upload_id: str

    @abstractmethod
    def put_part(self, number: int, data: Data) -> Part:
        """Store one part; sending a number again replaces it. Raises `UploadNotFound`."""

    @abstractmethod
    def parts(self) -> list[Part]:
        """The parts stored so far, by number."""

    @abstractmethod
    def complete(
        self, parts: Iterable[Part] | None = None, *, if_absent: bool = False, if_match: str | None = None
    ) -> ObjectInfo:
        """Publish the object made of `parts` (default: all stored parts), in the order of their numbers.

        Raises `StorageError` for no parts, a part that is not stored or was replaced, or a part but the last below 5 MiB;
        `PreconditionFailed` as `Bucket.put` does; `UploadNotFound`.
        """

    @abstractmethod
    def abort(self) -> None:
        """Remove the upload and its parts. Harmless when it is gone already."""

    @abstractmethod
    def presigned_part_url(self, number: int, *, expires: int = 3600) -> str:
        """A URL that takes the bytes of one part by HTTP PUT, for a browser; `expires` in seconds."""

    _completed: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._completed:
            self.abort()


class Bucket(ABC):
    """Objects in one bucket. Safe to use from several threads and several processes."""

    name: str

    @abstractmethod
    def put(
        self,
        key: str,
        data: Data,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **attributes: Unpack[Attributes],
    ) -> ObjectInfo:
        """Write an object from memory (at most 5 GB on S3; use `writer` for streams).

        `if_absent` writes only when there is no object; `if_match` only when the object's etag is the given one (compare
        and swap). Raises `PreconditionFailed` when that does not hold.
        """

    @abstractmethod
    def writer(
        self,
        key: str,
        *,
        part_size: int = 8 * 1024 * 1024,
        if_absent: bool = False,
        if_match: str | None = None,
        **attributes: Unpack[Attributes],
    ) -> ObjectWriter:
        """Stream into a new object: `with bucket.writer(key) as out: out.write(chunk)`. See `ObjectWriter`."""

    @abstractmethod
    def open(self, key: str, *, start: int = 0, length: int | None = None) -> ObjectReader:
        """Stream an object, or `length` bytes from offset `start`. Raises `ObjectNotFound`.

        A range beyond the end is cut; one that starts at or beyond the end of a non-empty object gives no bytes.
        """

    @abstractmethod
    def head(self, key: str) -> ObjectInfo:
        """What is known of an object, without its bytes. Raises `ObjectNotFound`."""

    @abstractmethod
    def tags(self, key: str) -> dict[str, str]:
        """The object's tags. Raises `ObjectNotFound`."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; removing what is not there is no error."""

    @abstractmethod
    def list_page(self, prefix: str = "", *, limit: int = 1000, after: str | None = None) -> ObjectPage:
        """Up to `limit` (1 to 1,000) objects whose key starts with `prefix`, beyond the `next` of an earlier page."""

    @abstractmethod
    def copy(
        self,
        source: str,
        key: str,
        *,
        source_bucket: Bucket | None = None,
        **attributes: Unpack[Attributes],
    ) -> ObjectInfo:
        """Copy an object (of this bucket or of `source_bucket`); given attributes replace the source's, the rest is kept.

        Raises `ObjectNotFound`.
        """

    @abstractmethod
    def begin_upload(self, key: str, **attributes: Unpack[Attributes]) -> Upload:
        """Begin a multipart upload."""

    @abstractmethod
    def resume_upload(self, key: str, upload_id: str) -> Upload:
        """Take up an upload begun elsewhere. Raises `UploadNotFound`."""

    @abstractmethod
    def list_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        """Uploads begun and neither completed nor aborted, by key."""

    @abstractmethod
    def presigned_url(
        self, key: str, *, method: Literal["GET", "PUT"] = "GET", expires: int = 3600, content_type: str | None = None
    ) -> str:
        """A URL that lets its holder read or write this one object for `expires` seconds (at most 7 days).

        For PUT, `content_type` must then be sent as the Content-Type header. The key need not exist.
        """

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """The bytes of an object, or a range of them as in `open`. Raises `ObjectNotFound`."""
        with self.open(key, start=start, length=length) as reader:
            return reader.readall() or b""

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            self.head(key)
        except ObjectNotFound:
            return False
        return True

    def list(self, prefix: str = "") -> Iterator[ObjectSummary]:
        """Every object whose key starts with `prefix`, in key order, page by page."""
        after: str | None = None
        while True:
            page = self.list_page(prefix, after=after)
            yield from page.items
            after = page.next
            if after is None:
                return

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove many objects, in as few calls as the store allows."""
        for key in keys:
            self.delete(key)

    def upload_file(
        self, path: Path, key: str, *, progress: Callable[[int], None] | None = None, **attributes: Unpack[Attributes]
    ) -> ObjectInfo:
        """Write an object from a local file; `progress` is told the bytes sent so far."""
        with path.open("rb") as source, self.writer(key, **attributes) as out:
            while chunk := source.read(READ_BYTES):
                out.write(chunk)
                if progress is not None:
                    progress(out.size)
            return out.close()

    def download_file(self, key: str, path: Path) -> ObjectInfo:
        """Write an object's bytes to a local file. Raises `ObjectNotFound`."""
        with self.open(key) as reader, path.open("wb") as out:
            for chunk in reader:
                out.write(chunk)
            return reader.info

    def abort_uploads(self, older_than: timedelta, *, prefix: str = "") -> int:
        """Abort uploads begun longer ago than `older_than`; returns how many."""
        now = datetime.now().astimezone()
        stale = [found for found in self.list_uploads(prefix) if now - found.started > older_than]
        for found in stale:
            self.resume_upload(found.key, found.upload_id).abort()
        return len(stale)


def check_key(key: str) -> str:
    """The key itself, or ValueError naming what S3 or a file system could not keep apart."""
    if not key:
        raise ValueError("an object key must not be empty")
    try:
        encoded = key.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"object key {key!r} is not valid Unicode: {error}") from None
    if len(encoded) > MAX_KEY_BYTES:
        raise ValueError(f"object key {key[:60]!r}... has {len(encoded)} bytes; at most {MAX_KEY_BYTES} are allowed")
    if any(ord(character) < 32 or ord(character) == 127 for character in key):
        raise ValueError(f"object key {key!r} contains a control character")
    if any(segment in (".", "..") for segment in key.split("/")):
        raise ValueError(f"object key {key!r} contains a '.' or '..' segment")
    return key


def check_attributes(attributes: Attributes) -> None:
    """ValueError for metadata or tags that S3 would refuse."""
    metadata = attributes.get("metadata") or {}
    size = sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items())
    if size > MAX_METADATA_BYTES:
        raise ValueError(f"user metadata has {size} bytes; at most {MAX_METADATA_BYTES} are allowed")
    for name, value in metadata.items():
        if not name or not name.isascii() or not value.isascii() or any(ord(c) < 32 for c in name + value):
            raise ValueError(f"user metadata {name!r} must be printable ASCII, name and value")
    tags = attributes.get("tags") or {}
    if len(tags) > MAX_TAGS:
        raise ValueError(f"an object has at most {MAX_TAGS} tags")
    for name, value in tags.items():
        if not name or not all(character.isalnum() or character in " _.:/=+-@" for character in name + value):
            raise ValueError(
                f"tag {name!r}: only letters, digits, spaces and _ . : / = + - @ are allowed, not {value!r}"
            )


def check_part_number(number: int) -> None:
    """ValueError unless 1 <= number <= 10,000."""
    if not 1 <= number <= MAX_PARTS:
        raise ValueError(f"part number {number} is not between 1 and {MAX_PARTS}")


def check_parts(key: str, parts: Iterable[Part]) -> list[Part]:
    """The parts to complete an upload with, or StorageError: none, too many, or out of order."""
    chosen = list(parts)
    if not 1 <= len(chosen) <= MAX_PARTS:
        raise StorageError(f"an upload is completed with 1 to {MAX_PARTS} parts; {key!r} has {len(chosen)}")
    if any(first.number >= second.number for first, second in itertools.pairwise(chosen)):
        raise StorageError(f"the parts of {key!r} are not in ascending order of their numbers")
    return chosen


__all__ = [
    "Attributes",
    "Bucket",
    "Data",
    "ObjectInfo",
    "ObjectPage",
    "ObjectReader",
    "ObjectSummary",
    "ObjectWriter",
    "Part",
    "UnfinishedUpload",
    "Upload",
    "check_attributes",
    "check_key",
    "check_part_number",
    "check_parts",
]
