"""Beginning an execution: its row, its identity, its first effects."""

from __future__ import annotations

from stepwell.engine.clock import Clock
from stepwell.engine.host import Host
from stepwell.engine.journal import Journal
from stepwell.engine.live import Live
from stepwell.engine.registry import Registry
from stepwell.engine.rows import ExecutionRow
from stepwell.interpreter import start
from stepwell.interpreter.identity import Identity

__all__ = ["identity_of", "launch", "launch_express"]


def identity_of(row: ExecutionRow, registry: Registry, parent_arn: str | None = None) -> Identity:
    """Who the execution of a row is."""
    arns = registry.arns
    revision = registry.revision(row.revision)
    return Identity(
        execution_arn=arns.execution(row.resource, row.name),
        name=row.name,
        state_machine_arn=arns.machine(row.resource),
        state_machine_name=row.resource,
        role_arn=revision.role_arn,
        start_time=row.start,
        type="STANDARD",
        map_run_arn=row.map_run,
        version_arn=None if row.version is None else arns.machine(row.resource, row.version),
        alias_arn=None if row.alias is None else arns.machine(row.resource, row.alias),
        parent_execution_arn=parent_arn,
    )


def launch(
    host: Host,
    journal: Journal,
    registry: Registry,
    clock: Clock,
    *,
    resource: str,
    name: str,
    input: bytes,
    revision: int,
    version: int | None = None,
    alias: str | None = None,
    parent: Live | None = None,
    command: int | None = None,
    map_run: str | None = None,
    pointer: str = "",
    item_count: int | None = None,
    trace_header: str | None = None,
) -> Live:
    """Start a STANDARD execution; it is on disk with the batch that is now open. `pointer` is the Map state of a child."""
    now = clock.now()
    row = ExecutionRow(
        journal.next_id(),
        resource,
        name,
        revision,
        version,
        alias,
        None if parent is None else parent.id,
        command,
        map_run,
        item_count,
        trace_header,
        host.seed(),
        now,
        None,
        "RUNNING",
        0,
        None,
        None,
        None,
        input,
        None,
    )
    identity = identity_of(row, registry, None if parent is None else parent.identity.execution_arn)
    execution, effects = start(registry.compiled(revision, pointer), input, identity, at=now, seed=row.seed)
    live = Live(row.id, execution, resource, revision, now)
    if parent is not None:
        live.parent = parent.id
        live.command = command
    journal.start_execution(row)
    host.begin(live, effects)
    return live


def launch_express(
    host: Host,
    registry: Registry,
    clock: Clock,
    *,
    resource: str,
    name: str,
    unique: str,
    input: bytes,
    revision: int,
    version: int | None = None,
    alias: str | None = None,
    parent: Live | None = None,
    command: int | None = None,
    map_run: str | None = None,
    pointer: str = "",
    synchronous: bool = False,
) -> Live:
    """Start an EXPRESS execution: in memory, nothing of it is journaled."""
    now = clock.now()
    arns = registry.arns
    document = registry.revision(revision)
    identity = Identity(
        execution_arn=arns.express(resource, name, unique),
        name=name,
        state_machine_arn=arns.machine(resource),
        state_machine_name=resource,
        role_arn=document.role_arn,
        start_time=now,
        type="EXPRESS",
        synchronous=synchronous,
        map_run_arn=map_run,
        version_arn=None if version is None else arns.machine(resource, version),
        alias_arn=None if alias is None else arns.machine(resource, alias),
        parent_execution_arn=None if parent is None else parent.identity.execution_arn,
    )
    execution, effects = start(registry.compiled(revision, pointer), input, identity, at=now, seed=host.seed())
    live = Live(host.next_express_id(), execution, resource, revision, now)
    if parent is not None:
        live.parent = parent.id
        live.command = command
    host.begin(live, effects)
    return live
