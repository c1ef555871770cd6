"""Item states: every change is a partial, conditional update, so that nobody's edit of the same record is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from embeddings.config import TRANSACTION
from embeddings.keys import ItemKey, now_iso
from stepwell.toolkit.records import Item, Mutation, Table

T = TypeVar("T")
_CLAIM = ("embedding_batch_id", "claimed_at", "claimed_by")


class ConditionFailed(Exception):
    """The record is not (any more) in the state the change needs."""


def chunks(values: Iterable[T], size: int = TRANSACTION) -> Iterator[list[T]]:
    """Lists of up to `size`."""
    iterator = iter(values)
    while chunk := list(islice(iterator, size)):
        yield chunk


def with_status(item: Item, status: str, **attributes: Any) -> Item:
    """The record in another state: its index entry moves with it."""
    return {**item, "embedding_status": status, "GSI1PK": f"EMBEDDING_STATUS#{status}", **attributes}


def claim(batch_id: str, run_id: str, moment: str, *, allowed: Sequence[str] = ("NONE",)) -> Mutation:
    """NONE -> PENDING, for this batch and run only; what this run claimed for it before stays as it is."""

    def change(item: Item | None) -> Item:
        if item is not None and _held(item, batch_id) and item.get("claimed_by") == run_id:
            return item
        if item is None or item.get("embedding_status", "NONE") not in allowed or item.get("is_noise"):
            raise ConditionFailed
        return with_status(
            {name: value for name, value in item.items() if name != "embedding_error"},
            "PENDING",
            embedding_batch_id=batch_id,
            claimed_at=moment,
            claimed_by=run_id,
            embedding_attempts=int(item.get("embedding_attempts") or 0) + 1,
        )

    return change


def unclaim(batch_id: str, run_id: str) -> Mutation:
    """Undo a claim that was made a moment ago: it counts as no attempt. Leaves what is not this run's alone."""

    def change(item: Item | None) -> Item | None:
        if not _held(item, batch_id):
            return item
        assert item is not None
        if item.get("claimed_by") != run_id:
            return item
        attempts = int(item.get("embedding_attempts") or 1) - 1
        return _without_claim(with_status(item, "NONE", embedding_attempts=attempts))

    return change


def release(table: Table, keys: Iterable[ItemKey], batch_id: str) -> int:
    """PENDING -> NONE for those that this batch still holds; how many there were."""
    return _each(table, keys, batch_id, lambda item: _without_claim(with_status(item, "NONE")))


def fail(table: Table, keys: Iterable[ItemKey], batch_id: str, error: str) -> int:
    """PENDING -> FAILED for those that this batch still holds; how many there were."""
    return _each(table, keys, batch_id, lambda item: with_status(item, "FAILED", embedding_error=error[:500]))


def succeed(table: Table, keys: Iterable[ItemKey], batch_id: str) -> tuple[int, int]:
    """PENDING -> SUCCESS for those that this batch still holds, in transactions; how many, and how many were skipped."""
    marked = skipped = 0

    def change(item: Item | None) -> Item:
        if not _held(item, batch_id):
            raise ConditionFailed
        assert item is not None
        return with_status(item, "SUCCESS")

    for some in chunks(keys):
        try:
            table.transact({key.record: change for key in some})
            marked += len(some)
        except ConditionFailed:
            for key in some:
                try:
                    table.mutate(key.record, change)
                    marked += 1
                except ConditionFailed:
                    skipped += 1
    return marked, skipped


def _each(table: Table, keys: Iterable[ItemKey], batch_id: str, change: Callable[[Item], Item]) -> int:
    count = 0
    for some in chunks(sorted(keys)):
        counted: set[ItemKey] = set()

        def one(key: ItemKey, counted: set[ItemKey] = counted) -> Mutation:
            def mutation(item: Item | None) -> Item | None:
                counted.discard(key)
                if not _held(item, batch_id):
                    return item
                counted.add(key)
                assert item is not None
                return change(item)

            return mutation

        table.transact({key.record: one(key) for key in some})
        count += len(counted)
    return count


def _held(item: Item | None, batch_id: str) -> bool:
    return item is not None and item.get("embedding_status") == "PENDING" and item.get("embedding_batch_id") == batch_id


def _without_claim(item: Item) -> Item:
    return {name: value for name, value in item.items() if name not in _CLAIM}


def claim_all(table: Table, keys: Sequence[ItemKey], batch_id: str, run_id: str) -> bool:
    """Claim all of the items or none; False when another run owns one of them.

    A repetition by the same run, after a crash, finds what it claimed before and completes it.
    """
    change = claim(batch_id, run_id, now_iso())
    try:
        for some in chunks(keys):
            table.transact({key.record: change for key in some})
    except BaseException as error:
        for some in chunks(keys):
            table.transact({key.record: unclaim(batch_id, run_id) for key in some})
        if isinstance(error, ConditionFailed):
            return False
        raise
    return True
