"""The local bucket: files in a directory and a SQLite index of them.

How nothing is torn or lost. An object is a row of the index that names a file. A write

1. fills a staged file (and syncs it, if it is large);
2. in one index transaction checks the condition, gives the file a name that no row refers to, syncs both, and points the
   row at it. The commit is the moment the object changes;
3. removes the file of the version before, holding the index's write lock, so that no writer can give its name to a new object at
   that moment. Should the process die here, the transaction has left a note in `garbage`, and the next write removes it.

A reader reads the row, opens the file, and reads the row's version again: unchanged means that the open file is that version;
it stays readable for as long as it is open, whatever is written meanwhile.

A multipart upload is one file that parts are appended to as they arrive. Parts that came in order make the object's file as it
is, so that completing 5 GB costs nothing; any other order is copied once.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Unpack

from stepwell.toolkit.errors import (
    ObjectNotFound,
    PreconditionFailed,
    ResourceNotDeclared,
    StorageError,
    UploadNotFound,
)
from stepwell.toolkit.objects import (
    MIN_PART_BYTES,
    Attributes,
    Bucket,
    Data,
    ObjectInfo,
    ObjectPage,
    ObjectReader,
    ObjectSummary,
    ObjectWriter,
    Part,
    UnfinishedUpload,
    Upload,
    check_attributes,
    check_key,
    check_part_number,
    check_parts,
)
from stepwell.toolkit.objects.files import (
    STORE,
    Files,
    blob_path,
    copy_range,
    natural_path,
    path_identity,
    variant_path,
)
from stepwell.toolkit.objects.signing import Signer
from stepwell.toolkit.sqlite import Database

_LAYOUT = """
CREATE TABLE objects (
    key TEXT PRIMARY KEY, path TEXT NOT NULL, path_id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, size INTEGER NOT NULL,
    etag TEXT NOT NULL, modified INTEGER NOT NULL, content_type TEXT NOT NULL, metadata TEXT NOT NULL, tags TEXT NOT NULL,
    storage_class TEXT NOT NULL, kms_key_id TEXT
) WITHOUT ROWID;
CREATE TABLE garbage (path TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE uploads (
    id TEXT PRIMARY KEY, key TEXT NOT NULL, started INTEGER NOT NULL, attributes TEXT NOT NULL, reserved INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, etag TEXT NOT NULL, size INTEGER NOT NULL, position INTEGER NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID
"""
_SYNC_EARLY = 256 * 1024
"""Larger files are synced before the transaction that names them, so that it does not keep others waiting."""
_COLUMNS = "key, path, version, size, etag, modified, content_type, metadata, storage_class, kms_key_id"
_CACHE_CONTROL = ":cache-control"
"""Where the index keeps it among the metadata: no name of an object's own metadata has a colon."""
_LAST = "\U0010ffff" * 257  # sorts after every continuation of a prefix: a key has at most 1,024 bytes


class LocalBucket(Bucket):
    """A bucket in `<data>/buckets/<name>`."""

    def __init__(self, data: Path, name: str) -> None:
        if not name or not name.replace("-", "").replace(".", "").replace("_", "").isalnum() or name.startswith("."):
            raise ValueError(f"bucket name {name!r} must consist of letters, digits, '.', '-' and '_'")
        self.name = name
        self._directory = data / "buckets"
        self._files = Files(self._directory / name)
        self._index = Database(self._files.root / STORE / "index.sqlite3", _LAYOUT, 1)
        self._signer = Signer(self._directory)
        self._files.clear_staging()

    def put(
        self,
        key: str,
        data: Data,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **attributes: Unpack[Attributes],
    ) -> ObjectInfo:
        with self.writer(key, if_absent=if_absent, if_match=if_match, **attributes) as out:
            out.write(data)
            return out.close()

    def writer(
        self,
        key: str,
        *,
        part_size: int = 8 * 1024 * 1024,
        if_absent: bool = False,
        if_match: str | None = None,
        **attributes: Unpack[Attributes],
    ) -> ObjectWriter:
        check_key(key)
        check_attributes(attributes)
        return _Writer(self, key, attributes, if_absent, if_match)

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> ObjectReader:
        check_key(key)
        if start < 0 or (length is not None and length < 0):
            raise ValueError("start and length must not be negative")
        while True:
            row = self._row(key)
            try:
                descriptor = os.open(self._files.root / row["path"], os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                if self._row(key)["version"] == row["version"]:
                    raise StorageError(
                        f"the file of object {key!r} is missing: {self._files.root / row['path']}"
                    ) from None
                continue
            if self._row(key)["version"] == row["version"]:
                break
            os.close(descriptor)
        end = row["size"] if length is None else min(row["size"], start + length)
        return _Reader(descriptor, _info(row), min(start, row["size"]), end)

    def head(self, key: str) -> ObjectInfo:
        return _info(self._row(check_key(key)))

    def tags(self, key: str) -> dict[str, str]:
        return dict(json.loads(self._row(check_key(key), "tags, version")["tags"]))

    def delete(self, key: str) -> None:
        self.delete_many([key])

    def delete_many(self, keys: Iterable[str]) -> None:
        batch = [check_key(key) for key in keys]
        gone: list[str] = []
        with self._index.write() as index:
            for key in batch:
                row = index.execute("DELETE FROM objects WHERE key = ? RETURNING path", (key,)).fetchone()
                if row is not None:
                    gone.append(row[0])
            index.executemany("INSERT OR IGNORE INTO garbage VALUES (?)", [(path,) for path in gone])
        self._remove(gone)

    def list_page(self, prefix: str = "", *, limit: int = 1000, after: str | None = None) -> ObjectPage:
        if not 1 <= limit <= 1000:
            raise ValueError(f"limit must be from 1 to 1,000, not {limit}")
        with self._index.read() as index:
            rows = index.execute(
                "SELECT key, size, etag, modified, storage_class FROM objects WHERE key > ? AND key >= ? AND key <= ? "
                "ORDER BY key LIMIT ?",
                (after or "", prefix, prefix + _LAST, limit + 1),
            ).fetchall()
        items = [
            ObjectSummary(key, size, etag, _time(modified), storage)
            for key, size, etag, modified, storage in rows[:limit]
        ]
        return ObjectPage(items, items[-1].key if len(rows) > limit else None)

    def copy(
        self, source: str, key: str, *, source_bucket: Bucket | None = None, **attributes: Unpack[Attributes]
    ) -> ObjectInfo:
        origin = source_bucket or self
        with origin.open(source) as reader:
            kept: Attributes = {
                "content_type": reader.info.content_type,
                "metadata": reader.info.metadata,
                "tags": origin.tags(source),
            }
            if reader.info.cache_control:
                kept["cache_control"] = reader.info.cache_control
            chosen: Attributes = {**kept, **attributes}
            with self.writer(key, **chosen) as out:
                for chunk in reader:
                    out.write(chunk)
                return out.close()

    def begin_upload(self, key: str, **attributes: Unpack[Attributes]) -> Upload:
        check_key(key)
        check_attributes(attributes)
        upload_id = secrets.token_hex(16)
        (self._files.uploads / upload_id).touch(exist_ok=False)
        with self._index.write() as index:
            index.execute(
                "INSERT INTO uploads VALUES (?, ?, ?, ?, 0)",
                (upload_id, key, _now(), json.dumps(attributes, default=dict)),
            )
        return _Upload(self, key, upload_id)

    def resume_upload(self, key: str, upload_id: str) -> Upload:
        self._upload_row(key, upload_id)
        return _Upload(self, key, upload_id)

    def list_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        with self._index.read() as index:
            rows = index.execute(
                "SELECT key, id, started FROM uploads WHERE key >= ? AND key <= ? ORDER BY key, started",
                (prefix, prefix + _LAST),
            ).fetchall()
        for key, upload_id, started in rows:
            yield UnfinishedUpload(key, upload_id, _time(started))

    def presigned_url(
        self, key: str, *, method: Literal["GET", "PUT"] = "GET", expires: int = 3600, content_type: str | None = None
    ) -> str:
        check_key(key)
        return self._signer.url(_base_url(), method, self.name, key, expires, content_type=content_type)

    def _row(self, key: str, columns: str = _COLUMNS) -> sqlite3.Row:
        with self._index.read() as index:
            cursor = index.execute(f"SELECT {columns} FROM objects WHERE key = ?", (key,))  # noqa: S608 (our own columns)
            cursor.row_factory = sqlite3.Row
            row = cursor.fetchone()
        if row is None:
            raise ObjectNotFound(f"there is no object {key!r} in bucket {self.name!r}")
        return row  # type: ignore[no-any-return]

    def _upload_row(self, key: str, upload_id: str) -> Attributes:
        with self._index.read() as index:
            row = index.execute("SELECT attributes FROM uploads WHERE id = ? AND key = ?", (upload_id, key)).fetchone()
        if row is None:
            raise UploadNotFound(f"there is no upload {upload_id!r} of {key!r} in bucket {self.name!r}")
        return json.loads(row[0])  # type: ignore[no-any-return]

    def _publish(
        self,
        key: str,
        source: Path,
        size: int,
        etag: str,
        attributes: Attributes,
        if_absent: bool,
        if_match: str | None,
        *,
        upload_id: str | None = None,
    ) -> ObjectInfo:
        """Step 2 and 3 of a write; `source` is complete. With `upload_id` the upload ends in the same commit."""
        with self._index.write() as index:
            if upload_id is not None:
                if not index.execute("DELETE FROM uploads WHERE id = ?", (upload_id,)).rowcount:
                    raise UploadNotFound(f"upload {upload_id!r} of {key!r} was completed or aborted meanwhile")
                index.execute("DELETE FROM parts WHERE upload = ?", (upload_id,))
            old = index.execute("SELECT path, etag FROM objects WHERE key = ?", (key,)).fetchone()
            self._require(key, None if old is None else old[1], if_absent, if_match)
            self._collect(index)
            path = self._place(index, key, source, keep=upload_id is not None)
            row = (
                key, path, path_identity(path), secrets.randbits(62), size, etag, _now(),
                attributes.get("content_type") or "application/octet-stream",
                json.dumps(_metadata(attributes)),
                json.dumps(dict(attributes.get("tags") or {})),
                attributes.get("storage_class") or "STANDARD", attributes.get("kms_key_id"),
            )  # fmt: skip
            index.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            if old is not None:
                index.execute("INSERT OR IGNORE INTO garbage VALUES (?)", (old[0],))
        if old is not None:
            self._remove([old[0]])
        metadata = json.loads(row[8])
        cache = metadata.pop(_CACHE_CONTROL, None)
        return ObjectInfo(key, size, etag, _time(row[6]), row[10], row[7], metadata, row[11], cache)

    def _require(self, key: str, etag: str | None, if_absent: bool, if_match: str | None) -> None:
        if if_absent and etag is not None:
            raise PreconditionFailed(f"object {key!r} in bucket {self.name!r} exists already")
        if if_match is not None and etag != if_match:
            found = "is not there" if etag is None else f"has etag {etag}"
            raise PreconditionFailed(f"object {key!r} in bucket {self.name!r} {found}, expected {if_match}")

    def _place(self, index: sqlite3.Connection, key: str, source: Path, *, keep: bool) -> str:
        natural = natural_path(key)
        if natural is not None:
            taken = index.execute("SELECT 1 FROM objects WHERE path_id = ?", (path_identity(natural),)).fetchone()
            path = natural if taken is None else variant_path(natural)
            try:
                self._files.place(source, path, keep=keep)
            except (IsADirectoryError, NotADirectoryError, FileExistsError, PermissionError):
                pass  # a folder has this name, or a file the name of a folder
            else:
                return path
        path = blob_path(key)
        self._files.place(source, path, keep=keep)
        return path

    def _remove(self, paths: list[str]) -> None:
        """Remove files that no row refers to any more. The transaction writes nothing: it is the lock."""
        if paths:
            with self._index.write() as index:
                self._remove_unused(index, paths)

    def _collect(self, index: sqlite3.Connection) -> None:
        """Strike out the notes of `garbage`, and remove what a process that died after its commit left behind."""
        paths = [path for (path,) in index.execute("SELECT path FROM garbage LIMIT 100")]
        self._remove_unused(index, paths)
        index.executemany("DELETE FROM garbage WHERE path = ?", [(path,) for path in paths])

    def _remove_unused(self, index: sqlite3.Connection, paths: list[str]) -> None:
        for path in paths:
            if index.execute("SELECT 1 FROM objects WHERE path_id = ?", (path_identity(path),)).fetchone() is None:
                self._files.remove(path)


class _Reader(ObjectReader):
    def __init__(self, descriptor: int, info: ObjectInfo, start: int, end: int) -> None:
        self.info = info
        self._descriptor = descriptor
        self._position = start
        self._end = max(start, end)

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")[: self._end - self._position]
        count = os.preadv(self._descriptor, [view], self._position) if len(view) else 0
        if len(view) and not count:
            raise StorageError(f"the file of object {self.info.key!r} is shorter than the object: it was altered")
        self._position += count
        return count

    def readall(self) -> bytes:
        data = os.pread(self._descriptor, self._end - self._position, self._position)
        self._position += len(data)
        rest = b"" if self._position == self._end else super().readall()
        return data + (rest or b"")

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


class _Writer(ObjectWriter):
    def __init__(
        self, bucket: LocalBucket, key: str, attributes: Attributes, if_absent: bool, if_match: str | None
    ) -> None:
        self._bucket = bucket
        self._key = key
        self._attributes = attributes
        self._condition = (if_absent, if_match)
        self._digest = hashlib.md5(usedforsecurity=False)
        with _disk_errors(key):
            self._path, self._file = bucket._files.stage()

    def write(self, data: Data) -> int:
        if self.finished:
            raise ValueError("the writer is closed")
        view = memoryview(data).cast("B")
        self._digest.update(view)
        written = 0
        with _disk_errors(self._key):
            while written < len(view):
                written += self._file.write(view[written:])
        self.size += written
        return written

    def close(self) -> ObjectInfo:
        if self.info is None:
            if self.finished:
                raise ValueError("the writer was aborted")
            try:
                with _disk_errors(self._key):
                    if self.size > _SYNC_EARLY:
                        os.fsync(self._file.fileno())
                    self.info = self._bucket._publish(
                        self._key, self._path, self.size, self._digest.hexdigest(), self._attributes, *self._condition
                    )
            except BaseException:
                self.abort()
                raise
            self._file.close()
        return self.info

    def abort(self) -> None:
        if not self.finished:
            self._path.unlink(missing_ok=True)
            self._file.close()

    @property
    def finished(self) -> bool:
        return self._file.closed


class _Upload(Upload):
    def __init__(self, bucket: LocalBucket, key: str, upload_id: str) -> None:
        self.key = key
        self.upload_id = upload_id
        self._bucket = bucket
        self._path = bucket._files.uploads / upload_id

    def put_part(self, number: int, data: Data) -> Part:
        check_part_number(number)
        view = memoryview(data).cast("B")
        etag = hashlib.md5(view, usedforsecurity=False).hexdigest()
        with self._spool(fcntl.LOCK_SH) as spool, _disk_errors(self.key):
            with self._bucket._index.write() as index:
                row = index.execute(
                    "UPDATE uploads SET reserved = reserved + ? WHERE id = ? RETURNING reserved",
                    (len(view), self.upload_id),
                ).fetchone()
            if row is None:
                raise self._gone()
            position = row[0] - len(view)
            written = 0
            while written < len(view):
                written += os.pwrite(spool, view[written:], position + written)
            os.fdatasync(spool) if hasattr(os, "fdatasync") else os.fsync(spool)
            with self._bucket._index.write() as index:
                index.execute(
                    "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?)",
                    (self.upload_id, number, etag, len(view), position),
                )
        return Part(number, etag, len(view))

    def parts(self) -> list[Part]:
        self._bucket._upload_row(self.key, self.upload_id)
        return [Part(number, etag, size) for number, etag, size, _ in self._stored()]

    def complete(
        self, parts: Iterable[Part] | None = None, *, if_absent: bool = False, if_match: str | None = None
    ) -> ObjectInfo:
        attributes = self._bucket._upload_row(self.key, self.upload_id)
        with self._spool(fcntl.LOCK_EX) as spool, _disk_errors(self.key):
            chosen = self._choose(parts)
            total = sum(size for _, _, size, _ in chosen)
            positions = [0, *itertools.accumulate(size for _, _, size, _ in chosen[:-1])]
            digest = hashlib.md5(
                b"".join(bytes.fromhex(etag) for _, etag, _, _ in chosen), usedforsecurity=False
            ).hexdigest()
            etag = f"{digest}-{len(chosen)}"
            in_order = positions == [position for _, _, _, position in chosen]
            if in_order:
                # Nothing but the tail of a part that was never acknowledged can lie behind.
                os.ftruncate(spool, total)
                os.fsync(spool)
                source = self._path
            else:
                source, file = self._bucket._files.stage()
                with file:
                    for _, _, size, position in chosen:
                        copy_range(spool, file.fileno(), position, size)
                    os.fsync(file.fileno())
            try:
                info = self._bucket._publish(
                    self.key, source, total, etag, attributes, if_absent, if_match, upload_id=self.upload_id
                )
            finally:
                if not in_order:
                    source.unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)
        self._completed = True
        return info

    def abort(self) -> None:
        with self._bucket._index.write() as index:
            index.execute("DELETE FROM uploads WHERE id = ?", (self.upload_id,))
            index.execute("DELETE FROM parts WHERE upload = ?", (self.upload_id,))
        self._path.unlink(missing_ok=True)

    def presigned_part_url(self, number: int, *, expires: int = 3600) -> str:
        check_part_number(number)
        return self._bucket._signer.url(
            _base_url(), "PUT", self._bucket.name, self.key, expires, upload_id=self.upload_id, part=number
        )

    def _stored(self) -> list[tuple[int, str, int, int]]:
        with self._bucket._index.read() as index:
            return index.execute(
                "SELECT number, etag, size, position FROM parts WHERE upload = ? ORDER BY number", (self.upload_id,)
            ).fetchall()

    def _choose(self, wanted: Iterable[Part] | None) -> list[tuple[int, str, int, int]]:
        stored = {row[0]: row for row in self._stored()}
        if wanted is None:
            wanted = [Part(number, etag, size) for number, etag, size, _ in stored.values()]
        chosen = []
        for part in check_parts(self.key, wanted):
            if part.number not in stored or stored[part.number][1] != part.etag:
                raise StorageError(f"part {part.number} of {self.key!r} is not stored, or was replaced since")
            chosen.append(stored[part.number])
        for number, _, size, _ in chosen[:-1]:
            if size < MIN_PART_BYTES:
                raise StorageError(
                    f"part {number} of {self.key!r} has {size} bytes; all but the last need {MIN_PART_BYTES}"
                )
        return chosen

    @contextlib.contextmanager
    def _spool(self, lock: int) -> Iterator[int]:
        """The upload's file; shared while parts are written, exclusive while it becomes the object."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise self._gone() from None
        try:
            fcntl.flock(descriptor, lock)
            yield descriptor
        finally:
            os.close(descriptor)

    def _gone(self) -> UploadNotFound:
        return UploadNotFound(f"there is no upload {self.upload_id!r} of {self.key!r}: it was completed or aborted")


@contextlib.contextmanager
def _disk_errors(key: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"object {key!r} could not be stored: {error.strerror} ({error.filename or 'disk'})"
        ) from error


def _metadata(attributes: Attributes) -> dict[str, str]:
    metadata = {name.lower(): value for name, value in (attributes.get("metadata") or {}).items()}
    if cache_control := attributes.get("cache_control"):
        metadata[_CACHE_CONTROL] = cache_control
    return metadata


def _info(row: sqlite3.Row) -> ObjectInfo:
    metadata = json.loads(row["metadata"])
    cache_control = metadata.pop(_CACHE_CONTROL, None)
    return ObjectInfo(
        row["key"],
        row["size"],
        row["etag"],
        _time(row["modified"]),
        row["storage_class"],
        row["content_type"],
        metadata,
        row["kms_key_id"],
        cache_control,
    )


def _base_url() -> str:
    base = os.environ.get("STEPWELL_OBJECTS_URL")
    if not base:
        raise ResourceNotDeclared(
            "presigned URLs of local objects need STEPWELL_OBJECTS_URL: the address where stepwell.toolkit.objects.server listens"
        )
    return base


def _now() -> int:
    return time.time_ns() // 1_000_000


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
