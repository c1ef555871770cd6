"""The HTTP server: uvicorn with limits on connections, header size and slow clients."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stepwell.api.accounts import OpenEngine
from stepwell.api.app import Application, create_app
from stepwell.api.auth import Authenticator
from stepwell.api.listener import ServerError, addresses, listen, url_of
from stepwell.engine.engine import Engine

__all__ = ["Server", "check_access", "serve"]

MAX_CONNECTIONS = 1_000
MAX_HEADER_BYTES = 32 * 1024
HEADER_SECONDS = 15.0
"""Within this time a connection must have sent a request's headers."""
KEEP_ALIVE_SECONDS = 75
GRACE_SECONDS = 10

_BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class OneWrite:
    """A transport that sends what was written in one turn of the loop at once: head and body of a response are one packet."""

    __slots__ = ("_loop", "_parts", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            parts, self._parts = self._parts, []
            self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with what it lacks: a limit on connections, on the size of headers, and on the time they take."""

    _reading_headers = True
    _refused = False
    _chunk = 0
    _header_bytes = 0
    """At least as many as the headers of the present request have."""
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(OneWrite(transport, self.loop))  # type: ignore[arg-type]
        if len(self.connections) > MAX_CONNECTIONS:
            self._refuse(_BUSY)
        else:
            self._deadline = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._chunk = len(data)
        if self._reading_headers:
            self._header_bytes += self._chunk
        super().data_received(data)
        if not self._reading_headers:
            return
        if self._header_bytes > MAX_HEADER_BYTES:
            self._refuse(_TOO_LARGE)
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_SECONDS, self._too_slow)

    def on_message_begin(self) -> None:
        self._reading_headers = True
        self._header_bytes = self._chunk
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._reading_headers = False
        if self._deadline is not None:
            self._stop_deadline()
        # What was received is an upper bound; only a body that came along makes counting necessary.
        if self._header_bytes > MAX_HEADER_BYTES and sum(len(n) + len(v) for n, v in self.headers) > MAX_HEADER_BYTES:
            self._refuse(_TOO_LARGE)
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if not self._refused:
            super().on_message_complete()

    def _too_slow(self) -> None:
        self._deadline = None
        if self._reading_headers and not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, response: bytes) -> None:
        self._refused = True
        if not self.transport.is_closing():
            self.transport.write(response)
            self.transport.close()

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


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
            http=LimitedProtocol,
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
            await stop.wait()
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
