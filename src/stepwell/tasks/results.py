"""ResultWriter: what a map run's child executions came to, as files in S3 or a local bucket.

`PREFIX/UUID/` gets SUCCEEDED_n.json, FAILED_n.json and PENDING_n.json and a manifest.json that lists them.
Source: https://docs.aws.amazon.com/step-functions/latest/dg/input-output-resultwriter.html
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import IO, Any, Protocol

import orjson

from stepwell.interpreter.effects import WriteResults
from stepwell.tasks.aws_clients import Caller, CallFailed
from stepwell.tasks.aws_models import iso_time
from stepwell.tasks.stores import Store, Stores

PAGE = 500
FILE_BYTES = 1024 * 1024 * 1024
"""A file is closed when it has become this large; the next one has the next number."""
MEMORY_BYTES = 1024 * 1024


class Outcome(Protocol):
    """A child execution that ended, or was not started. Times are milliseconds since the epoch, payloads JSON text."""

    @property
    def id(self) -> int: ...
    @property
    def resource(self) -> str:
        """`machine/label`; with ":express" at its end for an EXPRESS execution."""
        ...

    @property
    def name(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def stop(self) -> int | None: ...
    @property
    def redrive_count(self) -> int: ...
    @property
    def error(self) -> str | None: ...
    @property
    def cause(self) -> str | None: ...
    @property
    def input(self) -> bytes: ...
    @property
    def output(self) -> bytes | None: ...


class Outcomes(Protocol):
    """The children of a map run."""

    def page(self, after: int, limit: int) -> Sequence[Outcome]:
        """Children with an id greater than `after`, oldest first."""
        ...


async def export(request: WriteResults, outcomes: Outcomes, stores: Stores, caller: Caller) -> bytes:
    """Write the files; gives the Map state's result as JSON text. Without a Resource the result is the documents themselves."""
    writer = request.writer
    config = writer.get("WriterConfig") or {}
    if writer.get("Resource") is None:
        return _array(outcomes, request.map_run_arn)
    parameters = writer.get("Parameters") or writer.get("Arguments") or {}
    bucket, prefix = parameters.get("Bucket"), parameters.get("Prefix") or ""
    if not isinstance(bucket, str) or not bucket:
        raise CallFailed("InvalidBucketName", "The ResultWriter's Parameters must have the string 'Bucket'.", 400)
    folder = "/".join(part for part in (str(prefix).strip("/"), request.map_run_arn.rpartition(":")[2]) if part)
    store = stores.of(bucket, caller)
    lines = config.get("OutputType") == "JSONL"
    transformation = str(config.get("Transformation") or "NONE")
    files = {kind: _Files(store, folder, kind, lines) for kind in ("FAILED", "PENDING", "SUCCEEDED")}
    after = 0
    while page := outcomes.page(after, PAGE):
        for child in page:
            kind = _kind(child.status)
            for text in _texts(child, request.map_run_arn, transformation if kind == "SUCCEEDED" else "NONE"):
                await files[kind].add(text)
        after = page[-1].id
    for group in files.values():
        await group.close()
    manifest = {
        "DestinationBucket": bucket,
        "MapRunArn": request.map_run_arn,
        "ResultFiles": {kind: group.written for kind, group in files.items()},
    }
    key = f"{folder}/manifest.json"
    await store.put(key, io.BytesIO(orjson.dumps(manifest)), "application/json")
    return orjson.dumps({"MapRunArn": request.map_run_arn, "ResultWriterDetails": {"Bucket": bucket, "Key": key}})


def _kind(status: str) -> str:
    if status == "SUCCEEDED":
        return "SUCCEEDED"
    return "PENDING" if status in ("RUNNING", "PENDING", "PENDING_REDRIVE") else "FAILED"


class _Files:
    """The numbered files of one kind of outcome, written to a temporary file first: memory stays flat."""

    def __init__(self, store: Store, folder: str, kind: str, lines: bool) -> None:
        self.written: list[dict[str, Any]] = []
        self._store = store
        self._folder = folder
        self._kind = kind
        self._lines = lines
        self._file: IO[bytes] | None = None
        self._size = 0

    async def add(self, text: bytes) -> None:
        if self._file is None:
            self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 (closed by close)
            self._size = 0
            self._write(b"" if self._lines else b"[")
        elif not self._lines:
            self._write(b",")
        self._write(text + b"\n" if self._lines else text)
        if self._size >= FILE_BYTES:
            await self.close()

    def _write(self, data: bytes) -> None:
        if self._file is not None:
            self._file.write(data)
            self._size += len(data)

    async def close(self) -> None:
        if self._file is None:
            return
        if not self._lines:
            self._write(b"]")
        extension = "jsonl" if self._lines else "json"
        key = f"{self._folder}/{self._kind}_{len(self.written)}.{extension}"
        with self._file as body:
            body.seek(0)
            await self._store.put(key, body, "application/json")
        self.written.append({"Key": key, "Size": self._size})
        self._file = None


def _texts(child: Outcome, map_run_arn: str, transformation: str) -> list[bytes]:
    """What a child adds to its file: its document, or (COMPACT) its output, or (FLATTEN) the elements of its output."""
    if transformation == "NONE":
        return [orjson.dumps(_document(child, map_run_arn))]
    output = child.output or b"null"
    if transformation == "FLATTEN":
        value = orjson.loads(output)
        if isinstance(value, list):
            return [orjson.dumps(item) for item in value]
    return [output]


def _document(child: Outcome, map_run_arn: str) -> dict[str, Any]:
    prefix = map_run_arn.partition(":mapRun:")[0]
    document: dict[str, Any] = {}
    if child.cause is not None:
        document["Cause"] = child.cause
    if child.error is not None:
        document["Error"] = child.error
    resource = child.resource.removesuffix(":express")
    kind, suffix = ("execution", "") if resource == child.resource else ("express", f":{child.name}")
    document["ExecutionArn"] = f"{prefix}:{kind}:{resource}:{child.name}{suffix}"
    document["Input"] = child.input.decode()
    document["InputDetails"] = {"Included": True}
    document["Name"] = child.name
    if child.output is not None:
        document["Output"] = child.output.decode()
        document["OutputDetails"] = {"Included": True}
    document["RedriveCount"] = child.redrive_count
    if child.status == "SUCCEEDED":
        document["RedriveStatus"] = "NOT_REDRIVABLE"
        document["RedriveStatusReason"] = "Execution is SUCCEEDED and cannot be redriven"
    else:
        document["RedriveStatus"] = "REDRIVABLE_BY_MAP_RUN"
    document["StartDate"] = _time(child.start)
    document["StateMachineArn"] = f"{prefix}:stateMachine:{resource}"
    document["Status"] = child.status
    if child.stop is not None:
        document["StopDate"] = _time(child.stop)
    return document


def _time(milliseconds: int) -> str:
    return iso_time(datetime.fromtimestamp(milliseconds / 1000, UTC))


def _array(outcomes: Outcomes, map_run_arn: str) -> bytes:
    """The documents as one JSON array: a WriterConfig without a place to write to."""
    texts: list[bytes] = []
    after = 0
    while page := outcomes.page(after, PAGE):
        texts += [orjson.dumps(_document(child, map_run_arn)) for child in page]
        after = page[-1].id
    return b"[" + b",".join(texts) + b"]"
