"""`stepwell redrive`: continue a failed execution."""

from __future__ import annotations

from stepwell.cli.output import moment, print_json
from stepwell.cli.target import DataOption, ExecutionArgument, JsonOption, ServerOption, execution_arn, find


def command(
    execution: ExecutionArgument,
    data: DataOption = None,
    server: ServerOption = None,
    json: JsonOption = False,
) -> None:
    """Continue a failed, aborted or timed out execution from the states that did not succeed."""
    target = find(data, server)
    arn = execution_arn(target, execution)
    answer = target.call("RedriveExecution", executionArn=arn)
    if json:
        print_json(answer)
    else:
        print(f"redriven at {moment(answer['redriveDate'])} UTC: {arn}")
