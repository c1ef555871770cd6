"""What time it is for an engine: the system's, or a test's.

All times are milliseconds since the epoch. A clock also knows when something waits for time to pass (`arm`, `sleep`) and, for the
virtual one, when time may pass: while somebody waits for an outcome (`waiting`) and nothing runs (`running`).
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Protocol

__all__ = ["Alarm", "Clock", "SystemClock", "VirtualClock", "idle"]

LONGEST_NAP = 5.0
"""Seconds after which the system clock is read again, so that a clock that was set forward is noticed."""
QUIET_TURNS = 25
"""Turns of the event loop without any activity after which the virtual clock believes that nothing is runnable."""


class Alarm(Protocol):
    """What `arm` gives."""

    def cancel(self) -> None:
        """The callback will not come."""
        ...


class Clock(Protocol):
    """Both clocks."""

    def now(self) -> int:
        """Milliseconds since the epoch."""
        ...

    def arm(self, due: int, callback: Callable[[], None]) -> Alarm:
        """Call back at `due` or, on the system clock, every few seconds before it: the callee looks at `now` again."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait that long."""
        ...

    def running(self) -> AbstractContextManager[None]:
        """While inside, work is done: virtual time stands still (except in this clock's `sleep`)."""
        ...

    def waiting(self) -> AbstractContextManager[None]:
        """While inside, somebody waits for what will happen: virtual time may pass."""
        ...


class SystemClock:
    """The time of day."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def arm(self, due: int, callback: Callable[[], None]) -> Alarm:
        delay = (due - time.time_ns() // 1_000_000) / 1000
        return asyncio.get_running_loop().call_later(min(max(delay, 0.0), LONGEST_NAP), callback)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    @contextmanager
    def running(self) -> Iterator[None]:
        yield

    @contextmanager
    def waiting(self) -> Iterator[None]:
        yield


_running: ContextVar[VirtualClock | None] = ContextVar("stepwell_running_clock", default=None)
"""The virtual clock that the current task holds still."""


@contextmanager
def idle() -> Iterator[None]:
    """While inside, the current task only waits: it does not keep virtual time from passing."""
    clock = _running.get()
    if clock is None:
        yield
        return
    clock._hold(-1)
    try:
        yield
    finally:
        clock._hold(1)


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


class _Alarm:
    __slots__ = ("callback", "cancelled")

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class VirtualClock:
    """Time that passes only when nothing else can happen: a year's Wait takes microseconds.

    It jumps to the next alarm when somebody waits for an outcome (`waiting`), nothing runs (`running`, except what is `idle`),
    and the event loop was quiet for a few turns. `advance` moves it by hand.
    """

    def __init__(self, start: int = 1_767_225_600_000) -> None:
        """`start`: milliseconds since the epoch; the default is 2026-01-01T00:00:00Z."""
        self._now = start
        self._alarms: list[tuple[int, int, _Alarm]] = []
        self._numbers = itertools.count()
        self._running = 0
        self._waiting = 0
        self._quiet = 0
        self._watching = False

    def now(self) -> int:
        self._quiet = 0  # whoever asks for the time is doing something
        return self._now

    def arm(self, due: int, callback: Callable[[], None]) -> Alarm:
        alarm = _Alarm(callback)
        heapq.heappush(self._alarms, (due, next(self._numbers), alarm))
        self._watch()
        return alarm

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        alarm = self.arm(self._now + round(seconds * 1000), lambda: _wake(woken))
        try:
            with idle():
                await woken
        finally:
            alarm.cancel()

    @contextmanager
    def running(self) -> Iterator[None]:
        self._hold(1)
        token = _running.set(self)
        try:
            yield
        finally:
            _running.reset(token)
            self._hold(-1)

    def _hold(self, change: int) -> None:
        self._running += change
        self._watch()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        if _running.get() is self:  # a task of an execution: it waits, but not for its own sake
            with idle():
                yield
            return
        self._waiting += 1
        self._watch()
        try:
            yield
        finally:
            self._waiting -= 1

    async def advance(self, seconds: float) -> None:
        """Let time pass, firing what is due on the way, in order; then let the loop settle."""
        end = self._now + round(seconds * 1000)
        while self._alarms and self._alarms[0][0] <= end:
            self._fire()
            await self._settle()
        self._now = end
        await self._settle()

    async def _settle(self) -> None:
        self._quiet = 0
        while self._quiet < QUIET_TURNS:
            self._quiet += 1
            await asyncio.sleep(0)

    def _watch(self) -> None:
        self._quiet = 0
        if not self._watching and self._waiting and not self._running and self._alarms:
            self._watching = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """One turn of watching: jump when it was quiet for long enough, stop watching when time must stand still."""
        while self._alarms and self._alarms[0][2].cancelled:
            heapq.heappop(self._alarms)
        if not self._alarms or self._running or not self._waiting:
            self._watching = False
            return
        self._quiet += 1
        if self._quiet > QUIET_TURNS:
            self._fire()
        asyncio.get_running_loop().call_soon(self._look)

    def _fire(self) -> None:
        due, _, alarm = heapq.heappop(self._alarms)
        if alarm.cancelled:
            return
        self._now = max(self._now, due)
        self._quiet = 0
        alarm.callback()
