"""Running functions in warm worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType

from stepwell.functions.logs import LogRecord, LogStore
from stepwell.functions.spec import Call, FunctionSpec, InvokeResult


class FunctionPool:
    """Runs functions: each in its own warm worker processes, or inline.

        async with FunctionPool(project.functions.values(), logs=LogStore(data / "logs")) as pool:
            result = await pool.invoke("media-lister", b'{"page_number":1}', call=Call(request_id=str(uuid4())))

    A worker takes one event at a time. It is killed (with every process it started) when the function exceeds its timeout or
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
        account: str = "123456789012",
        region: str = "us-east-1",
        partition: str = "aws",
        max_workers: int | None = None,
        idle_timeout: float = 300.0,
    ) -> None:
        """`on_log` sees every record (metrics, live views); `forward_logs` also writes them to this process's stderr.

        `environment` goes under every function's own; `max_workers` bounds all functions' processes together
        (default: 4 a core, at least 16); a worker unused for `idle_timeout` seconds ends.
        """
        raise NotImplementedError

    async def __aenter__(self) -> FunctionPool:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    def register(self, spec: FunctionSpec) -> None:
        """Add a function, or replace one: its busy workers finish their call, its idle ones end."""
        raise NotImplementedError

    def unregister(self, function: str) -> None:
        raise NotImplementedError

    def resolve(self, function: str) -> FunctionSpec:
        """The function of a name, ``name:version`` or Lambda ARN. Raises UnknownFunction."""
        raise NotImplementedError

    async def invoke(self, function: str, payload: bytes, *, call: Call, wait: bool = True) -> InvokeResult:
        """Run the function on a JSON event and return its outcome; a function's failure is a value, not an exception.

        Raises UnknownFunction, TooManyRequests (only with ``wait=False``) and PoolClosed. Cancelling the caller kills the worker,
        so that the work really stops.
        """
        raise NotImplementedError

    async def warm(self, function: str, workers: int = 1) -> None:
        """Start workers ahead of the first call."""
        raise NotImplementedError

    async def close(self, grace: float = 5.0) -> None:
        """Take no more calls, give running ones `grace` seconds, then kill what is left. Leaves no process behind."""
        raise NotImplementedError
