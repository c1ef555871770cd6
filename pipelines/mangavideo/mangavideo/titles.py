"""Titles: which comics were made into videos, are being made, or failed (section 3.3)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from mangavideo import times
from mangavideo.jobs import TERMINAL, Jobs
from stepwell.toolkit.records import Item, Table

MAX_ATTEMPTS = 3
STALE = timedelta(hours=26)


class Titles:
    """The table of processed comics. At most one job has a title at a time."""

    def __init__(self, table: Table, jobs: Jobs) -> None:
        self._table = table
        self._jobs = jobs

    def get(self, manga_id: str) -> Item | None:
        return self._table.get(manga_id)

    def claim(self, manga_id: str, title: str, job_id: str) -> bool:
        """Take a title for a job; False when it is done, has failed too often or too recently, or another job has it."""
        row = self._table.get(manga_id)
        if not self._free(row, job_id):
            return False
        seen = None if row is None else (row.get("claimed_by"), row.get("status"), row.get("attempts"))
        taken = False

        def take(now: Item | None) -> Item | None:
            nonlocal taken
            current = None if now is None else (now.get("claimed_by"), now.get("status"), now.get("attempts"))
            taken = current == seen
            if not taken:
                return now
            kept = {name: value for name, value in (now or {}).items() if name != "retry_after"}
            return {
                **kept,
                "title": title,
                "status": "claimed",
                "claimed_by": job_id,
                "claimed_at": times.iso(),
                "attempts": kept.get("attempts", 0),
            }

        self._table.mutate(manga_id, take)
        return taken

    def available(self, manga_id: str, job_id: str) -> bool:
        """Whether `claim` would succeed now."""
        return self._free(self._table.get(manga_id), job_id)

    def take_again(self, manga_id: str, job_id: str) -> None:
        """A person wants the failed job of this title tried again: its waiting time is over. Finished titles stay so."""

        def take(row: Item | None) -> Item | None:
            if row is None or row.get("status") != "failed":
                return row
            kept = {name: value for name, value in row.items() if name != "retry_after"}
            return {**kept, "status": "claimed", "claimed_by": job_id, "claimed_at": times.iso()}

        self._table.mutate(manga_id, take)

    def fail(self, manga_id: str, job_id: str) -> None:
        """The job that has this title could not make a video of it: not again for 24 hours times the attempts."""

        def mark(row: Item | None) -> Item | None:
            if row is None or row.get("status") != "claimed" or row.get("claimed_by") != job_id:
                return row
            attempts = int(row.get("attempts", 0)) + 1
            until = times.iso(times.now() + timedelta(hours=24 * attempts))
            return {**row, "status": "failed", "attempts": attempts, "retry_after": until}

        self._table.mutate(manga_id, mark)

    def complete(self, manga_id: str, title: str, youtube_url: str) -> None:
        """The video is out. A second call changes nothing."""

        def mark(row: Item | None) -> Item | None:
            if row is not None and row.get("status") == "completed":
                return row
            done = {"title": title, "youtube_url": youtube_url, "processed_at": times.iso(), "status": "completed"}
            return {"attempts": 0, **(row or {}), **done}

        self._table.mutate(manga_id, mark)

    def _free(self, row: Item | None, job_id: str) -> bool:
        if row is None:
            return True
        status: Any = row.get("status", "completed")
        if status == "completed":
            return False
        if status == "failed":
            return int(row.get("attempts", 0)) < MAX_ATTEMPTS and row.get("retry_after", "") <= times.iso()
        holder = row.get("claimed_by")
        if holder == job_id:
            return True
        job = self._jobs.get(str(holder)) if holder else None
        if job is None or job["status"] in TERMINAL or job.get("manga_id") != row["manga_id"]:
            # The claim comes before the job's record: one that has none (yet) is respected for a while.
            return job is not None or row.get("claimed_at", "") < times.iso(times.now() - STALE)
        if job["status"] in ("uploading", "awaiting_review"):
            return False
        return times.parsed(job["updated_at"]) < times.now() - STALE
