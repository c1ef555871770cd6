"""The session store: jobs, items and overrides of a session, in one table (section 3).

Up to 15 functions write one job at once. Every change is a `mutate`: the record is read, changed and written under a condition, and
again when somebody else was faster, so that no update is lost. Counters are counted from the items, never added to, so that a
repeated attempt counts nothing twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from stepwell.toolkit.records import Item, Table, begins_with

TTL_SECONDS = 24 * 3600
TERMINAL = frozenset({"complete", "feedback", "error"})
SUCCESS = frozenset({"complete", "feedback"})
MAX_TEXT = 1000
MAX_IMPROVEMENT = 300
MAX_HISTORY = 10
MAX_RECORD = 380_000
"""Bytes, below the 409,600 of a record."""

STEPS: Mapping[str, tuple[str, ...]] = {
    "triage": ("TRIAGE#",),
    "selection": ("SELECTION#", "OVERRIDE#"),
    "enhancement": ("ENHANCE#",),
    "grouping": ("GROUP#",),
    "download": ("DOWNLOAD#",),
    "description": ("DESC#",),
    "publish": ("PUBLISH#",),
}
"""The steps in their order, with the record prefixes of each."""


class UnknownStep(ValueError):
    """A step that is not in `STEPS`; the message lists them."""


class NoSuchJob(LookupError):
    """A job that is not in the table (any more)."""


class SessionStore:
    """Records of all sessions. Raises the toolkit's errors."""

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    # -- sessions

    def claim(self, session: str, owner: str) -> bool:
        """Whether the session is `owner`'s; one that nobody has becomes his."""
        fresh = {
            "PK": _pk(session),
            "SK": "META",
            "status": "active",
            "ownerSub": owner,
            "tripContext": "",
            "uploadedKeys": [],
            "createdAt": self._now(),
            "expiresAt": self._expiry(),
        }
        found = self._get(session, "META")
        if found is None:
            found = self._table.mutate(
                (_pk(session), "META"), lambda record: record if record and self._alive(record) else fresh
            )
        return found is not None and found.get("ownerSub") == owner

    def describe(self, session: str, context: str, uploaded: Sequence[str]) -> None:
        """Note what the owner says of the trip, and what had been uploaded when a selection was started."""

        def change(record: Item | None) -> Item | None:
            if record is None:
                return None
            return {**record, "tripContext": context, "uploadedKeys": list(uploaded), "expiresAt": self._expiry()}

        self._table.mutate((_pk(session), "META"), change)

    def session(self, session: str) -> Item | None:
        """The session's record, or None."""
        return self._get(session, "META")

    # -- jobs

    def selection(self, session: str, job: str) -> Item | None:
        """A selection job with `id` and `sessionId`, or None."""
        return self._job(session, job, "SELECTION#")

    def put_selection(self, session: str, job: str, fields: Mapping[str, Any]) -> None:
        """Replace a selection job."""
        self._put(session, f"SELECTION#{job}", fields)

    def update_selection(self, session: str, job: str, change: Callable[[Item], Item | None]) -> Item:
        """Change a selection job; `change` gets its own copy and returns the new fields, or None to leave it. Raises NoSuchJob."""
        return self._update(session, f"SELECTION#{job}", change)

    def enhancement(self, session: str, job: str) -> Item | None:
        """An enhancement job with `id` and `sessionId`, or None."""
        return self._job(session, job, "ENHANCE#")

    def put_enhancement(self, session: str, job: str, fields: Mapping[str, Any]) -> None:
        """Replace an enhancement job."""
        self._put(session, f"ENHANCE#{job}", fitted(dict(fields)))

    def update_enhancement(self, session: str, job: str, change: Callable[[Item], Item | None]) -> Item:
        """Change an enhancement job, as `update_selection` does."""
        return self._update(session, f"ENHANCE#{job}", change)

    def set_item_result(self, session: str, job: str, index: int, fields: Mapping[str, Any]) -> tuple[int, int]:
        """Write what became of an item, with a terminal phase; returns how many items are done, and of how many.

        An item that succeeded is never turned into an error. Raises NoSuchJob, IndexError.
        """

        def change(record: Item) -> Item:
            item = record["items"][index]
            if fields.get("phase") == "error" and item.get("phase") in SUCCESS:
                return record
            if fields.get("phase") in SUCCESS:
                item.pop("error", None)
                item.setdefault("version", 1)
            item.update(bounded(fields))
            return recount(record)

        record = self.update_enhancement(session, job, change)
        return int(record["completedCount"]), int(record["totalCount"])

    def set_item_fields(self, session: str, job: str, index: int, fields: Mapping[str, Any]) -> None:
        """Write attributes of an item. A phase of progress does not replace a terminal one (a repeated attempt may report it)."""

        def change(record: Item) -> Item | None:
            item = record["items"][index]
            if "phase" in fields and item.get("phase") in TERMINAL:
                return None
            item.update(bounded(fields))
            if record.get("status") == "pending":
                record["status"] = "processing"
            return record

        self.update_enhancement(session, job, change)

    def set_status_complete(self, session: str, job: str) -> Item:
        """End an enhancement job if all its items ended: `complete`, or `error` when not one succeeded."""
        return self.update_enhancement(session, job, lambda record: conclude(recount(record)))

    # -- overrides

    def override(self, session: str, job: str) -> Item:
        """The reviewer's changes to a selection: `added` and `removed` keys, `finalized`."""
        return self._get(session, f"OVERRIDE#{job}") or {"added": [], "removed": [], "finalized": False}

    def update_override(self, session: str, job: str, change: Callable[[Item], Item]) -> Item:
        """Change the overrides of a job, which begin empty."""
        key = (_pk(session), f"OVERRIDE#{job}")

        def mutation(record: Item | None) -> Item:
            alive = record is not None and self._alive(record)
            current = _record(record) if record and alive else {"added": [], "removed": [], "finalized": False}
            return {**_stored(change(current)), "PK": key[0], "SK": key[1], "expiresAt": self._expiry()}

        stored = self._table.mutate(key, mutation)
        assert stored is not None
        return _record(stored)

    # -- invalidation

    def invalidate(self, session: str, step: str) -> list[str]:
        """Delete the records of a step and of all later ones; returns their sort keys. Raises UnknownStep."""
        if step not in STEPS:
            raise UnknownStep(f"fromStep must be one of {', '.join(STEPS)}")
        later = list(STEPS)[list(STEPS).index(step) :]
        doomed = [
            str(row["SK"])
            for name in later
            for prefix in STEPS[name]
            for row in self._table.query(_pk(session), sort=begins_with(prefix))
        ]
        self._table.batch_write(deletes=[(_pk(session), sort) for sort in doomed])
        return doomed

    # -- within

    def _now(self) -> int:
        return int(self._clock())

    def _expiry(self) -> int:
        return self._now() + TTL_SECONDS

    def _get(self, session: str, sort: str) -> Item | None:
        record = self._table.get((_pk(session), sort))
        return _record(record) if record is not None and self._alive(record) else None

    def _alive(self, record: Item) -> bool:
        """The store removes expired records some time later; until then they count as gone."""
        return int(record.get("expiresAt", 0)) >= self._now()

    def _job(self, session: str, job: str, prefix: str) -> Item | None:
        record = self._get(session, f"{prefix}{job}")
        if record is None:
            return None
        return {
            **{name: value for name, value in record.items() if name not in ("PK", "SK")},
            "id": job,
            "sessionId": session,
        }

    def _put(self, session: str, sort: str, fields: Mapping[str, Any]) -> None:
        self._table.put(
            {**_stored(dict(fields)), "PK": _pk(session), "SK": sort, "expiresAt": self._expiry()},
        )

    def _update(self, session: str, sort: str, change: Callable[[Item], Item | None]) -> Item:
        def mutation(record: Item | None) -> Item:
            if record is None or not self._alive(record):
                raise NoSuchJob(sort.partition("#")[2])
            changed = change(_record(record))
            return record if changed is None else {**_stored(fitted(changed)), "expiresAt": self._expiry()}

        stored = self._table.mutate((_pk(session), sort), mutation)
        assert stored is not None
        return _record(stored)


def recount(record: Item) -> Item:
    """The record with its counters as its items say."""
    phases = [item.get("phase") for item in record["items"]]
    record["totalCount"] = len(phases)
    record["completedCount"] = sum(phase in TERMINAL for phase in phases)
    record["failedCount"] = sum(phase == "error" for phase in phases)
    return record


def conclude(record: Item) -> Item:
    """The record with its final status, if all its items ended."""
    if record["completedCount"] >= record["totalCount"]:
        if record["failedCount"] < record["totalCount"]:
            record["status"] = "complete"
            record.pop("error", None)
        else:
            record["status"] = "error"
            record["error"] = "all items failed"
    return record


def bounded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Item fields cut so that 150 of them fit a record."""
    cut = dict(fields)
    if cut.get("phase1Text"):
        cut["phase1Text"] = cut["phase1Text"][:MAX_TEXT]
    if cut.get("analysis"):
        cut["analysis"] = {
            **cut["analysis"],
            "overallAssessment": str(cut["analysis"].get("overallAssessment", ""))[:MAX_IMPROVEMENT],
            "remainingImprovements": [
                {name: value[:MAX_IMPROVEMENT] if isinstance(value, str) else value for name, value in found.items()}
                for found in cut["analysis"].get("remainingImprovements", [])[:7]
            ],
        }
    if cut.get("feedbackHistory"):
        cut["feedbackHistory"] = [
            {
                **entry,
                "userFeedback": entry["userFeedback"][:MAX_TEXT],
                "modelResponse": entry["modelResponse"][:MAX_IMPROVEMENT],
            }
            for entry in cut["feedbackHistory"][-MAX_HISTORY:]
        ]
    return cut


def fitted(record: Item) -> Item:
    """The record within MAX_RECORD: when 150 items all use their limits, what is said about them is cut further, never what they are."""
    for limit, exchanges in ((300, 5), (120, 3), (40, 1)):
        if len(json.dumps(record, ensure_ascii=False).encode()) <= MAX_RECORD or "items" not in record:
            break
        for item in record["items"]:
            if "phase1Text" in item:
                item["phase1Text"] = item["phase1Text"][:limit]
            if item.get("analysis"):
                said = item["analysis"]
                said["overallAssessment"] = str(said.get("overallAssessment", ""))[:limit]
                said["remainingImprovements"] = [
                    {name: value[:limit] if isinstance(value, str) else value for name, value in found.items()}
                    for found in said.get("remainingImprovements", [])[:exchanges]
                ]
            if item.get("feedbackHistory"):
                item["feedbackHistory"] = [
                    {
                        **entry,
                        "userFeedback": entry["userFeedback"][:limit],
                        "modelResponse": entry["modelResponse"][:limit],
                    }
                    for entry in item["feedbackHistory"][-exchanges:]
                ]
    return record


def _pk(session: str) -> str:
    return f"SESSION#{session}"


def _stored(value: Any) -> Any:
    """What a record can hold: floats become decimals."""
    if isinstance(value, float):
        return Decimal(str(value))
    if isinstance(value, Mapping):
        return {name: _stored(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_stored(item) for item in value]
    return value


def _record(stored: Item) -> Item:
    return {name: _plain(value) for name, value in stored.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
