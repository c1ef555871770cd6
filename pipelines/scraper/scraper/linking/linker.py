"""Finds or creates what an itinerary refers to. No failure of it stops an import: it is logged, and that link is left out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from scraper.cms import Cms, id_of, ids_of
from scraper.errors import CmsError
from scraper.linking import classes
from scraper.linking.places import Places, create_once
from scraper.transform import segments
from scraper.transform.itinerary import Facts
from scraper.transform.richtext import Json
from scraper.transform.segments import Segment, normalised, slug
from stepwell.toolkit.logs import logger

log = logger(__name__)


@dataclass
class Observation:
    """A transfer of this itinerary on a route."""

    route: int
    airline: str | None
    departure: str | None
    arrival: str | None


@dataclass
class Links:
    """What was found. `properties` by the stay's name, `airports` by code and by slug."""

    destinations: list[int] = field(default_factory=list)
    properties: dict[str, int] = field(default_factory=dict)
    regions: list[int] = field(default_factory=list)
    airports: dict[str, int] = field(default_factory=dict)
    transfers: list[Json] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    activities: list[int] = field(default_factory=list)
    services: list[int] = field(default_factory=list)


class Linker:
    """One import's linking: `links = Linker(cms).link(facts)`."""

    def __init__(self, cms: Cms) -> None:
        self._cms = cms
        self._places = Places(cms)
        self._links = Links()
        self._destination_of: dict[int, int | None] = {}
        self._airport_documents: dict[int, Json] = {}

    def link(self, facts: Facts) -> Links:
        """All links of an itinerary."""
        links = self._links
        for wanted in facts.countries:
            country = self._try("country", wanted, partial(self._places.country, wanted))
            if country and country not in links.destinations:
                links.destinations.append(country)
        aliases = self._try("property names", "", self._aliases) or {}
        for segment in facts.segments:
            name = segments.name(segment)
            if segments.is_stay(segment) and name and name not in links.properties:
                found = self._try("property", name, partial(self._property, segment, name, facts, aliases))
                if found:
                    links.properties[name] = found
        regions = (self._destination_of.get(id) for id in links.properties.values())
        links.regions = list(dict.fromkeys(id for id in regions if id))
        for segment in facts.segments:
            if str(segment.get("type")).lower() in ("point", "entry", "exit"):
                self._try("airport", segments.name(segment) or "", partial(self._airport, segment))
        self._walk(facts)
        return links

    def _walk(self, facts: Facts) -> None:
        """Routes, activities and services, in the order of the journey."""
        stays = 0
        here: int | None = None
        for index, segment in enumerate(facts.segments):
            kind = segments.kind(segment)
            name = segments.name(segment)
            if kind is None:
                continue
            if kind.block == "stay":
                stays += 1
                here = self._links.properties.get(name or "")
            elif kind.route:
                rest = facts.segments[index + 1 :]
                self._try("route", name or "", partial(self._route, segment, kind.route, stays, rest, facts))
            elif kind.block == "activity" and name:
                if classes.activity_type(name) == "other":
                    self._try("service", name, partial(self._service, name))
                else:
                    self._try("activity", name, partial(self._activity, name, here))

    # -- properties

    def _aliases(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for mapping in self._cms.global_document("property-name-mappings").get("mappings") or []:
            id = id_of(mapping.get("property"))
            names = mapping.get("aliases") or []
            if isinstance(names, str):
                names = _json_list(names)
            for name in [mapping.get("canonical"), *names]:
                if id and name:
                    found.setdefault(normalised(name), id)
        return found

    def _property(self, segment: Segment, name: str, facts: Facts, aliases: Mapping[str, int]) -> int | None:
        if normalised(name) in aliases:
            found = self._cms.get("properties", aliases[normalised(name)], draft=True)
        else:
            found = self._cms.first("properties", ("slug", "equals", slug(name)), draft=True)
        if found is None:
            country = self._places.country(segments.country(segment) or facts.default_country)
            destination = self._places.destination(segments.location(segment), country) or next(
                iter(self._links.destinations), None
            )
            if destination is None:
                log.warning("property without a destination", event_type="linking_failed", property_name=name)
                return None
            data = {
                "name": name,
                "slug": slug(name),
                "type": classes.property_type(name),
                "destination": destination,
                "description_itrvl": segments.text(segment.get("description")),
                "_status": "draft",
                **_known(segment),
            }
            found = create_once(self._cms, "properties", data, draft=True)
        elif found["id"] not in self._links.properties.values():
            self._complete(found, segment)
        self._destination_of[found["id"]] = id_of(found.get("destination"))
        return int(found["id"])

    def _complete(self, stored: Json, segment: Segment) -> None:
        """Fill in what a property that was there lacks, and nothing else. Groups are sent whole."""
        known = _known(segment)
        changes: Json = {}
        ids, new_ids = stored.get("externalIds") or {}, known["externalIds"]
        if not ids.get("itrvlSupplierCode") and new_ids["itrvlSupplierCode"]:
            changes["externalIds"] = {**ids, **new_ids}
        content, new = stored.get("canonicalContent") or {}, known["canonicalContent"]
        missing = {
            name: new[name] for name in ("contactEmail", "contactPhone") if new.get(name) and not content.get(name)
        }
        coordinates = content.get("coordinates") or {}
        if "coordinates" in new and coordinates.get("latitude") is None:
            missing["coordinates"] = new["coordinates"]
        if missing:
            changes["canonicalContent"] = {**content, **missing}
        if changes:
            self._cms.update("properties", stored["id"], changes, draft=True)

    # -- airports

    def _airport(self, segment: Segment) -> None:
        name = segments.first(segment, "title", "name", "supplierName", "location")
        if not name:
            return
        code = (segments.text(segment.get("locationCode")) or "").upper() or None
        keys = [key for key in (code, slug(name)) if key]
        if keys[0] in self._links.airports:
            return
        found = self._cms.first("airports", ("iataCode", "equals", code)) if code else None
        found = found or self._cms.first("airports", ("slug", "equals", slug(name)))
        if found is None:
            country = self._places.country_of_code(segments.text(segment.get("countryCode")))
            if country is None:
                log.warning("airport without a country", event_type="linking_failed", airport=name)
                return
            kind = classes.airport_type(name, code)
            place = segments.first(segment, "location", "city")
            found = create_once(
                self._cms,
                "airports",
                {
                    "name": name,
                    "slug": slug(name),
                    "iataCode": code,
                    "type": kind,
                    "city": segments.first(segment, "city", "location"),
                    "country": country,
                    "nearestDestination": self._places.destination(place, country),
                    "services": classes.SERVICES[kind],
                    "observationCount": 0,
                },
            )
        self._airport_documents[found["id"]] = found
        for key in keys:
            self._links.airports[key] = found["id"]

    # -- routes

    def _route(self, segment: Segment, mode: str, stays: int, rest: Any, facts: Facts) -> None:
        start = segments.first(segment, "from", "fromPoint", "location")
        end = segments.first(segment, "to", "toPoint")
        if not start or not end or start == end:
            return
        country = self._places.country(segments.country(segment) or facts.default_country)
        next_stay = next((segments.name(later) for later in rest if segments.is_stay(later)), None)
        next_property = self._links.properties.get(next_stay or "")
        ahead = self._destination_of.get(next_property) if next_property else None
        ends = {**self._end("from", start, country), **self._end("to", end, ahead)}
        airline = segments.text(segment.get("airline"))
        found = self._cms.first("transfer-routes", ("slug", "equals", slug(f"{start}-to-{end}")))
        if found is None:
            found = create_once(
                self._cms,
                "transfer-routes",
                {
                    "from": start,
                    "to": end,
                    "slug": slug(f"{start}-to-{end}"),
                    "mode": mode,
                    **ends,
                    "airlines": [{"name": airline}] if airline else [],
                    "observations": [],
                    "observationCount": 0,
                },
            )
        else:
            changes: Json = {name: id for name, id in ends.items() if id and not found.get(name)}
            known = found.get("airlines") or []
            if airline and airline not in [entry.get("name") for entry in known]:
                changes["airlines"] = [*known, {"name": airline}]
            if changes:
                self._cms.update("transfer-routes", found["id"], changes)
        if found["id"] not in [seen.route for seen in self._links.observations]:
            times = (segments.text(segment.get(name)) for name in ("departureTime", "arrivalTime"))
            self._links.observations.append(Observation(found["id"], airline, *times))
        self._links.transfers.append({"route": found["id"], "afterProperty": stays, "mode": mode})

    def _end(self, end: str, text: str, otherwise: int | None) -> Json:
        property_id = self._links.properties.get(text)
        airport_id = None
        if property_id is None:
            airport_id = self._links.airports.get(text.upper() if len(text) <= 4 else slug(text))
        airport = self._airport_documents.get(airport_id or 0, {})
        near = self._destination_of.get(property_id) if property_id else None
        near = near or id_of(airport.get("nearestDestination")) or id_of(airport.get("country")) or otherwise
        return {f"{end}Property": property_id, f"{end}Airport": airport_id, f"{end}Destination": near}

    # -- activities and services

    def _activity(self, name: str, here: int | None) -> None:
        place = self._destination_of.get(here) if here else None
        found = self._cms.first("activities", ("slug", "equals", slug(name)))
        if found is None:
            kind = classes.activity_type(name)
            found = create_once(
                self._cms,
                "activities",
                {
                    "name": name,
                    "slug": slug(name),
                    "type": kind,
                    "destinations": [place] if place else [],
                    "properties": [here] if here else [],
                    "bookingBehaviour": classes.booking(kind),
                    "observationCount": 0,
                },
            )
        changes: Json = {}
        for member, id in (("destinations", place), ("properties", here)):
            known = ids_of(found.get(member))
            if id and id not in known:
                changes[member] = [*known, id]
        if changes:
            self._cms.update("activities", found["id"], changes)
        if found["id"] not in self._links.activities:
            self._links.activities.append(found["id"])

    def _service(self, name: str) -> None:
        found = self._cms.first("service-items", ("slug", "equals", slug(name)))
        if found is None:
            data = {"name": name, "slug": slug(name), **classes.service(name)}
            found = create_once(
                self._cms, "service-items", {**data, "isInclusionIndicator": True, "observationCount": 0}
            )
        if found["id"] not in self._links.services:
            self._links.services.append(found["id"])

    def _try(self, what: str, name: str, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except (CmsError, KeyError, TypeError, ValueError) as error:
            log.warning(f"{what} not linked", event_type="linking_failed", what=what, name=name, problem=str(error))
            return None


def _known(segment: Segment) -> Json:
    """What a stay's segment says about its property."""
    given = segment.get("notes")
    notes: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    latitude = _number(segment, "latitude", "lat")
    longitude = _number(segment, "longitude", "lng", "lon")
    content: Json = {
        "source": "scraper",
        "contactEmail": segments.text(notes.get("contactEmail")),
        "contactPhone": segments.text(notes.get("contactNumber")),
    }
    if latitude is not None and longitude is not None:
        content["coordinates"] = {"latitude": latitude, "longitude": longitude}
    return {
        "externalIds": {
            "itrvlSupplierCode": segments.text(segment.get("supplierCode")),
            "itrvlPropertyName": segments.name(segment),
        },
        "canonicalContent": content,
    }


def _number(segment: Segment, *names: str) -> float | None:
    for name in names:
        value = segment.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    return None


def _json_list(text: str) -> list[Any]:
    with suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, list):
            return found
    return []
