"""What stands in a stepwell.toml, section by section. Every field of every table is here; nothing else is accepted."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_SIZE = re.compile(r"(\d+)\s*(KB|MB|GB)", re.IGNORECASE)
_UNITS = {"KB": 1024, "MB": 1024**2, "GB": 1024**3}


class Duration(int):
    """Whole seconds. Written ``90``, ``"90s"``, ``"5m"``, ``"1h30m"`` or ``"14d"``."""

    @classmethod
    def read(cls, value: object) -> Duration:
        """Raises ValueError for anything but the forms above."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        match = _DURATION.fullmatch(value.replace(" ", "")) if isinstance(value, str) else None
        if not match or not any(match.groups()):
            raise ValueError(
                f'{value!r} is not a duration; write seconds or a text such as "30s", "5m", "1h30m", "14d"'
            )
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return cls(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


class Size(int):
    """Bytes. Written as a number of bytes, ``"64KB"``, ``"512MB"`` or ``"8GB"``; 1 MB is 1,048,576 bytes."""

    @classmethod
    def read(cls, value: object) -> Size:
        """Raises ValueError for anything but the forms above."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
        if not match:
            raise ValueError(f'{value!r} is not a size; write bytes or a text such as "64KB", "512MB", "8GB"')
        return cls(int(match[1]) * _UNITS[match[2].upper()])


class Declaration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of stepwell.toml."""


class ProjectDeclaration(Declaration, frozen=True, kw_only=True):
    """``[project]``"""

    name: str
    description: str = ""
    source: str = "."
    """The folder, relative to stepwell.toml, that holds the Python packages."""


class ScheduleDeclaration(Declaration, frozen=True, kw_only=True):
    """``[machines.NAME.schedule]``; ``schedule = "cron(...)"`` is short for one with only an expression."""

    expression: str
    timezone: str = "UTC"
    input: Any = msgspec.field(default_factory=dict)
    enabled: bool = True
    catch_up: Literal["latest", "all", "none"] = "latest"
    """What happens to due times missed while nothing ran: the newest fires once, each fires, or none does."""
    max_age: Duration | None = None
    """Due times missed longer ago than this are dropped. On AWS: the target's maximum event age."""
    retries: int | None = None
    """AWS only: the target's retry attempts."""


class LoggingDeclaration(Declaration, frozen=True, kw_only=True):
    """``[machines.NAME.logging]``; ``logging = "ALL"`` is short for one with only a level."""

    level: Literal["ALL", "ERROR", "FATAL", "OFF"] = "OFF"
    include_execution_data: bool = True
    retention: Duration | None = None


class MachineDeclaration(Declaration, frozen=True, kw_only=True):
    """``[machines.NAME]``"""

    definition: str
    """A file relative to stepwell.toml: ``*.asl.json``, ``*.asl.yaml``, ``*.json``, ``*.yaml``, ``*.yml``."""
    name: str | None = None
    """The state machine's name in the environment; default: NAME."""
    type: Literal["STANDARD", "EXPRESS"] = "STANDARD"
    timeout: Duration | None = None
    """Becomes the definition's TimeoutSeconds."""
    variables: dict[str, Any] = msgspec.field(default_factory=dict)
    """What ``${variables.NAME}`` stands for in this machine's definition, before ``[variables]``: two machines of one definition."""
    schedule: str | ScheduleDeclaration | None = None
    input: Any = None
    """The input `stepwell run` uses when none is given."""
    logging: str | LoggingDeclaration | None = None
    tracing: bool = False
    description: str = ""


class FunctionDeclaration(Declaration, frozen=True, kw_only=True):
    """``[functions.NAME]``"""

    handler: str
    """``"package.module:function"``"""
    name: str | None = None
    memory: Size = Size(512 * 1024**2)
    timeout: Duration = Duration(60)
    environment: dict[str, str | int | float | bool] = msgspec.field(default_factory=dict)
    concurrency: int = 10
    inline: bool = False
    ephemeral_storage: Size | None = None
    """AWS only: the size of /tmp."""
    dead_letter: str | None = None
    """AWS only: the queue (a name of ``[queues]``) for failed asynchronous invocations."""
    description: str = ""


class LifecycleDeclaration(Declaration, frozen=True, kw_only=True):
    """``[[buckets.NAME.lifecycle]]``. AWS only."""

    prefix: str = ""
    transitions: dict[str, Duration] = msgspec.field(default_factory=dict)
    """Storage class to age: ``{GLACIER_IR = "7d"}``."""
    noncurrent_transitions: dict[str, Duration] = msgspec.field(default_factory=dict)
    expire: Duration | None = None
    abort_uploads: Duration | None = None


class BucketDeclaration(Declaration, frozen=True, kw_only=True):
    """``[buckets.NAME]``"""

    name: str | None = None
    versioning: bool = False
    encryption: Literal["s3", "kms"] = "s3"
    lifecycle: tuple[LifecycleDeclaration, ...] = ()
    description: str = ""


class IndexDeclaration(Declaration, frozen=True, kw_only=True):
    """``[tables.NAME.indexes.INDEX]``: a global secondary index of all attributes."""

    key: tuple[str, ...]


class TableDeclaration(Declaration, frozen=True, kw_only=True):
    """``[tables.NAME]``"""

    key: tuple[str, ...]
    """The partition key and, if there is one, the sort key."""
    name: str | None = None
    types: dict[str, Literal["S", "N", "B"]] = msgspec.field(default_factory=dict)
    """Types of key attributes that are not strings."""
    indexes: dict[str, IndexDeclaration] = msgspec.field(default_factory=dict)
    ttl: str | None = None
    """The attribute with the time of expiry in epoch seconds."""
    recovery: bool = False
    """AWS only: point-in-time recovery."""
    description: str = ""


class TopicDeclaration(Declaration, frozen=True, kw_only=True):
    """``[topics.NAME]``"""

    name: str | None = None
    display_name: str = ""
    subscriptions: tuple[str, ...] = ()
    """``https://...``, a webhook, here and on AWS; ``mailto:...`` on AWS only."""
    description: str = ""


class SecretDeclaration(Declaration, frozen=True, kw_only=True):
    """``[secrets."NAME"]``"""

    name: str | None = None
    store: Literal["secretsmanager", "ssm"] = "secretsmanager"
    """Where it is on AWS: Secrets Manager, or a SecureString parameter."""
    keys: tuple[str, ...] = ()
    """The members that its JSON value has."""
    description: str = ""


class QueueDeclaration(Declaration, frozen=True, kw_only=True):
    """``[queues.NAME]``"""

    name: str | None = None
    retention: Duration = Duration(4 * 86400)
    visibility: Duration = Duration(30)
    description: str = ""


class WorkerDeclaration(Declaration, frozen=True, kw_only=True):
    """``[workers.NAME]``: a program for long or heavy work that answers with a task token."""

    program: tuple[str, ...]
    """The command, such as ``["python", "-m", "renderer.main"]``."""
    environment: dict[str, str] = msgspec.field(default_factory=dict)
    grace: Duration = Duration(30)
    """Between the announcement of an interruption and the end."""
    max_lifetime: Duration = Duration(4 * 3600)
    """After this time the machine is ended whatever happens."""
    image_id: str | None = None
    """AWS: the machine image. Likewise what follows, up to ECS's."""
    instance_types: tuple[str, ...] = ()
    """Tried in this order, each in all subnets, until one has capacity."""
    subnet_ids: tuple[str, ...] = ()
    security_group_ids: tuple[str, ...] = ()
    instance_profile: str | None = None
    spot: bool = True
    max_price: str | None = None
    """Of a Spot instance, in USD an hour; the on-demand price without one."""
    volume_gb: int | None = None
    boot: tuple[str, ...] = ()
    """Shell lines that run before the program, such as those that fetch the code."""
    cluster: str | None = None
    """AWS, instead of an instance: the ECS cluster, task definition and container."""
    task_definition: str | None = None
    container: str | None = None
    public_ip: bool = False
    capacity_provider: str | None = None
    description: str = ""


class AlarmDeclaration(Declaration, frozen=True, kw_only=True):
    """``[alarms.NAME]``: fires when the statistic compares so with the threshold in every one of `periods` periods.

    Missing data do not fire it. With `function`, `machine` or `queue` the metric is AWS's own of that resource: its
    namespace and dimension are filled in.
    """

    metric: str
    threshold: float
    name: str | None = None
    namespace: str | None = None
    dimensions: dict[str, str] = msgspec.field(default_factory=dict)
    function: str | None = None
    machine: str | None = None
    queue: str | None = None
    statistic: Literal["Sum", "Average", "Minimum", "Maximum", "SampleCount"] = "Sum"
    comparison: Literal[">", ">=", "<", "<="] = ">="
    period: Duration = Duration(300)
    periods: int = 1
    topics: tuple[str, ...] = ()
    """Names of ``[topics]`` that are told."""
    description: str = ""


SECTIONS: dict[str, type[Declaration]] = {
    "machines": MachineDeclaration,
    "functions": FunctionDeclaration,
    "buckets": BucketDeclaration,
    "tables": TableDeclaration,
    "topics": TopicDeclaration,
    "secrets": SecretDeclaration,
    "queues": QueueDeclaration,
    "workers": WorkerDeclaration,
    "alarms": AlarmDeclaration,
}
"""The sections that hold named tables."""
