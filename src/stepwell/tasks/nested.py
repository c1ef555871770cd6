"""Nested executions: `states:startExecution` and its `.sync`, `.sync:2` and `.waitForTaskToken` forms.

Source: https://docs.aws.amazon.com/step-functions/latest/dg/connect-stepfunctions.html and AWS's recordings.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from typing import Any

import orjson

from stepwell.tasks.aws_clients import CallFailed
from stepwell.tasks.ports import Executions, ServiceRefusal
from stepwell.tasks.requests import Submitted, TaskError, TaskRequest
from stepwell.tasks.resources import Pattern
from stepwell.tasks.wording import optimised_error, sdk_metadata, states_errors

_FIELDS = {
    "StateMachineArn": "stateMachineArn",
    "Input": "input",
    "Name": "name",
    "TraceHeader": "traceHeader",
}


async def start_execution(
    task: TaskRequest,
    arguments: dict[str, Any],
    pattern: Pattern,
    executions: Executions,
    submitted: Submitted,
    leaving: Callable[[], bool],
) -> bytes | None:
    """Start a child execution and, as the pattern says, wait for its end.

    When the task is cancelled the child is stopped, unless the host is `leaving`: then it goes on and is waited for again after
    the restart.
    """
    starting = None
    arn = None
    try:
        if task.submitted is not None:
            arn = orjson.loads(task.submitted)["ExecutionArn"]
        else:
            phase = "submit" if pattern else "run"
            starting = asyncio.ensure_future(_start(task, arguments, executions, phase))
            started = await asyncio.shield(starting)
            text = orjson.dumps(started)
            if not pattern:
                return text
            arn = started["ExecutionArn"]
            await submitted(text)
        if pattern == "waitForTaskToken":
            return None
        ended = await executions.wait(arn)
    except ServiceRefusal as refusal:
        raise _refused(refusal, "run") from refusal
    except asyncio.CancelledError:
        if leaving():
            if starting is not None:
                starting.cancel()
        elif pattern in ("sync", "sync:2"):
            if arn is None and starting is not None:
                # The child may be running already although its start was not answered yet.
                with contextlib.suppress(TaskError):
                    arn = (await starting)["ExecutionArn"]
            if arn is not None:
                await _stop(arn, task, executions)
        raise
    document = _document(ended, parsed=pattern == "sync:2", redrive=task.credentials is not None)
    if ended["status"] == "SUCCEEDED":
        return orjson.dumps(document)
    raise TaskError("States.TaskFailed", orjson.dumps(document).decode())


def _caller(task: TaskRequest) -> tuple[str, str]:
    role = (task.credentials or {}).get("RoleArn")
    account = role.split(":")[4] if isinstance(role, str) and role.count(":") >= 5 else task.account
    return account, task.region


async def _start(task: TaskRequest, arguments: dict[str, Any], executions: Executions, phase: str) -> dict[str, Any]:
    parameters = {_FIELDS[name]: value for name, value in arguments.items() if name in _FIELDS and value is not None}
    given = parameters.get("input")
    if given is None:
        parameters["input"] = "{}"
    elif not isinstance(given, str):
        parameters["input"] = orjson.dumps(given).decode()
    # Carried out again after a crash, the same attempt finds the child it started.
    parameters.setdefault("name", str(uuid.uuid5(uuid.NAMESPACE_URL, f"{task.execution_arn}#{task.command}")))
    account, region = _caller(task)
    try:
        answer = await executions.call("StartExecution", parameters, account=account, region=region)
    except ServiceRefusal as refusal:
        raise _refused(refusal, phase) from refusal
    arn, date = answer["executionArn"], answer["startDate"]
    # AWS writes the date as Java prints a double: 1.688136139432E9
    digits = f"{round(date * 1000) / 1e12:.12f}".rstrip("0")
    length = len(f'{{"executionArn":"{arn}","startDate":{digits}E9}}')
    return {
        "ExecutionArn": arn,
        **sdk_metadata("states", length=length),
        "StartDate": round(date * 1000),
    }


async def _stop(arn: str, task: TaskRequest, executions: Executions) -> None:
    account, region = _caller(task)
    with contextlib.suppress(ServiceRefusal, asyncio.CancelledError):  # it may have ended by itself
        await asyncio.shield(executions.call("StopExecution", {"executionArn": arn}, account=account, region=region))


def _refused(refusal: ServiceRefusal, phase: str) -> TaskError:
    failure = CallFailed(refusal.code, refusal.message, refusal.status)
    return optimised_error("states", failure, states_errors(), phase)


def _document(ended: dict[str, Any], *, parsed: bool, redrive: bool) -> dict[str, Any]:
    """DescribeExecution's answer as the task's result, or, when it failed, as its cause. Keys in AWS's order (alphabetical)."""

    def payload(text: str) -> Any:
        return orjson.loads(text) if parsed else text

    document: dict[str, Any] = {}
    for key in ("Cause", "Error"):
        if ended.get(key.lower()) is not None:
            document[key] = ended[key.lower()]
    document["ExecutionArn"] = ended["executionArn"]
    if ended.get("input") is not None:
        document["Input"] = payload(ended["input"])
        document["InputDetails"] = {"Included": True}
    document["Name"] = ended["name"]
    if ended.get("output") is not None:
        document["Output"] = payload(ended["output"])
        document["OutputDetails"] = {"Included": True}
    if redrive:
        # AWS's recordings have these for executions started with a role of their own, and not otherwise.
        status = ended["status"]
        document["RedriveCount"] = ended.get("redriveCount", 0)
        document["RedriveStatus"] = ended.get("redriveStatus", "NOT_REDRIVABLE")
        document["RedriveStatusReason"] = ended.get(
            "redriveStatusReason", f"Execution is {status} and cannot be redriven"
        )
    document["StartDate"] = round(ended["startDate"] * 1000)
    document["StateMachineArn"] = ended["stateMachineArn"]
    document["Status"] = ended["status"]
    document["StopDate"] = round(ended["stopDate"] * 1000)
    return document
