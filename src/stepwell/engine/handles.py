"""What a program holds: a machine to start, an execution to await."""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator
from typing import TYPE_CHECKING, Any

import orjson

from stepwell.engine.errors import ExecutionFailed, StateMachineTypeNotSupported
from stepwell.engine.records import ExecutionRecord

if TYPE_CHECKING:
    from stepwell.engine.engine import Engine

__all__ = ["Execution", "Machine"]


class Machine:
    """A registered state machine: `machine = await engine.load("machine.asl.json")`."""

    def __init__(self, engine: Engine, arn: str, type: str) -> None:
        self.engine = engine
        self.arn = arn
        self.type = type
        """STANDARD or EXPRESS."""

    def __repr__(self) -> str:
        return f"<Machine {self.arn}>"

    @property
    def name(self) -> str:
        """Its name."""
        return self.arn.split(":")[6]

    async def start(self, input: Any = None, *, name: str | None = None) -> Execution:
        """Start a STANDARD execution; `input` is any JSON value (None: `{}`). It is on disk when this returns.

        Raises the errors of `Executions.start`; StateMachineTypeNotSupported for an EXPRESS machine, whose executions cannot
        be looked at (`run` gives their output).
        """
        if self.type == "EXPRESS":
            raise StateMachineTypeNotSupported
        started = await self.engine.executions.start(self.arn, _text(input), name=name)
        return Execution(self.engine, started.execution_arn)

    async def run(self, input: Any = None, *, name: str | None = None) -> Any:
        """Start, wait, and give the output as a Python value. Raises ExecutionFailed."""
        if self.type != "EXPRESS":
            return _output(*await self.engine.executions.run(self.arn, _text(input), name=name))
        record = await self.engine.executions.start_sync(self.arn, _text(input), name=name)
        return _output(record.execution_arn, record.status, record.output, record.error, record.cause)


class Execution:
    """A STANDARD execution: `result = await execution`, `async for event in execution.events(): ...`."""

    def __init__(self, engine: Engine, arn: str) -> None:
        self.engine = engine
        self.arn = arn

    def __repr__(self) -> str:
        return f"<Execution {self.arn} {self.status}>"

    def __await__(self) -> Generator[Any, None, Any]:
        """The output as a Python value, once it ended. Raises ExecutionFailed."""
        return self._result().__await__()

    async def _result(self) -> Any:
        record = await self.wait()
        return _output(self.arn, record.status, record.output, record.error, record.cause)

    async def wait(self) -> ExecutionRecord:
        """Wait for the end, however it ends."""
        return await self.engine.executions.wait(self.arn)

    def describe(self) -> ExecutionRecord:
        """How it stands now."""
        return self.engine.executions.describe(self.arn)

    @property
    def name(self) -> str:
        """Its name."""
        return self.arn.split(":")[7]

    @property
    def status(self) -> str:
        """RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED."""
        return self.engine.executions.status(self.arn)

    def events(self, *, after: int = 0) -> AsyncIterator[dict[str, Any]]:
        """The history so far and every new event as it happens, until the end."""
        return self.engine.executions.events(self.arn, after=after)

    def history(self) -> list[dict[str, Any]]:
        """The whole history so far."""
        events: list[dict[str, Any]] = []
        token = None
        while True:
            page = self.engine.executions.history(self.arn, next_token=token)
            events.extend(page.items)
            token = page.next_token
            if token is None:
                return events

    async def stop(self, *, error: str | None = None, cause: str | None = None) -> None:
        """Abort it."""
        await self.engine.executions.stop(self.arn, error=error, cause=cause)

    async def redrive(self) -> None:
        """Continue it from the states that did not succeed."""
        await self.engine.executions.redrive(self.arn)


def _text(input: Any) -> bytes:
    return b"{}" if input is None else orjson.dumps(input, option=orjson.OPT_NON_STR_KEYS)


def _output(arn: str, status: str, output: str | bytes | None, error: str | None, cause: str | None) -> Any:
    if status != "SUCCEEDED":
        raise ExecutionFailed(arn, status, error, cause)
    return orjson.loads(output or "null")
