"""What the dispatcher needs from its host."""

from __future__ import annotations

from typing import Any, Protocol

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
