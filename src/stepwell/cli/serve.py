"""`stepwell serve`: the Step Functions API on a port, with projects, their functions and schedules."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepwell.cli.output import UNUSABLE, Problem
from stepwell.cli.target import DataOption, data_directory

if TYPE_CHECKING:
    from stepwell.api.auth import Authenticator
    from stepwell.engine import Engine
    from stepwell.project import Project

MOCK_FILE = "MockConfigFile.json"

log = logging.getLogger("stepwell.serve")


def command(
    projects: Annotated[list[Path] | None, typer.Argument(help="Project folders to run.")] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on; 0 takes a free one.")] = 8083,
    data: DataOption = None,
    in_memory: Annotated[bool, typer.Option("--in-memory", help="Keep nothing on disk.")] = False,
    aws_endpoint: Annotated[
        str | None, typer.Option("--aws-endpoint", help="Where other AWS services are called. Default: AWS itself.")
    ] = None,
    environment: Annotated[str | None, typer.Option("--env", help="The projects' environment. Default: dev.")] = None,
    account: Annotated[
        str | None,
        typer.Option(
            "--account",
            help="The account id of its ARNs. Default: the data directory's, that of --aws-endpoint, or 000000000000.",
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option("--region", help="The region of its ARNs. Default: the data directory's, or us-east-1."),
    ] = None,
    durability: Annotated[
        str, typer.Option("--durability", help="process: survives kill -9; power: every commit waits for the disk.")
    ] = "process",
    retention_days: Annotated[
        float, typer.Option("--retention-days", min=0, help="How long closed executions are kept.")
    ] = 90,
    retention_count: Annotated[
        int | None,
        typer.Option("--retention-count", min=0, help="How many closed executions are kept. Default: any number."),
    ] = None,
    auth: Annotated[
        Path | None, typer.Option("--auth", help="File of access keys; requests must be signed by one (SigV4).")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond this machine without --auth.")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", help="A Host name requests may carry besides loopback's.")
    ] = None,
    access_log: Annotated[
        bool, typer.Option("--access-log/--no-access-log", help="A line a request on stderr.")
    ] = False,
) -> None:
    """Serve the Step Functions API: boto3, the AWS CLI, Terraform and every SDK work against it.

    Ends on Ctrl-C or SIGTERM in order; whatever runs then goes on at the next start on the same directory.
    """
    if in_memory and data is not None:
        raise Problem("--in-memory and --data exclude each other")
    if durability not in ("process", "power"):
        raise Problem(f"--durability is process or power, not {durability!r}")
    if account is not None and not (account.isdigit() and len(account) == 12):
        raise Problem(f"--account: {account!r} is not 12 digits")
    if aws_endpoint is not None and not re.match(r"https?://[^/\s\[]|https?://\[[0-9a-fA-F:]+\]", aws_endpoint):
        raise Problem(f"--aws-endpoint: {aws_endpoint!r} is not a URL such as http://127.0.0.1:4566")
    directory = None if in_memory else data_directory(data)
    _configure_logs(access_log)

    from stepwell.api.listener import ServerError, function_environment, listen
    from stepwell.api.server import Server, check_access, serve
    from stepwell.engine import Engine
    from stepwell.engine.errors import EngineError

    home_account, home_region = _home(directory, account, region, aws_endpoint)
    loaded = [_load(path, environment, home_account, home_region) for path in projects or []]

    authenticator = _authenticator(auth, home_region)
    try:
        check_access(host, authenticator, insecure)
        # First of all, because functions are told the address, and executions that are recovered call them at once.
        listener = listen(host, port)
    except ServerError as error:
        raise Problem(str(error), UNUSABLE) from error

    def opened(number: str) -> Engine:
        home = number == home_account
        folder = directory if home or directory is None else directory / "accounts" / number
        return Engine.open(
            folder,
            durability="power" if durability == "power" else "process",
            account=number,
            region=home_region,
            aws_endpoint=aws_endpoint,
            retention_days=retention_days,
            retention_count=retention_count,
            mock_file=_mock_file(),
            environment=function_environment(listener),
        )

    async def other_account(number: str) -> Engine:
        engine = opened(number)
        await engine.__aenter__()
        return engine

    async def main() -> None:
        def ready(server: Server) -> None:
            place = "in memory, nothing is kept" if directory is None else f"data in {directory}"
            print(f"Stepwell serves the Step Functions API on {server.url} ({place})", flush=True)

        async with opened(home_account) as engine:
            for project in loaded:
                await engine.load_project(project)
            try:
                await serve(
                    engine,
                    host,
                    port,
                    open_account=other_account,
                    authenticator=authenticator,
                    insecure=insecure,
                    allowed_hosts=allow_host or (),
                    ready=ready,
                    listener=listener,
                )
            except ServerError as error:
                raise Problem(str(error), UNUSABLE) from error

    try:
        _loop(main())
    except EngineError as error:
        raise Problem(str(error), UNUSABLE) from error


def _home(directory: Path | None, account: str | None, region: str | None, aws_endpoint: str | None) -> tuple[str, str]:
    """Account and region of the ARNs: as asked for, as the data directory has them, as the emulator that is used calls itself."""
    from stepwell.engine.errors import EngineError
    from stepwell.engine.home import ACCOUNT, REGION, home_of
    from stepwell.tasks.emulators import account_at, is_emulator

    try:
        known = None if directory is None else home_of(directory)
    except EngineError as error:
        raise Problem(str(error), UNUSABLE) from error
    if known is not None:
        return account or known.account, region or known.region
    region = region or REGION
    if account is None and aws_endpoint is not None and is_emulator(aws_endpoint):
        account = account_at(aws_endpoint, region)
        if account is None:
            log.warning("%s does not tell its account; ARNs have %s unless --account is given", aws_endpoint, ACCOUNT)
    return account or ACCOUNT, region


def _mock_file() -> str | None:
    """Where Step Functions Local looks for mocks: SFN_MOCK_CONFIG, else MockConfigFile.json in the current folder."""
    given = os.environ.get("SFN_MOCK_CONFIG")
    if given:
        return given
    return MOCK_FILE if Path(MOCK_FILE).is_file() else None


def _authenticator(path: Path | None, region: str) -> Authenticator | None:
    if path is None:
        return None
    from stepwell.api.auth import KeysError, load_keys

    try:
        return load_keys(path, region=region)
    except KeysError as error:
        raise Problem(str(error)) from error


def _load(path: Path, environment: str | None, account: str, region: str) -> Project:
    from stepwell.project import Environment, ProjectError, load_project

    try:
        return load_project(path, Environment.of(environment, account=account, region=region))
    except ProjectError as error:
        raise Problem(str(error)) from error


def _loop(coroutine: object) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(coroutine)  # type: ignore[arg-type]
    else:
        uvloop.run(coroutine)  # type: ignore[arg-type]


def _configure_logs(access_log: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("stepwell.access").setLevel(logging.INFO if access_log else logging.WARNING)
