"""Continuation tokens: they tell a function that its work on a job goes on, and from where."""

from __future__ import annotations

import base64
import json

from mangavideo.errors import ConfigError

VERSION = 1


def made(job_id: str, following: int) -> str:
    """A token that says: `following` comes next."""
    text = json.dumps({"v": VERSION, "job_id": job_id, "next": following}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def opened(token: str, job_id: str) -> int:
    """What comes next. Raises ConfigError for a token of another job or version, or none at all."""
    try:
        document = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        version, owner, following = document["v"], document["job_id"], document["next"]
    except (ValueError, KeyError, TypeError):
        raise ConfigError("the continuation token cannot be read") from None
    if version != VERSION or owner != job_id or not isinstance(following, int):
        raise ConfigError(f"the continuation token is of job {owner!r}, version {version}, not of job {job_id!r}")
    return following
