"""The context object a function gets as its second argument: AWS Lambda's, attribute by attribute."""

from __future__ import annotations

import time
from typing import Any


class Identity:
    """Lambda's Cognito identity; both are None outside mobile applications."""

    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")

    def __init__(self) -> None:
        self.cognito_identity_id: str | None = None
        self.cognito_identity_pool_id: str | None = None


class Client:
    """The ``client`` part of a ClientContext."""

    __slots__ = ("app_package_name", "app_title", "app_version_code", "app_version_name", "installation_id")

    def __init__(self, data: dict[str, Any]) -> None:
        self.installation_id = data.get("installation_id")
        self.app_title = data.get("app_title")
        self.app_version_name = data.get("app_version_name")
        self.app_version_code = data.get("app_version_code")
        self.app_package_name = data.get("app_package_name")


class ClientContext:
    """What the caller passed as ClientContext."""

    __slots__ = ("client", "custom", "env")

    def __init__(self, data: dict[str, Any]) -> None:
        self.custom: dict[str, Any] | None = data.get("custom")
        self.env: dict[str, Any] | None = data.get("env")
        client = data.get("client")
        self.client = Client(client) if isinstance(client, dict) else None


class Context:
    """Lambda's context object. https://docs.aws.amazon.com/lambda/latest/dg/python-context.html"""

    def __init__(
        self,
        *,
        aws_request_id: str,
        function_name: str,
        function_version: str,
        invoked_function_arn: str,
        memory_limit_in_mb: str,
        log_group_name: str,
        log_stream_name: str,
        deadline: float,
        client_context: dict[str, Any] | None = None,
    ) -> None:
        """`deadline` is a reading of ``time.monotonic()``."""
        self.aws_request_id = aws_request_id
        self.function_name = function_name
        self.function_version = function_version
        self.invoked_function_arn = invoked_function_arn
        self.memory_limit_in_mb = memory_limit_in_mb
        self.log_group_name = log_group_name
        self.log_stream_name = log_stream_name
        self.identity = Identity()
        self.client_context = None if client_context is None else ClientContext(client_context)
        self._deadline = deadline

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function's timeout kills the worker; 0 once it passed."""
        return max(0, int((self._deadline - time.monotonic()) * 1000))

    def __repr__(self) -> str:
        return f"Context(function_name={self.function_name!r}, aws_request_id={self.aws_request_id!r})"
