"""An engine for a test: in memory, in virtual time, with mocks for its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from stepwell.engine.clock import VirtualClock
from stepwell.engine.engine import Engine
from stepwell.engine.handles import Execution, Machine
from stepwell.interpreter.identity import Identity
from stepwell.tasks.requests import Submitted, TaskError, TaskRequest
from stepwell.testing.mocks import Mock, Mocks
from stepwell.testing.run import Run

if TYPE_CHECKING:
    from stepwell.project.project import Project

__all__ = ["BlockingHarness", "Harness", "TestMachine"]

T = TypeVar("T")
Kind = Literal["STANDARD", "EXPRESS"]


class Harness:
    """For tests that are coroutines: `async with Harness() as stepwell: ...`."""

    def __init__(self, start: datetime | None = None) -> None:
        """`start`: the virtual time at the begin, an aware datetime. Default: 2026-01-01T00:00:00Z."""
        self.clock = VirtualClock() if start is None else VirtualClock(round(start.timestamp() * 1000))
        self._mocks = Mocks(self.clock)
        self.engine = Engine.open(clock=self.clock, runner=self._mocks)
        self._answers: set[asyncio.Task[None]] = set()
        self._entered: dict[tuple[str, int], str] = {}

    async def __aenter__(self) -> Harness:
        await self.engine.__aenter__()
        self._mocks.beyond = self._beyond
        self._mocks.answer_token = self._answer_soon
        self.engine.subscribe(self._watch_activities)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in list(self._answers):
            task.cancel()
        await self.engine.__aexit__(kind, error, trace)
        if self._mocks.problems and error is None:
            raise self._mocks.problems[0]

    # -- for tests

    async def load(
        self,
        definition: str | Path | Mapping[str, Any],
        *,
        name: str | None = None,
        type: Kind = "STANDARD",
        functions: Mapping[str, Callable[..., Any]] | None = None,
        substitutions: Mapping[str, str] | None = None,
    ) -> TestMachine:
        """A machine of a definition (file or dict); `functions` really run. `${name}` of anything else may stay: mock it."""
        from stepwell.engine.loading import placeholders

        given = {
            **{function: self.engine.arns.function(function) for function in functions or {}},
            **(substitutions or {}),
        }
        for placeholder in placeholders(definition):
            given.setdefault(placeholder, self.engine.arns.function(placeholder.rpartition(".")[2]))
        machine = await self.engine.load(definition, name=name, type=type, functions=functions, substitutions=given)
        await self._create_activities(machine)
        return TestMachine(self, machine)

    async def load_project(self, project: Project) -> dict[str, TestMachine]:
        """A project's machines by their key; its functions run in their worker processes unless they are mocked."""
        machines = await self.engine.load_project(project, schedules=False)
        for machine in machines.values():
            await self._create_activities(machine)
        return {key: TestMachine(self, machine) for key, machine in machines.items()}

    def mock(self, name: str, *answers: Any) -> Mock:
        """Let a state (by its name) or a resource (`my-function`, `sqs:sendMessage`, an ARN) answer; see `Mock`.

        A state's mock goes before its resource's. `.waitForTaskToken` tasks and activities are answered by their token.
        """
        if not answers:
            raise ValueError(f"the mock of {name!r} needs an answer, such as None, a result, or Failure('Error')")
        mock = self._mocks.mocks[name] = Mock(name, answers)
        return mock

    async def advance(self, seconds: float) -> None:
        """Let virtual time pass."""
        await self.clock.advance(seconds)

    # -- answering

    async def _beyond(self, request: TaskRequest, submitted: Submitted) -> bytes | None:
        """What no mock answers: functions that were given, nested executions of machines that were loaded."""
        from stepwell.functions.spec import UnknownFunction

        resource = request.resource
        if request.kind == "lambda":
            try:
                self.engine.functions.resolve(resource)
            except UnknownFunction:
                raise self._mocks._unmocked(request) from None
        elif not resource.startswith(("arn:aws:states:::states:", "arn:aws:states:::lambda:")):
            raise self._mocks._unmocked(request)
        return await self.engine.dispatcher.run(request, submitted)

    def _answer_soon(self, token: str, answer: Coroutine[Any, Any, bytes]) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(token, answer))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _answer(self, token: str, answer: Coroutine[Any, Any, bytes]) -> None:
        from stepwell.engine.errors import TaskTimedOut

        try:
            with self.clock.running():
                output = await answer
        except TaskError as error:
            sending = self.engine.callbacks.fail(token, error=error.error, cause=error.cause)
        else:
            sending = self.engine.callbacks.succeed(token, output)
        try:
            await sending
        except TaskTimedOut:
            return  # the test let it time out

    def _watch_activities(self, identity: Identity, events: list[dict[str, Any]]) -> None:
        arn = identity.execution_arn
        for event in events:
            entered = event.get("stateEnteredEventDetails")
            name = entered["name"] if entered else self._entered.get((arn, event["previousEventId"]), "")
            self._entered[arn, event["id"]] = name
            if event["type"] == "ActivityScheduled":
                resource = event["activityScheduledEventDetails"]["resource"]
                mock = self._mocks.find(name, resource)
                if mock is not None:
                    self._work_soon(mock, name, resource)

    def _work_soon(self, mock: Mock, state: str, activity_arn: str) -> None:
        async def work() -> None:
            job = await self.engine.activities.get_task(activity_arn, worker_name="mock", wait_seconds=0)
            if job is None:
                return
            request = TaskRequest(
                command=0,
                kind="activity",
                resource=activity_arn,
                arguments=job.input.encode(),
                state=state,
                execution_arn="",
                execution_name="",
                state_machine_arn=self.engine.arns.machine("mock"),
                role_arn="",
                token=job.task_token,
            )
            answer, given = mock.next(request)
            await self._answer(job.task_token, self._mocks.resolve(answer, given))

        task = asyncio.get_running_loop().create_task(work())
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)

    async def _create_activities(self, machine: Machine) -> None:
        from stepwell.engine.loading import activities_in

        prefix = self.engine.arns.activity("")
        for arn in activities_in(self.engine.machines.describe(machine.arn).definition):
            if arn.startswith(prefix):
                await self.engine.activities.create(arn.removeprefix(prefix))


class TestMachine:
    """A machine under test."""

    __test__ = False  # not a test class for pytest

    def __init__(self, harness: Harness, machine: Machine) -> None:
        self.harness = harness
        self.machine = machine
        self.arn = machine.arn

    async def start(self, input: Any = None, *, name: str | None = None) -> Execution:
        """Start an execution and go on with the test; STANDARD only."""
        return await self.machine.start(input, name=name)

    async def run(self, input: Any = None, *, name: str | None = None) -> Run:
        """Run to the end, in virtual time."""
        if self.machine.type == "EXPRESS":
            return await self._run_express(input, name)
        execution = await self.machine.start(input, name=name)
        record = await execution.wait()
        return Run(record, execution.history())

    async def _run_express(self, input: Any, name: str | None) -> Run:
        import orjson

        seen: dict[str, list[dict[str, Any]]] = {}
        unsubscribe = self.harness.engine.subscribe(
            lambda who, events: seen.setdefault(who.execution_arn, []).extend(events)
        )
        try:
            text = orjson.dumps({} if input is None else input)
            record = await self.harness.engine.executions.start_sync(self.arn, text, name=name)
        finally:
            unsubscribe()
        return Run(record, seen.get(record.execution_arn, []))


class BlockingHarness:
    """For plain test functions: the fixture `stepwell`. Nothing runs between its calls, time included."""

    def __init__(self, start: datetime | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._harness = Harness(start)
        self.clock = self._harness.clock

    def __enter__(self) -> BlockingHarness:
        self.call(self._harness.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.call(self._harness.__aexit__(kind, error, trace))
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    @property
    def engine(self) -> Engine:
        """The engine; run its coroutines with `call`."""
        return self._harness.engine

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the harness's loop."""
        return self._loop.run_until_complete(work)

    def load(
        self,
        definition: str | Path | Mapping[str, Any],
        *,
        name: str | None = None,
        type: Kind = "STANDARD",
        functions: Mapping[str, Callable[..., Any]] | None = None,
        substitutions: Mapping[str, str] | None = None,
    ) -> BlockingTestMachine:
        """See `Harness.load`."""
        loading = self._harness.load(definition, name=name, type=type, functions=functions, substitutions=substitutions)
        return BlockingTestMachine(self, self.call(loading))

    def load_project(self, project: Project) -> dict[str, BlockingTestMachine]:
        """See `Harness.load_project`."""
        machines = self.call(self._harness.load_project(project))
        return {key: BlockingTestMachine(self, machine) for key, machine in machines.items()}

    def mock(self, name: str, *answers: Any) -> Mock:
        """See `Harness.mock`."""
        return self._harness.mock(name, *answers)

    def advance(self, seconds: float) -> None:
        """Let virtual time pass, and what is due happen."""
        self.call(self._harness.advance(seconds))


class BlockingTestMachine:
    """See `TestMachine`."""

    __test__ = False

    def __init__(self, harness: BlockingHarness, machine: TestMachine) -> None:
        self._harness = harness
        self._machine = machine
        self.arn = machine.arn

    def start(self, input: Any = None, *, name: str | None = None) -> Execution:
        """Start an execution; `stepwell.advance(seconds)` lets it go on."""
        return self._harness.call(self._machine.start(input, name=name))

    def run(self, input: Any = None, *, name: str | None = None) -> Run:
        """Run to the end, in virtual time."""
        return self._harness.call(self._machine.run(input, name=name))
