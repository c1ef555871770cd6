"""An execution in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepwell.interpreter.execution import Execution
    from stepwell.interpreter.identity import Identity

__all__ = ["Live"]


class Live:
    """The interpreter's execution, and what its host knows about it.

    `id` is the journal's, or negative for an EXPRESS execution, which is not journaled.
    """

    __slots__ = (
        "activities",
        "at",
        "command",
        "execution",
        "id",
        "identity",
        "number",
        "opened",
        "parent",
        "resource",
        "revision",
        "sequence",
        "since_snapshot",
        "snapshot_size",
        "tasks",
        "timers",
        "work",
    )

    def __init__(self, id: int, execution: Execution, resource: str, revision: int, at: int) -> None:
        self.id = id
        self.execution = execution
        self.identity: Identity = execution.identity
        self.resource = resource
        self.revision = revision
        self.at = at
        """The time of its last input, milliseconds: time never goes back within an execution."""
        self.sequence = 0
        """The number of its last input."""
        self.since_snapshot = 0
        """Bytes of inputs since the last snapshot, or the start."""
        self.snapshot_size = 0
        self.parent: int | None = None
        self.command: int | None = None
        self.timers: dict[int, int] = {}
        """Due times of its timers."""
        self.tasks: dict[int, asyncio.Task[None]] = {}
        """Running work by command."""
        self.activities: dict[int, str] = {}
        """Commands that wait in an activity's queue, with its name."""
        self.work: set[int] = set()
        """Commands that must be carried out again after a restart."""
        self.opened: tuple[bool, int | None] | None = None
        """(busy, wake) as journaled last."""
        self.number = 0
        """The journal batch that holds its last change."""

    @property
    def express(self) -> bool:
        """Whether it lives in memory only."""
        return self.id < 0

    @property
    def idle(self) -> bool:
        """Whether nothing is lost when it is forgotten and rebuilt later."""
        return not self.tasks and len(self.work) == len(self.activities) and self.id > 0
