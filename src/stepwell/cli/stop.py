"""`stepwell stop`: abort an execution."""

from __future__ import annotations

from typing import Annotated

import typer

from stepwell.cli.output import moment, print_json
from stepwell.cli.target import DataOption, ExecutionArgument, JsonOption, ServerOption, execution_arn, find


def command(
    execution: ExecutionArgument,
    error: Annotated[str | None, typer.Option("--error", help="An error code to record.")] = None,
    cause: Annotated[str | None, typer.Option("--cause", help="A reason to record.")] = None,
    data: DataOption = None,
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Abort an execution. One that has ended stays as it is."""
    target = find(data, server)
    arn = execution_arn(target, execution)
    given = {key: value for key, value in (("error", error), ("cause", cause)) if value is not None}
    answer = target.call("StopExecution", executionArn=arn, **given)
    if json:
        print_json(answer)
    else:
        print(f"stopped at {moment(answer['stopDate'])} UTC: {arn}")
