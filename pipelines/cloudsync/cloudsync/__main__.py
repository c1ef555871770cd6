"""The operator's command line: `python -m cloudsync COMMAND`.

The ports are those of the environment the command runs in: `STEPWELL_DATA` (the data directory of `stepwell run` or `serve`), or
`STEPWELL_BACKEND=aws` with the resources' names in `STEPWELL_RESOURCES`. Without the latter, stepwell.toml says the names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from cloudsync import gopro as _gopro  # noqa: F401 - registers the provider
from cloudsync import provider, tools
from cloudsync.config import Settings
from cloudsync.credentials import DEFAULT_USER_AGENT, read_credentials
from cloudsync.errors import CloudSyncError
from cloudsync.keys import prefix
from stepwell import toolkit
from stepwell.project import Environment, load_project
from stepwell.toolkit.errors import ToolkitError

PROJECT = Path(__file__).resolve().parent.parent
ENDED = ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")

app = typer.Typer(help="Operate cloudsync.", add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
DataOption = Annotated[
    Path | None, typer.Option("--data", envvar="STEPWELL_DATA", help="The data directory of the embedded run.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Ask nothing; go on.")]


@app.command()
def credentials(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The Cookie header copied from a browser.")],
    data: DataOption = None,
    user_agent: Annotated[str, typer.Option("--user-agent", help="Of the browser it came from.")] = DEFAULT_USER_AGENT,
    yes: YesOption = False,
) -> None:
    """Store fresh cookies, after the service accepted them."""
    settings = _settings(data)
    written = tools.update_credentials(
        tools.read_cookies(file.read_text(encoding="utf-8")),
        toolkit.secret(settings.secret_name),
        provider.create(settings.provider, settings.api_base),
        ask=lambda question: yes or typer.confirm(question),
        user_agent=user_agent,
    )
    print(f"{settings.secret_name}: {'updated, and the service accepts it' if written else 'left as it was'}")


@app.command()
def trigger(
    data: DataOption = None,
    stack: Annotated[
        str | None, typer.Option("--stack", help="On AWS: the stack with the output StateMachineArn.")
    ] = None,
    input: Annotated[str, typer.Option("--input", help="JSON.")] = '{"manual_trigger": true}',
    wait: Annotated[bool, typer.Option("--wait", help="Poll every 5 seconds until it ends.")] = False,
    interval: Annotated[float, typer.Option("--interval", hidden=True)] = 5.0,
) -> None:
    """Start a run now: on AWS with --stack, otherwise on this machine."""
    if stack is None:
        _trigger_here(data, input, wait)
        return
    import boto3

    outputs = boto3.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0].get("Outputs", [])
    arn = next((output["OutputValue"] for output in outputs if output["OutputKey"] == "StateMachineArn"), None)
    if arn is None:
        _fail(f"the stack {stack} has no output StateMachineArn")
    states = boto3.client("stepfunctions")
    execution = states.start_execution(stateMachineArn=arn, input=input)["executionArn"]
    print(execution)
    status = "RUNNING"
    while wait and status not in ENDED:
        time.sleep(interval)
        status = states.describe_execution(executionArn=execution)["status"]
        print(status)
    if status in ENDED[1:]:
        raise typer.Exit(1)


@app.command()
def reconcile(data: DataOption = None, yes: YesOption = False) -> None:
    """Find records of the tracker that the archive does not bear out, and remove them after asking."""
    settings = _settings(data)
    table = toolkit.table(settings.table)
    proposals = tools.reconcile(toolkit.bucket(_bucket(settings)), table, prefix(settings.provider))
    for proposal in proposals:
        print(f"  {proposal.media_id:24} {proposal.reason:40} {proposal.s3_key or ''}")
    if not proposals:
        print("The tracker and the archive agree.")
    elif yes or typer.confirm(f"Remove these {len(proposals)} records, so that their items are archived again?"):
        print(f"{tools.remove(table, proposals)} records removed")


@app.command()
def inventory(data: DataOption = None, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Count the library page by page and compare it with the archive."""
    settings = _settings(data)
    session = read_credentials(settings.secret_name)
    found = tools.take_inventory(
        provider.create(settings.provider, settings.api_base),
        session.require_cookies(),
        session.user_agent,
        toolkit.bucket(_bucket(settings)),
        prefix(settings.provider),
        settings.include_prefixes,
        settings.page_size,
    )
    if as_json:
        print(json.dumps(found, default=vars, indent=2))
        return
    print("page  items  kept  other names  no name  malformed")
    for page in found.pages:
        print(
            f"{page.page:4}  {page.items:5}  {page.kept:4}  {page.filtered_prefix:11}  {page.filtered_no_name:7}"
            f"  {page.malformed:9}"
        )
    print(f"{found.archived} objects in the archive")
    for name, ids in found.duplicates.items():
        print(f"same name: {name} ({', '.join(ids)})")
    for name in found.missing:
        print(f"not archived: {name}")
    for key in found.orphans:
        print(f"not in the library any more: {key}")


def main() -> None:
    """Run a command; what goes wrong on purpose is one line on standard error."""
    try:
        app()
    except (CloudSyncError, ToolkitError) as error:
        _fail(str(error))


def _trigger_here(data: Path | None, input: str, wait: bool) -> None:
    """The command line of Stepwell does it: `run` shows the progress, `start` returns at once."""
    command = ["stepwell", "run" if wait else "start", str(PROJECT), "--input", input]
    program = Path(sys.executable).with_name("stepwell")
    command[0] = str(program) if program.exists() else "stepwell"
    raise typer.Exit(subprocess.call([*command, *(["--data", str(data)] if data else [])]))


def _bucket(settings: Settings) -> str:
    return settings.bucket or "archive"


def _settings(data: Path | None) -> Settings:
    if data is not None:
        os.environ["STEPWELL_DATA"] = str(data)
    os.environ.setdefault("STEPWELL_RESOURCES", json.dumps(declared()))
    return Settings.from_environment()


def declared() -> dict[str, Any]:
    """The resources of stepwell.toml by their names in this environment."""
    default = Environment()
    name, account = os.environ.get("ENVIRONMENT", default.name), os.environ.get("AWS_ACCOUNT_ID", default.account)
    return load_project(PROJECT, Environment(name=name, account=account)).resources


def _fail(message: str) -> None:
    print(f"cloudsync: {message}", file=sys.stderr)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
