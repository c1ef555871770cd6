"""Jobs that nobody works on any more: a time-out or a killed execution ends without any code running, and blocks its itinerary."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from scraper.cms import Cms
from scraper.executions import ExecutionError, Executions
from scraper.jobs import ACTIVE, moment_of, notify, now, release
from scraper.settings import Settings
from scraper.transform.richtext import Json
from stepwell.toolkit.logs import logger

log = logger(__name__)

ENDED = ("FAILED", "TIMED_OUT", "ABORTED", "SUCCEEDED")


def touched(job: Mapping[str, Any]) -> datetime:
    """When somebody last worked on a job."""
    moments = (moment_of(job.get(name)) for name in ("startedAt", "heartbeatAt"))
    return max((moment for moment in moments if moment), default=datetime.fromtimestamp(0, UTC))


def is_stuck(job: Mapping[str, Any], minutes: float) -> bool:
    """Whether an active job has been silent for longer than that."""
    return job.get("status") in ACTIVE and datetime.now(UTC) - touched(job) > timedelta(minutes=minutes)


def reconcile(
    cms: Cms,
    executions: Executions,
    settings: Settings,
    *,
    job: int | None = None,
    older_than: float | None = None,
    dry_run: bool = False,
) -> list[Json]:
    """Mark stuck jobs as failed: `[{jobId, reason}]`. Doing it twice changes nothing the second time.

    `job`: only this one; `older_than`: minutes of silence instead of STUCK_AFTER_MINUTES.
    """
    minutes = settings.stuck_minutes if older_than is None else older_than
    found = []
    for candidate in cms.list("itinerary-jobs", ("status", "in", ACTIVE)):
        if (job is not None and candidate["id"] != job) or not is_stuck(candidate, minutes):
            continue
        why = _reason(executions, candidate, minutes)
        if why is None:
            continue
        if dry_run or force_fail(cms, candidate, why):
            found.append({"jobId": candidate["id"], "reason": why})
    return found


def _reason(executions: Executions, job: Mapping[str, Any], minutes: float) -> str | None:
    """Why a silent job is dead; None when that cannot be told."""
    name = job.get("executionName")
    if not name:
        return f"no execution, silent for more than {minutes:g} minutes"
    if not executions.configured:
        return None
    try:
        status = executions.status(str(name))
    except ExecutionError as error:
        log.warning("cannot ask for the execution", event_type="reconcile_unknown", problem=str(error))
        return None
    if status == "RUNNING":
        # Its heartbeat is old: stopping it keeps a zombie from going on beside the job's next execution.
        try:
            executions.stop(str(name), "no heartbeat")
        except ExecutionError as error:
            log.warning("execution not stopped", event_type="reconcile_stop_failed", problem=str(error))
        return f"execution {name} gave no sign for more than {minutes:g} minutes"
    return f"execution {name} ended ({status})" if status else f"execution {name} does not exist"


def force_fail(cms: Cms, job: Mapping[str, Any], why: str) -> bool:
    """Whether the job was still active, and is failed now."""
    moment = now()
    conditions: list[tuple[str, str, Any]] = [("id", "equals", job["id"]), ("status", "in", ACTIVE)]
    if job.get("executionName"):
        conditions.append(("executionName", "equals", job["executionName"]))
    message = f"Force-failed: {why}"
    changed = cms.update_where(
        "itinerary-jobs",
        conditions,
        {
            "status": "failed",
            "errorMessage": message,
            "errorPhase": job.get("currentPhase"),
            "failedAt": moment,
            "completedAt": moment,
            "executionName": None,
        },
    )
    if changed:
        log.warning("job reconciled", event_type="job_reconciled", job_id=job["id"], reason=why)
        release(cms, int(job["id"]))
        notify(cms, "error", f"Import failed: {message}", job=job)
    return bool(changed)
