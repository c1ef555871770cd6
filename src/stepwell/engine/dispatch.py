"""Carrying out effects: tasks by the dispatcher, activities by their queues, children and items by the map runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from stepwell.engine.activities import Activities
from stepwell.engine.clock import Clock
from stepwell.engine.errors import JournalError
from stepwell.engine.host import Host
from stepwell.engine.live import Live
from stepwell.engine.mapruns import MapRuns
from stepwell.functions.spec import PoolClosed
from stepwell.interpreter import events
from stepwell.interpreter.effects import (
    AnyEffect,
    CancelTask,
    ReadItems,
    RedriveChild,
    RunTask,
    StartChild,
    StopChild,
    WriteResults,
)
from stepwell.tasks.requests import Submitted, TaskError, TaskRequest

if TYPE_CHECKING:
    from stepwell.engine.mocking import Mocks

__all__ = ["Dispatch", "TaskRunner"]

log = logging.getLogger("stepwell.engine")


Make = Callable[[int, int], events.AnyEvent]
"""Makes an event of the time and a seed."""
Work = Coroutine[Any, Any, Make | None]


class TaskRunner(Protocol):
    """Does the work of tasks: `stepwell.tasks.Dispatcher`, or a test's mocks."""

    async def run(self, task: TaskRequest, submitted: Submitted) -> bytes | None:
        """The result's JSON text, or None when the answer will come by task token. Raises TaskError."""
        ...


class Dispatch:
    """The host's way out."""

    def __init__(
        self,
        host: Host,
        clock: Clock,
        runner: TaskRunner,
        activities: Activities,
        map_runs: MapRuns,
        mocks: Mocks | None = None,
    ) -> None:
        self.host = host
        self.clock = clock
        self.runner = runner
        self.activities = activities
        self.map_runs = map_runs
        self.mocks = mocks
        """Answers the tasks of test cases, in place of the runner."""

    def project(self, live: Live, effect: AnyEffect) -> None:
        """Write what a map run's effect says."""
        self.map_runs.project(live, effect)

    def carry_out(self, live: Live, effects: list[AnyEffect], *, again: bool = False) -> None:
        """Begin the work of effects that are on disk. What was cancelled meanwhile is left out."""
        for effect in effects:
            if isinstance(effect, CancelTask):
                self._cancel(live, effect.command)
            elif isinstance(effect, StopChild):
                self.map_runs.stop_child(live, effect.command)
            elif effect.command in live.work:  # type: ignore[union-attr]
                try:
                    self._begin(live, effect, again)
                except Exception as error:
                    log.exception("%s: %s could not be begun", live.identity.execution_arn, type(effect).__name__)
                    self._fail(live, effect.command, error)  # type: ignore[union-attr]

    def _begin(self, live: Live, effect: AnyEffect, again: bool) -> None:
        if isinstance(effect, RunTask):
            if effect.kind == "activity":
                self.activities.offer(live, effect)
            else:
                self.run(live, effect.command, effect.resource, lambda: self._run_task(live, effect))
        elif isinstance(effect, StartChild | RedriveChild):
            self.host.soon(lambda: self._start_child(live, effect, again))
        elif isinstance(effect, ReadItems):
            self.run(live, effect.command, "itemReader", lambda: self.map_runs.read_items(live, effect))
        elif isinstance(effect, WriteResults):
            self.run(live, effect.command, "resultWriter", lambda: self.map_runs.write_results(live, effect))

    def _start_child(self, live: Live, effect: StartChild | RedriveChild, again: bool) -> None:
        if effect.command not in live.work:
            return  # stopped meanwhile
        try:
            self.map_runs.start_child(live, effect, again)
        except Exception as error:
            log.exception("%s: a child execution could not be started", live.identity.execution_arn)
            cause = f"{type(error).__name__}: {error}"
            self.map_runs.report(live.id, effect.command, "FAILED", None, "States.Runtime", cause)

    def _cancel(self, live: Live, command: int) -> None:
        task = live.tasks.pop(command, None)
        if task is not None:
            task.cancel()
        self.activities.withdraw(live, command)

    def _fail(self, live: Live, command: int, error: Exception) -> None:
        cause = f"{type(error).__name__}: {error}"
        self.host.post(live.id, lambda at, seed: events.TaskFailed(at, seed, command, "States.Runtime", cause))

    def run(self, live: Live, command: int, resource: str, work: Callable[[], Work]) -> None:
        """Run work that ends in an event (or in None: no answer yet) as a task of the loop."""
        live.tasks[command] = asyncio.get_running_loop().create_task(self._run(live, command, resource, work))

    async def _run(self, live: Live, command: int, resource: str, work: Callable[[], Work]) -> None:
        host = self.host
        began = time.perf_counter()
        outcome = "succeeded"
        try:
            with self.clock.running():
                make = await self._persist(work)
        except asyncio.CancelledError:
            host.metrics.task(resource, "cancelled", time.perf_counter() - began)
            raise
        except PoolClosed:
            return  # the engine is closing: the task runs again at the next start
        except TaskError as error:
            outcome = "failed"
            make = _failure(command, error)
        except Exception as error:
            log.exception("%s: the task %s failed inside of the engine", live.identity.execution_arn, resource)
            outcome = "failed"
            make = _failure(command, TaskError("States.Runtime", f"{type(error).__name__}: {error}"))
        if host.closing or live.tasks.get(command) is not asyncio.current_task():
            return
        if make is None:
            outcome = "submitted"
            del live.tasks[command]
            live.work.discard(command)
            host.note_open(live)
        else:
            host.handle(live, make(host.at(live), host.seed()))
        host.metrics.task(resource, outcome, time.perf_counter() - began)

    async def _persist(self, work: Callable[[], Work]) -> Make | None:
        """Do the work; what the journal could not take (a nested execution's start, say) is done again once it can."""
        while True:
            try:
                return await work()
            except JournalError as error:
                log.warning("a task waits for the journal: %s", error)
                await self.host.journal.writable()

    async def _run_task(self, live: Live, effect: RunTask) -> Make | None:
        command = effect.command

        async def submitted(output: bytes) -> None:
            self.host.handle(live, events.TaskSubmitted(self.host.at(live), self.host.seed(), command, output))
            while not live.express:
                try:
                    await self.host.journal.committed()
                    break
                except JournalError:
                    await self.host.journal.writable()  # the request was accepted: it must not be sent again

        mocked = None if self.mocks is None else self.mocks.of(live, effect)
        if mocked is not None:
            output: bytes | None = await mocked.run(effect, submitted)
        else:
            output = await self.runner.run(TaskRequest.of(effect, live.identity), submitted)
        if output is None:
            return None
        return lambda at, seed: events.TaskSucceeded(at, seed, command, output)


def _failure(command: int, error: TaskError) -> Make:
    return lambda at, seed: events.TaskFailed(
        at, seed, command, error.error, error.cause, None, error.phase, error.timeout
    )
