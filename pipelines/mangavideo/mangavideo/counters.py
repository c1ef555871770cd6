"""Counters: how many videos were finished on a business date (section 3.4)."""

from __future__ import annotations

from mangavideo import times
from stepwell.toolkit.records import Item, Table


def count(table: Table, date: str | None = None) -> int:
    """Videos finished on a date, today's by default."""
    row = table.get(date or times.business_date())
    return int(row["count"]) if row else 0


def increment(table: Table, job_id: str) -> tuple[str, int]:
    """Count a job once, however often this is called; returns the business date and its count."""
    date = times.business_date()

    def add(row: Item | None) -> Item:
        jobs = list((row or {}).get("job_ids", []))
        if row is not None and job_id in jobs:
            return row
        return {"count": int((row or {}).get("count", 0)) + 1, "job_ids": [*jobs, job_id], "updated_at": times.iso()}

    row = table.mutate(date, add)
    return date, int(row["count"]) if row else 0
