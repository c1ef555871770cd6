"""What each measure on the hot path gives: it is switched off, and the CPU time compared, alternating in one run.

    python -m benchmarks.hot_path [--rounds 21] [--only packing,names]

Two workloads in process with the journal on disk: executions of 100 Pass states one by one (long histories), and 500 executions of 5
at once (many small ones); and one request of the API through a connection without a network. A figure is the lower quartile of
the rounds, which other work on the machine disturbs little; the record is docs/decisions/0011.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import uvicorn
from uvicorn.server import ServerState

from benchmarks import workloads
from stepwell.api.app import Application, create_app
from stepwell.api.connection import Connection
from stepwell.engine import Engine, Machine
from stepwell.engine.blocking import new_loop
from stepwell.engine.journal import Journal
from stepwell.engine.registry import Registry
from stepwell.interpreter.execution import Execution
from stepwell.interpreter.payload import Payload
from stepwell.language import compile_machine

HEAD = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1:8083\r\nAccept-Encoding: identity\r\nX-Amz-Target: AWSStepFunctions.ListActivities\r\n"
    b"Content-Type: application/x-amz-json-1.0\r\nUser-Agent: Boto3/1.40 md/Botocore#1.40 ua/2.1 os/linux lang/python#3.11\r\n"
    b"X-Amz-Date: 20260101T000000Z\r\namz-sdk-invocation-id: 7c9d5a4e-9d3b-4d2c-8d3f-2b1f6f0a1b2c\r\namz-sdk-request: attempt=1\r\n"
    b"Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/states/aws4_request, "
    b"SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=0000000000000000\r\nContent-Length: 2\r\n\r\n"
)


@contextmanager
def no_compiled_definitions() -> Iterator[None]:
    """Each execution compiles its definition."""
    once = Registry.compiled

    def again(self: Registry, revision: int, pointer: str = "") -> Any:
        return (
            compile_machine(json.loads(self.revision(revision).definition))
            if not pointer
            else once(self, revision, pointer)
        )

    with patch.object(Registry, "compiled", again):
        yield


@contextmanager
def copied_payloads() -> Iterator[None]:
    """Each state gets a copy of its input."""
    enter = Execution.enter

    def copied(self: Execution, frame: Any, state: Any) -> None:
        frame.input = Payload(copy.deepcopy(frame.input.value), frame.input.text)
        enter(self, frame, state)

    with patch.object(Execution, "enter", copied):
        yield


@contextmanager
def rendered_whole() -> Iterator[None]:
    """A ResultPath that adds a field renders the whole document."""
    with patch.object(Payload, "with_member", lambda self, name, member: Payload({**self.value, name: member.value})):
        yield


@contextmanager
def standard_json() -> Iterator[None]:
    """Events are serialised by the standard library."""
    module = SimpleNamespace(dumps=lambda value: json.dumps(value, separators=(",", ":")).encode())
    with patch("stepwell.engine.host.orjson", module):
        yield


@contextmanager
def serialised_singly() -> Iterator[None]:
    """Each event is a row of its own."""
    with patch("stepwell.engine.host.HISTORY_CHUNK", 1):
        yield


@contextmanager
def unpacked() -> Iterator[None]:
    """Histories are stored as they are."""
    with patch("stepwell.engine.packing.LEAST", 1 << 60):
        yield


@contextmanager
def single_commits() -> Iterator[None]:
    """Each execution is a commit."""
    start = Journal.start_execution

    def alone(self: Journal, row: Any) -> None:
        self.flush()
        start(self, row)

    with patch.object(Journal, "start_execution", alone):
        yield


@contextmanager
def random_names() -> Iterator[None]:
    """Generated names are random from the first digit on."""
    from stepwell.engine.arns import new_uuid

    with patch("stepwell.engine.executions.new_name", lambda now: new_uuid()):
        yield


@contextmanager
def asgi_only() -> Iterator[None]:
    """Requests go through uvicorn's ASGI cycle."""
    with patch.object(Application, "direct", None):
        yield


MEASURES: dict[str, tuple[str, Callable[[], Any]]] = {
    "definitions": ("definitions are compiled once", no_compiled_definitions),
    "sharing": ("payloads are shared, not copied", copied_payloads),
    "member": ("only the added field is rendered", rendered_whole),
    "orjson": ("orjson, not json, for events", standard_json),
    "blocks": ("100 events in a row, not 1", serialised_singly),
    "packing": ("histories are compressed", unpacked),
    "group": ("group commit", single_commits),
    "names": ("generated names begin with the time", random_names),
    "request": ("a request is answered by one coroutine", asgi_only),
}


class Wire(asyncio.Transport):
    """A transport to nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, data: Any) -> None:
        self.writes += 1

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def connect(app: Application) -> tuple[Connection, Wire]:
    config = uvicorn.Config(app, http=Connection, ws="none", lifespan="off", log_config=None, access_log=False)
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"Tue, 14 Nov 2023 22:13:20 GMT")]
    connection, wire = Connection(config, state, {}, asyncio.get_running_loop()), Wire()
    connection.connection_made(wire)
    return connection, wire


async def long(machine: Machine) -> int:
    for _ in range(10):
        await machine.run({})
    return 10


async def many(machine: Machine) -> int:
    await asyncio.gather(*(machine.run({}) for _ in range(500)))
    return 500


async def requests(app: Application) -> int:
    connection, wire = connect(app)
    for number in range(1, 501):
        connection.data_received(HEAD)
        connection.data_received(b"{}")  # boto3 sends the body by itself
        while wire.writes < number:  # noqa: ASYNC110 -- a turn of the loop is what is measured
            await asyncio.sleep(0)
    connection.connection_lost(None)
    return 500


async def cpu(work: Callable[[Any], Awaitable[int]], on: Any) -> float:
    """Microseconds of CPU for one."""
    began = time.process_time()
    count = await work(on)
    return (time.process_time() - began) / count * 1e6


async def main(rounds: int, names: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="stepwell-bench-") as directory:
        async with Engine.open(Path(directory) / "data") as engine:
            w1 = await engine.load(workloads.chain(100), name="long")
            w8 = await engine.load(workloads.chain(5), name="many")
            app = create_app(engine)
            cases: dict[str, tuple[Callable[[Any], Awaitable[int]], Any]] = {
                "100 states": (long, w1),
                "500 x 5 states": (many, w8),
                "request": (requests, app),
            }
            print(
                "CPU us for an execution or a request: with the measure, without it, and how many times dearer that is"
            )
            for name in names:
                title, off = MEASURES[name]
                cells = []
                for case, (work, on) in cases.items():
                    if (case == "request") != (name == "request"):
                        continue
                    with_it, without = [], []
                    for _ in range(rounds):
                        with_it.append(await cpu(work, on))
                        with off():
                            without.append(await cpu(work, on))
                    best, worse = (sorted(values)[rounds // 4] for values in (with_it, without))
                    cells.append(f"{case}: {best:8,.1f} {worse:10,.1f} {worse / best:6.2f}x")
                print(f"{title:40} {'   '.join(cells)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--only", default=",".join(MEASURES), help=",".join(MEASURES))
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main(options.rounds, options.only.split(",")))
