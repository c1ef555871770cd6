"""Machines: run a worker program somewhere that answers with a task token.

    renderers = toolkit.worker("renderer")
    machine = renderers.launch(task_token=event["task_token"], environment={"JOB_ID": job_id}, tags={"job_id": job_id})

Embedded, the program is a process of this machine; on AWS a Spot instance or an ECS task. The program finds its task token with
`stepwell.toolkit.callbacks.from_environment()`. SIGTERM announces an interruption; a program that was interrupted reports it and
exits with 143.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Machine:
    """A started machine. `state`: "running" (pending included), "stopping" or "terminated"."""

    id: str
    kind: str
    state: str
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
        """Start the program on a new machine. The same token again gives the same machine.

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
        """Interrupt the machine (SIGTERM), end it after its grace. Ending what is gone is no error."""
