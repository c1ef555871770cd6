"""The fourth step, repeated until nothing waits: the vision model labels a batch of the job's photos."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from scraper.claims import STALE_SECONDS, Claims
from scraper.cms import Cms
from scraper.errors import LabelError, NoProgress
from scraper.images import model_copy
from scraper.jobs import media_ids, moment_of, now, number_in, photos_of, statuses, step
from scraper.photos import COUNTRIES, check_passes
from scraper.settings import Settings
from scraper.transform.richtext import Json
from scraper.vision import Vision
from stepwell import toolkit
from stepwell.toolkit import http
from stepwell.toolkit.errors import ToolkitError
from stepwell.toolkit.logs import logger

log = logger(__name__)

RUNS = "label-runs"
"""The table that remembers which photos a job set out to label."""
POLLS, POLL_SECONDS = 15, 2.0
"""How long one pass waits for photos that other jobs are labelling."""
MAX_WAITS = 120
"""Passes: an hour. A claim lasts a quarter of one."""


def label_batch(cms: Cms, settings: Settings, event: Mapping[str, Any]) -> Json:
    """Event: `{jobId, itineraryId, executionName?, labelResult?}`. Labels the next photos; how many remain.

    One photo's failure is that photo's status. Raises NoProgress, ConfigurationError, and what the CMS raises.
    """
    cms_id = number_in(event, "itineraryId")
    with step(cms, event, "labeler") as job:
        return _batch(cms, settings, event, job, cms_id)


def _batch(cms: Cms, settings: Settings, event: Mapping[str, Any], job: Json, cms_id: int) -> Json:
    runs, claims = toolkit.table(RUNS), Claims(job["id"])
    rows = photos_of(statuses(cms, job["id"]))
    ids = media_ids(rows)  # by the job's rows: a duplicate belongs to another itinerary as well
    media = _look(cms, ids)
    _take_back(cms, claims, media)
    work = _Work.of(media, claims)
    run = runs.get(str(job["id"])) if job.get("labelingStartedAt") else None
    if run is None:
        run = {"jobId": str(job["id"]), "wanted": [*work.mine, *work.elsewhere]}
        runs.put(run)
        began = {
            "currentPhase": "Phase 3: Labeling Images",
            "labelingStartedAt": now(),
            "imagesLabeled": 0,
            "imagesToLabel": len(work.mine) + len(work.elsewhere),
        }
        cms.update("itinerary-jobs", job["id"], began)
    wanted = [int(id) for id in run["wanted"]]
    before = event.get("labelResult") or {}
    passes, waits = int(before.get("batchIndex") or 0), int(before.get("waits") or 0)
    result: Json = {"jobId": str(job["id"]), "itineraryId": str(cms_id), "remaining": 0}
    if work.mine:
        passes += 1
        check_passes(passes, len(rows), settings.batch_size)
        batch = work.mine[: settings.batch_size]
        labeler = Labeler(cms, settings, rows, claims)
        with ThreadPoolExecutor(settings.label_concurrency) as pool:
            outcomes = list(pool.map(lambda id: labeler.settle(media[id]), batch))
        media = _look(cms, ids)
        left = _Work.of(media, claims)
        if set(batch) <= set(left.mine):
            raise NoProgress(f"{len(left.mine)} photos wait for labels, and a batch of {len(batch)} settled none")
        result |= {"labeled": outcomes.count(True), "failed": outcomes.count(False)}
    elif work.elsewhere:
        waits += 1
        if waits > MAX_WAITS:
            raise NoProgress(
                f"{len(work.elsewhere)} photos are being labelled by other jobs, and do not come to an end"
            )
        media, left = _wait(cms, settings, claims, ids, work)
    else:
        left = work
    _write_count(cms, job, media, wanted)
    remaining = len(left.mine) + len(left.elsewhere)
    if not remaining:
        _finish(cms, job)
    return result | {"remaining": remaining, "batchIndex": passes} | ({"waits": waits} if waits else {})


@dataclass(frozen=True)
class _Work:
    """Photos without a label yet: those this job may label, and those other jobs are labelling at this moment."""

    mine: list[int]
    elsewhere: list[int]

    @classmethod
    def of(cls, media: Mapping[int, Json], claims: Claims) -> _Work:
        pending = [id for id, found in media.items() if found["labelingStatus"] == "pending"]
        owners = claims.owners(pending)
        mine = [id for id in pending if owners.get(id, True)]
        processing = [id for id, found in media.items() if found["labelingStatus"] == "processing"]
        return cls(mine, [*(id for id in pending if id not in set(mine)), *processing])


def _look(cms: Cms, ids: list[int]) -> dict[int, Json]:
    """The job's photos, in the order of its rows."""
    found = {media["id"]: media for media in cms.list_in("media", "id", ids, ("mediaType", "not_equals", "video"))}
    return {id: found[id] for id in ids if id in found}


def _take_back(cms: Cms, claims: Claims, media: Mapping[int, Json]) -> None:
    """What was being labelled by an attempt of this job that died, or by anybody who is silent for too long, waits again."""
    processing = [id for id, found in media.items() if found["labelingStatus"] == "processing"]
    owners = claims.owners(processing)
    for id in processing:
        if owners.get(id) or (id not in owners and _stale(media[id])):
            cms.update("media", id, {"labelingStatus": "pending"})
            media[id]["labelingStatus"] = "pending"


def _wait(cms: Cms, settings: Settings, claims: Claims, ids: list[int], work: _Work) -> tuple[dict[int, Json], _Work]:
    """Wait for other jobs' labels: they are this itinerary's as well, and its hero is chosen by them."""
    media, left = _look(cms, ids), work
    for _ in range(POLLS):
        time.sleep(POLL_SECONDS * settings.pause)
        media = _look(cms, ids)
        left = _Work.of(media, claims)
        if left.mine or len(left.elsewhere) < len(work.elsewhere):
            break
    return media, left


def _write_count(cms: Cms, job: Json, media: Mapping[int, Json], wanted: list[int]) -> None:
    """How many of the photos that waited at the beginning have labels: counted, since adding up would count twice."""
    labeled = sum(media.get(id, {}).get("labelingStatus") == "complete" for id in wanted)
    cms.update("itinerary-jobs", job["id"], {"imagesLabeled": labeled, "heartbeatAt": now()})


def _finish(cms: Cms, job: Json) -> None:
    moment = now()
    change = {"phase3CompletedAt": moment, "labelingCompletedAt": moment, "currentPhase": "Phase 4: Finalizing"}
    if not job.get("phase2CompletedAt"):
        change["phase2CompletedAt"] = moment
    cms.update("itinerary-jobs", job["id"], change)


class Labeler:
    """Labels the photos of one job. Safe for several threads."""

    def __init__(
        self, cms: Cms, settings: Settings, rows: list[Json], claims: Claims, vision: Vision | None = None
    ) -> None:
        self._cms = cms
        self._claims = claims
        self._settings = settings
        self._by_media = {str(row["mediaId"]): row for row in reversed(rows) if row.get("mediaId")}
        self._by_key = {row["sourceS3Key"]: row for row in reversed(rows)}
        self._vision = vision or Vision(settings)
        self._client = http.client(timeout=60, follow_redirects=True)

    def settle(self, media: Json) -> bool | None:
        """Label one photo; whether that was possible. None: another job was faster.

        Raises only when the CMS cannot be written; then the claim stays, for this job's next attempt.
        """
        if not self._claims.take(media["id"]):
            return None
        waiting = [("id", "equals", media["id"]), ("labelingStatus", "equals", "pending")]
        outcome = None
        if self._cms.update_where("media", waiting, {"labelingStatus": "processing"}):
            try:
                change = self._label(media)
            except (LabelError, ToolkitError, httpx.HTTPError, OSError, ValueError) as error:
                log.warning("photo not labelled", event_type="label_failed", media_id=media["id"], problem=str(error))
                change = {"labelingStatus": "failed", "processingError": (str(error) or type(error).__name__)[:500]}
            self._cms.update("media", media["id"], {**change, "labeledAt": now()})
            outcome = change["labelingStatus"] == "complete"
        self._claims.drop(media["id"])
        return outcome

    def context(self, media: Json) -> Json:
        """What is known about a photo: from this job's row, else from the import that brought it."""
        row = self._by_media.get(str(media["id"])) or self._by_key.get(str(media.get("sourceS3Key"))) or {}
        return {
            "propertyName": row.get("propertyName") or media.get("sourceProperty"),
            "segmentType": row.get("segmentType") or media.get("sourceSegmentType"),
            "segmentTitle": row.get("segmentTitle") or media.get("sourceSegmentTitle"),
            "dayIndex": row.get("dayIndex") or media.get("sourceDayIndex"),
            "country": row.get("country") or media.get("country"),
        }

    def _label(self, media: Json) -> Json:
        data, mime = self.source(media)
        context = self.context(media)
        labels = self._vision.label(model_copy(data, mime), {name: v for name, v in context.items() if v != "Unknown"})
        country = context["country"]
        source = {
            "sourceProperty": context["propertyName"],
            "sourceSegmentType": context["segmentType"],
            "sourceSegmentTitle": context["segmentTitle"],
            "sourceDayIndex": context["dayIndex"],
            "country": country if country in COUNTRIES else "Unknown" if country else None,
        }
        return {
            **labels,
            "alt": labels["altText"],
            "isHero": labels["composition"] == "hero" and labels["quality"] == "high",
            **{name: value for name, value in source.items() if value is not None},
            "labelingStatus": "complete",
            "processingError": None,
        }

    def source(self, media: Json) -> tuple[bytes, str]:
        """A photo's bytes: from the store, and only where that is not possible from the CDN. Raises LabelError."""
        key, problem = media.get("originalS3Key"), "no key"
        if key and self._settings.bucket:
            try:
                return toolkit.bucket(self._settings.bucket).get(key), media.get("mimeType") or "image/jpeg"
            except (ToolkitError, OSError) as error:
                problem = f"{type(error).__name__}: {error}"
                log.warning("not in the store, asking the CDN", event_type="store_failed", key=key, problem=problem)
        url = media.get("imgixUrl") or media.get("url")
        if not url or not str(url).startswith(("http://", "https://")):
            raise LabelError(f"no source: store: {problem}; no URL")
        origin, domain = self._settings.imgix_origin, f"https://{self._settings.imgix_domain}"
        if origin and str(url).startswith(domain):
            url = origin + str(url).removeprefix(domain)
        try:
            answer = http.check(self._client.get(url))
        except (http.HttpFailure, httpx.HTTPError) as error:
            raise LabelError(f"no source: store: {problem}; CDN: {error}") from error
        return answer.content, answer.headers.get("content-type", "image/jpeg").split(";")[0]


def relabel(cms: Cms, cms_id: int | None = None) -> int:
    """Photos whose label failed wait again, those of one itinerary or all; how many. For the next import or batch of theirs."""
    conditions: list[tuple[str, str, Any]] = [
        ("labelingStatus", "equals", "failed"),
        ("mediaType", "not_equals", "video"),
    ]
    if cms_id is not None:
        conditions.append(("usedInItineraries", "in", [cms_id]))
    return len(cms.update_where("media", conditions, {"labelingStatus": "pending", "processingError": None}))


def _stale(media: Mapping[str, Any]) -> bool:
    touched = moment_of(media.get("updatedAt"))
    return touched is None or time.time() - touched.timestamp() > STALE_SECONDS
