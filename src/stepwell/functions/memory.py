"""How much memory a worker uses, with the processes it started."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

_PAGE = resource.getpagesize()


def resident_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; 0 once it is gone."""
    if sys.platform != "linux":
        return _by_ps(pid)
    return sum(_resident(member) for member in _family(pid))


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:  # noqa: PTH123  ten times a second for every busy worker
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _family(pid: int) -> list[int]:
    members = [pid]
    for member in members:
        try:
            threads = os.listdir(f"/proc/{member}/task")  # noqa: PTH208
        except OSError:
            continue
        for thread in threads:
            try:
                members += map(int, Path(f"/proc/{member}/task/{thread}/children").read_bytes().split())
            except OSError:
                continue
    return members


def _by_ps(pid: int) -> int:
    answer = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False, timeout=5
    ).stdout.split()
    return int(answer[0]) * 1024 if answer else 0
