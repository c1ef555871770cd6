"""All timers of all executions in one heap, and one alarm for the earliest."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable

from stepwell.engine.clock import Alarm, Clock

__all__ = ["Timers"]

log = logging.getLogger("stepwell.engine")

Key = tuple[int, int]
"""(execution, timer)."""


class Timers:
    """Calls `fire(execution, timer)` for each timer once it is due, never before, in the order of their due times."""

    def __init__(self, clock: Clock, fire: Callable[[int, int], None]) -> None:
        self._clock = clock
        self._fire = fire
        self._due: dict[Key, int] = {}
        self._heap: list[tuple[int, int, int]] = []
        self._alarm: Alarm | None = None
        self._armed: int | None = None

    def __len__(self) -> int:
        return len(self._due)

    def set(self, execution: int, timer: int, due: int) -> None:
        """Set, or set anew."""
        key = (execution, timer)
        if self._due.get(key) == due:
            return
        self._due[key] = due
        heapq.heappush(self._heap, (due, execution, timer))
        if self._armed is None or due < self._armed:
            self._arm(due)

    def cancel(self, execution: int, timer: int) -> None:
        """Forget a timer. Its entry stays in the heap until it comes up, or until such entries are the larger part."""
        self._due.pop((execution, timer), None)
        if len(self._heap) > 64 and len(self._heap) > 2 * len(self._due):
            self._heap = [entry for entry in self._heap if self._due.get(entry[1:]) == entry[0]]
            heapq.heapify(self._heap)

    def stop(self) -> None:
        """Fire nothing any more."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._due.clear()
        self._heap.clear()

    def _arm(self, due: int) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._armed = due
        self._alarm = self._clock.arm(due, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._armed = None
        now = self._clock.now()
        heap = self._heap
        while heap:
            due, execution, timer = heap[0]
            if self._due.get((execution, timer)) != due:
                heapq.heappop(heap)
                continue
            if due > now:
                self._arm(due)
                return
            heapq.heappop(heap)
            del self._due[execution, timer]
            try:
                self._fire(execution, timer)
            except Exception:
                log.exception("the timer %d of execution %d failed", timer, execution)
            heap = self._heap  # `cancel` may have made a new one
