"""Cleaning up after a finished job, and marking its title as done (section 6.8)."""

from __future__ import annotations

from typing import Any

from mangavideo import keys, times
from mangavideo.errors import ConfigError
from mangavideo.jobs import Jobs
from mangavideo.titles import Titles
from stepwell import toolkit
from stepwell.toolkit.objects import Bucket

log = toolkit.logger(__name__)


def clean_up(bucket: Bucket, jobs: Jobs, titles: Titles, job_id: str) -> dict[str, Any]:
    """Delete the objects of a completed job. Raises ConfigError for one that is not completed: its video is still needed."""
    job = jobs.require(job_id)
    if job["status"] != "completed":
        raise ConfigError(f"job {job_id!r} is {job['status']}: its objects are still needed")
    deleted = freed = 0
    while page := bucket.list_page(keys.prefix(job_id), limit=1000).items:
        bucket.delete_many([found.key for found in page])
        deleted += len(page)
        freed += sum(found.size for found in page)
    jobs.update(job_id, cleanup_at=times.iso())
    titles.complete(job["manga_id"], job["manga_title"], job.get("youtube_url", ""))
    log.info("cleaned up", event_type="cleaned_up", objects_deleted=deleted, bytes_freed=freed)
    return {"job_id": job_id, "objects_deleted": deleted, "bytes_freed": freed}
