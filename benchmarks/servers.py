"""The servers that `endpoints` compares: how each is started, asked, measured and stopped."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import psutil
from botocore.config import Config

ROOT = Path(__file__).parent.parent
EMULATORS = Path(os.environ.get("STEPWELL_EMULATORS", ROOT / ".venv-emulators"))
LONGEST = 120.0
"""Seconds an execution may take."""

NAMES = ("stepwell", "ministack", "ministack-awake", "moto", "constant")

# ministack sleeps 150 ms in the thread of every execution before it looks at the definition.
_AWAKE = """
import time, types
from ministack.services import stepfunctions
clock = types.SimpleNamespace(**vars(time))
clock.sleep = lambda seconds: None if seconds == 0.15 else time.sleep(seconds)
stepfunctions.time = clock
from ministack.app import main
main()
"""


@dataclass
class Server:
    """A running server and its client."""

    name: str
    process: subprocess.Popen[bytes]
    url: str
    first_call: float
    """Seconds from the start of the process to the first answer."""
    idle_rss: float
    arns: dict[str, str] = field(default_factory=dict)
    peak_rss: float = 0.0

    def client(self, service: str = "stepfunctions") -> Any:
        """A boto3 client of it."""
        config = Config(
            region_name="us-east-1",
            retries={"max_attempts": 0},
            max_pool_connections=64,
            read_timeout=LONGEST + 30,
            inject_host_prefix=False,
        )
        return boto3.client(
            service, endpoint_url=self.url, aws_access_key_id="test", aws_secret_access_key="test", config=config
        )

    def processes(self) -> list[psutil.Process]:
        try:
            parent = psutil.Process(self.process.pid)
            return [parent, *parent.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu(self) -> float:
        """CPU seconds of the server and its children, ended ones included."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total

    def rss(self) -> float:
        """Resident MiB of the server and its children."""
        total = 0
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total / 2**20


def command(name: str, port: int, data: str) -> tuple[list[str], dict[str, str]]:
    """How a server is started: its command and the environment it needs."""
    if name == "stepwell":
        return [str(Path(sys.executable).parent / "stepwell"), "serve", "--port", str(port), "--data", data], {}
    if name == "ministack":
        return [str(EMULATORS / "bin/ministack")], {"GATEWAY_PORT": str(port)}
    if name == "ministack-awake":
        return [str(EMULATORS / "bin/python"), "-c", _AWAKE], {"GATEWAY_PORT": str(port)}
    if name == "moto":
        return [str(EMULATORS / "bin/moto_server"), "-p", str(port)], {}
    if name == "constant":
        return [sys.executable, str(ROOT / "benchmarks/constant.py"), str(port)], {"PYTHONPATH": str(ROOT)}
    raise SystemExit(f"unknown server {name!r}; there are: {', '.join(NAMES)}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(name: str) -> Iterator[Server]:
    """The server, started, answering, and stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="stepwell-bench-") as data:
        port = _free_port()
        words, extra = command(name, port, data)
        began = time.perf_counter()
        process = subprocess.Popen(
            words, env={**os.environ, **extra}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=data
        )
        server = Server(name, process, f"http://127.0.0.1:{port}", 0.0, 0.0)
        try:
            _await_first_call(server, began)
            if name == "moto":  # else it only pretends to run executions
                settings = json.dumps({"stepfunctions": {"execute_state_machine": True}}).encode()
                urllib.request.urlopen(f"{server.url}/moto-api/config", settings).close()
            yield server
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def _await_first_call(server: Server, began: float) -> None:
    client = server.client()
    while True:
        try:
            client.list_state_machines()
            break
        except Exception:
            if server.process.poll() is not None or time.perf_counter() - began > 60:
                raise SystemExit(f"{server.name} did not start; is it installed? `make emulators`") from None
            time.sleep(0.02)
    server.first_call = time.perf_counter() - began
    time.sleep(0.5)
    server.idle_rss = server.rss()
