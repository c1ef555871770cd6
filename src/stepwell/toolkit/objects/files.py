"""Files of a local bucket: where an object's bytes lie, and how they get there without a torn or lost one.

An object's file has the object's own name wherever the file system can hold it (`videos/2025/11/GH010042.MP4`), so that people can
open it. Names that cannot be (`..`, empty segments, a file where a folder is, 300-byte segments) go to `.store/blobs` under a hash.
The name is a courtesy; which file is which object, only the index says.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import time
import unicodedata
from io import FileIO
from pathlib import Path

STORE = ".store"
STALE_SECONDS = 60.0
_NAME_BYTES = 200
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK)


class Files:
    """The directory of one bucket. Paths are relative to it, with `/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.staging = root / STORE / "staging"
        self.uploads = root / STORE / "uploads"
        for folder in (self.staging, self.uploads, root / STORE / "blobs"):
            folder.mkdir(parents=True, exist_ok=True)

    def stage(self) -> tuple[Path, FileIO]:
        """A fresh file to write to. Its lock says that its writer lives."""
        path = self.staging / secrets.token_hex(12)
        file = path.open("xb", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX)
        return path, file

    def place(self, source: Path, relative: str, *, keep: bool) -> None:
        """Give the staged file its name, replacing a leftover of that name, and sync both, file and name.

        `keep`: the source stays until later. Raises OSError where the name is impossible.
        """
        target = self.root / relative
        for attempt in range(5):
            self._make_parents(target.parent)
            try:
                if keep:
                    _link(source, target)
                else:
                    source.rename(target)
                break
            except FileNotFoundError:
                # A concurrent delete swept the empty folder away.
                if attempt == 4:
                    raise
        # In this order: journaling file systems write the new name along with the file, and the folder costs next to nothing.
        sync(target)
        sync(target.parent)

    def remove(self, relative: str) -> None:
        """Remove a file that no object refers to, and folders that it leaves empty."""
        path = self.root / relative
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
        if not relative.startswith(STORE):
            with contextlib.suppress(OSError):
                for folder in path.parents:
                    if folder == self.root:
                        break
                    folder.rmdir()

    def clear_staging(self) -> None:
        """Remove what killed writers left behind."""
        for path in self.staging.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime < STALE_SECONDS:
                    continue
                with path.open("rb") as file:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except BlockingIOError:
                        continue
                    path.unlink()

    def _make_parents(self, folder: Path) -> None:
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):
                path.mkdir()
            sync(path.parent)


def natural_path(key: str) -> str | None:
    """The path that shows the key, or None when a file system could not hold it, or would confuse it with our own."""
    for segment in key.split("/"):
        if not segment or segment[0] == "." or len(segment.encode()) > _NAME_BYTES or "\\" in segment:
            return None
    return key


def variant_path(path: str) -> str:
    """A name beside the natural one, for a new version while the old one still has it."""
    stem, dot, extension = path.rpartition(".")
    if not dot or "/" in extension:
        stem, extension = path, ""
    return f"{stem}~{secrets.token_hex(4)}{dot if extension else ''}{extension}"


def blob_path(key: str) -> str:
    """A name that always works."""
    digest = hashlib.sha256(key.encode()).hexdigest()[:32]
    return f"{STORE}/blobs/{digest}-{secrets.token_hex(4)}"


def path_identity(path: str) -> str:
    """What two names share that some file system (macOS) takes for one."""
    return unicodedata.normalize("NFC", path).casefold()


def sync(path: Path) -> None:
    """Make a file's bytes, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def copy_range(source: int, target: int, offset: int, length: int) -> None:
    """Append `length` bytes of `source` from `offset` to `target`, inside the kernel where it can."""
    while length:
        try:
            copied = os.sendfile(target, source, offset, min(length, 1 << 30))
        except OSError:
            data = os.pread(source, min(length, 1 << 20), offset)
            copied = os.write(target, data) if data else 0
        if not copied:
            raise OSError(errno.EIO, "the file ended early")
        offset += copied
        length -= copied


def _link(source: Path, target: Path) -> None:
    try:
        with contextlib.suppress(FileNotFoundError):
            target.unlink()
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, target)
