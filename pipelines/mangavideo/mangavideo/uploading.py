"""Uploading a job's video: metadata, a session that outlives machines, and what is recorded when it is done (section 6.7)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from mangavideo import documents, keys, metadata, times
from mangavideo.errors import ConfigError, UploadError, YouTubeQuotaError
from mangavideo.jobs import Jobs
from mangavideo.settings import Environment
from mangavideo.youtube import UPLOAD_BASE, Access, SessionLost, YouTube
from stepwell import toolkit
from stepwell.toolkit.errors import ObjectNotFound

SESSION_DAYS = 6
DEFERRED = "youtube_quota"

log = toolkit.logger(__name__)


class Upload:
    """One job's upload."""

    def __init__(self, environment: Environment, job_id: str, check: Callable[[], None] = lambda: None) -> None:
        self._bucket = environment.assets
        self._jobs = Jobs(environment.jobs)
        self._job_id = job_id
        self._check = check
        self._privacy = environment.text("YOUTUBE_PRIVACY", "public")
        access = Access(toolkit.secret(environment.text("YOUTUBE_SECRET_NAME")))
        self._host = YouTube(access, environment.text("YOUTUBE_UPLOAD_BASE", UPLOAD_BASE), check)

    def run(self) -> str:
        """Upload, unless that was done; the video's address. Raises UploadError, YouTubeQuotaError, ConfigError, JobNotFound."""
        job = self._jobs.require(self._job_id)
        if job.get("youtube_url"):
            log.info("uploaded before", event_type="already_uploaded")
            return str(job["youtube_url"])
        manifest = documents.load(self._bucket, keys.panel_manifest(self._job_id))
        try:
            size = self._bucket.head(keys.video(self._job_id)).size
        except ObjectNotFound:
            size = 0
        if manifest is None or size == 0:
            raise ConfigError(f"job {self._job_id!r} has no panel manifest or no video")
        self._jobs.advance(self._job_id, "uploading", 90)
        try:
            video_id = self._send(metadata.body(manifest, self._privacy), size)
        except YouTubeQuotaError:
            until = times.iso(times.next_quota_day())
            self._jobs.update(self._job_id, deferred_reason=DEFERRED, deferred_until=until)
            log.warning("the upload waits", event_type="upload_deferred", deferred_until=until)
            raise
        url = f"https://youtube.com/watch?v={video_id}"
        self._check()
        self._jobs.advance(
            self._job_id,
            "completed",
            100,
            youtube_url=url,
            completed_at=times.iso(),
            deferred_reason=None,
            deferred_until=None,
        )
        log.info("uploaded", event_type="uploaded", youtube_url=url, s3_key=keys.video(self._job_id))
        return url

    def _send(self, body: dict[str, Any], size: int) -> str:
        session, start = self._session(body, size)
        for fresh in (False, True):
            if isinstance(start, str):
                return start
            try:
                return self._host.upload(session, self._read, size, start)
            except SessionLost as error:
                if fresh:
                    raise UploadError(f"two upload sessions were lost: {error}") from error
                log.warning("session lost, a new one", event_type="session_lost", error=str(error))
                session, start = self._opened(body, size), 0
        raise AssertionError("unreachable")

    def _session(self, body: dict[str, Any], size: int) -> tuple[str, int | str]:
        """The session of an earlier attempt and what the host has of it, or a new one."""
        known = documents.load(self._bucket, keys.upload_session(self._job_id))
        oldest = times.iso(times.now() - timedelta(days=SESSION_DAYS))
        if known is not None and known["size"] == size and known["opened_at"] > oldest:
            try:
                start = self._host.offset(known["session_uri"], size)
                log.info("upload goes on", event_type="upload_resumed", start=start if isinstance(start, int) else size)
                return known["session_uri"], start
            except SessionLost as error:
                log.warning("session lost, a new one", event_type="session_lost", error=str(error))
        return self._opened(body, size), 0

    def _opened(self, body: dict[str, Any], size: int) -> str:
        uri = self._host.open(body, size)
        document = {"session_uri": uri, "size": size, "opened_at": times.iso()}
        documents.save(self._bucket, keys.upload_session(self._job_id), document)
        return uri

    def _read(self, start: int, length: int) -> bytes:
        return self._bucket.get(keys.video(self._job_id), start=start, length=length)
