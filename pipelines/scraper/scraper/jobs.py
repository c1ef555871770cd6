"""A job as the machine's functions see it: who owns it, how it fails, what its counters are, whom it tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from scraper.claims import Claims
from scraper.cms import Cms
from scraper.errors import CmsError, InvalidEvent, JobCancelled, JobNotFound, JobSuperseded
from scraper.transform.richtext import Json
from stepwell.toolkit import logs
from stepwell.toolkit.logs import logger

log = logger(__name__)

ACTIVE = ("pending", "processing")
SETTLED = ("complete", "skipped", "failed")
NO_ERROR: Mapping[str, Any] = {"errorMessage": None, "errorPhase": None, "failedAt": None}
MAX_MESSAGE = 1000


def now() -> str:
    """The time as the CMS writes it: UTC, milliseconds."""
    return iso(datetime.now(UTC))


def iso(moment: datetime) -> str:
    """A time as the CMS writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment_of(value: Any) -> datetime | None:
    """A time the CMS gave."""
    try:
        return datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return None


def number_in(event: Mapping[str, Any], name: str) -> int:
    """A CMS id of the event, which may be text. Raises InvalidEvent."""
    try:
        return int(event[name])
    except (KeyError, TypeError, ValueError):
        raise InvalidEvent(f"{name} is missing or no id of the CMS: {event.get(name)!r}") from None


def require_owned(job: Mapping[str, Any], event: Mapping[str, Any]) -> None:
    """Raises JobCancelled, JobSuperseded. An event without `executionName` (a step run by hand) belongs to any job."""
    if job.get("cancelRequestedAt"):
        raise JobCancelled(f"job {job['id']} was cancelled")
    name = event.get("executionName")
    if name and job.get("executionName") != name:
        raise JobSuperseded(f"job {job['id']} belongs to {job.get('executionName') or 'no execution'}, not to {name}")


def enter(cms: Cms, job_id: int, event: Mapping[str, Any]) -> Json:
    """The job, when this execution may work on it; a failure of an earlier attempt is taken back, the heartbeat written.

    Raises JobNotFound, JobCancelled, JobSuperseded.
    """
    job = cms.get("itinerary-jobs", job_id)
    if job is None:
        raise JobNotFound(f"there is no job {job_id}")
    require_owned(job, event)
    change: Json = {"heartbeatAt": now()}
    if job.get("status") == "failed":
        change |= {"status": "processing", **NO_ERROR}
    cms.update("itinerary-jobs", job_id, change)
    return {**job, **change}


@contextmanager
def step(cms: Cms, event: Mapping[str, Any], phase: str) -> Iterator[Json]:
    """One function's work on a job: the entry guard before it, the failure written when it raises.

    Raises InvalidEvent before the CMS is touched, what `enter` raises, and what the work raises.
    """
    job_id = number_in(event, "jobId")
    with logs.bind(job_id=job_id, function_name=phase):
        job = enter(cms, job_id, event)
        try:
            yield job
        except (JobCancelled, JobSuperseded):
            raise
        except Exception as error:
            log.error("the step failed", event_type="step_failed", phase=phase, exc_info=error)
            try:
                fail(cms, job_id, event, f"{error}" or type(error).__name__, phase)
            except CmsError as problem:
                log.error("the failure cannot be written", event_type="cms_failed", exc_info=problem)
            raise


def fail(cms: Cms, job_id: int, event: Mapping[str, Any], message: str, phase: str) -> bool:
    """Mark the job failed if it is active and this execution's; whether that was so."""
    conditions: list[tuple[str, str, Any]] = [("id", "equals", job_id), ("status", "in", ACTIVE)]
    if event.get("executionName"):
        conditions.append(("executionName", "equals", event["executionName"]))
    changed = cms.update_where(
        "itinerary-jobs",
        conditions,
        {"status": "failed", "errorMessage": message[:MAX_MESSAGE], "errorPhase": phase, "failedAt": now()},
    )
    return bool(changed)


def statuses(cms: Cms, job_id: int) -> list[Json]:
    """All rows of a job, photos and films, by id."""
    return cms.list("image-statuses", ("job", "equals", job_id))


def photos_of(rows: list[Json]) -> list[Json]:
    """Those that are photos."""
    return [row for row in rows if row.get("mediaType") != "video"]


def films_of(rows: list[Json]) -> list[Json]:
    """Those that are films."""
    return [row for row in rows if row.get("mediaType") == "video"]


def counters(rows: list[Json]) -> Json:
    """A job's counters, counted anew from its rows: adding up would count twice what is tried twice."""
    photos = photos_of(rows)
    count = {status: sum(row.get("status") == status for row in photos) for status in SETTLED}
    return {
        "totalImages": len(photos),
        "processedImages": count["complete"],
        "skippedImages": count["skipped"],
        "failedImages": count["failed"],
        "totalVideos": len(rows) - len(photos),
    }


def media_ids(rows: list[Json]) -> list[int]:
    """The distinct media of rows that are done, in their order."""
    found = (row.get("mediaId") for row in rows if row.get("status") in ("complete", "skipped"))
    return list(dict.fromkeys(int(id) for id in found if id and str(id).isdigit()))


def release(cms: Cms, job_id: int) -> None:
    """What a dead execution left in the middle waits again: rows and labels in `processing` become `pending`.

    Labels that another job makes at this moment are left to it.
    """
    pending = {"status": "pending"}
    cms.update_where("image-statuses", [("job", "equals", job_id), ("status", "equals", "processing")], pending)
    ids = [int(row["mediaId"]) for row in photos_of(statuses(cms, job_id)) if str(row.get("mediaId") or "").isdigit()]
    claims = Claims(job_id)
    for media in cms.list_in("media", "id", ids, ("labelingStatus", "equals", "processing")):
        if claims.take(media["id"]):
            cms.update("media", media["id"], {"labelingStatus": "pending"})
    for id, own in claims.owners(ids).items():
        if own:
            claims.drop(id)


def notify(
    cms: Cms, type: str, message: str, *, job: Mapping[str, Any] | None = None, itinerary: int | None = None
) -> None:
    """Tell the editors. Never raises; a step that is run again does not say the same twice within one run of the job."""
    try:
        data: Json = {"type": type, "message": message, "read": False}
        if job is not None:
            data["job"] = job["id"]
            began = str(job.get("startedAt") or "")
            said = cms.list("notifications", ("job", "equals", job["id"]), ("type", "equals", type))
            if any(earlier["message"] == message and str(earlier["createdAt"]) >= began for earlier in said):
                return
        if itinerary is not None:
            data["itinerary"] = itinerary
        cms.create("notifications", data)
    except Exception as error:
        log.warning("notification not sent", event_type="notification_failed", problem=str(error))
