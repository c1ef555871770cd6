"""Worker programs as processes of this machine.

A machine is a folder `<data>/machines/<worker>/<id>` with what was asked for (`machine.json`), what became of it (`status.json`), the
program's output (`output.log`), and a lock that its supervisor (`supervisor`) holds for as long as the machine runs. The task
token travels in the environment only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stepwell.toolkit.errors import LaunchError, MachineConfigError
from stepwell.toolkit.machines import (
    GRACE,
    KIND_VARIABLE,
    MAX_LIFETIME,
    TOKEN_VARIABLE,
    Machine,
    Machines,
    launch_id,
    program_of,
)

START_SECONDS = 30.0


class LocalMachines(Machines):
    """Processes, each in its own session, watched by a supervisor that ends them at the end of their lifetime."""

    def __init__(
        self,
        data: Path,
        name: str,
        program: list[str],
        *,
        environment: Mapping[str, str] | None = None,
        max_lifetime: float = MAX_LIFETIME,
        grace: float = GRACE,
    ) -> None:
        self.name = name
        self._folder = data / "machines" / name
        self._program = [sys.executable, *program[1:]] if program[0] == "python" else program
        self._environment = dict(environment or {})
        self._max_lifetime = max_lifetime
        self._grace = grace

    @classmethod
    def declared(cls, data: Path, name: str, spec: Mapping[str, Any]) -> LocalMachines:
        """From `[workers.NAME]`."""
        return cls(
            data,
            name,
            program_of(name, spec),
            environment=spec.get("environment"),
            max_lifetime=float(spec.get("max_lifetime", MAX_LIFETIME)),
            grace=float(spec.get("grace", GRACE)),
        )

    def launch(
        self, *, task_token: str, environment: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None
    ) -> Machine:
        machine_id = f"local-{launch_id(task_token)}"
        folder = self._folder / machine_id
        order = {
            "program": self._program,
            "tags": dict(tags or {}),
            "max_lifetime": self._max_lifetime,
            "grace": self._grace,
            "created": time.time(),
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "launch.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not (folder / "status.json").exists():
                    (folder / "machine.json").write_text(json.dumps(order))
                    self._start(folder, {**self._environment, **(environment or {})}, task_token)
        except OSError as error:
            raise LaunchError(f"worker {self.name!r} could not be started: {error}") from error
        return self.describe(machine_id)

    def find(self, **tags: str) -> list[Machine]:
        if not self._folder.is_dir():
            return []
        found = [self.describe(folder.name) for folder in sorted(self._folder.iterdir())]
        return [machine for machine in found if machine.state != "terminated" and tags.items() <= machine.tags.items()]

    def describe(self, machine_id: str) -> Machine:
        folder = self._folder / machine_id
        try:
            order = json.loads((folder / "machine.json").read_text())
            status = json.loads((folder / "status.json").read_text())
        except FileNotFoundError:
            return Machine(machine_id, "local", "terminated")
        alive = _alive(folder)
        state = "terminated" if not alive else "stopping" if status.get("stopping") else "running"
        return Machine(machine_id, "local", state, order["tags"], exit_code=status.get("exit_code"))  # type: ignore[arg-type]

    def terminate(self, machine_id: str) -> None:
        folder = self._folder / machine_id
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            status = json.loads((folder / "status.json").read_text())
            if _alive(folder):
                os.kill(status["supervisor"], signal.SIGTERM)

    def wait(self, machine_id: str) -> Machine:
        """Return when the machine is terminated (its program ended and its exit code is known)."""
        path = self._folder / machine_id / "lock"
        if path.exists():
            with path.open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH)
        return self.describe(machine_id)

    def output(self, machine_id: str) -> str:
        """What the program wrote so far."""
        with contextlib.suppress(FileNotFoundError):
            return (self._folder / machine_id / "output.log").read_text(errors="replace")
        return ""

    def _start(self, folder: Path, environment: Mapping[str, str], task_token: str) -> None:
        with (folder / "output.log").open("ab") as output:
            starter = subprocess.run(
                [sys.executable, "-m", "stepwell.toolkit.machines.supervisor", str(folder)],
                env={**os.environ, **environment, TOKEN_VARIABLE: task_token, KIND_VARIABLE: "local"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                timeout=START_SECONDS,
                check=False,
            )
        if starter.returncode != 0:
            raise MachineConfigError(
                f"worker {self.name!r} did not start ({' '.join(self._program)}): {self.output(folder.name)[-500:]}"
            )


def _alive(folder: Path) -> bool:
    try:
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
