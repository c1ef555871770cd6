"""What a function is, what identifies one call of it, and what the call gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

MEGABYTE = 1024 * 1024

DEFAULT_MEMORY_MB = 512
DEFAULT_TIMEOUT = 60.0
DEFAULT_CONCURRENCY = 10
LATEST = "$LATEST"


class FunctionSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One function: its code, limits and environment. A project's functions and uploaded Lambda functions alike."""

    name: str
    """1-64 letters, digits, hyphens, underscores."""
    handler: str | Callable[..., Any]
    """``"package.module:function"`` or Lambda's ``"package/module.function"``. A callable itself runs inline."""
    code: Path | None = None
    """The folder that is put first on ``sys.path`` and is the worker's working directory. None: the host's own."""
    paths: tuple[Path, ...] = ()
    """More folders for ``sys.path``, after ``code``."""
    memory_mb: int = DEFAULT_MEMORY_MB
    """The worker, with the processes it started, is killed when its resident memory exceeds this."""
    timeout: float = DEFAULT_TIMEOUT
    """Seconds. At most 900 on AWS."""
    environment: Mapping[str, str] = msgspec.field(default_factory=dict)
    inherit_environment: bool = True
    """False: the worker sees only `environment` and the few variables a process needs (PATH, HOME, LANG, TMPDIR)."""
    concurrency: int = DEFAULT_CONCURRENCY
    """How many calls run at once; more of them wait in line, or are refused (`FunctionPool.invoke(wait=False)`)."""
    inline: bool = False
    """Run in the host's process: no isolation, no memory limit, and a timeout cannot stop a running sync function."""
    typed: bool = True
    """False: annotations are ignored, as Lambda does."""
    version: str = LATEST
    arn: str | None = None
    """The invoked ARN the function sees in its context. None: one is made of the pool's region and account."""
    trace_root: str | None = None
    """What replaces `code` in stack traces (Lambda functions: ``/var/task``). None: real paths."""

    @property
    def key(self) -> str:
        """The name the pool knows it by: ``name`` or ``name:version``."""
        return self.name if self.version == LATEST else f"{self.name}:{self.version}"


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What identifies one invocation. Everything but the request id is optional and goes onto every log line."""

    request_id: str
    """The function's ``aws_request_id``, a UUID."""
    execution: str | None = None
    """The execution's ARN."""
    correlation_id: str | None = None
    state: str | None = None
    attempt: int = 1
    """1 for the first try of a Task state, 2 for its first retry."""
    client_context: dict[str, Any] | None = None
    """Lambda's ClientContext, decoded: ``{"client": {...}, "custom": {...}, "env": {...}}``."""


class FunctionError(msgspec.Struct, frozen=True, kw_only=True):
    """A failed call, in Lambda's terms: `error_type` is the name a Retry or Catch sees, `document` its Cause."""

    error_type: str
    """The exception's class name, or ``Sandbox.Timedout``, ``Runtime.ExitError``, ``Runtime.OutOfMemory``,
    ``Runtime.ImportModuleError``, ``Runtime.HandlerNotFound``, ``Runtime.UserCodeSyntaxError``,
    ``Runtime.UnmarshalError``, ``Runtime.MarshalError``, ``Function.ResponseSizeTooLarge``, ``InvalidEvent``."""
    error_message: str
    request_id: str | None = None
    stack_trace: tuple[str, ...] | None = None
    """Lines such as ``'  File "/var/task/handler.py", line 2, in handler\\n    raise Exception("no")\\n'``."""

    def document(self) -> bytes:
        """The JSON Lambda answers with: ``{"errorMessage", "errorType"[, "requestId", "stackTrace"]}``."""
        fields: dict[str, Any] = {"errorMessage": self.error_message, "errorType": self.error_type}
        if self.request_id is not None:
            fields["requestId"] = self.request_id
        if self.stack_trace is not None:
            fields["stackTrace"] = self.stack_trace
        return msgspec.json.encode(fields)


class InvokeResult(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one call."""

    payload: bytes
    """JSON text: the function's result, or `FunctionError.document()`."""
    error: FunctionError | None = None
    log_tail: bytes = b""
    """The last 4,096 bytes of what the function logged and printed (Lambda's LogResult before base64)."""
    duration_ms: float = 0.0
    """From handing over the event to the answer; a cold start and waiting in line are not in it."""
    billed_ms: int = 0
    """`duration_ms` rounded up, plus `init_ms` of a cold start, as Lambda bills since August 2025."""
    init_ms: float | None = None
    """The cold start, when this call had one."""
    memory_mb: int = 0
    """The worker's peak resident memory so far."""


class UnknownFunction(LookupError):
    """No function of that name or ARN is registered."""


class TooManyRequests(Exception):
    """All reserved workers are busy and the caller did not want to wait (Lambda's TooManyRequestsException)."""


class PoolClosed(RuntimeError):
    """The pool was closed before the call could run; the call had no effect and may be made again elsewhere."""
