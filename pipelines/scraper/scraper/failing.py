"""What the machine does when a step failed for good: the job says so, and nothing of it stays half done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from scraper.cms import Cms
from scraper.errors import CmsError
from scraper.jobs import ACTIVE, fail, notify, number_in, release
from scraper.transform.richtext import Json
from stepwell.toolkit.logs import logger

log = logger(__name__)


def mark_failed(cms: Cms, event: Mapping[str, Any]) -> Json:
    """Event: the machine's state with `error` (`{"Error", "Cause"}`). Never raises."""
    try:
        return _mark(cms, event)
    except Exception as error:
        log.error("the job cannot be marked as failed", event_type="mark_failed", exc_info=error)
        return {"marked": False, "error": f"{type(error).__name__}: {error}"[:300]}


def _mark(cms: Cms, event: Mapping[str, Any]) -> Json:
    job_id = number_in(event, "jobId")
    job = cms.get("itinerary-jobs", job_id)
    if job is None:
        return {"marked": False, "error": f"there is no job {job_id}"}
    name = event.get("executionName")
    if name and job.get("executionName") != name:
        return {"marked": False, "error": "another execution owns the job"}
    message, phase = reason(event)
    marked = fail(cms, job_id, event, message, phase) if job["status"] in ACTIVE else False
    try:
        release(cms, job_id)
    except CmsError as error:
        log.warning("rows not released", event_type="release_failed", problem=str(error))
    if not job.get("cancelRequestedAt"):  # a cancelled job has told already
        current = cms.get("itinerary-jobs", job_id) or job
        notify(cms, "error", f"Import failed: {current.get('errorMessage') or message}", job=job)
    return {"marked": marked, "errorMessage": message}


def reason(event: Mapping[str, Any]) -> tuple[str, str]:
    """Message and phase for a caught error. The phase is told by how far the state came."""
    phase = "orchestrator"
    for member, after in (
        ("chunkIndex", "image-processor"),
        ("imageResult", "image-processor"),
        ("labelResult", "labeler"),
    ):
        if member in event:
            phase = after
    if "retryFailed" in event and "imageResult" not in event:
        phase = "image-processor"
    if "videoResult" in event or "videoError" in event:
        labels = event.get("labelResult")
        phase = "finalizer" if isinstance(labels, Mapping) and not labels.get("remaining") else "labeler"
    given = event.get("error")
    error: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    name, cause = str(error.get("Error") or "unknown error"), str(error.get("Cause") or "")
    if name == "States.Timeout":
        return f"{_STATES[phase]} took too long and was stopped (States.Timeout)", phase
    try:
        document = json.loads(cause)
    except ValueError:
        document = None
    if isinstance(document, Mapping) and document.get("errorMessage"):
        return f"{name}: {document['errorMessage']}", phase
    return f"{name}: {cause[:500]}" if cause else name, phase


_STATES: Mapping[str, str] = {
    "orchestrator": "Orchestrate",
    "image-processor": "ProcessImageChunk",
    "labeler": "LabelBatch",
    "finalizer": "Finalize",
}
