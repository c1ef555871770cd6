"""What happens when a job fails: it says why, its title waits, somebody is told, and the batch goes on (section 6.10)."""

from __future__ import annotations

import json
from typing import Any

from mangavideo import counters, times
from mangavideo.errors import JobNotFound
from mangavideo.jobs import Jobs
from mangavideo.settings import Environment
from mangavideo.titles import Titles
from stepwell import toolkit
from stepwell.toolkit import redaction

MAX_MESSAGE = 2000
SUBJECT = "Manga pipeline: job failed"

log = toolkit.logger(__name__)


def cause(error: dict[str, Any]) -> tuple[str, str]:
    """Name and message of a failure as the state machine has it: Lambda's document, or plain text."""
    name, text = str(error.get("Error") or "Unknown"), str(error.get("Cause") or "")
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if isinstance(document, dict) and "errorMessage" in document:
        name, text = str(document.get("errorType") or name), str(document["errorMessage"])
    return name, redaction.text(text)[:MAX_MESSAGE]


def handle(environment: Environment, event: dict[str, Any]) -> dict[str, Any]:
    """Record the failure of a job; a job_id that is null or unknown is none to record."""
    job_id, state = event.get("job_id"), event["state"]
    name, message = cause(event.get("error") or {})
    jobs = Jobs(environment.jobs)
    if job_id is not None:
        try:
            job = jobs.update(
                job_id,
                status="failed",
                error_message=message or name,
                error_name=name,
                failed_state=state,
                failed_at=times.iso(),
            )
            if job.get("manga_id"):
                Titles(environment.titles, jobs).fail(job["manga_id"], job_id)
        except JobNotFound:
            log.warning("the failed job has no record", event_type="job_unknown")
    log.error(
        "job failed",
        event_type="job_failed",
        state=state,
        error_name=name,
        error_message=message,
        execution_id=event["execution_id"],
    )
    toolkit.metrics("MangaVideo").count("JobsFailed")
    topic = environment.text("ERROR_NOTIFICATION_TOPIC_ARN")
    if topic:
        body = {
            "job_id": job_id,
            "state": state,
            "error": name,
            "message": message,
            "execution_id": event["execution_id"],
            "timestamp": times.iso(),
        }
        toolkit.topic(topic).publish(SUBJECT, body)
    return {
        "job_id": job_id,
        "status": "failed",
        "error_logged": True,
        "daily_count": counters.count(environment.counters),
        "failures": int(event.get("failures") or 0) + 1,
    }
