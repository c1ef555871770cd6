"""Asynchronous invocations of functions: journaled before they are acknowledged, run at least once, tried again when they fail.

An event is a document of the journal, ("invocation", request id), from its acceptance to its end: after the function has
succeeded, or has failed for the last time and whoever wants to know was told. Only ids and due times are in memory. After a
restart, what was pending goes on: retries keep their due times, an attempt that was under way is made again.

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING, Protocol

import msgspec

from stepwell.functions import Call, PoolClosed, TooManyRequests, UnknownFunction
from stepwell.tasks.ports import Failure, Invocation, Policy

if TYPE_CHECKING:
    from stepwell.engine.clock import Alarm, Clock
    from stepwell.engine.journal import Journal
    from stepwell.functions import FunctionPool

__all__ = ["Invocations", "Outcomes"]

RETRY_SECONDS = (60.0, 120.0)
MAX_PENDING = 10_000
MAX_PENDING_BYTES = 256 * 1024 * 1024
"""More events, or more bytes of them, are refused as throttled."""
AT_ONCE = 100
"""Events of one function that run at the same time; the function's own concurrency may be smaller."""

_KIND = "invocation"
"""Of the journal's documents."""

log = logging.getLogger("stepwell.lambda")


class Outcomes(Protocol):
    """Who knows what a function wants done with its events."""

    def policy(self, invocation: Invocation) -> Policy:
        """Asked after each failure."""
        ...

    async def succeeded(self, invocation: Invocation, payload: bytes) -> None:
        """`payload`: the function's result."""
        ...

    async def failed(self, invocation: Invocation, failure: Failure, condition: str) -> None:
        """For the last time; `condition` is RetriesExhausted or EventAgeExceeded."""
        ...


class Invocations:
    """`engine.invocations`."""

    def __init__(self, journal: Journal, clock: Clock, pool: FunctionPool, outcomes: Outcomes) -> None:
        self.retry_seconds = RETRY_SECONDS
        """Before the first retry, and before each later one."""
        self._journal = journal
        self._clock = clock
        self._pool = pool
        self._outcomes = outcomes
        self._sizes: dict[str, int] = {}
        """Of every pending event, by request id."""
        self._bytes = 0
        self._heap: list[tuple[int, str, str]] = []
        """(due, function, id) of those that wait for their time."""
        self._alarm: Alarm | None = None
        self._ready: defaultdict[str, deque[str]] = defaultdict(deque)
        """By function, those that are due while `AT_ONCE` others run."""
        self._busy: Counter[str] = Counter()
        self._running: set[asyncio.Task[None]] = set()
        self._stopped = False

    def __len__(self) -> int:
        return len(self._sizes)

    def start(self) -> None:
        """Take up what an earlier run accepted."""
        for id, data in self._journal.documents(_KIND):
            invocation = msgspec.msgpack.decode(data, type=Invocation)
            if id not in self._sizes:
                self._count(id, len(invocation.payload))
                self._heap.append((invocation.due, invocation.function, id))
        heapq.heapify(self._heap)
        self._ring()

    async def stop(self) -> None:
        """Cut off what runs: it is run again at the next start."""
        self._stopped = True
        if self._alarm is not None:
            self._alarm.cancel()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def accept(self, function: str, payload: bytes, *, call: Call, qualifier: str | None = None) -> None:
        """When it returns, the event is on disk. One with a request id that is pending is the same event.

        Raises UnknownFunction, TooManyRequests, and JournalError, after which the event may still run.
        """
        self._journal.check()
        spec = self._pool.resolve(function)
        id = call.request_id
        if id not in self._sizes:
            if len(self._sizes) >= MAX_PENDING or self._bytes + len(payload) > MAX_PENDING_BYTES:
                raise TooManyRequests("too many asynchronous events are waiting")
            now = self._clock.now()
            invocation = Invocation(
                function=spec.key,
                version=spec.version,
                qualifier=qualifier or spec.key.partition(":")[2] or None,
                payload=payload,
                call=call,
                accepted=now,
                due=now,
            )
            self._count(id, len(payload))
            self._put(invocation)
        await self._journal.committed()

    # -- the work

    def _count(self, id: str, size: int) -> None:
        self._sizes[id] = size
        self._bytes += size

    def _put(self, invocation: Invocation) -> None:
        id = invocation.call.request_id
        due, function = invocation.due, invocation.function
        self._journal.put(_KIND, id, msgspec.msgpack.encode(invocation))
        self._journal.after_commit(lambda: self._wait(due, function, id))

    def _remove(self, id: str) -> None:
        self._bytes -= self._sizes.pop(id)
        self._journal.put(_KIND, id, None)

    def _wait(self, due: int, function: str, id: str) -> None:
        heapq.heappush(self._heap, (due, function, id))
        if self._heap[0][2] == id:
            self._ring()

    def _ring(self) -> None:
        """Run what is due, and set the alarm for what comes next; it may ring early."""
        if self._stopped:
            return
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        now = self._clock.now()
        while self._heap and self._heap[0][0] <= now:
            _, function, id = heapq.heappop(self._heap)
            if self._busy[function] < AT_ONCE:
                self._run(function, id)
            else:
                self._ready[function].append(id)
        if self._heap:
            self._alarm = self._clock.arm(self._heap[0][0], self._ring)

    def _run(self, function: str, id: str) -> None:
        self._busy[function] += 1
        task = asyncio.get_running_loop().create_task(self._attempt(id))
        self._running.add(task)
        task.add_done_callback(lambda done: self._ended(function, id, done))

    def _ended(self, function: str, id: str, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._busy[function] -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the asynchronous invocation %s of %s is run again", id, function, exc_info=error)
            self._wait(self._clock.now() + round(self.retry_seconds[0] * 1000), function, id)
        ready = self._ready[function]
        if ready and not self._stopped:
            self._run(function, ready.popleft())
        elif not self._busy[function]:
            del self._busy[function], self._ready[function]

    async def _attempt(self, id: str) -> None:
        data = self._journal.document(_KIND, id)
        if data is None:
            return
        invocation = msgspec.msgpack.decode(data, type=Invocation)
        await self._pool.arrival(invocation.function)
        if invocation.failure is not None and self._too_old(invocation, self._clock.now()):
            await self._give_up(invocation, invocation.failure, "EventAgeExceeded")
            return
        try:
            with self._clock.running():
                result = await self._pool.invoke(invocation.function, invocation.payload, call=invocation.call)
        except PoolClosed:
            return
        except UnknownFunction:
            log.warning("the function %s was deleted; its event %s is dropped", invocation.function, id)
            self._remove(id)
            return
        invocation.attempts += 1
        if result.error is None:
            await self._outcomes.succeeded(invocation, result.payload)
            self._remove(id)
            return
        log.warning("asynchronous invocation %s of %s failed: %s", id, invocation.function, result.error.error_type)
        invocation.failure = Failure(result.payload, result.error.error_message)
        if invocation.attempts > self._outcomes.policy(invocation).retries:
            await self._give_up(invocation, invocation.failure, "RetriesExhausted")
            return
        pause = self.retry_seconds[min(invocation.attempts, len(self.retry_seconds)) - 1]
        invocation.due = self._clock.now() + round(pause * 1000)
        self._put(invocation)

    def _too_old(self, invocation: Invocation, now: int) -> bool:
        return now > invocation.accepted + self._outcomes.policy(invocation).max_age * 1000

    async def _give_up(self, invocation: Invocation, failure: Failure, condition: str) -> None:
        await self._outcomes.failed(invocation, failure, condition)
        self._remove(invocation.call.request_id)
