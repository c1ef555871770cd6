"""`stepwell start`: start an execution and return at once."""

from __future__ import annotations

from typing import Annotated

import typer

from stepwell.cli.output import print_json, read_input
from stepwell.cli.target import DataOption, JsonOption, ServerOption, find, machine_arn


def command(
    machine: Annotated[str, typer.Argument(help="Name or ARN of a state machine.")],
    input: Annotated[str | None, typer.Option("--input", help="JSON, @FILE, or - for stdin.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="The execution's name, unique for 90 days.")] = None,
    data: DataOption = None,
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Start an execution and return at once.

    On a data directory the start is recorded; the execution runs as soon as `stepwell serve` or `stepwell run` has the directory open.
    """
    text = read_input(input)
    target = find(data, server)
    parameters = {"name": name} if name else {}
    answer = target.call("StartExecution", stateMachineArn=machine_arn(target, machine), input=text, **parameters)
    if json:
        print_json(answer)
    else:
        print(answer["executionArn"])
