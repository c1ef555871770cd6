"""Launching worker machines: one for each attempt, with the attempt's own task token (section 6.5)."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any, Literal

from mangavideo import keys
from mangavideo.errors import ConfigError, LaunchError
from mangavideo.jobs import Jobs
from mangavideo.settings import Environment
from stepwell import toolkit
from stepwell.toolkit import errors as toolkit_errors
from stepwell.toolkit import redaction

Role = Literal["renderer", "uploader"]
PASSED_ON = (
    "AWS_REGION",
    "LOG_LEVEL",
    "S3_BUCKET",
    "DYNAMODB_JOBS_TABLE",
    "DYNAMODB_SETTINGS_TABLE",
    "YOUTUBE_SECRET_NAME",
    "YOUTUBE_UPLOAD_BASE",
    "YOUTUBE_PRIVACY",
    "VIDEO_PRESET",
    "CHUNK_SCENES",
    "HEARTBEAT_SECONDS",
    "STEPWELL_BACKEND",
)
"""Variables of this function that its machines need, wherever they run."""
DECLARED = ("project", "buckets", "tables", "secrets")
"""What they need of the declarations. The rest, addresses of subscribers among it, is nothing for user data."""

log = toolkit.logger(__name__)


def inputs(role: Role, job_id: str) -> Sequence[str]:
    """The objects a worker cannot do without."""
    if role == "renderer":
        return keys.panel_manifest(job_id), keys.audio_manifest(job_id)
    return (keys.video(job_id),)


def launch(environment: Environment, role: Role, event: dict[str, Any]) -> dict[str, Any]:
    """Start a machine for a job; what an earlier attempt left running is ended first.

    Raises LaunchError when there is no capacity now, else ConfigError or JobNotFound.
    """
    job_id, token = event["job_id"], event["task_token"]
    redaction.register(token)
    jobs = Jobs(environment.jobs)
    jobs.require(job_id)
    missing = [key for key in inputs(role, job_id) if not environment.assets.exists(key)]
    if missing:
        raise ConfigError(f"job {job_id!r} lacks {', '.join(missing)}")
    variables = {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}
    if text := os.environ.get("STEPWELL_RESOURCES"):
        declared = json.loads(text)
        needed = {kind: declared[kind] for kind in DECLARED if kind in declared}
        variables["STEPWELL_RESOURCES"] = json.dumps(needed, separators=(",", ":"))
    variables |= {"JOB_ID": job_id, "CORRELATION_ID": str(event["correlation_id"])}
    tags = {"job_id": job_id, "role": role, "ManagedBy": "manga-video-pipeline"}
    try:
        machines = toolkit.worker(role)
        for stale in machines.find(job_id=job_id, role=role):
            log.info("ending the machine of an earlier attempt", event_type="stale_machine", instance_id=stale.id)
            machines.terminate(stale.id)
        machine = machines.launch(task_token=token, environment=variables, tags=tags)
    except toolkit_errors.LaunchError as error:
        raise LaunchError(str(error)) from error
    except toolkit_errors.ToolkitError as error:
        raise ConfigError(f"no {role} could be started: {error}") from error
    jobs.update(job_id, **{f"{role}_instance_id": machine.id}, spot_request_id=machine.request_id)
    log.info(
        "machine launched",
        event_type="launched",
        instance_id=machine.id,
        kind=machine.kind,
        attempt=event.get("attempt"),
    )
    return {
        "job_id": job_id,
        "instance_id": machine.id,
        "instance_type": machine.kind,
        "spot_request_id": machine.request_id,
    }
