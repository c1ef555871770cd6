"""The functions of the pipeline, as the state machine calls them. Each is also the entry point of an AWS Lambda function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from mangavideo import cleaning, counters, failing, launching, quota
from mangavideo.errors import ConfigError
from mangavideo.jobs import Jobs
from mangavideo.settings import Environment, PipelineSettings
from mangavideo.titles import Titles
from mangavideo.workflow import Workflow
from stepwell import toolkit
from stepwell.toolkit import logs

Event = dict[str, Any]

JOBS, TITLES, SETTINGS = "DYNAMODB_JOBS_TABLE", "DYNAMODB_MANGA_TABLE", "DYNAMODB_SETTINGS_TABLE"
COUNTER, BUCKET = "DYNAMODB_COUNTER_TABLE", "S3_BUCKET"


def check_quota(event: Event, context: Any) -> Event:
    """Event: `{correlation_id, job_id}`; job_id only when that job is tried again."""
    with _logged(event, context, "quota"):
        environment = Environment(BUCKET, JOBS, SETTINGS, COUNTER)
        return quota.check(environment, event["correlation_id"], event.get("job_id"), lambda: Workflow().running())


def fetch(event: Event, context: Any) -> Event:
    """Event: `{job_id, correlation_id}`."""
    from mangavideo.fetching import Fetcher
    from mangavideo.mangadex import API, MangaDex

    with _logged(event, context, "fetch"):
        environment = Environment(BUCKET, JOBS, TITLES)
        job_id = _required(event, "job_id")
        jobs = Jobs(environment.jobs)
        return Fetcher(
            environment.assets,
            jobs,
            Titles(environment.titles, jobs),
            MangaDex(environment.text("MANGADEX_BASE_URL", API)),
            max_chapters=environment.number("MAX_CHAPTERS", 10),
            remaining=_remaining(context),
        ).fetch(job_id, event["correlation_id"])


def generate_script(event: Event, context: Any) -> Event:
    """Event: `{job_id, manga_id, manga_title, panel_manifest_s3_key, continuation_token, correlation_id}`."""
    from mangavideo.llm import API, Narrator, api_key
    from mangavideo.scripts import ScriptWriter

    with _logged(event, context, "script"):
        environment = Environment(BUCKET, JOBS, SETTINGS, "DEEPINFRA_SECRET_NAME", "LLM_MODEL")
        job_id = _required(event, "job_id")
        key = api_key(toolkit.secret(environment.text("DEEPINFRA_SECRET_NAME")))
        narrator = Narrator(environment.text("DEEPINFRA_BASE_URL", API), key, environment.text("LLM_MODEL"))
        settings = PipelineSettings.load(environment.settings)
        writer = ScriptWriter(environment.assets, Jobs(environment.jobs), narrator, settings, _remaining(context))
        return writer.write(job_id, event.get("continuation_token"))


def generate_speech(event: Event, context: Any) -> Event:
    """Event: `{job_id, script_s3_key, continuation_token, correlation_id}`."""
    from mangavideo.narrating import Narration
    from mangavideo.speech import service

    with _logged(event, context, "speech"):
        environment = Environment(BUCKET, JOBS, SETTINGS)
        job_id = _required(event, "job_id")
        speech = service(environment.text("SPEECH_SERVICE", "edge"), environment.text("EDGE_TTS_URL"))
        settings = PipelineSettings.load(environment.settings)
        narration = Narration(environment.assets, Jobs(environment.jobs), speech, settings, _remaining(context))
        return narration.speak(job_id, event.get("continuation_token"))


def start_renderer(event: Event, context: Any) -> Event:
    """Event: `{job_id, task_token, attempt, correlation_id}`."""
    with _logged(event, context, "render"):
        return launching.launch(Environment(BUCKET, JOBS, SETTINGS), "renderer", event)


def start_uploader(event: Event, context: Any) -> Event:
    """Event: `{job_id, task_token, attempt, correlation_id}`."""
    with _logged(event, context, "upload"):
        return launching.launch(Environment(BUCKET, JOBS, "YOUTUBE_SECRET_NAME"), "uploader", event)


def clean_up(event: Event, context: Any) -> Event:
    """Event: `{job_id, correlation_id}`."""
    with _logged(event, context, "cleanup"):
        environment = Environment(BUCKET, JOBS, TITLES)
        job_id = _required(event, "job_id")
        jobs = Jobs(environment.jobs)
        return cleaning.clean_up(environment.assets, jobs, Titles(environment.titles, jobs), job_id)


def increment_counter(event: Event, context: Any) -> Event:
    """Event: `{job_id, failures, correlation_id}`."""
    with _logged(event, context, "count"):
        job_id = _required(event, "job_id")
        date, count = counters.increment(Environment(COUNTER).counters, job_id)
        return {"daily_count": count, "date": date, "job_id": job_id, "failures": event.get("failures", 0)}


def handle_error(event: Event, context: Any) -> Event:
    """Event: `{job_id (may be null), error, state, execution_id, failures, correlation_id}`."""
    with _logged(event, context, "error"):
        return failing.handle(Environment(JOBS, TITLES, COUNTER), event)


def upload_reviewed(event: Event, context: Any) -> Event:
    """Event: `{job_id}`: a video somebody has looked at. Answers with a status; never raises for a failed upload."""
    from mangavideo.reviewing import upload

    with _logged(event, context, "upload"):
        return upload(Environment(BUCKET, JOBS, TITLES, "YOUTUBE_SECRET_NAME"), _required(event, "job_id"))


def _required(event: Event, name: str) -> str:
    value = event.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"the event has no {name}")
    return value


def _remaining(context: Any) -> Callable[[], float]:
    return lambda: float(context.get_remaining_time_in_millis()) / 1000


@contextmanager
def _logged(event: Event, context: Any, stage: str) -> Iterator[None]:
    correlation_id = event.get("correlation_id") or event.get("job_id")
    with logs.bind(
        correlation_id=correlation_id, job_id=event.get("job_id"), stage=stage, function_name=context.function_name
    ):
        try:
            yield
        except ConfigError as error:
            logs.Logger(__name__).error(str(error), event_type="not_configured")
            raise
