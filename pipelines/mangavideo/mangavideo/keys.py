"""Where the objects of a job lie (section 3.5). Every key follows from the job, so that a second attempt finds what the first one left."""

from __future__ import annotations

EXTENSIONS = ("jpg", "png", "gif", "webp")


def prefix(job_id: str) -> str:
    return f"jobs/{job_id}/"


def panel_manifest(job_id: str) -> str:
    return f"jobs/{job_id}/panel_manifest.json"


def panel(job_id: str, chapter: int, page: int, extension: str) -> str:
    """Chapter and page count from 0."""
    return f"jobs/{job_id}/panels/{chapter:04d}_{page:04d}.{extension}"


def script(job_id: str) -> str:
    return f"jobs/{job_id}/script.json"


def audio(job_id: str, index: int) -> str:
    return f"jobs/{job_id}/audio/{index:04d}.mp3"


def audio_manifest(job_id: str) -> str:
    return f"jobs/{job_id}/audio_manifest.json"


def chunk(job_id: str, number: int) -> str:
    return f"jobs/{job_id}/chunks/chunk_{number:04d}.mp4"


def chunks(job_id: str) -> str:
    return f"jobs/{job_id}/chunks/"


def checkpoint(job_id: str) -> str:
    return f"jobs/{job_id}/checkpoint.json"


def video(job_id: str) -> str:
    return f"jobs/{job_id}/video.mp4"


def upload_session(job_id: str) -> str:
    return f"jobs/{job_id}/upload_session.json"
