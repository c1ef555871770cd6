"""Task tokens answered by worker programs, and interruptions announced to them."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from stepwell.toolkit import callbacks, interruptions
from stepwell.toolkit.callbacks import TaskCallback
from stepwell.toolkit.errors import CallbackError, SecretNotFound

TOKEN = "AQCEAAAAKgAAAAMAAAAA-task-token"


class Engine:
    """Speaks the Step Functions protocol, as far as task tokens go."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.script: list[tuple[int, dict[str, Any]]] = []
        self.beat = threading.Event()
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                action = self.headers["x-amz-target"].removeprefix("AWSStepFunctions.")
                engine.calls.append((action, body))
                status, document = engine.script.pop(0) if engine.script else (200, {})
                data = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
                if action == "SendTaskHeartbeat":
                    engine.beat.set()

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def actions(self) -> list[str]:
        return [action for action, _ in self.calls]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    found = Engine()
    thread = threading.Thread(target=found.server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("STEPWELL_API_URL", f"http://127.0.0.1:{found.server.server_port}")
    monkeypatch.setenv("STEPWELL_TASK_TOKEN", TOKEN)
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def test_success_with_heartbeats(engine: Engine) -> None:
    with callbacks.from_environment(heartbeat=0.01) as task:
        assert engine.beat.wait(10)
        task.check()
        task.succeed({"status": "completed", "size_bytes": 12})
    assert engine.actions[0] == "SendTaskHeartbeat"
    assert engine.actions.count("SendTaskSuccess") == 1
    answered = dict(engine.calls)["SendTaskSuccess"]
    assert answered["taskToken"] == TOKEN
    assert json.loads(answered["output"]) == {"status": "completed", "size_bytes": 12}


def test_exactly_one_answer(engine: Engine) -> None:
    task = callbacks.from_environment()
    task.fail("RenderError", "x" * 40_000)
    with pytest.raises(CallbackError, match="answered already"):
        task.succeed({})
    (call,) = engine.calls
    assert call[0] == "SendTaskFailure"
    assert (call[1]["error"], len(call[1]["cause"])) == ("RenderError", 32_768)


def test_an_exception_is_a_failure_by_its_name(engine: Engine) -> None:
    class RenderError(Exception):
        pass

    with pytest.raises(RenderError), callbacks.from_environment(heartbeat=60):
        raise RenderError("ffmpeg ended with 1")
    (failure,) = [body for action, body in engine.calls if action == "SendTaskFailure"]
    assert (failure["error"], failure["cause"]) == ("RenderError", "ffmpeg ended with 1")


def test_an_answer_that_was_sent_stays(engine: Engine) -> None:
    with pytest.raises(RuntimeError), callbacks.from_environment(heartbeat=60) as task:
        task.succeed(1)
        raise RuntimeError("while cleaning up")
    assert "SendTaskFailure" not in engine.actions


@pytest.mark.parametrize("code", ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"])
def test_a_task_that_is_over(engine: Engine, code: str) -> None:
    engine.script = [(400, {"__type": f"com.amazonaws.swf#{code}", "message": "over"})]
    with callbacks.from_environment(heartbeat=0.01) as task:
        assert task.over.wait(10)
        with pytest.raises(CallbackError, match="ended by the engine"):
            task.check()
        with pytest.raises(CallbackError):
            task.succeed({})
    assert engine.actions == ["SendTaskHeartbeat"]


def test_heartbeats_go_on_after_an_error(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    engine.script = [(400, {"__type": "ThrottlingException"})]
    with callbacks.from_environment(heartbeat=0.01) as task:
        assert engine.beat.wait(10)
        engine.beat.clear()
        assert engine.beat.wait(10)
        assert not task.over.is_set()
        task.succeed({})
    line = json.loads(capsys.readouterr().out.splitlines()[0])
    assert line["event_type"] == "heartbeat_failed"
    assert TOKEN not in json.dumps(line)


def test_a_restarting_engine_is_asked_again(engine: Engine) -> None:
    engine.script = [(503, {}), (200, {})]
    callbacks.from_environment().succeed({})
    assert engine.actions == ["SendTaskSuccess", "SendTaskSuccess"]


def test_an_engine_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPWELL_API_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(callbacks, "_SECONDS", 0.1)
    import stamina

    with stamina.set_testing(True, attempts=2):
        task = TaskCallback(TOKEN)
        with pytest.raises(CallbackError, match=r"127\.0\.0\.1:1"):
            task.heartbeat()
        assert not task.over.is_set()


def test_the_output_limit() -> None:
    sent: list[str] = []
    task = TaskCallback(TOKEN, call=lambda action, arguments: sent.append(action))
    with pytest.raises(ValueError, match="262144"):
        task.succeed("x" * 262_144)
    task.succeed("x" * 262_142)
    assert sent == ["SendTaskSuccess"]


def test_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEPWELL_TASK_TOKEN", raising=False)
    monkeypatch.delenv("STEPWELL_TASK_TOKEN_PARAMETER", raising=False)
    with pytest.raises(SecretNotFound, match="STEPWELL_TASK_TOKEN"):
        callbacks.from_environment()


def test_the_token_of_a_parameter(aws_backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from stepwell.toolkit.secrets import ParameterSecret

    ParameterSecret("/stepwell/r/1/task-token").write(TOKEN)
    monkeypatch.delenv("STEPWELL_TASK_TOKEN", raising=False)
    monkeypatch.delenv("STEPWELL_API_URL", raising=False)
    monkeypatch.setenv("STEPWELL_TASK_TOKEN_PARAMETER", "/stepwell/r/1/task-token")
    assert callbacks.from_environment()._token == TOKEN


def test_aws_refusals_by_name(aws_backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError

    from stepwell.toolkit import aws

    class Client:
        def send_task_heartbeat(self, **arguments: Any) -> Mapping[str, Any]:
            raise ClientError({"Error": {"Code": "TaskTimedOut", "Message": "m"}}, "SendTaskHeartbeat")

    monkeypatch.delenv("STEPWELL_API_URL", raising=False)
    monkeypatch.setattr(aws, "client", lambda service: Client())
    task = TaskCallback(TOKEN)
    with pytest.raises(CallbackError, match="TaskTimedOut"):
        task.heartbeat()
    assert task.over.is_set()


def test_sigterm_interrupts() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interruptions.watch() as interruption:
        assert not interruption.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.wait(5)
        assert interruption.reason == "SIGTERM"
    assert signal.getsignal(signal.SIGTERM) is before


def test_spot_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, text: str) -> None:
            asked.append((self.command, self.path, self.headers.get("X-aws-ec2-metadata-token")))
            self.send_response(status)
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_PUT(self) -> None:
            self.answer(200, "metadata-token")

        def do_GET(self) -> None:
            polls = sum(method == "GET" for method, _, _ in asked)
            if polls == 0:
                self.answer(404, "")
            elif polls == 1:
                self.answer(401, "")
            else:
                self.answer(200, '{"action":"terminate","time":"2026-02-08T03:12:00Z"}')

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("STEPWELL_MACHINE", "ec2")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    try:
        with interruptions.watch(poll=0.01) as interruption:
            assert interruption.wait(10)
            assert "terminate" in interruption.reason
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert [method for method, _, _ in asked] == ["PUT", "GET", "GET", "PUT", "GET"]
    assert asked[1] == ("GET", "/latest/meta-data/spot/instance-action", "metadata-token")
