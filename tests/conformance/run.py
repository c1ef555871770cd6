"""Run AWS's recordings against this checkout: `python -m tests.conformance.run [--pure] [runner's options]`.

Without `--pure` other AWS services are an emulator's (`make emulators`): ministack's, or moto's with `--moto`. The runner asks Stepwell for
all of them, which passes on what is neither Step Functions nor Lambda.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("SHARED", ROOT.parent / "shared")) / "conformance"
RUNNER = SHARED / "run_conformance.py"
EMULATORS = Path(os.environ.get("STEPWELL_EMULATORS", ROOT / ".venv-emulators" / "bin"))


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@contextlib.contextmanager
def stepwell(*options):
    """`stepwell serve` in memory; gives its URL."""
    command = [
        Path(sys.executable).parent / "stepwell",
        "serve",
        "--in-memory",
        "--port",
        "0",
        *options,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            for line in process.stdout:
                found = re.search(r"http://[\d.]+:\d+", line)
                if found:
                    break
            else:
                raise RuntimeError("stepwell serve did not start")
            yield found.group()
        finally:
            process.terminate()
            process.wait(20)


@contextlib.contextmanager
def emulator(name):
    """ministack or moto; gives its URL."""
    program = EMULATORS / {"ministack": "ministack", "moto": "moto_server"}[name]
    if not program.exists():
        raise SystemExit(f"{name} is not installed: run `make emulators`")
    port = free_port()
    command = [program] if name == "ministack" else [program, "-H", "127.0.0.1", "-p", str(port)]
    health = f"http://127.0.0.1:{port}" + ("/_ministack/health" if name == "ministack" else "/moto-api/")
    environment = {**os.environ, "GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "LOG_LEVEL": "WARNING"}
    quiet = subprocess.DEVNULL
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=quiet, stderr=quiet) as process,
    ):
        try:
            until = time.monotonic() + 30
            while True:
                try:
                    urllib.request.urlopen(health, timeout=2).close()
                    break
                except OSError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def run(arguments):
    """The runner's report."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        report = Path(folder) / "report.json"
        options = [*arguments, "--report", str(report)]
        if "--pure" in arguments:
            url = stack.enter_context(stepwell())
        else:
            other = stack.enter_context(emulator("moto" if "--moto" in arguments else "ministack"))
            url = stack.enter_context(stepwell("--aws-endpoint", other))
            options = [option for option in options if option != "--moto"] + ["--aws-endpoint", url]
        subprocess.run([sys.executable, str(RUNNER), "--sfn-endpoint", url, *options], check=True)
        return json.loads(report.read_text())


def known():
    """The cases docs/fidelity.md lists, by their ids."""
    return set(re.findall(r"^\* `([^`]+)`", (ROOT / "docs" / "fidelity.md").read_text(), re.M))


def differing(report):
    """The cases that are not equal at every level."""
    return {case["id"] for case in (*report["failing"], *report["strict_only_failing"])}


if __name__ == "__main__":
    unexplained = differing(run(sys.argv[1:])) - known()
    if unexplained:
        sys.exit("\n".join(["These differ and docs/fidelity.md does not say why:", *sorted(unexplained)]))
    print("Every case that differs stands in docs/fidelity.md.")
