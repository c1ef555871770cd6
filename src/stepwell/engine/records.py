"""What the engine answers: one struct per answer of the API, with AWS's fields.

Python names are snake_case; `msgspec.json.encode(record)` gives AWS's wire shape (camelCase, absent fields left out). Dates
are seconds since the epoch as floats. Payloads (`input`, `output`, `definition`) are JSON text.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import msgspec

__all__ = [
    "ActivityRecord",
    "ActivityTask",
    "AliasRecord",
    "DataDetails",
    "ExecutionListItem",
    "ExecutionRecord",
    "ExecutionStarted",
    "MapRunListItem",
    "MapRunRecord",
    "Page",
    "StateMachineCreated",
    "StateMachineListItem",
    "StateMachineOfExecution",
    "StateMachineRecord",
    "StateMachineUpdated",
    "SyncExecutionRecord",
    "VersionListItem",
    "VersionPublished",
    "date",
]

T = TypeVar("T")


def date(seconds: float) -> datetime:
    """A record's date as an aware datetime."""
    return datetime.fromtimestamp(seconds, UTC)


class Record(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """The base: fields without a default are always on the wire, the others when they are set."""


class Page(msgspec.Struct, Generic[T]):
    """A page of a listing; `next_token` is None on the last one. The API gives `items` its own name."""

    items: list[T]
    next_token: str | None = None


class StateMachineCreated(Record):
    """Answer of CreateStateMachine."""

    state_machine_arn: str
    creation_date: float
    state_machine_version_arn: str | None = None


class StateMachineUpdated(Record):
    """Answer of UpdateStateMachine."""

    update_date: float
    revision_id: str | None = None
    state_machine_version_arn: str | None = None


class StateMachineRecord(Record):
    """Answer of DescribeStateMachine."""

    state_machine_arn: str
    name: str
    status: str
    definition: str
    role_arn: str
    type: str
    creation_date: float
    logging_configuration: dict[str, Any]
    tracing_configuration: dict[str, Any]
    encryption_configuration: dict[str, Any] | None = None
    label: str | None = None
    revision_id: str | None = None
    description: str | None = None


class StateMachineOfExecution(Record):
    """Answer of DescribeStateMachineForExecution: the definition the execution started with."""

    state_machine_arn: str
    name: str
    definition: str
    role_arn: str
    update_date: float
    logging_configuration: dict[str, Any]
    tracing_configuration: dict[str, Any]
    encryption_configuration: dict[str, Any] | None = None
    map_run_arn: str | None = None
    label: str | None = None
    revision_id: str | None = None


class StateMachineListItem(Record):
    """An item of ListStateMachines."""

    state_machine_arn: str
    name: str
    type: str
    creation_date: float


class VersionPublished(Record):
    """Answer of PublishStateMachineVersion."""

    creation_date: float
    state_machine_version_arn: str


class VersionListItem(Record):
    """An item of ListStateMachineVersions."""

    state_machine_version_arn: str
    creation_date: float


class AliasRecord(Record):
    """Answer of DescribeStateMachineAlias; the create, update and list answers are subsets of it."""

    state_machine_alias_arn: str
    name: str
    routing_configuration: list[dict[str, Any]]
    creation_date: float
    update_date: float
    description: str | None = None


class ExecutionStarted(Record):
    """Answer of StartExecution."""

    execution_arn: str
    start_date: float


class DataDetails(Record):
    """Whether a payload is in the answer."""

    included: bool


class ExecutionRecord(Record):
    """Answer of DescribeExecution."""

    execution_arn: str
    state_machine_arn: str
    name: str
    status: str
    start_date: float
    redrive_count: int
    redrive_status: str
    stop_date: float | None = None
    input: str | None = None
    input_details: DataDetails | None = None
    output: str | None = None
    output_details: DataDetails | None = None
    error: str | None = None
    cause: str | None = None
    map_run_arn: str | None = None
    state_machine_version_arn: str | None = None
    state_machine_alias_arn: str | None = None
    trace_header: str | None = None
    redrive_date: float | None = None
    redrive_status_reason: str | None = None


class SyncExecutionRecord(Record):
    """Answer of StartSyncExecution."""

    execution_arn: str
    state_machine_arn: str
    name: str
    start_date: float
    stop_date: float
    status: str
    billing_details: dict[str, int]
    error: str | None = None
    cause: str | None = None
    input: str | None = None
    input_details: DataDetails | None = None
    output: str | None = None
    output_details: DataDetails | None = None
    trace_header: str | None = None


class ExecutionListItem(Record):
    """An item of ListExecutions."""

    execution_arn: str
    state_machine_arn: str
    name: str
    status: str
    start_date: float
    redrive_count: int
    stop_date: float | None = None
    map_run_arn: str | None = None
    item_count: int | None = None
    state_machine_version_arn: str | None = None
    state_machine_alias_arn: str | None = None
    redrive_date: float | None = None


class MapRunRecord(Record):
    """Answer of DescribeMapRun. `item_counts` and `execution_counts` have AWS's keys."""

    map_run_arn: str
    execution_arn: str
    status: str
    start_date: float
    max_concurrency: int
    tolerated_failure_percentage: float
    tolerated_failure_count: int
    item_counts: dict[str, int]
    execution_counts: dict[str, int]
    redrive_count: int
    stop_date: float | None = None
    redrive_date: float | None = None


class MapRunListItem(Record):
    """An item of ListMapRuns."""

    execution_arn: str
    map_run_arn: str
    state_machine_arn: str
    start_date: float
    stop_date: float | None = None


class ActivityRecord(Record):
    """Answer of CreateActivity (without `name`) and DescribeActivity; an item of ListActivities."""

    activity_arn: str
    name: str
    creation_date: float
    encryption_configuration: dict[str, Any] | None = None


class ActivityTask(Record):
    """Answer of GetActivityTask when there is work; None stands for the empty answer."""

    task_token: str
    input: str
