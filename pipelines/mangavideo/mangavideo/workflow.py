"""The workflow service: starting and counting executions, and calling a function without waiting for it.

With `STEPWELL_API_URL` it is Stepwell's own server; on AWS it is Step Functions and Lambda, by boto3.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import httpx

from mangavideo.errors import ConfigError, MangaVideoError
from mangavideo.settings import Environment
from stepwell import toolkit
from stepwell.toolkit import aws, http

MACHINE_VARIABLE = "STATE_MACHINE_ARN"
SECONDS = 20.0


class WorkflowError(MangaVideoError):
    """The workflow service could not be reached, or refused."""


class Workflow:
    """One state machine and the functions beside it."""

    def __init__(self, environment: Environment | None = None) -> None:
        self._url = os.environ.get("STEPWELL_API_URL", "").rstrip("/")
        if not self._url and toolkit.resources().backend == "embedded":
            raise ConfigError(
                "STEPWELL_API_URL is not set: workers answer over the Step Functions API, so run this project with `stepwell serve`"
            )
        self._machine = (environment or Environment(MACHINE_VARIABLE)).text(MACHINE_VARIABLE)
        self._client = http.client(timeout=SECONDS)

    def start(self, name: str, input: Mapping[str, Any]) -> str:
        """Start an execution; returns its ARN. Raises WorkflowError."""
        text = json.dumps(input, ensure_ascii=False)
        answer = self._call("StartExecution", stateMachineArn=self._machine, name=name, input=text)
        return str(answer["executionArn"])

    def running(self) -> list[str]:
        """Names of the machine's executions that run now. Raises WorkflowError."""
        found: list[str] = []
        page: dict[str, Any] = {"stateMachineArn": self._machine, "statusFilter": "RUNNING"}
        while True:
            answer = self._call("ListExecutions", **page)
            found += [execution["name"] for execution in answer["executions"]]
            if not answer.get("nextToken"):
                return found
            page["nextToken"] = answer["nextToken"]

    def invoke_later(self, function: str, event: Mapping[str, Any]) -> None:
        """Have a function called with this event; returns when that is certain, not when it is done. Raises WorkflowError."""
        body = json.dumps(event).encode()
        if not self._url:
            with aws.errors(f"calling {function}"):
                aws.client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=body)
            return
        address = f"{self._url}/2015-03-31/functions/{function}/invocations"
        try:
            answer = self._client.post(address, content=body, headers={"x-amz-invocation-type": "Event"})
        except httpx.HTTPError as error:
            raise WorkflowError(f"{function} could not be called: {error}") from error
        if not answer.is_success:
            raise WorkflowError(f"{function} could not be called: {answer.status_code} {answer.text[:200]}")

    def _call(self, action: str, **arguments: Any) -> dict[str, Any]:
        if not self._url:
            operation = {"StartExecution": "start_execution", "ListExecutions": "list_executions"}[action]
            with aws.errors(action):
                return dict(getattr(aws.client("stepfunctions"), operation)(**arguments))
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AWSStepFunctions.{action}"}
        try:
            answer = self._client.post(self._url, json=arguments, headers=headers)
            document = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise WorkflowError(f"{action}: {error}") from error
        if not answer.is_success:
            raise WorkflowError(f"{action}: {document.get('__type')}: {document.get('message')}")
        return dict(document)
