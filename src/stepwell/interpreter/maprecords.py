"""What a map run is made of: its settings, its counts, and the child executions it started."""

from __future__ import annotations

from typing import Any

import msgspec

from stepwell.interpreter.identity import Identity
from stepwell.interpreter.payload import Payload

__all__ = ["STATE_DATA", "Counts", "MapRun", "Slot", "child_identity"]

STATE_DATA = "STATE_DATA"
"""The context object's Map.Item.Source of items that come from the state's input, not from an ItemReader.

Source: https://docs.aws.amazon.com/step-functions/latest/dg/input-output-contextobject.html#contextobject-map
"""


class Slot(msgspec.Struct, array_like=True):
    """A child execution that was started. `input` is kept while it may have to be started again."""

    command: int
    index: int
    name: str
    items: int
    input: bytes | None


class Counts(msgspec.Struct, array_like=True):
    """How many items, or children, are in which state."""

    pending: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0
    timed_out: int = 0
    aborted: int = 0
    pending_redrive: int = 0

    def api(self, written: int) -> dict[str, int]:
        """As DescribeMapRun has them."""
        return {
            "pending": self.pending,
            "running": self.running,
            "succeeded": self.succeeded,
            "failed": self.failed,
            "timedOut": self.timed_out,
            "aborted": self.aborted,
            "total": self.total,
            "resultsWritten": written,
            "pendingRedrive": self.pending_redrive,
        }

    def move(self, source: str | None, target: str, number: int) -> None:
        if source is not None:
            setattr(self, source, getattr(self, source) - number)
        setattr(self, target, getattr(self, target) + number)

    @property
    def total(self) -> int:
        return (
            self.pending
            + self.running
            + self.succeeded
            + self.failed
            + self.timed_out
            + self.aborted
            + self.pending_redrive
        )

    @property
    def unsuccessful(self) -> int:
        return self.failed + self.timed_out


class MapRun(msgspec.Struct):
    """The state of a map run. `items`, `slots`, `results` and `unsuccessful` are stored apart from the rest."""

    arn: str
    max_concurrency: int
    tolerated_count: int | None
    tolerated_percentage: float | None
    batch_items: int | None = None
    batch_bytes: int | None = None
    batch_input: Any = None
    source: str = STATE_DATA
    sources: list[tuple[int, str]] = msgspec.field(default_factory=list)
    """When several objects are read: (index of the first item, source), for the items that were not started yet."""
    reader: dict[str, Any] | None = None
    writer: dict[str, Any] | None = None
    keep_results: bool = True
    transformation: str | None = None
    remaining: int | None = None
    """Items that may still be read, when MaxItems limits them."""
    cursor: str | None = None
    read_command: int | None = None
    """The page that is being read."""
    write_command: int | None = None
    """The export that is under way."""
    reading: bool = False
    """Whether there are pages that were not read yet."""
    position: int = 0
    """Items started so far: the index of the next one."""
    children: int = 0
    """Children started so far: the index of the next one."""
    offset: int = 0
    """Where the next item is in `page`."""
    results_size: int = 0
    item_counts: Counts = msgspec.field(default_factory=Counts)
    execution_counts: Counts = msgspec.field(default_factory=Counts)
    redrives: int = 0
    again_from: int | None = None
    """In a redrive: children with this index or a higher one, among those that did not succeed, are still to be redriven."""

    # Stored apart.
    page: list[Any] = msgspec.field(default_factory=list)
    keys: list[str] | None = None
    """The keys of the items when the Map iterates over an object."""
    document: Any = None
    slots: dict[int, Slot] = msgspec.field(default_factory=dict)
    results: dict[int, Payload] = msgspec.field(default_factory=dict)
    unsuccessful: dict[int, Slot] = msgspec.field(default_factory=dict)
    again: list[int] = msgspec.field(default_factory=list)
    """The indices of the children that a redrive has still to start, highest first; follows from `again_from`."""

    def awaits(self, command: int) -> bool:
        """Whether an answer for this command would still count."""
        return command in self.slots or command in (self.read_command, self.write_command)


def child_identity(parent: Identity, map_run_arn: str, name: str, execution_type: str, at: int) -> Identity:
    """Who a child execution is. `name` and `execution_type` are those of StartChild; `at` is when the host starts it."""
    prefix, _, run = map_run_arn.partition(":mapRun:")
    label = run.rpartition(":")[0]
    kind = "execution" if execution_type == "STANDARD" else "express"
    suffix = "" if execution_type == "STANDARD" else f":{name}"
    machine = parent.state_machine_arn.rpartition(":stateMachine:")[0]
    return Identity(
        execution_arn=f"{prefix}:{kind}:{label}:{name}{suffix}",
        name=name,
        state_machine_arn=f"{machine}:stateMachine:{label}",
        state_machine_name=label,
        role_arn=parent.role_arn,
        start_time=at,
        type="STANDARD" if execution_type == "STANDARD" else "EXPRESS",
        map_run_arn=map_run_arn,
        parent_execution_arn=parent.execution_arn,
    )
