"""A second import: what editors did to the itinerary survives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scraper.transform.richtext import Json
from scraper.transform.segments import normalised

Key = Callable[[Mapping[str, Any]], Any]


def merged(new: Json, stored: Mapping[str, Any]) -> Json:
    """The new import with the stored itinerary's edits: `xEnhanced` always, `xReviewed` where the imported text is the same.

    Days match by number, blocks by type and name, questions by their text. Slug, heroes and rows' ids are the stored ones'.
    """
    result = _pairs(new, stored)
    for group in ("overview", "investmentLevel"):
        # A group is replaced as a whole by the CMS: what the import does not know (toPrice) must be sent along.
        result[group] = {**(stored.get(group) or {}), **_pairs(new[group], stored.get(group) or {})}
    result["days"] = _rows(new["days"], stored.get("days") or [], lambda day: day.get("dayNumber"))
    old_days = {day.get("dayNumber"): day for day in stored.get("days") or []}
    for day in result["days"]:
        old = old_days.get(day["dayNumber"]) or {}
        day["segments"] = _rows(day["segments"], old.get("segments") or [], _block_key)
    result["faqItems"] = _rows(
        new["faqItems"], stored.get("faqItems") or [], lambda item: normalised(item.get("questionItrvl"))
    )
    result["slug"] = stored.get("slug") or new["slug"]
    return result


def _block_key(block: Mapping[str, Any]) -> Any:
    name = (
        block.get("accommodationNameItrvl")
        or block.get("accommodationName")
        or block.get("titleItrvl")
        or block.get("title")
    )
    return block.get("blockType"), normalised(name)


def _rows(new: Sequence[Json], stored: Sequence[Mapping[str, Any]], key: Key) -> list[Json]:
    """Rows with the edits of those they match; of several with one key the first matches the first."""
    waiting: dict[Any, list[Mapping[str, Any]]] = {}
    for row in stored:
        waiting.setdefault(key(row), []).append(row)
    result = []
    for row in new:
        matching = waiting.get(key(row))
        result.append(_pairs(row, matching.pop(0)) if matching else dict(row))
    return result


def _pairs(new: Mapping[str, Any], stored: Mapping[str, Any]) -> Json:
    result = dict(new)
    if "id" in stored and "id" not in new:
        result["id"] = stored["id"]
    same = True
    for name in [name.removesuffix("Itrvl") for name in new if name.endswith("Itrvl")]:
        unchanged = new[f"{name}Itrvl"] == stored.get(f"{name}Itrvl")
        same = same and unchanged
        result[f"{name}Enhanced"] = stored.get(f"{name}Enhanced")
        result[f"{name}Reviewed"] = bool(unchanged and stored.get(f"{name}Reviewed"))
    for flag in ("reviewed", "imagesReviewed"):
        if flag in new:
            result[flag] = bool(same and stored.get(flag))
    return result
