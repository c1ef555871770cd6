"""Answers by task token: from activity workers and from whoever got the token of a `.waitForTaskToken` task."""

from __future__ import annotations

import asyncio

import orjson

from stepwell.engine.errors import InvalidArn, InvalidOutput, InvalidToken, TaskDoesNotExist, TaskTimedOut
from stepwell.engine.executions import execution_key
from stepwell.engine.host import Host
from stepwell.engine.live import Live
from stepwell.interpreter import events, tokens

__all__ = ["Callbacks"]

PAYLOAD_LIMIT = 262_144
OVERTAKING_SECONDS = 0.25


class Callbacks:
    """`engine.callbacks`. When a method returns, the answer is on disk and counts; tokens stay valid across restarts.

    All raise InvalidToken (not a token), TaskDoesNotExist (no such execution) and TaskTimedOut (answered, timed out, cancelled).
    """

    def __init__(self, host: Host) -> None:
        self._host = host

    async def succeed(self, task_token: str, output: str | bytes) -> None:
        """SendTaskSuccess. Raises InvalidOutput too: not JSON, or more than 262,144 bytes."""
        live, token = await self._find(task_token)
        data = output.encode() if isinstance(output, str) else output
        if len(data) > PAYLOAD_LIMIT:
            raise InvalidOutput(f"The output is longer than {PAYLOAD_LIMIT} bytes")
        try:
            orjson.loads(data)
        except orjson.JSONDecodeError:
            raise InvalidOutput(data.decode(errors="replace")) from None
        at, seed = self._host.at(live), self._host.seed()
        self._host.handle(live, events.TaskSucceeded(at, seed, token.command, data, token.nonce))
        await self._acknowledged(live)

    async def fail(self, task_token: str, *, error: str | None = None, cause: str | None = None) -> None:
        """SendTaskFailure."""
        live, token = await self._find(task_token)
        at, seed = self._host.at(live), self._host.seed()
        self._host.handle(live, events.TaskFailed(at, seed, token.command, error, cause, token.nonce))
        await self._acknowledged(live)

    async def heartbeat(self, task_token: str) -> None:
        """SendTaskHeartbeat."""
        live, token = await self._find(task_token, after_sending=False)
        at, seed = self._host.at(live), self._host.seed()
        self._host.handle(live, events.TaskHeartbeat(at, seed, token.command, token.nonce))
        await self._acknowledged(live)

    async def _find(self, task_token: str, *, after_sending: bool = True) -> tuple[Live, tokens.TaskToken]:
        self._host.journal.check()
        try:
            token = tokens.decode(task_token)
        except ValueError:
            raise InvalidToken from None
        live = self._live(token.execution_arn)
        if live is None or not live.execution.awaits(token.command, token.nonce):
            raise TaskTimedOut("Provided task does not exist anymore")
        sending = live.tasks.get(token.command)
        if sending is not None and after_sending:
            # The answer overtook the acceptance of the request: the acceptance is recorded first, unless it is waiting for this very
            # answer, as a function does that answers its own token.
            await asyncio.wait([sending], timeout=OVERTAKING_SECONDS)
            live = self._live(token.execution_arn)
            if live is None or not live.execution.awaits(token.command, token.nonce):
                raise TaskTimedOut("Provided task does not exist anymore")
        return live, token

    def _live(self, arn: str) -> Live | None:
        express = self._host.express.get(arn)
        if express is not None:
            return express
        registry = self._host.registry
        try:
            resource, name = execution_key(arn, registry.arns)
        except InvalidArn:
            raise TaskTimedOut("Provided task does not exist anymore") from None
        found = self._host.journal.status(resource, name)
        if found is None:
            if self._host.journal.starting(resource, name) is None:
                raise TaskDoesNotExist("Provided task does not exist")
            raise TaskTimedOut("Provided task does not exist anymore")
        return self._host.get(found[0])

    async def _acknowledged(self, live: Live) -> None:
        if not live.express:
            await self._host.journal.committed()
