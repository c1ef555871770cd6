"""Functions that run in the host's own process: trusted, without isolation, and quick to start."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, thread
from typing import Any, TextIO

import msgspec

from stepwell.functions import handlers, typed, wire
from stepwell.functions.context import Context
from stepwell.functions.process import Answer
from stepwell.functions.spec import Call, FunctionError, FunctionSpec

_OWN_FILES = frozenset({__file__, handlers.__file__, typed.__file__, thread.__file__})
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class _Sink:
    """Where the output of one inline call goes, from whichever thread it comes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_line: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._on_line = on_line
        self._thread = threading.get_ident()
        self._partial: dict[int, str] = {}

    def write(self, stream: int, text: str) -> None:
        *lines, rest = (self._partial.pop(stream, "") + text).split("\n")
        for line in lines:
            if line:
                self.line(line.encode("utf-8", "replace"))
        if rest:
            self._partial[stream] = rest

    def line(self, line: bytes) -> None:
        if threading.get_ident() == self._thread:
            self._on_line(line)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_line, line)

    def flush(self) -> None:
        for stream in list(self._partial):
            self.write(stream, "\n")


_sink: contextvars.ContextVar[_Sink | None] = contextvars.ContextVar("stepwell_sink", default=None)


class InlineFunction:
    """One function of the host's process."""

    def __init__(self, spec: FunctionSpec, *, arn: str, threads: ThreadPoolExecutor) -> None:
        self.spec = spec
        self._arn = arn
        self._threads = threads
        self._loaded: tuple[Callable[..., Any], typed.Codec] | None = None

    async def run(self, call: Call, payload: bytes, on_line: Callable[[bytes], None]) -> Answer:
        """Run one event. A sync function runs in a thread; after its timeout it goes on there, its result unused."""
        sink = _Sink(asyncio.get_running_loop(), on_line)
        token = _sink.set(sink)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self.spec.timeout) as limit:
                body = await self._run(call, payload)
            return Answer(body, None, time.perf_counter() - started)
        except TimeoutError as error:
            if limit.expired():
                text = f"RequestId: {call.request_id} Error: Task timed out after {self.spec.timeout:.2f} seconds"
                return _failure(FunctionError(error_type="Sandbox.Timedout", error_message=text), started)
            return self._raised(call, error, started)
        except Exception as error:
            return self._raised(call, error, started)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1 if error.code else 0
            text = (
                f"Runtime exited with error: exit status {code}"
                if code
                else "Runtime exited without providing a reason"
            )
            text = f"RequestId: {call.request_id} Error: {text}"
            return _failure(FunctionError(error_type="Runtime.ExitError", error_message=text), started)
        finally:
            sink.flush()
            _sink.reset(token)

    async def _run(self, call: Call, payload: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        spec = self.spec
        if self._loaded is None:
            function = spec.handler
            if isinstance(function, str):
                handlers.put_on_path([str(path) for path in ((spec.code, *spec.paths) if spec.code else spec.paths)])
                function = handlers.load_handler(function)
            self._loaded = function, typed.codec(function, typed=spec.typed)
        function, codec = self._loaded
        context = Context(
            aws_request_id=call.request_id,
            function_name=spec.name,
            function_version=spec.version,
            invoked_function_arn=self._arn,
            memory_limit_in_mb=str(spec.memory_mb),
            log_group_name=f"/aws/lambda/{spec.name}",
            log_stream_name="inline",
            deadline=time.monotonic() + spec.timeout,
            client_context=call.client_context,
        )
        event = codec.decode(payload)
        if _is_async(function):
            result = await function(event, context)
        else:
            copied = contextvars.copy_context()
            result = await loop.run_in_executor(self._threads, _guarded, copied, function, event, context)
            if hasattr(result, "__await__"):
                result = await result
        body = codec.encode(result)
        if len(body) > typed.RESULT_LIMIT:
            raise handlers.RuntimeFault(
                "Function.ResponseSizeTooLarge",
                f"Response payload size ({len(body)} bytes) exceeded maximum allowed payload size "
                f"({typed.RESULT_LIMIT} bytes).",
            )
        return body

    def _raised(self, call: Call, error: Exception, started: float) -> Answer:
        code = None if self.spec.code is None else str(self.spec.code)
        fields = handlers.describe(error, _OWN_FILES, code, self.spec.trace_root)
        return _failure(
            FunctionError(
                error_type=fields["errorType"],
                error_message=fields["errorMessage"],
                request_id=call.request_id,
                stack_trace=tuple(fields["stackTrace"]),
            ),
            started,
        )


def _guarded(copied: contextvars.Context, function: Callable[..., Any], event: Any, context: Context) -> Any:
    return copied.run(function, event, context)


def _failure(error: FunctionError, started: float) -> Answer:
    return Answer(error.document(), error, time.perf_counter() - started)


def _is_async(function: Any) -> bool:
    target = getattr(function, "__func__", function)
    if not hasattr(target, "__code__"):
        target = vars(type(function)).get("__call__")
    code = getattr(target, "__code__", None)
    return code is not None and bool(code.co_flags & 0x80)  # CO_COROUTINE


class _Stream:
    """Stands before ``sys.stdout`` or ``sys.stderr``: what an inline call prints goes to its log, the rest passes."""

    def __init__(self, original: TextIO) -> None:
        self._original = original

    def write(self, text: str) -> int:
        sink = _sink.get()
        if sink is None:
            return self._original.write(text)
        sink.write(id(self), text)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class _Handler(logging.Handler):
    """Routes log records made in an inline call to that call's log."""

    def emit(self, record: logging.LogRecord) -> None:
        sink = _sink.get()
        if sink is None:
            # The host's own record. With no other handler, logging would have printed warnings: keep that.
            if logging.getLogger().handlers == [self] and record.levelno >= logging.WARNING and logging.lastResort:
                logging.lastResort.handle(record)
            return
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS}
        if record.exc_info:
            fields["exception"] = logging.Formatter().formatException(record.exc_info)
        entry = {
            "time": record.created,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "fields": json.loads(json.dumps(fields, default=str)),
        }
        sink.line(wire.RECORD_MARK + msgspec.json.encode(entry))


class Capture:
    """Routes printing and logging of inline calls while at least one pool has inline functions."""

    _users = 0
    _handler: _Handler | None = None

    @classmethod
    def begin(cls) -> None:
        cls._users += 1
        if cls._users > 1:
            return
        root = logging.getLogger()
        if not root.handlers and root.level == logging.WARNING:
            root.setLevel(logging.INFO)
        cls._handler = _Handler()
        root.addHandler(cls._handler)
        sys.stdout = _Stream(sys.stdout)
        sys.stderr = _Stream(sys.stderr)

    @classmethod
    def end(cls) -> None:
        cls._users -= 1
        if cls._users or cls._handler is None:
            return
        logging.getLogger().removeHandler(cls._handler)
        cls._handler = None
        if isinstance(sys.stdout, _Stream):
            sys.stdout = sys.stdout._original
        if isinstance(sys.stderr, _Stream):
            sys.stderr = sys.stderr._original
