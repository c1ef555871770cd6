"""The Resource of a Task state, taken apart."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

from stepwell.tasks.requests import TaskError

Pattern = Literal["", "sync", "sync:2", "waitForTaskToken"]


class Integration(NamedTuple):
    """`arn:aws:states:::[aws-sdk:]SERVICE:ACTION[.PATTERN]`. https://docs.aws.amazon.com/step-functions/latest/dg/integrate-services.html"""

    service: str
    action: str
    pattern: Pattern
    sdk: bool


@lru_cache(maxsize=4096)
def parse_integration(resource: str) -> Integration:
    """The integration an ARN names. Raises TaskError (States.Runtime) for anything else."""
    parts = resource.split(":", 5)
    if len(parts) == 6 and parts[0] == "arn" and parts[2] == "states":
        rest = parts[5]
        sdk = rest.startswith("aws-sdk:")
        service, colon, action = rest.removeprefix("aws-sdk:").partition(":")
        name, dot, pattern = action.partition(".")
        if colon and name and (not dot or pattern in ("sync", "sync:2", "waitForTaskToken")):
            return Integration(service, name, pattern, sdk)  # type: ignore[arg-type]
    raise TaskError(
        "States.Runtime",
        f"The resource provided {resource} is not recognized. The value is not a valid resource ARN.",
        "schedule",
    )
