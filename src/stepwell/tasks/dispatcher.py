"""Carries out RunTask effects: each Resource goes to the module that knows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from stepwell.tasks.aws_clients import AwsClients
from stepwell.tasks.endpoints import Endpoints
from stepwell.tasks.jobs import Jobs, is_job
from stepwell.tasks.kubernetes import ACTIONS, Kubernetes
from stepwell.tasks.lambdas import Functions, FunctionsOf, Lambdas
from stepwell.tasks.nested import start_execution
from stepwell.tasks.ports import Executions
from stepwell.tasks.requests import Submitted, TaskError, TaskRequest
from stepwell.tasks.resources import Integration, parse_integration
from stepwell.tasks.services import Services
from stepwell.toolkit.notices import Topic

OPTIMISED_CALLS = {
    "dynamodb": frozenset({"getItem", "putItem", "updateItem", "deleteItem"}),
    "events": frozenset({"putEvents"}),
    "sns": frozenset({"publish"}),
    "sqs": frozenset({"sendMessage"}),
}


class Dispatcher:
    """Does the work of Task states.

    `functions` runs functions here; `executions` is the host's own Step Functions service; `aws` reaches AWS or an emulator. Each may be
    missing: what would need it fails with an error that says so. `poll_seconds`: between the first two, and between the later questions
    for a `.sync` job's state.
    """

    def __init__(
        self,
        *,
        functions: Functions | None = None,
        executions: Executions | None = None,
        aws: AwsClients | None = None,
        poll_seconds: tuple[float, float] = (1.0, 15.0),
    ) -> None:
        self.executions = executions
        self.aws = aws
        self._lambdas = Lambdas(functions, aws)
        self._services = Services(aws, executions)
        self._endpoints = Endpoints(aws)
        self._jobs = Jobs(self._services, *poll_seconds, leaving=lambda: self._leaving)
        self._kubernetes = Kubernetes(aws, *poll_seconds, leaving=lambda: self._leaving)
        self._leaving = False

    def bind(self, executions: Executions, functions_of: FunctionsOf | None = None) -> None:
        """Give the host's own service, and the functions of its other accounts, when they are made after the dispatcher."""
        self.executions = executions
        self._services.executions = executions
        self._lambdas.others = functions_of

    def add_topics(self, topics: Mapping[str, Topic]) -> None:
        """Answer `sns:publish` to these topics (by ARN) here."""
        self._services.topics.add(topics)

    def detach(self) -> None:
        """The host is going down: from now on a cancelled task leaves child executions and jobs running, to be taken up again."""
        self._leaving = True

    async def close(self) -> None:
        await self._endpoints.close()
        await self._kubernetes.close()
        if self.aws is not None:
            await self.aws.close()

    async def run(self, task: TaskRequest, submitted: Submitted) -> bytes | None:
        """Do the work: the JSON text of the result, or None when the answer will come by task token.

        Raises TaskError. Cancelling the caller cancels the work. `submitted` is awaited once a `.sync` or `.waitForTaskToken` request
        was accepted; if `task.submitted` is set the request is not sent again. PoolClosed passes through: the task was cut
        off by the host's own end and has no answer.
        """
        if task.kind == "lambda":
            return await self._lambdas.run_function(task)
        integration = parse_integration(task.resource)
        arguments = _arguments(task)
        if integration.service == "states" and not integration.sdk:
            return await self._nested(task, integration, arguments, submitted)
        if integration.pattern == "waitForTaskToken" and task.submitted is not None:
            return None
        if is_job(integration.service, integration.action) and not integration.sdk:
            service, action, pattern, _ = integration
            outcome = await self._jobs.run(task, service, action, pattern, arguments, submitted)
            return None if outcome is None else orjson.dumps(outcome)
        if integration.service == "eks" and integration.action in ACTIONS and not integration.sdk:
            action, pattern = integration.action, integration.pattern
            outcome = await self._kubernetes.run(task, action, pattern, arguments, submitted)
            return None if outcome is None else orjson.dumps(outcome)
        result = await self._call(task, integration, arguments)
        text = orjson.dumps(result, option=orjson.OPT_NON_STR_KEYS)
        if integration.pattern != "waitForTaskToken":
            return text
        await submitted(text)
        return None

    async def _nested(
        self, task: TaskRequest, integration: Integration, arguments: dict[str, Any], submitted: Submitted
    ) -> bytes | None:
        if integration.action != "startExecution":
            raise _unknown(task)
        if self.executions is None:
            raise TaskError("States.Runtime", "This host cannot start nested executions.", "schedule")
        return await start_execution(
            task, arguments, integration.pattern, self.executions, submitted, lambda: self._leaving
        )

    async def _call(self, task: TaskRequest, integration: Integration, arguments: dict[str, Any]) -> dict[str, Any]:
        service, action, pattern, sdk = integration
        phase = "submit" if pattern else "run"
        if sdk:
            return await self._services.sdk(task, service, action, arguments, phase)
        if service == "lambda" and action == "invoke":
            return await self._lambdas.run_invoke(task, arguments, phase)
        if action in OPTIMISED_CALLS.get(service, ()):
            return await self._services.optimised(task, service, action, arguments, phase)
        if (service, action) == ("http", "invoke"):
            return await self._endpoints.http_invoke(task, arguments)
        if (service, action) == ("apigateway", "invoke"):
            return await self._endpoints.api_gateway_invoke(task, arguments, phase)
        if (service, action) == ("bedrock", "invokeModel"):
            return await self._services.invoke_model(task, arguments, phase)
        raise _unknown(task)


def _arguments(task: TaskRequest) -> dict[str, Any]:
    arguments = orjson.loads(task.arguments)
    if not isinstance(arguments, dict):
        raise TaskError(
            "States.Runtime",
            f"The Parameters '{task.arguments.decode()}' could not be used to start the Task: [They must be a JSON object]",
            "schedule",
        )
    return arguments


def _unknown(task: TaskRequest) -> TaskError:
    return TaskError(
        "States.Runtime",
        f"The resource provided {task.resource} is not recognized. The value is not a valid resource ARN, "
        "or the resource is not available in this region.",
        "schedule",
    )
