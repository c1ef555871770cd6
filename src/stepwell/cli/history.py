"""`stepwell history`: an execution's events."""

from __future__ import annotations

from typing import Annotated

import typer

from stepwell.cli.output import moment, print_json
from stepwell.cli.target import DataOption, ExecutionArgument, JsonOption, ServerOption, execution_arn, find, pages


def command(
    execution: ExecutionArgument,
    reverse: Annotated[bool, typer.Option("--reverse", help="Newest first.")] = False,
    data: DataOption = None,
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Print an execution's events as GetExecutionHistory gives them."""
    target = find(data, server)
    arn = execution_arn(target, execution)
    events = pages(target, "GetExecutionHistory", "events", executionArn=arn, reverseOrder=reverse)
    if json:
        print_json(list(events))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("id", justify="right")
    table.add_column("after", justify="right")
    for title in ("time (UTC)", "event", "what"):
        table.add_column(title, overflow="fold")
    for event in events:
        table.add_row(
            str(event["id"]), str(event["previousEventId"]), moment(event["timestamp"]), event["type"], _gist(event)
        )
    Console().print(table)


def _gist(event: dict[str, object]) -> str:
    """The one or two fields of an event that a person looks for."""
    details = next((value for key, value in event.items() if key.endswith("EventDetails")), {})
    if not isinstance(details, dict):
        return ""
    words = [str(details[key]) for key in ("name", "index", "error", "cause", "resource", "length") if key in details]
    payload = details.get("output") or details.get("input") or ""
    text = "  ".join([*words, str(payload)])
    return text if len(text) <= 160 else text[:157] + "..."
