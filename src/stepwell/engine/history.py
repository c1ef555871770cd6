"""Pages of an execution's history, cut from the journal's chunks."""

from __future__ import annotations

from typing import Any

import orjson

from stepwell.engine.journal import Journal

__all__ = ["read_history", "without_data"]

PAGE_BYTES = 8 * 1024 * 1024
"""A page ends early when it gets longer than this (one event can hold 256 KiB)."""

_DATA = ("input", "output")


def read_history(
    journal: Journal, execution: int, first: int | None, limit: int, *, reverse: bool, include_data: bool
) -> tuple[bytes, int | None]:
    """Events from id `first` on (None: the begin, or the end if `reverse`) as a JSON array, and the id of the next page's first."""
    if first is None:
        first = journal.last_event(execution) if reverse else 1
    if reverse or not include_data:
        return _parsed(journal, execution, first, limit, reverse, include_data)
    parts: list[bytes] = []
    size = 0
    left = limit
    following: int | None = None
    for start, last, data in journal.history(execution, first, limit + 1):
        if left <= 0 or (size > PAGE_BYTES and parts):
            following = max(start, first)
            break
        if start >= first and last - start < left:
            parts.append(data[1:-1])
            left -= last - start + 1
        else:
            events = orjson.loads(data)[max(first - start, 0) :][:left]
            left -= len(events)
            parts.append(orjson.dumps(events)[1:-1])
            if events[-1]["id"] < last:
                following = events[-1]["id"] + 1
                break
        size += len(parts[-1])
    return b"[" + b",".join(parts) + b"]", following


def _parsed(
    journal: Journal, execution: int, first: int, limit: int, reverse: bool, include_data: bool
) -> tuple[bytes, int | None]:
    events: list[dict[str, Any]] = []
    size = 0
    following: int | None = None
    for _, _, data in journal.history(execution, first, limit + 1, reverse=reverse):
        chunk: list[dict[str, Any]] = orjson.loads(data)
        if reverse:
            chunk.reverse()
        for event in chunk:
            if (event["id"] > first) if reverse else (event["id"] < first):
                continue
            if len(events) >= limit or (size > PAGE_BYTES and events):
                following = event["id"]
                break
            events.append(event if include_data else without_data(event))
        size += len(data)
        if following is not None:
            break
    return orjson.dumps(events), following


def without_data(event: dict[str, Any]) -> dict[str, Any]:
    """The event as AWS gives it with includeExecutionData false: payloads left out, their details say so."""
    stripped = dict(event)
    for key, details in event.items():
        if isinstance(details, dict):
            kept = {name: value for name, value in details.items() if name not in _DATA}
            stripped[key] = kept
    return stripped
