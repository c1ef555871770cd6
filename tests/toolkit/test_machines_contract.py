"""What holds for machines wherever they are: processes of this machine, EC2 instances and ECS tasks (both on moto's server)."""

from __future__ import annotations

import base64
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from stepwell.toolkit import aws, callbacks
from stepwell.toolkit.errors import MachineConfigError, SecretNotFound
from stepwell.toolkit.machines import Machine, Machines
from stepwell.toolkit.machines.local import LocalMachines

TELLS = """
import json, os, time
names = [name for name in os.environ if name.startswith('STEPWELL_') or name in ('JOB_ID', 'MODE')]
with open(os.environ['TOLD_TO'], 'w') as file:
    json.dump({name: os.environ[name] for name in names}, file)
print('told', flush=True)
time.sleep(600)
"""


class Place:
    """One adapter, and how a test sees behind it."""

    def __init__(self, machines: Machines, environment: Callable[[str], dict[str, str]]) -> None:
        self.machines = machines
        self.environment = environment
        """What the program of a machine finds in its environment."""
        self.shown: Callable[[str], str] = lambda machine_id: ""
        """Everything that is kept about a machine in clear text."""
        self._number = 0

    def token(self) -> str:
        """A new one; moto's server lives for the session."""
        self._number += 1
        return f"token-{os.urandom(8).hex()}-{self._number}"

    def until(self, machine_id: str, state: str) -> Machine:
        deadline = time.monotonic() + 30
        while (machine := self.machines.describe(machine_id)).state != state:
            assert time.monotonic() < deadline, f"it is {machine.state}, not {state}"
            time.sleep(0.01)
        return machine


@pytest.fixture(params=["local", "ec2", "ecs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place: Place = {"local": _local, "ec2": _ec2, "ecs": _ecs}[request.param](request, tmp_path)
    yield place
    for machine in place.machines.find():
        place.machines.terminate(machine.id)
        place.until(machine.id, "terminated")


def _local(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    told = {"MODE": "test", "TOLD_TO": str(tmp_path / "told")}
    machines = LocalMachines(tmp_path, "renderer", [sys.executable, "-c", TELLS], environment=told, grace=5)

    def environment(machine_id: str) -> dict[str, str]:
        deadline = time.monotonic() + 30
        while "told" not in machines.output(machine_id):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        document: dict[str, str] = json.loads((tmp_path / "told").read_text())
        return document

    place = Place(machines, environment)
    files = tmp_path / "machines" / "renderer"
    place.shown = lambda machine_id: "".join(
        path.read_text(errors="replace") for path in (files / machine_id).rglob("*") if path.is_file()
    )
    return place


def _ec2(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    machines: Machines = request.getfixturevalue("ec2")

    def user_data(machine_id: str) -> str:
        answer = aws.client("ec2").describe_instance_attribute(InstanceId=machine_id, Attribute="userData")
        return base64.b64decode(answer["UserData"]["Value"]).decode()

    def environment(machine_id: str) -> dict[str, str]:
        exports = [line.removeprefix("export ") for line in user_data(machine_id).splitlines() if "export " in line]
        return {name: shlex.split(value)[0] for name, _, value in (line.partition("=") for line in exports)}

    place = Place(machines, environment)
    place.shown = lambda machine_id: (
        str(aws.client("ec2").describe_instances(InstanceIds=[machine_id])) + user_data(machine_id)
    )
    return place


def _ecs(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    machines: Any = request.getfixturevalue("ecs")

    def task(machine_id: str) -> dict[str, Any]:
        answer = aws.client("ecs").describe_tasks(cluster="workers", tasks=[machine_id], include=["TAGS"])
        found: dict[str, Any] = answer["tasks"][0]
        return found

    def environment(machine_id: str) -> dict[str, str]:
        override = task(machine_id)["overrides"]["containerOverrides"][0]
        return {variable["name"]: variable["value"] for variable in override["environment"]}

    place = Place(machines, environment)
    place.shown = lambda machine_id: str(task(machine_id))
    return place


def test_a_machine_from_its_launch_to_its_end(place: Place) -> None:
    tags = {"job_id": f"j-{place.token()}", "role": "renderer"}
    launched = place.machines.launch(task_token=place.token(), environment={"JOB_ID": "it's j1"}, tags=tags)
    assert launched.state == "running"
    assert tags.items() <= launched.tags.items()
    described = place.machines.describe(launched.id)
    assert (described.id, described.kind, described.state) == (launched.id, launched.kind, "running")
    assert tags.items() <= described.tags.items()
    variables = place.environment(launched.id)
    assert (variables["JOB_ID"], variables["MODE"]) == ("it's j1", "test"), "the launch's and the declared ones"
    assert [found.id for found in place.machines.find(job_id=tags["job_id"])] == [launched.id]
    assert [found.id for found in place.machines.find(**tags)] == [launched.id]
    assert place.machines.find(job_id=tags["job_id"], role="uploader") == []

    place.machines.terminate(launched.id)
    place.until(launched.id, "terminated")
    assert place.machines.find(**tags) == []
    place.machines.terminate(launched.id)


def test_the_program_finds_its_token_and_nobody_else_sees_it(place: Place) -> None:
    token = place.token()
    machine = place.machines.launch(task_token=token, tags={"job_id": "j"})
    variables = place.environment(machine.id)
    assert token not in place.shown(machine.id)
    calls: list[tuple[str, Any]] = []
    with (
        mock.patch.dict(os.environ, variables),
        mock.patch.object(
            callbacks, "_default_call", lambda: lambda action, arguments: calls.append((action, arguments))
        ),
    ):
        callbacks.from_environment().succeed({"done": True})
    assert calls == [("SendTaskSuccess", {"taskToken": token, "output": '{"done":true}'})]

    place.machines.terminate(machine.id)
    place.until(machine.id, "terminated")
    if "STEPWELL_TASK_TOKEN_PARAMETER" in variables:
        with mock.patch.dict(os.environ, variables), pytest.raises(SecretNotFound):
            callbacks.from_environment()


def test_one_machine_a_token(place: Place) -> None:
    one, other = place.token(), place.token()
    job = f"j-{place.token()}"
    first = place.machines.launch(task_token=one, tags={"job_id": job})
    assert place.machines.launch(task_token=one, tags={"job_id": job}).id == first.id
    second = place.machines.launch(task_token=other, tags={"job_id": job})
    assert second.id != first.id
    assert {found.id for found in place.machines.find(job_id=job)} == {first.id, second.id}
    place.machines.terminate(first.id)
    place.until(first.id, "terminated")
    assert [found.id for found in place.machines.find(job_id=job)] == [second.id], "the other one is left alone"


def test_what_is_not_there_is_terminated(place: Place) -> None:
    gone = {"ec2": "i-0123456789abcdef0", "ecs": "0123456789abcdef0123456789abcdef"}.get(
        type(place.machines).__name__.removesuffix("Machines").lower(), "local-unknown"
    )
    assert place.machines.describe(gone).state == "terminated"
    place.machines.terminate(gone)


def test_a_declaration_without_a_program(place: Place) -> None:
    kind = type(place.machines)
    arguments: tuple[Any, ...] = (Path("data"), "renderer", {}) if kind is LocalMachines else ("renderer", {})
    with pytest.raises(MachineConfigError, match="program must be a list"):
        kind.declared(*arguments)  # type: ignore[attr-defined]
