"""The uploader: a worker program that puts a job's video on the video host (section 6.7)."""

from __future__ import annotations

import sys
from typing import Any

from mangavideo.errors import UploadError
from mangavideo.settings import Environment
from mangavideo.uploading import Upload
from mangavideo.work import Work, answering


def work(task: Work) -> dict[str, Any]:
    """Upload the video of the job this machine was launched for."""
    environment = Environment("S3_BUCKET", "DYNAMODB_JOBS_TABLE", "YOUTUBE_SECRET_NAME")
    url = Upload(environment, task.job_id, task.check).run()
    return {"job_id": task.job_id, "status": "completed", "youtube_url": url}


if __name__ == "__main__":
    sys.exit(answering("uploader", UploadError, work))
