"""Downloading page images from the catalogue's image servers (section 6.2, image rules)."""

from __future__ import annotations

import time
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import httpx

from mangavideo import times
from mangavideo.errors import CatalogueError
from mangavideo.keys import EXTENSIONS
from mangavideo.mangadex import USER_AGENT, Chapter, MangaDex, PageList
from stepwell import toolkit
from stepwell.toolkit import http

SPACING = 0.5
ATTEMPTS = 3
LINK_SECONDS = 15 * 60.0
TYPES = ("image/jpeg", "image/jpg", "image/png", "image/gif", "image/webp")

log = toolkit.logger(__name__)


class ImageError(Exception):
    """A page could not be had."""


class Images:
    """Reads pages one after another, at most two a second; links that are old or refused are asked for anew."""

    def __init__(self, catalogue: MangaDex) -> None:
        self._catalogue = catalogue
        self._client = http.client(timeout=30.0, headers={"user-agent": USER_AGENT})
        self._spacing = times.Spacing(SPACING)

    def chapter(self, chapter: Chapter) -> ChapterPages:
        """The pages of a chapter. Raises CatalogueError when their list cannot be had."""
        return ChapterPages(self, self._catalogue, chapter)

    def fetch(self, url: str) -> tuple[int, bytes, str]:
        """Status, body, content type. Raises httpx.HTTPError."""
        self._spacing()
        response = self._client.get(url)
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return response.status_code, response.content, kind


class ChapterPages:
    """The pages of one chapter."""

    def __init__(self, images: Images, catalogue: MangaDex, chapter: Chapter) -> None:
        self._images = images
        self._catalogue = catalogue
        self._chapter = chapter
        self._links = self._renewed()

    def __len__(self) -> int:
        return len(self._links.files)

    def read(self, page: int) -> tuple[bytes, str]:
        """The bytes of a page, counted from 0, and its extension. Raises ImageError after three attempts."""
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                times.wait(2.0 ** (attempt - 1))
            if time.monotonic() - self._listed > LINK_SECONDS * times.scale():
                self._renew()
            try:
                status, body, kind = self._images.fetch(self._links.url(page))
            except httpx.HTTPError as error:
                reason = f"{type(error).__name__}: {error}"
                continue
            if status == httpx.codes.OK:
                if kind not in TYPES and not is_image(body):
                    raise ImageError(f"page {page} of chapter {self._chapter.id} is no image ({kind or 'no type'})")
                return body, extension(self._links.url(page))
            reason = f"status {status}"
            if status == httpx.codes.FORBIDDEN:
                self._renew()
        raise ImageError(f"page {page} of chapter {self._chapter.id}: {reason}")

    def _renew(self) -> None:
        try:
            self._links = self._renewed()
        except CatalogueError as error:
            raise ImageError(f"new links for chapter {self._chapter.id}: {error}") from error

    def _renewed(self) -> PageList:
        links = self._catalogue.page_list(self._chapter.id)
        self._listed = time.monotonic()
        return links


def is_image(body: bytes) -> bool:
    """Whether the first bytes are those of a JPEG, PNG, GIF or WebP file."""
    return body.startswith((b"\xff\xd8", b"\x89PNG", b"GIF87a", b"GIF89a")) or (
        body.startswith(b"RIFF") and body[8:12] == b"WEBP"
    )


def extension(url: str) -> str:
    """By the URL's path: jpg, png, gif or webp; jpg when it says nothing of the kind."""
    found = PurePosixPath(urlsplit(url).path).suffix.lstrip(".").lower()
    return found if found in EXTENSIONS else "jpg"
