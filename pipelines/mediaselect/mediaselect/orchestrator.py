"""Starting executions and asking how they stand: the Step Functions API, of Stepwell (`STEPWELL_API_URL`) or of AWS."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Literal

import httpx

from stepwell.toolkit import aws, http

MachineName = Literal["selection", "enhancement", "feedback"]
VARIABLES: Mapping[MachineName, str] = {
    "selection": "SELECTION_STATE_MACHINE_ARN",
    "enhancement": "ENHANCEMENT_STATE_MACHINE_ARN",
    "feedback": "FEEDBACK_STATE_MACHINE_ARN",
}
TIMEOUTS: Mapping[MachineName, int] = {"selection": 3600, "enhancement": 10_800, "feedback": 3600}
"""Seconds, as in stepwell.toml: a job that is older and still not over has lost its execution."""


class NotConfigured(Exception):
    """The variable with the machine's ARN is not set."""


class OrchestratorError(Exception):
    """The API could not be reached, or refused."""


class Orchestrator:
    """The machines by their names."""

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        env = os.environ if environ is None else environ
        self._arns = {name: env.get(variable, "") for name, variable in VARIABLES.items()}
        self._url = env.get("STEPWELL_API_URL", "")
        self._client = http.client(timeout=20.0)

    def require(self, machine: MachineName) -> str:
        """The machine's ARN. Raises NotConfigured."""
        if not self._arns[machine]:
            raise NotConfigured(VARIABLES[machine])
        return self._arns[machine]

    def start(self, machine: MachineName, name: str, input: Mapping[str, Any]) -> None:
        """Start an execution; the same name and input again start nothing new. Raises NotConfigured, OrchestratorError."""
        self._call(
            "StartExecution",
            {"stateMachineArn": self.require(machine), "name": name, "input": json.dumps(input, ensure_ascii=False)},
        )

    def status(self, machine: MachineName, name: str) -> str | None:
        """RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED; None for an execution nobody knows. Raises as `start`."""
        arn = self.require(machine).replace(":stateMachine:", ":execution:") + f":{name}"
        try:
            return str(self._call("DescribeExecution", {"executionArn": arn})["status"])
        except _NotThere:
            return None

    def _call(self, action: str, arguments: Mapping[str, str]) -> Any:
        return self._by_http(action, arguments) if self._url else _by_boto(action, arguments)

    def _by_http(self, action: str, arguments: Mapping[str, str]) -> Any:
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AWSStepFunctions.{action}"}
        try:
            answer = self._client.post(self._url, json=arguments, headers=headers)
            document = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise OrchestratorError(f"{action} failed") from error
        if answer.is_success:
            return document
        code = str(document.get("__type", "")).rpartition("#")[2]
        raise _NotThere(code) if code == "ExecutionDoesNotExist" else OrchestratorError(f"{action}: {code}")


class _NotThere(OrchestratorError):
    pass


def _by_boto(action: str, arguments: Mapping[str, str]) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    operation = {"StartExecution": "start_execution", "DescribeExecution": "describe_execution"}[action]
    try:
        return getattr(aws.client("stepfunctions"), operation)(**arguments)
    except ClientError as error:
        code = aws.code(error)
        raise (
            _NotThere(code) if code == "ExecutionDoesNotExist" else OrchestratorError(f"{action}: {code}")
        ) from error
    except BotoCoreError as error:
        raise OrchestratorError(f"{action} failed") from error
