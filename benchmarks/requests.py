"""What one request costs the server, and what it would cost a server that does nothing: `python -m benchmarks.requests [--rounds 7]`.

Stepwell, its journal on disk, and `constant` (see `constant.py`) take turns; the client is plain HTTP on one connection, its requests have
boto3's headers and come in two packets as boto3 sends them. CPU is that of all threads of the server, from the scheduler's own count.
The difference between the two is what Stepwell can still save; the rest is the kernel's, the event loop's and the parser's.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import workloads
from benchmarks.servers import Server, running

HEADERS = {
    "Content-Type": "application/x-amz-json-1.0",
    "User-Agent": "Boto3/1.40 md/Botocore#1.40 ua/2.1 os/linux lang/python#3.11",
    "X-Amz-Date": "20260101T000000Z",
    "amz-sdk-invocation-id": "7c9d5a4e-9d3b-4d2c-8d3f-2b1f6f0a1b2c",
    "amz-sdk-request": "attempt=1",
    "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/states/aws4_request, "
    f"SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature={'0' * 64}",
}
COUNT = 300


class Client:
    """One connection to a server, with a machine of five states on it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        host, port = server.url.removeprefix("http://").split(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=60)
        definition = json.dumps(workloads.chain(5))
        made = {"definition": definition, "roleArn": "arn:aws:iam::000000000000:role/r"}
        self.standard = self.call("CreateStateMachine", {"name": "w8-s", **made})["stateMachineArn"]
        self.express = self.call("CreateStateMachine", {"name": "w8-x", "type": "EXPRESS", **made})["stateMachineArn"]
        self.started = ""

    def call(self, action: str, body: dict[str, Any]) -> Any:
        headers = {**HEADERS, "X-Amz-Target": f"AWSStepFunctions.{action}"}
        self._connection.request("POST", "/", json.dumps(body), headers)
        response = self._connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            raise RuntimeError(f"{action}: {answer}")
        return answer

    def start(self) -> None:
        body = {"stateMachineArn": self.standard, "name": f"e{uuid.uuid4().hex}", "input": "{}"}
        self.started = self.call("StartExecution", body)["executionArn"]

    def describe(self) -> None:
        if self.call("DescribeExecution", {"executionArn": self.started})["status"] != "SUCCEEDED":
            raise RuntimeError("it did not end")

    def start_sync(self) -> None:
        if self.call("StartSyncExecution", {"stateMachineArn": self.express, "input": "{}"})["status"] != "SUCCEEDED":
            raise RuntimeError("it failed")

    def list(self) -> None:
        self.call("ListActivities", {})

    def cpu(self) -> float:
        """CPU seconds of the server so far, to the nanosecond."""
        threads = Path(f"/proc/{self.server.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9

    def measure(self, request: Callable[[Client], None]) -> float:
        """Microseconds of the server's CPU for one."""
        before = self.cpu()
        for _ in range(COUNT):
            request(self)
        return (self.cpu() - before) / COUNT * 1e6


REQUESTS: dict[str, Callable[[Client], None]] = {
    "ListActivities, empty": Client.list,
    "StartExecution, five states, durable": Client.start,
    "DescribeExecution": Client.describe,
    "StartSyncExecution, five states": Client.start_sync,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    if not Path("/proc/self/schedstat").exists():
        print("skipped: this kernel does not count the CPU time of threads in /proc/PID/schedstat")
        return
    with running("stepwell") as ours, running("constant") as nothing:
        clients = [Client(ours), Client(nothing)]
        print(f"{'server CPU, us a request: median (lowest)':44}{'stepwell':>16}{'constant':>16}")
        for title, request in REQUESTS.items():
            figures: list[list[float]] = [[], []]
            for number in range(rounds + 1):
                for client, values in zip(clients, figures, strict=True):
                    value = client.measure(request)
                    if number:  # the first is a warm-up
                        values.append(value)
            cells = (f"{statistics.median(values):,.0f} ({min(values):,.0f})" for values in figures)
            print(f"{title:44}{''.join(f'{cell:>16}' for cell in cells)}", flush=True)


if __name__ == "__main__":
    main()
