"""The engine without `async`: for scripts and notebooks.

with stepwell.open("./data") as engine:
    machine = engine.load("machine.asl.json", functions={"greet": greet})
    print(machine.run({"name": "Ada"}))
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from stepwell.engine.engine import Engine
from stepwell.engine.handles import Execution, Machine
from stepwell.engine.records import ExecutionRecord

if TYPE_CHECKING:
    from stepwell.project.project import Project

__all__ = ["BlockingEngine", "BlockingExecution", "BlockingMachine", "new_loop", "open", "run"]

T = TypeVar("T")


def new_loop() -> asyncio.AbstractEventLoop:
    """A uvloop where there is one, else asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def run(
    definition: str | Path | Mapping[str, Any],
    input: Any = None,
    *,
    directory: str | Path | None = None,
    name: str | None = None,
    type: Literal["STANDARD", "EXPRESS"] = "STANDARD",
    functions: Mapping[str, Callable[..., Any]] | None = None,
    substitutions: Mapping[str, str] | None = None,
) -> Any:
    """Run a state machine once and give its output. Raises ExecutionFailed, DefinitionError.

    Without a `directory` nothing is kept. With one the run is durable: the same call with the same `name` after a crash waits
    for the execution that was started before.
    """
    with open(directory) as engine:
        machine = engine.load(definition, type=type, functions=functions, substitutions=substitutions)
        return machine.run(input, name=name)


def open(directory: str | Path | None = None, **options: Any) -> BlockingEngine:
    """An engine whose methods block; use it in a `with` statement. `options` are those of `Engine.open`."""
    return BlockingEngine(Engine.open(directory, **options))


class BlockingEngine:
    """An engine on an event loop in a thread of its own. Executions run there, also between the calls."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        """The engine itself; its coroutines must run on this object's loop (`call`)."""
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._serve, name="stepwell", daemon=True)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def __enter__(self) -> BlockingEngine:
        self._thread.start()
        try:
            self.call(self.engine.__aenter__())
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: builtins.type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.call(self.engine.__aexit__(kind, error, trace))
        finally:
            self._end()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the engine's loop and wait for it. Ctrl-C cancels it."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def read(self, function: Callable[[], T]) -> T:
        """Run a plain function on the engine's loop."""

        async def once() -> T:
            return function()

        return self.call(once())

    def load(
        self,
        definition: str | Path | Mapping[str, Any],
        *,
        name: str | None = None,
        type: Literal["STANDARD", "EXPRESS"] = "STANDARD",
        functions: Mapping[str, Callable[..., Any]] | None = None,
        substitutions: Mapping[str, str] | None = None,
    ) -> BlockingMachine:
        """See `Engine.load`."""
        loading = self.engine.load(definition, name=name, type=type, functions=functions, substitutions=substitutions)
        return BlockingMachine(self, self.call(loading))

    def load_project(self, project: Project, *, schedules: bool = True) -> dict[str, BlockingMachine]:
        """See `Engine.load_project`."""
        machines = self.call(self.engine.load_project(project, schedules=schedules))
        return {key: BlockingMachine(self, machine) for key, machine in machines.items()}

    def machine(self, name_or_arn: str) -> BlockingMachine:
        """See `Engine.machine`."""
        return BlockingMachine(self, self.read(lambda: self.engine.machine(name_or_arn)))

    def execution(self, arn: str) -> BlockingExecution:
        """See `Engine.execution`."""
        return BlockingExecution(self, self.read(lambda: self.engine.execution(arn)))


class BlockingMachine:
    """See `Machine`."""

    def __init__(self, engine: BlockingEngine, machine: Machine) -> None:
        self._engine = engine
        self._machine = machine

    @property
    def arn(self) -> str:
        """Its ARN."""
        return self._machine.arn

    def start(self, input: Any = None, *, name: str | None = None) -> BlockingExecution:
        """Start an execution; it is on disk when this returns."""
        return BlockingExecution(self._engine, self._engine.call(self._machine.start(input, name=name)))

    def run(self, input: Any = None, *, name: str | None = None) -> Any:
        """Start, wait, and give the output. Raises ExecutionFailed."""
        return self._engine.call(self._machine.run(input, name=name))


class BlockingExecution:
    """See `Execution`."""

    def __init__(self, engine: BlockingEngine, execution: Execution) -> None:
        self._engine = engine
        self._execution = execution

    @property
    def arn(self) -> str:
        """Its ARN."""
        return self._execution.arn

    @property
    def status(self) -> str:
        """RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED."""
        return self._engine.read(lambda: self._execution.status)

    def result(self) -> Any:
        """Wait for the end and give the output. Raises ExecutionFailed."""

        async def wait() -> Any:
            return await self._execution

        return self._engine.call(wait())

    def wait(self) -> ExecutionRecord:
        """Wait for the end, however it ends."""
        return self._engine.call(self._execution.wait())

    def describe(self) -> ExecutionRecord:
        """How it stands now."""
        return self._engine.read(self._execution.describe)

    def history(self) -> list[dict[str, Any]]:
        """The whole history so far."""
        return self._engine.read(self._execution.history)

    def events(self) -> Iterator[dict[str, Any]]:
        """The history so far and every new event as it happens, until the end."""
        events: AsyncIterator[dict[str, Any]] = self._execution.events()
        try:
            while True:
                try:
                    yield self._engine.call(events.__anext__())  # type: ignore[arg-type]
                except StopAsyncIteration:
                    return
        finally:
            with contextlib.suppress(AttributeError):
                self._engine.call(events.aclose())  # type: ignore[attr-defined]

    def stop(self, *, error: str | None = None, cause: str | None = None) -> None:
        """Abort it."""
        self._engine.call(self._execution.stop(error=error, cause=cause))

    def redrive(self) -> None:
        """Continue it from the states that did not succeed."""
        self._engine.call(self._execution.redrive())
