"""The engine as the Step Functions service of its own executions: nested executions and `aws-sdk:sfn:*` calls."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from stepwell.engine.errors import ApiError, ExecutionAlreadyExists
from stepwell.tasks.ports import ServiceRefusal

if TYPE_CHECKING:
    from stepwell.engine.engine import Engine

__all__ = ["Service", "is_attempt"]

Parameters = dict[str, Any]


class Service:
    """`stepwell.tasks.ports.Executions` over an engine. The API server binds a wider one, with every action."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def call(self, action: str, parameters: Parameters, *, account: str, region: str) -> Parameters:
        """An API action. Raises ServiceRefusal. `account` and `region` are the caller's; there is one service for all."""
        handler = _ACTIONS.get(action)
        if handler is None:
            raise ServiceRefusal(
                "UnknownOperationException", f"The action {action} is not available inside of an execution."
            )
        try:
            return await handler(self._engine, parameters)
        except ApiError as error:
            raise ServiceRefusal(error.code, error.message) from error

    async def wait(self, execution_arn: str) -> Parameters:
        """DescribeExecution's answer once the execution has ended."""
        try:
            return _wire(await self._engine.executions.wait(execution_arn))
        except ApiError as error:
            raise ServiceRefusal(error.code, error.message) from error


def _wire(record: object) -> Parameters:
    answer: Parameters = msgspec.to_builtins(record)
    return answer


async def _start(engine: Engine, p: Parameters) -> Parameters:
    name = p.get("name")
    try:
        started = await engine.executions.start(
            p["stateMachineArn"], p.get("input", "{}"), name=name, trace_header=p.get("traceHeader")
        )
    except ExecutionAlreadyExists as error:
        # A task that is carried out again after a crash finds what it started, also if that has ended already. Its
        # name is made of the attempt's id (a version 5 UUID); a name the user gave is refused, as on AWS.
        if name is None or not is_attempt(name):
            raise
        record = engine.executions.describe(error.subject)
        return {"executionArn": record.execution_arn, "startDate": record.start_date}
    return _wire(started)


def is_attempt(name: str) -> bool:
    """Whether an execution's name was made of an attempt's id."""
    try:
        return uuid.UUID(name).version == 5
    except ValueError:
        return False


async def _start_sync(engine: Engine, p: Parameters) -> Parameters:
    return _wire(
        await engine.executions.start_sync(
            p["stateMachineArn"], p.get("input", "{}"), name=p.get("name"), trace_header=p.get("traceHeader")
        )
    )


async def _describe(engine: Engine, p: Parameters) -> Parameters:
    return _wire(engine.executions.describe(p["executionArn"]))


async def _stop(engine: Engine, p: Parameters) -> Parameters:
    return {"stopDate": await engine.executions.stop(p["executionArn"], error=p.get("error"), cause=p.get("cause"))}


async def _succeed(engine: Engine, p: Parameters) -> Parameters:
    await engine.callbacks.succeed(p["taskToken"], p["output"])
    return {}


async def _fail(engine: Engine, p: Parameters) -> Parameters:
    await engine.callbacks.fail(p["taskToken"], error=p.get("error"), cause=p.get("cause"))
    return {}


async def _heartbeat(engine: Engine, p: Parameters) -> Parameters:
    await engine.callbacks.heartbeat(p["taskToken"])
    return {}


_ACTIONS: dict[str, Callable[[Engine, Parameters], Awaitable[Parameters]]] = {
    "StartExecution": _start,
    "StartSyncExecution": _start_sync,
    "DescribeExecution": _describe,
    "StopExecution": _stop,
    "SendTaskSuccess": _succeed,
    "SendTaskFailure": _fail,
    "SendTaskHeartbeat": _heartbeat,
}
