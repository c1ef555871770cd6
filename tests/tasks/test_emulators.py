"""Which account an emulator is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from stepwell.tasks.emulators import account_at, is_emulator

IDENTITY = "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>{}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"


@contextmanager
def emulator(answer: Callable[[str, str], tuple[int, str]]) -> Iterator[str]:
    """A server whose answers are `answer(authorization, body)`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status, text = answer(self.headers["Authorization"], body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_the_account_is_that_of_the_access_key(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(authorization: str, body: str) -> tuple[int, str]:
        asked.append(authorization)
        assert "Action=GetCallerIdentity" in body
        return 200, IDENTITY.format("000000000000" if "=test/" in authorization else "111122223333")

    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with emulator(answer) as url:
        assert account_at(url) == "000000000000"
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
        assert account_at(url, "eu-west-1") == "111122223333"
    assert "/eu-west-1/sts/aws4_request" in asked[1]


@pytest.mark.parametrize("answer", [(404, "<Error/>"), (200, "{}"), (200, IDENTITY.format("me"))])
def test_an_emulator_that_does_not_say_so(answer: tuple[int, str]) -> None:
    with emulator(lambda *_: answer) as url:
        assert account_at(url) is None


def test_nobody_there() -> None:
    assert account_at("http://127.0.0.1:1") is None


@pytest.mark.parametrize(
    ("endpoint", "emulated"),
    [
        (None, False),
        ("http://127.0.0.1:4566", True),
        ("http://localstack", True),
        ("https://s3.us-east-1.amazonaws.com", False),
        ("https://states.cn-north-1.amazonaws.com.cn", False),
    ],
)
def test_what_is_an_emulator(endpoint: str | None, emulated: bool) -> None:
    assert is_emulator(endpoint) is emulated
