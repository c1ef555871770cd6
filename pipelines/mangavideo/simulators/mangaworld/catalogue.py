"""The comic catalogue: MangaDex's API and image servers (section 9.1), with its limits of rate, link lifetime and User-Agent."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .drawing import draw
from .web import Answer, Request, Simulator

ORDERS = ("followedCount", "latestUploadedChapter", "rating")


@dataclass
class Page:
    """An image: drawn, or given. `status` other than 200 makes it broken."""

    body: bytes
    kind: str = "image/jpeg"
    extension: str = "jpg"
    status: int = 200


@dataclass
class Chapter:
    """A chapter in a language. `listing` overrides attributes of its entry in the feed."""

    id: str
    number: str | None
    pages: list[Page]
    title: str | None = None
    language: str = "vi"
    listing: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Manga:
    """A title. `ranks` gives its place in each listing; a title without a place is not in it."""

    id: str
    title: Mapping[str, str]
    chapters: list[Chapter]
    description: Mapping[str, str] = field(default_factory=dict)
    genres: tuple[str, ...] = ("Action",)
    rating: str = "safe"
    cover: str | None = "c.jpg"


def manga(number: int, title: str, chapters: int = 2, pages: int = 2, **more: Any) -> Manga:
    """A title with drawn pages."""
    drawn = [
        Chapter(
            f"c-{number}-{chapter}",
            str(chapter),
            [Page(draw(title, str(chapter), page)) for page in range(pages)],
            f"Chương {chapter}",
        )
        for chapter in range(1, chapters + 1)
    ]
    about = {
        "vi": f"Cuộc phiêu lưu của {title}: tình bạn, lòng dũng cảm và một bí mật từ quá khứ.",
        "en": "An adventure.",
    }
    return Manga(f"m-{number}", {"en": title}, drawn, about, **more)


class Catalogue(Simulator):
    """`works` is the order of the first listing; the others have it backwards and as it is."""

    def __init__(
        self, works: list[Manga] | None = None, *, rate: float | None = 5.0, link_seconds: float = 900.0
    ) -> None:
        """`rate`: calls a second before the API answers 429; None for no limit. Links are good for `link_seconds`."""
        super().__init__()
        self.works = works or []
        self.rate = rate
        self.link_seconds = link_seconds
        self._calls: list[float] = []
        self._links: dict[str, tuple[Chapter, float]] = {}

    def expire_links(self) -> None:
        """Every link that was given out is refused from now on."""
        with self._lock:
            self._links.clear()

    def respond(self, request: Request) -> Answer:
        if not request.headers.get("user-agent") or request.headers["user-agent"].startswith("python-"):
            return _error(400, "a User-Agent of your own is required")
        parts = request.path.strip("/").split("/")
        if len(parts) == 4 and parts[1] == "data":
            return self._image(parts[0], parts[3])
        if parts[0] == "covers":
            return Answer(200, draw("cover", parts[1], 0), {"content-type": "image/jpeg"})
        if self._too_fast():
            return Answer(429, {"result": "error"}, {"retry-after": "0.05"})
        if request.path == "/manga":
            return self._listing(request)
        if parts[0] == "at-home":
            return self._page_list(parts[-1])
        found = next((m for m in self.works if m.id == parts[1]), None) if parts[0] == "manga" else None
        if found is None:
            return _error(404, "not found")
        if len(parts) == 3:
            return self._feed(found, int(request.first("limit", "100")), int(request.first("offset", "0")))
        return Answer(200, {"result": "ok", "data": _document(found)})

    def _too_fast(self) -> bool:
        if self.rate is None:
            return False
        now = time.monotonic()
        with self._lock:
            self._calls = [at for at in self._calls if at > now - 1.0]
            # A call may come a moment early on a busy machine; six in a second may not.
            if len(self._calls) > self.rate:
                return True
            self._calls.append(now)
        return False

    def _listing(self, request: Request) -> Answer:
        order = next((name for name in ORDERS if request.first(f"order[{name}]")), "followedCount")
        titles = list(reversed(self.works)) if order == "latestUploadedChapter" else list(self.works)
        limit = int(request.first("limit", "10"))
        data = [_document(found) for found in titles[:limit]]
        return Answer(200, {"result": "ok", "data": data, "limit": limit, "offset": 0, "total": len(titles)})

    def _feed(self, found: Manga, limit: int, offset: int) -> Answer:
        entries = [
            {
                "id": chapter.id,
                "type": "chapter",
                "attributes": {
                    "volume": None,
                    "chapter": chapter.number,
                    "title": chapter.title,
                    "translatedLanguage": chapter.language,
                    "externalUrl": None,
                    "pages": len(chapter.pages),
                    **chapter.listing,
                },
            }
            for chapter in found.chapters
        ]
        page = entries[offset : offset + limit]
        return Answer(200, {"result": "ok", "data": page, "limit": limit, "offset": offset, "total": len(entries)})

    def _page_list(self, chapter_id: str) -> Answer:
        chapter = next((c for m in self.works for c in m.chapters if c.id == chapter_id), None)
        if chapter is None:
            return _error(404, "not found")
        token = secrets.token_hex(8)
        with self._lock:
            self._links[token] = (chapter, time.monotonic() + self.link_seconds)
        files = [f"{number}.{page.extension}" for number, page in enumerate(chapter.pages)]
        found = {"hash": "abc", "data": files, "dataSaver": files}
        return Answer(200, {"result": "ok", "baseUrl": f"{self.url}/{token}", "chapter": found})

    def _image(self, token: str, name: str) -> Answer:
        with self._lock:
            chapter, until = self._links.get(token, (None, 0.0))
        if chapter is None or time.monotonic() > until:
            return _error(403, "expired")
        page = chapter.pages[int(name.partition(".")[0])]
        return Answer(page.status, page.body if page.status == 200 else b"", {"content-type": page.kind})


def _document(found: Manga) -> dict[str, Any]:
    relations = [{"type": "cover_art", "attributes": {"fileName": found.cover}}] if found.cover else []
    tags = [{"type": "tag", "attributes": {"name": {"en": genre}}} for genre in found.genres]
    return {
        "id": found.id,
        "type": "manga",
        "attributes": {
            "title": dict(found.title),
            "description": dict(found.description) or [],
            "contentRating": found.rating,
            "tags": tags,
        },
        "relationships": relations,
    }


def _error(status: int, detail: str) -> Answer:
    return Answer(status, {"result": "error", "errors": [{"status": status, "detail": detail}]})
