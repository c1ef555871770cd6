"""What the CMS learns from an itinerary once it has an id. Every write is made once an itinerary, however often it is imported."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

from scraper.cms import Cms, ids_of
from scraper.errors import CmsError
from scraper.linking.classes import pax_type, price_tier
from scraper.linking.linker import Links, Observation
from scraper.transform import segments
from scraper.transform.itinerary import Facts
from scraper.transform.richtext import Json
from stepwell.toolkit.logs import logger

log = logger(__name__)


class Knowledge:
    """The writes of one import. `cms_id` is the itinerary's, `now` an ISO time."""

    def __init__(self, cms: Cms, cms_id: int, facts: Facts, links: Links, now: str) -> None:
        self._cms, self._id, self._facts, self._links, self._now = cms, cms_id, facts, links, now
        self._per_night = round(facts.total / facts.nights) if facts.total and facts.nights else None

    def write(self) -> None:
        """All of it. What fails is logged and left out."""
        self._each("property's itineraries", dict.fromkeys(self._links.properties.values()), self._relate)
        self._each("route", self._links.observations, self._observe_route)
        for collection, ids in (
            ("activities", self._links.activities),
            ("airports", dict.fromkeys(self._links.airports.values())),
            ("service-items", self._links.services),
        ):
            self._each(collection, ids, partial(self._count, collection))
        stays = self._stays()
        self._each("property", range(len(stays)), lambda place: self._observe_stay(stays, place))
        self._each("pattern", [stays], self._pattern)

    def _each(self, what: str, items: Any, work: Callable[[Any], None]) -> None:
        for item in items:
            try:
                work(item)
            except (CmsError, KeyError, TypeError, ValueError) as error:
                log.warning(f"{what} not written", event_type="knowledge_failed", what=what, problem=str(error))

    def _relate(self, id: int) -> None:
        stored = self._cms.get("properties", id, draft=True)
        if stored is None:
            return
        known = ids_of(stored.get("relatedItineraries"))
        if self._id not in known:
            self._cms.update("properties", id, {"relatedItineraries": [*known, self._id]}, draft=True)

    def _observe_route(self, seen: Observation) -> None:
        stored = self._cms.get("transfer-routes", seen.route)
        if stored is None:
            return
        known = stored.get("observations") or []
        if str(self._id) in [str(entry.get("itineraryId")) for entry in known]:
            return
        observation = {
            "itineraryId": str(self._id),
            "departureTime": seen.departure,
            "arrivalTime": seen.arrival,
            "airline": seen.airline,
            "dateObserved": self._now,
        }
        self._cms.update(
            "transfer-routes",
            seen.route,
            {"observations": [*known, observation], "observationCount": len(known) + 1},
        )

    def _count(self, collection: str, id: int) -> None:
        stored = self._cms.get(collection, id)
        if stored is None:
            return
        seen = ids_of(stored.get("observedInItineraries"))
        if self._id not in seen:
            count = int(stored.get("observationCount") or 0) + 1
            self._cms.update(collection, id, {"observationCount": count, "observedInItineraries": [*seen, self._id]})

    def _stays(self) -> list[Json]:
        """The linked stays in their order: property, nights, room type, start date."""
        found = []
        for segment in self._facts.segments:
            id = self._links.properties.get(segments.name(segment) or "") if segments.is_stay(segment) else None
            if id:
                nights = segment.get("nights")
                found.append(
                    {
                        "property": id,
                        "nights": nights if isinstance(nights, int) and nights > 0 else 1,
                        "roomType": segments.text(segment.get("roomType")),
                        "day": segments.day_of(segment.get("startDate") or self._facts.source.get("startDate")),
                    }
                )
        return found

    def _observe_stay(self, stays: list[Json], place: int) -> None:
        stay = stays[place]
        if stay["property"] in [earlier["property"] for earlier in stays[:place]]:
            return  # a second stay at the same place: the first one wrote for both
        stored = self._cms.get("properties", stay["property"], draft=True)
        if stored is None:
            return
        data = dict(stored.get("accumulatedData") or {})
        pricing = dict(data.get("pricePositioning") or {})
        known = list(pricing.get("observations") or [])
        if str(self._id) in [str(entry.get("itineraryId")) for entry in known]:
            return
        tier = price_tier(self._per_night)
        observation = {
            "itineraryId": str(self._id),
            "pricePerNight": self._per_night,
            "priceTier": tier,
            "observedAt": self._now,
            "nights": stay["nights"],
        }
        observations = [*known, observation]
        prices = [entry["pricePerNight"] for entry in observations if entry.get("pricePerNight")]
        nights = [entry["nights"] for entry in observations if entry.get("nights")]
        data["pricePositioning"] = {
            **pricing,
            "observations": observations,
            "observationCount": len(observations),
            "avgPerNightUsd": round(sum(prices) / len(prices)) if prices else None,
            "band": tier or pricing.get("band"),
        }
        data["typicalNights"] = {"median": statistics.median(nights), "min": min(nights), "max": max(nights)}
        data["commonPairings"] = _paired(data.get("commonPairings") or [], stays, place)
        if stay["day"]:
            data["seasonalityData"] = _in_month(data.get("seasonalityData") or [], stay["day"].month)
        data["observationCount"] = int(data.get("observationCount") or 0) + 1
        data["lastObservedAt"] = self._now
        self._cms.update("properties", stay["property"], {"accumulatedData": data}, draft=True)

    def _pattern(self, stays: list[Json]) -> None:
        source = self._facts.source
        day = segments.day_of(source.get("startDate"))
        adults, children = (
            number if isinstance(number := source.get(name), int) else 0 for name in ("adults", "children")
        )
        data = {
            "sourceItinerary": self._id,
            "extractedAt": self._now,
            "countries": self._links.destinations,
            "regions": self._links.regions,
            "totalNights": self._facts.nights,
            "paxType": pax_type(adults, children),
            "adults": adults,
            "children": children,
            "propertySequence": [
                {"property": stay["property"], "nights": stay["nights"], "order": order, "roomType": stay["roomType"]}
                for order, stay in enumerate(stays, 1)
            ],
            "transferSequence": self._links.transfers,
            "serviceItems": self._links.services,
            "priceTotal": self._facts.total or None,
            "currency": "USD",
            "pricePerNightAvg": self._per_night,
            "priceTier": price_tier(self._per_night),
            "travelMonth": day.month if day else None,
            "travelYear": day.year if day else None,
        }
        stored = self._cms.first("itinerary-patterns", ("sourceItinerary", "equals", self._id))
        if stored:
            self._cms.update("itinerary-patterns", stored["id"], data)
        else:
            self._cms.create("itinerary-patterns", data)


def _paired(known: list[Json], stays: list[Json], place: int) -> list[Json]:
    """The pairings with one more for each neighbour."""
    result = [dict(entry) for entry in known]
    for position, neighbour in (("before", place - 1), ("after", place + 1)):
        if not 0 <= neighbour < len(stays) or stays[neighbour]["property"] == stays[place]["property"]:
            continue
        other = stays[neighbour]["property"]
        entry = next(
            (found for found in result if found.get("property") == other and found.get("position") == position), None
        )
        if entry is None:
            entry = {"property": other, "position": position, "count": 0}
            result.append(entry)
        entry["count"] = int(entry.get("count") or 0) + 1
    return result


def _in_month(known: list[Json], month: int) -> list[Json]:
    result = [dict(entry) for entry in known]
    entry = next((found for found in result if found.get("month") == month), None)
    if entry is None:
        entry = {"month": month, "observationCount": 0}
        result.append(entry)
    entry["observationCount"] = int(entry.get("observationCount") or 0) + 1
    return result
