"""The camera cloud's unofficial API (section 12): listing, download links, and a probe of the session."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote

import httpx

from cloudsync import provider, web
from cloudsync.errors import (
    APIError,
    APIStructureError,
    NetworkError,
    QualityUnavailableError,
    RateLimitError,
    SourceDeletedError,
    TimeoutError,
    TokenExpiredError,
)
from cloudsync.provider import MediaItem, Page, Pagination
from stepwell import toolkit
from stepwell.toolkit import http

NAME = "gopro"
ACCEPT = "application/vnd.gopro.jk.media+json; version=2.0.0"
PROBE_TIMEOUT = 10.0
RESOLVE_TIMEOUT = 30.0
LIST_TIMEOUT = 60.0
FALLBACK_QUALITY = "high_res_proxy_mp4"
SAMPLE_CHARACTERS = 500
MEDIA_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")

_DATE_FIELDS = ("created_at", "captured_at", "client_updated_at")
_VIDEO = (".mp4", ".mov", ".360")
_PHOTO = (".jpg", ".gpr")
_TOKEN = re.compile(r'("token"\s*:\s*")[^"]*')

log = toolkit.logger(__name__)


class GoPro:
    """A client of the API at `base_url`. Holds connections, no session: cookies come with each call."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    @cached_property
    def _client(self) -> httpx.Client:
        return web.client(self.base_url)

    def list_page(self, cookies: str, user_agent: str, page: int, per_page: int) -> Page:
        with _api_errors():
            response = http.check(
                self._client.get(
                    "/media/search",
                    params={"page": page, "per_page": per_page},
                    headers=_headers(cookies, user_agent),
                    timeout=LIST_TIMEOUT,
                )
            )
        return parse_page(response.content, page, per_page)

    def resolve_download(
        self, media_id: str, cookies: str, user_agent: str, quality: str = "source"
    ) -> tuple[str, str]:
        with _api_errors({404: lambda failure: SourceDeletedError(f"{media_id} is not in the cloud any more", 404)}):
            response = http.check(
                self._client.get(
                    f"/media/{quote(media_id, safe='')}/download",
                    headers=_headers(cookies, user_agent),
                    timeout=RESOLVE_TIMEOUT,
                )
            )
        return choose_rendition(response.content, media_id, quality)

    def probe(self, cookie_header: str, user_agent: str, correlation_id: str = "") -> int:
        headers = {**_headers(cookie_header, user_agent), "X-Correlation-ID": correlation_id}
        try:
            response = self._client.get("/media/search", params={"per_page": 1}, headers=headers, timeout=PROBE_TIMEOUT)
        except (httpx.HTTPError, ValueError, UnicodeError):
            # A cookie that is no header value is as good as no connection: the caller only wants to know whether it works.
            return 0
        return response.status_code


def parse_page(body: bytes, page: int, per_page: int) -> Page:
    """What a listing says. Raises APIStructureError for another shape than documented."""
    sample = _sample(body)
    document = _object(body, sample)
    media, pages = _media(document), document.get("_pages")
    if media is None:
        raise APIStructureError("the listing has no _embedded.media list", sample)
    pages = pages if isinstance(pages, dict) else {}
    items = [_item(entry) for entry in media]
    well_formed = [item for item in items if item is not None]
    return Page(
        items=well_formed,
        pagination=_pagination(pages, page, per_page, empty=not media, sample=sample),
        malformed=len(items) - len(well_formed),
        total=len(items),
        sample=sample,
    )


def choose_rendition(body: bytes, media_id: str, quality: str) -> tuple[str, str]:
    """URL and label of the wanted rendition, or of its fallback when the source is wanted and not there."""
    sample = _sample(body)
    embedded = _object(body, sample).get("_embedded")
    if not isinstance(embedded, dict):
        raise APIStructureError(f"the download links of {media_id} have no _embedded object", None)
    lists = [found if isinstance(found := embedded.get(name), list) else [] for name in ("files", "variations")]
    if len(lists[0]) > 1:
        log.warning(
            "item has several files; one is archived",
            event_type="multi_item_media",
            media_id=media_id,
            files=len(lists[0]),
        )
    labels = [quality, FALLBACK_QUALITY] if quality == "source" else [quality]
    for label in labels:
        for entries in lists:
            for entry in entries:
                if not isinstance(entry, dict) or entry.get("label") != label or entry.get("available") is not True:
                    continue
                url = entry.get("url")
                if not isinstance(url, str) or not url.startswith(("http://", "https://")):
                    raise APIStructureError(f"the download link {label!r} of {media_id} is no URL", None)
                if label != quality:
                    log.warning(
                        "no original; a proxy is archived",
                        event_type="quality_fallback",
                        media_id=media_id,
                        label=label,
                    )
                return url, label
    raise QualityUnavailableError(f"{media_id} has no available rendition {' or '.join(labels)}")


def map_item(entry: Mapping[str, Any]) -> MediaItem:
    """The fields of a listed item by the rules of section 7.2."""
    filename = entry.get("filename")
    filename = filename if isinstance(filename, str) else ""
    return MediaItem(
        media_id=entry["id"],
        filename=filename,
        file_size=_size(entry.get("file_size")),
        upload_date=next((found for name in _DATE_FIELDS if isinstance(found := entry.get(name), str) and found), ""),
        duration=_seconds(entry.get("duration")) or _seconds(entry.get("source_duration")),
        provider=NAME,
        media_type=_media_type(entry.get("type"), filename),
        resolution=_resolution(entry.get("width"), entry.get("height")),
    )


def _item(entry: Any) -> MediaItem | None:
    """The item, or None for a malformed one: it has no usable id."""
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str) or not MEDIA_ID.fullmatch(entry["id"]):
        return None
    return map_item(entry)


def _headers(cookies: str, user_agent: str) -> dict[str, str]:
    return {
        "Cookie": cookies,
        "User-Agent": user_agent,
        "Accept": ACCEPT,
        "Accept-Language": "en-US,en;q=0.9",
        "Referer": "https://gopro.com/",
    }


@contextlib.contextmanager
def _api_errors(more: http.ErrorNames | None = None) -> Iterator[None]:
    names: dict[Any, Any] = {
        "timeout": lambda failure: TimeoutError(str(failure)),
        "network": lambda failure: NetworkError(str(failure)),
        "truncated": lambda failure: NetworkError(str(failure)),
        "server": lambda failure: NetworkError(str(failure)),
        "rate_limited": lambda failure: RateLimitError(str(failure), failure.retry_after),
        "unauthorized": lambda failure: TokenExpiredError(f"{failure}: the session has expired, refresh the cookies"),
        "not_found": lambda failure: APIError(str(failure), failure.status),
        "client": lambda failure: APIError(str(failure), failure.status),
        **(more or {}),
    }
    with http.raising(names):
        yield


def _sample(body: bytes) -> str:
    """The first characters of an answer, without the tokens that listed items carry."""
    return _TOKEN.sub(r"\1…", body[: 4 * SAMPLE_CHARACTERS].decode("utf-8", "replace"))[:SAMPLE_CHARACTERS]


def _object(body: bytes, sample: str) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        raise APIStructureError("the answer is not JSON", sample) from None
    if not isinstance(document, dict):
        raise APIStructureError(f"the answer is a JSON {type(document).__name__}, not an object", sample)
    return document


def _media(document: Mapping[str, Any]) -> list[Any] | None:
    embedded = document.get("_embedded")
    found = embedded.get("media") if isinstance(embedded, dict) else None
    found = document.get("media") if found is None else found
    return found if isinstance(found, list) else None


def _pagination(pages: Mapping[str, Any], page: int, per_page: int, *, empty: bool, sample: str) -> Pagination:
    total_pages = _whole(pages.get("total_pages", pages.get("total")))
    total_items = _whole(pages.get("total_items"))
    if empty and not total_pages:
        # An empty library has no page to count; a page beyond the end may say nothing of the library. Both are the end.
        if page > 1 and total_pages is None:
            total_pages = page - 1
        elif total_pages == 0 and not total_items:
            total_pages = max(1, page - 1)
    if not total_pages or total_pages < 1:
        raise APIStructureError("the listing has no positive _pages.total_pages", sample)
    return Pagination(
        current_page=_whole(pages.get("current_page", pages.get("page"))) or page,
        per_page=_whole(pages.get("per_page")) or per_page,
        total_items=total_items,
        total_pages=total_pages,
    )


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _size(value: Any) -> int:
    """Bytes; 0 for unknown, which is legal."""
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    whole = _whole(value)
    return max(0, whole) if whole is not None else int(_number(value) or 0)


def _seconds(milliseconds: Any) -> int:
    return int((_number(milliseconds) or 0) // 1000)


def _media_type(kind: Any, filename: str) -> str:
    if isinstance(kind, str) and kind:
        return kind.lower()
    lowered = filename.lower()
    if lowered.endswith(_VIDEO):
        return "video"
    return "photo" if lowered.endswith(_PHOTO) else "unknown"


def _resolution(width: Any, height: Any) -> str:
    return f"{_whole(width)}x{_whole(height)}" if _whole(width) and _whole(height) else "unknown"


provider.register(NAME, GoPro)
