"""What tasks answer in a test."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from stepwell.engine.clock import VirtualClock, idle
from stepwell.tasks.requests import Submitted, TaskError, TaskRequest

__all__ = ["Failure", "Later", "Mock", "Mocks", "Never", "Unmocked"]


@dataclass(frozen=True)
class Failure:
    """The task fails with this error, as a Retry or Catch sees it."""

    error: str | None
    cause: str | None = None


@dataclass(frozen=True)
class Later:
    """The answer comes after so many seconds of virtual time."""

    seconds: float
    answer: Any


@dataclass(frozen=True)
class Never:
    """No answer ever comes: for timeouts and heartbeats."""


class Unmocked(AssertionError):
    """A task ran that the test said nothing about."""


class Mock:
    """The answers of a state or a resource, in order. A single answer is given each time; of several, each once.

    An answer is a JSON value (the result), a `Failure`, an exception (its class is the error's name), `Later`, `Never`, or a
    callable that gets the task's input and gives one of these; it may be a coroutine function.
    """

    def __init__(self, name: str, answers: tuple[Any, ...]) -> None:
        self.name = name
        self.answers = answers
        self.inputs: list[Any] = []
        """The input of each call, in order."""
        self.requests: list[TaskRequest] = []
        """The calls in full: resource, token, timeouts."""

    @property
    def calls(self) -> int:
        """How often it was called."""
        return len(self.inputs)

    def next(self, request: TaskRequest) -> tuple[Any, Any]:
        """(answer, input) for a call."""
        given = orjson.loads(request.arguments)
        self.inputs.append(given)
        self.requests.append(request)
        if len(self.answers) == 1:
            return self.answers[0], given
        if self.calls > len(self.answers):
            raise Unmocked(
                f"the mock of {self.name!r} has {len(self.answers)} answers and was called once more with {given}"
            )
        return self.answers[self.calls - 1], given


class Mocks:
    """A task runner that answers from mocks; `beyond` runs what is real in a test (functions, nested executions)."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.mocks: dict[str, Mock] = {}
        self.beyond: Callable[[TaskRequest, Submitted], Any] | None = None
        self.answer_token: Callable[[str, Any], Any] | None = None
        self.problems: list[Unmocked] = []

    def find(self, state: str, resource: str) -> Mock | None:
        """The mock of a state's name, of the resource, or of its last part (`my-function`, `sqs:sendMessage`)."""
        bare = resource.removesuffix(".waitForTaskToken").removesuffix(".sync:2").removesuffix(".sync")
        tail = bare.rpartition(":::")[2] if ":::" in bare else bare.rpartition(":")[2]
        for key in (state, resource, bare, tail):
            if key in self.mocks:
                return self.mocks[key]
        return None

    async def run(self, request: TaskRequest, submitted: Submitted) -> bytes | None:
        """Answer a task."""
        mock = self.find(request.state, request.resource)
        if mock is None:
            if self.beyond is not None:
                result: bytes | None = await self.beyond(request, submitted)
                return result
            raise self._unmocked(request)
        try:
            answer, given = mock.next(request)
        except Unmocked as problem:
            self.problems.append(problem)
            raise TaskError("Unmocked", str(problem)) from problem
        if request.resource.endswith(".waitForTaskToken"):
            await submitted(b"{}")
            if self.answer_token is not None:
                self.answer_token(request.token or "", self.resolve(answer, given))
            return None
        return await self.resolve(answer, given)

    def _unmocked(self, request: TaskRequest) -> TaskError:
        problem = Unmocked(
            f"the state {request.state!r} called {request.resource}, which this test does not mock; "
            f"add stepwell.mock({request.state!r}, RESULT)"
        )
        self.problems.append(problem)
        return TaskError("Unmocked", str(problem))

    async def resolve(self, answer: Any, given: Any) -> bytes:
        """The result's JSON text. Raises TaskError."""
        if isinstance(answer, type) and answer is Never:
            answer = Never()
        if callable(answer) and not isinstance(answer, BaseException):
            try:
                answer = answer(given)
                if inspect.isawaitable(answer):
                    answer = await answer
            except TaskError:
                raise
            except Exception as error:
                answer = error
        if isinstance(answer, Never):
            with idle():
                await asyncio.Event().wait()
        if isinstance(answer, Later):
            await self.clock.sleep(answer.seconds)
            return await self.resolve(answer.answer, given)
        if isinstance(answer, Failure):
            raise TaskError(answer.error, answer.cause)
        if isinstance(answer, BaseException):
            cause = {"errorMessage": str(answer), "errorType": type(answer).__name__}
            raise TaskError(type(answer).__name__, orjson.dumps(cause).decode())
        return msgspec.json.encode(answer)
