"""When a schedule is due: AWS's cron and rate expressions, and which due times fire after a pause."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

CatchUp = Literal["latest", "all", "none"]


class ScheduleError(ValueError):
    """The expression or the time zone is not valid; the message says which part and what is allowed."""


class Schedule(msgspec.Struct, frozen=True):
    """A valid ``cron(...)`` or ``rate(...)`` in a time zone. Times in and out are aware datetimes in UTC, whole seconds."""

    expression: str
    timezone: str = "UTC"

    @classmethod
    def parse(cls, expression: str, timezone: str = "UTC") -> Schedule:
        """Raises ScheduleError."""
        raise NotImplementedError

    def next_due(self, after: datetime, *, since: datetime | None = None) -> datetime | None:
        """The first due time later than `after`; None if there is none any more.

        `since` is when a rate began to count (its first due time is one interval later); cron does not need it.
        """
        raise NotImplementedError


class ScheduleState(msgspec.Struct, frozen=True, kw_only=True):
    """What a host keeps of a schedule in its journal. Pure: each step gives a new state."""

    schedule: Schedule
    since: datetime
    """When this schedule was first seen; nothing before it is due."""
    last: datetime | None = None
    """The latest due time that was fired or dropped."""

    def next_due(self) -> datetime | None:
        """The due time to set a timer for."""
        raise NotImplementedError

    def advance(
        self, now: datetime, *, catch_up: CatchUp = "latest", max_age: int | None = None
    ) -> tuple[ScheduleState, tuple[datetime, ...]]:
        """The due times to fire at `now`, oldest first, and the state to journal in the same transaction as their starts."""
        raise NotImplementedError


def execution_name(schedule: str, due: datetime) -> str:
    """The name of the execution for one due time: ``schedule-NAME-20261122T010000Z``, at most 80 characters.

    It is the same whoever computes it, so that a due time starts one execution even if it is fired twice.
    """
    raise NotImplementedError
