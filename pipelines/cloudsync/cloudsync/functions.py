"""The three functions of the pipeline, as the state machine calls them. Each is also the entry point of an AWS Lambda function."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from cloudsync import gopro as _gopro  # noqa: F401 - registers the provider
from cloudsync.config import Settings
from cloudsync.downloader import Downloader, DownloadRequest
from cloudsync.errors import ValidationError
from cloudsync.lister import list_new
from cloudsync.validator import validate
from stepwell.toolkit import logs


def validate_tokens(event: Any, context: Any) -> dict[str, Any]:
    """Event: `{correlation_id?}`. Answers statusCode 200, 401 or 500 with `valid`; never raises for bad credentials."""
    correlation_id = correlation(event)
    with _logged(correlation_id, context):
        return validate(Settings.from_environment(), correlation_id)


def list_media(event: Any, context: Any) -> dict[str, Any]:
    """Event: `{provider, correlation_id, page_number}`. Answers with the items of that page which are to be archived."""
    correlation_id = correlation(event)
    with _logged(correlation_id, context):
        page = event.get("page_number", 1)
        if not isinstance(page, int) or isinstance(page, bool) or page < 1:
            raise ValidationError(f"page_number is {page!r}; it must be a whole number from 1 on")
        return list_new(Settings.from_environment(), event.get("provider") or "gopro", page, correlation_id)


def download_video(event: Any, context: Any) -> dict[str, Any]:
    """Event: see `DownloadRequest`. Answers statusCode 200 with a `message`, or raises what prevented the download."""
    correlation_id = correlation(event)
    with _logged(correlation_id, context):
        settings = Settings.from_environment(required=("S3_BUCKET", "KMS_KEY_ID"))
        request = DownloadRequest.read(event)
        downloader = Downloader(settings, correlation_id, lambda: context.get_remaining_time_in_millis() / 1000)
        return downloader.download(request, request.execution_id or context.aws_request_id)


def correlation(event: Any) -> str:
    """The run's correlation id: the event's own, else its execution's id, else a new one."""
    if isinstance(event, Mapping):
        given = event.get("correlation_id")
        execution = event.get("Execution")
        given = given or (execution.get("Id") if isinstance(execution, Mapping) else None)
        if isinstance(given, str) and given:
            return given
    return str(uuid.uuid4())


def _logged(correlation_id: str, context: Any) -> AbstractContextManager[None]:
    return logs.bind(correlation_id=correlation_id, function_name=context.function_name)
