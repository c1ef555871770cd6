"""When a schedule is due: AWS's cron and rate expressions, and which due times fire after a pause.

Pure: a host asks `ScheduleState.next_due` what timer to set, and `advance` what to start when it goes off or after a restart.
It journals the new state in the same transaction as the starts. The executions' names are made of the due times, so that even
a due time fired twice starts one execution.

Time zones follow EventBridge Scheduler: a cron time that a clock change leaves out is skipped, one that it repeats fires the
first time only; a rate counts elapsed time. https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

import msgspec

if TYPE_CHECKING:
    from aws_croniter import AwsCroniter

CatchUp = Literal["latest", "all", "none"]

ON_TIME = timedelta(seconds=60)
"""A due time is missed when it is older than this. EventBridge promises no more."""

CATCH_UP_LIMIT = 100
"""How many missed due times `catch_up="all"` fires at most: the newest ones."""

_RATE = re.compile(r"rate\(\s*(\d+)\s+(minute|minutes|hour|hours|day|days)\s*\)")
_CRON = re.compile(r"cron\(([^()]*)\)")
_SECONDS = {"minute": 60, "hour": 3600, "day": 86400}
_FIELDS = ("minutes", "hours", "day-of-month", "month", "day-of-week", "year")
_LAST_YEAR = 2199
_MINUTE = timedelta(minutes=1)


class ScheduleError(ValueError):
    """The expression or the time zone is not valid; the message says which part and what is allowed."""


class Schedule(msgspec.Struct, frozen=True):
    """A valid ``cron(...)`` or ``rate(...)`` in a time zone. Times in and out are aware datetimes in UTC."""

    expression: str
    timezone: str = "UTC"

    @classmethod
    def parse(cls, expression: str, timezone: str = "UTC") -> Schedule:
        """Raises ScheduleError."""
        _zone(timezone)
        if expression.startswith("rate("):
            _interval(expression)
        else:
            _cron(expression)
        return cls(expression, timezone)

    @property
    def is_rate(self) -> bool:
        """Whether it counts from when it was first seen, and not by the calendar."""
        return self.expression.startswith("rate(")

    def next_due(self, after: datetime, *, since: datetime | None = None) -> datetime | None:
        """The first due time later than `after`; None if there is none any more.

        `since` is when a rate began to count; it is first due one interval later. Cron does not need it.
        """
        if self.is_rate:
            interval, start = _interval(self.expression), since or after
            return start + max(1, (after - start) // interval + 1) * interval
        return next(self._cron_times(after, forwards=True), None)

    def latest_due(self, until: datetime, *, since: datetime) -> datetime | None:
        """The last due time in (since, until]; None if there is none."""
        if self.is_rate:
            count = (until - since) // _interval(self.expression)
            return since + count * _interval(self.expression) if count > 0 else None
        due = next(self._cron_times(until, forwards=False), None)
        return due if due is not None and due > since else None

    def _cron_times(self, start: datetime, *, forwards: bool) -> Iterator[datetime]:
        """Due times after `start`, or at and before it, walking away from it on the zone's own clock."""
        zone, cron = _zone(self.timezone), _cron(self.expression)
        # The library reckons in UTC: it is given the wall clock's reading as if it were.
        wall = start.astimezone(zone).replace(tzinfo=UTC, second=0, microsecond=0)
        if not forwards:
            # The wall clock may stand before a reading that has been already, in the hour that a clock change repeats.
            wall += timedelta(hours=3)
        while (found := _step(cron, wall, forwards)) is not None:
            wall = found
            due = found.replace(tzinfo=zone, fold=0).astimezone(UTC)
            exists = due.astimezone(zone).replace(tzinfo=UTC) == found
            if exists and (due > start if forwards else due <= start):
                yield due


class ScheduleState(msgspec.Struct, frozen=True, kw_only=True):
    """What a host keeps of a schedule in its journal. Each step gives a new state.

    When the declared schedule differs from the journal's, the host begins anew: ``ScheduleState.begin(schedule, now)``.
    """

    schedule: Schedule
    since: datetime
    """When this schedule was first seen; nothing up to then is due."""
    last: datetime | None = None
    """The latest due time that was fired or dropped."""

    @classmethod
    def begin(cls, schedule: Schedule, now: datetime) -> ScheduleState:
        """The state of a schedule seen for the first time."""
        return cls(schedule=schedule, since=now.replace(microsecond=0))

    def next_due(self) -> datetime | None:
        """The due time to set a timer for; after a pause it may have passed."""
        return self.schedule.next_due(self.last or self.since, since=self.since)

    def advance(
        self, now: datetime, *, catch_up: CatchUp = "latest", max_age: int | None = None
    ) -> tuple[ScheduleState, tuple[datetime, ...]]:
        """The due times to fire at `now`, oldest first, and the state to journal with their starts.

        A due time at most a minute old always fires. Of older ones, missed while nothing ran, ``"latest"`` fires the newest of
        all that are due, ``"all"`` the newest hundred, ``"none"`` none; those older than `max_age` seconds are dropped.
        """
        newest = self.schedule.latest_due(now, since=self.since)
        if newest is None or (self.last is not None and newest <= self.last):
            return self, ()
        after = msgspec.structs.replace(self, last=newest)
        oldest = now - timedelta(seconds=max_age) if max_age is not None else self.since
        if catch_up == "none":
            oldest = max(oldest, now - ON_TIME)
        if newest < oldest:
            return after, ()
        if catch_up != "all":
            return after, (newest,)
        fired = [newest]
        done = self.last or self.since
        while len(fired) < CATCH_UP_LIMIT:
            earlier = self.schedule.latest_due(fired[-1] - timedelta(microseconds=1), since=self.since)
            if earlier is None or earlier <= done or earlier < oldest:
                break
            fired.append(earlier)
        return after, tuple(reversed(fired))


def execution_name(schedule: str, due: datetime) -> str:
    """The name of the execution for one due time: ``schedule-NAME-20261122T010000Z``, at most 80 characters.

    It is the same whoever computes it. Characters that an execution's name cannot have become hyphens; a long name is cut and
    told apart by a hash.
    """
    name = re.sub(r"[^A-Za-z0-9_-]", "-", schedule)
    if name != schedule or len(name) > 54:
        name = f"{name[:45]}-{hashlib.sha256(schedule.encode()).hexdigest()[:8]}"
    return f"schedule-{name}-{due.astimezone(UTC):%Y%m%dT%H%M%SZ}"


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ScheduleError(
            f"{name!r} is not a time zone; use a name of the tz database, such as UTC or Europe/Berlin"
        ) from None


@lru_cache(maxsize=64)
def _interval(expression: str) -> timedelta:
    match = _RATE.fullmatch(expression)
    if not match or int(match[1]) < 1:
        raise ScheduleError(f"{expression!r} is not a rate; write rate(VALUE UNIT), such as rate(5 minutes)")
    value, unit = int(match[1]), match[2]
    singular = unit.removesuffix("s")
    if (value == 1) != (unit == singular):
        raise ScheduleError(f"{expression!r}: write rate({value} {singular if value == 1 else singular + 's'})")
    return timedelta(seconds=value * _SECONDS[singular])


@lru_cache(maxsize=64)
def _cron(expression: str) -> AwsCroniter:
    match = _CRON.fullmatch(expression)
    if not match:
        raise ScheduleError(
            f"{expression!r} is not a schedule; write cron(MINUTES HOURS DAY-OF-MONTH MONTH DAY-OF-WEEK YEAR), "
            "such as cron(0 1 * * ? *), or rate(VALUE UNIT)"
        )
    fields = match[1].split()
    if len(fields) != 6:
        raise ScheduleError(f"{expression!r} has {len(fields)} fields; cron needs six: {' '.join(_FIELDS)}")
    if (fields[2] == "?") == (fields[4] == "?"):
        raise ScheduleError(f"{expression!r}: exactly one of day-of-month and day-of-week must be ?")
    from aws_croniter import AwsCroniter  # 20 ms that only a project with a schedule should pay

    if fields[4] == "L":
        fields[4] = "7"  # The last day of the week; the library knows L only with a day.
    try:
        cron = AwsCroniter(" ".join(fields))
    except Exception as error:  # The library raises ValueError for what its own patterns let through, such as LW.
        raise ScheduleError(f"{expression!r}: {_reason(fields, error)}") from None
    if _step(cron, datetime(1970, 1, 1, tzinfo=UTC), True) is None:
        raise ScheduleError(f"{expression!r} never matches any date")
    return cron


def _reason(fields: list[str], error: Exception) -> str:
    text = str(error)
    for name, value in zip(_FIELDS, fields, strict=True):
        if f"'{value}'" in text and name.rstrip("s") in text.lower():
            return f"{value!r} is not a valid {name} field"
    return "a field is not valid; values are numbers or names with , - * / and, for days, ? L W #"


def _step(cron: AwsCroniter, wall: datetime, forwards: bool) -> datetime | None:
    """The next or previous match. The library gives up after ten tries (29 February, fifth Mondays): ask again further on."""
    start, year = wall, wall.year
    while True:
        try:
            found = (cron.get_next(start, 1) if forwards else cron.get_prev(start, 1))[0]
        except AttributeError:
            found = None
        if isinstance(found, datetime):
            return found
        year += 1 if forwards else -1
        if not 1970 <= year <= _LAST_YEAR:
            return None
        # The minute outside the year, so that its first or last minute is a candidate too.
        start = datetime(year, 1, 1, tzinfo=UTC) - _MINUTE if forwards else datetime(year + 1, 1, 1, tzinfo=UTC)
