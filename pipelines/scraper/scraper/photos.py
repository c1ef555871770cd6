"""The second step, repeated until nothing waits: one chunk of photos goes into the store and the CMS."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import stamina

from scraper import keys
from scraper.claims import CLAIMS, STALE_SECONDS
from scraper.cms import Cms, ids_of
from scraper.errors import CmsError, NoProgress, PhotoError
from scraper.images import web_copy
from scraper.jobs import SETTLED, counters, moment_of, now, number_in, photos_of, statuses, step
from scraper.settings import Settings
from scraper.transform.richtext import Json
from stepwell import toolkit
from stepwell.toolkit import http, leases
from stepwell.toolkit.errors import LeaseUnavailable, StorageError
from stepwell.toolkit.logs import logger
from stepwell.toolkit.objects import Bucket

log = logger(__name__)

PARALLEL = 3
DOWNLOAD_SECONDS = 60.0
USAGE_SECONDS = 60.0
USAGE_WAITING = leases.Waiting(tries=60, first=0.05, factor=1.5, longest=1.0, total=30.0, live_heartbeat=0.0)
MAX_BYTES = 200 * 1024**2
COUNTRIES = frozenset(
    (
        "Tanzania", "Kenya", "Botswana", "Rwanda", "South Africa", "Zimbabwe", "Zambia", "Namibia", "Uganda", "Mozambique", "Unknown",
    )
)  # fmt: skip


def process_chunk(cms: Cms, settings: Settings, event: Mapping[str, Any]) -> Json:
    """Event: `{jobId, itineraryId, executionName?, imageResult?}`. The next photos that wait; how many remain.

    One photo's failure is that row's status. Raises NoProgress when the loop would not end, and what the CMS raises about the job.
    """
    cms_id = number_in(event, "itineraryId")
    with step(cms, event, "image-processor") as job:
        rows = photos_of(statuses(cms, job["id"]))
        for row in rows:
            if row["status"] == "processing":  # left over by an attempt that died
                cms.update("image-statuses", row["id"], {"status": "pending"})
                row["status"] = "pending"
        pending = [row for row in rows if row["status"] == "pending"]
        passes = int((event.get("imageResult") or {}).get("chunkIndex") or 0) + 1
        result = {"jobId": str(job["id"]), "itineraryId": str(cms_id), "remaining": 0, "chunkIndex": passes}
        if not pending:
            _write_counters(cms, job, cms_id, statuses(cms, job["id"]))
            return result
        check_passes(passes, len(rows), settings.chunk_size)
        importer = Importer(cms, settings, cms_id)
        chunk = pending[: settings.chunk_size]
        with ThreadPoolExecutor(PARALLEL) as pool:
            outcomes = list(pool.map(importer.settle, chunk))
        after = statuses(cms, job["id"])
        _write_counters(cms, job, cms_id, after)
        waiting = {row["id"] for row in photos_of(after) if row["status"] not in SETTLED}
        if waiting and not {row["id"] for row in chunk} - waiting:
            raise NoProgress(f"{len(waiting)} photos wait, and a pass over {len(chunk)} of them settled none")
        log.info("chunk done", event_type="chunk_done", passes=passes, remaining=len(waiting))
        return result | {
            "remaining": len(waiting),
            "processed": outcomes.count("complete"),
            "skipped": outcomes.count("skipped"),
            "failed": outcomes.count("failed"),
        }


def check_passes(passes: int, total: int, size: int) -> None:
    """Raises NoProgress when a loop took far more passes than its items need."""
    limit = math.ceil(total / size) * 3 + 10
    if passes > limit:
        raise NoProgress(f"pass {passes} over {total} items; {limit} are enough")


def _write_counters(cms: Cms, job: Json, cms_id: int, rows: list[Json]) -> None:
    count = counters(rows)
    done = count["processedImages"] + count["skippedImages"] + count["failedImages"]
    progress = min(99, round(100 * done / count["totalImages"])) if count["totalImages"] else 0
    cms.update("itinerary-jobs", job["id"], {**count, "progress": progress, "heartbeatAt": now()})


@dataclass(frozen=True)
class Imported:
    """A media document for a photo. `skipped`: it was there before."""

    media_id: int
    skipped: bool


class Importer:
    """Takes photos over for one itinerary. Safe for several threads."""

    def __init__(
        self,
        cms: Cms,
        settings: Settings,
        cms_id: int,
        *,
        bucket: Bucket | None = None,
    ) -> None:
        self._cms = cms
        self._settings = settings
        self._id = cms_id
        self._bucket = bucket or toolkit.bucket(settings.bucket)
        self._claims = toolkit.table(CLAIMS)
        self._client = http.client(timeout=DOWNLOAD_SECONDS, follow_redirects=True)

    def settle(self, row: Json) -> str:
        """Bring one row to its end: complete, skipped or failed. Raises only when the row itself cannot be written."""
        earlier = row.get("startedAt")
        self._cms.update("image-statuses", row["id"], {"status": "processing", "startedAt": now()})
        change: Json
        try:
            found = self.take(row, earlier)
            change = {
                "status": "skipped" if found.skipped else "complete",
                "mediaId": str(found.media_id),
                "error": None,
            }
        except (PhotoError, CmsError, StorageError, http.HttpFailure, httpx.HTTPError, OSError, ValueError) as error:
            log.warning("photo failed", event_type="photo_failed", key=row["sourceS3Key"], problem=str(error))
            change = {"status": "failed", "error": (str(error) or type(error).__name__)[:500]}
        self._cms.update("image-statuses", row["id"], {**change, "completedAt": now()})
        return str(change["status"])

    def take(self, row: Json, earlier: str | None = None) -> Imported:
        """The media document of a row's photo, made if need be. `earlier`: when an attempt that died began.

        Raises PhotoError, and what the store and the CMS raise.
        """
        key = row["sourceS3Key"]
        found = self._known(key)
        if found is not None:
            return self._linked(found, earlier)
        data, mime = self._download(key)
        original = keys.original_key(self._id, key)
        self._put(original, data, mime)
        copy = web_copy(data, mime)
        try:
            made = self._cms.upload(
                copy.data, keys.cms_filename(key, copy.converted), copy.mime, self._fields(row, key, original)
            )
        except CmsError as error:
            if not error.is_unique_violation:
                raise
            found = self._known(key)  # somebody else was faster
            if found is None:
                raise PhotoError(f"the CMS says that the photo is there, but does not have it: {error}") from error
            return self._linked(found, earlier)
        if self._cms.get("media", made["id"]) is None:
            raise PhotoError(f"the CMS gave media {made['id']} and does not have it")
        return Imported(int(made["id"]), skipped=False)

    def _known(self, key: str) -> Json | None:
        return self._cms.first("media", ("sourceS3Key", "equals", key))

    def _linked(self, media: Json, earlier: str | None) -> Imported:
        """A photo that is there already: this itinerary uses it too, and a label that failed is tried again."""
        if self._usage(media):
            try:
                # Two itineraries that take over one photo at the same time must not forget each other.
                with leases.acquire(
                    self._claims,
                    f"usage:{media['id']}",
                    ttl=USAGE_SECONDS,
                    waiting=USAGE_WAITING,
                    attributes={"until": int(time.time()) + 3600},
                ):
                    change = self._usage(self._cms.get("media", media["id"]) or media)
                    if change:
                        self._cms.update("media", media["id"], change)
            except (CmsError, LeaseUnavailable) as error:
                log.warning("usage not written", event_type="usage_failed", media_id=media["id"], problem=str(error))
        # What this row's own dead attempt made is no duplicate: the counters must be those of a run without the crash.
        own = (
            bool(earlier) and str(media.get("sourceItinerary")) == str(self._id) and media["createdAt"] >= str(earlier)
        )
        return Imported(int(media["id"]), skipped=not own)

    def _usage(self, media: Json) -> Json:
        """What is to be changed in a photo's document so that it is this itinerary's as well."""
        change: Json = {}
        used = ids_of(media.get("usedInItineraries"))
        if self._id not in used:
            change["usedInItineraries"] = [*used, self._id]
        if media.get("labelingStatus") == "failed" or _stale(media):
            change |= {"labelingStatus": "pending", "processingError": None}
        return change

    def _download(self, key: str) -> tuple[bytes, str]:
        url = keys.photo_url(self._settings.image_base, key)
        with (
            http.raising(
                {"client": PhotoError, "server": PhotoError, "not_found": PhotoError, "unauthorized": PhotoError}
            ),
            http.download(self._client, url, resumes=2) as body,
        ):
            data = bytearray()
            for piece in body:
                data += piece
                if len(data) > MAX_BYTES:
                    raise PhotoError(f"{key} has more than {MAX_BYTES} bytes")
            mime = body.headers.get("content-type", "").split(";")[0].strip() or "image/jpeg"
        if not data:
            raise PhotoError(f"{key} is empty")
        return bytes(data), mime

    def _put(self, key: str, data: bytes, mime: str) -> None:
        for attempt in stamina.retry_context(
            on=StorageError,
            attempts=3,
            timeout=None,
            wait_initial=2.0 * self._settings.pause,
            wait_jitter=0.0,
            wait_exp_base=2.0,
        ):
            with attempt:
                self._bucket.put(key, data, content_type=mime, cache_control=keys.CACHE_CONTROL)

    def _fields(self, row: Json, key: str, original: str) -> Json:
        country = row.get("country")
        context = {
            "sourceProperty": row.get("propertyName"),
            "sourceSegmentType": row.get("segmentType"),
            "sourceSegmentTitle": row.get("segmentTitle"),
            "sourceDayIndex": row.get("dayIndex"),
            "country": country if country in COUNTRIES else "Unknown" if country else None,
        }
        return {
            "alt": keys.alt_text(key),
            "sourceS3Key": key,
            "originalS3Key": original,
            "imgixUrl": keys.imgix_url(self._settings.imgix_domain, original),
            "mediaType": "image",
            "sourceItinerary": str(self._id),
            "processingStatus": "complete",
            "labelingStatus": "pending",
            "usedInItineraries": [self._id],
            **{name: value for name, value in context.items() if value is not None},
        }


def _stale(media: Mapping[str, Any]) -> bool:
    """Whether a label has been in the making for so long that nobody makes it any more."""
    if media.get("labelingStatus") != "processing":
        return False
    touched = moment_of(media.get("updatedAt"))
    return touched is None or time.time() - touched.timestamp() > STALE_SECONDS
