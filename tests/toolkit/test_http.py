"""The HTTP client against a loopback server that misbehaves on order."""

from __future__ import annotations

import email.utils
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import stamina

from stepwell.toolkit import http
from stepwell.toolkit.http import HttpFailure, Retries

BODY = os.urandom(300_000)
QUICK = Retries(attempts=3, initial=0.001, longest=0.002, jitter=0.0)


class Service:
    """Answers with the scripted steps, then with 200; remembers what it was asked."""

    def __init__(self) -> None:
        self.script: list[Callable[[BaseHTTPRequestHandler], None] | int] = []
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.times: list[float] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                length = int(headers.get("content-length", 0))
                self.body = self.rfile.read(length)
                service.times.append(time.monotonic())
                service.requests.append((self.command, self.path, headers))
                step = service.script.pop(0) if service.script else 200
                if isinstance(step, int):
                    answer(self, step)
                else:
                    step(self)

            do_GET = do_POST = do_PUT = do_HEAD = handle_any

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"


def answer(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"{}", **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def reset(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def part(count: int, then: Callable[[BaseHTTPRequestHandler], None], **headers: str) -> Callable[[Any], None]:
    """Send `count` bytes of BODY from the asked offset, announcing all of the rest, then do something else."""

    def step(handler: BaseHTTPRequestHandler) -> None:
        start = int((handler.headers.get("range") or "bytes=0-")[6:-1])
        handler.send_response(206 if start else 200)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("content-length", str(len(BODY) - start))
        handler.end_headers()
        handler.wfile.write(BODY[start : start + count])
        handler.wfile.flush()
        if count < len(BODY) - start:
            then(handler)

    return step


def close(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def service() -> Iterator[Service]:
    found = Service()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,))
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


@pytest.fixture
def api(service: Service) -> Iterator[httpx.Client]:
    with http.client(service.url) as found:
        yield found


def test_no_retries_unless_asked_for(service: Service, api: httpx.Client) -> None:
    service.script = [503]
    assert api.get("/x").status_code == 503
    assert len(service.requests) == 1


def test_retries(service: Service) -> None:
    service.script = [503, reset, 200]
    with http.client(service.url, retries=QUICK) as api:
        assert api.get("/x").status_code == 200
    assert len(service.requests) == 3


def test_retries_end_with_the_last_answer(service: Service) -> None:
    service.script = [500, 502, lambda handler: answer(handler, 503, b"the last one"), 200]
    with http.client(service.url, retries=QUICK) as api:
        found = api.get("/x")
    assert (found.status_code, found.text) == (503, "the last one")
    assert len(service.requests) == 3


def test_retries_end_with_the_last_error(service: Service) -> None:
    service.script = [reset, reset, reset, 200]
    with http.client(service.url, retries=QUICK) as api, pytest.raises(httpx.TransportError):
        api.get("/x")
    assert len(service.requests) == 3


def test_what_is_not_retried(service: Service) -> None:
    with http.client(service.url, retries=QUICK) as api:
        service.script = [404]
        assert api.get("/x").status_code == 404
        service.script = [503]
        assert api.post("/x", json={}).status_code == 503
        service.script = [503]
        assert api.put("/x", content=iter([b"a", b"b"])).status_code == 503
        service.script = [503]
        assert api.put("/x", content=b"ab").status_code == 200
    assert len(service.requests) == 5


def test_retry_after_is_honoured_and_capped(service: Service) -> None:
    rule = Retries(attempts=4, initial=0.001, longest=0.002, jitter=0.0, retry_after_cap=0.15)
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    service.script = [
        lambda handler: answer(handler, 429, retry_after="0.1"),
        lambda handler: answer(handler, 503, retry_after="1000"),
        lambda handler: answer(handler, 429, retry_after=date),
    ]
    with http.client(service.url, retries=rule) as api:
        assert api.get("/x").status_code == 200
    waits = [later - earlier for earlier, later in zip(service.times, service.times[1:], strict=False)]
    assert 0.09 < waits[0] < 0.5
    assert 0.14 < waits[1] < 0.6
    assert 0.14 < waits[2] < 0.6


def test_stamina_can_be_switched_off_in_tests(service: Service) -> None:
    service.script = [503, 503]
    with stamina.set_testing(True, attempts=1), http.client(service.url, retries=Retries(initial=100)) as api:
        assert api.get("/x").status_code == 503


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, "rate_limited"),
        (401, "unauthorized"),
        (403, "unauthorized"),
        (404, "not_found"),
        (410, "not_found"),
        (400, "client"),
        (500, "server"),
        (599, "server"),
    ],
)
def test_kinds(service: Service, api: httpx.Client, status: int, kind: str) -> None:
    service.script = [lambda handler: answer(handler, status, b"why " * 500, retry_after="7")]
    with pytest.raises(HttpFailure) as error:
        http.check(api.get("/x?token=hidden&page=1"))
    found = error.value
    assert (found.kind, found.status, found.retry_after) == (kind, status, 7.0)
    assert found.body == "why " * 125
    assert found.url == f"{service.url}/x"
    assert "hidden" not in str(found) + found.url


class NetworkError(Exception):
    pass


class RateLimitError(Exception):
    def __init__(self, retry_after: float) -> None:
        super().__init__(f"again in {retry_after} s")
        self.retry_after = retry_after


NAMES: Any = {
    "timeout": TimeoutError,
    "network": NetworkError,
    "server": NetworkError,
    429: lambda found: RateLimitError(found.retry_after or 60),
}


def test_errors_by_the_callers_names(service: Service, api: httpx.Client) -> None:
    service.script = [500, reset, 429, 404]
    with pytest.raises(NetworkError, match="500"), http.raising(NAMES):
        http.check(api.get("/x"))
    with pytest.raises(NetworkError), http.raising(NAMES):
        api.get("/x")
    with pytest.raises(RateLimitError) as error, http.raising(NAMES):
        http.check(api.get("/x"))
    assert error.value.retry_after == 60
    with pytest.raises(HttpFailure, match="404"), http.raising(NAMES):
        http.check(api.get("/x"))
    with pytest.raises(KeyError), http.raising(NAMES):
        raise KeyError


def test_timeouts(service: Service) -> None:
    release = threading.Event()
    service.script = [lambda handler: (release.wait(10), answer(handler, 200))[0]]
    try:
        with http.client(service.url, timeout=0.05) as api, pytest.raises(TimeoutError), http.raising(NAMES):
            api.get("/x")
    finally:
        release.set()
    with http.client("http://127.0.0.1:1") as api, pytest.raises(NetworkError), http.raising(NAMES):
        api.get("/x")


def test_rate_limit(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_limiters", {})
    clients = [http.client(service.url, rates={"127.0.0.1": 50}) for _ in range(2)]
    threads = [threading.Thread(target=lambda c=c: [c.get("/x") for _ in range(5)]) for c in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(service.times) == 10
    assert max(service.times) - min(service.times) >= 8 / 50
    for found in clients:
        found.close()


def test_httpx_own_log_lines_are_clean(service: Service, api: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="httpx"):
        api.get("/x?Signature=hidden-signature&Expires=1")
    assert "HTTP Request" in caplog.text
    assert "hidden-signature" not in caplog.text


def test_download(service: Service, api: httpx.Client) -> None:
    service.script = [part(len(BODY), close, etag='"v1"')]
    with http.download(api, "/file") as body:
        assert (body.total, body.received, body.status) == (len(BODY), 0, 200)
        assert b"".join(body) == BODY
    assert body.received == len(BODY)
    _, _, headers = service.requests[0]
    assert headers["accept-encoding"] == "identity"
    assert "range" not in headers


def test_download_of_an_error(service: Service, api: httpx.Client) -> None:
    service.script = [lambda handler: answer(handler, 403, b"expired")]
    with pytest.raises(HttpFailure) as error:
        http.download(api, "/file?Signature=hidden")
    assert (error.value.kind, error.value.body) == ("unauthorized", "expired")


def test_a_body_that_ends_early(service: Service, api: httpx.Client) -> None:
    service.script = [part(1000, close)]
    with pytest.raises(HttpFailure) as error, http.download(api, "/file") as body:
        for _ in body:
            pass
    assert error.value.kind == "truncated"
    assert "1000 of 300000" in str(error.value)


def test_a_connection_that_is_reset(service: Service, api: httpx.Client) -> None:
    service.script = [part(100_000, reset)]
    with pytest.raises(NetworkError), http.raising(NAMES), http.download(api, "/file") as body:
        for _ in body:
            pass


def test_resume(service: Service, api: httpx.Client) -> None:
    service.script = [
        part(100_000, close, etag='"v1"'),
        part(50_000, close, etag='"v1"'),
        part(len(BODY), close, etag='"v1"'),
    ]
    with http.download(api, "/file", resumes=2) as body:
        assert b"".join(body) == BODY
    assert [headers.get("range") for _, _, headers in service.requests] == [None, "bytes=100000-", "bytes=150000-"]
    assert [headers.get("if-range") for _, _, headers in service.requests] == [None, '"v1"', '"v1"']


def test_resume_runs_out(service: Service, api: httpx.Client) -> None:
    service.script = [part(10, close)] * 3
    with pytest.raises(HttpFailure, match="30 of 300000"), http.download(api, "/file", resumes=2) as body:
        list(body)


def test_resume_of_something_that_changed(service: Service, api: httpx.Client) -> None:
    service.script = [part(10, close, etag='"v1"'), lambda handler: answer(handler, 200, BODY, etag='"v2"')]
    with pytest.raises(HttpFailure, match="cannot be resumed") as error, http.download(api, "/file", resumes=2) as body:
        list(body)
    assert error.value.kind == "truncated"


def test_download_from_an_offset(service: Service, api: httpx.Client) -> None:
    service.script = [part(len(BODY), close)]
    with http.download(api, "/file", start=250_000) as body:
        assert body.total == len(BODY)
        assert b"".join(body) == BODY[250_000:]


def test_cookies_and_headers_only_go_where_they_belong(service: Service) -> None:
    with http.client(service.url, headers={"Cookie": "a=b"}) as api, http.client() as cdn:
        api.get("/api")
        with http.download(cdn, f"{service.url}/file") as body:
            list(body)
    assert service.requests[0][2]["cookie"] == "a=b"
    assert not {"cookie", "authorization"} & service.requests[1][2].keys()


def test_interrupt_from_another_thread(service: Service, api: httpx.Client) -> None:
    release = threading.Event()
    service.script = [part(1000, lambda handler: (release.wait(10), None)[1])]
    try:
        with http.download(api, "/file") as body:
            chunks = iter(body)
            timer = threading.Timer(0.05, body.interrupt)
            timer.start()
            with pytest.raises((httpx.TransportError, HttpFailure)):
                list(chunks)
    finally:
        release.set()
