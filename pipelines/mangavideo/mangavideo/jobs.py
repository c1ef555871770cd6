"""Jobs: one record a video, from its creation to its end (sections 3.1 and 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

from mangavideo import times
from mangavideo.errors import JobNotFound
from stepwell.toolkit.records import Item, Table

STATUSES = (
    "pending",
    "fetching",
    "scripting",
    "tts",
    "rendering",
    "awaiting_review",
    "uploading",
    "completed",
    "failed",
)
TERMINAL = ("completed", "failed")
KEPT_DAYS = 90
INDEX = "status-created-index"


class Jobs:
    """The jobs table."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def get(self, job_id: str) -> Item | None:
        return self._table.get(job_id)

    def require(self, job_id: str) -> Item:
        """The job. Raises JobNotFound."""
        row = self._table.get(job_id)
        if row is None:
            raise JobNotFound(f"there is no job {job_id!r}")
        return row

    def open(self, job_id: str, manga_id: str, manga_title: str, execution_id: str) -> Item:
        """The job of this id: made, or taken up again for this title."""
        at = times.now()

        def begin(row: Item | None) -> Item:
            made = row or {
                "job_type": "chapter_video",
                "source": "mangadex",
                "created_at": times.iso(at),
                "created_date": times.business_date(at),
                "ttl": int((at + timedelta(days=KEPT_DAYS)).timestamp()),
            }
            return _without_failure(made) | {
                "manga_id": manga_id,
                "manga_title": manga_title,
                "source_url": f"https://mangadex.org/title/{manga_id}",
                "status": "fetching",
                "progress_pct": 0,
                "execution_id": execution_id,
                "updated_at": times.iso(at),
            }

        return self._table.mutate(job_id, begin) or {}

    def update(self, job_id: str, **changes: Any) -> Item:
        """Change attributes of an existing job; None removes one. Raises JobNotFound."""

        def change(row: Item | None) -> Item:
            if row is None:
                raise JobNotFound(f"there is no job {job_id!r}")
            merged = {**row, **changes, "updated_at": times.iso()}
            return {name: value for name, value in merged.items() if value is not None}

        return self._table.mutate(job_id, change) or {}

    def advance(self, job_id: str, status: str, progress: int, **changes: Any) -> Item:
        """Set status and progress, both at once."""
        return self.update(job_id, status=status, progress_pct=progress, **changes)

    def reopen(self, job_id: str, may: Callable[[Item], bool]) -> Item | None:
        """A failed job becomes pending again; None when `may` refuses it. Raises JobNotFound."""
        taken = False

        def change(row: Item | None) -> Item:
            nonlocal taken
            if row is None:
                raise JobNotFound(f"there is no job {job_id!r}")
            taken = may(row)
            if not taken:
                return row
            return _without_failure(row) | {
                "status": "pending",
                "progress_pct": 0,
                "retries": int(row.get("retries", 0)) + 1,
                "updated_at": times.iso(),
            }

        row = self._table.mutate(job_id, change)
        return row if taken else None

    def of_status(self, status: str) -> Iterator[Item]:
        """Jobs of a status, oldest first."""
        return self._table.query(status, index=INDEX)

    def all(self) -> Iterator[Item]:
        return self._table.scan()

    def due_upload(self) -> str | None:
        """The oldest job whose upload had to wait and may go now."""
        now = times.iso()
        for row in self.of_status("uploading"):
            if row.get("deferred_until") and row["deferred_until"] <= now:
                return str(row["job_id"])
        return None


def _without_failure(row: Item) -> Item:
    gone = ("error_message", "error_name", "failed_state", "failed_at")
    return {name: value for name, value in row.items() if name not in gone}
