"""`stepwell list`: executions, newest first."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from stepwell.cli.output import STATUS_COLOURS, lasted, moment, print_json
from stepwell.cli.target import DataOption, JsonOption, ServerOption, find, machine_arn, pages


def command(
    machine: Annotated[str | None, typer.Argument(help="Name or ARN; all state machines when absent.")] = None,
    status: Annotated[
        str | None, typer.Option("--status", help="RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many at the most.")] = 50,
    data: DataOption = None,
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """List executions, newest first."""
    target = find(data, server)
    if machine:
        arns = [machine_arn(target, machine)]
    else:
        machines = pages(target, "ListStateMachines", "stateMachines")
        arns = [item["stateMachineArn"] for item in machines if item["type"] == "STANDARD"]
    filters = {"statusFilter": status.upper()} if status else {}
    rows = [
        item
        for arn in arns
        for item in islice(pages(target, "ListExecutions", "executions", stateMachineArn=arn, **filters), limit)
    ]
    rows = sorted(rows, key=lambda item: -item["startDate"])[:limit]
    if json:
        print_json(rows)
        return
    if not rows:
        print("no executions" + (f" with status {status.upper()}" if status else ""))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("machine", "execution", "status", "started (UTC)", "took"):
        table.add_column(title, overflow="fold")
    for item in rows:
        colour = STATUS_COLOURS.get(item["status"], "white")
        table.add_row(
            item["stateMachineArn"].split(":")[6],
            item["name"],
            f"[{colour}]{item['status']}[/]",
            moment(item["startDate"]),
            lasted(item["startDate"], item.get("stopDate")),
        )
    Console().print(table)
