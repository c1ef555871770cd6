"""A camera cloud on loopback: the media API and the CDN of section 12 of the specification, failures included.

    with MediaCloud() as cloud:
        cloud.add(Media("mABC123", "GH010042.MP4", FileContent(path)))
        cloud.fail("cdn", media_id="mABC123", reset_after=6_000_000)       # once: the connection is reset
        ... PROVIDER_API_BASE=cloud.url ...
        assert cloud.requests("cdn")[0].headers.get("cookie") is None

`GET /media/search`, `GET /media/{id}/download` and the signed `GET /cdn/...` URLs behave as documented: the vendor media type is
required, a session is two cookies or a whole browser's, pages hold at most 100 items, signatures expire, ranges are served.
What shall go wrong is said with `fail`; everything asked is kept in `requests`, so that a test can assert on it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

from .content import Content

ACCEPT = "application/vnd.gopro.jk.media+json"
MAX_PER_PAGE = 100
Where = Literal["search", "download", "cdn"]


@dataclass
class Media:
    """One item of the library.

    `content` None makes an item whose original is gone from the CDN but not from the listing. `proxies` are other
    renditions by label; `parts` further files of a chaptered or burst item. `listing` overrides fields of the listing.
    """

    id: str
    filename: str | None
    content: Content | None
    created_at: str = "2025-11-10T14:23:45Z"
    type: str = "Video"
    duration_ms: int | None = 2000
    width: int = 1920
    height: int = 1080
    proxies: Mapping[str, Content] = field(default_factory=dict)
    parts: tuple[Content, ...] = ()
    listing: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The item as the listing shows it."""
        document: dict[str, Any] = {
            "id": self.id,
            "type": self.type,
            "filename": self.filename,
            "file_size": self.content.size if self.content is not None else None,
            "created_at": self.created_at,
            "captured_at": self.created_at,
            "source_duration": None if self.duration_ms is None else str(self.duration_ms),
            "duration": None,
            "width": self.width,
            "height": self.height,
            "token": f"tok-{self.id}",
        }
        document.update(self.listing)
        return document


@dataclass
class Session:
    """The browser session the cloud accepts. `minimal` False: the two-cookie form is refused, as the service sometimes does."""

    token: str = "eyJ.synthetic"
    user_id: str = "00000000-0000-4000-8000-000000000001"
    minimal: bool = True
    refusal: int | None = None
    """A status (401 or 403) that every request gets: the session has expired."""

    @property
    def cookies(self) -> str:
        """The full Cookie header of the browser."""
        return f"gp_access_token={self.token}; gp_user_id={self.user_id}; session=abc"

    def accepts(self, header: str | None) -> bool:
        cookies = dict(pair.strip().partition("=")[::2] for pair in (header or "").split(";") if "=" in pair)
        if self.refusal is not None or cookies.get("gp_access_token") != self.token:
            return False
        return self.minimal or "session" in cookies


@dataclass
class Fault:
    """What goes wrong with the next `times` requests that match; see `MediaCloud.fail`."""

    where: Where
    media_id: str | None
    page: int | None
    times: int
    status: int | None
    headers: Mapping[str, str]
    body: bytes | None
    reset_after: int | None
    truncate_after: int | None
    fragment: int | None
    pause: float
    chunked: bool
    delay: float
    length: int | None

    def matches(self, where: Where, media_id: str | None, page: int | None) -> bool:
        return (
            self.times > 0
            and self.where == where
            and (self.media_id is None or self.media_id == media_id)
            and (self.page is None or self.page == page)
        )


@dataclass(frozen=True)
class Request:
    """One request the cloud got. Header names are in lower case."""

    where: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    at: float
    status: int
    media_id: str | None = None
    page: int | None = None


class MediaCloud:
    """The service: a library, a session, faults to come, and a record of what was asked. A context manager."""

    def __init__(self, *, session: Session | None = None, url_lifetime: float = 3600.0, port: int = 0) -> None:
        """`url_lifetime` is how long signed URLs are good for, in seconds."""
        self.session = session or Session()
        self.url_lifetime = url_lifetime
        self.media: list[Media] = []
        self.removed: set[str] = set()
        self.sent: dict[str, int] = {}
        """Bytes of each item that went out so far, by media id."""
        self.watchers: list[Callable[[Request], None]] = []
        """Called with each request before its answer goes out."""
        self.peak_downloads = 0
        self._downloads = 0
        self._faults: list[Fault] = []
        self._requests: list[Request] = []
        self._lock = threading.Lock()
        self._key = hashlib.sha256(b"simulated CDN key").digest()
        self._server = _Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="media-cloud", daemon=True
        )

    @property
    def url(self) -> str:
        """The base URL of the API (and of the CDN)."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, *media: Media) -> None:
        """Append items to the library, which is listed in this order."""
        with self._lock:
            self.media.extend(media)

    def fail(
        self,
        where: Where,
        *,
        media_id: str | None = None,
        page: int | None = None,
        times: int = 1,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | dict[str, Any] | None = None,
        reset_after: int | None = None,
        truncate_after: int | None = None,
        fragment: int | None = None,
        pause: float = 0.0,
        chunked: bool = False,
        delay: float = 0.0,
        length: int | None = None,
    ) -> None:
        """Say what goes wrong with the next `times` matching requests.

        `status`, `headers`, `body`: this answer instead. For a body: `reset_after` resets the connection after so many
        bytes, `truncate_after` ends it early, `fragment` sends pieces of so many bytes with `pause` seconds after each,
        `chunked` sends no Content-Length, `length` serves only so many bytes (and says so). `delay` waits before answering.
        """
        if isinstance(body, dict):
            body = json.dumps(body)
        raw = body.encode() if isinstance(body, str) else body
        fault = Fault(
            where, media_id, page, times, status, dict(headers or {}), raw, reset_after, truncate_after, fragment, pause,
            chunked, delay, length,
        )  # fmt: skip
        with self._lock:
            self._faults.append(fault)

    def forgive(self) -> None:
        """Forget all faults that have not happened yet."""
        with self._lock:
            self._faults.clear()

    def requests(self, where: str | None = None, *, media_id: str | None = None) -> list[Request]:
        """What was asked so far, in order."""
        with self._lock:
            return [
                request
                for request in self._requests
                if (where is None or request.where == where) and (media_id is None or request.media_id == media_id)
            ]

    def find(self, media_id: str) -> Media | None:
        with self._lock:
            return next((item for item in self.media if item.id == media_id and item.id not in self.removed), None)

    def sign(self, path: str) -> str:
        """A URL for a CDN path that is good for `url_lifetime` seconds."""
        expires = int(time.time() + self.url_lifetime)
        return f"{self.url}{path}?Expires={expires}&Signature={self._signature(path, expires)}&Key-Pair-Id=KSIM"

    def _signature(self, path: str, expires: int) -> str:
        return hmac.new(self._key, f"{path} {expires}".encode(), hashlib.sha256).hexdigest()

    def _signed(self, path: str, query: Mapping[str, str]) -> bool:
        try:
            expires = int(query["Expires"])
        except (KeyError, ValueError):
            return False
        return expires >= time.time() and hmac.compare_digest(
            query.get("Signature", ""), self._signature(path, expires)
        )

    def _fault(self, where: Where, media_id: str | None = None, page: int | None = None) -> Fault | None:
        with self._lock:
            for fault in self._faults:
                if fault.matches(where, media_id, page):
                    fault.times -= 1
                    return fault
        return None

    def _record(self, request: Request) -> None:
        with self._lock:
            self._requests.append(request)
        for watch in self.watchers:
            watch(request)

    @contextmanager
    def _downloading(self) -> Iterator[None]:
        with self._lock:
            self._downloads += 1
            self.peak_downloads = max(self.peak_downloads, self._downloads)
        try:
            yield
        finally:
            with self._lock:
                self._downloads -= 1

    def search(self, page: int, per_page: int) -> dict[str, Any]:
        """The body of a listing page; beyond the end it has no items."""
        with self._lock:
            items = [item.document() for item in self.media if item.id not in self.removed]
        pages = {
            "current_page": page,
            "per_page": per_page,
            "total_items": len(items),
            "total_pages": max(1, -(-len(items) // per_page)),
        }
        shown = items[(page - 1) * per_page : page * per_page]
        return {"_pages": pages, "_embedded": {"errors": [], "media": shown}}

    def renditions(self, item: Media) -> dict[str, Any]:
        """The body of `/media/{id}/download`."""
        originals = [content for content in (item.content, *item.parts) if content is not None]
        files = [
            {"item_number": number, "url": self.sign(f"/cdn/{quote(item.id)}/file-{number}"), "available": True}
            for number, _ in enumerate(originals, start=1)
        ]
        labels = [*(["source"] if item.content is not None else []), *item.proxies]
        variations = [
            {"label": label, "url": self.sign(f"/cdn/{quote(item.id)}/{quote(label)}"), "available": True}
            for label in labels
        ]
        return {"filename": item.filename, "_embedded": {"files": files, "variations": variations}}

    def content(self, item: Media, label: str) -> Content | None:
        """What a CDN path names."""
        if numbered := re.fullmatch(r"file-(\d+)", label):
            originals = [content for content in (item.content, *item.parts) if content is not None]
            number = int(numbered[1])
            return originals[number - 1] if 1 <= number <= len(originals) else None
        return item.content if label == "source" else item.proxies.get(label)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], cloud: MediaCloud) -> None:
        super().__init__(address, _Handler)
        self.cloud = cloud

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none of the service's business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """The cloud keeps `requests` instead."""

    @property
    def cloud(self) -> MediaCloud:
        return self.server.cloud

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/media/search":
            self._search(parts.path, query)
        elif found := re.fullmatch(r"/media/([^/]+)/download", parts.path):
            self._download(parts.path, query, unquote(found[1]))
        elif found := re.fullmatch(r"/cdn/([^/]+)/([^/]+)", parts.path):
            self._cdn(parts.path, query, unquote(found[1]), unquote(found[2]))
        else:
            self._answer("other", parts.path, query, 404, {"error": "not found"})

    def _answer(
        self,
        where: str,
        path: str,
        query: Mapping[str, str],
        status: int,
        body: bytes | dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        media_id: str | None = None,
        page: int | None = None,
    ) -> None:
        self._note(where, path, query, status, media_id, page)
        raw = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        # A real service sets cookies; a client must not carry them to the CDN.
        self.send_header("Set-Cookie", "tracking=1; Path=/")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def _note(
        self, where: str, path: str, query: Mapping[str, str], status: int, media_id: str | None, page: int | None
    ) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.cloud._record(Request(where, path, dict(query), headers, time.time(), status, media_id, page))

    def _refused(self) -> tuple[int, dict[str, Any]] | None:
        """The answer to a request without a good session or the vendor's media type, if it is one."""
        session = self.cloud.session
        if not session.accepts(self.headers.get("Cookie")):
            return session.refusal or 401, {"_embedded": {"errors": [{"reason": "unauthorized", "code": 8001}]}}
        if ACCEPT not in (self.headers.get("Accept") or ""):
            return 406, {"_embedded": {"errors": [{"reason": "not acceptable", "code": 4060}]}}
        return None

    def _search(self, path: str, query: Mapping[str, str]) -> None:
        try:
            page = int(query["page"]) if "page" in query else None  # a probe of the session names no page
            per_page = int(query.get("per_page", "30"))
        except ValueError:
            page = per_page = 0
        page = page if page is None else max(page, 0)
        fault = self.cloud._fault("search", page=page)
        if fault is not None:
            time.sleep(fault.delay)
            if fault.status is not None or fault.body is not None:
                self._answer("search", path, query, fault.status or 200, fault.body, fault.headers, page=page)
                return
            if fault.reset_after is not None:
                self._note("search", path, query, 0, None, page)
                self._reset()
                return
        if refused := self._refused():
            self._answer("search", path, query, *refused, page=page)
        elif page == 0 or not 1 <= per_page <= MAX_PER_PAGE:
            self._answer("search", path, query, 400, {"_embedded": {"errors": [{"reason": "bad page"}]}}, page=page)
        else:
            self._answer("search", path, query, 200, self.cloud.search(page or 1, per_page), page=page)

    def _download(self, path: str, query: Mapping[str, str], media_id: str) -> None:
        fault = self.cloud._fault("download", media_id)
        if fault is not None:
            time.sleep(fault.delay)
            if fault.status is not None or fault.body is not None:
                self._answer("download", path, query, fault.status or 200, fault.body, fault.headers, media_id=media_id)
                return
        item = self.cloud.find(media_id)
        if refused := self._refused():
            self._answer("download", path, query, *refused, media_id=media_id)
        elif item is None:
            self._answer("download", path, query, 404, {"_embedded": {"errors": []}}, media_id=media_id)
        else:
            self._answer("download", path, query, 200, self.cloud.renditions(item), media_id=media_id)

    def _cdn(self, path: str, query: Mapping[str, str], media_id: str, label: str) -> None:
        fault = self.cloud._fault("cdn", media_id)
        with self.cloud._downloading():
            if fault is not None:
                time.sleep(fault.delay)
                if fault.status is not None:
                    self._answer("cdn", path, query, fault.status, fault.body, fault.headers, media_id=media_id)
                    return
            item = self.cloud.find(media_id)
            content = None if item is None else self.cloud.content(item, label)
            if not self.cloud._signed(path, query):
                self._answer("cdn", path, query, 403, {"error": "signature"}, media_id=media_id)
            elif content is None:
                self._answer("cdn", path, query, 404, {"error": "removed"}, media_id=media_id)
            else:
                self._body(path, query, media_id, content, fault)

    def _body(self, path: str, query: Mapping[str, str], media_id: str, content: Content, fault: Fault | None) -> None:
        size = content.size if fault is None or fault.length is None else fault.length
        start, end, status = 0, size, 200
        if wanted := re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", "")):
            first, last = wanted[1], wanted[2]
            if first:
                start, end = int(first), min(int(last) + 1 if last else size, size)
            elif last:
                start = max(0, size - int(last))
            status = 206
            if start >= end:
                self._answer("cdn", path, query, 416, {}, {"Content-Range": f"bytes */{size}"}, media_id=media_id)
                return
        self._note("cdn", path, query, status, media_id, None)
        chunked = fault is not None and fault.chunked
        self.send_response(status)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("ETag", f'"{content.etag}"')
        self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(end - start))
        self.end_headers()
        if self.command == "HEAD":
            return
        stop = end
        if fault is not None:
            limit = fault.reset_after if fault.reset_after is not None else fault.truncate_after
            stop = end if limit is None else min(end, start + limit)
        for piece in _fragments(content.read(start, stop), fault.fragment if fault else None):
            if chunked:
                self.wfile.write(b"%x\r\n" % len(piece))
            self.wfile.write(piece)
            if chunked:
                self.wfile.write(b"\r\n")
            self.cloud.sent[media_id] = self.cloud.sent.get(media_id, 0) + len(piece)
            if fault is not None and fault.pause:
                time.sleep(fault.pause)
        if fault is not None and fault.reset_after is not None:
            time.sleep(0.2)  # a reset throws away what the client has not read yet: let it read
            self._reset()
        elif stop < end:
            self.close_connection = True
        elif chunked:
            self.wfile.write(b"0\r\n\r\n")

    def _reset(self) -> None:
        """End the connection with a TCP reset instead of an orderly close."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()


def _fragments(pieces: Iterator[bytes | memoryview], size: int | None) -> Iterator[bytes | memoryview]:
    for piece in pieces:
        if size is None:
            yield piece
            continue
        view = memoryview(piece)
        for offset in range(0, len(view), size):
            yield view[offset : offset + size]
