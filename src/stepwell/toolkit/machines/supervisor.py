"""The process that watches one local machine: `python -m stepwell.toolkit.machines.supervisor FOLDER`.

It detaches itself, starts the program, passes SIGTERM on to it, kills it when its grace or its lifetime is over, and writes down how
it ended. The command returns once the program runs, with 0, or with 1 and the reason on its output.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    """See the module."""
    folder = Path(sys.argv[1])
    order = json.loads((folder / "machine.json").read_text())
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        answer = os.read(ready, 1)
        os._exit(0 if answer == b"+" else 1)
    os.close(ready)
    os.setsid()
    lock = (folder / "lock").open("ab")
    fcntl.flock(lock, fcntl.LOCK_EX)
    _supervise(folder, order, tell)


def _supervise(folder: Path, order: dict[str, Any], tell: int) -> None:
    status: dict[str, Any] = {"supervisor": os.getpid(), "started": time.time()}
    # Signals are taken one by one by `sigtimedwait`: no handler can interrupt the writing of the status.
    waited = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    try:
        program = subprocess.Popen(
            order["program"], stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_die_with_supervisor(waited)
        )
    except OSError as error:
        print(f"{order['program'][0]}: {error.strerror}", flush=True)
        os._exit(1)
    status["program"] = program.pid
    _write(folder / "status.json", status)
    os.write(tell, b"+")
    os.close(tell)
    deadline = time.time() + order["max_lifetime"]
    while program.poll() is None:
        left = deadline - time.time()
        taken = signal.sigtimedwait(waited, left) if left > 0 else None
        if taken is not None and taken.si_signo == signal.SIGCHLD:
            continue
        if "stopping" in status and taken is None:
            _kill(program, signal.SIGKILL)  # its grace is over
            program.wait()
            break
        if "stopping" not in status:
            if taken is None:
                print(f"the lifetime of {order['max_lifetime']:.0f} s is over", flush=True)
            status["stopping"] = time.time()
            _write(folder / "status.json", status)
            deadline = time.time() + order["grace"]
        _kill(program, signal.SIGTERM)
    _kill(program, signal.SIGKILL)  # whatever the program left behind in its session
    code = program.returncode
    status["exit_code"] = 128 - code if code < 0 else code
    _write(folder / "status.json", status)
    os._exit(0)


def _die_with_supervisor(blocked: set[signal.Signals]) -> Callable[[], None]:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, blocked)
        if libc is not None:
            libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG

    return prepare


def _kill(program: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(program.pid, number)


def _write(path: Path, document: dict[str, Any]) -> None:
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(document))
    draft.replace(path)


if __name__ == "__main__":
    main()
