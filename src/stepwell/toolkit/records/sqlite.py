"""Records in SQLite: a file a table, JSON bodies, and an entry for every record in every index it belongs to.

`mutate` is optimistic here as on DynamoDB: the function runs outside any lock, and the write is made only if the record still has
the version that was read. So a slow function holds nobody up, and a function may itself use the table.
"""

from __future__ import annotations

import base64
import json
import random
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from stepwell.toolkit.errors import RecordConflict, RecordExists, StorageError
from stepwell.toolkit.records import (
    MAX_TRANSACTION,
    Condition,
    Item,
    Key,
    KeyPart,
    Mutation,
    RecordPage,
    Schema,
    Table,
    rules,
    values,
)
from stepwell.toolkit.sqlite import Database

CONFLICT_SECONDS = 30.0
SWEEP_SECONDS = 600.0
"""How often a process that writes removes the records whose time is over, at most."""
_LAST_TEXT = "\U0010ffff" * 257
_LAST_BYTES = b"\xff" * 1025
_LAYOUT = """
CREATE TABLE records (
    hash NOT NULL, range NOT NULL, version INTEGER NOT NULL, expires INTEGER, body TEXT NOT NULL, PRIMARY KEY (hash, range)
) WITHOUT ROWID;
CREATE INDEX records_expires ON records (expires) WHERE expires IS NOT NULL;
CREATE TABLE entries (
    name TEXT NOT NULL, hash NOT NULL, range NOT NULL, record_hash NOT NULL, record_range NOT NULL,
    PRIMARY KEY (name, hash, range, record_hash, record_range)
) WITHOUT ROWID;
CREATE TABLE declared (what TEXT PRIMARY KEY, declaration TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE versions (last INTEGER NOT NULL);
INSERT INTO versions VALUES (0)
"""
_OPERATORS = {"=": "=", ">=": ">=", "<=": "<=", ">": ">", "<": "<"}

Row = tuple[str | bytes, str | bytes]
"""A key as the database has it; the range part is empty for tables without one."""


class SqliteTable(Table):
    """A table in `<data>/tables/<name>.sqlite3`."""

    def __init__(self, data: Path, name: str, schema: Schema) -> None:
        if not name or name.startswith(".") or not name.replace("-", "").replace(".", "").replace("_", "").isalnum():
            raise ValueError(f"table name {name!r} must consist of letters, digits, '.', '-' and '_'")
        self.name = name
        self.schema = schema
        self._database = Database(data / "tables" / f"{name}.sqlite3", _LAYOUT, 1)
        self._swept = time.monotonic()
        self._declare()

    def get(self, key: Key) -> Item | None:
        with self._database.read() as connection:
            found = _select(connection, self._row(key))
        return self._visible(found)

    def put(self, item: Item, *, if_absent: bool = False) -> None:
        new = values.normalize(item, self.schema)
        key = values.key_of(new, self.schema)
        row = self._row(key)
        with self._database.write() as connection:
            old = _select(connection, row)
            if if_absent and self._visible(old) is not None:
                raise RecordExists(f"there is a record {key!r} in table {self.name!r} already")
            self._store(connection, row, old, new)
        self._sweep()

    def delete(self, key: Key) -> None:
        row = self._row(key)
        with self._database.write() as connection:
            self._store(connection, row, _select(connection, row), None)

    def transact(self, mutations: Mapping[Key, Mutation]) -> dict[Key, Item | None]:
        if len(mutations) > MAX_TRANSACTION:
            raise ValueError(f"at most {MAX_TRANSACTION} records can be changed together, not {len(mutations)}")
        rows = {key: self._row(key) for key in mutations}
        deadline = time.monotonic() + CONFLICT_SECONDS
        attempt = 0
        while True:
            attempt += 1
            with self._database.read() as connection:
                before = {key: _select(connection, row) for key, row in rows.items()}
            after = {
                key: rules.apply(self.schema, key, function, self._visible(before[key]))
                for key, function in mutations.items()
            }
            changed = [key for key in mutations if _body(before[key]) != _dump(after[key])]
            if not changed and len(mutations) == 1:
                return after
            with self._database.write() as connection:
                untouched = all(_version(connection, rows[key]) == _version_of(before[key]) for key in mutations)
                for key in changed if untouched else ():
                    self._store(connection, rows[key], before[key], after[key])
            if untouched:
                self._sweep()
                return after
            if time.monotonic() > deadline:
                names = ", ".join(repr(key) for key in mutations)
                raise RecordConflict(
                    f"record {names} of table {self.name!r} changed {attempt} times while being mutated"
                )
            time.sleep(random.uniform(0, min(0.0005 * 2**attempt, 0.05)))

    def query_page(
        self,
        value: KeyPart,
        *,
        index: str | None = None,
        sort: Condition | None = None,
        descending: bool = False,
        limit: int = 1000,
        after: str | None = None,
    ) -> RecordPage:
        rules.check_limit(limit)
        hash_name, range_name = rules.index_attributes(self.schema, self.name, index)
        values.check_key_value(hash_name, value, self.schema, values.MAX_HASH_BYTES)
        if index is None:
            source, order_by = "records r", ("r.range", "r.hash", "r.range")
            where, arguments = ["r.hash = ?"], [values.sortable(value)]
        else:
            source = "entries e JOIN records r ON r.hash = e.record_hash AND r.range = e.record_range"
            order_by = ("e.range", "e.record_hash", "e.record_range")
            where, arguments = ["e.name = ?", "e.hash = ?"], [index, values.sortable(value)]
        if sort is not None:
            text, extra = self._condition(sort, range_name, order_by[0])
            where.append(text)
            arguments += extra
        if after is not None:
            where.append(f"({', '.join(order_by)}) {'<' if descending else '>'} (?, ?, ?)")
            arguments += _parse_token(after)
        direction = "DESC" if descending else "ASC"
        ordering = ", ".join(f"{column} {direction}" for column in order_by)
        # Every part of the text is written in this module; values are bound.
        columns = f"{', '.join(order_by)}, r.expires, r.body"
        statement = f"SELECT {columns} FROM {source} WHERE {' AND '.join(where)} ORDER BY {ordering} LIMIT ?"  # noqa: S608
        with self._database.read() as connection:
            rows = connection.execute(statement, (*arguments, limit + 1)).fetchall()
        more = len(rows) > limit
        now = int(time.time())
        items = [values.load(body) for _, _, _, expires, body in rows[:limit] if expires is None or expires >= now]
        return RecordPage(items, _token(rows[limit - 1][:3]) if more else None)

    def batch_get(self, keys: Iterable[Key], *, attributes: Sequence[str] | None = None) -> dict[Key, Item]:
        rows = {key: self._row(key) for key in keys}
        found: dict[Key, Item] = {}
        with self._database.read() as connection:
            for key, row in rows.items():
                item = self._visible(_select(connection, row))
                if item is not None:
                    found[key] = values.project(item, attributes, self.schema)
        return found

    def batch_write(self, puts: Iterable[Item] = (), deletes: Iterable[Key] = ()) -> None:
        changes = rules.collect_writes(self.schema, puts, deletes)
        with self._database.write() as connection:
            for key, item in changes.items():
                row = self._row(key)
                self._store(connection, row, _select(connection, row), item)
        self._sweep()

    def scan(self) -> Iterator[Item]:
        last: tuple[str | bytes, str | bytes] | None = None
        while True:
            with self._database.read() as connection:
                rows = connection.execute(
                    "SELECT hash, range, expires, body FROM records WHERE ? OR (hash, range) > (?, ?) "
                    "ORDER BY hash, range LIMIT 500",
                    (last is None, *(last or ("", ""))),
                ).fetchall()
            now = int(time.time())
            yield from (values.load(body) for _, _, expires, body in rows if expires is None or expires >= now)
            if len(rows) < 500:
                return
            last = rows[-1][:2]

    def remove_expired(self, *, now: float | None = None) -> int:
        """Remove records whose time is over (readers do not see them anyway); returns how many."""
        moment = int(time.time() if now is None else now)
        removed = 0
        while True:
            with self._database.write() as connection:
                rows = connection.execute(
                    "SELECT hash, range, version, expires, body FROM records WHERE expires < ? LIMIT 500", (moment,)
                ).fetchall()
                for hash_, range_, *old in rows:
                    self._store(connection, (hash_, range_), tuple(old), None)
            removed += len(rows)
            if len(rows) < 500:
                return removed

    def _sweep(self) -> None:
        if self.schema.ttl is not None and time.monotonic() - self._swept > SWEEP_SECONDS:
            self._swept = time.monotonic()
            self.remove_expired()

    def _row(self, key: Key) -> Row:
        parts = [values.sortable(part) for part in values.split_key(key, self.schema)]
        return (parts[0], parts[1] if len(parts) == 2 else "")

    def _visible(self, found: tuple[int, int | None, str] | None) -> Item | None:
        if found is None or (found[1] is not None and found[1] < int(time.time())):
            return None
        return values.load(found[2])

    def _store(
        self, connection: sqlite3.Connection, row: Row, old: tuple[int, int | None, str] | None, new: Item | None
    ) -> None:
        if old is not None:
            entries = self._entries(values.load(old[2]), row)
            connection.executemany(
                "DELETE FROM entries WHERE name = ? AND hash = ? AND range = ? AND record_hash = ? AND record_range = ?",
                entries,
            )
        if new is None:
            connection.execute("DELETE FROM records WHERE hash = ? AND range = ?", row)
            return
        # One counter for the table: a record that was removed and made again never has an old version.
        (version,) = connection.execute("UPDATE versions SET last = last + 1 RETURNING last").fetchone()
        connection.execute(
            "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)",
            (*row, version, self._expiry(new), values.dump(new)),
        )
        connection.executemany("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", self._entries(new, row))

    def _entries(self, item: Item, row: Row) -> list[tuple[str | bytes, ...]]:
        entries: list[tuple[str | bytes, ...]] = []
        for name, index in self.schema.indexes.items():
            if index.hash in item and (index.range is None or index.range in item):
                range_ = "" if index.range is None else values.sortable(item[index.range])
                entries.append((name, values.sortable(item[index.hash]), range_, *row))
        return entries

    def _expiry(self, item: Item) -> int | None:
        until = values.expiry(item, self.schema)
        return until if until is None or until < 2**62 else None

    def _condition(self, sort: Condition, name: str | None, column: str) -> tuple[str, list[str | bytes]]:
        rules.check_condition(sort, name, self.schema)
        arguments = [values.sortable(value) for value in sort.values]
        if sort.operator == "between":
            return f"{column} BETWEEN ? AND ?", arguments
        if sort.operator == "begins_with":
            first = arguments[0]
            last = first + _LAST_TEXT if isinstance(first, str) else first + _LAST_BYTES
            return f"{column} BETWEEN ? AND ?", [first, last]
        return f"{column} {_OPERATORS[sort.operator]} ?", arguments

    def _declare(self) -> None:
        """Compare the file with the declaration: a new index is filled, a removed one emptied, another key refused."""
        wanted = {"key": _key_text(self.schema)}
        if self.schema.ttl is not None:
            wanted["ttl"] = self.schema.ttl
        for name, index in self.schema.indexes.items():
            types = [self.schema.types.get(part, "S") for part in (index.hash, index.range) if part is not None]
            wanted[f"index {name}"] = json.dumps([index.hash, index.range, *types])
        with self._database.read() as connection:
            if dict(connection.execute("SELECT what, declaration FROM declared").fetchall()) == wanted:
                return
        with self._database.write() as connection:
            found = dict(connection.execute("SELECT what, declaration FROM declared").fetchall())
            if found and found["key"] != wanted["key"]:
                raise StorageError(
                    f"table {self.name!r} was made with key {found['key']} and is declared with key {wanted['key']}: "
                    f"give it another name, or move {self._database.path} away"
                )
            connection.execute("DELETE FROM declared")
            connection.executemany("INSERT INTO declared VALUES (?, ?)", wanted.items())
            if connection.execute("SELECT 1 FROM records").fetchone():
                connection.execute("DELETE FROM entries")
                for hash_, range_, body in connection.execute("SELECT hash, range, body FROM records").fetchall():
                    item = values.load(body)
                    connection.executemany(
                        "INSERT INTO entries VALUES (?, ?, ?, ?, ?)", self._entries(item, (hash_, range_))
                    )
                    connection.execute(
                        "UPDATE records SET expires = ? WHERE hash = ? AND range = ?",
                        (self._expiry(item), hash_, range_),
                    )


def _select(connection: sqlite3.Connection, row: Row) -> tuple[int, int | None, str] | None:
    found: tuple[int, int | None, str] | None = connection.execute(
        "SELECT version, expires, body FROM records WHERE hash = ? AND range = ?", row
    ).fetchone()
    return found


def _version(connection: sqlite3.Connection, row: Row) -> int:
    found = connection.execute("SELECT version FROM records WHERE hash = ? AND range = ?", row).fetchone()
    return 0 if found is None else int(found[0])


def _body(found: tuple[int, int | None, str] | None) -> str | None:
    return None if found is None else found[2]


def _dump(item: Item | None) -> str | None:
    return None if item is None else values.dump(item)


def _version_of(found: tuple[int, int | None, str] | None) -> int:
    return 0 if found is None else found[0]


def _key_text(schema: Schema) -> str:
    return json.dumps([f"{name}:{schema.types.get(name, 'S')}" for name in schema.key])


def _token(row: Sequence[str | bytes]) -> str:
    parts = [part if isinstance(part, str) else [base64.b64encode(part).decode()] for part in row]
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


def _parse_token(token: str) -> list[str | bytes]:
    try:
        parts = json.loads(base64.urlsafe_b64decode(token))
        parsed = [part if isinstance(part, str) else base64.b64decode(part[0]) for part in parts]
    except (ValueError, TypeError, IndexError, KeyError):
        raise ValueError("`after` is not the `next` of a page of this query") from None
    if len(parsed) != 3:
        raise ValueError("`after` is not the `next` of a page of this query")
    return parsed
