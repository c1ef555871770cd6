"""The HTTP server: uvicorn with connections of our own (`connection`), started and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

import uvicorn

from stepwell.api.accounts import OpenEngine
from stepwell.api.app import Application, create_app
from stepwell.api.auth import Authenticator
from stepwell.api.connection import Connection
from stepwell.api.listener import ServerError, addresses, listen, url_of
from stepwell.engine.engine import Engine

__all__ = ["Server", "check_access", "serve"]

KEEP_ALIVE_SECONDS = 75
GRACE_SECONDS = 10


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers: who runs it decides when it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


class Server:
    """A running server: `async with Server(app, "127.0.0.1", 0) as server: server.url`.

    Leaving it stops in order: no new connections, long polls are answered, running requests get `GRACE_SECONDS`.
    """

    def __init__(
        self, app: Application, host: str = "127.0.0.1", port: int = 8083, listener: socket.socket | None = None
    ) -> None:
        self.app = app
        self.host = host
        self.port = port
        self._listener = listener
        self._server: _Uvicorn | None = None
        self._running: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return url_of(self.host, self.port)

    async def __aenter__(self) -> Server:
        listener = self._listener or listen(self.host, self.port)
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self.app,
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._server = _Uvicorn(config)
        self._running = asyncio.create_task(self._server.serve(sockets=[listener]))
        while not self._server.started:
            if self._running.done():
                await self._running
                raise ServerError(f"The server on {self.url} ended while starting; see the log.")
            await asyncio.sleep(0.001)
        engine = self.app.accounts.home
        if engine.mode == "run":  # where functions answer task tokens, and what presigned URLs begin with
            engine.functions.set_environment(addresses(self.url))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None and self._running is not None:
            self._server.should_exit = True
            self.app.step_functions.release_polls()
            await self._running
        await self.app.close()


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_access(host: str, authenticator: Authenticator | None, insecure: bool) -> None:
    """Raises ServerError when `host` is not a loopback address while nobody has to authenticate, unless `insecure`."""
    if authenticator is None and not insecure and not is_loopback(host):
        raise ServerError(
            f"Listening on {host} lets everybody who can reach it run state machines and functions. Use --auth, or --insecure if "
            "the network is trusted."
        )


async def serve(
    engine: Engine,
    host: str = "127.0.0.1",
    port: int = 8083,
    *,
    open_account: OpenEngine | None = None,
    authenticator: Authenticator | None = None,
    insecure: bool = False,
    allowed_hosts: Iterable[str] = (),
    ready: Callable[[Server], None] | None = None,
    listener: socket.socket | None = None,
    until: asyncio.Event | None = None,
) -> None:
    """Serve the API of an entered engine until `until` is set (None: until SIGINT or SIGTERM), on `listener` if there is one.

    Raises ServerError when the port is taken, and what `check_access` raises.
    """
    check_access(host, authenticator, insecure)
    app = create_app(
        engine,
        open_account=open_account,
        authenticator=authenticator,
        allowed_hosts=allowed_hosts,
    )
    stop = until or asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM) if until is None else ()
    async with Server(app, host, port, listener) as server:
        for number in signals:
            loop.add_signal_handler(number, stop.set)
        try:
            if ready is not None:
                ready(server)
            if until is None:
                # The process is the server's own: what was loaded until now stays, and a full collection need not look at it each
                # time, which would hold up all requests for some 30 ms.
                gc.freeze()
            await stop.wait()
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
