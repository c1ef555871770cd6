"""SQLite as the embedded adapters use it: WAL, several processes at once, an acknowledged commit on disk."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from stepwell.toolkit.errors import StorageError

BUSY_SECONDS = 30.0


class Database:
    """One file; a connection a thread and process, opened when first used.

    `durable=False` keeps every promise against a killed process and gives up the last commits only at a power failure. Raises
    `StorageError` for a file that is no database, a newer version of the layout, a full disk, or a lock held too long.
    """

    def __init__(self, path: Path, layout: str, version: int, *, durable: bool = True) -> None:
        self.path = path
        self._layout = layout
        self._version = version
        self._durable = durable
        self._local = threading.local()

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection for single SELECTs; each sees all commits acknowledged before it."""
        with self._errors():
            yield self._connection()

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """An exclusive transaction, committed at the end, rolled back by an exception."""
        with self._errors():
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None and self._local.pid == os.getpid():
            connection.close()
            self._local.connection = None

    def _connection(self) -> sqlite3.Connection:
        local = self._local
        if getattr(local, "connection", None) is None or local.pid != os.getpid():
            local.connection = self._open()
            local.pid = os.getpid()
        return local.connection  # type: ignore[no-any-return]

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _patiently(connection, "PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA synchronous={'FULL' if self._durable else 'NORMAL'}")
            connection.execute("PRAGMA cache_size=-4096")
            if self._found_version(connection) < self._version:
                _patiently(connection, "BEGIN IMMEDIATE")
                if self._found_version(connection) < self._version:  # another process may have been faster
                    for statement in self._layout.split(";\n"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version={self._version}")
                connection.execute("COMMIT")
        except BaseException:
            connection.close()
            raise
        return connection

    def _found_version(self, connection: sqlite3.Connection) -> int:
        found = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if found > self._version:
            raise StorageError(
                f"{self.path} was written by a newer Stepwell (layout {found}, this one knows {self._version}): "
                "upgrade, or use another data directory"
            )
        return found

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            text = str(error)
            if "locked" in text:
                text += f": another process held it for more than {BUSY_SECONDS:.0f} s"
            elif "not a database" in text or "malformed" in text:
                text += ": restore it from a backup, or move it away"
            elif "full" in text:
                text += ": free space on the disk and try again"
            raise StorageError(f"{self.path}: {text}") from error


def _patiently(connection: sqlite3.Connection, statement: str) -> None:
    # Switching to WAL does not wait for the busy timeout when another process is doing the same.
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
