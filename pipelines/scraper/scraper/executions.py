"""The machine's executions by the Step Functions API: of Stepwell (`STEPWELL_API_URL`) or of AWS."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import httpx

from scraper.errors import ConfigurationError, ScraperError
from scraper.settings import Settings
from stepwell.toolkit import aws, http

OPERATIONS = {
    "StartExecution": "start_execution",
    "StopExecution": "stop_execution",
    "DescribeExecution": "describe_execution",
}


class ExecutionError(ScraperError):
    """The API could not be reached, or refused."""


class _NotThere(ExecutionError):
    pass


class Executions:
    """Start, stop, ask. Everything raises ExecutionError; without the machine's ARN, ConfigurationError."""

    def __init__(self, settings: Settings, environ: Mapping[str, str] | None = None) -> None:
        env = os.environ if environ is None else environ
        self._machine = settings.machine_arn
        self._url = env.get("STEPWELL_API_URL", "").strip()
        self._client = http.client(timeout=20.0)

    @property
    def configured(self) -> bool:
        """Whether the machine's ARN is known."""
        return bool(self._machine)

    def arn(self, name: str) -> str:
        """The ARN of an execution."""
        if not self._machine:
            raise ConfigurationError("STEP_FUNCTION_ARN must be set")
        return f"{self._machine.replace(':stateMachine:', ':execution:')}:{name}"

    def start(self, name: str, input: Mapping[str, Any]) -> str:
        """Start an execution; its ARN. The same name and input again start nothing new."""
        self.arn(name)
        answer = self._call("StartExecution", stateMachineArn=self._machine, name=name, input=json.dumps(input))
        return str(answer["executionArn"])

    def stop(self, name: str, cause: str) -> bool:
        """Stop an execution; False when there is none of that name."""
        try:
            self._call("StopExecution", executionArn=self.arn(name), error="JobCancelled", cause=cause)
        except _NotThere:
            return False
        return True

    def status(self, name: str) -> str | None:
        """RUNNING, SUCCEEDED, FAILED, TIMED_OUT, ABORTED; None for an execution nobody knows."""
        try:
            return str(self._call("DescribeExecution", executionArn=self.arn(name))["status"])
        except _NotThere:
            return None

    def _call(self, action: str, **arguments: str) -> Any:
        return self._by_http(action, arguments) if self._url else _by_boto(action, arguments)

    def _by_http(self, action: str, arguments: Mapping[str, str]) -> Any:
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AWSStepFunctions.{action}"}
        try:
            answer = self._client.post(self._url, json=dict(arguments), headers=headers)
            document = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise ExecutionError(f"{action} failed: {type(error).__name__}") from error
        if answer.is_success:
            return document
        code = str(document.get("__type", "")).rpartition("#")[2]
        raise _NotThere(code) if code == "ExecutionDoesNotExist" else ExecutionError(f"{action}: {code}")


def _by_boto(action: str, arguments: Mapping[str, str]) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return getattr(aws.client("stepfunctions"), OPERATIONS[action])(**arguments)
    except ClientError as error:
        code = aws.code(error)
        raise (_NotThere(code) if code == "ExecutionDoesNotExist" else ExecutionError(f"{action}: {code}")) from error
    except BotoCoreError as error:
        raise ExecutionError(f"{action} failed: {type(error).__name__}") from error
