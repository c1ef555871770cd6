"""What the dispatcher needs from its host, and what both say of asynchronous invocations."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import msgspec

from stepwell.functions.spec import Call


class ServiceRefusal(Exception):
    """The Step Functions service itself refused a request: `code` and `message` as its API answers, such as "InvalidToken"."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.status = status


class Executions(Protocol):
    """Nested executions, and every other action of the host's own Step Functions service.

    Parameters and results have the wire shapes of the Step Functions API (`stateMachineArn`, `startDate` as epoch seconds).
    """

    async def call(self, action: str, parameters: dict[str, Any], *, account: str, region: str) -> dict[str, Any]:
        """An API action, such as "StartExecution". Raises ServiceRefusal."""
        ...

    async def wait(self, execution_arn: str) -> dict[str, Any]:
        """DescribeExecution's answer once the execution has ended. Raises ServiceRefusal (ExecutionDoesNotExist)."""
        ...


class AsynchronousInvocations(Protocol):
    """Keeps events for functions, runs them later and tries again what fails."""

    async def accept(self, function: str, payload: bytes, *, call: Call, qualifier: str | None = None) -> None:
        """The event is safe when it returns. Again with the same request id, while it is pending, it is the same event.

        Raises UnknownFunction, and TooManyRequests when too many wait.
        """
        ...


class Failure(msgspec.Struct, frozen=True):
    """How the latest attempt ended: the function's error document and its message."""

    payload: bytes
    message: str


class Invocation(msgspec.Struct, kw_only=True):
    """An accepted event. Times are milliseconds since the epoch."""

    function: str
    """The pool's name of it."""
    version: str
    qualifier: str | None
    """As the caller gave it: what is configured for asynchronous invocations is found by it."""
    payload: bytes
    call: Call
    accepted: int
    due: int
    attempts: int = 0
    """Those that have ended."""
    failure: Failure | None = None


class Policy(NamedTuple):
    """What is done about failures: the number of retries, and the seconds after which none is begun any more."""

    retries: int = 2
    max_age: float = 6 * 3600
