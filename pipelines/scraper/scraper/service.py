"""What people and their programs do with jobs: start, watch, cancel, run again, replace a photo. HTTP is in `api`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

from scraper import keys, reconciling
from scraper.cms import Cms, id_of
from scraper.errors import ConfigurationError, PortalUrlError
from scraper.executions import ExecutionError, Executions
from scraper.images import web_copy
from scraper.jobs import ACTIVE, NO_ERROR, counters, moment_of, notify, now, photos_of, release, statuses
from scraper.orchestrating import FRESH
from scraper.portal import PortalUrl
from scraper.settings import Settings
from scraper.transform.richtext import Json
from stepwell import toolkit
from stepwell.toolkit import leases
from stepwell.toolkit.errors import LeaseUnavailable
from stepwell.toolkit.logs import logger
from stepwell.toolkit.records import Table

log = logger(__name__)

STARTS = "starts"
LEASE_SECONDS = 120


class Problem(Exception):
    """An answer that is an error: status, text, and what else the body says."""

    def __init__(self, status: int, message: str, /, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.more = more


class Service:
    """The operations. Raises Problem."""

    def __init__(self, cms: Cms, executions: Executions, settings: Settings, starts: Table | None = None) -> None:
        self._cms = cms
        self._executions = executions
        self._settings = settings
        self._starts = starts or toolkit.table(STARTS)

    # -- starting

    def start(self, url: object, mode: object = None) -> Json:
        """A job for the URL's itinerary, and its execution."""
        try:
            page = PortalUrl.parse(url, self._settings.portal_hosts)
        except PortalUrlError as error:
            raise Problem(400, str(error)) from error
        mode = mode or "create"
        if mode not in ("create", "update"):
            raise Problem(400, "mode must be create or update")
        # The CMS has no transactions over several requests: the lease makes looking and creating one step.
        with self._one_at_a_time(page.itinerary_id):
            self._refuse_active(page.itinerary_id)
            self._require_machine()
            existing = None
            if mode == "update":
                found = self._cms.first("itineraries", ("itineraryId", "equals", page.itinerary_id))
                existing = found["id"] if found else None
            job = self._cms.create(
                "itinerary-jobs",
                {
                    "itrvlUrl": page.url,
                    "itineraryId": page.itinerary_id,
                    "accessKey": page.access_key,
                    "status": "pending",
                    "currentPhase": "Queued",
                    "progress": 0,
                    "startedAt": now(),
                },
            )
            self._execute(job, "", {**_page_input(job), "mode": mode, "existingItineraryId": existing})
        return {
            "success": True,
            "jobId": job["id"],
            "itineraryId": page.itinerary_id,
            "mode": mode,
            "existingItineraryId": existing,
            "message": "The import has started",
        }

    def _one_at_a_time(self, portal_id: str) -> Any:
        try:
            return leases.acquire(
                self._starts,
                f"start:{portal_id}",
                ttl=LEASE_SECONDS,
                waiting=leases.Waiting(tries=50, first=0.2, factor=1.2, longest=1.0, total=20.0),
            )
        except LeaseUnavailable as error:
            raise Problem(409, "this itinerary is being started") from error

    def _refuse_active(self, portal_id: str, *, besides: int | None = None) -> None:
        """409 while another job works on the itinerary. One that is stuck is reconciled first."""
        for attempt in range(2):
            active = [
                job
                for job in self._cms.list(
                    "itinerary-jobs", ("itineraryId", "equals", portal_id), ("status", "in", ACTIVE)
                )
                if job["id"] != besides
            ]
            if not active:
                return
            job = active[0]
            if attempt == 0 and reconciling.is_stuck(job, self._settings.stuck_minutes):
                reconciling.reconcile(self._cms, self._executions, self._settings, job=job["id"])
                continue
            raise Problem(
                409,
                "an import of this itinerary is running",
                existingJobId=job["id"],
                existingJobStatus=job["status"],
                existingJobProgress=job.get("progress") or 0,
                message=f"Job {job['id']} is {job['status']}; wait for it or cancel it",
            )

    def _require_machine(self) -> None:
        if not self._executions.configured:
            raise Problem(500, "the pipeline is not configured: STEP_FUNCTION_ARN is not set")

    def _execute(self, job: Json, kind: str, input: Json) -> None:
        """Give the job a new execution, which owns it from now on. Raises Problem 500, with the job failed."""
        name = f"job-{job['id']}-{kind}{int(time.time() * 1000)}"
        arn = self._executions.arn(name)
        self._cms.update(
            "itinerary-jobs",
            job["id"],
            {"executionName": name, "executionArn": arn, "cancelRequestedAt": None, "heartbeatAt": now()},
        )
        try:
            self._executions.start(name, {**input, "executionName": name})
        except (ExecutionError, ConfigurationError) as error:
            # Without a name, an execution that was started after all finds out that the job is not its own.
            failure = {
                "status": "failed",
                "errorMessage": f"the execution could not be started: {error}",
                "errorPhase": "initialization",
                "failedAt": now(),
                "executionName": None,
            }
            self._cms.update("itinerary-jobs", job["id"], failure)
            raise Problem(500, "the import could not be started", jobId=job["id"]) from error

    # -- watching

    def status(self, id: Any) -> Json:
        """How a job stands."""
        job = self._job(id)
        rows = statuses(self._cms, job["id"])
        failed = [
            {"sourceS3Key": row["sourceS3Key"], "error": row.get("error")} for row in rows if row["status"] == "failed"
        ]
        document = {
            "jobId": job["id"],
            "status": job["status"],
            "progress": job.get("progress") or 0,
            "currentPhase": job.get("currentPhase"),
            "images": {
                "total": job.get("totalImages") or 0,
                "processed": job.get("processedImages") or 0,
                "skipped": job.get("skippedImages") or 0,
                "failed": job.get("failedImages") or 0,
                "labeled": job.get("imagesLabeled") or 0,
            },
            "phases": {name: job.get(name) for name in (f"phase{number}CompletedAt" for number in range(1, 5))},
            "timing": {
                "startedAt": job.get("startedAt"),
                "completedAt": job.get("completedAt"),
                "duration": job.get("duration"),
                "estimatedTimeRemaining": _remaining_seconds(job),
            },
            "payloadId": job.get("payloadId"),
            "processedItinerary": id_of(job.get("processedItinerary")),
            "error": job.get("errorMessage"),
            "errorPhase": job.get("errorPhase"),
            "notes": job.get("notes"),
        }
        return {**document, "failedItems": failed} if failed else document

    def health(self) -> Json:
        """How all jobs stand."""
        jobs = self._cms.list("itinerary-jobs")
        stuck = [
            job
            for job in jobs
            if job["status"] == "processing"
            and _age(job.get("startedAt")) > timedelta(minutes=self._settings.stuck_minutes)
        ]
        failed = [job for job in jobs if job["status"] == "failed"]
        recent = [job for job in failed if _age(job.get("failedAt") or job.get("updatedAt")) < timedelta(hours=24)]
        completed = sorted(
            str(job["completedAt"]) for job in jobs if job["status"] == "completed" and job.get("completedAt")
        )
        errors = sorted(failed, key=lambda job: str(job.get("failedAt") or ""), reverse=True)[:5]
        document: Json = {
            "status": "degraded" if stuck else "warning" if len(recent) >= 3 else "healthy",
            "timestamp": now(),
            "jobs": {
                name: sum(job["status"] == name for job in jobs)
                for name in ("pending", "processing", "completed", "failed")
            },
            "lastSuccessfulScrape": completed[-1] if completed else None,
            "stuckJobs": [
                {
                    "jobId": job["id"],
                    "currentPhase": job.get("currentPhase"),
                    "startedAt": job.get("startedAt"),
                    "progress": job.get("progress"),
                }
                for job in stuck[:10]
            ],
            "media": {
                "total": self._cms.count("media", ("mediaType", "not_equals", "video")),
                "pendingLabeling": self._cms.count("media", ("labelingStatus", "equals", "pending")),
                "completed": self._cms.count("media", ("labelingStatus", "equals", "complete")),
            },
        }
        if errors:
            document["recentErrors"] = [
                {
                    "jobId": job["id"],
                    "error": job.get("errorMessage"),
                    "phase": job.get("errorPhase"),
                    "failedAt": job.get("failedAt"),
                }
                for job in errors
            ]
        return document

    # -- control

    def control(self, id: Any, action: object) -> Json:
        """cancel, retry or retry-failed."""
        actions = {"cancel": self._cancel, "retry": self._retry, "retry-failed": self._retry_failed}
        if not isinstance(action, str) or action not in actions:
            raise Problem(400, f"action must be one of {', '.join(actions)}")
        job = self._job(id)
        with nullcontext() if action == "cancel" else self._one_at_a_time(str(job.get("itineraryId"))):
            return {"success": True, "jobId": job["id"], **actions[action](self._job(id))}

    def _cancel(self, job: Json) -> Json:
        moment = now()
        changed = self._cms.update_where(
            "itinerary-jobs",
            [("id", "equals", job["id"]), ("status", "in", ACTIVE)],
            {
                "status": "failed",
                "errorMessage": "Cancelled by user",
                "errorPhase": job.get("currentPhase"),
                "failedAt": moment,
                "cancelRequestedAt": moment,
            },
        )
        if not changed:
            raise Problem(400, f"a job that is {job['status']} cannot be cancelled")
        name = changed[0].get("executionName")
        if name and self._executions.configured:
            try:
                self._executions.stop(str(name), "Cancelled by user")
            except ExecutionError as error:  # its next step finds out by itself
                log.warning("execution not stopped", event_type="stop_failed", problem=str(error))
        # What was under way when it was stopped waits for the next import.
        release(self._cms, job["id"])
        notify(self._cms, "warning", f"Import cancelled: {_public(job)}", job=job)
        return {"message": "The import was cancelled"}

    def _retry(self, job: Json) -> Json:
        if job["status"] not in ("failed", "completed"):
            raise Problem(400, f"a job that is {job['status']} cannot be run again")
        self._require_machine()
        self._refuse_active(str(job.get("itineraryId")), besides=job["id"])
        version = job.get("version") or 1
        earlier = {
            "version": version,
            "completedAt": job.get("completedAt") or job.get("failedAt") or now(),
            "status": job["status"],
        }
        counts = ("totalImages", "processedImages", "skippedImages", "failedImages", "totalVideos")
        phases = [f"phase{number}CompletedAt" for number in range(1, 6)]
        self._cms.update(
            "itinerary-jobs",
            job["id"],
            {
                "previousVersions": [*(job.get("previousVersions") or []), earlier],
                "version": version + 1,
                "status": "pending",
                "currentPhase": "Queued (Re-run)",
                "progress": 0,
                **dict.fromkeys(counts, 0),
                **dict.fromkeys([*phases, "completedAt", "duration"]),
                **FRESH,
                "startedAt": now(),
            },
        )
        self._execute(job, "retry-", {**_page_input(job), "mode": "create", "retry": True})
        return {"message": "The import runs again"}

    def _retry_failed(self, job: Json) -> Json:
        if job["status"] not in ("failed", "completed"):
            raise Problem(400, f"a job that is {job['status']} cannot be run again")
        failed = [row for row in photos_of(statuses(self._cms, job["id"])) if row["status"] == "failed"]
        if not failed:
            raise Problem(400, "no photo of this job failed")
        cms_id = id_of(job.get("processedItinerary"))
        if cms_id is None:
            raise Problem(400, "the job has no itinerary yet; run all of it again")
        self._require_machine()
        self._refuse_active(str(job.get("itineraryId")), besides=job["id"])
        for row in failed:
            self._cms.update("image-statuses", row["id"], {"status": "pending", "error": None})
        self._cms.update(
            "itinerary-jobs",
            job["id"],
            {
                "status": "processing",
                "currentPhase": "Phase 2: Retrying Failed Images",
                "failedImages": 0,
                "labelingStartedAt": None,
                "completedAt": None,
                **NO_ERROR,
            },
        )
        self._execute(job, "retry-failed-", {"jobId": job["id"], "itineraryId": cms_id, "retryFailed": True})
        return {"message": f"{len(failed)} photos are tried again", "retryCount": len(failed)}

    # -- single photos

    def resolve(self, job_id: Any, key: object, action: object, media_id: Any = None) -> Json:
        """Replace a photo by one that is there, skip it, or forget it."""
        job, row = self._row(job_id, key)
        if action == "replace":
            id = id_of(media_id)
            if id is None:
                raise Problem(400, "mediaId is missing")
            if self._cms.get("media", id) is None:
                raise Problem(404, f"there is no media {id}")
            self._cms.update("image-statuses", row["id"], _resolved(id))
        elif action == "skip":
            self._cms.update("image-statuses", row["id"], {"status": "skipped", "error": None, "completedAt": now()})
        elif action == "remove":
            self._cms.delete("image-statuses", row["id"])
        else:
            raise Problem(400, "action must be replace, skip or remove")
        return self._recounted(job)

    def upload(self, job_id: Any, key: object, filename: str, data: bytes, mime: str) -> Json:
        """Replace a photo by an uploaded file."""
        job, row = self._row(job_id, key)
        if not data or not mime.startswith("image/"):
            raise Problem(400, "file must be an image")
        epoch_ms = int(time.time() * 1000)
        original = keys.resolved_key(filename, epoch_ms)
        toolkit.bucket(self._settings.bucket).put(original, data, content_type=mime, cache_control=keys.CACHE_CONTROL)
        copy = web_copy(data, mime)
        cms_id = id_of(job.get("processedItinerary"))
        fields: Json = {
            "alt": keys.alt_text(filename),
            "originalS3Key": original,
            "imgixUrl": keys.imgix_url(self._settings.imgix_domain, original),
            "mediaType": "image",
            "processingStatus": "complete",
            "labelingStatus": "pending",
            "usedInItineraries": [cms_id] if cms_id else [],
        }
        if self._cms.first("media", ("sourceS3Key", "equals", row["sourceS3Key"])) is None:
            fields["sourceS3Key"] = row["sourceS3Key"]
        name = keys.cms_filename(original.removeprefix("media/resolved/"), copy.converted)
        made = self._cms.upload(copy.data, name, copy.mime, fields)
        self._cms.update("image-statuses", row["id"], _resolved(int(made["id"])))
        return {**self._recounted(job), "mediaId": made["id"]}

    def _row(self, job_id: Any, key: object) -> tuple[Json, Json]:
        if not isinstance(key, str) or not key:
            raise Problem(400, "sourceS3Key is missing")
        job = self._job(job_id)
        row = self._cms.first("image-statuses", ("job", "equals", job["id"]), ("sourceS3Key", "equals", key))
        if row is None:
            raise Problem(404, "the job has no such photo")
        return job, row

    def _recounted(self, job: Json) -> Json:
        count = counters(statuses(self._cms, job["id"]))
        self._cms.update("itinerary-jobs", job["id"], count)
        done = count["processedImages"] + count["skippedImages"]
        return {"success": True, "jobId": job["id"], **count, "allResolved": done >= count["totalImages"]}

    # -- notifications

    def notifications(self, query: Mapping[str, str]) -> Json:
        """The newest notifications, by `unread`, `jobId`, `type`, `limit`."""
        conditions: list[tuple[str, str, Any]] = []
        if query.get("unread") == "true":
            conditions.append(("read", "equals", False))
        if query.get("jobId"):
            conditions.append(("job", "equals", query["jobId"]))
        if query.get("type"):
            conditions.append(("type", "equals", query["type"]))
        text = query.get("limit", "50")
        limit = int(text) if text.isdigit() and 0 < int(text) <= 500 else 50
        total = self._cms.count("notifications", *conditions)
        found = self._cms.list("notifications", *conditions, sort="-createdAt", limit=limit)
        return {
            "success": True,
            "notifications": found,
            "pagination": {"total": total, "limit": limit, "page": 1, "totalPages": max(1, -(-total // limit))},
            "unreadCount": self._unread(),
        }

    def mark(self, body: Mapping[str, Any]) -> Json:
        """Mark notifications as read or unread, or delete them."""
        action, every = body.get("action"), body.get("markAll") is True
        ids = body.get("notificationIds")
        if action not in ("read", "unread", "delete"):
            raise Problem(400, "action must be read, unread or delete")
        if not every and (not isinstance(ids, list) or not ids):
            raise Problem(400, "notificationIds is missing")
        if every and action == "unread":
            raise Problem(400, "markAll goes with read and delete")
        updated = deleted = 0
        if action == "delete":
            chosen = (
                self._cms.list("notifications", ("read", "equals", True))
                if every
                else self._cms.list_in("notifications", "id", ids or [])
            )
            for found in chosen:
                self._cms.delete("notifications", found["id"])
            deleted = len(chosen)
        else:
            read = action == "read"
            condition = ("read", "equals", False) if every else ("id", "in", ids)
            change = {"read": read, "readAt": now() if read else None}
            updated = len(self._cms.update_where("notifications", [condition], change))
        return {
            "success": True,
            "action": action,
            "updated": updated,
            "deleted": deleted,
            "unreadCount": self._unread(),
        }

    def _unread(self) -> int:
        return self._cms.count("notifications", ("read", "equals", False))

    def _job(self, id: Any) -> Json:
        number = id_of(id)
        job = self._cms.get("itinerary-jobs", number) if number is not None else None
        if job is None:
            raise Problem(404, "there is no such job")
        return job


def _page_input(job: Json) -> Json:
    return {name: job.get(name) for name in ("itrvlUrl", "itineraryId", "accessKey")} | {"jobId": job["id"]}


def _resolved(media_id: int) -> Json:
    return {"status": "complete", "mediaId": str(media_id), "error": None, "completedAt": now()}


def _public(job: Json) -> str:
    """The job's URL without the client's access key."""
    return str(job.get("itrvlUrl")).replace(str(job.get("accessKey") or "\0"), "***")


def _age(moment: Any) -> timedelta:
    found = moment_of(moment)
    return datetime.now(UTC) - found if found else timedelta(0)


def _remaining_seconds(job: Json) -> int | None:
    """What is left, if photos go on as they did so far."""
    total = job.get("totalImages") or 0
    done = sum(job.get(name) or 0 for name in ("processedImages", "skippedImages", "failedImages"))
    if job.get("status") != "processing" or not 0 < done < total:
        return None
    return round(_age(job.get("startedAt")).total_seconds() / done * (total - done))
