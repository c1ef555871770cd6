"""Copying a data directory while it is in use.

The journal is copied first, as of one moment; whatever else the directory holds (buckets, tables, logs, metrics, functions) after
it. What the journal knows to be done is therefore in the copy; what happened later in a bucket may be there too, and is done again by
the executions that the copy still has open, as after a crash.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from stepwell.engine.directory import LOCK, sync_directory
from stepwell.engine.errors import JournalError
from stepwell.engine.journal import FILE, copy_database

__all__ = ["backup"]


def backup(directory: Path, destination: Path) -> int:
    """Copy `directory` to `destination`, which must not exist; gives the bytes copied.

    A copy that could not be finished is removed. Raises FileExistsError, JournalError, OSError.
    """
    if not (directory / FILE).exists():
        raise JournalError(f"{directory} is not a Stepwell data directory: it holds no {FILE}")
    destination.mkdir(parents=True)
    try:
        copy_database(directory / FILE, destination / FILE)
        for path in sorted(directory.rglob("*")):
            name = path.relative_to(directory)
            if name.parts[0].startswith(FILE) or name.name == LOCK or name.name.endswith(("-wal", "-shm")):
                continue
            target = destination / name
            if path.is_dir():
                target.mkdir(exist_ok=True)
            elif path.suffix in (".sqlite3", ".db"):
                copy_database(path, target)
            else:
                _copy_file(path, target)
        sync_directory(destination)
    except BaseException:
        shutil.rmtree(destination, ignore_errors=True)
        raise
    return sum(path.stat().st_size for path in destination.rglob("*") if path.is_file())


def _copy_file(path: Path, target: Path) -> None:
    try:
        shutil.copy2(path, target)
    except FileNotFoundError:
        return  # a temporary file, gone since the folder was listed
