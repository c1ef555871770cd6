"""Back to where an execution was: its snapshot, and every input after it."""

from __future__ import annotations

import asyncio
import logging

from stepwell.engine.host import WAKE, Host
from stepwell.engine.journal import Journal
from stepwell.engine.launching import identity_of
from stepwell.engine.live import Live
from stepwell.engine.registry import Registry
from stepwell.engine.rows import ExecutionRow
from stepwell.interpreter import events, load, start
from stepwell.interpreter.effects import AnyEffect, ReadItems, RedriveChild, RunTask, SetTimer, StartChild, WriteResults

__all__ = ["Recovery"]

log = logging.getLogger("stepwell.engine")

TOKEN_SUFFIX = ".waitForTaskToken"  # noqa: S105
SLICE_SECONDS = 0.02
"""So long the loop may be kept busy by rebuilding before others get a turn."""


class Recovery:
    """Rebuilds executions, one by one when they are needed again or all that are busy at the start."""

    def __init__(self, host: Host, journal: Journal, registry: Registry) -> None:
        self.host = host
        self.journal = journal
        self.registry = registry

    def rebuild(self, id: int) -> Live | None:
        """An open execution as it was after its last input; None if it is closed."""
        row = self.journal.execution(id)
        if row is None or row.status != "RUNNING":
            return None
        live = self.replay(row)
        waiting = self._restore(live)
        live.opened = (bool(live.work), None if live.work or not live.timers else min(live.timers.values()))
        if waiting:
            # What is carried out again may answer at once; the caller has an event to deliver first.
            asyncio.get_running_loop().call_soon(self._again, live, waiting)
        return live

    def replay(self, row: ExecutionRow) -> Live:
        """The execution of a row, open or ended, from its inputs."""
        pointer = ""
        if row.map_run is not None:
            from stepwell.engine.mapruns import pointer_of

            pointer = pointer_of(self.journal, row.map_run)
        machine = self.registry.compiled(row.revision, pointer)
        snapshot = self.journal.snapshot(row.id)
        at = row.start
        if snapshot is not None:
            sequence, data = snapshot
            execution = load(machine, data)
            size = len(data)
        else:
            sequence, size = 0, 0
            parent = self.journal.execution(row.parent) if row.parent is not None else None
            parent_arn = None if parent is None else self.registry.arns.execution(parent.resource, parent.name)
            identity = identity_of(row, self.registry, parent_arn)
            execution, _ = start(machine, row.input, identity, at=row.start, seed=row.seed)
        since = 0
        for number, data in self.journal.inputs(row.id, sequence):
            sequence = number
            event = events.decode(data)
            execution.handle(event)
            at = max(at, event.at)
            since += len(data)
        live = Live(row.id, execution, row.resource, row.revision, at)
        live.sequence = sequence
        live.since_snapshot = since
        live.snapshot_size = size
        live.parent = row.parent
        live.command = row.command
        return live

    def _restore(self, live: Live) -> list[AnyEffect]:
        """Set timers and work from what is pending; gives what must be carried out again."""
        again: list[AnyEffect] = []
        for effect in live.execution.pending():
            if isinstance(effect, SetTimer):
                live.timers[effect.timer] = effect.due
            elif isinstance(effect, RunTask | ReadItems | StartChild | RedriveChild | WriteResults):
                if isinstance(effect, RunTask) and _is_waiting(effect):
                    continue
                live.work.add(effect.command)
                again.append(effect)
        return again

    def _again(self, live: Live, effects: list[AnyEffect]) -> None:
        if self.host.outside is not None and not self.host.closing and self.host.live.get(live.id) is live:
            self.host.outside.carry_out(live, effects, again=True)

    async def recover(self) -> int:
        """Take up every open execution; gives their number. Those that only wait cost a timer until they go on."""
        count = 0
        busy = []
        for id, is_busy, wake, resource in self.journal.open_executions():
            count += 1
            machine = resource.partition("/")[0]
            self.host.running[machine] = self.host.running.get(machine, 0) + 1
            if is_busy:
                busy.append(id)
            elif wake is not None:
                self.host.timers.set(id, WAKE, wake)
        loop = asyncio.get_running_loop()
        pause = loop.time() + SLICE_SECONDS
        for id in busy:
            try:
                self.host.get(id)
            except Exception:
                # One execution that cannot be rebuilt must not keep the others from running.
                log.exception("execution %d cannot be rebuilt from the journal; it stays open and is left alone", id)
            if loop.time() > pause:
                await asyncio.sleep(0)
                pause = loop.time() + SLICE_SECONDS
        return count


def _is_waiting(effect: RunTask) -> bool:
    """Whether the task is in other hands, which answer by its token."""
    if effect.kind == "activity":
        return effect.taken
    return effect.submitted is not None and effect.resource.endswith(TOKEN_SUFFIX)
