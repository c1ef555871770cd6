"""The first step: the portal's itinerary becomes the CMS's, and every photo and film gets a row to be worked on."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from scraper.cms import Cms, id_of
from scraper.errors import CmsError, InvalidEvent, ItineraryIdMismatch, ScrapeFailed
from scraper.jobs import NO_ERROR, notify, now, statuses, step
from scraper.linking.knowledge import Knowledge
from scraper.linking.linker import Linker, Links
from scraper.settings import Settings
from scraper.transform.itinerary import Facts, Relations, Wording, transform
from scraper.transform.merging import merged
from scraper.transform.photos import film_rows, photo_rows
from scraper.transform.richtext import Json
from stepwell.toolkit import http
from stepwell.toolkit.logs import logger

log = logger(__name__)

PARALLEL = 10
SCRAPE_SECONDS = 450.0
"""Three attempts of the scraper take up to 410 s."""
CHECKLIST = (
    "allImagesProcessed",
    "noFailedImages",
    "heroImageSelected",
    "contentEnhanced",
    "schemaGenerated",
    "schemaValid",
    "metaFieldsFilled",
    "tripTypesSelected",
)
FRESH: Mapping[str, Any] = {
    **NO_ERROR,
    "imagesLabeled": 0,
    "imagesToLabel": None,
    "labelingStartedAt": None,
    "labelingCompletedAt": None,
    "videoProcessingError": None,
}


def orchestrate(cms: Cms, settings: Settings, event: Mapping[str, Any]) -> Json:
    """Event: the execution's input. Answers with what the rest of the machine works on."""
    if not event.get("itrvlUrl"):
        raise InvalidEvent("itrvlUrl is missing")
    with step(cms, event, "orchestrator") as job:
        return _import(cms, settings, event, job)


def _import(cms: Cms, settings: Settings, event: Mapping[str, Any], job: Json) -> Json:
    cms.update(
        "itinerary-jobs",
        job["id"],
        {"status": "processing", "currentPhase": "Phase 1: Scraping", "progress": 0, **FRESH},
    )
    data = scraped(settings, str(event["itrvlUrl"]))
    note = "; ".join(data.get("warnings") or []) or None
    cms.update("itinerary-jobs", job["id"], {"phase1CompletedAt": now(), "notes": note})
    found = _wanted(data["itinerary"], str(event.get("itineraryId") or job.get("itineraryId") or ""))
    facts = Facts.of(found, data.get("price"))

    stored = cms.first("itineraries", ("itineraryId", "equals", facts.portal_id))
    existing = id_of(event.get("existingItineraryId"))
    if existing and (stored is None or stored["id"] != existing):
        raise ItineraryIdMismatch(f"itinerary {existing} of the CMS is not the portal's {facts.portal_id}")
    try:
        links = Linker(cms).link(facts)
    except Exception as error:
        log.error("linking failed", event_type="linking_failed", exc_info=error)
        links = Links()

    rows = photo_rows(facts, data.get("images") or [])
    films = film_rows(facts, data.get("videos") or [])
    mode = "update" if stored else "create"
    cms_id = _save(cms, settings, facts, links, stored, event, films=bool(films))
    Knowledge(cms, cms_id, facts, links, now()).write()
    if event.get("retry") and not _rows_begun(cms, job):
        for row in statuses(cms, job["id"]):
            cms.delete("image-statuses", row["id"])
    _create_rows(cms, job["id"], cms_id, [*rows, *films])
    cms.update(
        "itinerary-jobs",
        job["id"],
        {
            "processedItinerary": cms_id,
            "payloadId": str(cms_id),
            "totalImages": len(rows),
            "totalVideos": len(films),
            "processedImages": 0,
            "skippedImages": 0,
            "failedImages": 0,
            "currentPhase": "Phase 2: Processing Images",
        },
    )
    notify(cms, "info", f"Import started: {facts.title}", job=job, itinerary=cms_id)
    return {
        "jobId": str(job["id"]),
        "itineraryId": str(cms_id),
        "imagesFound": len(rows),
        "videosFound": len(films),
        "mode": mode,
        "chunkIndex": 0,
        "executionName": event.get("executionName"),
    }


def scraped(settings: Settings, url: str) -> Json:
    """What the scraper says about a page. Raises ScrapeFailed, ConfigurationError."""
    settings.require(scraper_url="LAMBDA_SCRAPER_URL", scraper_secret="LAMBDA_SCRAPER_SECRET")  # noqa: S106
    with http.client(timeout=SCRAPE_SECONDS) as client:
        try:
            answer = client.post(settings.scraper_url, json={"itrvlUrl": url, "secret": settings.scraper_secret})
        except httpx.HTTPError as error:
            raise ScrapeFailed(f"the scraper cannot be reached: {type(error).__name__}: {error}") from error
    try:
        document = answer.json()
    except ValueError:
        document = None
    if (
        not answer.is_success
        or not isinstance(document, dict)
        or not document.get("success")
        or not document.get("data")
    ):
        raise ScrapeFailed(f"the scraper answered {answer.status_code}: {answer.text[:300]}")
    return dict(document["data"])


def _wanted(content: Mapping[str, Any], portal_id: str) -> Mapping[str, Any]:
    """The itinerary that was asked for, among those that were scraped."""
    found = [entry for entry in content.get("itineraries") or [] if isinstance(entry, Mapping)]
    for entry in found:
        if str(entry.get("id")) == portal_id:
            return entry
    seen = ", ".join(str(entry.get("id")) for entry in found) or "none"
    raise ItineraryIdMismatch(f"the page holds itinerary {seen}, not {portal_id}")


def _save(
    cms: Cms,
    settings: Settings,
    facts: Facts,
    links: Links,
    stored: Json | None,
    event: Mapping[str, Any],
    *,
    films: bool,
) -> int:
    """Create the itinerary, or update it so that edits survive; its id."""
    moment = now()
    relations = Relations(links.destinations, links.properties)
    wording = Wording(settings.product_phrase, settings.why_us or Wording.why_us)
    data = transform(facts, str(event["itrvlUrl"]), moment, wording, relations)
    owner = {"jobId": str(event["jobId"]), "executionName": event.get("executionName")}
    data["source"] |= owner
    data["videoScrapedFromSource"] = films
    checklist = dict.fromkeys(CHECKLIST, False)
    if stored is None:
        data |= {"slug": _free_slug(cms, data["slug"], facts.portal_id), "version": 1, "publishChecklist": checklist}
        return int(cms.create("itineraries", data)["id"])
    data = merged(data, stored)
    source = stored.get("source") or {}
    if {name: source.get(name) for name in owner} != owner:  # not a second attempt of this very import
        version = stored.get("version") or 1
        earlier = {
            "versionNumber": version,
            "scrapedAt": source.get("lastScrapedAt") or stored.get("updatedAt"),
            "data": {
                "title": stored.get("title"),
                "nights": (stored.get("overview") or {}).get("nights"),
                "dayCount": len(stored.get("days") or []),
            },
        }
        data["version"] = version + 1
        data["previousVersions"] = [*(stored.get("previousVersions") or []), earlier]
    data["publishChecklist"] = {**checklist, "heroImageSelected": bool(stored.get("heroImageLocked"))}
    if settings.update_keeps_status:
        data.pop("_status")
    cms.update(
        "itineraries",
        stored["id"],
        {name: value for name, value in data.items() if name == "_status" or name[0] != "_"},
    )
    return int(stored["id"])


def _free_slug(cms: Cms, slug: str, portal_id: str) -> str:
    taken = cms.first("itineraries", ("slug", "equals", slug))
    return f"{slug[:93]}-{portal_id[-6:].lower()}" if taken else slug


def _rows_begun(cms: Cms, job: Json) -> bool:
    """Whether the rows that are there were made by this run of the job: then a second attempt must keep them."""
    rows = statuses(cms, job["id"])
    began = str(job.get("startedAt") or "")
    return bool(rows) and all(str(row.get("createdAt")) >= began for row in rows)


def _create_rows(cms: Cms, job_id: int, cms_id: int, wanted: list[Json]) -> None:
    """Every row once, also when this is done a second time; rows that are not done wait again."""
    there = {row["sourceS3Key"]: row for row in statuses(cms, job_id)}

    def make(row: Json) -> None:
        old = there.get(row["sourceS3Key"])
        if old is None:
            more = {"sourceItinerary": str(cms_id)} if row["mediaType"] == "video" else {}
            try:
                cms.create("image-statuses", {"job": job_id, **row, **more})
            except CmsError as error:
                if not error.is_unique_violation:
                    raise
        elif old["status"] in ("processing", "failed", "pending"):
            cms.update("image-statuses", old["id"], {"status": "pending", "error": None})

    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(make, wanted))
