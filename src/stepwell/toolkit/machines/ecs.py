"""Worker programs as ECS tasks.

`[workers.NAME]` declares besides `program`: `cluster`, `task_definition`, `container`, `subnet_ids`, `security_group_ids`,
`public_ip` (default false), `capacity_provider` (default `FARGATE_SPOT`). ECS sends SIGTERM and, after the task definition's
stopTimeout, SIGKILL. The task token waits in a SecureString parameter of its own; the task is told its name. The lifetime
is the program's business here: ECS has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepwell.toolkit import aws
from stepwell.toolkit.errors import LaunchError, MachineConfigError
from stepwell.toolkit.machines import (
    KIND_VARIABLE,
    TOKEN_PARAMETER_VARIABLE,
    Machine,
    Machines,
    State,
    launch_id,
    program_of,
)
from stepwell.toolkit.machines.ec2 import forget_token
from stepwell.toolkit.secrets import ParameterSecret

_THROTTLED = ("ThrottlingException", "ServerException", "LimitExceededException", "ServiceUnavailable")
_STATES: Mapping[str, State] = {
    "DEACTIVATING": "stopping",
    "STOPPING": "stopping",
    "DEPROVISIONING": "stopping",
    "STOPPED": "terminated",
}


class EcsMachines(Machines):
    """One task a launch."""

    def __init__(self, name: str, spec: Mapping[str, Any]) -> None:
        self.name = name
        self._spec = spec
        self._program = program_of(name, spec)
        for member in ("cluster", "task_definition", "container", "subnet_ids"):
            if not spec.get(member):
                raise MachineConfigError(f"worker {name!r}: {member} is not declared")

    @classmethod
    def declared(cls, name: str, spec: Mapping[str, Any]) -> EcsMachines:
        """From `[workers.NAME]`."""
        return cls(name, spec)

    def launch(
        self, *, task_token: str, environment: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None
    ) -> Machine:
        from botocore.exceptions import BotoCoreError, ClientError

        spec = self._spec
        launch = launch_id(task_token)
        for found in self._tasks(launch):
            return found
        parameter = f"/stepwell/{self.name}/{launch}/task-token"
        ParameterSecret(parameter).write(task_token)
        variables = {
            **spec.get("environment", {}),
            **(environment or {}),
            TOKEN_PARAMETER_VARIABLE: parameter,
            KIND_VARIABLE: "ecs",
        }
        override = {
            "name": spec["container"],
            "command": self._program,
            "environment": [{"name": name, "value": value} for name, value in variables.items()],
        }
        network = {
            "subnets": list(spec["subnet_ids"]),
            "securityGroups": list(spec.get("security_group_ids", ())),
            "assignPublicIp": "ENABLED" if spec.get("public_ip") else "DISABLED",
        }
        all_tags = {**(tags or {}), "stepwell:worker": self.name, "stepwell:launch": launch}
        try:
            answer = aws.client("ecs").run_task(
                cluster=spec["cluster"],
                taskDefinition=spec["task_definition"],
                count=1,
                capacityProviderStrategy=[{"capacityProvider": spec.get("capacity_provider", "FARGATE_SPOT")}],
                networkConfiguration={"awsvpcConfiguration": network},
                overrides={"containerOverrides": [override]},
                startedBy=launch,
                clientToken=launch,
                tags=[{"key": name, "value": value} for name, value in all_tags.items()],
            )
        except ClientError as error:
            if aws.code(error) in _THROTTLED or aws.is_server_fault(error):
                raise LaunchError(f"worker {self.name!r}: {error}") from error
            raise MachineConfigError(f"worker {self.name!r}: {error}") from error
        except BotoCoreError as error:
            raise LaunchError(f"worker {self.name!r}: {error}") from error
        if answer.get("failures") or not answer["tasks"]:
            forget_token(parameter)
            reasons = "; ".join(f"{found.get('reason')} ({found.get('arn')})" for found in answer["failures"])
            raise LaunchError(f"worker {self.name!r}: ECS placed no task: {reasons}")
        return _machine(answer["tasks"][0])

    def find(self, **tags: str) -> list[Machine]:
        wanted = {**tags, "stepwell:worker": self.name}
        return [task for task in self._tasks(None) if wanted.items() <= task.tags.items()]

    def describe(self, machine_id: str) -> Machine:
        with aws.errors(f"describing machine {machine_id}"):
            answer = aws.client("ecs").describe_tasks(
                cluster=self._spec["cluster"], tasks=[machine_id], include=["TAGS"]
            )
        return _machine(answer["tasks"][0]) if answer["tasks"] else Machine(machine_id, "ecs", "terminated")

    def terminate(self, machine_id: str) -> None:
        machine = self.describe(machine_id)
        if machine.state == "terminated":
            return
        with aws.errors(f"stopping machine {machine_id}"):
            aws.client("ecs").stop_task(
                cluster=self._spec["cluster"], task=machine_id, reason="terminated by its launcher"
            )
        forget_token(f"/stepwell/{self.name}/{machine.tags.get('stepwell:launch', '')}/task-token")

    def _tasks(self, launch: str | None) -> list[Machine]:
        client, cluster = aws.client("ecs"), self._spec["cluster"]
        arguments = {} if launch is None else {"startedBy": launch}
        found: list[Machine] = []
        with aws.errors(f"finding machines of worker {self.name!r}"):
            for page in client.get_paginator("list_tasks").paginate(cluster=cluster, **arguments):
                if page["taskArns"]:
                    answer = client.describe_tasks(cluster=cluster, tasks=page["taskArns"], include=["TAGS"])
                    found += [_machine(task) for task in answer["tasks"]]
        return [machine for machine in found if machine.state != "terminated"]


def _machine(task: Mapping[str, Any]) -> Machine:
    codes = [container.get("exitCode") for container in task.get("containers", ())]
    return Machine(
        task["taskArn"],
        "ecs",
        _STATES.get(task.get("lastStatus", ""), "running"),
        {tag["key"]: tag["value"] for tag in task.get("tags", ())},
        exit_code=next((code for code in codes if code is not None), None),
    )
