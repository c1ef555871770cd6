"""Which engine answers a request: the home account's, or another account's own.

As LocalStack and its kin do, an access key of 12 digits is an account id. Every account has an engine of its own, under
`accounts/ID` of the data directory, opened on first use; all other keys belong to the home account.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from stepwell.engine.engine import Engine
from stepwell.engine.errors import ServiceQuotaExceededException
from stepwell.tasks.lambdas import Functions

MAX_ACCOUNTS = 50
"""Engines a server keeps open: an access key is the client's own invention where nobody has to sign."""

OpenEngine = Callable[[str], Awaitable[Engine]]


class Accounts:
    """The engines by account id. `open_engine` gives an entered engine for another account; None: only the home account."""

    def __init__(self, home: Engine, open_engine: OpenEngine | None = None) -> None:
        self.home = home
        self.account = home.arns.account
        self._engines: dict[str, Engine] = {self.account: home}
        self._open = open_engine
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._greet: Callable[[Engine], None] = lambda engine: None

    def greet(self, welcome: Callable[[Engine], None]) -> None:
        """Call `welcome` with every engine, those of now and those to come."""
        self._greet = welcome
        for engine in self._engines.values():
            welcome(engine)

    def all(self) -> list[Engine]:
        return list(self._engines.values())

    async def of_key(self, access_key: str) -> Engine:
        """The engine of a caller."""
        if access_key == self.account or len(access_key) != 12 or not access_key.isdigit():
            return self.home
        return await self.of_account(access_key)

    def of_arn(self, arn: str) -> Engine | None:
        """The engine that would know an ARN, when it is open already."""
        parts = arn.split(":", 5)
        return self._engines.get(parts[4]) if len(parts) == 6 else None

    def functions_of(self, account: str) -> Functions | None:
        """The functions of an account whose engine is open; the home account's for an empty id."""
        engine = self._engines.get(account or self.account)
        return None if engine is None else Functions(engine.functions, engine.invocations)

    async def of_account(self, account: str) -> Engine:
        engine = self._engines.get(account)
        if engine is None:
            if self._open is None:
                return self.home
            async with self._opening:
                engine = self._engines.get(account)
                if engine is None:
                    if len(self._engines) >= MAX_ACCOUNTS:
                        raise ServiceQuotaExceededException(
                            f"This server has {MAX_ACCOUNTS} accounts open. Use the access key of one of them."
                        )
                    engine = await self._open(account)
                    self._stack.push_async_exit(engine)
                    self._engines[account] = engine
                    self._greet(engine)
        return engine

    async def close(self) -> None:
        """Close the engines opened here; the home engine belongs to its owner."""
        await self._stack.aclose()
