"""A loaded project: everything stepwell.toml declares, resolved for one environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from stepwell.functions.spec import FunctionSpec
from stepwell.language.source import Source
from stepwell.project.schedules import Schedule
from stepwell.project.schema import (
    AlarmDeclaration,
    BucketDeclaration,
    LoggingDeclaration,
    QueueDeclaration,
    ScheduleDeclaration,
    SecretDeclaration,
    TableDeclaration,
    TopicDeclaration,
    WorkerDeclaration,
)

DEFAULT_ACCOUNT = "000000000000"
DEFAULT_REGION = "us-east-1"
DEFAULT_ENVIRONMENT = "dev"


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Where a project runs: it decides ARNs, the ``[env.NAME]`` overrides, and what ``${env}`` stands for."""

    name: str = DEFAULT_ENVIRONMENT
    account: str = DEFAULT_ACCOUNT
    region: str = DEFAULT_REGION
    partition: str = "aws"

    @classmethod
    def of(cls, name: str | None, *, account: str, region: str) -> Environment:
        """The environment of that name (None: the default one), in the account and region of a host."""
        return cls(name=name or DEFAULT_ENVIRONMENT, account=account, region=region)

    def arn(self, service: str, resource: str, *, regional: bool = True) -> str:
        """``arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE``; without `regional` (S3) region and account are empty."""
        if not regional:
            return f"arn:{self.partition}:{service}:::{resource}"
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"


class MachineSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """When a machine is started, and with what."""

    name: str
    """The machine's; part of the names of the executions it starts (`schedules.execution_name`)."""
    schedule: Schedule
    declaration: ScheduleDeclaration


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """A state machine with its definition after substitution."""

    key: str
    """Its name in stepwell.toml."""
    name: str
    arn: str
    type: str
    path: Path
    """The definition's file."""
    source: Source
    """The file as written: finds the line and column of what a diagnostic names."""
    text: str
    """The file's text, as written."""
    definition: dict[str, Any]
    """After substitution; with the declared timeout as TimeoutSeconds."""
    input: Any
    schedule: MachineSchedule | None
    logging: LoggingDeclaration
    tracing: bool
    description: str


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A project in one environment. Keys are the names in stepwell.toml, ``.name`` what the resource is called."""

    name: str
    description: str
    directory: Path
    path: Path
    """The stepwell.toml."""
    source: Path
    """The folder of the Python packages."""
    environment: Environment
    variables: dict[str, Any]
    machines: dict[str, Machine]
    functions: dict[str, FunctionSpec]
    buckets: dict[str, BucketDeclaration]
    tables: dict[str, TableDeclaration]
    topics: dict[str, TopicDeclaration]
    secrets: dict[str, SecretDeclaration]
    queues: dict[str, QueueDeclaration]
    workers: dict[str, WorkerDeclaration]
    alarms: dict[str, AlarmDeclaration]
    resources: dict[str, Any]
    """What `stepwell.toolkit` reads from STEPWELL_RESOURCES; every function has it in its environment."""
