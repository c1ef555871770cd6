"""Activities: queues of tasks that workers outside of the engine take by long polling."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from stepwell.engine.arns import check_name, parse
from stepwell.engine.clock import Clock
from stepwell.engine.errors import ActivityAlreadyExists, ActivityDoesNotExist
from stepwell.engine.host import Host
from stepwell.engine.live import Live
from stepwell.engine.machines import merge_tags
from stepwell.engine.paging import page
from stepwell.engine.records import ActivityRecord, ActivityTask, Page
from stepwell.engine.registry import ActivityDocument, Registry
from stepwell.interpreter import events
from stepwell.interpreter.effects import RunTask

__all__ = ["Activities"]

POLL_SECONDS = 60.0


class _Waiting(msgspec.Struct, frozen=True):
    """A task in a queue."""

    execution: int
    command: int
    token: str
    input: bytes


class _Queue:
    """Tasks that wait for a worker, oldest first, or workers that wait for a task, in the order they came."""

    def __init__(self) -> None:
        self.tasks: dict[tuple[int, int], _Waiting] = {}
        self.workers: deque[asyncio.Future[None]] = deque()


class Activities:
    """`engine.activities`."""

    def __init__(self, host: Host, registry: Registry, clock: Clock) -> None:
        self._host = host
        self._registry = registry
        self._clock = clock
        self._queues: dict[str, _Queue] = {}

    # -- for the API

    async def create(
        self,
        name: str,
        *,
        tags: Sequence[Mapping[str, str]] = (),
        encryption_configuration: Mapping[str, Any] | None = None,
    ) -> ActivityRecord:
        """CreateActivity; again with the same name gives the same answer. Raises InvalidName, ActivityAlreadyExists, TooManyTags."""
        self._host.journal.check()
        check_name(name)
        encryption = dict(encryption_configuration) if encryption_configuration else None
        activity = self._registry.activities.get(name)
        if activity is None:
            activity = ActivityDocument(
                name=name, created=self._clock.now(), tags=merge_tags({}, tags), encryption=encryption
            )
            self._registry.put_activity(activity)
        elif activity.encryption != encryption:
            raise ActivityAlreadyExists(self._registry.arns.activity(name))
        await self._host.journal.committed()
        return self._record(activity)

    def describe(self, activity_arn: str) -> ActivityRecord:
        """DescribeActivity. Raises ActivityDoesNotExist, InvalidArn."""
        return self._record(self._activity(activity_arn))

    def list(self, *, max_results: int = 100, next_token: str | None = None) -> Page[ActivityRecord]:
        """ListActivities, by name."""
        activities = self._registry.activities
        names, token = page(sorted(activities), str, max_results, next_token)
        return Page([self._record(activities[name]) for name in names], token)

    async def delete(self, activity_arn: str) -> None:
        """DeleteActivity. Deleting what is gone is no error. Tasks that wait in its queue stay until they time out."""
        self._host.journal.check()
        parsed = parse(activity_arn, "activity")
        self._registry.drop_activity(parsed.parts[0])
        await self._host.journal.committed()

    async def get_task(
        self, activity_arn: str, *, worker_name: str | None = None, wait_seconds: float = POLL_SECONDS
    ) -> ActivityTask | None:
        """GetActivityTask: the oldest waiting task, or None after `wait_seconds` (AWS: 60). Pollers are served in turn.

        The task is a worker's when this returns: that it was taken is on disk.
        """
        self._host.journal.check()
        name = self._activity(activity_arn).name
        queue = self._queues.setdefault(name, _Queue())
        deadline = self._clock.now() + round(wait_seconds * 1000)
        while True:
            taken = await self._take(queue, worker_name) if queue.tasks and not queue.workers else None
            if taken is not None:
                return taken
            left = (deadline - self._clock.now()) / 1000
            if left <= 0 or not await self._turn(queue, left):
                return None
            taken = await self._take(queue, worker_name)
            if taken is not None:
                return taken

    async def _turn(self, queue: _Queue, seconds: float) -> bool:
        """Wait in line until there is a task; False when the time is over."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.workers.append(turn)
        alarm = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            with self._clock.waiting():
                await asyncio.wait([turn, alarm], return_when=asyncio.FIRST_COMPLETED)
            return turn.done()
        finally:
            alarm.cancel()
            if turn in queue.workers:
                queue.workers.remove(turn)
            elif queue.tasks and queue.workers and asyncio.current_task() is not None:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    self._call_worker(queue)  # this worker was called but went away: the next one's turn

    async def _take(self, queue: _Queue, worker: str | None) -> ActivityTask | None:
        while queue.tasks:
            key = next(iter(queue.tasks))
            waiting = queue.tasks.pop(key)
            live = self._host.get(waiting.execution)
            if live is None or live.activities.pop(waiting.command, None) is None:
                continue
            live.work.discard(waiting.command)
            at, seed = self._host.at(live), self._host.seed()
            self._host.handle(live, events.TaskStarted(at, seed, waiting.command, worker))
            if queue.tasks:
                self._call_worker(queue)
            if not live.express:
                await self._host.journal.committed()
            return ActivityTask(task_token=waiting.token, input=waiting.input.decode())
        return None

    # -- for the dispatch

    def offer(self, live: Live, effect: RunTask) -> None:
        """Put a task into its activity's queue, or fail it if there is no such activity."""
        name = effect.resource.rpartition(":")[2]
        activity = self._registry.activities.get(name)
        if activity is None or effect.resource != self._registry.arns.activity(name):
            cause = f"The activity {effect.resource} does not exist."
            self._host.post(
                live.id,
                lambda at, seed: events.TaskFailed(at, seed, effect.command, "States.Runtime", cause, None, "schedule"),
            )
            return
        self._host.handle(live, events.TaskQueued(self._host.at(live), self._host.seed(), effect.command))
        if effect.command not in live.work:
            return
        live.activities[effect.command] = name
        queue = self._queues.setdefault(name, _Queue())
        key = (live.id, effect.command)
        queue.tasks[key] = _Waiting(live.id, effect.command, effect.token or "", effect.arguments)
        self._call_worker(queue)

    def withdraw(self, live: Live, command: int) -> None:
        """Nobody waits for the task any more."""
        name = live.activities.pop(command, None)
        if name is not None:
            self._queues[name].tasks.pop((live.id, command), None)

    def _call_worker(self, queue: _Queue) -> None:
        while queue.workers and queue.tasks:
            turn = queue.workers.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _activity(self, arn: str) -> ActivityDocument:
        parsed = parse(arn, "activity")
        activity = self._registry.activities.get(parsed.parts[0])
        if activity is None or arn != self._registry.arns.activity(activity.name):
            raise ActivityDoesNotExist(arn)
        return activity

    def _record(self, activity: ActivityDocument) -> ActivityRecord:
        return ActivityRecord(
            activity_arn=self._registry.arns.activity(activity.name),
            name=activity.name,
            creation_date=activity.created / 1000,
            encryption_configuration=activity.encryption,
        )
