"""Callbacks: how a worker program answers a task token.

    with callbacks.from_environment() as task:       # heartbeats every 60 s while the block runs
        for chunk in chunks:
            task.check()                              # raises CallbackError once the engine does not want the answer any more
            render(chunk)
        task.succeed({"video_s3_key": key})

Exactly one answer is sent. Leaving the block by an exception without one answers with a failure: the exception's class name and text.
With `STEPWELL_API_URL` the Step Functions protocol is spoken with that address; otherwise with AWS, by boto3.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

from stepwell.toolkit import aws, redaction
from stepwell.toolkit.errors import CallbackError, SecretNotFound
from stepwell.toolkit.logs import logger
from stepwell.toolkit.machines import TOKEN_PARAMETER_VARIABLE, TOKEN_VARIABLE

MAX_OUTPUT_BYTES, MAX_ERROR, MAX_CAUSE = 262_144, 256, 32_768
HEARTBEAT_SECONDS = 60.0
_OVER = ("TaskTimedOut", "TaskDoesNotExist", "InvalidToken")
_SECONDS = 20.0

Call = Callable[[str, Mapping[str, str]], None]

log = logger(__name__)


class TaskCallback:
    """The answer to one task token. `over` is set once the engine does not take an answer any more."""

    def __init__(self, task_token: str, *, call: Call | None = None, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        redaction.register(task_token)
        self._token = task_token
        self._call = call or _default_call()
        self._every = heartbeat
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.over = threading.Event()
        self.answered = False

    def heartbeat(self) -> None:
        """Say that the work goes on. Raises `CallbackError` when the answer is not wanted any more, or nobody hears."""
        self._send("SendTaskHeartbeat", {})

    def check(self) -> None:
        """Raise `CallbackError` if a heartbeat was told that the task is over. For the inside of loops."""
        if self.over.is_set():
            raise CallbackError("the task was ended by the engine: its token is not valid any more")

    def succeed(self, output: Any) -> None:
        """Answer with a result: anything JSON, at most 262,144 bytes (ValueError)."""
        text = orjson.dumps(output)
        if len(text) > MAX_OUTPUT_BYTES:
            raise ValueError(f"the output has {len(text)} bytes; at most {MAX_OUTPUT_BYTES} are allowed: offload it")
        self._answer("SendTaskSuccess", {"output": text.decode()})

    def fail(self, error: str, cause: str = "") -> None:
        """Answer with a failure by its error name, cut to 256 characters; the cause is cut to 32,768."""
        self._answer("SendTaskFailure", {"error": error[:MAX_ERROR], "cause": redaction.text(cause)[:MAX_CAUSE]})

    def __enter__(self) -> Self:
        # The first heartbeat is sent by the thread at once: a machine that boots counts as working.
        self._thread = threading.Thread(target=self._beat, name="task heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is not None and not self.answered and not self.over.is_set():
                with contextlib.suppress(CallbackError):
                    self.fail(type(error).__name__, str(error))
        finally:
            self._stop.set()
            if self._thread is not None:
                self._thread.join(2.0)

    def _beat(self) -> None:
        while True:
            try:
                self.heartbeat()
            except CallbackError as error:
                if self.over.is_set():
                    return
                log.warning("heartbeat not delivered", event_type="heartbeat_failed", error_message=str(error))
            if self._stop.wait(self._every):
                return

    def _answer(self, action: str, arguments: Mapping[str, str]) -> None:
        with self._lock:
            if self.answered:
                raise CallbackError("this task was answered already")
            self._send(action, arguments)
            self.answered = True
            self._stop.set()

    def _send(self, action: str, arguments: Mapping[str, str]) -> None:
        if self.over.is_set():
            self.check()
        try:
            self._call(action, {"taskToken": self._token, **arguments})
        except _Refused as error:
            if error.code in _OVER:
                self.over.set()
            raise CallbackError(f"{action}: {error.code}: {error}") from None


def from_environment(*, heartbeat: float = HEARTBEAT_SECONDS) -> TaskCallback:
    """The callback of the token this machine was launched with. Raises `SecretNotFound` outside a machine."""
    token = os.environ.get(TOKEN_VARIABLE)
    parameter = os.environ.get(TOKEN_PARAMETER_VARIABLE)
    if not token and parameter:
        from stepwell.toolkit.secrets import ParameterSecret

        token = ParameterSecret(parameter).read().reveal()
    if not token:
        raise SecretNotFound(f"this process was not launched with a task token ({TOKEN_VARIABLE} is not set)")
    return TaskCallback(token, heartbeat=heartbeat)


class _Refused(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _default_call() -> Call:
    url = os.environ.get("STEPWELL_API_URL")
    return _by_boto if not url else _by_http(url)


def _by_http(url: str) -> Call:
    from stepwell.toolkit import http

    rule = http.Retries(attempts=5, initial=0.5, longest=5.0, methods=frozenset({"POST"}))
    client = http.client(timeout=_SECONDS, retries=rule)

    def call(action: str, arguments: Mapping[str, str]) -> None:
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AWSStepFunctions.{action}"}
        try:
            answer = client.post(url, content=orjson.dumps(arguments), headers=headers)
        except httpx.HTTPError as error:
            raise _Refused("ConnectionError", f"{url}: {error}") from error
        if answer.is_success:
            return
        try:
            document = answer.json()
        except ValueError:
            document = {}
        code = str(document.get("__type", answer.status_code)).rpartition("#")[2]
        raise _Refused(
            code, str(document.get("message") or document.get("Message") or f"{url} answered {answer.status_code}")
        )

    return call


def _by_boto(action: str, arguments: Mapping[str, str]) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    operation = {
        "SendTaskHeartbeat": "send_task_heartbeat",
        "SendTaskSuccess": "send_task_success",
        "SendTaskFailure": "send_task_failure",
    }[action]
    try:
        getattr(aws.client("stepfunctions"), operation)(**arguments)
    except ClientError as error:
        raise _Refused(aws.code(error), str(error)) from error
    except BotoCoreError as error:
        raise _Refused("ConnectionError", str(error)) from error
