"""What the simulated services share: a real HTTP server on a free loopback port, faults to come, and a record of what was asked."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Request:
    """One request. Header names are in lower case; `query` keeps repetitions."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]
    body: bytes
    at: float

    def json(self) -> Any:
        return json.loads(self.body)

    def first(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.query if key == name), default)


@dataclass(frozen=True)
class Answer:
    """Status, body (bytes, or JSON), headers. `reset` breaks the connection instead."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    reset: bool = False


@dataclass
class Fault:
    """What the next `times` requests get whose method is `method` and whose path contains `path`, after `skip` others."""

    path: str
    answer: Answer
    times: int = 1
    skip: int = 0
    method: str = ""
    delay: float = 0.0


class Simulator:
    """A service. Subclasses answer in `respond`; a context manager."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.watchers: list[Callable[[Request], None]] = []
        self._faults: list[Fault] = []
        self._lock = threading.RLock()
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

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
        self, path: str, answer: Answer, *, times: int = 1, skip: int = 0, method: str = "", delay: float = 0.0
    ) -> None:
        """Plan a fault."""
        with self._lock:
            self._faults.append(Fault(path, answer, times, skip, method, delay))

    def asked(self, path: str, method: str = "") -> list[Request]:
        """Requests whose path contains a text, in order."""
        with self._lock:
            return [r for r in self.requests if path in r.path and (not method or r.method == method)]

    def respond(self, request: Request) -> Answer:
        raise NotImplementedError

    def fault(self, request: Request) -> Answer | None:
        """The planned fault for a request, which is then used up."""
        with self._lock:
            for fault in self._faults:
                if fault.path not in request.path or (fault.method and fault.method != request.method):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                if fault.times:
                    fault.times -= 1
                    time.sleep(fault.delay)
                    return fault.answer
        return None

    def handle(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
        for watcher in self.watchers:
            watcher(request)
        return self.fault(request) or self.respond(request)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], simulator: Simulator) -> None:
        self.simulator = simulator
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length") or 0))
        query = parse_qsl(parts.query, keep_blank_values=True)
        request = Request(self.command, parts.path, query, headers, body, time.monotonic())
        answer = self.server.simulator.handle(request)
        if answer.reset:
            # Linger 0: the peer gets a reset, as when a line is cut.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        content, kind = answer.body, "application/octet-stream"
        if not isinstance(content, bytes):
            content, kind = json.dumps(content, ensure_ascii=False).encode(), "application/json"
        self.send_response_only(answer.status)
        for name, value in {"content-type": kind, **{k.lower(): v for k, v in answer.headers.items()}}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = _handle

    def log_message(self, format: str, *args: Any) -> None:
        """The simulator keeps its own record."""

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, ValueError, OSError):
            self.close_connection = True
