"""Claims: a photo belongs to one media document, but to several itineraries; at any time one job at most makes its label.

The CMS cannot say whose a label in `processing` is, and has no transactions. So whoever wants to label a photo first takes its
claim, a record that is changed atomically. A claim of a job that died is that job's own when it is tried again, and anybody's after
15 minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from stepwell import toolkit
from stepwell.toolkit.records import Item, Table

CLAIMS = "claims"
STALE_SECONDS = 15 * 60
"""After this time nobody makes a label any more."""


class Claims:
    """The claims of one job on labels. Safe for several threads."""

    def __init__(
        self, job_id: int | str, table: Table | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._job = str(job_id)
        self._table = table or toolkit.table(CLAIMS)
        self._clock = clock

    def take(self, media_id: int) -> bool:
        """Whether the photo is this job's now: it was free, its own, or of a job that has been silent for too long."""

        def taken(item: Item | None) -> Item:
            if self._elsewhere(item):
                raise _Taken
            return {"job": self._job, "until": int(self._clock() + STALE_SECONDS)}

        try:
            self._table.mutate(_key(media_id), taken)
        except _Taken:
            return False
        return True

    def drop(self, media_id: int) -> None:
        """Give the photo back, if it is this job's."""

        def dropped(item: Item | None) -> Item | None:
            return item if self._elsewhere(item) else None

        self._table.mutate(_key(media_id), dropped)

    def owners(self, media_ids: Iterable[int]) -> dict[int, bool]:
        """The claimed ones of these photos: True where the claim is this job's own, False where it is another job's."""
        ids = list(media_ids)
        found = self._table.batch_get([_key(id) for id in ids])
        live = {id: item for id in ids if (item := found.get(_key(id))) and int(item["until"]) > self._clock()}
        return {id: item["job"] == self._job for id, item in live.items()}

    def _elsewhere(self, item: Item | None) -> bool:
        return item is not None and item["job"] != self._job and int(item["until"]) > self._clock()


class _Taken(Exception):
    pass


def _key(media_id: int) -> str:
    return f"label:{media_id}"
