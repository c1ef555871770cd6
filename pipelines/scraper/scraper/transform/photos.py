"""The photos of an itinerary: one entry a key, with every segment that shows it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scraper.transform import segments
from scraper.transform.itinerary import Facts
from scraper.transform.richtext import Json


def photo_rows(facts: Facts, flat: Iterable[str]) -> list[Json]:
    """The fields of the image statuses, in order. `flat` is used when no segment has photos."""
    rows: dict[str, Json] = {}
    start = facts.source.get("startDate")
    for index, segment in enumerate(facts.segments):
        kind = segments.kind(segment)
        name = segments.name(segment)
        placement = {
            "segmentIndex": index,
            "segmentType": kind.block if kind else None,
            "segmentTitle": name,
            "dayIndex": segments.day_index(start, segment),
        }
        for position, key in enumerate(segments.photos(segment)):
            placement = {**placement, "position": position}
            row = rows.get(key)
            if row is None:
                country = segments.country(segment) or facts.default_country
                rows[key] = _row(key, placement, propertyName=name, country=country)
            elif index not in [seen["segmentIndex"] for seen in row["placements"]]:
                row["placements"].append(placement)
    if not rows:
        nothing = {"segmentIndex": None, "segmentType": None, "segmentTitle": None, "dayIndex": None}
        for key in flat:
            rows.setdefault(
                key, {**_row(key, nothing, propertyName=None, country=facts.default_country), "placements": []}
            )
    return list(rows.values())


def film_rows(facts: Facts, films: Iterable[Json]) -> list[Json]:
    """The fields of the films' statuses."""
    return [
        {
            "sourceS3Key": film["hlsUrl"],
            "status": "pending",
            "mediaType": "video",
            "videoContext": film.get("context") or "hero",
            "country": facts.default_country,
        }
        for film in films
    ]


def _row(key: str, placement: Json, **context: Any) -> Json:
    return {
        "sourceS3Key": key,
        "status": "pending",
        "mediaType": "image",
        **{name: value for name, value in placement.items() if name != "position"},
        **context,
        "placements": [placement],
    }
