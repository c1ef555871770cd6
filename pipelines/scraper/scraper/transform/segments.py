"""What a segment of the portal's itinerary is: one table for every use, one rule for its name, one for its day."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

Segment = Mapping[str, Any]
Block = Literal["stay", "activity", "transfer"]


@dataclass(frozen=True)
class Kind:
    """How segments of a portal type are treated. `transfer` and `route` are for transfers; a point has no route."""

    block: Block
    transfer: str | None = None
    route: str | None = None


KINDS: Mapping[str, Kind] = {
    "stay": Kind("stay"),
    "accommodation": Kind("stay"),
    "service": Kind("activity"),
    "activity": Kind("activity"),
    "tour": Kind("activity"),
    "flight": Kind("transfer", "flight", "flight"),
    "road": Kind("transfer", "road", "road"),
    "transfer": Kind("transfer", "road", "road"),
    "transport": Kind("transfer", "road", "road"),
    "boat": Kind("transfer", "boat", "boat"),
    "helicopter": Kind("transfer", "helicopter", "helicopter"),
    "entry": Kind("transfer", "entry"),
    "exit": Kind("transfer", "exit"),
    "point": Kind("transfer", "point"),
}


def kind(segment: Segment) -> Kind | None:
    """None for a type that the CMS has no block for."""
    return KINDS.get(str(segment.get("type") or "").lower())


def is_stay(segment: Segment) -> bool:
    """Whether it is a night's accommodation."""
    found = kind(segment)
    return found is not None and found.block == "stay"


def is_activity(segment: Segment) -> bool:
    """Whether it is something to do, or a service."""
    found = kind(segment)
    return found is not None and found.block == "activity"


def text(value: Any) -> str | None:
    """The trimmed text, None when there is none."""
    return value.strip() or None if isinstance(value, str) else None


def first(segment: Segment, *names: str) -> str | None:
    """The first of these members that is a text."""
    return next((found for found in (text(segment.get(name)) for name in names) if found), None)


def name(segment: Segment) -> str | None:
    """The name of a segment, everywhere: the portal's `name` is usually null."""
    return first(segment, "name", "title", "supplierName")


def country(segment: Segment) -> str | None:
    """The country a segment says it is in."""
    return first(segment, "country", "countryName")


def location(segment: Segment) -> str | None:
    """The place a segment says it is at."""
    return first(segment, "location", "locationName")


def inclusions(segment: Segment) -> str | None:
    """What a stay includes, in the portal's words."""
    return first(segment, "clientIncludeExclude", "inclusions", "included")


def photos(segment: Segment) -> list[str]:
    """The keys of a segment's photos, in order."""
    found = []
    for image in segment.get("images") or []:
        key = (image.get("s3Key") or image.get("key")) if isinstance(image, Mapping) else image
        if isinstance(key, str) and key:
            found.append(key)
    return found


def day_of(value: Any) -> date | None:
    """The day, in UTC, of an ISO date or time."""
    if not isinstance(value, str) or not value:
        return None
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (moment.astimezone(UTC) if moment.tzinfo else moment).date()


def day_index(start: Any, segment: Segment) -> int | None:
    """1 for the first day; None when either date is missing."""
    begin, day = day_of(start), day_of(segment.get("startDate"))
    return None if begin is None or day is None else max(1, (day - begin).days + 1)


def slug(value: str) -> str:
    """Lower-case letters and digits with hyphens between, at most 100 characters. Accents are folded."""
    folded = unicodedata.normalize("NFKD", value).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", folded.lower()).strip("-")[:100].rstrip("-")


def normalised(value: Any) -> str:
    """For comparing names: lower case, single spaces."""
    return " ".join(str(value or "").lower().split())
