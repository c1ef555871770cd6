"""Days and their blocks. Days without segments do not exist, so day numbers may have gaps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from scraper.transform import segments
from scraper.transform.richtext import Json, pair, rich
from scraper.transform.segments import Segment
from stepwell.toolkit.logs import logger

log = logger(__name__)

MAX_TRANSFER_TITLE = 120


def days(found: Sequence[Segment], start: Any, properties: Mapping[str, int]) -> list[Json]:
    """The itinerary's days, by number. A segment without a date belongs to the first."""
    by_day: dict[int, list[tuple[int, Segment]]] = {}
    for index, segment in enumerate(found):
        by_day.setdefault(segments.day_index(start, segment) or 1, []).append((index, segment))
    return [_day(number, by_day[number], start, properties) for number in sorted(by_day)]


def _day(number: int, found: Sequence[tuple[int, Segment]], start: Any, properties: Mapping[str, int]) -> Json:
    of_day = [segment for _, segment in found]
    place = next((place for place in map(segments.location, of_day) if place), None)
    title = _title(number, of_day, place)
    date = next((str(segment["startDate"]) for segment in of_day if segment.get("startDate")), None)
    blocks = [_block(index, segment, properties) for index, segment in found]
    return {
        "dayNumber": number,
        "date": date or (str(start) if number == 1 and start else None),
        "title": title,
        **pair("title", title),
        "location": place,
        "segments": [block for block in blocks if block is not None],
    }


def _title(number: int, of_day: Sequence[Segment], place: str | None) -> str:
    for segment in of_day:
        if segments.is_stay(segment) and (name := segments.name(segment)):
            return name
    for segment in of_day:
        if segments.is_activity(segment) and (name := segments.name(segment)):
            where = segments.location(segment)
            return f"{where} - {name}" if where else name
    for segment in of_day:
        if str(segment.get("type")).lower() in ("entry", "exit", "flight"):
            title = segments.first(segment, "name", "title")
            if title and "transfer" not in title.lower():
                return title
    return f"Day {number} - {place}" if place else f"Day {number}"


def _block(index: int, segment: Segment, properties: Mapping[str, int]) -> Json | None:
    kind = segments.kind(segment)
    if kind is None:
        log.info("segment left out", event_type="segment_dropped", segment_type=str(segment.get("type")), index=index)
        return None
    if kind.block == "stay":
        block = _stay(segment, properties)
    elif kind.block == "activity":
        title = segments.first(segment, "name", "title") or segments.name(segment) or "Activity"
        block = {
            "blockType": "activity",
            "title": title,
            **pair("title", title),
            **pair("description", rich(segments.text(segment.get("description")))),
            "images": [],
            "imagesReviewed": False,
        }
    else:
        block = _transfer(segment, str(kind.transfer))
    return {**block, "sourceSegmentIndex": index, "reviewed": False}


def _stay(segment: Segment, properties: Mapping[str, int]) -> Json:
    name = segments.name(segment) or "Accommodation"
    nights = segment.get("nights")
    return {
        "blockType": "stay",
        "accommodationName": name,
        **pair("accommodationName", name),
        **pair("description", rich(segments.text(segment.get("description")))),
        **pair("inclusions", rich(segments.inclusions(segment))),
        "nights": nights if isinstance(nights, int) and nights >= 1 else 1,
        "location": segments.location(segment),
        "country": segments.country(segment),
        "images": [],
        "imagesReviewed": False,
        "roomType": segments.text(segment.get("roomType")),
        "property": properties.get(name),
    }


def _transfer(segment: Segment, kind: str) -> Json:
    title = (segments.first(segment, "name", "title", "description") or "Transfer")[:MAX_TRANSFER_TITLE].strip()
    code = segments.first(segment, "travelHubCode", "transitPointCode")
    if kind in ("entry", "exit", "point") and code and code not in title:
        title = f"{title} ({code})"
    return {
        "blockType": "transfer",
        "type": kind,
        "title": title,
        **pair("title", title),
        "from": _nested(segment, "startLocation") or segments.first(segment, "from", "location"),
        "to": _destination(segment, kind, title, code),
        **pair("description", rich(segments.text(segment.get("description")))),
        "departureTime": segments.text(segment.get("departureTime")),
        "arrivalTime": segments.text(segment.get("arrivalTime")),
    }


def _destination(segment: Segment, kind: str, title: str, code: str | None) -> str | None:
    said = _nested(segment, "endLocation") or segments.first(segment, "to", "toPoint")
    if said:
        return said
    found = re.search(r"(?:transfer|flight|drive|road) to ([^,-]+)", title, re.IGNORECASE)
    found = found or re.search(r"\bto ([^,-]+)$", title, re.IGNORECASE)
    if found:
        return found.group(1).strip()
    return code if kind == "exit" else None


def _nested(segment: Segment, member: str) -> str | None:
    inner = segment.get(member)
    return segments.text(inner.get("name")) if isinstance(inner, Mapping) else None
