"""The portal: its URLs, and what an itinerary's page fetches.

There is no documented API. The page itself fetches two JSON documents; whoever opens the page sees them:

* pricing: a URL with `/api/Itineraries` and without `/api/Itineraries/`; a list of objects with `finance.sellingPrice`
* content: a URL with `/api/PresentationEdits/renderDataClient`; an object with `itineraries`

`HttpPortal` reads a page that names both or carries them inside; `browsing.BrowserPortal` runs the page in a browser; `auto` takes
the first and, if the page does not show them without its scripts, the second. `FilePortal` gives what lies in a folder.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

from scraper.errors import CaptureError, PortalUrlError
from scraper.settings import Settings
from stepwell.toolkit import http
from stepwell.toolkit.logs import logger

log = logger(__name__)

Json = dict[str, Any]
MAX_URL = 250
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"


@dataclass(frozen=True)
class PortalUrl:
    """An itinerary's page. `access_key` is a secret of the client: it is in no log line."""

    url: str
    access_key: str = field(repr=False)
    itinerary_id: str

    @classmethod
    def parse(cls, url: object, allowed_hosts: tuple[str, ...]) -> PortalUrl:
        """Of `https://HOST/client/portal/ACCESS/ID`, or of query parameters `accessKey` and `itineraryId`. Raises PortalUrlError."""
        if not isinstance(url, str) or not url.strip():
            raise PortalUrlError("itrvlUrl is missing; give the URL of an itinerary's page")
        url = url.strip()
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise PortalUrlError("itrvlUrl must be an https URL")
        if parts.hostname.lower() not in allowed_hosts or parts.port not in (None, 443) or "@" in parts.netloc:
            raise PortalUrlError(f"itrvlUrl is of {parts.netloc!r}; allowed are {', '.join(allowed_hosts)}")
        values = parse_qs(parts.query)
        access, itinerary = (values.get(name, [""])[0] for name in ("accessKey", "itineraryId"))
        if not (access and itinerary):
            names = [name for name in parts.path.split("/") if name]
            after = names[names.index("portal") + 1 :] if "portal" in names else []
            if len(after) < 2:
                raise PortalUrlError("itrvlUrl must have the form https://HOST/client/portal/ACCESS_KEY/ITINERARY_ID")
            access, itinerary = after[:2]
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", itinerary):
            raise PortalUrlError("itrvlUrl: the itinerary's id must be letters, digits, hyphens and underscores")
        return cls(url, access, itinerary)

    def at(self, origin: str) -> str:
        """The same page on another origin (`http://127.0.0.1:8000`); its own without one."""
        if not origin:
            return self.url
        parts = urlsplit(self.url)
        return origin + parts.path + (f"?{parts.query}" if parts.query else "")


@dataclass
class Recording:
    """What was seen of a page's requests: every `/api/` response for diagnosis, and the two that matter."""

    responses: list[Json] = field(default_factory=list)
    pricing: Any = None
    content: Any = None

    def add(self, url: str, status: int, content_type: str, body: str | bytes | None) -> None:
        """Take note of a response. A later JSON document replaces an earlier one."""
        if "/api/" not in url:
            return
        self.responses.append({"url": url[:MAX_URL], "status": status, "contentType": content_type})
        kind = kind_of(url)
        if kind is None or not 200 <= status < 300 or body is None:
            return
        try:
            document = json.loads(body)
        except ValueError:
            return
        if kind == "pricing":
            self.pricing = document
        else:
            self.content = document

    @property
    def complete(self) -> bool:
        """Whether both documents are there."""
        return self.pricing is not None and self.content is not None

    def problem(self) -> CaptureError:
        """Why it is not complete, with the endpoints that might have been meant."""
        missing = [name for name in ("pricing", "content") if getattr(self, name) is None]
        log.warning(
            "the page did not show everything",
            event_type="capture_incomplete",
            missing=missing,
            candidates=self.candidates(),
        )
        error = CaptureError(
            f"the page did not fetch its {' and '.join(missing)} data; {len(self.responses)} API responses seen"
        )
        error.responses = self.responses  # type: ignore[attr-defined]
        return error

    def candidates(self) -> list[str]:
        """URLs of JSON answers whose names look like what is missing: the portal may have been changed."""
        words = ("itinerar", "trip", "booking", "presentation", "render", "content")
        return [
            urlsplit(seen["url"]).path
            for seen in self.responses
            if seen["status"] == 200
            and "json" in seen["contentType"]
            and any(word in seen["url"].lower() for word in words)
        ]


@dataclass(frozen=True)
class Capture:
    """The two documents of a page."""

    pricing: Any
    content: Json
    responses: list[Json] = field(default_factory=list)


class PortalClient(Protocol):
    """Something that opens an itinerary's page. `settle`: seconds to wait after the network is quiet."""

    def capture(self, page: PortalUrl, settle: float) -> Capture:
        """Raises CaptureError."""


def kind_of(url: str) -> str | None:
    """`pricing`, `content`, or None."""
    if "/api/PresentationEdits/renderDataClient" in url:
        return "content"
    if "/api/Itineraries" in url and "/api/Itineraries/" not in url:
        return "pricing"
    return None


class HttpPortal:
    """Without a browser: for a page that carries the documents (`<script type="application/json" data-url=...>`) or names their URLs."""

    def __init__(self, origin: str = "", transport: httpx.BaseTransport | None = None) -> None:
        self._origin = origin
        self._client = http.client(
            timeout=120, headers={"User-Agent": USER_AGENT}, follow_redirects=True, transport=transport
        )

    def capture(self, page: PortalUrl, settle: float = 0.0) -> Capture:
        """Open the page and fetch what it names. A redirect to another host is refused: URLs come from callers."""
        target = page.at(self._origin)
        recording = Recording()
        try:
            answer = self._client.get(target)
            if urlsplit(str(answer.url)).netloc != urlsplit(target).netloc:
                raise CaptureError("the page leads to another host")
            if not answer.is_success:
                raise CaptureError(f"the page answered {answer.status_code}")
            for url, body in _carried(answer.text):
                recording.add(urljoin(target, url), 200, "application/json", body)
            for url in _named(answer.text, target):
                kind = kind_of(url)
                if kind and getattr(recording, kind) is None:
                    found = self._client.get(url, headers={"Accept": "application/json", "Referer": target})
                    recording.add(url, found.status_code, found.headers.get("content-type", ""), found.content)
        except httpx.HTTPError as error:
            raise CaptureError(f"the portal cannot be read: {type(error).__name__}") from error
        return finished(recording)


class FilePortal:
    """A folder with `pricing.json` and `content.json`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def capture(self, page: PortalUrl, settle: float = 0.0) -> Capture:
        """What the files hold, whatever the page."""
        recording = Recording()
        for name, url in (("pricing", "/api/Itineraries"), ("content", "/api/PresentationEdits/renderDataClient")):
            path = self._folder / f"{name}.json"
            if path.exists():
                recording.add(url, 200, "application/json", path.read_bytes())
        return finished(recording)


class EitherPortal:
    """Plain HTTP first; a browser when the page shows its data to scripts only."""

    def __init__(self, plain: PortalClient, browser: PortalClient) -> None:
        self._plain = plain
        self._browser = browser

    def capture(self, page: PortalUrl, settle: float) -> Capture:
        """Raises CaptureError, also when a browser is needed and there is none."""
        try:
            return self._plain.capture(page, settle)
        except CaptureError as error:
            log.info("a browser is needed", event_type="capture_by_browser", reason=str(error))
            return self._browser.capture(page, settle)


def portal_of(settings: Settings) -> PortalClient:
    """The configured client."""
    from scraper.browsing import BrowserPortal

    plain, browser = HttpPortal(settings.portal_origin), BrowserPortal(settings.portal_origin)
    if settings.portal_capture == "auto":
        return EitherPortal(plain, browser)
    return plain if settings.portal_capture == "http" else browser


def finished(recording: Recording) -> Capture:
    """The capture, if both documents are there and have their form. Raises CaptureError."""
    if not recording.complete:
        raise recording.problem()
    content = recording.content
    if not isinstance(content, dict) or not isinstance(content.get("itineraries"), list) or not content["itineraries"]:
        raise CaptureError("the content data have no itineraries")
    return Capture(recording.pricing, content, recording.responses)


def _carried(text: str) -> list[tuple[str, str]]:
    """JSON documents inside the page, each with the URL it stands for."""
    found = re.findall(r"<script\b([^>]*)>(.*?)</script>", text, re.DOTALL | re.IGNORECASE)
    carried = []
    for attributes, body in found:
        url = re.search(r"data-url=[\"']([^\"']+)[\"']", attributes)
        if url and "application/json" in attributes:
            carried.append((html.unescape(url.group(1)), body.replace("<\\/", "</")))
    return carried


def _named(text: str, base: str) -> list[str]:
    """URLs of the portal's API that the page's text has between quotes, on the page's own host."""
    quoted = re.findall(r"[\"'](\\?/[^\"'<>\s]*?api\\?/[^\"'<>\s]+|https?:[^\"'<>\s]+api\\?/[^\"'<>\s]+)[\"']", text)
    urls = [urljoin(base, html.unescape(url.replace("\\/", "/"))) for url in quoted]
    return list(dict.fromkeys(url for url in urls if urlsplit(url).netloc == urlsplit(base).netloc))


def image_keys(content: Mapping[str, Any]) -> list[str]:
    """Every photo's key in the content, distinct, in the order of the document; agency branding is none of them."""
    found: dict[str, None] = {}

    def walk(value: Any, within_images: bool) -> None:
        if isinstance(value, dict):
            for name, member in value.items():
                if name == "agency":
                    continue
                if name in ("s3Key", "headerImage") and isinstance(member, str) and member:
                    found.setdefault(member)
                walk(member, name == "images")
        elif isinstance(value, list):
            for member in value:
                if within_images and isinstance(member, str) and member:
                    found.setdefault(member)
                walk(member, within_images)

    walk(content, False)
    return list(found)
