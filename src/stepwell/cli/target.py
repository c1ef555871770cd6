"""Where executions live: a data directory opened by this process, or a server that speaks the Step Functions API.

Both answer the same few calls with AWS's wire shapes, so that a command does not care. A directory that a server holds is reached
through that server when `--server` is given.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Protocol
from urllib.parse import urlsplit

import typer

from stepwell.cli.output import UNUSABLE, Problem

DataOption = Annotated[
    Path | None, typer.Option("--data", help="Data directory. Default: $STEPWELL_DATA, else ./.stepwell.")
]
ServerOption = Annotated[
    str | None, typer.Option("--server", help="URL of a running `stepwell serve`. Default: $STEPWELL_SERVER.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
ExecutionArgument = Annotated[str, typer.Argument(help="ARN, MACHINE/NAME, or a name that only one execution has.")]


class Target(Protocol):
    """The calls the commands need; arguments and answers are those of the API action."""

    def call(self, action: str, **parameters: Any) -> dict[str, Any]:
        """Carry out one API action. Raises Problem."""


def data_directory(data: Path | None, beside: Path | None = None) -> Path:
    """The directory of `--data`, `$STEPWELL_DATA`, or `.stepwell` beside a project or in the working directory."""
    if data is not None:
        return data
    if named := os.environ.get("STEPWELL_DATA"):
        return Path(named)
    return (beside or Path()) / ".stepwell"


def find(data: Path | None, server: str | None) -> Target:
    """The target that the options and the environment name."""
    server = server or (None if data else os.environ.get("STEPWELL_SERVER"))
    if server:
        return Server(server)
    directory = data_directory(data)
    if not directory.exists():
        raise Problem(
            f"there is no data directory {directory}; give --data DIR, or --server URL of a running `stepwell serve`",
            UNUSABLE,
        )
    return Directory(directory)


class Directory:
    """A data directory. Reading needs no lock; starting, stopping and redriving need the directory to themselves."""

    _reads = frozenset({"ListStateMachines", "ListExecutions", "DescribeExecution", "GetExecutionHistory"})

    def __init__(self, path: Path) -> None:
        self.path = path

    def call(self, action: str, **parameters: Any) -> dict[str, Any]:
        """Open the journal, do the one thing, close it: executions do not run meanwhile."""
        from stepwell.engine.engine import Engine
        from stepwell.engine.errors import ApiError, EngineError

        async def once() -> dict[str, Any]:
            async with Engine.open(self.path, mode="read" if action in self._reads else "accept") as engine:
                return await _ACTIONS[action](engine, parameters)

        try:
            return asyncio.run(once())
        except ApiError as error:
            raise Problem(f"{error.code}: {error.message}", UNUSABLE) from error
        except EngineError as error:
            raise Problem(str(error), UNUSABLE) from error


async def _start(engine: Any, p: dict[str, Any]) -> dict[str, Any]:
    return _wire(await engine.executions.start(p["stateMachineArn"], p["input"], name=p.get("name")))


async def _stop(engine: Any, p: dict[str, Any]) -> dict[str, Any]:
    stopped = await engine.executions.stop(p["executionArn"], error=p.get("error"), cause=p.get("cause"))
    return {"stopDate": stopped}


async def _redrive(engine: Any, p: dict[str, Any]) -> dict[str, Any]:
    return {"redriveDate": await engine.executions.redrive(p["executionArn"])}


async def _describe(engine: Any, p: dict[str, Any]) -> dict[str, Any]:
    return _wire(engine.executions.describe(p["executionArn"]))


async def _machines(engine: Any, p: dict[str, Any]) -> dict[str, Any]:
    return _page(engine.machines.list(max_results=1000, next_token=p.get("nextToken")), "stateMachines")


async def _executions(engine: Any, p: dict[str, Any]) -> dict[str, Any]:
    page = engine.executions.list(
        state_machine_arn=p["stateMachineArn"],
        status=p.get("statusFilter"),
        max_results=p.get("maxResults", 1000),
        next_token=p.get("nextToken"),
    )
    return _page(page, "executions")


async def _history(engine: Any, p: dict[str, Any]) -> dict[str, Any]:
    page = engine.executions.history(
        p["executionArn"], max_results=1000, reverse=p.get("reverseOrder", False), next_token=p.get("nextToken")
    )
    return _page(page, "events")


_ACTIONS: dict[str, Callable[[Any, dict[str, Any]], Awaitable[dict[str, Any]]]] = {
    "StartExecution": _start,
    "StopExecution": _stop,
    "RedriveExecution": _redrive,
    "DescribeExecution": _describe,
    "ListStateMachines": _machines,
    "ListExecutions": _executions,
    "GetExecutionHistory": _history,
}


def _wire(record: Any) -> dict[str, Any]:
    import msgspec

    answer: dict[str, Any] = msgspec.to_builtins(record)
    return answer


def _page(page: Any, key: str) -> dict[str, Any]:
    answer: dict[str, Any] = {key: [_wire(item) for item in page.items]}
    if page.next_token:
        answer["nextToken"] = page.next_token
    return answer


class Server:
    """A running server. Requests are signed when the environment holds AWS credentials and botocore is installed."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Problem(f"--server: {url!r} is not a URL such as http://127.0.0.1:8083")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self.scheme, self.host, self.port = parts.scheme, parts.hostname, parts.port

    def call(self, action: str, **parameters: Any) -> dict[str, Any]:
        """One request over HTTP."""
        import http.client

        kind = http.client.HTTPSConnection if self.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.host, self.port, timeout=65)
        body = json.dumps(parameters).encode()
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AWSStepFunctions.{action}"}
        try:
            connection.request("POST", "/", body, self._signed(headers, body))
            response = connection.getresponse()
            text = response.read()
        except OSError as error:
            raise Problem(f"no server answers at {self.url}: {error}. Start one with `stepwell serve`.", UNUSABLE)
        finally:
            connection.close()
        try:
            answer: dict[str, Any] = json.loads(text or b"{}")
        except ValueError:
            raise Problem(f"{self.url} does not speak the Step Functions API (HTTP {response.status})", UNUSABLE)
        if response.status != 200:
            name = str(answer.get("__type", f"HTTP {response.status}")).rsplit("#", 1)[-1]
            raise Problem(f"{name}: {answer.get('message') or answer.get('Message') or ''}", UNUSABLE)
        return answer

    def _signed(self, headers: dict[str, str], body: bytes) -> dict[str, str]:
        if "AWS_ACCESS_KEY_ID" not in os.environ:
            return headers
        try:
            from botocore.auth import SigV4Auth
            from botocore.awsrequest import AWSRequest
            from botocore.credentials import Credentials
        except ImportError:
            return headers
        credentials = Credentials(
            os.environ["AWS_ACCESS_KEY_ID"],
            os.environ.get("AWS_SECRET_ACCESS_KEY", ""),
            os.environ.get("AWS_SESSION_TOKEN"),
        )
        request = AWSRequest("POST", f"{self.url}/", headers, body)
        SigV4Auth(credentials, "states", os.environ.get("AWS_REGION", "us-east-1")).add_auth(request)
        return dict(request.headers.items())


def pages(target: Target, action: str, key: str, **parameters: Any) -> Iterator[dict[str, Any]]:
    """Every item of a listing, page by page."""
    token: str | None = None
    while True:
        answer = target.call(action, **parameters, **({"nextToken": token} if token else {}))
        yield from answer[key]
        token = answer.get("nextToken")
        if not token:
            return


def machine_arn(target: Target, name: str) -> str:
    """A state machine's ARN by its name (an ARN is taken as it is). Raises Problem naming those there are."""
    if name.startswith("arn:"):
        return name
    machines = {item["name"]: item["stateMachineArn"] for item in pages(target, "ListStateMachines", "stateMachines")}
    if name in machines:
        return str(machines[name])
    known = ", ".join(sorted(machines)) or "none is registered"
    raise Problem(f"there is no state machine {name!r} (known: {known})")


def execution_arn(target: Target, name: str) -> str:
    """An execution's ARN by ARN, `MACHINE/NAME`, or a name that only one execution has. Raises Problem."""
    if name.startswith("arn:"):
        return name
    machine, _, short = name.rpartition("/")
    arns = (
        [machine_arn(target, machine)]
        if machine
        else [item["stateMachineArn"] for item in pages(target, "ListStateMachines", "stateMachines")]
    )
    found = [
        item["executionArn"]
        for arn in arns
        for item in pages(target, "ListExecutions", "executions", stateMachineArn=arn)
        if item["name"] == short
    ]
    if not found:
        raise Problem(f"there is no execution named {name!r}; `stepwell list` shows those there are")
    if len(found) > 1:
        raise Problem(
            f"{len(found)} executions are named {name!r}; say MACHINE/NAME or give the ARN:\n  " + "\n  ".join(found)
        )
    return str(found[0])
