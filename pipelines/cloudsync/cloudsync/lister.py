"""What is new on one page of the library? (section 7)"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from cloudsync import measures, provider
from cloudsync.alerts import alert
from cloudsync.config import Settings
from cloudsync.credentials import read_credentials
from cloudsync.errors import APIStructureError, AuthenticationError, ProviderError
from cloudsync.provider import MediaItem, Page
from cloudsync.tracker import COMPLETED, Tracker
from stepwell import toolkit

FUNCTION = "media-lister"
STRUCTURE_SUBJECT = "GoPro Sync: API Structure Change Detected"
MALFORMED_SHARE = 0.2
MALFORMED_MINIMUM = 3

log = toolkit.logger(__name__)


def list_new(
    settings: Settings,
    provider_name: str,
    page_number: int,
    correlation_id: str,
    clock: Callable[[], float] = time.time,
) -> dict[str, Any]:
    """The items of exactly one page that still have to be archived.

    Raises ProviderError, StorageError and what `Provider.list_page` raises.
    """
    started = time.monotonic()
    metrics = measures.media_listing(settings)

    def structure_changed(message: str, sample: str | None) -> None:
        metrics.count("APIStructureChangeDetected")
        alert(
            settings.topic,
            STRUCTURE_SUBJECT,
            alert_type="API_STRUCTURE_CHANGE",
            severity="MEDIUM",
            message=message,
            correlation_id=correlation_id,
            function=FUNCTION,
            action_required="Compare the sample with the documented answer and adapt the provider.",
            now=clock(),
            response_sample=sample,
        )

    try:
        page = _page(settings, provider_name, page_number)
        if page.malformed >= MALFORMED_MINIMUM and page.malformed > MALFORMED_SHARE * page.total:
            structure_changed(
                f"{page.malformed} of {page.total} items of page {page_number} are malformed", page.sample
            )
        kept = _kept(page, settings, page_number)
        tracker = Tracker(toolkit.table(settings.table), clock)
        rows = tracker.statuses(item.media_id for item in kept)
    except Exception as error:
        metrics.count("ListingFailure")
        if isinstance(error, APIStructureError):
            structure_changed(str(error), error.sample)
        log.error(
            "page not listed",
            event_type="listing_failed",
            page=page_number,
            error_type=type(error).__name__,
            error_message=str(error),
            exc_info=error,
        )
        raise
    completed = sum(rows[item.media_id].get("status") == COMPLETED for item in kept if item.media_id in rows)
    new = [item for item in kept if tracker.open(rows.get(item.media_id))][: settings.max_videos]
    duration = round(time.monotonic() - started, 3)
    metrics.count("MediaListedFromProvider", len(kept))
    metrics.count("NewVideosFound", len(new))
    metrics.count("ListingSuccess")
    metrics.observe("ListingDuration", duration, unit="Seconds")
    return {
        "statusCode": 200,
        "provider": provider_name,
        "new_videos": [item.state() for item in new],
        "total_found": len(kept),
        "new_count": len(new),
        "already_synced": completed,
        "duration_seconds": duration,
        "correlation_id": correlation_id,
        "pagination": asdict(page.pagination),
    }


def _page(settings: Settings, provider_name: str, page_number: int) -> Page:
    try:
        credentials = read_credentials(settings.secret_name)
        cookies = credentials.require_cookies()
        service = provider.create(provider_name, settings.api_base)
    except (AuthenticationError, ValueError) as error:
        raise ProviderError(str(error)) from error
    return service.list_page(cookies, credentials.user_agent, page_number, settings.page_size)


def _kept(page: Page, settings: Settings, page_number: int) -> list[MediaItem]:
    """The items whose name says that a camera made them, each once."""
    named = [item for item in page.items if item.filename]
    kept = [item for item in named if item.filename.startswith(settings.include_prefixes)]
    log.info(
        "page listed",
        event_type="listing_page",
        page=page_number,
        kept=len(kept),
        filtered_prefix=len(named) - len(kept),
        filtered_no_name=len(page.items) - len(named),
        malformed=page.malformed,
    )
    return list({item.media_id: item for item in kept}.values())
