"""Running functions in warm worker processes.

Each function has a lane: its idle workers, its busy ones, and the calls that wait for one. A call takes an idle worker, or starts
one while the function's concurrency and the pool's bound allow it, or waits in line. A worker that failed in any way other than
its function raising is not used again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any
from uuid import uuid4

from stepwell.functions.capture import record_of, tail_line
from stepwell.functions.inline import Capture, InlineFunction
from stepwell.functions.logs import LogRecord, LogStore
from stepwell.functions.memory import resident_bytes
from stepwell.functions.process import Answer, WorkerProcess
from stepwell.functions.spec import (
    MEGABYTE,
    Call,
    FunctionSpec,
    InvokeResult,
    PoolClosed,
    TooManyRequests,
    UnknownFunction,
)

_TAIL = 4096
_MEMORY_CHECK = 0.1
_IDLE_CHECK = 1.0
_FAREWELL = 5.0
"""Seconds a dismissed worker has for its exit handlers."""


log = logging.getLogger("stepwell.functions")


def _key(function: str) -> str:
    """What the pool knows a function by, of a name or an ARN."""
    key = function.split(":", 6)[6] if function.startswith("arn:") and function.count(":") >= 6 else function
    return key.removesuffix(":$LATEST")


class _Lane:
    """One function in the pool."""

    def __init__(self, spec: FunctionSpec, arn: str) -> None:
        self.spec = spec
        self.arn = arn
        self.idle: list[WorkerProcess] = []
        self.running = 0
        """Calls in progress, those whose worker is still starting included."""
        self.waiting: deque[asyncio.Future[WorkerProcess | None]] = deque()
        self.inline: InlineFunction | None = None

    @property
    def is_inline(self) -> bool:
        return self.spec.inline or not isinstance(self.spec.handler, str)


class FunctionPool:
    """Runs functions: each in its own warm worker processes, or inline.

        async with FunctionPool(project.functions.values(), logs=LogStore(data / "logs")) as pool:
            result = await pool.invoke("media-lister", b'{"page_number":1}', call=Call(request_id=str(uuid4())))

    A worker takes one event at a time. It is killed, with every process it started, when the function exceeds its timeout or
    memory, when the awaiting task is cancelled, and when this process dies. A crash costs one call and nothing else.
    """

    def __init__(
        self,
        functions: Iterable[FunctionSpec] = (),
        *,
        logs: LogStore | None = None,
        on_log: Callable[[LogRecord], None] | None = None,
        forward_logs: bool = False,
        environment: Mapping[str, str] | None = None,
        account: str = "000000000000",
        region: str = "us-east-1",
        partition: str = "aws",
        max_workers: int | None = None,
        idle_timeout: float = 300.0,
    ) -> None:
        """`on_log` sees every record (metrics, live views); `forward_logs` also writes them to this process's stderr.

        `environment` goes under every function's own; `max_workers` bounds all functions' processes together
        (default: 4 a core, at least 16); a worker unused for `idle_timeout` seconds ends.
        """
        self.logs = logs
        self.on_call: Callable[[str, InvokeResult | None], None] | None = None
        """Told the name and outcome of every call; None for one that was refused because all workers were busy."""
        self._on_log = on_log
        self._forward = forward_logs
        self._environment = dict(environment or {})
        self._arn_prefix = f"arn:{partition}:lambda:{region}:{account}:function:"
        self._max_workers = max_workers or max(16, 4 * (os.cpu_count() or 1))
        self._idle_timeout = idle_timeout
        self._lanes: dict[str, _Lane] = {}
        self._expected: dict[str, asyncio.Event] = {}
        self._processes: set[WorkerProcess] = set()
        """Every process that has not been reaped yet."""
        self._workers: set[WorkerProcess] = set()
        """Those that count against `max_workers`: all but the ones on their way out."""
        self._granted: set[asyncio.Future[WorkerProcess | None]] = set()
        """Calls that were let go ahead to start a worker and have not begun yet."""
        self._busy: set[WorkerProcess] = set()
        self._starved: dict[str, _Lane] = {}
        """Lanes whose calls wait only for the pool's bound, in the order they began to."""
        self._in_progress = 0
        self._quiet: asyncio.Future[None] | None = None
        """Done when the last call in progress is; made by `close`."""
        self._threads: ThreadPoolExecutor | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self._watching_closely = False
        self._called = False
        self._closed = False
        self._aborting = False
        self._captures = False
        for spec in functions:
            self.register(spec)

    async def __aenter__(self) -> FunctionPool:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # --- functions

    def set_environment(self, variables: Mapping[str, str]) -> None:
        """Add to what goes under every function's own environment; workers that run already keep theirs."""
        self._environment.update(variables)

    def register(self, spec: FunctionSpec) -> None:
        """Add a function, or replace one: its busy workers finish their call, its idle ones end."""
        arn = spec.arn or self._arn_prefix + spec.key
        lane = self._lanes.get(spec.key)
        if lane is None:
            self._lanes[spec.key] = _Lane(spec, arn)
            self.forget(spec.key)
            return
        lane.spec, lane.arn, lane.inline = spec, arn, None
        self._retire(lane)
        self._serve(lane)

    def expect(self, key: str) -> None:
        """A function of this host that is not registered yet: `arrival` waits for it."""
        if key not in self._lanes:
            self._expected.setdefault(key, asyncio.Event())

    def forget(self, key: str) -> None:
        """Expect a function no more; who waited for it goes on."""
        arrived = self._expected.pop(key, None)
        if arrived is not None:
            arrived.set()

    async def arrival(self, function: str) -> None:
        """Wait until a function that is expected (by name, ``name:version`` or ARN) is registered, or forgotten."""
        arrived = self._expected.get(_key(function))
        if arrived is not None:
            log.warning(
                "a task waits for the function %s, which was given to an earlier run and not to this one", function
            )
            await arrived.wait()

    def unregister(self, function: str) -> None:
        """Remove a function; calls in progress finish. Raises UnknownFunction."""
        lane = self._lanes.pop(self.resolve(function).key)
        self._starved.pop(lane.spec.key, None)
        self._retire(lane)
        while lane.waiting:
            waiter = lane.waiting.popleft()
            if not waiter.done():
                waiter.set_exception(UnknownFunction(f"function {lane.spec.key} was removed"))

    def resolve(self, function: str) -> FunctionSpec:
        """The function of a name, ``name:version`` or Lambda ARN. Raises UnknownFunction."""
        return self._lane(function).spec

    def functions(self) -> list[FunctionSpec]:
        """All registered functions."""
        return [lane.spec for lane in self._lanes.values()]

    def _lane(self, function: str) -> _Lane:
        lane = self._lanes.get(function)
        if lane is not None:
            return lane
        lane = self._lanes.get(_key(function))
        if lane is None:
            known = ", ".join(sorted(self._lanes)) or "none"
            raise UnknownFunction(f"there is no function {function}; the functions are: {known}")
        return lane

    # --- calls

    async def invoke(self, function: str, payload: bytes, *, call: Call, wait: bool = True) -> InvokeResult:
        """Run the function on a JSON event and return its outcome; a function's failure is a value, not an exception.

        Raises UnknownFunction, TooManyRequests (only with ``wait=False``) and PoolClosed. Cancelling the caller kills the
        worker, so that the work really stops.
        """
        if self._closed:
            raise PoolClosed("the pool is closed")
        lane = self._lane(function)
        self._in_progress += 1
        try:
            run = self._invoke_inline if lane.is_inline else self._invoke_worker
            result = await run(lane, payload, call, wait)
            if self.on_call is not None:
                self.on_call(lane.spec.name, result)
            return result
        except TooManyRequests:
            if self.on_call is not None:
                self.on_call(lane.spec.name, None)
            raise
        finally:
            self._in_progress -= 1
            if self._quiet is not None and not self._in_progress and not self._quiet.done():
                self._quiet.set_result(None)

    async def _invoke_worker(self, lane: _Lane, payload: bytes, call: Call, wait: bool) -> InvokeResult:
        worker = await self._take(lane, wait)
        init: float | None = None
        self._watch_closely()
        try:
            if worker is None:
                worker = self._new_worker(lane)
                worker.call = call
                self._busy.add(worker)
                error = await worker.start()
                init = worker.init_seconds
                if error is not None:
                    answer = worker.failure(error)
                    return self._result(worker, call, answer, init)
            else:
                self._busy.add(worker)
            answer = await worker.run(call, payload)
            if self._aborting and not worker.alive:
                raise PoolClosed("the pool was closed while the function ran")
            return self._result(worker, call, answer, init)
        finally:
            self._give_back(lane, worker)

    async def _invoke_inline(self, lane: _Lane, payload: bytes, call: Call, wait: bool) -> InvokeResult:
        if not self._captures:
            self._captures = True
            Capture.begin()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(max_workers=64, thread_name_prefix="stepwell-inline")
        if lane.running >= lane.spec.concurrency:
            await self._wait(lane, wait)
        else:
            lane.running += 1
        try:
            if lane.inline is None:
                lane.inline = InlineFunction(lane.spec, arn=lane.arn, threads=self._threads)
            tail = bytearray()
            name = lane.spec.name
            answer = await lane.inline.run(call, payload, lambda line: self._log(line, name, call, tail))
            milliseconds = answer.duration * 1000
            return InvokeResult(
                payload=answer.payload,
                error=answer.error,
                log_tail=bytes(tail[-_TAIL:]),
                duration_ms=milliseconds,
                billed_ms=math.ceil(milliseconds),
            )
        finally:
            self._give_back(lane, None)

    def _result(self, worker: WorkerProcess, call: Call, answer: Answer, init: float | None) -> InvokeResult:
        spec = worker.spec
        milliseconds = answer.duration * 1000
        init_ms = None if init is None else init * 1000
        billed = math.ceil(milliseconds + (init_ms or 0.0))
        memory = -(-worker.peak // MEGABYTE)
        report = (
            f"END RequestId: {call.request_id}\n"
            f"REPORT RequestId: {call.request_id}\tDuration: {milliseconds:.2f} ms\tBilled Duration: {billed} ms\t"
            f"Memory Size: {spec.memory_mb} MB\tMax Memory Used: {memory} MB\t"
        )
        if init_ms is not None:
            report += f"Init Duration: {init_ms:.2f} ms\t"
        start = f"START RequestId: {call.request_id} Version: {spec.version}\n"
        return InvokeResult(
            payload=answer.payload,
            error=answer.error,
            log_tail=(start.encode() + worker.tail + report.encode() + b"\n")[-_TAIL:],
            duration_ms=milliseconds,
            billed_ms=billed,
            init_ms=init_ms,
            memory_mb=memory,
        )

    async def warm(self, function: str, workers: int = 1) -> None:
        """Have at least so many idle workers ready, as far as the limits allow. Failures to start show at the next call."""
        lane = self._lane(function)
        if lane.is_inline:
            return
        started: list[Coroutine[Any, Any, None]] = []
        while len(lane.idle) + len(started) < workers and self._has_room(lane):
            lane.running += 1
            worker = self._new_worker(lane)
            started.append(self._warm_up(lane, worker))
        await asyncio.gather(*started)

    async def _warm_up(self, lane: _Lane, worker: WorkerProcess) -> None:
        try:
            await worker.start()
        finally:
            self._give_back(lane, worker)

    # --- workers

    def _new_worker(self, lane: _Lane) -> WorkerProcess:
        stream = f"stepwell/[{lane.spec.version}]{uuid4().hex}"
        worker = WorkerProcess(lane.spec, self._environment, arn=lane.arn, log_stream=stream, on_line=self._worker_line)
        self._processes.add(worker)
        self._workers.add(worker)
        worker.ended.add_done_callback(lambda _: self._ended(lane, worker))
        return worker

    def _ended(self, lane: _Lane, worker: WorkerProcess) -> None:
        self._processes.discard(worker)
        self._workers.discard(worker)
        if worker in lane.idle:  # It died between calls.
            lane.idle.remove(worker)
        for starved in list(self._starved.values()):
            self._serve(starved)

    def _has_room(self, lane: _Lane) -> bool:
        """Whether one more worker may start; an idle worker of another function gives way."""
        if lane.running >= lane.spec.concurrency:
            return False
        if len(self._workers) + len(self._granted) < self._max_workers:
            return True
        others = [other for other in self._lanes.values() if other.idle]
        if not others:
            return False
        oldest = min(others, key=lambda other: other.idle[0].idle_since)
        self._dismiss(oldest.idle.pop(0))
        return True

    async def _take(self, lane: _Lane, wait: bool) -> WorkerProcess | None:
        """An idle worker, or None: one may be started. Either way the call counts as running."""
        while lane.idle:
            worker = lane.idle.pop()
            if worker.alive:
                lane.running += 1
                return worker
        if self._has_room(lane):
            lane.running += 1
            return None
        return await self._wait(lane, wait)

    async def _wait(self, lane: _Lane, wait: bool) -> WorkerProcess | None:
        if not wait:
            raise TooManyRequests("Rate Exceeded.")
        if lane.running < lane.spec.concurrency:
            self._starved[lane.spec.key] = lane
        waiter: asyncio.Future[WorkerProcess | None] = asyncio.get_running_loop().create_future()
        lane.waiting.append(waiter)
        try:
            worker = await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._granted.discard(waiter)
                self._give_back(lane, waiter.result())
            raise
        self._granted.discard(waiter)
        return worker

    def _give_back(self, lane: _Lane, worker: WorkerProcess | None) -> None:
        """A call is over: its worker serves the next in line, or rests, or is let go."""
        lane.running -= 1
        if worker is not None:
            self._busy.discard(worker)
            current = self._lanes.get(lane.spec.key) is lane and worker.spec is lane.spec
            # A function that the pool's bound keeps from running at all gets this worker's place.
            yields = any(other.running == 0 for other in self._starved.values() if other is not lane)
            if worker.alive and current and not self._closed and not yields:
                worker.idle_since = asyncio.get_running_loop().time()
                lane.idle.append(worker)
            else:
                self._dismiss(worker)
        for starved in list(self._starved.values()):
            self._serve(starved)
        self._serve(lane)

    def _serve(self, lane: _Lane) -> None:
        """Let those in line go ahead, as far as there are workers or room."""
        served = False
        while lane.waiting:
            if lane.waiting[0].done():
                lane.waiting.popleft()
            elif lane.idle and lane.running < lane.spec.concurrency:
                worker = lane.idle.pop()
                if worker.alive:
                    lane.running += 1
                    served = True
                    lane.waiting.popleft().set_result(worker)
            elif lane.running < lane.spec.concurrency and (lane.is_inline or self._has_room(lane)):
                lane.running += 1
                served = True
                waiter = lane.waiting.popleft()
                if not lane.is_inline:
                    self._granted.add(waiter)
                waiter.set_result(None)
            else:
                if lane.running < lane.spec.concurrency:
                    if served:  # Behind the others: each in its turn.
                        self._starved.pop(lane.spec.key, None)
                    self._starved[lane.spec.key] = lane
                return
        self._starved.pop(lane.spec.key, None)

    def _retire(self, lane: _Lane) -> None:
        while lane.idle:
            self._dismiss(lane.idle.pop())

    def _dismiss(self, worker: WorkerProcess) -> None:
        """Let a worker end; it stops counting at once."""
        self._workers.discard(worker)
        if worker.alive:
            worker.close()
            asyncio.get_running_loop().call_later(_FAREWELL, worker.kill)

    # --- watching

    def _watch_closely(self) -> None:
        """A call begins: look at the workers' memory often, until there has been none for a while."""
        self._called = True
        if not self._watching_closely:
            self._watching_closely = True
            if self._ticking is not None:
                self._ticking.cancel()
            self._ticking = asyncio.get_running_loop().call_later(_MEMORY_CHECK, self._look)

    def _look(self) -> None:
        for worker in list(self._busy):
            used = resident_bytes(worker.pid) if worker.alive else 0
            if used > worker.spec.memory_mb * MEGABYTE:
                worker.exceed(used)
        loop = asyncio.get_running_loop()
        oldest = loop.time() - self._idle_timeout
        for lane in self._lanes.values():
            while lane.idle and lane.idle[0].idle_since < oldest:
                self._dismiss(lane.idle.pop(0))
        self._watching_closely = bool(self._busy) or self._called
        self._called = False
        self._ticking = None
        if self._workers and not self._closed:
            self._ticking = loop.call_later(_MEMORY_CHECK if self._watching_closely else _IDLE_CHECK, self._look)

    # --- logs

    def _worker_line(self, worker: WorkerProcess, line: bytes) -> None:
        self._log(line, worker.spec.name, worker.call, worker.tail)

    def _log(self, line: bytes, function: str, call: Call | None, tail: bytearray) -> None:
        record = record_of(line, function, call)
        tail += tail_line(record, line)
        if len(tail) > 4 * _TAIL:
            del tail[:-_TAIL]
        forward = self._forward
        if self.logs is not None:
            try:
                self.logs.write(record)
            except OSError as error:
                # A full disk must not fail the function; its lines are shown instead of kept.
                sys.__stderr__ and print(f"stepwell: the log store refused a line: {error}", file=sys.__stderr__)
                forward = True
        if forward and sys.__stderr__ is not None:
            print(record.text(), file=sys.__stderr__)
        if self._on_log is not None:
            self._on_log(record)

    # --- end

    async def close(self, grace: float = 5.0) -> None:
        """Take no more calls, give running ones `grace` seconds, then kill what is left. Leaves no process behind."""
        if self._closed:
            return
        self._closed = True
        if self._ticking is not None:
            self._ticking.cancel()
        for lane in self._lanes.values():
            self._retire(lane)
            for waiter in lane.waiting:
                if not waiter.done():
                    waiter.set_exception(PoolClosed("the pool was closed before the call could run"))
            lane.waiting.clear()
        if self._in_progress:
            self._quiet = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._quiet], timeout=grace)
        self._aborting = True
        for worker in self._busy:
            worker.kill()
        if self._quiet is not None:
            await asyncio.wait([self._quiet], timeout=1.0)
        ends = [worker.ended for worker in self._processes]
        if ends:
            await asyncio.wait(ends, timeout=min(grace, 2.0))
        for worker in list(self._processes):
            worker.kill()
        await asyncio.gather(*(worker.ended for worker in list(self._processes)))
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        if self._captures:
            Capture.end()
