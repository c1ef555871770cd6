"""Countries and destinations of the CMS, found by name or created as drafts. Everything is asked once a run."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from scraper.cms import Cms, Condition, id_of
from scraper.errors import CmsError
from scraper.settings import COUNTRY_CODES
from scraper.transform.richtext import Json
from scraper.transform.segments import normalised, slug
from stepwell.toolkit.logs import logger

log = logger(__name__)


class Places:
    """The places of one import."""

    def __init__(self, cms: Cms) -> None:
        self._cms = cms
        self._countries: dict[str, int | None] = {}
        self._destinations: dict[tuple[str, int | None], int | None] = {}

    @cached_property
    def _mappings(self) -> list[Json]:
        try:
            return list(self._cms.global_document("location-mappings").get("mappings") or [])
        except CmsError as error:
            log.warning("location mappings cannot be read", event_type="linking_failed", problem=str(error))
            return []

    def country(self, name: str | None) -> int | None:
        """The id of a country, None when the CMS does not have it. Countries are never created."""
        if not name:
            return None
        if name not in self._countries:
            found = self._cms.first("destinations", ("name", "equals", name), ("type", "equals", "country"), draft=True)
            self._countries[name] = found["id"] if found else None
        return self._countries[name]

    def country_of_code(self, code: str | None) -> int | None:
        """As `country`, by an ISO code."""
        return self.country(COUNTRY_CODES.get((code or "").upper()))

    def destination(self, location: str | None, country: int | None) -> int | None:
        """The destination of a location's name, created if need be; the country where that is not possible."""
        if not location:
            return country
        key = (normalised(location), country)
        if key not in self._destinations:
            self._destinations[key] = self._resolve(location, country)
        return self._destinations[key]

    def _resolve(self, location: str, country: int | None) -> int | None:
        for mapping in self._mappings:
            if normalised(mapping.get("externalString")) == normalised(location) and mapping.get("sourceSystem") in (
                "itrvl",
                "any",
            ):
                if mapping.get("resolvedAs") == "destination":
                    return id_of(mapping.get("destination")) or country
                return country
        named: tuple[Condition, ...] = (("name", "equals", location), ("type", "equals", "destination"))
        found = self._cms.first("destinations", *named, draft=True)
        if found:
            return int(found["id"])
        try:
            return int(create_once(self._cms, "destinations", _destination(location, country), draft=True)["id"])
        except CmsError as error:
            log.warning(
                "destination not created", event_type="linking_failed", destination=location, problem=str(error)
            )
            return country


def _destination(name: str, country: int | None) -> dict[str, Any]:
    return {"name": name, "slug": slug(name), "type": "destination", "country": country, "_status": "draft"}


def create_once(cms: Cms, collection: str, data: dict[str, Any], *, draft: bool = False) -> Json:
    """Create a document with a unique slug; the one that is there already if somebody was faster. Raises CmsError."""
    try:
        return cms.create(collection, data, draft=draft)
    except CmsError as error:
        if error.status != 400:
            raise
        found = cms.first(collection, ("slug", "equals", data["slug"]), draft=draft)
        if found is None:
            raise
        return found
