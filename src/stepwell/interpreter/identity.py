"""Who an execution is: the part of the context object that a host decides."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["Identity"]


class Identity(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Fixed for the life of an execution. `start_time` is milliseconds since the epoch.

    `map_run_arn` is set for the child executions of a distributed Map. `version_arn` and `alias_arn` are set when the
    execution was started through a version or an alias; ExecutionStarted records them.
    """

    execution_arn: str
    name: str
    state_machine_arn: str
    state_machine_name: str
    role_arn: str
    start_time: int
    type: Literal["STANDARD", "EXPRESS"] = "STANDARD"
    synchronous: bool = False
    """Started by StartSyncExecution, or a TestState: its context object has no RedriveCount (observed)."""
    map_run_arn: str | None = None
    version_arn: str | None = None
    alias_arn: str | None = None
    parent_execution_arn: str | None = None
    """The execution a child of a map run, or a nested execution, was started by."""
