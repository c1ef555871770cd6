"""A server under mixed load for a while: does anything grow that should not?

    python -m benchmarks.soak [--minutes 30] [--clients 4] [--retention-count 2000] [--pace 20]

`stepwell serve` with a project (chains, a Map, retries, waits, task tokens, functions in worker processes) and boto3 clients that
start, stop, list, and read histories. Every ten seconds a line: executions so far, resident memory and open files of the server and of
its workers, the size of the database and of its log, and how long a request took at worst since the last line. At the end the first third
after the warm-up is compared with the last.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import psutil
from botocore.config import Config

PREFIX = "arn:aws:states:us-east-1:000000000000:"
TOML = """
[project]
name = "soak"
[machines.mixed]
definition = "mixed.asl.json"
[machines.quick]
definition = "quick.asl.json"
[machines.asking]
definition = "asking.asl.json"
[functions.work]
handler = "work:work"
concurrency = 2
[functions.ask]
handler = "work:ask"
inline = true
"""
FUNCTIONS = """
from pathlib import Path
class Flaky(Exception):
    pass
def work(event, context):
    if event.get("tries", 1) == 0 and event["n"] % 7 == 0:
        raise Flaky("every seventh, once")
    return {"n": event["n"] + 1, "text": "x" * 500}
def ask(event, context):
    with Path("@TOKENS@").open("a") as file:
        file.write(event["token"] + "\\n")
"""


def machines() -> dict[str, Any]:
    """What the project runs."""
    work = {
        "Type": "Task",
        "Resource": "${functions.work}",
        "Parameters": {"n.$": "$.n", "tries.$": "$$.State.RetryCount"},
        "Retry": [{"ErrorEquals": ["Flaky"], "IntervalSeconds": 1, "MaxAttempts": 2}],
    }
    item = {
        "StartAt": "One",
        "States": {"One": {"Type": "Pass", "Parameters": {"n.$": "$$.Map.Item.Value"}, "End": True}},
    }
    branch = {"StartAt": "Nap", "States": {"Nap": {"Type": "Wait", "Seconds": 1, "End": True}}}
    each = {"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": item, "ResultPath": "$.done", "Next": "Both"}
    both = {
        "Type": "Parallel",
        "Branches": [branch, {"StartAt": "Work", "States": {"Work": {**work, "End": True}}}],
        "End": True,
    }
    token = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Parameters": {"FunctionName": "${functions.ask}", "Payload": {"token.$": "$$.Task.Token"}},
        "End": True,
    }
    chain = {f"S{n}": {"Type": "Pass", "Next": f"S{n + 1}"} for n in range(9)} | {"S9": {"Type": "Succeed"}}
    return {
        "mixed": {"StartAt": "Each", "States": {"Each": each, "Both": both}},
        "quick": {"StartAt": "S0", "States": chain},
        "asking": {"StartAt": "Ask", "States": {"Ask": token}},
    }


@dataclass
class Sample:
    """One line of the report. Sizes in MiB."""

    executions: int
    rss: float
    workers: float
    files: int
    database: float
    log: float
    worst: float


class Soak:
    """The server, its clients, and what is measured of it."""

    def __init__(self, folder: Path, retention: int, pace: float) -> None:
        self.folder = folder
        self.pace = pace
        self.count = 0
        self.worst = 0.0
        self.errors: list[str] = []
        self.lock = threading.Lock()
        self.ending = threading.Event()
        self.tokens = folder / "tokens"
        project = folder / "project"
        project.mkdir()
        (project / "stepwell.toml").write_text(TOML)
        (project / "work.py").write_text(FUNCTIONS.replace("@TOKENS@", str(self.tokens)))
        for name, definition in machines().items():
            (project / f"{name}.asl.json").write_text(json.dumps(definition))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        command = [str(Path(sys.executable).parent / "stepwell"), "serve", str(project), "--port", str(self.port)]
        command += ["--data", str(folder / "data"), "--retention-count", str(retention), "--account", "000000000000"]
        self.log = (folder / "server.log").open("wb")
        self.server = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=dict(os.environ), cwd=folder)
        self.process = psutil.Process(self.server.pid)
        while socket.socket().connect_ex(("127.0.0.1", self.port)):
            if self.server.poll() is not None:
                raise SystemExit((folder / "server.log").read_text())
            time.sleep(0.05)

    def client(self) -> Any:
        config = Config(region_name="us-east-1", retries={"max_attempts": 0}, inject_host_prefix=False)
        url = f"http://127.0.0.1:{self.port}"
        return boto3.client(
            "stepfunctions", endpoint_url=url, aws_access_key_id="t", aws_secret_access_key="t", config=config
        )

    def call(self, function: Any, **arguments: Any) -> Any:
        began = time.perf_counter()
        answer = function(**arguments)
        self.worst = max(self.worst, time.perf_counter() - began)
        return answer

    def load(self, number: int) -> None:
        """A user, until the end."""
        api = self.client()
        rng = random.Random(number)
        recent: list[str] = []
        while not self.ending.is_set():
            try:
                self.one(api, rng, recent)
            except Exception as error:
                self.errors.append(repr(error))
            time.sleep(rng.expovariate(self.pace))

    def one(self, api: Any, rng: random.Random, recent: list[str]) -> None:
        name = rng.choice(["mixed", "quick", "quick", "asking"])
        data = json.dumps(
            {"n": rng.randrange(1000), "items": list(range(rng.randrange(20))), "text": "y" * rng.randrange(4000)}
        )
        arn = self.call(api.start_execution, stateMachineArn=f"{PREFIX}stateMachine:{name}", input=data)["executionArn"]
        with self.lock:
            self.count += 1
        recent.append(arn)
        del recent[:-50]
        dice = rng.random()
        if dice < 0.1:
            self.call(api.list_executions, stateMachineArn=f"{PREFIX}stateMachine:{name}", maxResults=100)
        elif dice < 0.3:
            self.call(api.get_execution_history, executionArn=rng.choice(recent))
        elif dice < 0.5:
            self.call(api.describe_execution, executionArn=rng.choice(recent))
        elif dice < 0.55:
            self.call(api.stop_execution, executionArn=arn)

    def answer(self) -> None:
        """Who answers task tokens."""
        api = self.client()
        position = 0
        while not self.ending.is_set():
            if self.tokens.exists():
                with self.tokens.open() as file:
                    file.seek(position)
                    lines = file.readlines()
                    position = file.tell()
                for token in lines:
                    with contextlib.suppress(api.exceptions.TaskTimedOut):  # stopped
                        self.call(api.send_task_success, taskToken=token.strip(), output="1")
            time.sleep(0.2)

    def sample(self) -> Sample:
        children = self.process.children(recursive=True)
        workers = 0
        for child in children:
            with contextlib.suppress(psutil.Error):
                workers += child.memory_info().rss
        data = self.folder / "data"
        worst, self.worst = self.worst, 0.0
        return Sample(
            self.count,
            self.process.memory_info().rss / 2**20,
            workers / 2**20,
            self.process.num_fds(),
            (data / "journal.db").stat().st_size / 2**20,
            (data / "journal.db-wal").stat().st_size / 2**20,
            worst * 1000,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--retention-count", type=int, default=2000)
    parser.add_argument("--pace", type=float, default=20, help="executions a second and client, if the server keeps up")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), options.retention_count, options.pace)
        threads = [threading.Thread(target=soak.load, args=(n,), daemon=True) for n in range(options.clients)]
        threads.append(threading.Thread(target=soak.answer, daemon=True))
        for thread in threads:
            thread.start()
        samples = []
        end = time.monotonic() + options.minutes * 60
        print(
            f"{'minute':>7}{'executions':>12}{'RSS MiB':>9}{'workers':>9}{'files':>7}{'db MiB':>8}{'log MiB':>9}{'worst ms':>10}"
        )
        while time.monotonic() < end:
            time.sleep(10)
            one = soak.sample()
            samples.append(one)
            minute = options.minutes - (end - time.monotonic()) / 60
            print(
                f"{minute:>7.1f}{one.executions:>12,}{one.rss:>9.1f}{one.workers:>9.1f}{one.files:>7}"
                f"{one.database:>8.1f}{one.log:>9.1f}{one.worst:>10.0f}",
                flush=True,
            )
        soak.ending.set()
        for thread in threads:
            thread.join(30)
        cpu = soak.process.cpu_times()
        soak.server.send_signal(signal.SIGTERM)
        code = soak.server.wait(30)
        text = (soak.folder / "server.log").read_text()
    third = max(len(samples) // 3, 1)
    early, late = samples[third // 2 : third // 2 + third], samples[-third:]
    for name in ("rss", "files", "database", "log", "worst"):
        first, last = (statistics.median(getattr(one, name) for one in part) for part in (early, late))
        print(f"{name:>10}: {first:.1f} early, {last:.1f} late")
    print(f"{samples[-1].executions:,} executions, {cpu.user + cpu.system:.0f} s of the server's CPU, exit code {code}")
    print(f"{len(soak.errors)} errors {soak.errors[:3]}; {text.count('ERROR')} in the server's log")
    return 1 if soak.errors or code or "Traceback" in text else 0


if __name__ == "__main__":
    raise SystemExit(main())
