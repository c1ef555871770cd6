"""What the journal keeps, as Python values: rows of executions, and the batch that the next transaction writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

__all__ = ["Batch", "ExecutionRow", "Outcome"]


class ExecutionRow(msgspec.Struct, gc=False):
    """A row of `executions`, in the order of its columns. Times are milliseconds since the epoch, payloads JSON text."""

    id: int
    resource: str
    name: str
    revision: int
    version: int | None
    alias: str | None
    parent: int | None
    command: int | None
    map_run: str | None
    item_count: int | None
    trace_header: str | None
    seed: int
    start: int
    stop: int | None
    status: str
    redrive_count: int
    redrive_date: int | None
    error: str | None
    cause: str | None
    input: bytes
    output: bytes | None


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """The columns of an execution that change."""

    status: str
    stop: int | None = None
    redrive_count: int = 0
    redrive_date: int | None = None
    error: str | None = None
    cause: str | None = None
    output: bytes | None = None


class Batch:
    """What the next transaction writes."""

    __slots__ = (
        "callbacks",
        "deleted",
        "documents",
        "history",
        "inputs",
        "map_runs",
        "names",
        "number",
        "opened",
        "outcomes",
        "size",
        "snapshots",
        "started",
        "waiters",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.started: dict[int, ExecutionRow] = {}
        self.names: dict[tuple[str, str], ExecutionRow] = {}
        self.outcomes: dict[int, Outcome] = {}
        self.inputs: list[tuple[int, bytes]] = []
        self.history: list[tuple[int, int, bytes]] = []
        self.snapshots: dict[int, tuple[int, bytes]] = {}
        self.opened: dict[int, tuple[int, int | None] | None] = {}
        self.map_runs: dict[str, tuple[int, int, bytes]] = {}
        self.documents: dict[tuple[str, str], bytes | None] = {}
        self.deleted: list[int] = []
        self.callbacks: list[Callable[[], None]] = []
        self.waiters: list[asyncio.Future[None]] = []
        self.size = 0
