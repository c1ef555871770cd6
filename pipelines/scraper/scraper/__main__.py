"""The operator's command line: `python -m scraper COMMAND`. Addresses and keys come from the environment (see README.md)."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from scraper import labelling, reconciling
from scraper.audit import audit as find_faults
from scraper.claims import CLAIMS
from scraper.cms import Cms
from scraper.errors import ScraperError
from scraper.executions import Executions
from scraper.settings import Settings
from stepwell import toolkit
from stepwell.project import Environment, load_project
from stepwell.toolkit.errors import ToolkitError

PROJECT = Path(__file__).resolve().parent.parent

app = typer.Typer(
    help="Operate the import.", add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False
)

Data = Annotated[Path | None, typer.Option(help="The data directory of `stepwell serve` [STEPWELL_DATA].")]


@app.command()
def serve(
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    port: Annotated[int, typer.Option()] = 8084,
    data: Data = None,
) -> None:
    """The HTTP API, and the scraper at /scraper."""
    import uvicorn

    from scraper.api import create_app

    _find_ports(data)
    uvicorn.run(create_app(), host=host, port=port, log_level="warning")


@app.command()
def reconcile(
    job: Annotated[int | None, typer.Option(help="Only this job.")] = None,
    older_than: Annotated[float | None, typer.Option(help="Minutes of silence [STUCK_AFTER_MINUTES].")] = None,
    dry_run: Annotated[bool, typer.Option(help="Only say what would be done.")] = False,
    data: Data = None,
) -> None:
    """Mark jobs as failed whose execution is gone."""
    _find_ports(data)
    toolkit.table(CLAIMS)  # which labels are a job's own is to be known before anything is changed
    settings = Settings.from_environment()
    found = reconciling.reconcile(
        Cms.of(settings), Executions(settings), settings, job=job, older_than=older_than, dry_run=dry_run
    )
    for entry in found:
        print(f"job {entry['jobId']}: {'would be ' if dry_run else ''}failed: {entry['reason']}")
    if not found:
        print("No job is stuck.")


@app.command()
def relabel(
    itinerary: Annotated[int | None, typer.Option(help="The CMS's id; all itineraries without it.")] = None,
) -> None:
    """Let photos wait for a label again whose label failed."""
    print(f"{labelling.relabel(Cms.of(Settings.from_environment()), itinerary)} photos wait again")


@app.command()
def audit() -> None:
    """Say what is wrong after a batch of imports; exit code 1 if anything is."""
    found = find_faults(Cms.of(Settings.from_environment()))
    for line in found:
        print(line)
    if found:
        raise SystemExit(1)
    print("All jobs are over, all stays have a property, all photos a label, all itineraries photos.")


def _find_ports(data: Path | None) -> None:
    if data is not None:
        os.environ["STEPWELL_DATA"] = str(data.absolute())
    os.environ.setdefault("STEPWELL_RESOURCES", json.dumps(declared()))


def declared() -> dict[str, Any]:
    """The resources of stepwell.toml by their names in this environment."""
    default = Environment()
    name, account = os.environ.get("ENVIRONMENT", default.name), os.environ.get("AWS_ACCOUNT_ID", default.account)
    return load_project(PROJECT, Environment(name=name, account=account)).resources


def main() -> None:
    """Run a command; what goes wrong on purpose is one line on standard error."""
    try:
        app()
    except (ScraperError, ToolkitError) as error:
        print(f"scraper: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
