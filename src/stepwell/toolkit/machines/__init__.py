"""Machines: run a worker program somewhere that answers with a task token.

    renderers = toolkit.worker("renderer")
    machine = renderers.launch(
        task_token=event["task_token"], environment={"JOB_ID": job_id}, tags={"job_id": job_id, "role": "renderer"}
    )

Embedded, the program is a process of this machine that outlives the function which launched it; on AWS it runs on a Spot instance or as
an ECS task. The same program finds its task token with `callbacks.from_environment()` and learns of an interruption, SIGTERM
or a Spot notice, from `interruptions.watch()`; when interrupted it saves its work, reports it and exits with 143.

What `[workers.NAME]` declares: `program` (list of words; a first word `python` is this interpreter embedded), `environment`,
`max_lifetime` (seconds after which the machine is ended whatever happens; default 4 h), `grace` (seconds between SIGTERM and the
end; default 120, what Spot gives). For EC2 and ECS see `ec2` and `ecs`.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from stepwell.toolkit.errors import MachineConfigError

MAX_LIFETIME = 4 * 3600
GRACE = 120.0
TOKEN_VARIABLE = "STEPWELL_TASK_TOKEN"  # noqa: S105 (a variable's name)
TOKEN_PARAMETER_VARIABLE = "STEPWELL_TASK_TOKEN_PARAMETER"  # noqa: S105
KIND_VARIABLE = "STEPWELL_MACHINE"

State = Literal["running", "stopping", "terminated"]


@dataclass(frozen=True, slots=True)
class Machine:
    """A started machine. `state`: "running" (starting included), "stopping" or "terminated"; `kind`: instance type, "ecs" or "local".

    `request_id` is the Spot request's; `exit_code` the program's where it is known (128 + signal for a signal).
    """

    id: str
    kind: str
    state: State
    tags: Mapping[str, str] = field(default_factory=dict)
    request_id: str | None = None
    exit_code: int | None = None


class Machines(ABC):
    """Where one declared worker program runs."""

    name: str

    @abstractmethod
    def launch(
        self, *, task_token: str, environment: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None
    ) -> Machine:
        """Start the program on a new machine. The same token again gives the same machine, started once.

        Raises `LaunchError` when there is no capacity now, `MachineConfigError` when it can never work.
        """

    @abstractmethod
    def find(self, **tags: str) -> list[Machine]:
        """Machines of this worker that are not terminated and carry all these tags."""

    @abstractmethod
    def describe(self, machine_id: str) -> Machine:
        """The machine as it is now; an unknown id is a terminated machine."""

    @abstractmethod
    def terminate(self, machine_id: str) -> None:
        """Interrupt the machine (SIGTERM) and end it after its grace; returns at once. Ending what is gone is no error."""


def launch_id(task_token: str) -> str:
    """32 hexadecimal digits that stand for a token: what makes launching idempotent."""
    return hashlib.sha256(task_token.encode()).hexdigest()[:32]


def program_of(name: str, spec: Mapping[str, Any]) -> list[str]:
    """The declared program. Raises `MachineConfigError`."""
    program = spec.get("program")
    if not isinstance(program, list) or not program or not all(isinstance(word, str) for word in program):
        raise MachineConfigError(
            f'worker {name!r}: program must be a list of words such as ["python", "-m", "{name}.main"]'
        )
    return list(program)
