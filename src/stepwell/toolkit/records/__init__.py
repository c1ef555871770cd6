"""Records: items under a key, in a table, with declared indexes.

One port, `Table`, with two adapters: `sqlite.SqliteTable` and `dynamodb.DynamoTable`. The promises are DynamoDB's: a read by
key sees every acknowledged write; a write survives `kill -9` once acknowledged; reads by index may lag on DynamoDB.

Values are what DynamoDB can hold: str, bool, None, int, Decimal, bytes, and lists and string-keyed dicts of these. Numbers
have at most 38 significant digits and are read back as `int` when integral and as `Decimal` otherwise. A float is refused
(TypeError): say `Decimal(str(x))`. A record has at most 409,600 bytes.
Source: https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

Item = dict[str, Any]
KeyPart = str | int | Decimal | bytes
Key = KeyPart | tuple[KeyPart, KeyPart]
"""A partition key, or a pair of partition key and sort key when the table declares both."""
Mutation = Callable[[Item | None], Item | None]
KeyType = Literal["S", "N", "B"]

MAX_RECORD_BYTES = 409_600
MAX_TRANSACTION = 100


@dataclass(frozen=True, slots=True)
class Index:
    """A declared index: records that lack one of its attributes are not in it."""

    hash: str
    range: str | None = None


@dataclass(frozen=True, slots=True)
class Schema:
    """What `stepwell.toml` says of a table.

    `key`: one or two attribute names. `types`: "S" (default), "N" or "B" for key and index attributes. `ttl`: the attribute
    that holds the epoch second after which a record is treated as absent (and removed some time later).
    """

    key: tuple[str, ...]
    indexes: Mapping[str, Index] = field(default_factory=dict)
    types: Mapping[str, KeyType] = field(default_factory=dict)
    ttl: str | None = None


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on a sort key; made by `equals`, `begins_with`, `between`, `at_least`, `at_most`, `above`, `below`."""

    operator: Literal["=", "begins_with", "between", ">=", "<=", ">", "<"]
    values: tuple[KeyPart, ...]


def equals(value: KeyPart) -> Condition:
    """Sort key equal to the value."""
    return Condition("=", (value,))


def begins_with(prefix: str) -> Condition:
    """Sort key (a string) that starts with the prefix."""
    return Condition("begins_with", (prefix,))


def between(low: KeyPart, high: KeyPart) -> Condition:
    """Sort key from low to high, both included."""
    return Condition("between", (low, high))


def at_least(value: KeyPart) -> Condition:
    """Sort key equal to or above the value."""
    return Condition(">=", (value,))


def at_most(value: KeyPart) -> Condition:
    """Sort key equal to or below the value."""
    return Condition("<=", (value,))


def above(value: KeyPart) -> Condition:
    """Sort key above the value."""
    return Condition(">", (value,))


def below(value: KeyPart) -> Condition:
    """Sort key below the value."""
    return Condition("<", (value,))


@dataclass(frozen=True, slots=True)
class RecordPage:
    """Some items in the order of the sort key; `next` is None on the last page, else what `after` takes."""

    items: list[Item]
    next: str | None


class Table(ABC):
    """Records of one table. Safe to use from several threads and several processes."""

    name: str
    schema: Schema

    @abstractmethod
    def get(self, key: Key) -> Item | None:
        """The record, or None. Strongly consistent. The dict is the caller's own."""

    @abstractmethod
    def put(self, item: Item, *, if_absent: bool = False) -> None:
        """Write a whole record, replacing the one under its key. With `if_absent` raises `RecordExists` instead."""

    @abstractmethod
    def delete(self, key: Key) -> None:
        """Remove a record; removing what is not there is no error."""

    @abstractmethod
    def transact(self, mutations: Mapping[Key, Mutation]) -> dict[Key, Item | None]:
        """Mutate up to 100 records of this table all or none; the functions follow the rules of `mutate`."""

    @abstractmethod
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
        """One page of records whose partition key (of the table, or of `index`) is `value`, by sort key.

        `limit` is 1 to 1,000; a page may hold fewer and still have a `next` (DynamoDB reads 1 MB a page).
        """

    @abstractmethod
    def batch_get(self, keys: Iterable[Key], *, attributes: Sequence[str] | None = None) -> dict[Key, Item]:
        """The records that exist among `keys` (any number, repetitions allowed), strongly consistent.

        On DynamoDB: requests of 100 keys; unprocessed keys are asked for again, alone, after 1, 2 and 4 s, then
        `StorageError`. `attributes` limits what is read; the key attributes are always part of it.
        """

    @abstractmethod
    def batch_write(self, puts: Iterable[Item] = (), deletes: Iterable[Key] = ()) -> None:
        """Many unconditional writes, each on its own atomic, together not. A key may be named once only (ValueError)."""

    @abstractmethod
    def scan(self) -> Iterator[Item]:
        """Every record, in no promised order."""

    def mutate(self, key: Key, function: Mutation) -> Item | None:
        """Change one record by a function, with optimistic concurrency; returns what was stored.

        The function gets the record (its own copy) or None, and returns the new record, or None to remove it. It may be
        called several times and must have no effects but its result. An exception from it refuses the change: nothing is
        written and the exception reaches the caller. It must not change the key attributes (ValueError); in a new record
        they are filled in. Raises `RecordConflict` when other writers win for too long.
        """
        return self.transact({key: function})[key]

    def query(
        self,
        value: KeyPart,
        *,
        index: str | None = None,
        sort: Condition | None = None,
        descending: bool = False,
    ) -> Iterator[Item]:
        """Every record of a partition, page by page. See `query_page`."""
        after: str | None = None
        while True:
            page = self.query_page(value, index=index, sort=sort, descending=descending, after=after)
            yield from page.items
            after = page.next
            if after is None:
                return


__all__ = [
    "Condition",
    "Index",
    "Item",
    "Key",
    "KeyPart",
    "Mutation",
    "RecordPage",
    "Schema",
    "Table",
    "above",
    "at_least",
    "at_most",
    "begins_with",
    "below",
    "between",
    "equals",
]
