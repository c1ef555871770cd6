"""A data directory as files: who holds it, and what is really on the disk."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from stepwell.engine.errors import DirectoryInUse

__all__ = ["has_no_space", "sync_directory", "sync_file", "take_lock"]

LOCK = "lock"


def take_lock(directory: Path) -> int:
    """The directory's lock, kept until the descriptor is closed (also by `kill -9`). The file names its holder."""
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 100, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise DirectoryInUse(
            f"the data directory {directory} is in use by process {holder or '(unknown)'}; stop that process, or choose "
            "another directory. To look at a directory in use, open it read-only."
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def has_no_space(directory: Path | None) -> bool:
    if directory is None:
        return False
    try:
        status = os.statvfs(directory)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < 64 * 1024


def sync_file(descriptor: int) -> None:
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone does not reach the medium
    if full is not None:
        fcntl.fcntl(descriptor, full)
    else:
        os.fdatasync(descriptor)


def sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
