"""What a program holds: a machine to start, an execution to await."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from typing import TYPE_CHECKING, Any

from stepwell.engine.records import ExecutionRecord

if TYPE_CHECKING:
    from stepwell.engine.engine import Engine

__all__ = ["Execution", "Machine"]


class Machine:
    """A registered state machine: `machine = await engine.load("machine.asl.json")`."""

    def __init__(self, engine: Engine, arn: str) -> None:
        self.engine = engine
        self.arn = arn

    async def start(self, input: Any = None, *, name: str | None = None) -> Execution:
        """Start an execution; `input` is any JSON value (None: `{}`). It is on disk when this returns."""
        raise NotImplementedError

    async def run(self, input: Any = None, *, name: str | None = None) -> Any:
        """Start, wait, and give the output as a Python value. Raises ExecutionFailed."""
        raise NotImplementedError


class Execution:
    """An execution: `result = await execution`, `async for event in execution.events(): ...`."""

    def __init__(self, engine: Engine, arn: str) -> None:
        self.engine = engine
        self.arn = arn

    def __await__(self) -> Generator[Any, None, Any]:
        """The output as a Python value, once it ended. Raises ExecutionFailed."""
        raise NotImplementedError

    async def wait(self) -> ExecutionRecord:
        """Wait for the end, however it ends."""
        raise NotImplementedError

    def describe(self) -> ExecutionRecord:
        """How it stands now."""
        raise NotImplementedError

    @property
    def status(self) -> str:
        """RUNNING, SUCCEEDED, FAILED, TIMED_OUT, ABORTED or PENDING_REDRIVE."""
        raise NotImplementedError

    def events(self, *, after: int = 0) -> AsyncIterator[dict[str, Any]]:
        """The history so far and every new event as it happens, until the end."""
        raise NotImplementedError

    def history(self) -> list[dict[str, Any]]:
        """The whole history so far."""
        raise NotImplementedError

    async def stop(self, *, error: str | None = None, cause: str | None = None) -> None:
        """Abort it."""
        raise NotImplementedError

    async def redrive(self) -> None:
        """Continue it from the states that did not succeed."""
        raise NotImplementedError
