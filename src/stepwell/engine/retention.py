"""Forgetting closed executions, as AWS does after 90 days: the database stays bounded.

By age, and by number if one is given: then only the newest so many, by their start, are kept. What that frees is used again for
what comes next; when it is a quarter of the file, it is given back.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepwell.engine.clock import Alarm, Clock
    from stepwell.engine.journal import Journal

__all__ = ["DAYS", "Retention"]

log = logging.getLogger("stepwell.engine")

DAYS = 90.0
"""How long AWS keeps the history of a closed execution."""
EVERY = 3_600_000
"""Milliseconds between two looks at least; the next one is when the oldest closed execution will be old enough."""
OFTEN = 10_000
"""Milliseconds between two looks when executions are counted."""
PAGES = 100
"""Pages given back before the loop gets its turn."""
SLICE = 50
"""Executions deleted before the loop gets its turn."""
PAUSE = 20
"""Milliseconds between two slices."""
_DAY = 86_400_000


class Retention:
    """Deletes closed executions, a few at a time. Children of a map run count, and go, one by one like others.

    `days`: those that ended longer ago. `count`: those that are not among so many started last; None keeps any number.
    """

    def __init__(self, journal: Journal, clock: Clock, days: float = DAYS, count: int | None = None) -> None:
        self._journal = journal
        self._clock = clock
        self._days = days
        self._count = count
        self._alarm: Alarm | None = None
        self._due = 0
        self._after = 0
        self.deleted = 0
        """How many executions were deleted since the engine was opened."""

    def start(self) -> None:
        """Look now, and whenever something may have become old enough."""
        self._arm(self._clock.now())

    def stop(self) -> None:
        """Look no more."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _arm(self, due: int) -> None:
        self._due = due
        self._alarm = self._clock.arm(due, self._ring)

    def _ring(self) -> None:
        if self._clock.now() < self._due:
            self._arm(self._due)  # the clock's alarm came early, to look at the time again
            return
        if self._journal.trouble is not None or not (self._look() or self._journal.shrink(PAGES)):
            self._after = 0
            now = self._clock.now()
            oldest = self._journal.first_closed()
            due = max(now + EVERY, (now if oldest is None else oldest) + round(self._days * _DAY))
            self._arm(due if self._count is None else now + OFTEN)
        else:
            self._arm(self._clock.now() + PAUSE)

    def _look(self) -> bool:
        """Delete a slice; whether there may be more."""
        old, self._after = self._journal.closed_before(
            self._clock.now() - round(self._days * _DAY), newest=self._count, after=self._after, limit=SLICE
        )
        for id in old:
            self._journal.delete_execution(id)
        self.deleted += len(old)
        return self._after > 0
