"""A client's connection: uvicorn's, with limits it lacks and a short way for the requests that come most.

uvicorn starts an ASGI application when a request's headers are there. Requests of the Step Functions API have a small body of a known
length: they are answered when it is complete, by one coroutine and one write, which takes half of the time (docs/decisions/0011).
Everything else (chunked bodies, long polls, pipelined requests, other paths) goes uvicorn's way.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from stepwell.api import protocol

if TYPE_CHECKING:
    from stepwell.api.app import Application

__all__ = ["Connection"]

MAX_CONNECTIONS = 1_000
MAX_HEADER_BYTES = 32 * 1024
HEADER_SECONDS = 15.0
"""Within this time a connection must have sent a request's headers."""

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

    def write_now(self, data: bytes) -> None:
        """Send a whole response, after what was written before."""
        if self._parts:
            self._parts.append(data)
            self._flush()
        else:
            self._transport.write(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._parts:
            parts, self._parts = self._parts, []
            self._transport.write(b"".join(parts))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Exchange:
    """A request on the short way. uvicorn sees it as the cycle of the connection: whether it is answered, whether it was cut off."""

    __slots__ = ("disconnected", "headers", "keep_alive", "parts", "response_complete", "scope")

    message_event = asyncio.Event()
    """uvicorn tells a cycle that it is cut off; nobody waits for that here."""

    def __init__(self, scope: Any, headers: protocol.Headers, keep_alive: bool) -> None:
        self.scope = scope
        self.headers = headers
        self.keep_alive = keep_alive
        self.parts: list[bytes] = []
        self.response_complete = False
        self.disconnected = False


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with a limit on connections, on the size of headers, and on the time they take; and the short way."""

    transport: Any
    cycle: Any
    _reading_headers = True
    _refused = False
    _chunk = 0
    _header_bytes = 0
    """At least as many as the headers of the present request have."""
    _deadline: asyncio.TimerHandle | None = None
    """When the headers, or the body on the short way, must have come."""
    _exchange: _Exchange | None = None
    """A request on the short way whose body is not complete."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(OneWrite(transport, self.loop))  # type: ignore[arg-type]
        application: Application = self.config.app  # type: ignore[assignment]
        self._direct = application.direct
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
        if self._exchange is not None:
            if self._deadline is None:
                self._deadline = self.loop.call_later(protocol.BODY_SECONDS, self._body_too_slow)
            return
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
        self._stop_deadline()
        # What was received is an upper bound; only a body that came along makes counting necessary.
        if self._header_bytes > MAX_HEADER_BYTES and sum(len(n) + len(v) for n, v in self.headers) > MAX_HEADER_BYTES:
            self._refuse(_TOO_LARGE)
            return
        self._exchange = self._short_way()
        if self._exchange is not None:
            self.cycle = self._exchange
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._exchange is not None:
            self._exchange.parts.append(body)
        elif not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        exchange = self._exchange
        if exchange is not None:
            self._exchange = None
            self._stop_deadline()
            task = self.loop.create_task(self._answer(exchange))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        elif not self._refused:
            super().on_message_complete()

    # -- the short way

    def _short_way(self) -> _Exchange | None:
        if self._direct is None or self.url != b"/" or self.parser.get_method() != b"POST" or self.expect_100_continue:
            return None
        if self.cycle is not None and not self.cycle.response_complete:
            return None  # pipelined: it waits for its turn
        headers = protocol.read_headers(self.headers)
        if not 0 <= headers.length <= protocol.MAX_BODY or not self._direct.takes_whole(headers.target):
            return None
        if self.parser.get_http_version() != "1.1" or self.parser.should_upgrade():
            return None
        scope = self.scope
        scope["method"] = "POST"
        scope["path"] = "/"
        scope["raw_path"] = b"/"
        scope["query_string"] = b""
        return _Exchange(scope, headers, self.parser.should_keep_alive())

    async def _answer(self, exchange: _Exchange) -> None:
        parts = exchange.parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        assert self._direct is not None
        self._send(exchange, await self._direct.respond(exchange.scope, exchange.headers, body))

    def _send(self, exchange: _Exchange, response: protocol.Response) -> None:
        exchange.response_complete = True
        if exchange.disconnected or self.transport.is_closing():
            return
        head = [STATUS_LINE[response.status]]
        for name, value in self.server_state.default_headers:
            head += (name, b": ", value, b"\r\n")
        if not exchange.keep_alive:
            head.append(b"connection: close\r\n")
        head.append(
            b"x-amzn-requestid: %b\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: %d\r\n\r\n"
            % (response.request_id.encode(), len(response.body))
        )
        head.append(response.body)
        self.transport.write_now(b"".join(head))
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _body_too_slow(self) -> None:
        self._deadline = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None and self._direct is not None:
            self._refused = True  # what still comes of the body is nobody's
            exchange.keep_alive = False
            error = protocol.RequestTimeout(
                f"The request body did not arrive within {protocol.BODY_SECONDS:g} seconds."
            )
            self._send(exchange, self._direct.refuse(error))

    # -- limits

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
