"""Worker programs: local processes for real, EC2 and ECS against moto."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from stepwell.toolkit import aws
from stepwell.toolkit.environment import Resources
from stepwell.toolkit.errors import LaunchError, MachineConfigError, SecretNotFound
from stepwell.toolkit.machines import launch_id
from stepwell.toolkit.machines.ec2 import Ec2Machines
from stepwell.toolkit.machines.ecs import EcsMachines
from stepwell.toolkit.machines.local import LocalMachines
from stepwell.toolkit.secrets import ParameterSecret

from .conftest import EC2

WAITS = "import time; print('up', flush=True); time.sleep(600)"
WATCHES = """
import sys
from stepwell.toolkit import interruptions
with interruptions.watch() as interruption:
    print('up', flush=True)
    interruption.wait(600)
    print('interrupted by', interruption.reason, flush=True)
sys.exit(interruptions.EXIT_CODE)
"""
IGNORES = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"


def local(tmp_path: Path, code: str, **more: Any) -> LocalMachines:
    return LocalMachines(tmp_path, "renderer", ["python", "-c", code], **more)


def until_up(machines: LocalMachines, machine_id: str) -> None:
    deadline = time.monotonic() + 20
    while "up" not in machines.output(machine_id):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_program_that_ends(tmp_path: Path) -> None:
    machines = local(
        tmp_path, "import os, sys; print(os.environ['JOB'], os.environ['MORE']); sys.exit(3)", environment={"MORE": "m"}
    )
    machine = machines.launch(task_token="token-1", environment={"JOB": "j1"}, tags={"job_id": "j1"})
    assert machine.tags == {"job_id": "j1"}
    ended = machines.wait(machine.id)
    assert (ended.state, ended.exit_code, ended.kind) == ("terminated", 3, "local")
    assert machines.output(machine.id) == "j1 m\n"
    assert machines.find() == []


def test_the_token_is_given_and_not_written_down(tmp_path: Path) -> None:
    machines = local(
        tmp_path, "import os; print(os.environ['STEPWELL_TASK_TOKEN'][::-1], os.environ['STEPWELL_MACHINE'])"
    )
    machine = machines.launch(task_token="very-secret-token")
    machines.wait(machine.id)
    assert machines.output(machine.id) == f"{'very-secret-token'[::-1]} local\n"
    for path in (tmp_path / "machines").rglob("*"):
        assert not path.is_file() or b"very-secret-token" not in path.read_bytes()


def test_launching_is_idempotent(tmp_path: Path) -> None:
    machines = local(tmp_path, WAITS)
    first = machines.launch(task_token="token", tags={"job_id": "j"})
    second = machines.launch(task_token="token", tags={"job_id": "j"})
    other = machines.launch(task_token="another", tags={"job_id": "k"})
    assert first.id == second.id != other.id
    assert [machine.id for machine in machines.find(job_id="j")] == [first.id]
    assert len(machines.find()) == 2
    assert machines.find(job_id="j", role="x") == []
    for machine in (first, other):
        machines.terminate(machine.id)
        assert machines.wait(machine.id).exit_code == 143
    again = machines.launch(task_token="token")
    assert again.state == "terminated"  # its work was done, or will be by a new token


def test_interruption_reaches_the_program(tmp_path: Path) -> None:
    machines = local(tmp_path, WATCHES)
    machine = machines.launch(task_token="t")
    until_up(machines, machine.id)
    machines.terminate(machine.id)
    machines.terminate(machine.id)
    ended = machines.wait(machine.id)
    assert ended.exit_code == 143
    assert machines.output(machine.id).endswith("interrupted by SIGTERM\n")
    machines.terminate(machine.id)


def test_grace_ends_what_does_not_listen(tmp_path: Path) -> None:
    machines = local(tmp_path, IGNORES, grace=0.2)
    machine = machines.launch(task_token="t")
    until_up(machines, machine.id)
    machines.terminate(machine.id)
    assert machines.wait(machine.id).exit_code == 128 + signal.SIGKILL


def test_lifetime(tmp_path: Path) -> None:
    machines = local(tmp_path, WAITS, max_lifetime=0.3, grace=1)
    machine = machines.launch(task_token="t")
    assert machines.wait(machine.id).exit_code == 143
    assert "the lifetime" in machines.output(machine.id)


def test_it_outlives_its_launcher_and_dies_with_its_supervisor(tmp_path: Path) -> None:
    machines = local(tmp_path, WAITS)
    machine = machines.launch(task_token="t")
    status = json.loads((tmp_path / "machines" / "renderer" / machine.id / "status.json").read_text())
    supervisor, program = psutil.Process(status["supervisor"]), psutil.Process(status["program"])
    assert os.getpid() not in [parent.pid for parent in supervisor.parents()[:1]]
    assert os.getsid(supervisor.pid) != os.getsid(0)
    supervisor.kill()
    _, alive = psutil.wait_procs([program], timeout=10)
    if sys.platform == "linux":
        assert alive == []
    else:
        program.kill()
    ended = machines.wait(machine.id)
    assert (ended.state, ended.exit_code) == ("terminated", None)


def test_what_a_program_leaves_behind_goes_with_it(tmp_path: Path) -> None:
    code = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); print(p.pid, flush=True)"
    machines = local(tmp_path, code)
    machine = machines.launch(task_token="t")
    machines.wait(machine.id)
    child = int(machines.output(machine.id))
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_programs_that_cannot_start(tmp_path: Path) -> None:
    machines = LocalMachines(tmp_path, "renderer", ["/nonexistent/program"])
    with pytest.raises(MachineConfigError, match="No such file"):
        machines.launch(task_token="t")
    with pytest.raises(MachineConfigError, match="program must be a list"):
        Resources("embedded", tmp_path, {"workers": {"r": {}}}).worker("r")
    assert machines.describe("local-unknown").state == "terminated"
    machines.terminate("local-unknown")


def test_ec2_launch(ec2: Ec2Machines) -> None:
    tags = {"job_id": "j1", "role": "renderer"}
    machine = ec2.launch(task_token="token-ec2-1", environment={"JOB_ID": "it's j1"}, tags=tags)
    assert machine.state == "running"
    assert machine.kind == "c5.2xlarge"
    assert tags.items() <= machine.tags.items()
    client = aws.client("ec2")
    encoded = client.describe_instance_attribute(InstanceId=machine.id, Attribute="userData")["UserData"]["Value"]
    user_data = base64.b64decode(encoded).decode()
    parameter = f"/stepwell/renderer/{launch_id('token-ec2-1')}/task-token"
    assert "token-ec2-1" not in user_data
    assert f"export STEPWELL_TASK_TOKEN_PARAMETER={parameter}" in user_data
    assert """export JOB_ID='it'"'"'s j1'""" in user_data
    assert user_data.splitlines()[0] == "#!/bin/bash"
    assert user_data.splitlines()[-1] == "python3 -m renderer.main"
    assert "trap ended EXIT" in user_data
    assert "sleep 15300" in user_data
    assert ParameterSecret(parameter).read().reveal() == "token-ec2-1"

    again = ec2.launch(task_token="token-ec2-1")
    assert again.id == machine.id
    assert [found.id for found in ec2.find(job_id="j1")] == [machine.id]
    ec2.terminate(machine.id)
    ec2.terminate(machine.id)
    assert ec2.find(job_id="j1") == []
    assert ec2.describe(machine.id).state == "terminated"
    assert ec2.describe("i-0123456789abcdef0").state == "terminated"
    with pytest.raises(SecretNotFound):
        ParameterSecret(parameter).read()


AWS_CLI = """#!/bin/sh
case "$*" in
  *get-parameter*) echo the-token;;
  *) echo "$*" >> "$CALLS"; echo >> "$BEATEN";;
esac
"""


class Boot:
    """The boot script of a machine, run by the shell as cloud-init does, with `aws` and `shutdown` that only say so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        for name, text in (("aws", AWS_CLI), ("shutdown", '#!/bin/sh\necho "shutdown $*" >> "$CALLS"\n')):
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        os.mkfifo(folder / "beaten")

    def run(self, program: list[str], boot: list[str], **environment: str) -> list[str]:
        """What `aws` and `shutdown` were called with."""
        calls = self.folder / "calls"
        calls.unlink(missing_ok=True)
        spec = {**EC2, "subnet_ids": ["subnet-1"], "program": program, "boot": boot}
        script = Ec2Machines("renderer", spec)._user_data(environment, "/the/parameter")
        variables = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(calls),
            "BEATEN": str(self.folder / "beaten"),
        }
        # The session's processes, the watchdog of the lifetime among them, are ended with it.
        beaten = os.open(self.folder / "beaten", os.O_RDWR | os.O_NONBLOCK)
        process = subprocess.Popen(["bash", "-c", script], cwd=self.folder, env=variables, start_new_session=True)
        try:
            process.wait(30)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            os.close(beaten)
        return calls.read_text().splitlines()


BEATS = ["head -n 1 beaten > /dev/null"]
"""A boot that lasts until the first heartbeat."""
HEARTBEAT = "stepfunctions send-task-heartbeat --task-token the-token"


def failure(code: int) -> str:
    cause = f"the machine's boot script ended with exit code {code}"
    return f"stepfunctions send-task-failure --error LaunchError --cause {cause} --task-token the-token"


def test_ec2_boot(tmp_path: Path) -> None:
    boot = Boot(tmp_path)
    program = ["sh", "-c", 'echo "$JOB_ID $STEPWELL_TASK_TOKEN_PARAMETER $MADE" > ran; exit 1']
    lines = [*BEATS, "mkdir -p code && cd code", "export MADE=made"]
    assert boot.run(program, lines, JOB_ID="it's j1") == [HEARTBEAT, "shutdown -h now"], (
        "the program answers, not the script"
    )
    assert (tmp_path / "code" / "ran").read_text() == "it's j1 /the/parameter made\n"


def test_ec2_boot_that_fails_is_an_answer(tmp_path: Path) -> None:
    boot = Boot(tmp_path)
    ran = ["touch", "ran"]
    assert boot.run(ran, [*BEATS, "exit 3"]) == [HEARTBEAT, failure(3), "shutdown -h now"]
    assert boot.run(ran, [*BEATS, "false", "true"]) == [HEARTBEAT, failure(1), "shutdown -h now"]
    assert not (tmp_path / "ran").exists()
    assert boot.run(["/nowhere/program"], BEATS) == [HEARTBEAT, failure(127), "shutdown -h now"]
    own = boot.run(ran, [*BEATS, "false"], STEPWELL_API_URL="http://10.0.0.1:8083")
    assert own[1] == failure(1).replace("send", "--endpoint-url http://10.0.0.1:8083 send", 1)


class Refusing:
    """An EC2 client whose run_instances fails by a script."""

    def __init__(self, codes: list[str | None]) -> None:
        self.codes = codes
        self.calls: list[dict[str, Any]] = []
        self._real = aws.client("ec2")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def run_instances(self, **arguments: Any) -> Any:
        self.calls.append(arguments)
        code = self.codes.pop(0)
        if code is not None:
            raise ClientError({"Error": {"Code": code, "Message": "no"}}, "RunInstances")
        return self._real.run_instances(**arguments)


def refusing(monkeypatch: pytest.MonkeyPatch, codes: list[str | None]) -> Refusing:
    client = Refusing(codes)
    real = aws.client
    monkeypatch.setattr(aws, "client", lambda service: client if service == "ec2" else real(service))
    return client


def test_ec2_walks_the_places_on_capacity_errors(ec2: Ec2Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    client = refusing(monkeypatch, ["InsufficientInstanceCapacity", "SpotMaxPriceTooLow", None])
    machine = ec2.launch(task_token="token-ec2-2")
    assert machine.kind == "c5.xlarge"
    asked = [(call["InstanceType"], call["SubnetId"]) for call in client.calls]
    assert len(set(asked)) == 3
    assert len({call["ClientToken"] for call in client.calls}) == 3
    first = client.calls[0]
    assert first["ClientToken"] == launch_id("token-ec2-2")
    assert first["InstanceMarketOptions"] == {
        "MarketType": "spot",
        "SpotOptions": {
            "SpotInstanceType": "one-time",
            "InstanceInterruptionBehavior": "terminate",
            "MaxPrice": "0.20",
        },
    }
    assert first["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert first["MetadataOptions"]["HttpTokens"] == "required"
    assert first["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True


def test_ec2_errors(ec2: Ec2Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    refusing(monkeypatch, ["UnfulfillableCapacity"] * 4)
    with pytest.raises(LaunchError, match="no capacity anywhere"):
        ec2.launch(task_token="token-ec2-3")
    refusing(monkeypatch, ["InvalidAMIID.NotFound"])
    with pytest.raises(MachineConfigError, match="InvalidAMIID"):
        ec2.launch(task_token="token-ec2-4")
    with pytest.raises(MachineConfigError, match="image_id is not declared"):
        Ec2Machines("r", {"program": ["x"]})


def test_ecs_launch(ecs: EcsMachines) -> None:
    machine = ecs.launch(task_token="token-ecs-1", environment={"JOB_ID": "j1"}, tags={"job_id": "j1"})
    assert machine.state == "running"
    assert machine.tags["job_id"] == "j1"
    assert ecs.launch(task_token="token-ecs-1").id == machine.id
    assert [found.id for found in ecs.find(job_id="j1")] == [machine.id]
    assert ecs.find(job_id="other") == []
    task = aws.client("ecs").describe_tasks(cluster="workers", tasks=[machine.id])["tasks"][0]
    override = task["overrides"]["containerOverrides"][0]
    assert "token-ecs-1" not in json.dumps(override)
    ecs.terminate(machine.id)
    assert ecs.describe(machine.id).state != "running"


def test_ecs_refusals(ecs: EcsMachines) -> None:
    broken = EcsMachines("r", {**ecs._spec, "task_definition": "nothing:1"})
    with pytest.raises(MachineConfigError):
        broken.launch(task_token="token-ecs-2")
    with pytest.raises(MachineConfigError, match="cluster is not declared"):
        EcsMachines("r", {"program": ["x"]})
