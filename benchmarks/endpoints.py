"""Stepwell side by side with other servers of the Step Functions API, by boto3, alternating in one run.

    python -m benchmarks.endpoints [--servers stepwell,ministack,ministack-awake,moto,constant] [--only W1,W3] [--rounds 5]
                                   [--json FILE] [--markdown]

All servers are up at the same time and take turns, workload by workload and round by round, so that a slow minute of the machine
meets them alike. A figure is the median over the rounds; a ratio is taken round by round, and its spread is printed. CPU is what the
server and its children used, from the operating system. Stepwell keeps its journal on disk; the others keep nothing.

"ministack-awake" is ministack without the 150 ms it sleeps in every execution. "constant" runs nothing and answers at once
(`constant.py`): what the client reaches there, no server can exceed with this client.

`make emulators` installs ministack and moto into `.venv-emulators`.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import statistics
import time
import uuid
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import workloads
from benchmarks.servers import LONGEST, NAMES, Server, running

ROLE = "arn:aws:iam::000000000000:role/bench"

# -- what is measured: each gives its figures for one round


def make(server: Server, key: str, definition: workloads.Definition, kind: str = "STANDARD") -> str:
    """The ARN of a machine, created on first use."""
    if key not in server.arns:
        answer = server.client().create_state_machine(
            name=f"{key}-{uuid.uuid4().hex[:6]}", definition=json.dumps(definition), roleArn=ROLE, type=kind
        )
        server.arns[key] = answer["stateMachineArn"]
    return server.arns[key]


def run(client: Any, arn: str, input: Any = None, pause: float = 0.005) -> dict[str, Any]:
    """Start, poll, and give DescribeExecution's answer."""
    began = time.perf_counter()
    # Always named: moto gives every unnamed execution the same name.
    started = client.start_execution(stateMachineArn=arn, name=f"e{uuid.uuid4().hex}", input=json.dumps(input or {}))
    while True:
        answer: dict[str, Any] = client.describe_execution(executionArn=started["executionArn"])
        if answer["status"] != "RUNNING":
            break
        if time.perf_counter() - began > LONGEST:
            raise TimeoutError(f"RUNNING after {LONGEST:.0f} s")
        if pause:
            time.sleep(pause)
    if answer["status"] != "SUCCEEDED":
        raise RuntimeError(f"{answer['status']}: {answer.get('error')} {str(answer.get('cause'))[:100]}")
    return answer


def w1(server: Server) -> dict[str, float]:
    arn, client, count = make(server, "w1", workloads.chain(100)), server.client(), 10
    began = time.perf_counter()
    for _ in range(count):
        run(client, arn)
    return {"W1 transitions/s, 1 client": count * 100 / (time.perf_counter() - began), "_operations": count * 100}


def w1_16(server: Server) -> dict[str, float]:
    arn, client, count = make(server, "w1", workloads.chain(100)), server.client(), 4
    with ThreadPoolExecutor(16) as pool:
        began = time.perf_counter()
        list(pool.map(lambda _: [run(client, arn, pause=0.02) for _ in range(count)], range(16)))
        seconds = time.perf_counter() - began
    return {"W1 transitions/s, 16 clients": 16 * count * 100 / seconds, "_operations": 16 * count * 100}


def w2(server: Server) -> dict[str, float]:
    arn, client = make(server, "w2", workloads.chain(1)), server.client()
    times, calls = [], []
    for _ in range(100):
        began = time.perf_counter()
        run(client, arn, pause=0)
        times.append(time.perf_counter() - began)
        began = time.perf_counter()
        client.list_activities()
        calls.append(time.perf_counter() - began)
    latency = statistics.median(times) * 1000
    return {
        "W2 standard, ms": latency,
        "W2 in API calls": latency / 1000 / statistics.median(calls),
        "_operations": 100,
    }


def w2_express(server: Server) -> dict[str, float]:
    arn, client, times = make(server, "w2x", workloads.chain(1), "EXPRESS"), server.client(), []
    for _ in range(100):
        began = time.perf_counter()
        answer = client.start_sync_execution(stateMachineArn=arn, input="{}")
        times.append(time.perf_counter() - began)
        if answer["status"] != "SUCCEEDED":
            raise RuntimeError(str(answer.get("cause")))
    return {"W2 sync express, ms": statistics.median(times) * 1000, "_operations": 100}


def w3(server: Server) -> dict[str, float]:
    arn, client = make(server, "w3", workloads.loop(2000)), server.client()
    began = time.perf_counter()
    answer = run(client, arn, pause=0.02)
    seconds = time.perf_counter() - began
    if json.loads(answer["output"])["i"] != 2000:
        raise RuntimeError("wrong output")
    server.arns["w3 execution"] = answer["executionArn"]
    return {"W3 transitions/s": 4002 / seconds, "_operations": 4002}


def w4(server: Server) -> dict[str, float]:
    arn, client = make(server, "w4", workloads.each({"Type": "Pass"})), server.client()
    began = time.perf_counter()
    answer = run(client, arn, workloads.items(1000), pause=0.02)
    seconds = time.perf_counter() - began
    if len(json.loads(answer["output"])) != 1000:
        raise RuntimeError("wrong output")
    return {"W4 items/s": 1000 / seconds, "_operations": 1000}


def w5(server: Server) -> dict[str, float]:
    arn, client, times = make(server, "w5", workloads.parallel(20, 10)), server.client(), []
    for _ in range(5):
        began = time.perf_counter()
        run(client, arn)
        times.append(time.perf_counter() - began)
    return {"W5 ms": statistics.median(times) * 1000, "_operations": 5}


def w6(server: Server) -> dict[str, float]:
    if "echo" not in server.arns:
        server.arns["echo"] = _echo(server)
    client = server.client()
    arn = make(server, "w6", workloads.each({"Type": "Task", "Resource": server.arns["echo"]}))
    run(client, arn, workloads.items(200), pause=0.02)
    began = time.perf_counter()
    answer = run(client, arn, workloads.items(200), pause=0.02)
    seconds = time.perf_counter() - began
    if json.loads(answer["output"])[199] != {"n": 199}:
        raise RuntimeError("the function did not run")
    return {"W6 tasks/s": 200 / seconds, "_operations": 400}


def _echo(server: Server) -> str:
    role = ROLE
    with contextlib.suppress(Exception):
        policy = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [policy]})
        iam = server.client("iam")
        role = iam.create_role(RoleName="bench", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("echo.py", "def handler(event, context):\n    return event\n")
    client = server.client("lambda")
    made = client.create_function(
        FunctionName="echo",
        Runtime="python3.11",
        Role=role,
        Handler="echo.handler",
        Code={"ZipFile": archive.getvalue()},
        Timeout=30,
    )
    client.get_waiter("function_active_v2").wait(FunctionName="echo")
    return str(made["FunctionArn"])


def w7(server: Server) -> dict[str, float]:
    """The whole history of a W3 execution, over plain HTTP so that the client's parser is not what is measured."""
    host, port = server.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    headers = {
        "X-Amz-Target": "AWSStepFunctions.GetExecutionHistory",
        "Content-Type": "application/x-amz-json-1.0",
        "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/states/aws4_request, SignedHeaders=host, Signature=0",
    }
    token, events = None, 0
    began = time.perf_counter()
    while True:
        request = {"executionArn": server.arns["w3 execution"], "maxResults": 1000} | (
            {"nextToken": token} if token else {}
        )
        connection.request("POST", "/", json.dumps(request), headers)
        answer = json.loads(connection.getresponse().read())
        events += len(answer["events"])
        token = answer.get("nextToken")
        if not token:
            break
    seconds = time.perf_counter() - began
    if events < 8006:
        raise RuntimeError(f"{events} events of 8,006")
    return {"W7 s": seconds, "_operations": events}


def w8(server: Server) -> dict[str, float]:
    arn, client = make(server, "w8", workloads.chain(5)), server.client()

    def some(count: int) -> None:
        started = [
            client.start_execution(stateMachineArn=arn, name=f"e{uuid.uuid4().hex}", input="{}")["executionArn"]
            for _ in range(count)
        ]
        for execution in started:
            while (status := client.describe_execution(executionArn=execution)["status"]) == "RUNNING":
                time.sleep(0.01)
            if status != "SUCCEEDED":
                raise RuntimeError(status)

    with ThreadPoolExecutor(8) as pool:
        began = time.perf_counter()
        list(pool.map(some, [63, 63, 63, 63, 62, 62, 62, 62]))
        seconds = time.perf_counter() - began
    return {"W8 executions/s": 500 / seconds, "_operations": 500}


WORKLOADS: dict[str, Callable[[Server], dict[str, float]]] = {
    "W1": w1,
    "W1x16": w1_16,
    "W2": w2,
    "W2x": w2_express,
    "W3": w3,
    "W4": w4,
    "W5": w5,
    "W6": w6,
    "W7": w7,
    "W8": w8,
}
OPERATIONS = {
    "W1": "transition",
    "W1x16": "transition",
    "W2": "execution",
    "W2x": "execution",
    "W3": "transition",
    "W4": "item",
    "W5": "execution",
    "W6": "task",
    "W7": "event",
    "W8": "execution",
}
"""What the CPU is counted by."""
LOWER_IS_BETTER = ("ms", " s", "calls", "MiB")

Results = dict[str, dict[str, list[float]]]
"""Metric -> server -> one figure a round (NaN where it failed)."""


def measure(
    servers: list[Server], names: list[str], rounds: int, console: Console
) -> tuple[Results, Results, list[str]]:
    """Figures, CPU microseconds an operation, and what failed."""
    results: Results = {}
    cpu: Results = {}
    failures: dict[tuple[str, str], str] = {}
    for name in names:
        for number in range(rounds + 1):  # the first is a warm-up
            for server in servers[number % len(servers) :] + servers[: number % len(servers)]:
                if (name, server.name) in failures:
                    continue
                before = server.cpu()
                try:
                    figures = WORKLOADS[name](server)
                except Exception as error:
                    failures[name, server.name] = f"{type(error).__name__}: {str(error)[:160]}"
                    continue
                used = (server.cpu() - before) / figures.pop("_operations") * 1e6
                server.peak_rss = max(server.peak_rss, server.rss())
                if number == 0:
                    continue
                cpu.setdefault(name, {}).setdefault(server.name, []).append(used)
                for metric, value in figures.items():
                    results.setdefault(metric, {}).setdefault(server.name, []).append(value)
            if console.is_terminal:
                console.print(f"[dim]{name} round {number}/{rounds}[/]", end="\r")
    return results, cpu, [f"{name} on {server}: {why}" for (name, server), why in failures.items()]


def ratio(metric: str, ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """How many times better we are: median, lowest and highest over the rounds."""
    lower = metric.endswith(LOWER_IS_BETTER)
    each = sorted((b / a if lower else a / b) for a, b in zip(ours, theirs, strict=False))
    return statistics.median(each), each[0], each[-1]


def tables(servers: list[Server], results: Results, cpu: Results) -> list[tuple[str, list[list[str]]]]:
    """What a reader compares: titles, each with rows whose first is the header."""
    others = [server.name for server in servers if server.name != "stepwell"]
    rows = [["workload", "stepwell", *others]]
    for metric, by_server in results.items():
        ours = by_server.get("stepwell", [])
        row = [metric, _figure(ours)]
        for other in others:
            theirs = by_server.get(other, [])
            if not ours or not theirs:
                row.append(_figure(theirs))
                continue
            middle, low, high = ratio(metric, ours, theirs)
            if other == "constant":
                row.append(f"{_figure(theirs)} ({middle:.0%})")
            else:
                row.append(f"{_figure(theirs)} ({middle:.1f}x, {low:.1f}-{high:.1f})")
        rows.append(row)
    rows.append(["start to first call, s", *(f"{server.first_call:.2f}" for server in servers)])
    rows.append(["RSS idle, MiB", *(f"{server.idle_rss:.0f}" for server in servers)])
    rows.append(["RSS peak, MiB", *(f"{server.peak_rss:.0f}" for server in servers)])
    used = [["workload, one", "stepwell", *others]]
    for name, by_server in cpu.items():
        figures = (by_server.get(server, []) for server in ("stepwell", *others))
        used.append([f"{name}, {OPERATIONS[name]}", *(f"{statistics.median(f):,.0f}" if f else "-" for f in figures)])
    return [
        (
            "median over the rounds (how many times better Stepwell is, lowest to highest round; of constant: how near)",
            rows,
        ),
        ("server CPU, microseconds (median)", used),
    ]


def _figure(values: list[float]) -> str:
    if not values:
        return "fails"
    middle = statistics.median(values)
    return f"{middle:,.0f}" if middle >= 100 else f"{middle:.3g}"


def show(title: str, rows: list[list[str]], console: Console, markdown: bool) -> None:
    """Print a table."""
    header, *body = rows
    if markdown:
        print(f"\n{title}\n\n| {' | '.join(header)} |\n|---{'|--:' * (len(header) - 1)}|")
        for row in body:
            print(f"| {' | '.join(row)} |")
        return
    table = Table(title=title)
    for name in header:
        table.add_column(name, justify="left" if name == header[0] else "right")
    for row in body:
        table.add_row(*row)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default=",".join(NAMES))
    parser.add_argument("--only", default=",".join(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="keep the figures of every round")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    options = parser.parse_args()
    console = Console(stderr=options.markdown)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running(name)) for name in options.servers.split(",")]
        results, cpu, failures = measure(servers, options.only.split(","), options.rounds, console)
        for title, rows in tables(servers, results, cpu):
            show(title, rows, console, options.markdown)
        for failure in failures:
            print(f"failed: {failure}")
        if options.json:
            memory = {
                server.name: {"idle": server.idle_rss, "peak": server.peak_rss, "first_call": server.first_call}
                for server in servers
            }
            document = {"results": results, "cpu_us": cpu, "servers": memory, "failures": failures}
            options.json.write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
