"""Map runs: the visible side of distributed Map states, and their child executions."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from stepwell.engine.clock import Clock
from stepwell.engine.errors import ExecutionDoesNotExist, ResourceNotFound, ValidationException
from stepwell.engine.host import Host
from stepwell.engine.journal import Journal
from stepwell.engine.launching import launch, launch_express
from stepwell.engine.live import Live
from stepwell.engine.paging import decode_token, encode_token, limit_of
from stepwell.engine.records import MapRunListItem, MapRunRecord, Page
from stepwell.engine.registry import Registry
from stepwell.engine.rows import ExecutionRow, Outcome
from stepwell.interpreter import events
from stepwell.interpreter.effects import (
    AnyEffect,
    CloseMapRun,
    OpenMapRun,
    ReadItems,
    RedriveChild,
    StartChild,
    UpdateMapRun,
    WriteResults,
)

__all__ = ["ItemPort", "MapRuns", "Outcomes", "has_express_children", "pointer_of"]

EXPRESS_ROWS = ":express"
"""Ends the resource of the rows that hold the outcomes of EXPRESS children for a ResultWriter; no ARN names them."""


class MapRunDocument(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A map run as the journal keeps it. Times are milliseconds."""

    arn: str
    execution_arn: str
    command: int
    state: str
    execution_type: str
    start: int
    max_concurrency: int
    tolerated_count: int | None = None
    tolerated_percentage: float | None = None
    status: str = "RUNNING"
    stop: int | None = None
    item_counts: dict[str, int] = {}
    execution_counts: dict[str, int] = {}
    redrive_count: int = 0
    redrive_date: int | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(MapRunDocument).decode


class Outcomes(Protocol):
    """The ended child executions of a map run, for a ResultWriter."""

    def page(self, after: int, limit: int) -> list[ExecutionRow]:
        """Children with an id greater than `after`, oldest first, with payloads."""
        ...


class ItemPort(Protocol):
    """Reads the items of an ItemReader, writes the results of a ResultWriter (`stepwell.tasks`)."""

    async def read(self, request: ReadItems, role_arn: str) -> tuple[bytes, str | None, list[tuple[int, str]] | None]:
        """A page of items as a JSON array, the cursor of the next page, and what ItemsRead says of sources. Raises TaskError."""
        ...

    async def write(self, request: WriteResults, role_arn: str, outcomes: Outcomes) -> bytes:
        """Export; gives the JSON the Map state gets as its result. Raises TaskError."""
        ...


def has_express_children(journal: Journal, arn: str) -> bool:
    """Whether a map run's children are EXPRESS executions, which nobody can list."""
    found = journal.map_run(arn)
    return found is not None and _decode(found[1]).execution_type == "EXPRESS"


def pointer_of(journal: Journal, arn: str) -> str:
    """The JSON pointer of a map run's Map state."""
    found = journal.map_run(arn)
    if found is None:
        raise KeyError(f"the journal has no map run {arn}")
    return _decode(found[1]).state


class MapRuns:
    """`engine.map_runs`."""

    def __init__(
        self, host: Host, journal: Journal, registry: Registry, clock: Clock, items: ItemPort | None = None
    ) -> None:
        self._host = host
        self._journal = journal
        self._registry = registry
        self._clock = clock
        self._items = items
        self._open: dict[str, MapRunDocument] = {}
        """Map runs that run, as far as they were needed."""
        self._children: dict[tuple[int, int], int] = {}
        """Running children by (parent, command)."""
        self._exported: dict[int, tuple[ExecutionRow, bool]] = {}
        """The rows of running EXPRESS children for a ResultWriter, and whether the journal has them (from before a redrive)."""
        host.on_end.append(self._child_ended)

    # -- for the API

    def describe(self, map_run_arn: str) -> MapRunRecord:
        """DescribeMapRun. Raises ResourceNotFound."""
        found = self._journal.map_run(map_run_arn)
        if found is None:
            raise ResourceNotFound(resource=map_run_arn)
        run = _decode(found[1])
        return MapRunRecord(
            map_run_arn=run.arn,
            execution_arn=run.execution_arn,
            status=run.status,
            start_date=run.start / 1000,
            max_concurrency=run.max_concurrency,
            tolerated_failure_percentage=float(run.tolerated_percentage or 0),
            tolerated_failure_count=run.tolerated_count or 0,
            item_counts=run.item_counts,
            execution_counts=run.execution_counts,
            redrive_count=run.redrive_count,
            stop_date=None if run.stop is None else run.stop / 1000,
            redrive_date=None if run.redrive_date is None else run.redrive_date / 1000,
        )

    def list(
        self, execution_arn: str, *, max_results: int = 100, next_token: str | None = None
    ) -> Page[MapRunListItem]:
        """ListMapRuns of an execution, newest first."""
        from stepwell.engine.executions import execution_key

        limit = limit_of(max_results)
        resource, name = execution_key(execution_arn, self._registry.arns)
        found = self._journal.status(resource, name)
        if found is None:
            raise ExecutionDoesNotExist(execution_arn)
        offset = 0 if next_token is None else decode_token("map_runs", next_token)
        runs = [_decode(data) for data in self._journal.map_runs(found[0], limit=limit + 1, offset=offset)]
        items = [
            MapRunListItem(
                execution_arn=execution_arn,
                map_run_arn=run.arn,
                state_machine_arn=self._registry.arns.machine(run.arn.split(":")[6]),
                start_date=run.start / 1000,
                stop_date=None if run.stop is None else run.stop / 1000,
            )
            for run in runs[:limit]
        ]
        return Page(items, encode_token("map_runs", offset + limit) if len(runs) > limit else None)

    async def update(
        self,
        map_run_arn: str,
        *,
        max_concurrency: int | None = None,
        tolerated_failure_count: int | None = None,
        tolerated_failure_percentage: float | None = None,
    ) -> None:
        """UpdateMapRun of a running map run. Raises ResourceNotFound, ValidationException."""
        self._journal.check()
        found = self._journal.map_run(map_run_arn)
        live = self._host.get(found[0]) if found is not None else None
        if found is None:
            raise ResourceNotFound(resource=map_run_arn)
        run = self._run(map_run_arn)
        if live is None or run is None or run.status != "RUNNING":
            raise ValidationException("Map Run is not running and cannot be updated")
        self._host.handle(
            live,
            events.MapRunChanged(
                self._host.at(live),
                self._host.seed(),
                map_run_arn,
                max_concurrency,
                tolerated_failure_count,
                tolerated_failure_percentage,
            ),
        )
        if max_concurrency is not None:
            run.max_concurrency = max_concurrency
        if tolerated_failure_count is not None:
            run.tolerated_count = tolerated_failure_count
        if tolerated_failure_percentage is not None:
            run.tolerated_percentage = tolerated_failure_percentage
        self._put(live, run)
        await self._journal.committed()

    # -- projections, written with the input that caused them

    def project(self, live: Live, effect: AnyEffect) -> None:
        """Write what OpenMapRun, UpdateMapRun or CloseMapRun says."""
        if live.express:
            return
        if isinstance(effect, OpenMapRun):
            old = self._run(effect.map_run_arn)
            run = MapRunDocument(
                arn=effect.map_run_arn,
                execution_arn=live.identity.execution_arn,
                command=effect.command,
                state=effect.state,
                execution_type=effect.execution_type,
                start=live.at if old is None else old.start,
                max_concurrency=effect.max_concurrency,
                tolerated_count=effect.tolerated_failure_count,
                tolerated_percentage=effect.tolerated_failure_percentage,
                redrive_count=effect.redrive_count,
                redrive_date=live.at if effect.redrive_count else None,
            )
            self._open[run.arn] = run
        elif isinstance(effect, UpdateMapRun | CloseMapRun):
            found = self._run(effect.map_run_arn)
            if found is None:
                return
            run = found
            if isinstance(effect, UpdateMapRun):
                run.item_counts = effect.item_counts
                run.execution_counts = effect.execution_counts
            else:
                run.status = effect.status
                run.stop = live.at
                self._open.pop(run.arn, None)
        else:
            return
        self._put(live, run)

    def _run(self, arn: str) -> MapRunDocument | None:
        run = self._open.get(arn)
        if run is None:
            found = self._journal.map_run(arn)
            if found is None:
                return None
            run = _decode(found[1])
            if run.status == "RUNNING":
                self._open[arn] = run
        return run

    def _put(self, live: Live, run: MapRunDocument) -> None:
        self._journal.put_map_run(run.arn, live.id, run.start, _encode(run))

    # -- children

    def start_child(self, live: Live, effect: StartChild | RedriveChild, again: bool) -> None:
        """Start a child execution, or redrive one. `again`: it may exist already, and may have ended."""
        key = (live.id, effect.command)
        if key in self._children:
            return
        resource = effect.map_run_arn.split(":", 6)[6].rpartition(":")[0]
        if effect.execution_type == "EXPRESS":
            self._start_express(live, effect, resource, again)
            return
        row = self._journal.find(resource, effect.name) if again or isinstance(effect, RedriveChild) else None
        if row is None:
            child = launch(
                self._host,
                self._journal,
                self._registry,
                self._clock,
                resource=resource,
                name=effect.name,
                input=effect.input or b"{}",
                revision=live.revision,
                parent=live,
                command=effect.command,
                map_run=effect.map_run_arn,
                pointer=effect.state,
                item_count=effect.item_count,
            )
        elif row.status == "RUNNING":
            found = self._host.get(row.id)
            if found is None:
                return
            child = found
            child.command = effect.command
        elif isinstance(effect, RedriveChild) and not self._settled(live, row):
            child = self._redrive(row, effect.command)
        else:
            self.report(live.id, effect.command, row.status, row.output, row.error, row.cause)
            return
        self._children[key] = child.id

    def _start_express(self, live: Live, effect: StartChild | RedriveChild, resource: str, again: bool) -> None:
        """An EXPRESS child, from the beginning. With a ResultWriter its outcome is on disk before it counts, and it only."""
        row = None
        if effect.exported and (again or isinstance(effect, RedriveChild)):
            row = self._journal.find(resource + EXPRESS_ROWS, effect.name)
            if row is not None and (isinstance(effect, StartChild) or self._settled(live, row)):
                self.report(live.id, effect.command, row.status, row.output, row.error, row.cause)
                return
        input = effect.input or b"{}"
        child = launch_express(
            self._host,
            self._registry,
            self._clock,
            resource=resource,
            name=effect.name,
            unique=effect.name,
            input=input,
            revision=live.revision,
            parent=live,
            command=effect.command,
            map_run=effect.map_run_arn,
            pointer=effect.state,
        )
        self._children[live.id, effect.command] = child.id
        if not effect.exported:
            return
        if row is not None:
            row.redrive_count += 1
            row.redrive_date = child.at
            self._exported[child.id] = row, True
            return
        row = ExecutionRow(
            id=self._journal.next_id(),
            resource=resource + EXPRESS_ROWS,
            name=effect.name,
            revision=live.revision,
            version=None,
            alias=None,
            parent=live.id,
            command=effect.command,
            map_run=effect.map_run_arn,
            item_count=effect.item_count,
            trace_header=None,
            seed=0,
            start=child.at,
            stop=None,
            status="RUNNING",
            redrive_count=0,
            redrive_date=None,
            error=None,
            cause=None,
            input=input,
            output=None,
        )
        self._exported[child.id] = row, False

    def _keep(self, child: Live) -> None:
        """Journal how an EXPRESS child ended, if that is to be exported."""
        found = self._exported.pop(child.id, None)
        if found is None:
            return
        row, known = found
        execution = child.execution
        outcome = Outcome(
            execution.status,
            child.at,
            row.redrive_count,
            row.redrive_date,
            execution.error,
            execution.cause,
            execution.output,
        )
        if not known:
            self._journal.start_execution(row)
        self._journal.set_outcome(row.id, outcome)

    def _settled(self, live: Live, row: ExecutionRow) -> bool:
        """Whether there is nothing to redrive: the child succeeded while its parent gave it up, or was redriven already."""
        if row.status == "SUCCEEDED":
            return True
        since = live.execution.redrive_time
        return since is not None and row.redrive_date is not None and row.redrive_date >= since

    def _redrive(self, row: ExecutionRow, command: int) -> Live:
        recovery = self._host.recovery
        child = recovery.replay(row)
        child.command = command
        at = self._host.at(child)
        self._journal.set_outcome(row.id, Outcome("RUNNING", None, row.redrive_count + 1, at))
        self._host.resume(child, events.Redriven(at, self._host.seed()))
        return child

    def stop_child(self, live: Live, command: int) -> None:
        """Abort a child."""
        id = self._children.get((live.id, command))
        if id is not None:
            self._host.post(id, lambda at, seed: events.StopRequested(at, seed))

    def _child_ended(self, child: Live) -> None:
        if child.parent is None or child.command is None:
            return
        self._children.pop((child.parent, child.command), None)
        self._keep(child)
        execution = child.execution
        self.report(child.parent, child.command, execution.status, execution.output, execution.error, execution.cause)

    def report(
        self, parent: int, command: int, status: str, output: bytes | None, error: str | None, cause: str | None
    ) -> None:
        """Tell the parent how a child ended."""
        self._host.post(parent, lambda at, seed: events.ChildFinished(at, seed, command, status, output, error, cause))

    # -- items and results

    async def read_items(self, live: Live, effect: ReadItems) -> Any:
        """A page of items, as the event's maker."""
        from stepwell.tasks.requests import TaskError

        if self._items is None:
            raise TaskError("States.ItemReaderFailed", "This engine has no item readers.")
        items, cursor, sources = await self._items.read(effect, live.identity.role_arn)
        return lambda at, seed: events.ItemsRead(at, seed, effect.command, items, cursor, sources)

    async def write_results(self, live: Live, effect: WriteResults) -> Any:
        """The export's answer, as the event's maker."""
        from stepwell.tasks.requests import TaskError

        if self._items is None:
            raise TaskError("States.ResultWriterFailed", "This engine has no result writers.")
        await self._journal.committed()
        outcomes = _Children(self._journal, effect.map_run_arn)
        output = await self._items.write(effect, live.identity.role_arn, outcomes)
        return lambda at, seed: events.ResultsWritten(at, seed, effect.command, output)


class _Children:
    """The children of a map run in the journal."""

    def __init__(self, journal: Journal, map_run_arn: str) -> None:
        self._journal = journal
        self._arn = map_run_arn

    def page(self, after: int, limit: int) -> list[ExecutionRow]:
        return self._journal.children(self._arn, after, limit)
