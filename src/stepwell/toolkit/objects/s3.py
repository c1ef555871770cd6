"""Objects in Amazon S3, by boto3."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Unpack
from urllib.parse import urlencode

from stepwell.toolkit import aws
from stepwell.toolkit.errors import ObjectNotFound, PreconditionFailed, StorageError, UploadNotFound
from stepwell.toolkit.objects import (
    MAX_PARTS,
    MAX_PRESIGN_SECONDS,
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

_ABSENT = ("404", "NoSuchKey", "NotFound", "NoSuchBucket")
_REFUSED = ("PreconditionFailed", "412", "ConditionalRequestConflict")
_MAX_COPY_BYTES = 5 * 1024**3


class S3Bucket(Bucket):
    """A bucket in S3."""

    def __init__(self, name: str) -> None:
        self.name = name

    def put(
        self,
        key: str,
        data: Data,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        **attributes: Unpack[Attributes],
    ) -> ObjectInfo:
        check_key(key)
        check_attributes(attributes)
        arguments = _attributes(attributes) | _condition(if_absent, if_match)
        with self._errors(f"putting object {key!r}", conditional=if_match is not None):
            answer = self._client.put_object(Bucket=self.name, Key=key, Body=_body(data), **arguments)
        # Not from `head`: somebody may have replaced it already, and this etag is what the caller may compare and swap.
        return ObjectInfo(
            key,
            memoryview(data).nbytes,
            answer["ETag"].strip('"'),
            _date(answer),
            attributes.get("storage_class") or "STANDARD",
            attributes.get("content_type") or "application/octet-stream",
            {name.lower(): value for name, value in (attributes.get("metadata") or {}).items()},
            answer.get("SSEKMSKeyId"),
            attributes.get("cache_control"),
        )

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
        if part_size < MIN_PART_BYTES:
            raise ValueError(f"part_size must be at least {MIN_PART_BYTES}, not {part_size}")
        return _Writer(self, key, part_size, attributes, if_absent, if_match)

    def open(self, key: str, *, start: int = 0, length: int | None = None) -> ObjectReader:
        check_key(key)
        if start < 0 or (length is not None and length < 0):
            raise ValueError("start and length must not be negative")
        if start == 0 and length is None:
            arguments = {}
        else:
            info = self.head(key)
            end = info.size if length is None else min(info.size, start + length)
            if start >= end:
                return _Reader(self.name, None, info, 0)
            # The etag ties the bytes to what `head` said: an object replaced between the two calls is asked for again.
            arguments = {"Range": f"bytes={start}-{end - 1}", "IfMatch": f'"{info.etag}"'}
        try:
            with self._errors(f"reading object {key!r}", key=key):
                answer = self._client.get_object(Bucket=self.name, Key=key, **arguments)
        except PreconditionFailed:
            return self.open(key, start=start, length=length)
        if not arguments:
            info = _info(key, answer, int(answer["ContentLength"]))
        return _Reader(self.name, answer["Body"], info, int(answer["ContentLength"]))

    def head(self, key: str) -> ObjectInfo:
        check_key(key)
        with self._errors(f"looking up object {key!r}", key=key):
            answer = self._client.head_object(Bucket=self.name, Key=key)
        return _info(key, answer, int(answer["ContentLength"]))

    def tags(self, key: str) -> dict[str, str]:
        check_key(key)
        with self._errors(f"reading the tags of object {key!r}", key=key):
            answer = self._client.get_object_tagging(Bucket=self.name, Key=key)
        return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}

    def delete(self, key: str) -> None:
        check_key(key)
        with self._errors(f"deleting object {key!r}"):
            self._client.delete_object(Bucket=self.name, Key=key)

    def delete_many(self, keys: Iterable[str]) -> None:
        batch = [check_key(key) for key in keys]
        for first in range(0, len(batch), 1000):
            objects = [{"Key": key} for key in batch[first : first + 1000]]
            with self._errors(f"deleting {len(objects)} objects"):
                answer = self._client.delete_objects(Bucket=self.name, Delete={"Objects": objects, "Quiet": True})
            if failed := answer.get("Errors"):
                raise StorageError(
                    f"{len(failed)} of {len(objects)} objects in bucket {self.name!r} were not deleted, the first: "
                    f"{failed[0].get('Key')!r}: {failed[0].get('Code')}: {failed[0].get('Message')}"
                )

    def list_page(self, prefix: str = "", *, limit: int = 1000, after: str | None = None) -> ObjectPage:
        if not 1 <= limit <= 1000:
            raise ValueError(f"limit must be from 1 to 1,000, not {limit}")
        arguments: dict[str, Any] = {"ContinuationToken": after} if after is not None else {}
        with self._errors(f"listing {prefix!r}"):
            answer = self._client.list_objects_v2(Bucket=self.name, Prefix=prefix, MaxKeys=limit, **arguments)
        items = [
            ObjectSummary(
                found["Key"],
                found["Size"],
                found["ETag"].strip('"'),
                found["LastModified"],
                found.get("StorageClass", "STANDARD"),
            )
            for found in answer.get("Contents", ())
        ]
        return ObjectPage(items, answer.get("NextContinuationToken"))

    def copy(
        self, source: str, key: str, *, source_bucket: Bucket | None = None, **attributes: Unpack[Attributes]
    ) -> ObjectInfo:
        check_key(key)
        origin = source_bucket or self
        info = origin.head(source)
        kept: Attributes = {"content_type": info.content_type, "metadata": info.metadata, "tags": origin.tags(source)}
        if info.cache_control:
            kept["cache_control"] = info.cache_control
        chosen: Attributes = {**kept, **attributes}
        check_attributes(chosen)
        where = {"Bucket": origin.name, "Key": source}
        with self._errors(f"copying object {source!r} to {key!r}", key=source):
            if info.size <= _MAX_COPY_BYTES:
                self._client.copy_object(
                    Bucket=self.name,
                    Key=key,
                    CopySource=where,
                    CopySourceIfMatch=f'"{info.etag}"',
                    MetadataDirective="REPLACE",
                    TaggingDirective="REPLACE",
                    **_attributes(chosen),
                )
                return self.head(key)
        with self.begin_upload(key, **chosen) as upload:
            size = 512 * 1024**2
            for number, start in enumerate(range(0, info.size, size), 1):
                with self._errors(f"copying object {source!r} to {key!r}", key=source):
                    self._client.upload_part_copy(
                        Bucket=self.name,
                        Key=key,
                        UploadId=upload.upload_id,
                        PartNumber=number,
                        CopySource=where,
                        CopySourceIfMatch=f'"{info.etag}"',
                        CopySourceRange=f"bytes={start}-{min(start + size, info.size) - 1}",
                    )
            return upload.complete()

    def begin_upload(self, key: str, **attributes: Unpack[Attributes]) -> Upload:
        check_key(key)
        check_attributes(attributes)
        with self._errors(f"beginning an upload of {key!r}"):
            answer = self._client.create_multipart_upload(Bucket=self.name, Key=key, **_attributes(attributes))
        return _Upload(self, key, answer["UploadId"])

    def resume_upload(self, key: str, upload_id: str) -> Upload:
        upload = _Upload(self, check_key(key), upload_id)
        upload.parts()
        return upload

    def list_uploads(self, prefix: str = "") -> Iterator[UnfinishedUpload]:
        with self._errors(f"listing uploads of {prefix!r}"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self.name, Prefix=prefix)
            for page in pages:
                for found in page.get("Uploads", ()):
                    yield UnfinishedUpload(found["Key"], found["UploadId"], found["Initiated"])

    def presigned_url(
        self, key: str, *, method: Literal["GET", "PUT"] = "GET", expires: int = 3600, content_type: str | None = None
    ) -> str:
        check_key(key)
        arguments: dict[str, Any] = {"Bucket": self.name, "Key": key}
        if content_type is not None:
            arguments["ContentType" if method == "PUT" else "ResponseContentType"] = content_type
        return self._presign("get_object" if method == "GET" else "put_object", arguments, expires)

    def _presign(self, operation: str, arguments: dict[str, Any], expires: int) -> str:
        if not 1 <= expires <= MAX_PRESIGN_SECONDS:
            raise ValueError(f"a presigned URL is valid for 1 to {MAX_PRESIGN_SECONDS} seconds, not {expires}")
        with self._errors("presigning"):
            return str(self._client.generate_presigned_url(operation, Params=arguments, ExpiresIn=expires))

    @property
    def _client(self) -> Any:
        return aws.client("s3")

    def _errors(
        self, what: str, *, key: str | None = None, upload_id: str | None = None, conditional: bool = False
    ) -> _Errors:
        return _Errors(self.name, what, key, upload_id, conditional)


class _Errors:
    """botocore's errors by the toolkit's names. Only what is asked for by `key` or `upload_id` can be missing."""

    def __init__(
        self, bucket: str, what: str, key: str | None = None, upload_id: str | None = None, conditional: bool = False
    ) -> None:
        self._bucket = bucket
        self._what = what
        self._key = key
        self._upload_id = upload_id
        self._conditional = conditional

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is None:
            return
        from botocore.exceptions import BotoCoreError, ClientError

        where = f"{self._what} in bucket {self._bucket!r}"
        if isinstance(error, ClientError):
            code = aws.code(error)
            if code == "NoSuchUpload" and self._upload_id is not None:
                raise UploadNotFound(f"{where}: there is no upload {self._upload_id!r}") from error
            if code in _REFUSED or (self._conditional and code == "NoSuchKey"):
                raise PreconditionFailed(f"{where}: the object was written by somebody else ({code})") from error
            if code in _ABSENT and code != "NoSuchBucket" and self._key is not None:
                raise ObjectNotFound(f"there is no object {self._key!r} in bucket {self._bucket!r}") from error
            raise StorageError(f"{where}: {error}") from error
        if isinstance(error, BotoCoreError):
            raise StorageError(f"{where}: {error}") from error


class _Reader(ObjectReader):
    """The rest of an answer's body; a body that ends early is an error, not an end."""

    def __init__(self, bucket: str, body: Any, info: ObjectInfo, size: int) -> None:
        self.info = info
        self._bucket = bucket
        self._body = body
        self._left = size

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if not self._left or not len(view):
            return 0
        with _Errors(self._bucket, f"reading object {self.info.key!r}"):
            data = self._body.read(min(len(view), self._left))
        if not data:
            raise StorageError(f"object {self.info.key!r}: the connection ended {self._left} bytes early")
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def readall(self) -> bytes:
        parts = []
        while chunk := self.read(min(self._left, 16 * 1024 * 1024)):
            parts.append(chunk)
        return b"".join(parts)

    def close(self) -> None:
        if not self.closed and self._body is not None:
            self._body.close()
        super().close()


class _Writer(ObjectWriter):
    """Small objects by one put, larger ones by an upload of parts of exactly `part_size` bytes, the last excepted."""

    def __init__(
        self,
        bucket: S3Bucket,
        key: str,
        part_size: int,
        attributes: Attributes,
        if_absent: bool,
        if_match: str | None,
    ) -> None:
        self._bucket = bucket
        self._key = key
        self._part_size = part_size
        self._attributes = attributes
        self._if_absent = if_absent
        self._if_match = if_match
        self._buffer = bytearray()
        self._upload: Upload | None = None
        self._number = 0
        self._finished = False

    def write(self, data: Data) -> int:
        if self._finished:
            raise ValueError("the writer is closed")
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            # A full buffer is sent only when more follows: an object of one part stays one put.
            if len(self._buffer) == self._part_size:
                self._flush()
            taken = view[done : done + self._part_size - len(self._buffer)]
            self._buffer += taken
            done += len(taken)
        self.size += done
        return done

    def close(self) -> ObjectInfo:
        if self.info is None:
            if self._finished:
                raise ValueError("the writer was aborted")
            try:
                if self._upload is None:
                    self.info = self._bucket.put(
                        self._key, self._buffer, if_absent=self._if_absent, if_match=self._if_match, **self._attributes
                    )
                else:
                    self._flush()
                    self.info = self._upload.complete(if_absent=self._if_absent, if_match=self._if_match)
            except BaseException:
                self.abort()
                raise
            self._finished = True
            self._buffer = bytearray()
        return self.info

    def abort(self) -> None:
        if not self._finished:
            self._finished = True
            self._buffer = bytearray()
            if self._upload is not None:
                self._upload.abort()

    @property
    def finished(self) -> bool:
        return self._finished

    def _flush(self) -> None:
        if self._upload is None:
            self._upload = self._bucket.begin_upload(self._key, **self._attributes)
        self._number += 1
        if self._number > MAX_PARTS:
            raise StorageError(
                f"object {self._key!r} needs more than {MAX_PARTS} parts of {self._part_size} bytes: use a larger part_size"
            )
        self._upload.put_part(self._number, self._buffer)
        self._buffer.clear()


class _Upload(Upload):
    def __init__(self, bucket: S3Bucket, key: str, upload_id: str) -> None:
        self.key = key
        self.upload_id = upload_id
        self._bucket = bucket
        self._names = {"Bucket": bucket.name, "Key": key, "UploadId": upload_id}

    def put_part(self, number: int, data: Data) -> Part:
        check_part_number(number)
        with self._errors(f"storing part {number} of"):
            answer = self._bucket._client.upload_part(**self._names, PartNumber=number, Body=_body(data))
        return Part(number, answer["ETag"].strip('"'), memoryview(data).nbytes)

    def parts(self) -> list[Part]:
        with self._errors("listing the parts of"):
            pages = self._bucket._client.get_paginator("list_parts").paginate(**self._names)
            return [
                Part(found["PartNumber"], found["ETag"].strip('"'), found["Size"])
                for page in pages
                for found in page.get("Parts", ())
            ]

    def complete(
        self, parts: Iterable[Part] | None = None, *, if_absent: bool = False, if_match: str | None = None
    ) -> ObjectInfo:
        chosen = check_parts(self.key, self.parts() if parts is None else parts)
        named = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in chosen]
        with self._errors("completing the upload of", conditional=if_match is not None):
            answer = self._bucket._client.complete_multipart_upload(
                **self._names, MultipartUpload={"Parts": named}, **_condition(if_absent, if_match)
            )
        self._completed = True
        return dataclasses.replace(self._bucket.head(self.key), etag=answer["ETag"].strip('"'))

    def abort(self) -> None:
        try:
            with self._errors("aborting the upload of"):
                self._bucket._client.abort_multipart_upload(**self._names)
        except UploadNotFound:
            pass

    def presigned_part_url(self, number: int, *, expires: int = 3600) -> str:
        check_part_number(number)
        return self._bucket._presign("upload_part", {**self._names, "PartNumber": number}, expires)

    def _errors(self, what: str, *, conditional: bool = False) -> _Errors:
        return self._bucket._errors(f"{what} {self.key!r}", upload_id=self.upload_id, conditional=conditional)


def _attributes(attributes: Attributes) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    if content_type := attributes.get("content_type"):
        arguments["ContentType"] = content_type
    if cache_control := attributes.get("cache_control"):
        arguments["CacheControl"] = cache_control
    if metadata := attributes.get("metadata"):
        arguments["Metadata"] = dict(metadata)
    if tags := attributes.get("tags"):
        arguments["Tagging"] = urlencode(dict(tags))
    if storage_class := attributes.get("storage_class"):
        arguments["StorageClass"] = storage_class
    if kms_key_id := attributes.get("kms_key_id"):
        arguments["ServerSideEncryption"] = "aws:kms"
        arguments["SSEKMSKeyId"] = kms_key_id
    return arguments


def _body(data: Data) -> bytes | bytearray:
    return data if isinstance(data, bytes | bytearray) else bytes(data)


def _date(answer: Any) -> datetime:
    header = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(header) if header else datetime.now(UTC)


def _condition(if_absent: bool, if_match: str | None) -> dict[str, str]:
    if if_absent:
        return {"IfNoneMatch": "*"}
    return {} if if_match is None else {"IfMatch": f'"{if_match}"'}


def _info(key: str, answer: Any, size: int) -> ObjectInfo:
    return ObjectInfo(
        key,
        size,
        answer["ETag"].strip('"'),
        answer["LastModified"],
        answer.get("StorageClass", "STANDARD"),
        answer.get("ContentType", "application/octet-stream"),
        {name.lower(): value for name, value in answer.get("Metadata", {}).items()},
        answer.get("SSEKMSKeyId"),
        answer.get("CacheControl"),
    )
