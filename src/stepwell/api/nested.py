"""The server as the Step Functions service of its own executions: what a Task state can call, in any account."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from stepwell.api.actions import Actions
from stepwell.engine.engine import Engine
from stepwell.engine.errors import ApiError, ExecutionAlreadyExists
from stepwell.engine.service import is_attempt
from stepwell.tasks.ports import ServiceRefusal


class AccountsService:
    """`stepwell.tasks.ports.Executions` over the API's actions."""

    def __init__(self, actions: Actions) -> None:
        self._actions = actions

    async def call(self, action: str, parameters: dict[str, Any], *, account: str, region: str) -> dict[str, Any]:
        """An API action on behalf of an account. Raises ServiceRefusal."""
        del region  # a server is one region
        try:
            answer: dict[str, Any] = orjson.loads(await self._actions.run(action, parameters, account))
            return answer
        except ExecutionAlreadyExists as error:
            # A task that is carried out again after a crash finds what it started, also if that has ended already.
            name = parameters.get("name")
            engine = self._actions.accounts.of_arn(error.subject)
            if name is None or engine is None or not is_attempt(name):
                raise ServiceRefusal(error.code, error.message) from error
            return _started(engine, error.subject)
        except ApiError as error:
            raise ServiceRefusal(error.code, error.message) from error

    async def wait(self, execution_arn: str) -> dict[str, Any]:
        """DescribeExecution's answer once the execution has ended. Raises ServiceRefusal."""
        engine = self._actions.accounts.of_arn(execution_arn) or self._actions.accounts.home
        try:
            record: dict[str, Any] = msgspec.to_builtins(await engine.executions.wait(execution_arn))
            return record
        except ApiError as error:
            raise ServiceRefusal(error.code, error.message) from error


def _started(engine: Engine, execution_arn: str) -> dict[str, Any]:
    record = engine.executions.describe(execution_arn)
    return {"executionArn": record.execution_arn, "startDate": record.start_date}
