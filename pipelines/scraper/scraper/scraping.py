"""The scraper: one page in, the itinerary's data, photo keys, film and price out. It stands behind HTTP, with a shared secret."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import httpx

from scraper.errors import CaptureError, PortalUrlError
from scraper.portal import Capture, Json, PortalClient, PortalUrl, image_keys, portal_of
from scraper.settings import Settings
from stepwell.toolkit import http
from stepwell.toolkit.logs import logger

log = logger(__name__)

VERSION = "1"
ATTEMPTS = 3
PAUSES = (6.0, 12.0)
SETTLE = (5.0, 10.0, 10.0)
"""Seconds after the page's network is quiet, by attempt."""
MINOR_FROM = 100_000


def answer(body: bytes, settings: Settings, portal: PortalClient | None = None) -> tuple[int, Json]:
    """Status and JSON body for a request's body `{"itrvlUrl", "secret"}`."""
    try:
        request = json.loads(body)
        if not isinstance(request, dict):
            raise ValueError
    except ValueError:
        return 400, _failure("the body must be a JSON object")
    secret = request.get("secret")
    given = secret.encode() if isinstance(secret, str) else b""
    if not settings.scraper_secret or not hmac.compare_digest(given, settings.scraper_secret.encode()):
        return 401, _failure("the secret is missing or wrong")
    try:
        page = PortalUrl.parse(request.get("itrvlUrl"), settings.portal_hosts)
    except PortalUrlError as error:
        return 400, _failure(str(error))
    try:
        data = scrape(page, settings, portal or portal_of(settings))
    except Exception as error:
        log.error("scraping failed", event_type="scrape_failed", itinerary_id=page.itinerary_id, exc_info=error)
        seen = getattr(error, "responses", [])
        return 500, {
            **_failure(f"{type(error).__name__}: {error}"),
            "scraperVersion": VERSION,
            "capturedResponses": len(seen),
            "apiEndpoints": [response["url"].replace(page.access_key, "***") for response in seen],
        }
    return 200, {"success": True, "data": data, "itineraryId": page.itinerary_id}


def scrape(
    page: PortalUrl, settings: Settings, portal: PortalClient, sleep: Callable[[float], None] = time.sleep
) -> Json:
    """`{itinerary, images, videos, price, warnings}`; three attempts. Raises CaptureError."""
    captured = _capture(page, settings, portal, sleep)
    price, warnings = price_of(captured.pricing, page.itinerary_id, settings.price_unit)
    for warning in warnings:
        log.warning(warning, event_type="price_unit_guessed", itinerary_id=page.itinerary_id)
    return {
        "itinerary": captured.content,
        "images": image_keys(captured.content),
        "videos": film(page.itinerary_id, settings),
        "price": price,
        "warnings": warnings,
    }


def _capture(page: PortalUrl, settings: Settings, portal: PortalClient, sleep: Callable[[float], None]) -> Capture:
    for attempt in range(ATTEMPTS):
        try:
            return portal.capture(page, SETTLE[attempt] * settings.pause)
        except CaptureError as error:
            log.warning("capture failed", event_type="capture_failed", attempt=attempt + 1, problem=str(error))
            if attempt == ATTEMPTS - 1:
                raise
            sleep(PAUSES[attempt] * settings.pause)
    raise AssertionError("unreachable")


def price_of(pricing: Any, itinerary_id: str, unit: str) -> tuple[int, list[str]]:
    """The price in cents (0 when there is none), and what an editor should know about it.

    `unit` is what `finance.sellingPrice` counts: `major` (dollars), `minor` (cents), or `auto`, which takes amounts from 100,000
    on for cents: right for dear trips in cents, wrong by a factor of 100 for those in dollars. Hence the warning.
    """
    entry = next(
        (
            found
            for found in (pricing if isinstance(pricing, list) else [])
            if isinstance(found, dict) and itinerary_id in (found.get("id"), found.get("itineraryId"))
        ),
        {},
    )
    given = (entry.get("finance") or {}).get("sellingPrice")
    try:
        amount = float(given or 0)
    except (TypeError, ValueError):
        amount = 0.0
    if not 0 < amount < 1e12:
        return 0, []
    if unit == "major":
        return round(amount * 100), []
    if unit == "minor":
        return round(amount), []
    if amount < MINOR_FROM:
        return round(amount * 100), []
    return round(amount), [
        f"price {amount:.12g} was taken for cents; set SELLING_PRICE_UNIT if the portal gives whole units"
    ]


def film(itinerary_id: str, settings: Settings) -> list[Json]:
    """The itinerary's film, if the portal has one. That the question fails is no error."""
    url = f"{settings.video_base}/assembled_{itinerary_id}_480.m3u8"
    try:
        with http.client(timeout=30) as client:
            there = client.head(url).is_success
    except httpx.HTTPError as error:
        log.warning("cannot ask for the film", event_type="film_unknown", problem=type(error).__name__)
        there = False
    return [{"hlsUrl": url, "itineraryId": itinerary_id, "context": "hero", "quality": "480"}] if there else []


def _failure(message: str) -> Json:
    return {"success": False, "error": message}
