"""Schedules: each due time starts exactly one execution, also after downtime.

The state of a schedule and the starts it causes are in the same transaction; the executions' names are made of the due times.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from stepwell.engine.errors import ApiError, JournalError
from stepwell.project.schedules import CatchUp, Schedule, ScheduleState, execution_name

if TYPE_CHECKING:
    from stepwell.engine.clock import Alarm, Clock
    from stepwell.engine.executions import Executions
    from stepwell.engine.journal import Journal

__all__ = ["ScheduleRecord", "Schedules"]

log = logging.getLogger("stepwell.schedules")

RETRY_MS = 1000


class ScheduleRecord(msgspec.Struct, kw_only=True):
    """A schedule as the journal keeps it."""

    name: str
    state_machine_arn: str
    expression: str
    timezone: str
    input: bytes
    catch_up: CatchUp = "latest"
    max_age: int | None = None
    since: datetime
    last: datetime | None = None

    @property
    def state(self) -> ScheduleState:
        """What decides when it is due."""
        return ScheduleState(schedule=Schedule(self.expression, self.timezone), since=self.since, last=self.last)


class Schedules:
    """`engine.schedules`."""

    def __init__(self, journal: Journal, clock: Clock, executions: Executions) -> None:
        self._journal = journal
        self._clock = clock
        self._executions = executions
        self._records: dict[str, ScheduleRecord] = {}
        self._alarms: dict[str, Alarm] = {}
        for _, data in journal.documents("schedule"):
            record = msgspec.msgpack.decode(data, type=ScheduleRecord)
            self._records[record.name] = record

    def list(self) -> list[ScheduleRecord]:
        """All schedules, by name."""
        return [self._records[name] for name in sorted(self._records)]

    def next_due(self, name: str) -> datetime | None:
        """When a schedule is due next; None if it never is again. KeyError for an unknown one."""
        return self._records[name].state.next_due()

    async def put(
        self,
        name: str,
        state_machine_arn: str,
        schedule: Schedule,
        *,
        input: bytes = b"{}",
        catch_up: CatchUp = "latest",
        max_age: int | None = None,
    ) -> None:
        """Declare a schedule. One that is known keeps its past, unless its expression or time zone changed."""
        self._journal.check()
        old = self._records.get(name)
        same = old is not None and (old.expression, old.timezone) == (schedule.expression, schedule.timezone)
        record = ScheduleRecord(
            name=name,
            state_machine_arn=state_machine_arn,
            expression=schedule.expression,
            timezone=schedule.timezone,
            input=input,
            catch_up=catch_up,
            max_age=None
            if max_age is None
            else int(max_age),  # what a project declares is a kind of int that msgpack refuses
            since=old.since if same and old is not None else self._now(),
            last=old.last if same and old is not None else None,
        )
        if record != old:
            self._put(record)
        self._arm(record)
        await self._journal.committed()

    async def delete(self, name: str) -> None:
        """Forget a schedule."""
        if self._records.pop(name, None) is not None:
            self._journal.put("schedule", name, None)
        alarm = self._alarms.pop(name, None)
        if alarm is not None:
            alarm.cancel()
        await self._journal.committed()

    def start(self) -> None:
        """Set the timers of every schedule; due times missed meanwhile fire as their catch-up says."""
        for record in self._records.values():
            self._arm(record)

    def stop(self) -> None:
        """Fire nothing any more."""
        for alarm in self._alarms.values():
            alarm.cancel()
        self._alarms.clear()

    def _arm(self, record: ScheduleRecord) -> None:
        old = self._alarms.pop(record.name, None)
        if old is not None:
            old.cancel()
        due = record.state.next_due()
        if due is not None:
            self._alarms[record.name] = self._clock.arm(round(due.timestamp() * 1000), lambda: self._ring(record.name))

    def _ring(self, name: str) -> None:
        record = self._records.get(name)
        if record is None:
            return
        due = record.state.next_due()
        if due is None or due > self._now():
            self._arm(record)  # the clock's alarm came early, to look at the time again
            return
        if self._journal.trouble is not None:
            self._alarms[name] = self._clock.arm(self._clock.now() + RETRY_MS, lambda: self._ring(name))
            return
        state, fired = record.state.advance(self._now(), catch_up=record.catch_up, max_age=record.max_age)
        for time in fired:
            try:
                self._executions.start_now(record.state_machine_arn, record.input, execution_name(name, time))
            except (ApiError, JournalError) as error:
                log.error("the schedule %s could not start its execution for %s: %s", name, time.isoformat(), error)
        record.last = state.last
        self._put(record)
        self._arm(record)

    def _put(self, record: ScheduleRecord) -> None:
        self._records[record.name] = record
        self._journal.put("schedule", record.name, msgspec.msgpack.encode(record))

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now() / 1000, UTC)
