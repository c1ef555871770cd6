"""One attempt of a Task state's work, and how it fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from stepwell.interpreter.effects import RunTask
from stepwell.interpreter.identity import Identity

Submitted = Callable[[bytes], Awaitable[None]]
"""Awaited with the service's answer (JSON text) once a `.sync` or `.waitForTaskToken` request was accepted."""


class TaskRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The RunTask effect together with what its execution is: see `stepwell.interpreter.effects.RunTask` for the fields."""

    command: int
    kind: str
    resource: str
    arguments: bytes
    state: str
    execution_arn: str
    execution_name: str
    state_machine_arn: str
    role_arn: str
    retry_count: int = 0
    token: str | None = None
    timeout_seconds: int | None = None
    heartbeat_seconds: int | None = None
    credentials: dict[str, Any] | None = None
    submitted: bytes | None = None

    @classmethod
    def of(cls, effect: RunTask, identity: Identity) -> TaskRequest:
        """The request of an effect of the execution `identity`."""
        return cls(
            command=effect.command,
            kind=effect.kind,
            resource=effect.resource,
            arguments=effect.arguments,
            state=effect.state,
            execution_arn=identity.execution_arn,
            execution_name=identity.name,
            state_machine_arn=identity.state_machine_arn,
            role_arn=identity.role_arn,
            retry_count=effect.retry_count,
            token=effect.token,
            timeout_seconds=effect.timeout_seconds,
            heartbeat_seconds=effect.heartbeat_seconds,
            credentials=effect.credentials,
            submitted=effect.submitted,
        )

    @property
    def partition(self) -> str:
        return self.state_machine_arn.split(":", 2)[1]

    @property
    def region(self) -> str:
        return self.state_machine_arn.split(":", 4)[3]

    @property
    def account(self) -> str:
        return self.state_machine_arn.split(":", 5)[4]


class TaskError(Exception):
    """The attempt failed. `error` and `cause` as a Catch sees them; either may be absent, which is not empty.

    `phase` is how far it got, as in `stepwell.interpreter.events.TaskFailed`: "schedule", "start", "submit" or "run".
    `timeout` marks a failure AWS records as timed out.
    """

    def __init__(
        self, error: str | None, cause: str | None = None, phase: str = "run", *, timeout: bool = False
    ) -> None:
        super().__init__(error, cause)
        self.error = error
        self.cause = cause
        self.phase = phase
        self.timeout = timeout

    def __str__(self) -> str:
        return f"{self.error}: {self.cause}"
