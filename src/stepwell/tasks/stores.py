"""Where a distributed Map's items are read and its results written: S3, or the toolkit's local buckets."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from stepwell.tasks.aws_clients import AwsClients, Caller, CallFailed
from stepwell.toolkit.errors import ObjectNotFound
from stepwell.toolkit.objects import Bucket


@dataclass(frozen=True, slots=True)
class Listed:
    """An object in a listing. `etag` has no quotes, `modified` is in seconds since the epoch."""

    key: str
    size: int
    etag: str
    modified: int
    storage_class: str


class Store(Protocol):
    """One bucket. Raises CallFailed with S3's codes."""

    async def read(self, key: str, start: int, length: int) -> bytes:
        """At most `length` bytes from offset `start`; fewer only at the object's end."""
        ...

    async def size(self, key: str) -> tuple[int, str]:
        """The object's size and etag."""
        ...

    async def list(self, prefix: str, after: str | None) -> tuple[list[Listed], str | None]:
        """A page of at most 1,000 objects in key order, and what to ask for the next one with."""
        ...

    async def put(self, key: str, body: IO[bytes], content_type: str) -> None:
        """Write an object from a file (at most 5 GB)."""
        ...


class S3Store:
    """A bucket of S3 or an emulator."""

    def __init__(self, aws: AwsClients, bucket: str, caller: Caller, options: dict[str, str] | None = None) -> None:
        """`options`: parameters that every read has besides, such as VersionId."""
        self._aws = aws
        self._bucket = bucket
        self._caller = caller
        self._options = options or {}

    async def read(self, key: str, start: int, length: int) -> bytes:
        span = f"bytes={start}-{start + length - 1}"
        parameters = {"Bucket": self._bucket, "Key": key, "Range": span, **self._options}
        try:
            answer = await self._aws.call(await self._aws.service("s3"), "GetObject", parameters, self._caller)
        except CallFailed as failure:
            if failure.status == 416 or failure.code == "InvalidRange":
                return b""
            raise
        body: bytes = answer.result["Body"]
        return body

    async def size(self, key: str) -> tuple[int, str]:
        parameters = {"Bucket": self._bucket, "Key": key, **self._options}
        try:
            answer = await self._aws.call(await self._aws.service("s3"), "HeadObject", parameters, self._caller)
        except CallFailed as failure:
            if failure.status == 404:  # HEAD has no body to say more
                code, text = "NoSuchKey", "The specified key does not exist."
                if "VersionId" in self._options:
                    code, text = "NoSuchVersion", "The specified version does not exist."
                raise CallFailed(code, text, 404, failure.request_id) from failure
            raise
        return answer.result["ContentLength"], answer.result.get("ETag", "").strip('"')

    async def list(self, prefix: str, after: str | None) -> tuple[list[Listed], str | None]:
        parameters = {"Bucket": self._bucket, "Prefix": prefix}
        if after is not None:
            parameters["ContinuationToken"] = after
        answer = await self._aws.call(await self._aws.service("s3"), "ListObjectsV2", parameters, self._caller)
        found = [
            Listed(
                item["Key"],
                item["Size"],
                item.get("ETag", "").strip('"'),
                int(item["LastModified"].timestamp()),
                item.get("StorageClass", "STANDARD"),
            )
            for item in answer.result.get("Contents", [])
        ]
        return found, answer.result.get("NextContinuationToken")

    async def put(self, key: str, body: IO[bytes], content_type: str) -> None:
        parameters = {"Bucket": self._bucket, "Key": key, "Body": body, "ContentType": content_type}
        await self._aws.call(await self._aws.service("s3"), "PutObject", parameters, self._caller)


class LocalStore:
    """A bucket of the toolkit's object store."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    async def read(self, key: str, start: int, length: int) -> bytes:
        try:
            return await asyncio.to_thread(self._bucket.get, key, start=start, length=length)
        except (ObjectNotFound, ValueError) as error:
            raise _no_such_key() from error

    async def size(self, key: str) -> tuple[int, str]:
        try:
            found = await asyncio.to_thread(self._bucket.head, key)
        except (ObjectNotFound, ValueError) as error:
            raise _no_such_key() from error
        return found.size, found.etag

    async def list(self, prefix: str, after: str | None) -> tuple[list[Listed], str | None]:
        page = await asyncio.to_thread(self._bucket.list_page, prefix, after=after)
        found = [
            Listed(item.key, item.size, item.etag, int(item.modified.timestamp()), item.storage_class)
            for item in page.items
        ]
        return found, page.next

    async def put(self, key: str, body: IO[bytes], content_type: str) -> None:
        def write() -> None:
            with self._bucket.writer(key, content_type=content_type) as out:
                while chunk := body.read(1024 * 1024):
                    out.write(chunk)

        await asyncio.to_thread(write)


def _no_such_key() -> CallFailed:
    return CallFailed("NoSuchKey", "The specified key does not exist.", 404)


class Stores:
    """Finds the store of a bucket: a local bucket of that name under `data`, else S3."""

    def __init__(self, aws: AwsClients | None, data: Path | None) -> None:
        self._aws = aws
        self._data = data
        self._local: dict[str, LocalStore] = {}

    def of(self, bucket: str, caller: Caller, options: dict[str, str] | None = None) -> Store:
        """Raises CallFailed NoSuchBucket when there is neither. `options`: VersionId and ExpectedBucketOwner of S3's reads."""
        if options and "VersionId" in options and self._data is not None and self._is_local(bucket):
            raise CallFailed("NoSuchVersion", f"The local bucket {bucket} keeps no versions.", 404)
        held = self._local.get(bucket)
        if held is not None:
            return held
        if self._data is not None and self._is_local(bucket):
            from stepwell.toolkit.objects.local import LocalBucket

            held = self._local[bucket] = LocalStore(LocalBucket(self._data, bucket))
            return held
        if self._aws is not None:
            return S3Store(self._aws, bucket, caller, options)
        raise CallFailed("NoSuchBucket", f"The specified bucket does not exist: {bucket}", 404)

    def _is_local(self, bucket: str) -> bool:
        plain = "/" not in bucket and not bucket.startswith(".")
        return plain and self._data is not None and (self._data / "buckets" / bucket).is_dir()
