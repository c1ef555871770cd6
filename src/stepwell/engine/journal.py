"""The journal: everything the engine must not lose, in one SQLite file. The only module that knows SQLite.

What is kept
    The *inputs* of an execution (its start and every event the interpreter handled) are the truth: handling them again gives
    the same state, effects and history. The rest (history, status, output, who is open, map runs) are projections, written
    in the same transaction, so that reading needs no replay.

How it is written
    Writes of all executions are collected in a batch; `flush` runs at the end of the event loop's turn and writes the batch
    as one transaction: a group commit. Callbacks given to `after_commit` run once the batch is safe. In WAL mode with
    synchronous=NORMAL a commit is a few write() calls (20 us and 2 us a row) and survives the death of the process, so it is
    done on the loop's thread: a thread of its own would wait for the GIL at every row (100 rows took up to 460 ms instead of
    0.3 ms beside a busy loop; docs/decisions/0009). What may wait for the disk is off the loop: fdatasync in the
    "power" durability, where callbacks wait for it, and checkpoints.

When it cannot be written
    A full disk or a lock held by another program stops the journal, not the engine: the batch stays in memory in order
    and is tried again, whoever waits for it gets JournalFull or JournalBusy, and `check` refuses new work with the same
    error until a write succeeds.

Keys are integers made of the execution's id and a number (`KEY_BITS` for the number), so that inputs and history lie in order
in their tables without a second index.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from stepwell.engine.directory import has_no_space, sync_directory, sync_file, take_lock
from stepwell.engine.errors import (
    JournalBusy,
    JournalCorrupt,
    JournalError,
    JournalFull,
    JournalTooNew,
)
from stepwell.engine.packing import PackingError, pack, unpack
from stepwell.engine.rows import Batch, ExecutionRow, Outcome

__all__ = ["Durability", "Journal"]

log = logging.getLogger("stepwell.journal")

Durability = Literal["process", "power"]

FILE = "journal.db"
KEY_BITS = 24
KEY_MASK = (1 << KEY_BITS) - 1
BATCH_ROWS = 2_000
"""A batch of more rows is written at once, without waiting for the end of the loop's turn."""
CHECKPOINT_BYTES = 16 * 1024 * 1024
"""So long the write-ahead log may get before it is copied to the database in the background."""
SHRINK_PAGES = 1_000
"""Fewer free pages (4 KB each) are not worth giving back."""
RETRY_SECONDS = 0.5
OPEN_TIMEOUT = 5.0

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE executions (
        id INTEGER PRIMARY KEY,
        resource TEXT NOT NULL,         -- state machine name, or name/label for the children of a map run
        name TEXT NOT NULL,
        revision INTEGER NOT NULL,
        version INTEGER,
        alias TEXT,
        parent INTEGER,                 -- the execution that started it as a child of a map run, by `command`
        command INTEGER,
        map_run TEXT,
        item_count INTEGER,
        trace_header TEXT,
        seed INTEGER NOT NULL,
        start INTEGER NOT NULL,         -- milliseconds
        stop INTEGER,
        status TEXT NOT NULL,
        redrive_count INTEGER NOT NULL DEFAULT 0,
        redrive_date INTEGER,
        error TEXT,
        cause TEXT,
        input BLOB NOT NULL,
        output BLOB
    );
    CREATE UNIQUE INDEX executions_by_name ON executions (resource, name);
    CREATE INDEX executions_by_resource ON executions (resource, id);
    CREATE INDEX executions_unsuccessful ON executions (resource, status, id)
        WHERE status NOT IN ('RUNNING', 'SUCCEEDED');
    CREATE INDEX executions_by_map_run ON executions (map_run, id) WHERE map_run IS NOT NULL;
    CREATE TABLE open_executions (
        id INTEGER PRIMARY KEY,
        busy INTEGER NOT NULL,          -- 1: something must be done again after a restart; 0: it only waits
        wake INTEGER                    -- when idle: the next timer, milliseconds
    );
    CREATE TABLE inputs (key INTEGER PRIMARY KEY, data BLOB NOT NULL);
    CREATE TABLE history (key INTEGER PRIMARY KEY, last INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE TABLE snapshots (id INTEGER PRIMARY KEY, sequence INTEGER NOT NULL, data BLOB NOT NULL);
    CREATE TABLE map_runs (
        arn TEXT PRIMARY KEY, execution INTEGER NOT NULL, start INTEGER NOT NULL, data BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX map_runs_by_execution ON map_runs (execution, start);
    CREATE TABLE documents (
        kind TEXT NOT NULL, key TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (kind, key)
    ) WITHOUT ROWID;
    """,
    # Chunks of history may be compressed (`packing`); those of older versions are read as they are.
    "",
)
"""Schema changes in order; PRAGMA user_version counts those applied. Never edit one that was released: add one."""


class Journal:
    """The journal of one data directory, or of none (in memory). All methods belong to the event loop's thread."""

    def __init__(
        self, directory: Path | None = None, *, durability: Durability = "process", read_only: bool = False
    ) -> None:
        """Opens the file. Raises DirectoryInUse, JournalTooNew, JournalCorrupt, JournalBusy, JournalFull, JournalError."""
        self.directory = directory
        self.read_only = read_only
        self.commits = 0
        self.rows = 0
        self.trouble: JournalError | None = None
        """Why the journal cannot write at the moment."""
        self.safe = 0
        """The number of the last batch that is safe."""
        self._batch = Batch(1)
        self._backlog: list[Batch] = []
        self._unsynced: list[Batch] = []
        self._scheduled = False
        self._held = False
        self._settling = False
        self._syncing = False
        self._checkpointing = False
        self._log_file = None if self.directory is None else str(self.directory / f"{FILE}-wal")
        self._checkpoint_at = CHECKPOINT_BYTES
        self._background: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock: int | None = None
        self._wal: int | None = None
        self._power = durability == "power" and directory is not None
        if directory is not None and not read_only:
            try:
                directory.mkdir(parents=True, exist_ok=True)
                self._lock = take_lock(directory)
            except OSError as error:
                raise JournalError(
                    f"{directory} cannot be a data directory ({error.strerror}); choose another, or make it writable"
                ) from error
        try:
            self._connection = self._connect()
            self._migrate()
            self._last_id: int = self._read("SELECT max(id) FROM executions")[0][0] or 0
        except BaseException:
            self._release_lock()
            raise

    # -- opening and closing

    def _connect(self) -> sqlite3.Connection:
        path = ":memory:" if self.directory is None else str(self.directory / FILE)
        if self.read_only and not Path(path).exists():
            raise JournalError(f"{self.directory} is not a Stepwell data directory: it holds no {FILE}")
        try:
            connection = sqlite3.connect(path, isolation_level=None, timeout=OPEN_TIMEOUT, cached_statements=256)
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new file; an older one stays as it is
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute(f"PRAGMA journal_size_limit = {CHECKPOINT_BYTES}")
            connection.execute("PRAGMA cache_size = -16384")
            if self.read_only:
                connection.execute("PRAGMA query_only = 1")
            return connection
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _migrate(self) -> None:
        try:
            version: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise JournalTooNew(
                    f"the data directory {self.directory} was written by a newer Stepwell (journal version {version}, "
                    f"this Stepwell knows {len(MIGRATIONS)}); upgrade Stepwell or use another directory"
                )
            if self.read_only:
                return
            for number in range(version, len(MIGRATIONS)):
                self._connection.executescript(
                    f"BEGIN IMMEDIATE; {MIGRATIONS[number]} PRAGMA user_version = {number + 1}; COMMIT;"
                )
        except sqlite3.Error as error:
            raise self._explain(error) from error
        # From here on a lock of another program must not block the loop: flush tries again instead.
        self._connection.execute("PRAGMA busy_timeout = 0")
        if self._power and self.directory is not None:
            self._connection.execute("INSERT OR REPLACE INTO documents VALUES ('journal', 'durability', 'power')")
            self._wal = os.open(self.directory / f"{FILE}-wal", os.O_RDONLY)
            sync_directory(self.directory)

    async def close(self) -> None:
        """Write what is left, copy the log to the database, let go of the directory."""
        self._held = False
        with contextlib.suppress(JournalError):
            await self.committed()
        while self._background:
            await asyncio.wait(self._background)
        trouble = self.trouble
        self._abandon()
        if trouble is not None:
            raise trouble

    def _abandon(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()  # the last connection checkpoints and removes the log
        if self._wal is not None:
            os.close(self._wal)
            self._wal = None
        self._release_lock()

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _explain(self, error: sqlite3.Error) -> JournalError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        place = self.directory
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return JournalBusy(
                f"another program holds a lock on {place}/{FILE} (an open sqlite3 shell or a backup?); it is tried again "
                "until the lock is released"
            )
        if code == sqlite3.SQLITE_FULL or has_no_space(place):
            return JournalFull(
                f"the disk of {place} is full; nothing acknowledged is lost, and work continues once there is room"
            )
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return JournalCorrupt(
                f"{place}/{FILE} is damaged ({error}); keep a copy, then restore a backup or recover it with "
                f'`sqlite3 {FILE} ".recover"`'
            )
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return JournalError(f"{place}/{FILE} cannot be opened or written ({error}); check the permissions")
        return JournalError(f"{place}/{FILE} cannot be read or written: {error}")

    # -- adding to the batch

    @property
    def number(self) -> int:
        """The number of the batch that what is added now belongs to."""
        return self._batch.number

    def next_id(self) -> int:
        """A new execution's id; ids grow with time."""
        self._last_id += 1
        return self._last_id

    def check(self) -> None:
        """Raise the present trouble, so that nothing new is accepted while nothing can be written."""
        if self.trouble is not None:
            raise self.trouble

    async def writable(self) -> None:
        """Wait until the journal is in no trouble."""
        while self.trouble is not None:  # noqa: ASYNC110 -- a write ends it, which is tried every so often
            await asyncio.sleep(RETRY_SECONDS)

    def start_execution(self, row: ExecutionRow) -> None:
        """A new execution. The row may still be changed by `set_outcome` before the commit."""
        self._batch.started[row.id] = row
        self._batch.names[row.resource, row.name] = row
        self._grow()

    def set_outcome(self, id: int, outcome: Outcome) -> None:
        """The execution ended, or was redriven."""
        row = self._batch.started.get(id)
        if row is None:
            self._batch.outcomes[id] = outcome
            self._grow()
            return
        row.status = outcome.status
        row.stop = outcome.stop
        row.redrive_count = outcome.redrive_count
        row.redrive_date = outcome.redrive_date
        row.error = outcome.error
        row.cause = outcome.cause
        row.output = outcome.output

    def add_input(self, id: int, sequence: int, data: bytes) -> None:
        """The event `sequence` (from 1) of an execution, as `events.encode` gives it."""
        self._batch.inputs.append((id << KEY_BITS | sequence, data))
        self._grow()

    def add_history(self, id: int, first: int, last: int, data: bytes) -> None:
        """History events `first` to `last` as the JSON text of an array."""
        self._batch.history.append((id << KEY_BITS | first, last, pack(data)))
        self._grow()

    def set_open(self, id: int, busy: bool, wake: int | None) -> None:
        """The execution is open; see the table's comments."""
        self._batch.opened[id] = (int(busy), wake)
        self._grow()

    def set_closed(self, id: int) -> None:
        """The execution is not open any more."""
        if id in self._batch.started:
            self._batch.opened.pop(id, None)
            return
        self._batch.opened[id] = None
        self._grow()

    def put_snapshot(self, id: int, sequence: int, data: bytes) -> None:
        """The execution's state after the input `sequence`; replaces an older one."""
        self._batch.snapshots[id] = (sequence, data)
        self._grow()

    def put_map_run(self, arn: str, execution: int, start: int, data: bytes) -> None:
        """A map run's record."""
        self._batch.map_runs[arn] = (execution, start, data)
        self._grow()

    def put(self, kind: str, key: str, data: bytes | None) -> None:
        """A document of the registry; None deletes it."""
        self._batch.documents[kind, key] = data
        self._grow()

    def delete_execution(self, id: int) -> None:
        """Forget an execution that is closed on disk, with everything that belongs to it; its name is free at once."""
        self._batch.deleted.append(id)
        self._grow()

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call back once everything added so far is safe, in order."""
        self._batch.callbacks.append(callback)
        self._schedule()

    async def committed(self) -> None:
        """Wait until everything added so far is safe. Raises the journal's trouble; the data may then still be written later."""
        if self._batch.size == 0 and not self._batch.callbacks and not self._backlog and not self._unsynced:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._batch.waiters.append(waiter)
        self._schedule()
        await waiter

    def _grow(self) -> None:
        batch = self._batch
        batch.size += 1
        if not self._scheduled:
            self._schedule()
        elif batch.size >= BATCH_ROWS and not self._settling:
            self.flush()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._flush_turn)

    # -- committing

    def _flush_turn(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Write the batch now, unless a checkpoint holds the journal or it is in trouble."""
        if self._held or self.trouble is not None:
            return
        batch = self._batch
        self._batch = Batch(batch.number + 1)
        self._backlog.append(batch)
        self._write_backlog()

    def _write_backlog(self) -> None:
        while self._backlog:
            batch = self._backlog[0]
            if batch.size:
                try:
                    self._write(batch)
                except sqlite3.Error as error:
                    self._fail(error)
                    return
            del self._backlog[0]
            self.trouble = None
            if self._power and batch.size:
                self._unsynced.append(batch)
                self._sync_soon()
            elif self._unsynced:
                self._unsynced.append(batch)
            else:
                self._settle(batch)
        length = self._log_length()
        if length > self._checkpoint_at and self.directory is not None:
            if not self._checkpointing:
                self._checkpointing = True
                self._spawn(self._checkpoint(self.directory / FILE))
            elif length > 4 * self._checkpoint_at:
                self._held = True  # the copying cannot keep up: the log must not grow for ever

    def _write(self, batch: Batch) -> None:
        execute = self._connection.execute
        many = self._connection.executemany
        execute("BEGIN IMMEDIATE")
        try:
            # First, because a new execution may have the name of one that is deleted.
            for id in batch.deleted:
                low, high = id << KEY_BITS, id << KEY_BITS | KEY_MASK
                execute("DELETE FROM executions WHERE id = ?", (id,))
                execute("DELETE FROM inputs WHERE key BETWEEN ? AND ?", (low, high))
                execute("DELETE FROM history WHERE key BETWEEN ? AND ?", (low, high))
                execute("DELETE FROM snapshots WHERE id = ?", (id,))
                execute("DELETE FROM map_runs WHERE execution = ?", (id,))
            if batch.started:
                many(_INSERT_EXECUTION, [msgspec.structs.astuple(row) for row in batch.started.values()])
            if batch.outcomes:
                many(_UPDATE_EXECUTION, [(*msgspec.structs.astuple(o), id) for id, o in batch.outcomes.items()])
            if batch.inputs:
                many("INSERT INTO inputs VALUES (?, ?)", batch.inputs)
            if batch.history:
                many("INSERT INTO history VALUES (?, ?, ?)", batch.history)
            if batch.snapshots:
                many("INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?)", [(i, *s) for i, s in batch.snapshots.items()])
            if batch.opened:
                opened = [(id, *state) for id, state in batch.opened.items() if state is not None]
                closed = [(id,) for id, state in batch.opened.items() if state is None]
                many("INSERT OR REPLACE INTO open_executions VALUES (?, ?, ?)", opened)
                many("DELETE FROM open_executions WHERE id = ?", closed)
            if batch.map_runs:
                many(
                    "INSERT OR REPLACE INTO map_runs VALUES (?, ?, ?, ?)", [(a, *m) for a, m in batch.map_runs.items()]
                )
            if batch.documents:
                kept = [(*key, data) for key, data in batch.documents.items() if data is not None]
                many("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", kept)
                gone = [key for key, data in batch.documents.items() if data is None]
                many("DELETE FROM documents WHERE kind = ? AND key = ?", gone)
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        self.commits += 1
        self.rows += batch.size

    def _settle(self, batch: Batch) -> None:
        self.safe = batch.number
        self._settling = True  # callbacks add to the next batch, which must not be settled before this one is
        try:
            for callback in batch.callbacks:
                try:
                    callback()
                except Exception:
                    log.exception("what should have followed a commit failed")
        finally:
            self._settling = False
        for waiter in batch.waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _fail(self, error: sqlite3.Error) -> None:
        trouble = self._explain(error)
        if self.trouble is None or type(self.trouble) is not type(trouble):
            log.error("the journal cannot be written: %s", trouble)
        self.trouble = trouble
        for batch in self._backlog:
            for waiter in batch.waiters:
                if not waiter.done():
                    waiter.set_exception(trouble)
            batch.waiters.clear()
        if not isinstance(trouble, JournalCorrupt) and self._loop is not None:
            self._loop.call_later(RETRY_SECONDS, self._retry)

    def _retry(self) -> None:
        was = self.trouble
        self._write_backlog()
        if was is not None and self.trouble is None:
            log.warning("the journal can be written again")
            self.flush()

    # -- waiting for the disk, off the loop

    def _sync_soon(self) -> None:
        if not self._syncing:
            self._syncing = True
            self._spawn(self._sync())

    async def _sync(self) -> None:
        wal = self._wal
        loop = asyncio.get_running_loop()
        try:
            while self._unsynced and wal is not None:
                count = len(self._unsynced)
                await loop.run_in_executor(None, sync_file, wal)
                synced, self._unsynced = self._unsynced[:count], self._unsynced[count:]
                for batch in synced:
                    self._settle(batch)
        except OSError as error:
            # After a failed fsync nobody knows what is on the disk: stop rather than acknowledge.
            self.trouble = JournalCorrupt(
                f"{self.directory} failed to sync ({error}); restart to recover what is on disk"
            )
            for batch in self._unsynced:
                for waiter in batch.waiters:
                    if not waiter.done():
                        waiter.set_exception(self.trouble)
        finally:
            self._syncing = False

    async def _checkpoint(self, path: Path) -> None:
        loop = asyncio.get_running_loop()
        commits = self.commits
        try:
            whole = await loop.run_in_executor(None, _checkpoint_file, path)
            if self.commits != commits:
                # SQLite begins the log anew only when all of it was copied: the little that came meanwhile is copied
                # while the next batch waits.
                self._held = True
                whole = await loop.run_in_executor(None, _checkpoint_file, path)
            # Begun anew, the log is cut to its limit. While a reader, a backup say, keeps it from that, it grows on.
            self._checkpoint_at = CHECKPOINT_BYTES + (0 if whole else self._log_length())
        except sqlite3.Error as error:
            log.warning("the journal's checkpoint failed and is tried again later: %s", error)
        finally:
            self._checkpointing = False
            if self._held:
                self._held = False
                self.flush()

    def _log_length(self) -> int:
        try:
            return 0 if self._log_file is None else os.stat(self._log_file).st_size  # noqa: PTH116  at every commit
        except OSError:
            return 0

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # -- reading

    def _read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def starting(self, resource: str, name: str) -> ExecutionRow | None:
        """An execution of that name that is in the batch and not yet on disk."""
        key = (resource, name)
        for batch in (self._batch, *self._backlog):
            row = batch.names.get(key)
            if row is not None:
                return row
        return None

    def execution(self, id: int) -> ExecutionRow | None:
        """The row of an execution."""
        rows = self._read("SELECT * FROM executions WHERE id = ?", (id,))
        return ExecutionRow(*rows[0]) if rows else None

    def find(self, resource: str, name: str) -> ExecutionRow | None:
        """The row of the execution of that name."""
        rows = self._read("SELECT * FROM executions WHERE resource = ? AND name = ?", (resource, name))
        return ExecutionRow(*rows[0]) if rows else None

    def status(self, resource: str, name: str) -> tuple[int, str] | None:
        """(id, status) of the execution of that name."""
        rows = self._read("SELECT id, status FROM executions WHERE resource = ? AND name = ?", (resource, name))
        return rows[0] if rows else None

    def children(self, map_run: str, after: int, limit: int) -> list[ExecutionRow]:
        """The child executions of a map run with an id greater than `after`, oldest first."""
        sql = "SELECT * FROM executions WHERE map_run = ? AND id > ? ORDER BY id LIMIT ?"
        return [ExecutionRow(*row) for row in self._read(sql, (map_run, after, limit))]

    def executions(
        self,
        *,
        resource: str | None = None,
        map_run: str | None = None,
        status: str | None = None,
        version: int | None = None,
        alias: str | None = None,
        redriven: bool | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[ExecutionRow]:
        """Executions, newest first, without their payloads; `before` is the id after which to go on."""
        conditions: list[tuple[str, Any]] = []
        for column, value in (("resource", resource), ("map_run", map_run), ("version", version), ("alias", alias)):
            if value is not None:
                conditions.append((f"e.{column} = ?", value))
        if resource is None and map_run is None:
            conditions.append(("e.resource NOT LIKE ?", "%:express"))  # rows of `mapruns`, which are no executions
        if status == "RUNNING":
            conditions.append(("e.id IN (SELECT id FROM open_executions) AND e.status = ?", status))
        elif status == "SUCCEEDED":
            conditions.append(("e.status = ?", status))
        elif status is not None:
            conditions.append(("e.status NOT IN ('RUNNING', 'SUCCEEDED') AND e.status = ?", status))
        if redriven is not None:
            conditions.append(("(e.redrive_count > 0) = ?", int(redriven)))
        if before is not None:
            conditions.append(("e.id < ?", before))
        where = " AND ".join(text for text, _ in conditions) or "1"
        rows = self._read(
            f"SELECT {_LIST_COLUMNS} FROM executions e WHERE {where} ORDER BY e.id DESC LIMIT ?",  # noqa: S608
            [*(value for _, value in conditions), limit],
        )
        return [ExecutionRow(*row) for row in rows]

    def open_executions(self) -> list[tuple[int, int, int | None, str]]:
        """(id, busy, wake, resource) of every open execution, oldest first."""
        return self._read("SELECT id, busy, wake, resource FROM open_executions JOIN executions USING (id) ORDER BY id")

    def open_count(self) -> int:
        """How many executions are open."""
        return int(self._read("SELECT count(*) FROM open_executions")[0][0])

    def inputs(self, id: int, after: int = 0) -> list[tuple[int, bytes]]:
        """(sequence, event) of an execution's inputs after a sequence number, in order."""
        low, high = id << KEY_BITS | (after + 1), id << KEY_BITS | KEY_MASK
        rows = self._read("SELECT key, data FROM inputs WHERE key BETWEEN ? AND ? ORDER BY key", (low, high))
        return [(key & KEY_MASK, data) for key, data in rows]

    def snapshot(self, id: int) -> tuple[int, bytes] | None:
        """(sequence, state): the newest snapshot."""
        rows = self._read("SELECT sequence, data FROM snapshots WHERE id = ?", (id,))
        return rows[0] if rows else None

    def history(self, id: int, first: int, limit: int, *, reverse: bool = False) -> list[tuple[int, int, bytes]]:
        """Chunks (first, last, JSON array) that hold the events from `first` on (downwards if `reverse`), enough for `limit`."""
        low, high = id << KEY_BITS, id << KEY_BITS | KEY_MASK
        chunks: list[tuple[int, int, bytes]] = []
        if reverse:
            sql = "SELECT key, last, data FROM history WHERE key BETWEEN ? AND ? ORDER BY key DESC"
            parameters = (low, low | first)
        else:
            sql = "SELECT key, last, data FROM history WHERE key BETWEEN ? AND ? AND last >= ? ORDER BY key"
            start = self._read("SELECT max(key) FROM history WHERE key BETWEEN ? AND ?", (low, low | first))[0][0]
            parameters = (start or low, high, first)  # type: ignore[assignment]
        count = 0
        try:
            for key, last, data in self._connection.execute(sql, parameters):
                chunks.append((key & KEY_MASK, last, unpack(data)))
                count += (
                    (first - (key & KEY_MASK) + 1) if reverse and not count else last - max(key & KEY_MASK, first) + 1
                )
                if count >= limit:
                    break
        except sqlite3.Error as error:
            raise self._explain(error) from error
        except PackingError as error:
            raise JournalCorrupt(
                f"the history of execution {id} in {self.directory}/{FILE} is damaged ({error}); restore a backup"
            ) from error
        return chunks

    def last_event(self, id: int) -> int:
        """The id of the last history event on disk; 0 if there is none."""
        low, high = id << KEY_BITS, id << KEY_BITS | KEY_MASK
        rows = self._read("SELECT last FROM history WHERE key BETWEEN ? AND ? ORDER BY key DESC LIMIT 1", (low, high))
        return int(rows[0][0]) if rows else 0

    def map_run(self, arn: str) -> tuple[int, bytes] | None:
        """(execution, record) of a map run."""
        rows = self._read("SELECT execution, data FROM map_runs WHERE arn = ?", (arn,))
        return rows[0] if rows else None

    def map_runs(self, execution: int, *, limit: int, offset: int = 0) -> list[bytes]:
        """The records of an execution's map runs, newest first."""
        sql = "SELECT data FROM map_runs WHERE execution = ? ORDER BY start DESC, arn LIMIT ? OFFSET ?"
        return [row[0] for row in self._read(sql, (execution, limit, offset))]

    def documents(self, kind: str) -> list[tuple[str, bytes]]:
        """(key, data) of every document of a kind, by key."""
        return self._read("SELECT key, data FROM documents WHERE kind = ? ORDER BY key", (kind,))

    def document(self, kind: str, key: str) -> bytes | None:
        """One document."""
        rows = self._read("SELECT data FROM documents WHERE kind = ? AND key = ?", (kind, key))
        return rows[0][0] if rows else None

    def closed_before(self, stop: int, *, newest: int | None, after: int, limit: int) -> tuple[list[int], int]:
        """Among the `limit` executions with an id greater than `after`, those to forget.

        They ended before a time (milliseconds), or are not of the `newest` ones by their start. Children of an open execution
        stay, and so does an execution whose children are there. Gives the id to go on after too; 0 when none of the rest
        can be among them.
        """
        last = 0 if newest is None else self._last_id - newest
        sql = """
            SELECT id, start, iif(
                parent IN (SELECT id FROM open_executions)
                OR EXISTS (
                    SELECT 1 FROM map_runs JOIN executions AS child ON child.map_run = arn
                    WHERE map_runs.execution = executions.id
                ), NULL, stop)
            FROM executions WHERE id > ? ORDER BY id LIMIT ?"""
        rows = self._read(sql, (after, limit))
        found = [id for id, _, stopped in rows if stopped is not None and (stopped < stop or id <= last)]
        return found, rows[-1][0] if rows and (rows[-1][1] < stop or rows[-1][0] < last) else 0

    def shrink(self, pages: int) -> bool:
        """Give up to that many free pages back to the file system if a quarter of the file is free; whether it did.

        Pages that are not given back are used for what is written next. Directories of the first release keep theirs.
        """
        if self._held or self.trouble is not None:
            return False
        free, size = (self._read(f"PRAGMA {name}")[0][0] for name in ("freelist_count", "page_count"))
        if free * 4 < size or free < SHRINK_PAGES:
            return False
        try:
            self._connection.execute(f"PRAGMA incremental_vacuum({pages})").fetchall()
        except sqlite3.Error:
            return False  # no room in the log, or another program's lock: it is not urgent
        return bool(self._read("PRAGMA freelist_count")[0][0] < free)

    def first_closed(self) -> int | None:
        """When the closed execution that was started first ended (milliseconds); None if all are open."""
        rows = self._read("SELECT stop FROM executions WHERE stop IS NOT NULL ORDER BY id LIMIT 1")
        return rows[0][0] if rows else None


_COLUMNS = ExecutionRow.__struct_fields__
_INSERT_EXECUTION = f"INSERT INTO executions VALUES ({', '.join('?' for _ in _COLUMNS)})"  # noqa: S608
_UPDATE_EXECUTION = (
    f"UPDATE executions SET {', '.join(f'{name} = ?' for name in Outcome.__struct_fields__)} WHERE id = ?"  # noqa: S608
)
_LIST_COLUMNS = ", ".join(
    "x'' AS input" if name == "input" else "NULL AS output" if name == "output" else f"e.{name}" for name in _COLUMNS
)


def copy_database(path: Path, destination: Path) -> None:
    """Copy a SQLite file as of one moment, also while a process writes to it; the copy is checked. Raises JournalError."""
    source = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=OPEN_TIMEOUT)
    copy = sqlite3.connect(destination)
    try:
        source.backup(copy)
        found = copy.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.Error as error:
        raise JournalError(f"{path} could not be copied: {error}") from error
    finally:
        source.close()
        copy.close()
    if found != "ok":
        raise JournalCorrupt(f"{path} is damaged ({found}), and a copy would be too")


def _checkpoint_file(path: Path) -> bool:
    """Copy the log into the database on a connection of its own; whether it could copy all of it."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        busy, pages, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return bool(busy == 0 and pages == copied)
    finally:
        connection.close()
