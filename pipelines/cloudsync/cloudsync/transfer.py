"""From a signed URL into the archive: streaming, in parts, verified before anything is published (sections 8.3 and 8.4).

Small bodies are gathered in memory and written by one put. Others are cut into parts of exactly CHUNK_SIZE bytes, however the
network delivers them: while one buffer fills, the other one is being stored, so that two are alive and never a third. Nothing
touches the local disk. An upload is completed only after the body proved whole; whatever else happens aborts it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cloudsync import web
from cloudsync.errors import (
    NetworkError,
    RateLimitError,
    SizeMismatchError,
    SourceDeletedError,
    StorageError,
    TimeoutError,
    TransferError,
    storing,
)
from stepwell import toolkit
from stepwell.toolkit import http
from stepwell.toolkit.errors import StorageError as PortError
from stepwell.toolkit.objects import MAX_PARTS, Attributes, Bucket, ObjectInfo, Part, Upload

CONNECT_TIMEOUT = 10.0
READ_TIMEOUT = 300.0
RESERVE_SECONDS = 30.0
"""What is left of a function's time for giving up in good order."""

log = toolkit.logger(__name__)


class SignatureExpired(TransferError):
    """The CDN refused the URL (403, 410): a fresh one may help."""


class Deadline:
    """The moment a function has to stop working at. `remaining` gives the seconds until its timeout."""

    def __init__(self, remaining: Callable[[], float]) -> None:
        self._remaining = remaining

    def left(self) -> float:
        """Seconds of work left; the reserve is taken off."""
        return self._remaining() - RESERVE_SECONDS

    def check(self) -> None:
        """Raise TimeoutError when the time is over."""
        if self.left() <= 0:
            raise TimeoutError(f"less than {RESERVE_SECONDS:.0f} s of the function's time are left")

    @contextmanager
    def interrupting(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Call `interrupt` when the time is over while the block runs; what the block then raises becomes a TimeoutError.

        A read that waits for a silent peer sees no check: this is what wakes it.
        """
        self.check()
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            interrupt()

        timer = threading.Timer(self.left(), expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        except Exception as error:
            if expired.is_set() and not isinstance(error, TimeoutError):
                raise TimeoutError(f"less than {RESERVE_SECONDS:.0f} s of the function's time are left") from error
            raise
        finally:
            timer.cancel()


@dataclass(frozen=True)
class Plan:
    """How one item is transferred. `listed_size` is 0 when unknown; `label` is the rendition that `url` gives."""

    url: str
    label: str
    key: str
    listed_size: int
    threshold: int
    chunk_size: int
    strict_size: bool
    attributes: Attributes


@dataclass(frozen=True)
class Outcome:
    """What was stored, how long it took, and whether its size differs from the listed one."""

    stored: ObjectInfo
    received: int
    seconds: float
    first_byte_seconds: float
    size_mismatch: bool


def transfer(bucket: Bucket, plan: Plan, deadline: Deadline, verified: Callable[[int], None]) -> Outcome:
    """Stream the body of `plan.url` into `plan.key`.

    `verified` is called with the size once the body proved whole, just before the object is published; what it raises prevents that.

    Raises SignatureExpired, SourceDeletedError, RateLimitError, NetworkError, TimeoutError, TransferError, SizeMismatchError,
    StorageError. Nothing is left behind then.
    """
    deadline.check()
    started = time.monotonic()
    # A client of its own, and no header but httpx's: the CDN gets no cookie and no authorization.
    read_timeout = min(READ_TIMEOUT, deadline.left())
    with (
        web.client(timeout=read_timeout, connect_timeout=CONNECT_TIMEOUT, follow_redirects=True) as client,
        _cdn_errors(),
        http.download(client, plan.url) as body,
    ):
        first_byte: float | None = None
        if body.headers.get("content-encoding", "identity") != "identity":
            raise TransferError("the CDN sent an encoded body although none was asked for")
        with deadline.interrupting(body.interrupt), _sink(bucket, plan, body.total) as sink:
            for piece in body:
                if first_byte is None:
                    first_byte = time.monotonic() - started
                deadline.check()
                sink.write(piece)
            mismatch = _verify(plan, sink.received)
            sink.flush()
            verified(sink.received)
            with storing("archive"):
                sink.publish()
                stored = bucket.head(plan.key)
    if stored.size != sink.received:
        raise StorageError(f"{plan.key} has {stored.size} bytes in the archive; {sink.received} were sent")
    seconds = time.monotonic() - started
    return Outcome(stored, sink.received, seconds, first_byte or seconds, mismatch)


def _verify(plan: Plan, received: int) -> bool:
    """Whether the size differs from the listed one, where that is no error. The announced length was checked by the reader."""
    if received == 0:
        raise TransferError("the body is empty")
    if plan.listed_size == 0 or received == plan.listed_size or plan.label != "source":
        return False
    message = f"{received} bytes were received; the service lists {plan.listed_size}"
    if plan.strict_size:
        raise SizeMismatchError(message)
    log.warning(
        "size differs from the listed one", event_type="size_mismatch", received=received, listed=plan.listed_size
    )
    return True


class _Parts:
    """An upload in parts of exactly CHUNK_SIZE bytes but the last."""

    def __init__(self, bucket: Bucket, plan: Plan) -> None:
        self._plan = plan
        with storing("archive"):
            self._upload: Upload = bucket.begin_upload(plan.key, **plan.attributes)
        self._stored: list[Part] = []
        self._storing: Future[Part] | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="part")
        self._buffer = memoryview(bytearray(plan.chunk_size))
        self._spare: memoryview | None = None
        self._filled = 0

    def write(self, piece: bytes | bytearray) -> None:
        view = memoryview(piece)
        while view:
            if self._filled == len(self._buffer):
                self._store()
            taken = min(len(view), len(self._buffer) - self._filled)
            self._buffer[self._filled : self._filled + taken] = view[:taken]
            self._filled += taken
            view = view[taken:]

    def flush(self) -> None:
        """Store what is still in the buffer."""
        if self._filled:
            self._store()
        self._collect()

    def publish(self) -> None:
        self._upload.complete(self._stored)

    def close(self) -> None:
        self._executor.shutdown(wait=True)

    def abort(self) -> None:
        """Leave nothing behind. A failure of this is logged: why the upload failed matters more."""
        self.close()
        try:
            self._upload.abort()
        except PortError as error:
            log.error("upload not aborted", event_type="abort_failed", s3_key=self._plan.key, exc_info=error)

    def _store(self) -> None:
        """Have the filled buffer stored once the one before is, and go on with that one's."""
        self._collect()
        number = len(self._stored) + 1
        if number > MAX_PARTS:
            raise TransferError(f"more than {MAX_PARTS} parts of {self._plan.chunk_size} bytes: raise CHUNK_SIZE")
        self._storing = self._executor.submit(self._upload.put_part, number, self._buffer[: self._filled])
        full = self._buffer
        self._buffer = self._spare if self._spare is not None else memoryview(bytearray(self._plan.chunk_size))
        self._spare = full
        self._filled = 0

    def _collect(self) -> None:
        if self._storing is not None:
            pending, self._storing = self._storing, None
            with storing("archive"):
                self._stored.append(pending.result())


class _Sink:
    """Takes the body in pieces of any size and stores it by one put or in parts."""

    def __init__(self, bucket: Bucket, plan: Plan, *, multipart: bool) -> None:
        self.received = 0
        self._bucket = bucket
        self._plan = plan
        self._whole = bytearray()
        self._parts = _Parts(bucket, plan) if multipart else None

    def write(self, piece: bytes) -> None:
        self.received += len(piece)
        if self._parts is not None:
            self._parts.write(piece)
            return
        self._whole += piece
        if len(self._whole) > self._plan.threshold:
            # More than anybody announced: go on in parts.
            self._parts = _Parts(self._bucket, self._plan)
            self._parts.write(self._whole)
            self._whole = bytearray()

    def flush(self) -> None:
        """Everything but making it visible."""
        if self._parts is not None:
            self._parts.flush()

    def publish(self) -> None:
        """Make the object visible."""
        if self._parts is not None:
            self._parts.publish()
        else:
            self._bucket.put(self._plan.key, self._whole, **self._plan.attributes)

    def close(self) -> None:
        if self._parts is not None:
            self._parts.close()

    def abort(self) -> None:
        if self._parts is not None:
            self._parts.abort()


@contextmanager
def _sink(bucket: Bucket, plan: Plan, announced: int | None) -> Iterator[_Sink]:
    expected = announced if announced is not None else plan.listed_size
    if expected > plan.chunk_size * MAX_PARTS:
        raise TransferError(f"{expected} bytes do not fit {MAX_PARTS} parts of {plan.chunk_size}: raise CHUNK_SIZE")
    if announced == 0:
        raise TransferError("the body is empty")
    # An item whose size nobody lists goes in parts, whatever the CDN announces (acceptance statement 10).
    sink = _Sink(bucket, plan, multipart=plan.listed_size == 0 or expected > plan.threshold)
    try:
        yield sink
    except BaseException:
        sink.abort()
        raise
    sink.close()


@contextmanager
def _cdn_errors() -> Iterator[None]:
    names: dict[Any, Any] = {
        404: lambda failure: SourceDeletedError(f"{failure}: removed", 404),
        403: lambda failure: SignatureExpired(str(failure)),
        410: lambda failure: SignatureExpired(str(failure)),
        "timeout": lambda failure: TimeoutError(str(failure)),
        "network": lambda failure: NetworkError(str(failure)),
        "server": lambda failure: NetworkError(str(failure)),
        "rate_limited": lambda failure: RateLimitError(str(failure), failure.retry_after),
        "truncated": lambda failure: TransferError(str(failure)),
        "unauthorized": lambda failure: TransferError(str(failure)),
        "not_found": lambda failure: TransferError(str(failure)),
        "client": lambda failure: TransferError(str(failure)),
    }
    with http.raising(names):
        yield
