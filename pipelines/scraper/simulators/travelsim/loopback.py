"""A small threaded HTTP server for simulators: one `answer` function, a record of what was asked, faults to come."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass
class Request:
    """One request. Header names are in lower case; `query` holds every parameter once, the last one wins."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    at: float
    status: int = 0

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """What goes back."""

    status: int = 200
    body: bytes = b""
    type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Any, status: int = 200, **headers: str) -> Reply:
        return cls(status, json.dumps(document).encode(), headers=headers)


@dataclass
class Fault:
    """What the next `times` matching requests get: a reply instead of the real one, a delay before it, or a cut connection."""

    method: str
    path: re.Pattern[str]
    times: int
    reply: Reply | None
    delay: float
    cut: bool
    when: Callable[[Request], bool]
    after: bool
    """The request is carried out, and only then answered with `reply`: the answer got lost."""


class Loopback:
    """A context manager; subclasses give `answer`. `url` has no trailing slash."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[Request] = []
        self.watchers: list[Callable[[Request], None]] = []
        self._faults: list[Fault] = []
        self._guard = threading.Lock()
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def answer(self, request: Request) -> Reply:
        raise NotImplementedError

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fail(
        self,
        method: str = "*",
        path: str = "",
        *,
        status: int | None = 500,
        times: int = 1,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        delay: float = 0.0,
        cut: bool = False,
        after: bool = False,
        when: Callable[[Request], bool] = lambda request: True,
    ) -> None:
        """The next `times` requests of `method` whose path matches the expression `path` go wrong.

        `status` None with a `delay` only delays; `cut` closes the connection without an answer; `after` carries the request out first.
        """
        reply = None
        if status is not None:
            content = (
                body
                if isinstance(body, bytes)
                else json.dumps(
                    body if body is not None else {"errors": [{"message": "Something went wrong."}]}
                ).encode()
            )
            reply = Reply(status, content, headers=dict(headers or {}))
        with self._guard:
            self._faults.append(Fault(method, re.compile(path), times, reply, delay, cut, when, after))

    def heal(self) -> None:
        """Nothing goes wrong any more."""
        with self._guard:
            self._faults.clear()

    def seen(self, method: str = "*", path: str = "") -> list[Request]:
        """The requests so far of `method` whose path matches."""
        expression = re.compile(path)
        with self._guard:
            return [
                request
                for request in self.requests
                if method in ("*", request.method) and expression.search(request.path)
            ]

    def _handle(self, request: Request) -> Reply | None:
        with self._guard:
            self.requests.append(request)
            fault = next(
                (
                    fault
                    for fault in self._faults
                    if fault.times > 0
                    and fault.method in ("*", request.method)
                    and fault.path.search(request.path)
                    and fault.when(request)
                ),
                None,
            )
            if fault is not None:
                fault.times -= 1
        for watcher in self.watchers:
            watcher(request)
        if fault is not None:
            if fault.delay:
                time.sleep(fault.delay)
            if fault.after:
                self.answer(request)
            if fault.cut:
                return None
            if fault.reply is not None:
                return fault.reply
        return self.answer(request)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], service: Loopback) -> None:
        super().__init__(address, _Handler)
        self.service = service

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Peers that went away are no error here: they are killed on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length") or 0))
        request = Request(
            self.command,
            unquote(parts.path),
            dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers,
            body,
            time.time(),
        )
        reply = self.server.service._handle(request)
        if reply is None:
            self.close_connection = True
            return
        request.status = reply.status
        lines = [f"HTTP/1.1 {reply.status} Answer", f"Content-Type: {reply.type}", f"Content-Length: {len(reply.body)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self.wfile.write(head if self.command == "HEAD" else head + reply.body)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet: `requests` has it all."""
