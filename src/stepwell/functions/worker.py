"""The worker process: one function, one event at a time.

Started by `stepwell.functions.process` with two inherited file descriptors, the socket of `wire` and the read end of a pipe that
nobody writes to: its other end is open as long as the host lives. Everything the function prints and logs goes to the standard
output as lines, structured records marked (`wire.RECORD_MARK`).

It imports no engine, and of the libraries only what the function's annotations need: a cold start is Python's plus the function's.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import sys
import time
from importlib.machinery import SourceFileLoader
from typing import Any

from stepwell.functions import handlers, typed, wire
from stepwell.functions.context import Context

_OWN_FILES = frozenset({__file__, handlers.__file__, typed.__file__})
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024
_F_SETSIG = 10
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def main() -> None:
    """Serve calls until the host closes the socket."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    _end_with(int(sys.argv[2]))
    _be_killed_first()
    _leave_new_sources_uncached()
    # httpx imports its command line client (click, rich, pygments: 0.2 s) wherever these are installed; a function has no use for it.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
    _, head, _ = _receive(channel)
    Worker(channel, json.loads(head)).serve()


def _end_with(lifeline: int) -> None:
    """End this process and all it starts when the host dies, however it dies and whatever this process is doing.

    On Linux the kernel itself kills the process group when the pipe's other end is gone, so that neither code that holds the
    interpreter lock nor a child process survives. Elsewhere a thread waits for it.
    """
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, _F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
        try:
            gone = os.read(lifeline, 1) == b""  # The host may have died before the lines above.
        except BlockingIOError:
            gone = False
        if gone:
            os._exit(1)
        return
    import threading

    def wait() -> None:
        os.read(lifeline, 1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True, name="stepwell-lifeline").start()


def _be_killed_first() -> None:
    """When the machine runs out of memory, the kernel should take a function before the engine."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123  no pathlib in a lean process
            file.write("500")
    except OSError:
        pass


def _leave_new_sources_uncached() -> None:
    """Write no bytecode for a source of the last two seconds.

    Python tells sources apart by second and length: code replaced within the second would run as what was cached of the code before.
    """
    write = SourceFileLoader.set_data

    def set_data(self: SourceFileLoader, path: str, data: bytes, **options: Any) -> None:
        if time.time() - os.stat(self.path).st_mtime > 2:  # noqa: PTH116  no pathlib in a lean process
            write(self, path, data, **options)

    SourceFileLoader.set_data = set_data  # type: ignore[method-assign, assignment]


def _receive(channel: socket.socket) -> tuple[int, bytes, bytes]:
    """One frame. Ends the process when the host has closed the socket."""
    kind, head, body, _ = wire.HEADER.unpack(_read(channel, wire.HEADER.size))
    return kind, _read(channel, head), _read(channel, body)


def _read(channel: socket.socket, size: int) -> bytes:
    if not size:
        return b""
    data = channel.recv(size, socket.MSG_WAITALL)
    while len(data) < size:
        more = channel.recv(size - len(data), socket.MSG_WAITALL)
        if not more:
            sys.exit(0)
        data += more
    return data


class Worker:
    """The function and its calls."""

    def __init__(self, channel: socket.socket, config: dict[str, Any]) -> None:
        self.channel = channel
        self.config = config
        self.code: str | None = config["code"]
        self.trace_root: str | None = config["trace_root"]

    def serve(self) -> None:
        config = self.config
        sys.argv = [config["name"]]
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        handlers.put_on_path(config["paths"])
        _capture_logging(config["log_level"])
        try:
            function = handlers.load_handler(config["handler"])
            codec = typed.codec(function, typed=config["typed"])
        except Exception as error:
            self._answer(wire.ERROR, json.dumps(self._describe(error)).encode())
            return
        self._answer(wire.READY)
        while True:
            _, head, payload = _receive(self.channel)
            call = json.loads(head)
            try:
                body = self._call(function, codec, payload, call)
            except Exception as error:
                self._answer(wire.ERROR, json.dumps(self._describe(error)).encode())
            else:
                self._answer(wire.RESULT, b"", body)

    def _call(self, function: Any, codec: typed.Codec, payload: bytes, call: dict[str, Any]) -> bytes:
        config = self.config
        context = Context(
            aws_request_id=call["request_id"],
            function_name=config["name"],
            function_version=config["version"],
            invoked_function_arn=call["arn"],
            memory_limit_in_mb=config["memory_mb"],
            log_group_name=config["log_group"],
            log_stream_name=config["log_stream"],
            deadline=time.monotonic() + call["timeout"],
            client_context=call.get("client_context"),
        )
        result = function(codec.decode(payload), context)
        if hasattr(result, "__await__"):
            result = typed.run_awaitable(result)
        body = codec.encode(result)
        if len(body) > typed.RESULT_LIMIT:
            raise handlers.RuntimeFault(
                "Function.ResponseSizeTooLarge",
                f"Response payload size ({len(body)} bytes) exceeded maximum allowed payload size "
                f"({typed.RESULT_LIMIT} bytes).",
            )
        return body

    def _describe(self, error: Exception) -> dict[str, Any]:
        return handlers.describe(error, _OWN_FILES, self.code, self.trace_root)

    def _answer(self, kind: int, head: bytes = b"", body: bytes = b"") -> None:
        # What was printed must be in the pipe before the answer, so that the host can tell which call it belongs to.
        sys.stdout.flush()
        sys.stderr.flush()
        self.channel.sendall(wire.frame(kind, head, body, _peak_memory()))


def _open_status() -> int | None:
    try:
        return os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


_status = _open_status()


def _peak_memory() -> int:
    """Peak resident bytes. On Linux not by getrusage: that begins with the size of the host that started this process."""
    if _status is not None:
        text = os.pread(_status, 4096, 0)
        start = text.find(b"VmHWM:")
        if start >= 0:
            return int(text[start + 6 : text.index(b"kB", start)]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT


class _RecordHandler(logging.Handler):
    """Writes log records as marked JSON lines, in order with what is printed."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields = {key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS}
            if record.exc_info:
                fields["exception"] = logging.Formatter().formatException(record.exc_info)
            entry = {
                "time": record.created,
                "level": record.levelname,
                "logger": record.name,
                "message": record.getMessage(),
                "fields": fields,
            }
            line = wire.RECORD_MARK + json.dumps(entry, default=str).encode() + b"\n"
            sys.stdout.flush()
            while line:
                line = line[os.write(1, line) :]
        except Exception:
            self.handleError(record)


def _capture_logging(level: str) -> None:
    root = logging.getLogger()
    root.addHandler(_RecordHandler())
    root.setLevel(level)
    logging.captureWarnings(True)


if __name__ == "__main__":
    main()
