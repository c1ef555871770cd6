"""The last step: photos go to their segments, the hero is chosen, structured data are made and checked, the job is closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from scraper.cms import Cms, id_of, ids_of
from scraper.errors import JobCancelled, JobNotFound, ScraperError
from scraper.hero import hero_image, hero_video, is_film
from scraper.jobs import (
    NO_ERROR,
    counters,
    films_of,
    media_ids,
    moment_of,
    notify,
    now,
    number_in,
    photos_of,
    require_owned,
    statuses,
    step,
)
from scraper.jsonld import structured_data
from scraper.settings import Settings
from scraper.transform.richtext import Json
from scraper.transform.segments import normalised
from scraper.validator import Findings, validate
from stepwell.toolkit.logs import logger

log = logger(__name__)


def finalize(cms: Cms, settings: Settings, event: Mapping[str, Any]) -> Json:
    """Event: `{jobId, itineraryId, executionName?}`. May be run again at any time for the same job."""
    cms_id = number_in(event, "itineraryId")
    with step(cms, event, "finalizer") as job:
        settings.require(site_url="SITE_URL", brand="BRAND_NAME")
        return _finalize(cms, settings, event, job, cms_id)


def _finalize(cms: Cms, settings: Settings, event: Mapping[str, Any], job: Json, cms_id: int) -> Json:
    itinerary = cms.get("itineraries", cms_id)
    if itinerary is None:
        raise ScraperError(f"there is no itinerary {cms_id}")
    rows = _settled_films(cms, statuses(cms, job["id"]))
    found = {media["id"]: media for media in cms.list_in("media", "id", media_ids(rows))}
    media = [found[id] for id in media_ids(sorted(rows, key=_place)) if id in found]
    photos = [entry for entry in media if not is_film(entry)]
    count = counters(rows)
    if any(job.get(name) != value for name, value in count.items()):
        cms.update("itinerary-jobs", job["id"], count)

    days = linked(itinerary.get("days") or [], photos_of(rows), {entry["id"] for entry in photos})
    hero, hero_document = _hero(cms, itinerary, photos)
    films = [entry for entry in media if is_film(entry) and str(entry.get("sourceItinerary")) == str(cms_id)]
    film = hero_video(films, cms_id)
    if itinerary.get("heroVideoLocked") and itinerary.get("heroVideo"):
        film = id_of(itinerary["heroVideo"])
    today = datetime.now(UTC).date()
    schema = structured_data(itinerary, photos, hero_document, settings, today)
    findings = validate(schema, today)
    checklist, blockers = check(itinerary, count, hero, schema, findings)
    cms.update(
        "itineraries",
        cms_id,
        {
            "days": days,
            "images": [entry["id"] for entry in photos],
            "videos": _videos(itinerary, films),
            "heroImage": hero,
            "heroVideo": film,
            "schema": schema,
            "schemaStatus": findings.status,
            "publishChecklist": {**(itinerary.get("publishChecklist") or {}), **checklist},
            "publishBlockers": blockers,
        },
    )
    errors = [blocker["reason"] for blocker in blockers if blocker["severity"] == "error"]
    status = "needs_attention" if errors else "ready_for_review"
    job = _close(cms, event, job, cms_id, status, [blocker["reason"] for blocker in blockers])
    title = str(itinerary.get("title") or "").strip()
    notify(cms, "success", f"Import completed: {title} ({status})", job=job, itinerary=cms_id)
    return {
        "success": True,
        "status": status,
        "heroImage": hero,
        "heroVideo": film,
        "videosCount": len(films),
        "publishChecklist": checklist,
        "blockers": len(blockers),
        "duration": job["duration"],
    }


def _settled_films(cms: Cms, rows: list[Json]) -> list[Json]:
    """Films that did not make it in time are failures."""
    for row in films_of(rows):
        if row["status"] in ("pending", "processing"):
            change = {"status": "failed", "error": "not finished in time", "completedAt": now()}
            cms.update("image-statuses", row["id"], change)
            row.update(change)
    return rows


def _place(row: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Where a row's photo is shown first: so that "the first photo" is always the same one."""
    last = 1_000_000
    placements = row.get("placements") or [row]
    first = min(
        (
            entry.get("dayIndex") if entry.get("dayIndex") is not None else last,
            entry.get("segmentIndex") if entry.get("segmentIndex") is not None else last,
            entry.get("position") or 0,
        )
        for entry in placements
    )
    return (int(first[0]), int(first[1]), int(first[2]), int(row["id"]))


def linked(days: Sequence[Json], rows: Sequence[Json], existing: set[int]) -> list[Json]:
    """The days with each photo at all its segments; nothing else of them is touched.

    By the segment's number where both sides have it, by type and name otherwise.
    """
    by_index: dict[int, list[int]] = {}
    by_name: dict[str, list[int]] = {}
    shown = [(placement, row) for row in rows for placement in row.get("placements") or [row]]
    # Rows are made in parallel, so their ids say nothing about the order within a segment.
    shown.sort(key=lambda pair: (pair[0].get("position") or 0, pair[1]["id"]))
    for placement, row in shown:
        for id in media_ids([row]):
            if id in existing:
                index = placement.get("segmentIndex")
                if index is not None:
                    by_index.setdefault(int(index), []).append(id)
                name = row.get("propertyName") or placement.get("segmentTitle")
                if placement is not row:
                    name = placement.get("segmentTitle") or row.get("propertyName")
                by_name.setdefault(_key(placement.get("segmentType"), name), []).append(id)
    result = []
    for day in days:
        blocks = []
        for block in day.get("segments") or []:
            if block.get("blockType") in ("stay", "activity"):
                index = block.get("sourceSegmentIndex")
                if index is not None:
                    found = by_index.get(int(index), [])
                else:
                    name = block.get("accommodationName") if block["blockType"] == "stay" else None
                    found = by_name.get(_key(block["blockType"], name or block.get("title")), [])
                block = {**block, "images": list(dict.fromkeys(found))}
            blocks.append(block)
        result.append({**day, "segments": blocks})
    return result


def _key(kind: Any, name: Any) -> str:
    return normalised(f"{kind}-{name}")


def _hero(cms: Cms, itinerary: Json, photos: Sequence[Json]) -> tuple[int | None, Json | None]:
    """The chosen photo's id and document. A locked one stays, as long as it exists."""
    hero = hero_image(photos)
    locked = id_of(itinerary.get("heroImage")) if itinerary.get("heroImageLocked") else None
    if locked is not None:
        document = next((photo for photo in photos if photo["id"] == locked), None) or cms.get("media", locked)
        if document is not None:
            return locked, document
    return hero, next((photo for photo in photos if photo["id"] == hero), None)


def _videos(itinerary: Json, films: Sequence[Json]) -> list[int]:
    """The itinerary's films: those it had, and those of this import."""
    return list(dict.fromkeys([*ids_of(itinerary.get("videos")), *(film["id"] for film in films)]))


def check(
    itinerary: Mapping[str, Any], count: Mapping[str, int], hero: int | None, schema: Any, findings: Findings
) -> tuple[Json, list[Json]]:
    """The publish checklist, and what stands in the way."""
    total, failed = count["totalImages"], count["failedImages"]
    done = count["processedImages"] + count["skippedImages"]
    checklist = {
        "allImagesProcessed": done >= total,
        "noFailedImages": failed == 0,
        "heroImageSelected": hero is not None,
        "schemaGenerated": bool(schema),
        "schemaValid": findings.status != "fail",
        "metaFieldsFilled": bool(itinerary.get("metaTitle") and itinerary.get("metaDescription")),
    }
    blockers = []
    if not checklist["allImagesProcessed"]:
        blockers.append(("error", f"{total - done} of {total} photos are not processed"))
    if not checklist["noFailedImages"]:
        blockers.append(("error", f"{failed} photos failed"))
    if not checklist["heroImageSelected"]:
        blockers.append(("error", "no hero image"))
    if findings.status == "fail":
        blockers.append(("error", f"structured data invalid: {'; '.join(findings.errors)[:500]}"))
    elif findings.status == "warn":
        blockers.append(("warning", f"structured data: {'; '.join(findings.warnings)[:500]}"))
    if not checklist["metaFieldsFilled"]:
        blockers.append(("warning", "meta title or description is missing"))
    return checklist, [{"reason": reason, "severity": severity} for severity, reason in blockers]


def _close(cms: Cms, event: Mapping[str, Any], job: Json, cms_id: int, status: str, reasons: list[str]) -> Json:
    """Complete the job, unless somebody cancelled it or took it over meanwhile."""
    current = cms.get("itinerary-jobs", job["id"])
    if current is None:
        raise JobNotFound(f"there is no job {job['id']}")
    require_owned(current, event)
    moment = now()
    began = moment_of(current.get("startedAt"))
    duration = round((datetime.now(UTC) - began).total_seconds(), 1) if began else 0.0
    outcome = f"{status}: {'; '.join(reasons)}" if reasons else status
    notes = [
        line
        for line in str(current.get("notes") or "").splitlines()
        if line and not line.startswith(("needs_attention", "ready_for_review"))
    ]
    conditions: list[tuple[str, str, Any]] = [("id", "equals", job["id"]), ("cancelRequestedAt", "exists", False)]
    if event.get("executionName"):
        conditions.append(("executionName", "equals", event["executionName"]))
    changed = cms.update_where(
        "itinerary-jobs",
        conditions,
        {
            "status": "completed",
            "currentPhase": "Complete",
            "phase4CompletedAt": moment,
            "completedAt": moment,
            "duration": duration,
            "progress": 100,
            "payloadId": str(cms_id),
            "processedItinerary": cms_id,
            "notes": "\n".join([*notes, outcome]),
            **NO_ERROR,
        },
    )
    if not changed:
        raise JobCancelled(f"job {job['id']} was cancelled or taken over while it was finalized")
    return changed[0]
