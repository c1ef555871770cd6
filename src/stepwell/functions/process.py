"""The host's side of one worker process: start it, hand it an event, read its answer and its output, end it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from stepwell.functions import wire
from stepwell.functions.spec import MEGABYTE, Call, FunctionError, FunctionSpec

INIT_TIMEOUT = 120.0
"""Seconds a worker may take to import its function. Generous: a cold machine imports large libraries slowly."""

_SOCKET_BUFFER = 512 * 1024
_LINE_LIMIT = 256 * 1024
_READ = 65_536
_READS = 4
_PASSED_ON = frozenset(
    {"PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"}
)
_FLAGS = ("-P", "-X", "utf8")
_ROOT = str(Path(__file__).parents[2])
# The package goes last on the path: the function's own folders come before it.
_BOOT = (
    f"import sys; {_ROOT!r} in sys.path or sys.path.append({_ROOT!r}); "
    "from stepwell.functions.worker import main; main()"
)
_SIGNALS = {
    signal.SIGKILL: "killed",
    signal.SIGSEGV: "segmentation fault",
    signal.SIGTERM: "terminated",
    signal.SIGABRT: "aborted",
}


class Answer(msgspec.Struct, frozen=True):
    """What came of one event: `error` is None for a result."""

    payload: bytes
    error: FunctionError | None
    duration: float


class WorkerProcess:
    """One process running one function. Not thread-safe: everything happens on the event loop it was made on."""

    def __init__(
        self,
        spec: FunctionSpec,
        environment: Mapping[str, str],
        *,
        arn: str,
        log_stream: str,
        on_line: Callable[[WorkerProcess, bytes], None],
    ) -> None:
        self.spec = spec
        self.arn = arn
        self.log_stream = log_stream
        self.call: Call | None = None
        """The call in progress, else the last one: what output belongs to."""
        self.tail = bytearray()
        """The end of what that call logged."""
        self.peak = 0
        self.init_seconds = 0.0
        self.idle_since = 0.0
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[int] = self._loop.create_future()
        """Done, with the exit code, once the process and all it started are gone and reaped."""
        self._environment = environment
        self._on_line = on_line
        self._served = False
        self._answer: asyncio.Future[tuple[int, bytes, bytes]] | None = None
        self._verdict: FunctionError | None = None
        self._received = bytearray()
        self._unsent = b""
        self._partial = bytearray()

    # --- life

    async def start(self) -> FunctionError | None:
        """Start the process and import the function. On failure: the error, and the process is being ended."""
        started = time.perf_counter()
        ours, theirs = socket.socketpair()
        lifeline, self._held = os.pipe()
        self._output, output = os.pipe()
        try:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
            self._process = self._spawn(theirs.fileno(), lifeline, output)
        except OSError as error:
            ours.close()
            os.close(self._output)
            os.close(self._held)
            self.ended.set_result(-1)
            return FunctionError(
                error_type="Runtime.InvalidWorkingDirectory" if self.spec.code else "Runtime.Unknown",
                error_message=f"The function's process cannot be started: {error}",
            )
        finally:
            theirs.close()
            os.close(lifeline)
            os.close(output)
        self._socket = ours
        ours.setblocking(False)
        os.set_blocking(self._output, False)
        self._loop.add_reader(ours.fileno(), self._read_frames)
        self._loop.add_reader(self._output, self._read_output)
        self._watch()
        answer = self._send(wire.frame(wire.CONFIG, self._config()), INIT_TIMEOUT)
        try:
            kind, head, _ = await answer
        except asyncio.CancelledError:
            self.kill()
            raise
        self.init_seconds = time.perf_counter() - started
        if kind == wire.READY:
            return None
        self.kill()
        return _read_error(head)

    def _spawn(self, channel: int, lifeline: int, output: int) -> subprocess.Popen[bytes]:
        """In a session, and so a process group, of its own: what kills the group kills all that the function started."""
        return subprocess.Popen(
            [sys.executable, *_FLAGS, "-c", _BOOT, str(channel), str(lifeline), self.spec.key],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=self.spec.code,
            env=self._variables(),
            pass_fds=(channel, lifeline),
            start_new_session=True,
        )

    def _variables(self) -> dict[str, str]:
        if self.spec.inherit_environment:
            base = dict(os.environ)
        else:
            base = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        base.update(self._environment)
        base.update(self.spec.environment)
        return base

    def _config(self) -> bytes:
        spec = self.spec
        paths = [str(path) for path in ((spec.code, *spec.paths) if spec.code else spec.paths)]
        level = (
            spec.environment.get("LOG_LEVEL")
            or self._environment.get("LOG_LEVEL")
            or ("INFO" if spec.typed else "WARNING")
        )
        return msgspec.json.encode(
            {
                "name": spec.name,
                "version": spec.version,
                "handler": spec.handler,
                "code": None if spec.code is None else str(spec.code),
                "paths": paths,
                "trace_root": spec.trace_root,
                "typed": spec.typed,
                "memory_mb": str(spec.memory_mb),
                "log_group": f"/aws/lambda/{spec.name}",
                "log_stream": self.log_stream,
                "log_level": level.upper(),
            }
        )

    # --- calls

    async def run(self, call: Call, payload: bytes) -> Answer:
        """Hand over one event and wait. Cancelling kills the process."""
        self.call = call
        if self._served:  # What it printed while it started belongs to its first call.
            self.tail.clear()
        self._served = True
        spec = self.spec
        head: dict[str, Any] = {"request_id": call.request_id, "arn": self.arn, "timeout": spec.timeout}
        if call.client_context is not None:
            head["client_context"] = call.client_context
        started = time.perf_counter()
        answer = self._send(wire.frame(wire.CALL, msgspec.json.encode(head), payload), spec.timeout)
        try:
            kind, error, body = await answer
        except asyncio.CancelledError:
            self.kill()
            raise
        duration = time.perf_counter() - started
        self._read_output()
        self._end_line()
        if kind == wire.RESULT:
            return Answer(body, None, duration)
        return self.failure(_read_error(error), duration)

    def failure(self, error: FunctionError, duration: float = 0.0) -> Answer:
        """An error as the answer to the call in progress."""
        if error.stack_trace is not None and self.call is not None:
            # An error without a trace is the process's end: Lambda's document for that has no request id either.
            error = msgspec.structs.replace(error, request_id=self.call.request_id)
        return Answer(error.document(), error, duration)

    def _send(self, data: bytes, timeout: float) -> asyncio.Future[tuple[int, bytes, bytes]]:
        answer: asyncio.Future[tuple[int, bytes, bytes]] = self._loop.create_future()
        self._answer = answer
        self._timer = self._loop.call_later(timeout, self._expire, timeout)
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return answer  # It has just died; the reader will see the end and say how.
        if sent < len(data):
            self._unsent = data[sent:]
            self._loop.add_writer(self._socket.fileno(), self._write)
        return answer

    def _write(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            sent = len(self._unsent)
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._loop.remove_writer(self._socket.fileno())

    def _read_frames(self) -> None:
        try:
            data = self._socket.recv(262_144)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            # It cannot be talked to any more. Its end is told by `_watch`; one that lives on has nothing left to do.
            self._loop.remove_reader(self._socket.fileno())
            self._loop.call_later(1.0, self.kill)
            return
        received = self._received
        received += data
        if len(received) < wire.HEADER.size:
            return
        kind, head, body, peak = wire.HEADER.unpack_from(received)
        end = wire.HEADER.size + head + body
        if len(received) < end:
            return
        middle = wire.HEADER.size + head
        frame = (kind, bytes(received[wire.HEADER.size : middle]), bytes(received[middle:end]))
        del received[:end]
        self.peak = max(self.peak, peak)
        self._settle(frame)

    def _settle(self, frame: tuple[int, bytes, bytes]) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            self._timer.cancel()
            if not answer.done():
                answer.set_result(frame)

    # --- ends

    @property
    def pid(self) -> int:
        """The process's number, which is also its group's."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it can take a call."""
        return not self.ended.done() and self._verdict is None

    def kill(self, verdict: FunctionError | None = None) -> None:
        """End the process and everything it started, at once. `verdict` is what a call in progress comes to."""
        if self.ended.done() or self._verdict is not None:
            return
        self._verdict = verdict or FunctionError(error_type="Runtime.ExitError", error_message="signal: killed")
        self._kill_group()

    def close(self) -> None:
        """Let an idle process end by itself."""
        if not self.ended.done():
            try:
                self._socket.shutdown(socket.SHUT_WR)
            except OSError:
                self.kill()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _request(self) -> str:
        return self.call.request_id if self.call is not None else "unknown"

    def _expire(self, seconds: float) -> None:
        self.kill(
            FunctionError(
                error_type="Sandbox.Timedout",
                error_message=f"RequestId: {self._request()} Error: Task timed out after {seconds:.2f} seconds",
            )
        )

    def exceed(self, used: int) -> None:
        """Kill it for its memory."""
        self.peak = max(self.peak, used)
        self._on_line(
            self,
            b"killed: %d MB of memory in use, more than the function's %d MB; raise its `memory`"
            % (-(-used // MEGABYTE), self.spec.memory_mb),
        )
        self.kill(
            FunctionError(
                error_type="Runtime.OutOfMemory",
                error_message=f"RequestId: {self._request()} Error: Runtime exited with error: signal: killed",
            )
        )

    def _watch(self) -> None:
        """Notice the process's end even if something it forked keeps the socket open."""
        self._pidfd: int | None = None
        if hasattr(os, "pidfd_open"):
            self._pidfd = os.pidfd_open(self._process.pid)
            self._loop.add_reader(self._pidfd, self._bury)
        else:
            threading.Thread(target=self._wait, daemon=True, name=f"stepwell-wait-{self._process.pid}").start()

    def _wait(self) -> None:
        self._process.wait()
        with contextlib.suppress(RuntimeError):  # The loop may have been closed meanwhile.
            self._loop.call_soon_threadsafe(self._bury)

    def _bury(self) -> None:
        """The process is dead: end what it left behind, reap it, and answer for it."""
        # Killed before it is reaped: until then its number, and so the group's, cannot become another's.
        self._kill_group()
        code = self._process.wait()
        if self._pidfd is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
        self._read_frames()
        self._read_output()
        self._end_line()
        self._loop.remove_reader(self._output)
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._socket.close()
        os.close(self._output)
        os.close(self._held)
        if self._answer is not None:
            error = self._verdict or FunctionError(
                error_type="Runtime.ExitError", error_message=f"RequestId: {self._request()} Error: {_exit_text(code)}"
            )
            self._settle((wire.ERROR, error.document(), b""))
        self.ended.set_result(code)

    # --- output

    def _read_output(self) -> None:
        # As much as a pipe holds, twice over: all that was written before an answer, and no endless flood.
        for _ in range(_READS):
            try:
                data = os.read(self._output, _READ)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._loop.remove_reader(self._output)
                return
            lines = data.replace(wire.RECORD_MARK, b"\n" + wire.RECORD_MARK).split(b"\n")
            self._partial += lines[0]
            if len(lines) > 1:
                self._end_line()
                for line in lines[1:-1]:
                    if line:
                        self._on_line(self, line)
                self._partial += lines[-1]
            if len(self._partial) > _LINE_LIMIT:
                self._end_line()
            if len(data) < _READ:
                return

    def _end_line(self) -> None:
        if self._partial:
            line = bytes(self._partial)
            self._partial.clear()
            self._on_line(self, line)


def _exit_text(code: int) -> str:
    if code == 0:
        return "Runtime exited without providing a reason"
    if code > 0:
        return f"Runtime exited with error: exit status {code}"
    try:
        name = _SIGNALS.get(signal.Signals(-code), signal.Signals(-code).name)
    except ValueError:
        name = str(-code)
    return f"Runtime exited with error: signal: {name}"


def _read_error(head: bytes) -> FunctionError:
    fields = msgspec.json.decode(head)
    trace = fields.get("stackTrace")
    return FunctionError(
        error_type=fields["errorType"],
        error_message=fields["errorMessage"],
        stack_trace=None if trace is None else tuple(trace),
    )
