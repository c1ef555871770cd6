"""The third step: an itinerary's film, from HLS to MP4. Nothing that happens to a film stops an import."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from scraper import keys
from scraper.cms import Cms, id_of, ids_of
from scraper.errors import CmsError, FilmError
from scraper.jobs import counters, enter, films_of, moment_of, notify, now, number_in, statuses, step
from scraper.settings import Settings
from scraper.transform.richtext import Json
from stepwell import toolkit
from stepwell.toolkit import aws, http
from stepwell.toolkit.logs import logger

log = logger(__name__)

FFMPEG_SECONDS = 300
CALL_SECONDS = 880.0
LEAST_BYTES = 1000
MAX_UPLOAD = 4 * 1024**2
"""Bytes of a film that fit into the CMS's bodies; of a larger one the CMS keeps the beginning, as it keeps smaller photos."""


def process_films(cms: Cms, settings: Settings, event: Mapping[str, Any]) -> Json:
    """Event: `{jobId, itineraryId, processVideosOnly: true}`. Every film that waits, one after the other, to its end."""
    cms_id = number_in(event, "itineraryId")
    with step(cms, event, "image-processor") as job:
        rows = statuses(cms, job["id"])
        problems: list[str] = []
        waiting = [row for row in films_of(rows) if row["status"] in ("pending", "processing")]
        if waiting and not settings.video_processor:
            log.warning("films are skipped: LAMBDA_VIDEO_PROCESSOR_ARN is not set", event_type="films_skipped")
            waiting = []
        for row in waiting:
            request = {
                "jobId": str(job["id"]),
                "itineraryId": str(cms_id),
                "hlsUrl": row["sourceS3Key"],
                "videoContext": row.get("videoContext") or "hero",
                "statusId": row["id"],
                "executionName": event.get("executionName"),
            }
            try:
                result = _processor(cms, settings, request)
                if not result.get("success"):
                    problems.append(str(result.get("error") or "the film failed"))
            except Exception as error:  # a film is never worth an import
                log.error("film failed", event_type="film_failed", exc_info=error)
                problems.append(f"{type(error).__name__}: {error}")
        change: Json = {"phase2CompletedAt": now(), "currentPhase": "Phase 3: Labeling Images"}
        if problems:
            change["videoProcessingError"] = "; ".join(problems)[:1000]
        cms.update("itinerary-jobs", job["id"], change)
        count = counters(rows)
        done, failed = count["processedImages"] + count["skippedImages"], count["failedImages"]
        text = f"Photos processed: {done} of {count['totalImages']}" + (f", {failed} failed" if failed else "")
        notify(cms, "warning" if failed else "success", text, job=job, itinerary=cms_id)
        return {"jobId": str(job["id"]), "itineraryId": str(cms_id), "remaining": 0}


def _processor(cms: Cms, settings: Settings, request: Json) -> Json:
    """Calls the video processor, a function of its own because it needs ffmpeg, disk and time.

    By Lambda's API: of Stepwell when `STEPWELL_API_URL` says where, of AWS on the `aws` backend. A local run that serves no API
    has one machine for all its functions anyway: it does the work here.
    """
    url = os.environ.get("STEPWELL_API_URL", "").strip().rstrip("/")
    if url:
        name = settings.video_processor
        path = f"{url}/2015-03-31/functions/{name}/invocations"
        with http.client(timeout=CALL_SECONDS) as client:
            try:
                answer = http.check(client.post(path, json=request))
            except httpx.HTTPError as error:
                raise FilmError(f"the video processor cannot be called: {type(error).__name__}") from error
        return _answered(answer.content, "x-amz-function-error" in answer.headers)
    if os.environ.get("STEPWELL_BACKEND") == "aws":
        reply = aws.client("lambda").invoke(FunctionName=settings.video_processor, Payload=json.dumps(request).encode())
        return _answered(reply["Payload"].read(), "FunctionError" in reply)
    return process_film(cms, settings, request)


def _answered(payload: bytes, failed: bool) -> Json:
    document = json.loads(payload)
    if failed or not isinstance(document, dict):
        raise FilmError(f"the video processor failed: {str(document)[:300]}")
    return document


def process_film(cms: Cms, settings: Settings, event: Mapping[str, Any]) -> Json:
    """The video processor. Event: `{jobId, itineraryId, hlsUrl, videoContext, statusId}`. Never raises: `{success, error?}`."""
    status_id: int | None = None
    try:
        status_id = number_in(event, "statusId")
        enter(cms, number_in(event, "jobId"), event)
        return _film(cms, settings, event, status_id)
    except Exception as error:
        log.error("film failed", event_type="film_failed", exc_info=error)
        text = f"{type(error).__name__}: {error}"[:500]
        if status_id is not None:
            try:
                cms.update("image-statuses", status_id, {"status": "failed", "error": text, "completedAt": now()})
            except CmsError as problem:
                log.error("the film's row cannot be written", event_type="cms_failed", exc_info=problem)
        return {"success": False, "error": text}


def _film(cms: Cms, settings: Settings, event: Mapping[str, Any], status_id: int) -> Json:
    cms_id, url = number_in(event, "itineraryId"), str(event.get("hlsUrl") or "")
    context = str(event.get("videoContext") or "hero")
    row = cms.get("image-statuses", status_id)
    if row is None:
        raise FilmError(f"there is no row {status_id}")
    earlier = row.get("startedAt")
    cms.update("image-statuses", status_id, {"status": "processing", "startedAt": now()})
    known = cms.first("media", ("sourceS3Key", "equals", url))
    if known is not None:
        return _known(cms, known, cms_id, status_id, context, earlier)
    _require_host(url, settings)
    made_at = moment_of(row.get("createdAt"))
    # The row's own time: an attempt that is made again writes the same object, not another one.
    epoch_ms = int(made_at.timestamp() * 1000) if made_at else 0
    key = keys.film_key(cms_id, context, epoch_ms)
    with tempfile.TemporaryDirectory(prefix="film-") as folder:
        path = Path(folder) / "film.mp4"
        convert(url, path)
        toolkit.bucket(settings.bucket).upload_file(
            path, key, content_type="video/mp4", cache_control=keys.CACHE_CONTROL
        )
        media = _create_media(cms, settings, path, key, url, context, cms_id)
    cms.update(
        "image-statuses",
        status_id,
        {"status": "complete", "mediaId": str(media["id"]), "error": None, "completedAt": now()},
    )
    _attach(cms, cms_id, int(media["id"]), context)
    return {"success": True, "mediaId": media["id"]}


def _known(cms: Cms, media: Json, cms_id: int, status_id: int, context: str, earlier: Any) -> Json:
    """A film that is there already. It is linked to its own itinerary only: films never go from one to another."""
    source = str(media.get("sourceItinerary") or "")
    own = source == str(cms_id)
    resumed = own and bool(earlier) and media["createdAt"] >= str(earlier)
    cms.update(
        "image-statuses",
        status_id,
        {
            "status": "complete" if resumed else "skipped",
            "mediaId": str(media["id"]),
            "error": None,
            "completedAt": now(),
        },
    )
    if own:
        _attach(cms, cms_id, int(media["id"]), context)
        return {"success": True, "mediaId": media["id"], "skipped": not resumed}
    return {"success": True, "skipped": True, "reason": "cross-itinerary" if source else "no-source-itinerary"}


def _require_host(url: str, settings: Settings) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or parts.netloc.lower() != settings.video_host:
        raise FilmError(f"the film is not on {settings.video_host}")


def convert(url: str, path: Path) -> None:
    """HLS to MP4 without encoding. ffmpeg may complain as long as there is a film. Raises FilmError."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error", "-i", url]
    command += ["-c", "copy", "-bsf:a", "aac_adtstoasc", "-movflags", "+faststart", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FFMPEG_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise FilmError(f"ffmpeg took more than {FFMPEG_SECONDS} s") from None
    size = path.stat().st_size if path.exists() else 0
    if done.returncode != 0:
        log.warning("ffmpeg complained", event_type="ffmpeg_failed", code=done.returncode, output=done.stderr[-500:])
    if size < LEAST_BYTES:
        raise FilmError(f"ffmpeg made {size} bytes: {done.stderr.strip()[-300:]}")


def _beginning(path: Path) -> Path:
    """As much of a film as the CMS takes, without encoding. Raises FilmError."""
    import imageio_ffmpeg

    short = path.with_name("beginning.mp4")
    _, seconds = imageio_ffmpeg.count_frames_and_secs(str(path))
    for part in (0.9, 0.6, 0.3):  # the bit rate is not the same everywhere
        limit = seconds * part * MAX_UPLOAD / path.stat().st_size
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error", "-i", str(path)]
        command += ["-t", f"{limit:.3f}", "-c", "copy", str(short)]
        subprocess.run(command, capture_output=True, timeout=FFMPEG_SECONDS, check=False)
        if short.exists() and LEAST_BYTES <= short.stat().st_size <= MAX_UPLOAD:
            return short
    raise FilmError("the film cannot be shortened for the CMS")


def _create_media(cms: Cms, settings: Settings, path: Path, key: str, url: str, context: str, cms_id: int) -> Json:
    """The film's media document. An upload collection takes documents with a file only, and the CMS bodies of 4.5 MB at most.

    Its URLs are those of the whole film in the store.
    """
    if path.stat().st_size > MAX_UPLOAD:
        path = _beginning(path)
    cdn = keys.plain_url(settings.imgix_domain, key)
    fields = {
        "alt": "Film of the journey",
        "sourceS3Key": url,
        "originalS3Key": key,
        "imgixUrl": cdn,
        "url": cdn,
        "mediaType": "video",
        "videoContext": context if context in ("hero", "background", "gallery") else "gallery",
        "processingStatus": "complete",
        "labelingStatus": "skipped",
        "sourceItinerary": str(cms_id),
        "usedInItineraries": [cms_id],
    }
    filename = re.sub(r"^.*/", "", key)
    try:
        return cms.upload(path.read_bytes(), filename, "video/mp4", fields)
    except CmsError as error:
        found = cms.first("media", ("sourceS3Key", "equals", url)) if error.is_unique_violation else None
        if found is None:
            raise
        return found


def _attach(cms: Cms, cms_id: int, media_id: int, context: str) -> None:
    """The film is among the itinerary's, and at its head if that is what it is for and nothing is there."""
    itinerary = cms.get("itineraries", cms_id)
    if itinerary is None:
        raise FilmError(f"there is no itinerary {cms_id}")
    change: Json = {}
    known = ids_of(itinerary.get("videos"))
    if media_id not in known:
        change["videos"] = [*known, media_id]
    if context == "hero" and id_of(itinerary.get("heroVideo")) is None:
        change["heroVideo"] = media_id
    if change:
        cms.update("itineraries", cms_id, change)
