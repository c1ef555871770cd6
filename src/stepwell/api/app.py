"""The server's ASGI application: the Step Functions API, the Lambda API, health and metrics, and the way to an emulator."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path

import orjson
from starlette.types import ASGIApp

from stepwell.api.accounts import Accounts, OpenEngine
from stepwell.api.actions import Actions
from stepwell.api.auth import Authenticator
from stepwell.api.forwarding import Forwarder
from stepwell.api.guard import Guard
from stepwell.api.lambda_protocol import PREFIXES, LambdaProtocol
from stepwell.api.listener import OBJECTS
from stepwell.api.metrics import CONTENT_TYPE_LATEST, Metrics
from stepwell.api.nested import AccountsService
from stepwell.api.protocol import Receive, Scope, Send, StepFunctionsProtocol, answer
from stepwell.engine.engine import Engine

__all__ = ["Application", "create_app"]


class Application:
    """Routes by path: `POST /` Step Functions, Lambda's dated paths, `/objects/...` presigned URLs, `/health`, `/metrics`."""

    def __init__(
        self,
        step_functions: StepFunctionsProtocol,
        lambda_functions: LambdaProtocol,
        metrics: Metrics,
        accounts: Accounts,
        forwarder: Forwarder | None = None,
    ) -> None:
        """`forwarder` takes what is for other AWS services."""
        self.forwarder = forwarder
        self.step_functions = step_functions
        self.lambda_functions = lambda_functions
        self.metrics = metrics
        self.accounts = accounts
        self._objects: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            if self.forwarder is not None and self.forwarder.takes(scope):
                await self.forwarder(scope, receive, send)
            elif scope["method"] == "POST" and path in ("/", ""):
                await self.step_functions(scope, receive, send)
            elif path.startswith(PREFIXES):
                await self.lambda_functions(scope, receive, send)
            elif path.startswith(OBJECTS) and self.accounts.home.directory is not None:
                await self._object(self.accounts.home.directory, scope, receive, send)
            elif path == "/health":
                body = orjson.dumps({"status": "ok"})
                await answer(send, 200, body, str(uuid.uuid4()), b"application/json")
            elif path == "/metrics":
                await answer(send, 200, self.metrics.render(), str(uuid.uuid4()), CONTENT_TYPE_LATEST.encode())
            elif self.forwarder is not None:
                await self.forwarder(scope, receive, send)
            else:
                await answer(send, 404, b'{"message":"Not found"}', str(uuid.uuid4()), b"application/json")
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    @property
    def direct(self) -> StepFunctionsProtocol | None:
        """Who answers `POST /` with a target of Step Functions without a look at anything else; None where something comes first."""
        return self.step_functions if self.forwarder is None else None

    async def close(self) -> None:
        """Let go of what requests opened; the home engine belongs to its owner."""
        if self.forwarder is not None:
            await self.forwarder.close()
        await self.accounts.close()

    async def _object(self, data: Path, scope: Scope, receive: Receive, send: Send) -> None:
        """A presigned URL of a local bucket: its signature is checked there."""
        if self._objects is None:
            from stepwell.toolkit.objects.server import application

            self._objects = application(data)
        await self._objects({**scope, "root_path": scope.get("root_path", "") + OBJECTS}, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return


def create_app(
    engine: Engine,
    *,
    open_account: OpenEngine | None = None,
    authenticator: Authenticator | None = None,
    allowed_hosts: Iterable[str] = (),
) -> Application:
    """The application over an entered engine.

    Without an `authenticator` requests to other host names than `allowed_hosts`, localhost and IP addresses, and requests of web pages of
    other origins are refused, and where the engine's AWS endpoint is an emulator, what is for other services is passed on to it.
    `open_account` gives the engine of another account (see `accounts`).
    """
    accounts = Accounts(engine, open_account)
    metrics = Metrics()
    metrics.watch(engine)
    guard = Guard(allowed_hosts) if authenticator is None else None
    actions = Actions(accounts)
    service = AccountsService(actions)
    accounts.greet(lambda opened: opened.bind(service, accounts.functions_of))
    clients = engine.aws()
    forwarder = None
    if authenticator is None and clients.endpoint is not None and clients.emulated:
        # Only without authentication: an emulator checks no signature.
        forwarder = Forwarder(clients.endpoint, guard)
    return Application(
        StepFunctionsProtocol(actions, guard, authenticator, metrics),
        LambdaProtocol(accounts, guard, authenticator, metrics),
        metrics,
        accounts,
        forwarder,
    )
