"""`stepwell logs`: what an execution's functions logged and printed."""

from __future__ import annotations

from typing import Annotated

import typer

from stepwell.cli.output import UNUSABLE, Problem, print_json
from stepwell.cli.target import DataOption, JsonOption, data_directory


def command(
    execution: Annotated[str | None, typer.Argument(help="ARN or name of an execution; all when absent.")] = None,
    function: Annotated[str | None, typer.Option("--function", help="Only this function's lines.")] = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Print what functions logged, oldest first, one line each."""
    from stepwell.functions.logs import LogStore

    directory = data_directory(data)
    if not (directory / "logs").is_dir():
        raise Problem(f"there are no logs in {directory}; give --data DIR", UNUSABLE)
    records = LogStore(directory / "logs").read(execution=execution, function=function)
    if json:
        import msgspec

        print_json([msgspec.to_builtins(record) for record in records])
        return
    for record in records:
        fields = "".join(f" {key}={value}" for key, value in record.fields.items() if key != "exception")
        print(f"{record.time} {record.level:8} {record.function} {record.message}{fields}")
        if "exception" in record.fields:
            print(record.fields["exception"])
