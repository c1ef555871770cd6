"""Delivering execution events to CloudWatch Logs, in the background.

Every state machine has a stream of its own in its log group, `states/NAME/YYYY-MM-DD-HH/XXXXXXXX` as on AWS. Entries of a stream keep their
order: there is one request at a time. What cannot be delivered for long, or is refused, is dropped with a warning: a log never holds up
the executions that it tells of.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import deque
from dataclasses import dataclass, field

from stepwell.tasks.aws_clients import AwsClients, Caller, CallFailed
from stepwell.tasks.requests import TaskError

__all__ = ["CloudWatchLogs"]

log = logging.getLogger("stepwell.logs")

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
BATCH_ENTRIES = 10_000
BATCH_BYTES = 1_048_576
ENTRY_OVERHEAD = 26
BATCH_SPAN = 24 * 3_600_000

WAITING_BYTES = 32 * 1024 * 1024
"""A stream that has more waiting drops the oldest."""
LINGER = 0.1
"""Seconds in which entries gather for one request."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
REFUSAL_SECONDS = 10.0
"""So long nothing is tried after the service said no."""
CLOSE_SECONDS = 5.0


Entry = tuple[int, str, int]
"""(milliseconds, text, bytes)."""


@dataclass(slots=True)
class _Stream:
    group_arn: str
    machine: str
    waiting: deque[Entry] = field(default_factory=deque)
    size: int = 0
    """Bytes of what is waiting."""
    batch: list[Entry] = field(default_factory=list)
    """What is being delivered."""
    name: str | None = None
    hour: str = ""
    sending: asyncio.Task[None] | None = None
    dropped: int = 0
    refused_until: float = 0.0


class _Refused(Exception):
    """Trying again would not help."""


class CloudWatchLogs:
    """`stepwell.engine.eventlog.LogSink` over the AWS endpoint."""

    def __init__(self, aws: AwsClients) -> None:
        self._aws = aws
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._closing = asyncio.Event()

    async def has_group(self, group_arn: str) -> bool:
        """Whether the log group may exist. Only an endpoint that was given is asked: AWS itself may want credentials nobody has."""
        if self._aws.endpoint is None:
            return True
        name, caller = _group_of(group_arn)
        try:
            service = await self._aws.service("logs")
            answer = await self._aws.call(service, "DescribeLogGroups", {"logGroupNamePrefix": name}, caller)
        except (CallFailed, TaskError):
            return True
        return any(group.get("logGroupName") == name for group in answer.result.get("logGroups", ()))

    def put(self, group_arn: str, machine: str, entries: list[tuple[int, bytes]]) -> None:
        """Deliver (milliseconds, JSON text) in this order, soon."""
        stream = self._streams.get((group_arn, machine))
        if stream is None:
            stream = self._streams[group_arn, machine] = _Stream(group_arn, machine)
        if stream.refused_until > time.monotonic():
            return
        for at, text in entries:
            size = len(text) + ENTRY_OVERHEAD
            stream.waiting.append((at, text.decode(), size))
            stream.size += size
        while stream.size > WAITING_BYTES:
            stream.size -= stream.waiting.popleft()[2]
            stream.dropped += 1
        if stream.sending is None:
            stream.sending = asyncio.get_running_loop().create_task(self._send(stream))

    async def close(self) -> None:
        """Deliver what waits, for a few seconds at most."""
        self._closing.set()
        sending = {stream.sending for stream in self._streams.values() if stream.sending is not None}
        if sending:
            _, late = await asyncio.wait(sending, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        left = sum(len(stream.waiting) + len(stream.batch) for stream in self._streams.values())
        if left:
            log.warning("%d execution events were not delivered to CloudWatch Logs before the end", left)

    # -- one stream

    async def _send(self, stream: _Stream) -> None:
        try:
            await self._pause(LINGER)
            while stream.waiting:
                stream.batch = _next_batch(stream)
                await self._deliver(stream)
                stream.batch = []
        except _Refused as refusal:
            self._drop(stream, str(refusal))
        finally:
            stream.sending = None

    async def _deliver(self, stream: _Stream) -> None:
        """Deliver the batch, however long it takes. Raises _Refused."""
        pause = FIRST_PAUSE
        while True:
            try:
                await self._put(stream)
                break
            except TaskError as error:  # the AWS SDK is not installed
                raise _Refused(error.cause or str(error)) from error
            except CallFailed as failure:
                if not _passing(failure):
                    raise _Refused(f"{failure.code}: {failure.message}") from failure
                if pause == FIRST_PAUSE:
                    log.warning("%s takes no events now (%s); they are sent again", stream.group_arn, failure.message)
            await self._pause(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        if stream.dropped:
            log.warning("%d execution events were too many for %s and are only in Stepwell's own log",
                        stream.dropped, stream.group_arn)  # fmt: skip
            stream.dropped = 0

    async def _put(self, stream: _Stream) -> None:
        group, caller = _group_of(stream.group_arn)
        service = await self._aws.service("logs")
        # The service wants the entries of a request in the order of their times.
        events = [
            {"timestamp": at, "message": text} for at, text, _ in sorted(stream.batch, key=lambda entry: entry[0])
        ]
        for last in (False, True):
            name = await self._open(stream, group, caller)
            try:
                parameters = {"logGroupName": group, "logStreamName": name, "logEvents": events}
                await self._aws.call(service, "PutLogEvents", parameters, caller)
                return
            except CallFailed as failure:
                if failure.code == "DataAlreadyAcceptedException":
                    return
                if failure.code != "ResourceNotFoundException" or last:
                    raise
                stream.name = None  # the stream is gone, or its group: a new one tells which

    async def _open(self, stream: _Stream, group: str, caller: Caller) -> str:
        hour = time.strftime("%Y-%m-%d-%H", time.gmtime())
        if stream.name is not None and stream.hour == hour:
            return stream.name
        name = f"states/{stream.machine}/{hour}/{secrets.token_hex(4)}"
        service = await self._aws.service("logs")
        await self._aws.call(service, "CreateLogStream", {"logGroupName": group, "logStreamName": name}, caller)
        stream.name, stream.hour = name, hour
        return name

    def _drop(self, stream: _Stream, reason: str) -> None:
        count = len(stream.batch) + len(stream.waiting) + stream.dropped
        stream.batch = []
        stream.waiting.clear()
        stream.size = stream.dropped = 0
        stream.name = None
        stream.refused_until = time.monotonic() + REFUSAL_SECONDS
        log.warning(
            "%d execution events of %s are only in Stepwell's own log: %s refused them (%s)",
            count,
            stream.machine,
            stream.group_arn,
            reason,
        )

    async def _pause(self, seconds: float) -> None:
        if self._closing.is_set():
            await asyncio.sleep(min(seconds, FIRST_PAUSE))
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), seconds)


def _next_batch(stream: _Stream) -> list[Entry]:
    """Take what fits in one request."""
    batch: list[Entry] = []
    size = 0
    waiting = stream.waiting
    while waiting and len(batch) < BATCH_ENTRIES:
        at, _, length = waiting[0]
        if batch and (size + length > BATCH_BYTES or at - batch[0][0] > BATCH_SPAN):
            break
        batch.append(waiting.popleft())
        stream.size -= length
        size += length
    return batch


def _passing(failure: CallFailed) -> bool:
    """Whether the same request may succeed later."""
    if failure.status == 0:
        return "credentials" not in failure.message.lower()
    return (
        failure.status >= 500 or failure.status == 429 or "Throttl" in failure.code or "LimitExceeded" in failure.code
    )


def _group_of(arn: str) -> tuple[str, Caller]:
    """A log group's name, and whose it is."""
    parts = arn.split(":", 6)
    return parts[6].removesuffix(":*"), Caller(parts[4], parts[3])
