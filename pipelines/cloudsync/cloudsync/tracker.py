"""The sync tracker: one record an item, and the only legal ways from one status to the next (section 3.1).

* absent, PENDING, FAILED -> IN_PROGRESS: always
* IN_PROGRESS -> IN_PROGRESS: when the lease expired or is the same owner's
* IN_PROGRESS -> COMPLETED, FAILED: by the owner of the lease
* COMPLETED -> nothing
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from cloudsync.errors import CloudSyncError, storing
from stepwell.toolkit.records import Item, Table

PENDING, IN_PROGRESS, COMPLETED, FAILED = "PENDING", "IN_PROGRESS", "COMPLETED", "FAILED"
STATUS_INDEX = "status-sync_timestamp-index"
LEASE_SECONDS = 1_200
MAX_ERROR_CHARACTERS = 1_024
SOURCE_DELETED = "source_deleted"


class AlreadyCompleted(CloudSyncError):
    """The item is COMPLETED; nothing may change that. `row` is its record."""

    def __init__(self, row: Item) -> None:
        super().__init__(f"{row['media_id']} is archived already")
        self.row = row


class Leased(CloudSyncError):
    """Another execution is working on the item, or took it over."""


@dataclass(frozen=True)
class Transfer:
    """What a finished transfer has to say."""

    s3_etag: str
    bytes_transferred: int
    seconds: float
    delivered_quality: str
    size_mismatch: bool = False
    note: str | None = None

    @property
    def throughput_mbps(self) -> float:
        """Megabits a second; 0 for a transfer that took no measurable time."""
        return throughput_mbps(self.bytes_transferred, self.seconds)


class Tracker:
    """The table of items. `clock` gives epoch seconds."""

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    def now(self) -> str:
        """The present moment as every attribute has it."""
        return iso(self._clock())

    def get(self, media_id: str) -> Item | None:
        """The item's record."""
        with storing("tracker"):
            return self._table.get(media_id)

    def statuses(self, media_ids: Iterable[str]) -> Mapping[str, Item]:
        """Status and lease of those items that have a record. Raises StorageError rather than leave any item out."""
        with storing("tracker"):
            found = self._table.batch_get(
                dict.fromkeys(media_ids), attributes=["media_id", "status", "lease_expires_at"]
            )
        return {str(key): row for key, row in found.items()}

    def open(self, row: Item | None) -> bool:
        """Whether an item with this record still has to be archived, and nobody else is at it."""
        if row is None:
            return True
        if row.get("status") == IN_PROGRESS:
            return int(row.get("lease_expires_at", 0)) < self._clock()
        return row.get("status") != COMPLETED

    def begin(self, media_id: str, owner: str, listed: Mapping[str, Any], s3_key: str, first_seen_at: str) -> Item:
        """Take the item: IN_PROGRESS under a lease of 20 minutes. `listed`: provider, filename, file_size, upload_date.

        Raises AlreadyCompleted, or Leased when another owner's lease still runs.
        """

        def take(row: Item | None) -> Item:
            row = row or {}
            if row.get("status") == COMPLETED:
                raise AlreadyCompleted(row)
            if row.get("status") == IN_PROGRESS and row.get("lease_owner") != owner and not self.open(row):
                raise Leased(f"{media_id} is being archived by {row.get('lease_owner')}")
            return {
                **row,
                **listed,
                "first_seen_at": row.get("first_seen_at", first_seen_at),
                "s3_key": s3_key,
                **self._transition(IN_PROGRESS),
                "lease_owner": owner,
                "lease_expires_at": int(self._clock()) + LEASE_SECONDS,
            }

        return self._change(media_id, take)

    def note_received(self, media_id: str, owner: str, received: int, quality: str) -> None:
        """Record how long the body was, before the object is published.

        If the process dies between publishing and `complete`, the next attempt recognises the object by this and does not
        fetch it again. Also the last check that the lease is still held. Raises Leased, AlreadyCompleted.
        """

        def note(row: Item | None) -> Item:
            mine = self._mine(row, media_id, owner)
            return {
                **mine,
                "bytes_transferred": received,
                "delivered_quality": quality,
                "update_timestamp": self.now(),
                "lease_expires_at": int(self._clock()) + LEASE_SECONDS,
            }

        self._change(media_id, note)

    def complete(self, media_id: str, owner: str, transfer: Transfer) -> Item:
        """IN_PROGRESS to COMPLETED. Raises Leased, AlreadyCompleted."""

        def finish(row: Item | None) -> Item:
            done = _without_lease(self._mine(row, media_id, owner))
            for name in ("error_message", "error_type"):
                done.pop(name, None)
            done |= {
                **self._transition(COMPLETED),
                "s3_etag": transfer.s3_etag,
                "bytes_transferred": transfer.bytes_transferred,
                "transfer_duration": two_decimals(transfer.seconds),
                "throughput_mbps": two_decimals(transfer.throughput_mbps),
                "delivered_quality": transfer.delivered_quality,
                "size_mismatch": transfer.size_mismatch,
            }
            if transfer.note is not None:
                done["note"] = transfer.note
            return done

        return self._change(media_id, finish)

    def complete_deleted(self, media_id: str, owner: str) -> Item:
        """COMPLETED for an item that is gone from the service: no object was written."""

        def finish(row: Item | None) -> Item:
            done = _without_lease(self._mine(row, media_id, owner))
            for name in ("error_message", "error_type", "s3_key", "delivered_quality"):
                done.pop(name, None)
            return {**done, **self._transition(COMPLETED), "bytes_transferred": 0, "note": SOURCE_DELETED}

        return self._change(media_id, finish)

    def fail(self, media_id: str, owner: str, error: BaseException) -> Item:
        """IN_PROGRESS to FAILED, one more failure counted. Raises Leased, AlreadyCompleted."""

        def finish(row: Item | None) -> Item:
            failed = _without_lease(self._mine(row, media_id, owner))
            return {
                **failed,
                **self._transition(FAILED),
                "error_type": type(error).__name__[:MAX_ERROR_CHARACTERS],
                "error_message": str(error)[:MAX_ERROR_CHARACTERS],
                "retry_count": int(failed.get("retry_count", 0)) + 1,
            }

        return self._change(media_id, finish)

    def failed(self, *, newest_first: bool = False) -> Iterable[Item]:
        """FAILED records by the time they failed."""
        return self._table.query(FAILED, index=STATUS_INDEX, descending=newest_first)

    def _change(self, media_id: str, function: Callable[[Item | None], Item]) -> Item:
        with storing("tracker"):
            return self._table.mutate(media_id, function) or {}

    def _transition(self, status: str) -> dict[str, Any]:
        # The index is sorted by sync_timestamp: a record without it would be in no listing by status.
        now = self.now()
        return {"status": status, "update_timestamp": now, "sync_timestamp": now}

    def _mine(self, row: Item | None, media_id: str, owner: str) -> Item:
        if row is not None and row.get("status") == COMPLETED:
            raise AlreadyCompleted(row)
        if row is None or row.get("status") != IN_PROGRESS or row.get("lease_owner") != owner:
            holder = (row or {}).get("lease_owner", "nobody")
            raise Leased(
                f"{media_id} is not this execution's any more: status {(row or {}).get('status')}, held by {holder}"
            )
        return row


def _without_lease(row: Item) -> Item:
    return {name: value for name, value in row.items() if name not in ("lease_owner", "lease_expires_at")}


def throughput_mbps(received: int, seconds: float) -> float:
    """Megabits a second of `received` bytes in `seconds`; 0 when the time is 0."""
    return received * 8 / (seconds * 1_000_000) if seconds > 0 else 0.0


def two_decimals(value: float) -> Decimal:
    """A Decimal with two digits after the point: records hold no floats."""
    return Decimal(str(value)).quantize(Decimal("0.01"), ROUND_HALF_UP)


def iso(epoch: float) -> str:
    """UTC, ISO 8601, milliseconds, `Z`."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
