"""`stepwell show`: one execution, its states and its result."""

from __future__ import annotations

from stepwell.cli.output import STATUS_COLOURS, lasted, moment, pretty, print_json
from stepwell.cli.progress import Progress
from stepwell.cli.target import DataOption, ExecutionArgument, JsonOption, ServerOption, execution_arn, find, pages


def command(
    execution: ExecutionArgument,
    data: DataOption = None,
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Show an execution: its status, how its states fared, its output or error."""
    target = find(data, server)
    arn = execution_arn(target, execution)
    record = target.call("DescribeExecution", executionArn=arn)
    if json:
        print_json(record)
        return
    from rich.console import Console

    progress = Progress()
    for event in pages(target, "GetExecutionHistory", "events", executionArn=arn):
        progress.feed(event)
    console = Console()
    status = record["status"]
    console.print(
        f"[bold]{record['name']}[/]  [{STATUS_COLOURS.get(status, 'white')}]{status}[/]  {arn}", highlight=False
    )
    took = lasted(record["startDate"], record.get("stopDate"))
    redriven = f", redriven {record['redriveCount']} times" if record.get("redriveCount") else ""
    console.print(f"started {moment(record['startDate'])} UTC, took {took}{redriven}", highlight=False)
    console.print(progress.table())
    for title in ("input", "output", "error", "cause"):
        if record.get(title) is not None:
            console.print(f"[bold]{title}[/]")
            console.print(pretty(record[title]), highlight=False, markup=False)
