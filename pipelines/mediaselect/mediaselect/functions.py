"""The functions that the state machines call: `handler(event, context) -> dict`. They raise; the machines retry and record failures.

A function that was killed cannot say so, and an error that is recorded before a retry misleads: success is written by the function, failure
by JobState when the retries are used up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mediaselect import keys
from mediaselect.errors import InvalidEvent
from mediaselect.settings import Settings
from stepwell.toolkit import logs

Event = Mapping[str, Any]
MAX_FEEDBACK = 2000
# Abort at the cold start, not in the middle of a job, when the environment is incomplete.
SETTINGS = Settings.from_environment()


def thumbnail(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """One thumbnail: `{sessionId, key, bucket?, thumbNames?}` to `{thumbnailKey, originalKey, success, error?}`."""
    from mediaselect import thumbnails

    session, key = _identity(event)
    with logs.bind(sessionId=session, key=key):
        return thumbnails.make(SETTINGS.media(event.get("bucket")), session, key, event.get("thumbNames") or {})


def selection(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """The choice among all media: the machine's state to `{jobId, selectedCount, excludedCount, sceneGroupCount}`."""
    from mediaselect.ai import Deadline
    from mediaselect.choosing import Selection
    from mediaselect.errors import NoMedia

    session = keys.check_session(event.get("sessionId"))
    job = _job(event)
    media = event.get("mediaKeys")
    if not isinstance(media, list):
        raise InvalidEvent("mediaKeys must be a list")
    if not media:
        raise NoMedia("no usable media in this session")
    for key in media:
        keys.check_key(key, session)
    with logs.bind(sessionId=session, jobId=job):
        return Selection(SETTINGS, SETTINGS.media(event.get("bucket")), SETTINGS.sessions(), Deadline.of(context)).run(
            event
        )


def enhance(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """One photo of a job, or feedback on one (`type` `enhancement-feedback`)."""
    return _enhancement(event, context, "enhancement-feedback")


def video(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """One video of a job, or feedback on one (`type` `video-feedback`)."""
    return _enhancement(event, context, "video-feedback")


def job_state(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """What the machines record themselves; see `jobs.OPERATIONS`."""
    from mediaselect import jobs

    session, job = keys.check_session(event.get("sessionId")), _job(event)
    with logs.bind(sessionId=session, jobId=job):
        return jobs.carry_out(SETTINGS.sessions(), event)


def _enhancement(event: dict[str, Any], context: Any, feedback_type: str) -> dict[str, Any]:
    from mediaselect.ai import Deadline
    from mediaselect.enhancing import Enhancement

    session, key = _identity(event)
    job, kind = _job(event), event.get("type")
    if kind not in (None, feedback_type):
        raise InvalidEvent(f"type must be absent or {feedback_type}")
    wanted = "video" if feedback_type == "video-feedback" else "photo"
    with logs.bind(sessionId=session, jobId=job, key=key):
        work = Enhancement(
            SETTINGS, SETTINGS.media(event.get("bucket")), SETTINGS.sessions(), Deadline.of(context), event
        )
        if kind is None:
            if keys.kind_of(key) != wanted:
                raise InvalidEvent(f"key must name a {wanted}")
            index = event.get("itemIndex")
            if not isinstance(index, int) or isinstance(index, bool) or index < 0:
                raise InvalidEvent("itemIndex must be a number from 0")
            return work.video(index) if wanted == "video" else work.photo(index)
        feedback = event.get("feedback")
        if not isinstance(feedback, str) or not 1 <= len(feedback) <= MAX_FEEDBACK:
            raise InvalidEvent(f"feedback must be a text of 1 to {MAX_FEEDBACK} characters")
        request = str(event.get("requestId") or context.aws_request_id)
        return work.video_feedback(feedback, request) if wanted == "video" else work.photo_feedback(feedback, request)


def _identity(event: Event) -> tuple[str, str]:
    session = keys.check_session(event.get("sessionId"))
    return session, keys.check_key(event.get("key"), session)


def _job(event: Event) -> str:
    job = event.get("jobId")
    if not isinstance(job, str) or not job:
        raise InvalidEvent("jobId is missing")
    return job
