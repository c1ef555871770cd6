"""The embedded host.

async with Engine.open("./data") as engine:
    machine = await engine.load("machine.asl.json", functions={"greet": greet})
    execution = await machine.start({"name": "Ada"}, name="first")
    async for event in execution.events():
        print(event["type"])
    result = await execution
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from stepwell.engine.activities import Activities
from stepwell.engine.callbacks import Callbacks
from stepwell.engine.executions import Executions
from stepwell.engine.handles import Execution, Machine
from stepwell.engine.machines import Machines
from stepwell.engine.mapruns import MapRuns
from stepwell.project.project import Project

__all__ = ["Engine"]

Durability = Literal["process", "power"]


class Engine:
    """One journal, one event loop, everything that runs on them."""

    machines: Machines
    executions: Executions
    activities: Activities
    callbacks: Callbacks
    map_runs: MapRuns

    @classmethod
    def open(
        cls,
        directory: str | Path | None = None,
        *,
        durability: Durability = "process",
        account: str = "123456789012",
        region: str = "us-east-1",
        partition: str = "aws",
        aws_endpoint: str | None = None,
    ) -> Engine:
        """An engine on a data directory (made if absent), or in memory without one. Use it as `async with`.

        durability: "process" (default): what was acknowledged survives `kill -9` and a crash of the program at any moment; a power
            loss or kernel crash may take the last commits, never the consistency. "power": every commit waits for the disk.
        Raises DirectoryInUse, JournalTooNew, JournalCorrupt, JournalBusy, JournalFull on entering.
        """
        raise NotImplementedError

    async def __aenter__(self) -> Engine:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop in order: running tasks are cancelled without an answer, and run again at the next start."""
        raise NotImplementedError

    async def load(
        self,
        definition: str | Path | Mapping[str, Any],
        *,
        name: str | None = None,
        type: Literal["STANDARD", "EXPRESS"] = "STANDARD",
        functions: Mapping[str, Callable[..., Any]] | None = None,
        substitutions: Mapping[str, str] | None = None,
        role_arn: str | None = None,
    ) -> Machine:
        """Register a definition (file or dict), create or update; `functions` run inline, by name or ARN in the definition."""
        raise NotImplementedError

    async def load_project(self, project: Project) -> dict[str, Machine]:
        """Register a project's machines, functions and schedules, idempotently. Gives its machines by their key."""
        raise NotImplementedError

    def machine(self, name_or_arn: str) -> Machine:
        """A registered machine. Raises StateMachineDoesNotExist."""
        raise NotImplementedError

    def execution(self, arn: str) -> Execution:
        """An execution by its ARN. Raises ExecutionDoesNotExist."""
        raise NotImplementedError

    def subscribe(self, observer: Callable[[str, list[dict[str, Any]]], None]) -> Callable[[], None]:
        """Call `observer(execution_arn, events)` with each batch of committed history events; gives the unsubscriber."""
        raise NotImplementedError
