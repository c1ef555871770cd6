"""Engines for tests, and tasks that a test answers by hand."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from stepwell.engine import Engine, VirtualClock
from stepwell.engine.clock import idle
from stepwell.tasks.requests import Submitted, TaskError, TaskRequest

ROLE = "arn:aws:iam::000000000000:role/test"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:"


class Runner:
    """Answers tasks: by `answers[resource]` (a callable, a value or an exception), else only when the test says so."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.calls: list[TaskRequest] = []
        self.cancelled: list[int] = []
        self.submissions: list[TaskRequest] = []
        self.called = asyncio.Event()
        self.counts: defaultdict[str, int] = defaultdict(int)

    async def run(self, task: TaskRequest, submitted: Submitted) -> bytes | None:
        self.calls.append(task)
        self.called.set()
        name = task.resource.rpartition(":")[2]
        self.counts[name] += 1
        if task.resource.endswith(".waitForTaskToken"):
            if task.submitted is None:
                self.submissions.append(task)
                await submitted(b'{"MessageId":"1"}')
            return None
        if name not in self.answers:
            try:
                with idle():
                    await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.append(task.command)
                raise
        answer = self.answers[name]
        if callable(answer):
            answer = answer(orjson.loads(task.arguments))
            if asyncio.iscoroutine(answer):
                answer = await answer
        if isinstance(answer, TaskError):
            raise answer
        return orjson.dumps(answer)

    async def wait_for_call(self) -> TaskRequest:
        """The next call."""
        await self.called.wait()
        self.called.clear()
        return self.calls[-1]


def task(name: str, **fields: Any) -> dict[str, Any]:
    """A Task state that calls a function, and ends."""
    fields.setdefault("End", "Next" not in fields)
    if not fields["End"]:
        del fields["End"]
    return {"Type": "Task", "Resource": FUNCTION + name, **fields}


def machine(**states: Any) -> dict[str, Any]:
    """A definition whose first state is the first argument."""
    return {"StartAt": next(iter(states)), "States": states}


TOKEN_TASK: dict[str, Any] = {
    "Type": "Task",
    "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
    "Parameters": {"QueueUrl": "https://q", "MessageBody": {"token.$": "$$.Task.Token"}},
    "End": True,
}


def types(events: list[dict[str, Any]]) -> list[str]:
    """The events' types."""
    return [event["type"] for event in events]


@pytest.fixture
def runner() -> Runner:
    return Runner()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def engine(runner: Runner, clock: VirtualClock) -> AsyncIterator[Engine]:
    """In memory, in virtual time, with `runner` for tasks."""
    async with Engine.open(runner=runner, clock=clock) as opened:
        yield opened
