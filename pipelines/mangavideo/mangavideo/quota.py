"""The quota: how many videos the day may still have, and which job comes first (section 6.1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mangavideo import counters, keys, times
from mangavideo.documents import load
from mangavideo.jobs import Jobs
from mangavideo.settings import MAX_QUOTA, Environment, PipelineSettings
from stepwell.toolkit.objects import Bucket


def effective_quota(environment: Environment) -> int:
    """What people want, as far as the deployment allows it."""
    return min(PipelineSettings.load(environment.settings).daily_quota, environment.number("DAILY_QUOTA", MAX_QUOTA))


def check(
    environment: Environment, run_id: str, job_id: str | None, running: Callable[[], list[str]]
) -> dict[str, Any]:
    """The quota of today for the execution `run_id`. Other running executions count as the video each is about to finish."""
    quota = effective_quota(environment)
    others = sum(name != run_id for name in running())
    done = counters.count(environment.counters) + others
    return {
        "quota_reached": done >= quota,
        "daily_count": done,
        "daily_quota": quota,
        "remaining": max(0, quota - done),
        "date": times.business_date(),
        "deferred_job_id": Jobs(environment.jobs).due_upload(),
        "resume_stage": None if job_id is None else resume_stage(environment.assets, job_id),
    }


def resume_stage(bucket: Bucket, job_id: str) -> str:
    """The first state a job still needs, by the objects it has."""
    if bucket.exists(keys.video(job_id)):
        return "WaitForUpload"
    audio = load(bucket, keys.audio_manifest(job_id))
    script = load(bucket, keys.script(job_id))
    if audio is not None and script is not None and len(audio["segments"]) == len(script["segments"]):
        return "WaitForRender"
    if script is not None and script.get("complete"):
        return "GenerateTTS"
    return "GenerateScript" if bucket.exists(keys.panel_manifest(job_id)) else "FetchManga"
