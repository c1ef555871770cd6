"""Starting, reading, stopping and redriving executions."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from stepwell.engine.arns import Arns, check_name, new_name, new_uuid, parse
from stepwell.engine.clock import Clock
from stepwell.engine.errors import (
    ExecutionAlreadyExists,
    ExecutionDoesNotExist,
    ExecutionNotRedrivable,
    InvalidArn,
    InvalidExecutionInput,
    ResourceNotFound,
    StateMachineDoesNotExist,
    StateMachineTypeNotSupported,
    ValidationException,
)
from stepwell.engine.history import read_history
from stepwell.engine.host import Host
from stepwell.engine.journal import Journal
from stepwell.engine.launching import launch, launch_express
from stepwell.engine.live import Live
from stepwell.engine.mapruns import has_express_children
from stepwell.engine.paging import decode_token, encode_token, limit_of
from stepwell.engine.records import (
    DataDetails,
    ExecutionListItem,
    ExecutionRecord,
    ExecutionStarted,
    Page,
    SyncExecutionRecord,
)
from stepwell.engine.recovery import Recovery
from stepwell.engine.registry import Registry, Target
from stepwell.engine.rows import ExecutionRow, Outcome
from stepwell.interpreter import events
from stepwell.interpreter.identity import Identity

if TYPE_CHECKING:
    from stepwell.engine.mocking import Mocks

__all__ = ["Ended", "Executions", "execution_key"]

PAYLOAD_LIMIT = 262_144
NAME_DAYS = 90
"""So long the name of a closed execution stays taken."""
REDRIVE_DAYS = 14
"""So long a closed execution may be redriven."""
DAY = 86_400_000

_INCLUDED = DataDetails(included=True)
STATUSES = ("RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", "PENDING_REDRIVE")


class Ended(NamedTuple):
    """How an execution ended; the output is JSON text."""

    arn: str
    status: str
    output: str | bytes | None
    error: str | None
    cause: str | None


def execution_key(arn: str, arns: Arns) -> tuple[str, str]:
    """(resource, name) of a STANDARD execution's ARN. Raises InvalidArn, ExecutionDoesNotExist."""
    prefix = f"{arns.prefix}execution:"
    if arn.startswith(prefix):
        resource, colon, name = arn[len(prefix) :].partition(":")
        if colon and resource and name and ":" not in name:
            return resource, name
    parsed = parse(arn, "execution")
    if len(parsed.parts) != 2:
        raise InvalidArn(f"Invalid ARN: {arn}")
    raise ExecutionDoesNotExist(arn)


def check_input(input: str | bytes) -> bytes:
    """An execution's input as JSON text. Raises InvalidExecutionInput."""
    data = input.encode() if isinstance(input, str) else input
    if len(data) > PAYLOAD_LIMIT:
        raise InvalidExecutionInput(f"The input is longer than {PAYLOAD_LIMIT} bytes")
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidExecutionInput(str(error)) from None
    return data


class Executions:
    """`engine.executions`. What a coroutine acknowledges is on disk; reading methods are plain functions and see only that."""

    def __init__(self, host: Host, journal: Journal, registry: Registry, clock: Clock, recovery: Recovery) -> None:
        self._host = host
        self._journal = journal
        self._registry = registry
        self._clock = clock
        self._recovery = recovery
        self.mocks: Mocks | None = None
        """Where there is one, `ARN#TestCase` starts an execution with mocked tasks."""

    # -- starting

    async def start(
        self,
        state_machine_arn: str,
        input: str | bytes = "{}",
        *,
        name: str | None = None,
        trace_header: str | None = None,
    ) -> ExecutionStarted:
        """StartExecution of a state machine, version or alias. Names are unique for 90 days.

        The same name and input while the execution runs gives the same answer; else ExecutionAlreadyExists. Raises
        InvalidArn, InvalidName, InvalidExecutionInput, StateMachineDoesNotExist, StateMachineDeleting.
        """
        self._journal.check()
        target, case = self._target(state_machine_arn)
        data = check_input(input)
        if target.machine.type == "EXPRESS":
            live = self._start_express(target, data, name, case=case)
            return ExecutionStarted(
                execution_arn=live.identity.execution_arn, start_date=live.identity.start_time / 1000
            )
        arn, start, _ = self._start(target, data, name, trace_header, case)
        await self._journal.committed()
        return ExecutionStarted(execution_arn=arn, start_date=start / 1000)

    async def run(self, state_machine_arn: str, input: str | bytes = "{}", *, name: str | None = None) -> Ended:
        """Start a STANDARD execution and wait for its end, both on disk. Raises what `start` raises."""
        self._journal.check()
        target, case = self._target(state_machine_arn)
        arn, _, live = self._start(target, check_input(input), name, None, case)
        if live is not None and live.execution.status != "RUNNING":
            # It never waited: its end is in the batch of its start.
            await self._journal.committed()
            execution = live.execution
            return Ended(arn, execution.status, execution.output, execution.error, execution.cause)
        await self._journal.committed()
        record = await self.wait(arn)
        return Ended(arn, record.status, record.output, record.error, record.cause)

    def _target(self, arn: str) -> tuple[Target, str | None]:
        """What to start, and the test case it is started as."""
        if "#" not in arn:
            return self._registry.target(arn), None
        if self.mocks is None:
            raise ValidationException(
                f"'{arn}' names a test case, and there is no mock configuration file: set SFN_MOCK_CONFIG to its path and "
                "start the server again"
            )
        arn, case = self.mocks.split(arn)
        return self._registry.target(arn), case

    def start_now(self, state_machine_arn: str, input: bytes, name: str) -> None:
        """Start an execution in the journal's present batch, unless one of that name exists."""
        target = self._registry.target(state_machine_arn)
        if target.machine.type == "EXPRESS":
            self._start_express(target, input, name)
        elif not self._exists(target.machine.name, name):
            self._start(target, input, name, None)

    def _exists(self, resource: str, name: str) -> bool:
        return self._journal.starting(resource, name) is not None or self._journal.status(resource, name) is not None

    def _start(
        self, target: Target, data: bytes, name: str | None, trace_header: str | None, case: str | None = None
    ) -> tuple[str, int, Live | None]:
        """Start, or find the same execution; gives its ARN and start, and the new one. It is safe with the journal's next commit."""
        resource = target.machine.name
        if name is None:
            name = new_name(self._clock.now())
        else:
            check_name(name)
            same = self._taken(resource, name, data)
            if same is not None:
                return self._registry.arns.execution(resource, name), same.start, None
        live = launch(
            self._host,
            self._journal,
            self._registry,
            self._clock,
            resource=resource,
            name=name,
            input=data,
            revision=target.revision,
            version=target.version,
            alias=target.alias,
            trace_header=trace_header,
        )
        self._as_case(live, case)
        return live.identity.execution_arn, live.identity.start_time, live

    def _as_case(self, live: Live, case: str | None) -> None:
        """Before the first effect of a new execution is carried out: its tasks are those of a test case."""
        if case is not None and self.mocks is not None:
            self.mocks.begin(live, case)

    def _taken(self, resource: str, name: str, data: bytes) -> ExecutionRow | None:
        """The running execution of that name if it has the same input; None if the name is free."""
        row = self._journal.starting(resource, name) or self._journal.find(resource, name)
        if row is None:
            return None
        if row.stop is not None and row.stop < self._clock.now() - NAME_DAYS * DAY:
            self._journal.delete_execution(row.id)
            self._journal.flush()
            return None
        if row.status != "RUNNING" or not _same_json(row.input, data):
            raise ExecutionAlreadyExists(self._registry.arns.execution(resource, name))
        return row

    def _start_express(
        self, target: Target, data: bytes, name: str | None, *, synchronous: bool = False, case: str | None = None
    ) -> Live:
        live = launch_express(
            self._host,
            self._registry,
            self._clock,
            resource=target.machine.name,
            name=check_name(name) if name is not None else new_uuid(),
            unique=new_uuid(),
            input=data,
            revision=target.revision,
            version=target.version,
            alias=target.alias,
            synchronous=synchronous,
        )
        self._as_case(live, case)
        return live

    async def start_sync(
        self,
        state_machine_arn: str,
        input: str | bytes = "{}",
        *,
        name: str | None = None,
        trace_header: str | None = None,
    ) -> SyncExecutionRecord:
        """StartSyncExecution: EXPRESS only, returns when it ended. It is aborted when the caller is cancelled."""
        target, case = self._target(state_machine_arn)
        if target.machine.type != "EXPRESS":
            raise StateMachineTypeNotSupported
        data = check_input(input)
        live = self._start_express(target, data, name, synchronous=True, case=case)
        try:
            await self._host.ending(live.id)
        except asyncio.CancelledError:
            if not self._host.closing:
                self._host.handle(live, events.StopRequested(self._host.at(live), self._host.seed()))
            raise
        identity, execution = live.identity, live.execution
        duration = max(live.at - identity.start_time, 1)
        return SyncExecutionRecord(
            execution_arn=identity.execution_arn,
            state_machine_arn=identity.state_machine_arn,
            name=identity.name,
            start_date=identity.start_time / 1000,
            stop_date=live.at / 1000,
            status=execution.status,
            billing_details={
                "billedMemoryUsedInMB": 64,
                "billedDurationInMilliseconds": -(-duration // 100) * 100,
            },
            error=execution.error,
            cause=execution.cause,
            input=data.decode(),
            input_details=_INCLUDED,
            output=execution.output.decode() if execution.output is not None else None,
            output_details=_INCLUDED if execution.output is not None else None,
            trace_header=trace_header,
        )

    # -- reading

    def describe(self, execution_arn: str, *, metadata_only: bool = False) -> ExecutionRecord:
        """DescribeExecution. Raises ExecutionDoesNotExist, InvalidArn."""
        return self._record(execution_arn, self._row(execution_arn), metadata_only=metadata_only)

    def _record(self, execution_arn: str, row: ExecutionRow, *, metadata_only: bool) -> ExecutionRecord:
        arns = self._registry.arns
        redrive_status, reason = self._redrivable(row)
        record = ExecutionRecord(
            execution_arn=execution_arn,
            state_machine_arn=arns.machine(row.resource),
            name=row.name,
            status=row.status,
            start_date=row.start / 1000,
            redrive_count=row.redrive_count,
            redrive_status=redrive_status,
            redrive_status_reason=reason,
            stop_date=None if row.stop is None else row.stop / 1000,
            map_run_arn=row.map_run,
            trace_header=row.trace_header,
            state_machine_version_arn=None if row.version is None else arns.machine(row.resource, row.version),
            state_machine_alias_arn=None if row.alias is None else arns.machine(row.resource, row.alias),
            redrive_date=None if row.redrive_date is None else row.redrive_date / 1000,
        )
        if not metadata_only:
            record.input = row.input.decode()
            record.input_details = _INCLUDED
            record.error = row.error
            record.cause = row.cause
            if row.output is not None:
                record.output = row.output.decode()
                record.output_details = _INCLUDED
        return record

    def status(self, execution_arn: str) -> str:
        """Only the status: cheaper than `describe`."""
        found = self._journal.status(*execution_key(execution_arn, self._registry.arns))
        if found is None:
            raise ExecutionDoesNotExist(execution_arn)
        return found[1]

    def list(
        self,
        *,
        state_machine_arn: str | None = None,
        map_run_arn: str | None = None,
        status: str | None = None,
        redrive_filter: str | None = None,
        max_results: int = 100,
        next_token: str | None = None,
    ) -> Page[ExecutionListItem]:
        """ListExecutions of a state machine, version, alias or map run, newest first. All there are when neither is given.

        `redrive_filter` is REDRIVEN or NOT_REDRIVEN.
        """
        limit = limit_of(max_results)
        if status is not None and status not in STATUSES:
            raise ValidationException(
                f"1 validation error detected: Value '{status}' at 'statusFilter' failed to satisfy constraint: "
                f"Member must satisfy enum value set: [{', '.join(STATUSES)}]"
            )
        resource = version = alias = None
        if map_run_arn is not None:
            if self._journal.map_run(map_run_arn) is None:
                parse(map_run_arn, "mapRun")
                raise ResourceNotFound(resource=map_run_arn)
            if has_express_children(self._journal, map_run_arn):
                return Page([], None)
        elif state_machine_arn is not None:
            resource, version, alias = self._listed(state_machine_arn)
        rows = self._journal.executions(
            resource=resource,
            map_run=map_run_arn,
            status=status,
            version=version,
            alias=alias,
            redriven=None if redrive_filter is None else redrive_filter == "REDRIVEN",
            before=None if next_token is None else decode_token("executions", next_token),
            limit=limit + 1,
        )
        token = encode_token("executions", rows[limit - 1].id) if len(rows) > limit else None
        return Page([self._item(row) for row in rows[:limit]], token)

    def _listed(self, arn: str) -> tuple[str, int | None, str | None]:
        parsed = parse(arn, "stateMachine")
        name = parsed.parts[0].partition("/")[0]
        machine = self._registry.machines.get(name)
        if machine is None or not arn.startswith(self._registry.arns.prefix):
            raise StateMachineDoesNotExist(arn)
        if machine.type == "EXPRESS":
            raise StateMachineTypeNotSupported
        if len(parsed.parts) == 1:
            return parsed.parts[0], None, None
        qualifier = parsed.parts[1]
        if qualifier in self._registry.aliases[name]:
            return name, None, qualifier
        if qualifier.isdecimal():
            return name, int(qualifier), None
        raise StateMachineDoesNotExist(arn)

    def _item(self, row: ExecutionRow) -> ExecutionListItem:
        arns = self._registry.arns
        return ExecutionListItem(
            execution_arn=arns.execution(row.resource, row.name),
            state_machine_arn=arns.machine(row.resource),
            name=row.name,
            status=row.status,
            start_date=row.start / 1000,
            redrive_count=row.redrive_count,
            stop_date=None if row.stop is None else row.stop / 1000,
            map_run_arn=row.map_run,
            item_count=row.item_count,
            state_machine_version_arn=None if row.version is None else arns.machine(row.resource, row.version),
            state_machine_alias_arn=None if row.alias is None else arns.machine(row.resource, row.alias),
            redrive_date=None if row.redrive_date is None else row.redrive_date / 1000,
        )

    def _row(self, arn: str) -> ExecutionRow:
        row = self._journal.find(*execution_key(arn, self._registry.arns))
        if row is None:
            raise ExecutionDoesNotExist(arn)
        return row

    def history(
        self,
        execution_arn: str,
        *,
        max_results: int = 1000,
        reverse: bool = False,
        next_token: str | None = None,
        include_data: bool = True,
    ) -> Page[dict[str, Any]]:
        """GetExecutionHistory: events in AWS's wire shape, `timestamp` in seconds as a float."""
        data, token = self.history_json(
            execution_arn,
            max_results=max_results,
            reverse=reverse,
            next_token=next_token,
            include_data=include_data,
        )
        return Page(orjson.loads(data), token)

    def history_json(
        self,
        execution_arn: str,
        *,
        max_results: int = 100,
        reverse: bool = False,
        next_token: str | None = None,
        include_data: bool = True,
    ) -> tuple[bytes, str | None]:
        """The same as the JSON text of an array, mostly copied as it lies in the journal, and the next token."""
        limit = limit_of(max_results)
        found = self._journal.status(*execution_key(execution_arn, self._registry.arns))
        if found is None:
            raise ExecutionDoesNotExist(execution_arn)
        position = None if next_token is None else decode_token("history", next_token)
        data, following = read_history(
            self._journal, found[0], position, limit, reverse=reverse, include_data=include_data
        )
        return data, None if following is None else encode_token("history", following)

    # -- stopping and redriving

    async def stop(self, execution_arn: str, *, error: str | None = None, cause: str | None = None) -> float:
        """StopExecution; gives the stop date. Stopping a closed execution changes nothing."""
        self._journal.check()
        found = self._journal.status(*execution_key(execution_arn, self._registry.arns))
        if found is None:
            raise ExecutionDoesNotExist(execution_arn)
        live = self._host.get(found[0]) if found[1] == "RUNNING" else None
        if live is not None:
            self._host.handle(live, events.StopRequested(self._host.at(live), self._host.seed(), error, cause))
            await self._journal.committed()
            return live.at / 1000
        row = self._row(execution_arn)
        return (row.stop or self._clock.now()) / 1000

    def _redrivable(self, row: ExecutionRow) -> tuple[str, str | None]:
        """DescribeExecution's redriveStatus and redriveStatusReason. Source: recordings of DescribeExecution and its documentation."""
        if row.status in ("RUNNING", "SUCCEEDED"):
            return "NOT_REDRIVABLE", f"Execution is {row.status} and cannot be redriven"
        if row.map_run is not None:
            return "REDRIVABLE_BY_MAP_RUN", None
        if row.stop is not None and row.stop < self._clock.now() - REDRIVE_DAYS * DAY:
            return "NOT_REDRIVABLE", "Execution exceeded the redrivable period and cannot be redriven"
        return "REDRIVABLE", None

    async def redrive(self, execution_arn: str, *, client_token: str | None = None) -> float:
        """RedriveExecution; gives the redrive date. Raises ExecutionNotRedrivable.

        A repeated request with the `client_token` of the redrive that is running gives the same answer.
        """
        self._journal.check()
        row = self._row(execution_arn)
        if client_token is not None and row.redrive_date is not None:
            known = self._journal.document("redrive", str(row.id))
            if known == client_token.encode():
                return row.redrive_date / 1000
        status, reason = self._redrivable(row)
        if status != "REDRIVABLE" or row.id in self._host.live:
            raise ExecutionNotRedrivable(reason or "Execution is not redrivable")
        return await self._redrive(row, client_token)

    async def _redrive(self, row: ExecutionRow, client_token: str | None) -> float:
        live = self._recovery.replay(row)
        at = self._host.at(live)
        self._journal.set_outcome(row.id, Outcome("RUNNING", None, row.redrive_count + 1, at))
        if client_token is not None:
            self._journal.put("redrive", str(row.id), client_token.encode())
        self._host.resume(live, events.Redriven(at, self._host.seed()))
        await self._journal.committed()
        return at / 1000

    # -- following

    async def wait(self, execution_arn: str) -> ExecutionRecord:
        """Wait until the execution ended (and that is on disk), then describe it."""
        while True:
            row = self._row(execution_arn)
            if row.status != "RUNNING":
                return self._record(execution_arn, row, metadata_only=False)
            await self._host.ending(row.id)

    async def events(self, execution_arn: str, *, after: int = 0) -> AsyncIterator[dict[str, Any]]:
        """The history from event id `after` on, then every new event as it is committed, until the execution ended."""
        queue: asyncio.Queue[builtins.list[dict[str, Any]] | None] = asyncio.Queue()

        def observe(identity: Identity, history: builtins.list[dict[str, Any]]) -> None:
            if identity.execution_arn == execution_arn:
                queue.put_nowait(history)

        def ended(live: Live) -> None:
            if live.identity.execution_arn == execution_arn:
                queue.put_nowait(None)

        self._host.observers.append(observe)
        self._host.on_end.append(ended)
        try:
            # What was decided before this observer was there is told to nobody: it must be on disk to be read.
            await self._journal.committed()
            running = self.status(execution_arn) == "RUNNING"
            last = after
            for event in self._stored(execution_arn, after):
                last = event["id"]
                yield event
            while running:
                with self._clock.waiting():
                    history = await queue.get()
                if history is None:
                    return
                for event in history:
                    if event["id"] > last:
                        last = event["id"]
                        yield event
        finally:
            with contextlib.suppress(ValueError):
                self._host.observers.remove(observe)
                self._host.on_end.remove(ended)

    def _stored(self, arn: str, after: int) -> builtins.list[dict[str, Any]]:
        found = self._journal.status(*execution_key(arn, self._registry.arns))
        if found is None:
            raise ExecutionDoesNotExist(arn)
        data, _ = read_history(self._journal, found[0], after + 1, 1 << 30, reverse=False, include_data=True)
        stored: builtins.list[dict[str, Any]] = orjson.loads(data)
        return stored


def _same_json(one: bytes, other: bytes) -> bool:
    return one == other or orjson.loads(one) == orjson.loads(other)
