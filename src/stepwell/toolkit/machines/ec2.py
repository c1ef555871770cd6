"""Worker programs on EC2 instances, Spot by default.

`[workers.NAME]` declares besides `program`: `image_id`, `instance_types` and `subnet_ids` (tried in this order until one has capacity),
`security_group_ids`, `instance_profile`, `spot` (default true), `max_price`, `volume_gb`, `boot` (shell lines that run before
the program, for fetching the code). The instance shuts itself down, which terminates it, when the program ends for whatever
reason, or its lifetime is over. The task token waits in a SecureString parameter of its own; the user data only name it.

While the `boot` lines run, the boot script sends the heartbeats; if one of them fails, or the program is not there, it
answers the task with `LaunchError`. For both the image needs the AWS CLI. From then on the program answers.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from stepwell.toolkit import aws
from stepwell.toolkit.errors import LaunchError, MachineConfigError, StorageError
from stepwell.toolkit.machines import (
    KIND_VARIABLE,
    MAX_LIFETIME,
    TOKEN_PARAMETER_VARIABLE,
    Machine,
    Machines,
    State,
    launch_id,
    program_of,
)
from stepwell.toolkit.secrets import ParameterSecret

CAPACITY_ERRORS = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientCapacity",
        "UnfulfillableCapacity",
        "SpotMaxPriceTooLow",
        "MaxSpotInstanceCountExceeded",
        "InstanceLimitExceeded",
        "VcpuLimitExceeded",
        "RequestLimitExceeded",
        "Unavailable",
        "InternalError",
    }
)
_MAX_USER_DATA = 16_384
_BOOT = """#!/bin/bash
# What is left to say when this script ends is said by `ended`: whether the program never started.
answer() {{
  aws stepfunctions ${{STEPWELL_API_URL:+--endpoint-url "$STEPWELL_API_URL"}} "$@" --task-token "$(aws ssm get-parameter \
    --with-decryption --name "$STEPWELL_TASK_TOKEN_PARAMETER" --query Parameter.Value --output text)"
}}
ended() {{
  code=$?
  [ -z "$beating" ] || kill "$beating"
  if [ -z "$started" ] || [ $code = 126 ] || [ $code = 127 ]; then
    answer send-task-failure --error LaunchError --cause "the machine's boot script ended with exit code $code"
  fi
  shutdown -h now
}}
trap ended EXIT
(sleep {lifetime}; shutdown -h now) &
{exports}
(while :; do answer send-task-heartbeat; sleep 60; done) &
beating=$!
set -e
{boot}
set +e
started=yes
kill "$beating"
beating=
{program}
"""
_STATES: Mapping[str, State] = {
    "pending": "running",
    "running": "running",
    "shutting-down": "stopping",
    "stopping": "stopping",
    "stopped": "stopping",
}


class Ec2Machines(Machines):
    """One instance a launch."""

    def __init__(self, name: str, spec: Mapping[str, Any]) -> None:
        self.name = name
        self._spec = spec
        self._program = program_of(name, spec)
        for member in ("image_id", "instance_types", "subnet_ids"):
            if not spec.get(member):
                raise MachineConfigError(f"worker {name!r}: {member} is not declared")

    @classmethod
    def declared(cls, name: str, spec: Mapping[str, Any]) -> Ec2Machines:
        """From `[workers.NAME]`."""
        return cls(name, spec)

    def launch(
        self, *, task_token: str, environment: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None
    ) -> Machine:
        launch = launch_id(task_token)
        for found in self._instances([("tag:stepwell:launch", launch)]):
            return _machine(found)
        parameter = f"/stepwell/{self.name}/{launch}/task-token"
        ParameterSecret(parameter).write(task_token)
        user_data = self._user_data({**self._spec.get("environment", {}), **(environment or {})}, parameter)
        all_tags = {
            "Name": f"stepwell-{self.name}",
            **(tags or {}),
            "stepwell:worker": self.name,
            "stepwell:launch": launch,
        }
        refused: list[str] = []
        for number, (kind, subnet) in enumerate(self._places()):
            # A token of its own for each place: EC2 refuses a token that comes with other arguments.
            token = launch if number == 0 else f"{launch}-{number}"
            try:
                return self._run(kind, subnet, token, user_data, all_tags)
            except _NoCapacity as error:
                refused.append(f"{kind} in {subnet}: {error}")
        self._forget(launch)
        raise LaunchError(f"worker {self.name!r}: no capacity anywhere: {'; '.join(refused)}")

    def find(self, **tags: str) -> list[Machine]:
        filters = [("tag:stepwell:worker", self.name), *((f"tag:{name}", value) for name, value in tags.items())]
        return [_machine(found) for found in self._instances(filters)]

    def describe(self, machine_id: str) -> Machine:
        from botocore.exceptions import ClientError

        with aws.errors(f"describing machine {machine_id}"):
            try:
                answer = aws.client("ec2").describe_instances(InstanceIds=[machine_id])
            except ClientError as error:
                if not aws.code(error).startswith("InvalidInstanceID"):
                    raise
                return Machine(machine_id, "unknown", "terminated")
        return _machine(answer["Reservations"][0]["Instances"][0])

    def terminate(self, machine_id: str) -> None:
        from botocore.exceptions import ClientError

        machine = self.describe(machine_id)
        if machine.state == "terminated":
            return
        with aws.errors(f"terminating machine {machine_id}"):
            try:
                aws.client("ec2").terminate_instances(InstanceIds=[machine_id])
            except ClientError as error:
                if not aws.code(error).startswith("InvalidInstanceID"):
                    raise
        self._forget(machine.tags.get("stepwell:launch", ""))

    def _places(self) -> Iterator[tuple[str, str]]:
        for kind in self._spec["instance_types"]:
            for subnet in self._spec["subnet_ids"]:
                yield kind, subnet

    def _run(self, kind: str, subnet: str, token: str, user_data: str, tags: Mapping[str, str]) -> Machine:
        from botocore.exceptions import BotoCoreError, ClientError

        spec = self._spec
        arguments: dict[str, Any] = {
            "ImageId": spec["image_id"],
            "InstanceType": kind,
            "MinCount": 1,
            "MaxCount": 1,
            "SubnetId": subnet,
            "ClientToken": token,
            "UserData": user_data,
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            "TagSpecifications": [
                {"ResourceType": "instance", "Tags": [{"Key": name, "Value": value} for name, value in tags.items()]}
            ],
        }
        if groups := spec.get("security_group_ids"):
            arguments["SecurityGroupIds"] = list(groups)
        if profile := spec.get("instance_profile"):
            arguments["IamInstanceProfile"] = {"Arn" if profile.startswith("arn:") else "Name": profile}
        if volume := spec.get("volume_gb"):
            disk = {"VolumeSize": int(volume), "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True}
            arguments["BlockDeviceMappings"] = [{"DeviceName": spec.get("device", "/dev/xvda"), "Ebs": disk}]
        if spec.get("spot", True):
            options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
            if price := spec.get("max_price"):
                options["MaxPrice"] = str(price)
            arguments["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
        try:
            answer = aws.client("ec2").run_instances(**arguments)
        except ClientError as error:
            if aws.code(error) in CAPACITY_ERRORS:
                raise _NoCapacity(aws.code(error)) from error
            if aws.is_server_fault(error):
                raise LaunchError(f"worker {self.name!r}: {error}") from error
            raise MachineConfigError(f"worker {self.name!r}: {error}") from error
        except BotoCoreError as error:
            raise LaunchError(f"worker {self.name!r}: {error}") from error
        return _machine(answer["Instances"][0])

    def _user_data(self, environment: Mapping[str, str], parameter: str) -> str:
        variables = {**environment, TOKEN_PARAMETER_VARIABLE: parameter, KIND_VARIABLE: "ec2"}
        lifetime = int(self._spec.get("max_lifetime", MAX_LIFETIME))
        text = _BOOT.format(
            lifetime=lifetime,
            exports="\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
            boot="\n".join(self._spec.get("boot", ())) or ":",
            program=shlex.join(self._program),
        )
        if len(text.encode()) > _MAX_USER_DATA:
            raise MachineConfigError(f"worker {self.name!r}: the user data exceed {_MAX_USER_DATA} bytes")
        return text

    def _instances(self, filters: list[tuple[str, str]]) -> Iterator[dict[str, Any]]:
        wanted = [{"Name": name, "Values": [value]} for name, value in filters]
        wanted.append({"Name": "instance-state-name", "Values": list(_STATES)})
        with aws.errors(f"finding machines of worker {self.name!r}"):
            for page in aws.client("ec2").get_paginator("describe_instances").paginate(Filters=wanted):
                for reservation in page["Reservations"]:
                    yield from reservation["Instances"]

    def _forget(self, launch: str) -> None:
        forget_token(f"/stepwell/{self.name}/{launch}/task-token")


class _NoCapacity(Exception):
    pass


def forget_token(parameter: str) -> None:
    """Remove a task token's parameter; the token of an ended machine is worthless, so failing to is harmless."""
    from botocore.exceptions import ClientError

    try:
        with aws.errors(f"deleting parameter {parameter}"):
            try:
                aws.client("ssm").delete_parameter(Name=parameter)
            except ClientError as error:
                if aws.code(error) != "ParameterNotFound":
                    raise
    except StorageError:
        pass


def _machine(found: Mapping[str, Any]) -> Machine:
    return Machine(
        found["InstanceId"],
        found["InstanceType"],
        _STATES.get(found["State"]["Name"], "terminated"),
        {tag["Key"]: tag["Value"] for tag in found.get("Tags", ())},
        found.get("SpotInstanceRequestId"),
    )
