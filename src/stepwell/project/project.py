"""A loaded project: everything stepwell.toml declares, resolved for one environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from stepwell.functions.spec import FunctionSpec
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
)

DEFAULT_ACCOUNT = "123456789012"
DEFAULT_REGION = "us-east-1"
DEFAULT_ENVIRONMENT = "dev"


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Where a project runs: it decides ARNs, the ``[env.NAME]`` overrides, and what ``${env}`` stands for."""

    name: str = DEFAULT_ENVIRONMENT
    account: str = DEFAULT_ACCOUNT
    region: str = DEFAULT_REGION
    partition: str = "aws"

    def arn(self, service: str, resource: str, *, regional: bool = True) -> str:
        """``arn:aws:SERVICE:REGION:ACCOUNT:RESOURCE``; without `regional` (S3) region and account are empty."""
        if not regional:
            return f"arn:{self.partition}:{service}:::{resource}"
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"


class MachineSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """When a machine is started, and with what."""

    name: str
    """Unique in the project; part of the execution names it gives (`Schedule.execution_name`)."""
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
    """A project in one environment. The dictionaries' keys are the names in stepwell.toml; ``.name`` is the resource's real one."""

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
    alarms: dict[str, AlarmDeclaration]
