"""The manual uploader: what happens to a video that somebody has looked at (section 6.11)."""

from __future__ import annotations

from typing import Any

from mangavideo import cleaning
from mangavideo.errors import MangaVideoError, YouTubeQuotaError
from mangavideo.jobs import Jobs
from mangavideo.settings import Environment
from mangavideo.titles import Titles
from mangavideo.uploading import DEFERRED, Upload
from stepwell import toolkit

ALLOWED = ("awaiting_review", "uploading")

log = toolkit.logger(__name__)


def upload(environment: Environment, job_id: str) -> dict[str, Any]:
    """Upload and clean up; `{job_id, youtube_url, status}` or `{error, status: "error"}`."""
    jobs = Jobs(environment.jobs)
    try:
        job = jobs.require(job_id)
        if job["status"] not in ALLOWED:
            return {"error": f"job {job_id!r} is {job['status']}", "status": "error"}
        url = Upload(environment, job_id).run()
    except YouTubeQuotaError as error:
        jobs.advance(job_id, "awaiting_review", 85, deferred_reason=DEFERRED)
        return {"error": str(error), "status": "error"}
    except MangaVideoError as error:
        log.exception("the upload failed", event_type="upload_failed")
        return {"error": f"{type(error).__name__}: {error}", "status": "error"}
    cleaning.clean_up(environment.assets, jobs, Titles(environment.titles, jobs), job_id)
    return {"job_id": job_id, "youtube_url": url, "status": "success"}
