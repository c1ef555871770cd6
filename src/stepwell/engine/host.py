"""The heart of the engine: inputs go to the interpreter, their effects go out.

    input -> interpreter -> journal (input, history, status) -> commit -> effects

`handle` is the only way into an execution. What it decides is added to the journal's batch; effects that leave the engine are
carried out when that batch is on disk ("commit before effect"). Timers are set at once: they do not leave the process.

An EXPRESS execution takes the same way without the journal: its effects are carried out in the loop's next turn.

Executions that only wait are dropped from memory when there are many (`LIVE_LIMIT`) and rebuilt from the journal by their
next input: all that stays is the earliest of their timers.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from stepwell.engine.live import Live
from stepwell.engine.metrics import Metrics
from stepwell.engine.rows import Outcome
from stepwell.engine.timers import Timers
from stepwell.interpreter import events
from stepwell.interpreter.effects import (
    AnyEffect,
    CancelTask,
    CancelTimer,
    CloseMapRun,
    EmitHistory,
    Finish,
    OpenMapRun,
    ReadItems,
    RedriveChild,
    RunTask,
    SetTimer,
    StartChild,
    StopChild,
    UpdateMapRun,
    WriteResults,
)
from stepwell.interpreter.identity import Identity

if TYPE_CHECKING:
    from stepwell.engine.clock import Clock
    from stepwell.engine.eventlog import EventLog
    from stepwell.engine.journal import Journal
    from stepwell.engine.registry import Registry
    from stepwell.engine.rows import ExecutionRow

__all__ = ["Host", "Observer"]

log = logging.getLogger("stepwell.engine")

HISTORY_CHUNK = 100
"""Events in a row of the history: the default page of GetExecutionHistory."""
LIVE_LIMIT = 2_000
"""So many executions stay in memory although they only wait."""
SNAPSHOT_BYTES = 64 * 1024
"""An execution's state is saved when its inputs since the last time are longer than this, and than the state was."""
INBOX_SLICE = 64
"""Inputs handled before the loop gets a turn."""
WAKE = -1
"""The timer that stands for all timers of an execution that is not in memory."""

_WORK = (RunTask, ReadItems, StartChild, RedriveChild, WriteResults)
_CANCEL = (CancelTask, StopChild)
_PROJECTIONS = (OpenMapRun, UpdateMapRun, CloseMapRun)
_ANSWERS = (
    events.TaskSucceeded,
    events.TaskFailed,
    events.ItemsRead,
    events.ChildFinished,
    events.ResultsWritten,
)

Observer = Callable[[Identity, list[dict[str, Any]]], None]
"""Gets each batch of committed history events with the execution they belong to."""


class Outside(Protocol):
    """What carries out the effects that leave the host."""

    def project(self, live: Live, effect: AnyEffect) -> None:
        """Write what a map run's effect says to the journal's batch, with the input that caused it."""
        ...

    def carry_out(self, live: Live, effects: list[AnyEffect], *, again: bool = False) -> None:
        """Begin the effects' work, `again` after the execution was rebuilt. Answers come as events. Must not raise."""
        ...


class Rebuilder(Protocol):
    """What brings executions back from the journal."""

    def rebuild(self, id: int) -> Live | None:
        """An open execution; None if it is closed."""
        ...

    def replay(self, row: ExecutionRow) -> Live:
        """The execution of a row, open or ended."""
        ...


class Seeds:
    """Random numbers for inputs, drawn from the system in blocks: task tokens come of them, so nobody may guess them."""

    def __init__(self) -> None:
        self._block = b""
        self._position = 0

    def __call__(self) -> int:
        """63 random bits."""
        position = self._position
        if position >= len(self._block):
            self._block = os.urandom(4096)
            position = 0
        self._position = position + 8
        return int.from_bytes(self._block[position : position + 8], "little") >> 1


class Host:
    """Runs executions."""

    def __init__(self, journal: Journal, registry: Registry, clock: Clock, metrics: Metrics) -> None:
        self.journal = journal
        self.registry = registry
        self.clock = clock
        self.metrics = metrics
        self.seed = Seeds()
        self.timers = Timers(clock, self._ring)
        self.live: OrderedDict[int, Live] = OrderedDict()
        self.express: dict[str, Live] = {}
        """EXPRESS executions by ARN, while they run."""
        self.outside: Outside | None = None
        self.recovery: Rebuilder
        """Set by the engine, like `outside`."""
        self.observers: list[Observer] = []
        self.log: EventLog | None = None
        """Writes what state machines' logging configurations ask for."""
        self.on_end: list[Callable[[Live], None]] = []
        self.running: dict[str, int] = {}
        """How many executions of a state machine are open."""
        self._waiters: dict[int, list[asyncio.Future[Live | None]]] = {}
        self._inbox: deque[Callable[[], None]] = deque()
        self._inbox_scheduled = False
        self._last_express = 0
        self._evict_at = LIVE_LIMIT
        self.closing = False

    # -- into an execution

    def next_express_id(self) -> int:
        """A number for an EXPRESS execution."""
        self._last_express -= 1
        return self._last_express

    def begin(self, live: Live, effects: list[AnyEffect]) -> None:
        """A new execution was started by the interpreter (and its row is in the journal's batch)."""
        self.live[live.id] = live
        if live.express:
            self.express[live.identity.execution_arn] = live
        machine = live.resource.partition("/")[0]
        self.running[machine] = self.running.get(machine, 0) + 1
        self.metrics.started(live.identity.type)
        self._advance(live, effects)
        if len(self.live) > self._evict_at:
            self._evict()

    def get(self, id: int) -> Live | None:
        """The open execution, rebuilt if it is not in memory; None if it is not open."""
        live = self.live.get(id)
        if live is None and id > 0:
            live = self.recovery.rebuild(id)
            if live is not None:
                self.adopt(live)
        return live

    def adopt(self, live: Live) -> None:
        """Take an execution that was rebuilt from the journal, with its timers."""
        self.timers.cancel(live.id, WAKE)
        self.live[live.id] = live
        for timer, due in live.timers.items():
            self.timers.set(live.id, timer, due)
        if len(self.live) > self._evict_at:
            self._evict()

    def resume(self, live: Live, redriven: events.Redriven) -> None:
        """Open an ended execution again (its row says so already)."""
        self.live[live.id] = live
        machine = live.resource.partition("/")[0]
        self.running[machine] = self.running.get(machine, 0) + 1
        live.opened = None
        self.handle(live, redriven)

    def handle(self, live: Live, event: events.AnyEvent) -> None:
        """Give an event to the interpreter, and journal it."""
        if live.execution.status != "RUNNING" and not isinstance(event, events.Redriven):
            return
        self.live.move_to_end(live.id)
        if isinstance(event, _ANSWERS):
            live.work.discard(event.command)
            live.tasks.pop(event.command, None)
        try:
            effects = live.execution.handle(event)
        except Exception:
            self._discard(live)
            raise
        if not live.express:
            live.sequence += 1
            data = events.encode(event)
            self.journal.add_input(live.id, live.sequence, data)
            live.since_snapshot += len(data)
        live.at = event.at
        self._advance(live, effects)

    def _discard(self, live: Live) -> None:
        """The interpreter failed in the middle of an event: what is in memory cannot be trusted, what is in the journal can."""
        log.error("%s is left as it was before an event that could not be handled", live.identity.execution_arn)
        self.journal.flush()
        self.live.pop(live.id, None)
        for timer in live.timers:
            self.timers.cancel(live.id, timer)
        for task in list(live.tasks.values()):
            if task is not asyncio.current_task():
                task.cancel()

    def at(self, live: Live) -> int:
        """The time for the next input of an execution."""
        return max(self.clock.now(), live.at)

    def post(self, id: int, make: Callable[[int, int], events.AnyEvent]) -> None:
        """Deliver an event soon, in order; `make(at, seed)` makes it. Dropped if the execution is not open any more."""

        def deliver() -> None:
            live = self.get(id)
            if live is not None:
                self.handle(live, make(self.at(live), self.seed()))

        self.soon(deliver)

    def soon(self, work: Callable[[], None]) -> None:
        """Do something soon, in order, in slices that leave others their turn."""
        self._inbox.append(work)
        if not self._inbox_scheduled:
            self._inbox_scheduled = True
            asyncio.get_running_loop().call_soon(self._read_inbox)

    def _read_inbox(self) -> None:
        inbox = self._inbox
        for _ in range(min(len(inbox), INBOX_SLICE)):
            try:
                inbox.popleft()()
            except Exception:
                log.exception("an execution could not be continued")
        if inbox:
            asyncio.get_running_loop().call_soon(self._read_inbox)
        else:
            self._inbox_scheduled = False

    def _ring(self, id: int, timer: int) -> None:
        live = self.get(id)
        if live is None or timer == WAKE:
            return  # a rebuilt execution's own timers ring next
        live.timers.pop(timer, None)
        self.handle(live, events.TimerFired(self.at(live), self.seed(), timer))

    # -- out of an execution

    def _advance(self, live: Live, effects: list[AnyEffect]) -> None:
        out: list[AnyEffect] | None = None
        finish: Finish | None = None
        for effect in effects:
            kind = type(effect)
            if kind is EmitHistory:
                self._record(live, effect.events)  # type: ignore[union-attr]
            elif kind is SetTimer:
                live.timers[effect.timer] = effect.due  # type: ignore[union-attr]
                self.timers.set(live.id, effect.timer, effect.due)  # type: ignore[union-attr]
            elif kind is CancelTimer:
                if live.timers.pop(effect.timer, None) is not None:  # type: ignore[union-attr]
                    self.timers.cancel(live.id, effect.timer)  # type: ignore[union-attr]
            elif kind is Finish:
                finish = effect  # type: ignore[assignment]
            elif kind in _PROJECTIONS:
                if self.outside is not None:
                    self.outside.project(live, effect)
            else:
                if kind in _WORK:
                    live.work.add(effect.command)  # type: ignore[union-attr]
                elif kind in _CANCEL:
                    live.work.discard(effect.command)  # type: ignore[union-attr]
                if out is None:
                    out = []
                out.append(effect)
        if finish is not None:
            self._finish(live, finish)
        if live.express:
            if out is not None or finish is not None:
                asyncio.get_running_loop().call_soon(self._settled, live, out, finish is not None)
            return
        if finish is None:
            self.note_open(live)
            if live.since_snapshot > SNAPSHOT_BYTES and live.since_snapshot > live.snapshot_size:
                self._save(live)
        if out is not None or finish is not None:
            self.journal.after_commit(partial(self._settled, live, out, finish is not None))
        live.number = self.journal.number

    def _record(self, live: Live, history: list[dict[str, Any]]) -> None:
        if not live.express:
            first = history[0]["id"]
            count = len(history)
            if count <= HISTORY_CHUNK:
                self.journal.add_history(live.id, first, first + count - 1, orjson.dumps(history))
            else:
                for start in range(0, count, HISTORY_CHUNK):
                    chunk = history[start : start + HISTORY_CHUNK]
                    self.journal.add_history(live.id, chunk[0]["id"], chunk[-1]["id"], orjson.dumps(chunk))
        if self.log is not None:
            configuration = self.registry.revision(live.revision).logging
            if configuration.get("level", "OFF") != "OFF":
                self._log(live, history, configuration)
        if self.observers:
            if live.express:
                self._notify(live, history)
            else:
                self.journal.after_commit(partial(self._notify, live, history))

    def _log(self, live: Live, history: list[dict[str, Any]], configuration: dict[str, Any]) -> None:
        redrives = live.execution.redrive_count

        def write() -> None:
            if self.log is not None:
                try:
                    self.log.write(live.identity, history, configuration, redrives)
                except Exception:
                    log.exception("execution events could not be logged")

        if live.express:
            write()
        else:
            self.journal.after_commit(write)

    def _notify(self, live: Live, history: list[dict[str, Any]]) -> None:
        for observer in list(self.observers):
            try:
                observer(live.identity, history)
            except Exception:
                log.exception("an observer of execution events failed")

    def note_open(self, live: Live) -> None:
        """Journal whether the execution is busy or waits, if that changed."""
        if live.express:
            return
        busy = bool(live.work)
        state = (busy, None if busy or not live.timers else min(live.timers.values()))
        if state != live.opened:
            live.opened = state
            self.journal.set_open(live.id, *state)
            live.number = self.journal.number

    def _save(self, live: Live) -> None:
        data = live.execution.dump()
        self.journal.put_snapshot(live.id, live.sequence, data)
        live.snapshot_size = len(data)
        live.since_snapshot = 0

    def _finish(self, live: Live, finish: Finish) -> None:
        for timer in live.timers:
            self.timers.cancel(live.id, timer)
        live.timers.clear()
        live.work.clear()
        if live.express:
            return
        execution = live.execution
        outcome = Outcome(
            finish.status,
            live.at,
            execution.redrive_count,
            execution.redrive_time,
            finish.error,
            finish.cause,
            finish.output,
        )
        self.journal.set_outcome(live.id, outcome)
        self.journal.set_closed(live.id)
        live.opened = None

    def _settled(self, live: Live, out: list[AnyEffect] | None, ended: bool) -> None:
        """What was decided is on disk."""
        if out is not None and self.outside is not None and not self.closing:
            self.outside.carry_out(live, out)
        if ended and live.execution.status != "RUNNING":
            self._ended(live)

    def _ended(self, live: Live) -> None:
        self.live.pop(live.id, None)
        self.express.pop(live.identity.execution_arn, None)
        for task in list(live.tasks.values()):
            task.cancel()
        machine = live.resource.partition("/")[0]
        left = self.running.get(machine, 1) - 1
        if left:
            self.running[machine] = left
        else:
            self.running.pop(machine, None)
        self.metrics.ended(live.identity.type, live.execution.status)
        for callback in self.on_end:
            callback(live)
        for waiter in self._waiters.pop(live.id, ()):
            if not waiter.done():
                waiter.set_result(live)

    async def ending(self, id: int) -> Live | None:
        """Wait until an open execution has ended and that is on disk."""
        waiter: asyncio.Future[Live | None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(id, []).append(waiter)
        try:
            with self.clock.waiting():
                return await waiter
        finally:
            waiters = self._waiters.get(id)
            if waiters is not None:  # whoever waited has gone before the end
                waiters.remove(waiter)
                if not waiters:
                    del self._waiters[id]

    # -- memory

    def _evict(self) -> None:
        """Forget the executions that waited longest, except what is busy or not on disk yet."""
        safe = self.journal.safe
        excess = len(self.live) - LIVE_LIMIT
        for live in list(self.live.values()):
            if excess <= 0:
                break
            if live.idle and live.number <= safe and live.execution.status == "RUNNING":
                self.forget(live)
                excess -= 1
        # When most are busy, looking at all of them again for every new one would be slow.
        self._evict_at = max(LIVE_LIMIT, len(self.live)) + LIVE_LIMIT // 8

    def forget(self, live: Live) -> None:
        """Drop an execution from memory; its earliest timer brings it back."""
        del self.live[live.id]
        for timer in live.timers:
            self.timers.cancel(live.id, timer)
        if live.timers:
            self.timers.set(live.id, WAKE, min(live.timers.values()))

    async def stopped(self) -> None:
        """Wait until the running work has ended, after `stop`."""
        tasks = [task for live in self.live.values() for task in live.tasks.values()]
        if tasks:
            await asyncio.wait(tasks)

    def stop(self) -> None:
        """Carry out nothing any more."""
        self.closing = True
        self.timers.stop()
        self._inbox.clear()
        for live in list(self.live.values()):
            for task in list(live.tasks.values()):
                task.cancel()
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.cancel()
