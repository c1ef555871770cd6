"""The functions of the machine, and the scraper behind its URL. Each is also the entry point of an AWS Lambda function."""

from __future__ import annotations

import base64
import json
from functools import lru_cache
from typing import Any

from scraper import failing, finalizing, labelling, orchestrating, photos, scraping
from scraper.cms import Cms
from scraper.errors import InvalidEvent
from scraper.settings import Settings
from stepwell.toolkit import logs


@lru_cache(maxsize=1)
def _ports() -> tuple[Cms, Settings]:
    """Made at the first call, not at import: the environment may be completed until then."""
    settings = Settings.from_environment()
    return Cms.of(settings), settings


def orchestrate(event: Any, context: Any) -> dict[str, Any]:
    """Scrape, transform, link, save, list the photos."""
    return orchestrating.orchestrate(*_ports(), _object(event))


def process_images(event: Any, context: Any) -> dict[str, Any]:
    """One chunk of photos; with `processVideosOnly` the films."""
    given = _object(event)
    if given.get("processVideosOnly"):
        from scraper import films

        return films.process_films(*_ports(), given)
    return photos.process_chunk(*_ports(), given)


def process_video(event: Any, context: Any) -> dict[str, Any]:
    """One film."""
    from scraper import films

    return films.process_film(*_ports(), _object(event))


def label(event: Any, context: Any) -> dict[str, Any]:
    """One batch of labels."""
    return labelling.label_batch(*_ports(), _object(event))


def finalize(event: Any, context: Any) -> dict[str, Any]:
    """Close the import."""
    return finalizing.finalize(*_ports(), _object(event))


def mark_failed(event: Any, context: Any) -> dict[str, Any]:
    """The job of a failed execution."""
    return failing.mark_failed(_ports()[0], _object(event))


def scrape(event: Any, context: Any) -> dict[str, Any]:
    """The scraper as a function with a URL: the event is Lambda's HTTP event (payload version 2.0)."""
    given = _object(event)
    text = str(given.get("body") or "")
    body = base64.b64decode(text) if given.get("isBase64Encoded") else text.encode()
    with logs.bind(function_name="scraper"):
        status, document = scraping.answer(body, Settings.from_environment())
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": json.dumps(document)}


def reconcile(event: Any, context: Any) -> dict[str, Any]:
    """Every five minutes: jobs whose execution is gone."""
    from scraper import reconciling
    from scraper.executions import Executions

    cms, settings = _ports()
    return {"reconciled": [found["jobId"] for found in reconciling.reconcile(cms, Executions(settings), settings)]}


def _object(event: Any) -> dict[str, Any]:
    if not isinstance(event, dict):
        raise InvalidEvent("the event must be a JSON object")
    return event
