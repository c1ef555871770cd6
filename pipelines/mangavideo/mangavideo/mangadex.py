"""The comic catalogue MangaDex (section 9.1): at most 5 requests a second, 40 page lists a minute, and an honest User-Agent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mangavideo import times
from mangavideo.errors import CatalogueError
from stepwell.toolkit import http

API = "https://api.mangadex.org"
USER_AGENT = "manga-video-pipeline/1.0 (stepwell)"
LANGUAGES = ("vi", "en")
CANDIDATES = 15
FEED_PAGE = 500
ORDERS = ("followedCount", "latestUploadedChapter", "rating")
PAGE_LIST_SECONDS = 60 / 40
COVERS = "https://uploads.mangadex.org/covers"

_Query = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Comic:
    """A title of the catalogue."""

    id: str
    title: str
    description: str
    genres: tuple[str, ...]
    rating: str
    cover_url: str | None

    def adult(self, *, erotica: bool = True) -> bool:
        """Whether it is kept out: pornographic, tagged hentai, or (by default) erotica."""
        refused = {"pornographic", "erotica"} if erotica else {"pornographic"}
        return self.rating in refused or any(genre.lower() == "hentai" for genre in self.genres)


@dataclass(frozen=True)
class Chapter:
    """A chapter in one language; `number` is None for one-shots and extras."""

    id: str
    number: str | None
    title: str
    language: str


@dataclass(frozen=True)
class PageList:
    """Where the images of a chapter are, for about 15 minutes."""

    base_url: str
    folder: str
    files: tuple[str, ...]

    def url(self, page: int) -> str:
        return f"{self.base_url}/data/{self.folder}/{self.files[page]}"


class MangaDex:
    """A client. All methods raise CatalogueError."""

    def __init__(self, base_url: str) -> None:
        factor = times.scale()
        self._client = http.client(
            base_url.rstrip("/"),
            timeout=30.0,
            headers={"user-agent": USER_AGENT},
            retries=http.Retries(attempts=3, initial=2.0 * factor, jitter=0.0),
            rates={urlsplit(base_url).hostname or "": 5 / factor},
        )
        self._page_lists = times.Spacing(PAGE_LIST_SECONDS)

    def candidates(self, order: str) -> list[Comic]:
        """The first titles by an order such as followedCount, that have chapters in our languages."""
        query: _Query = (
            (f"order[{order}]", "desc"),
            ("limit", str(CANDIDATES)),
            ("includes[]", "cover_art"),
            ("hasAvailableChapters", "true"),
            *(("availableTranslatedLanguage[]", language) for language in LANGUAGES),
            ("contentRating[]", "safe"),
            ("contentRating[]", "suggestive"),
        )
        return [_comic(found) for found in self._get("/manga", query)["data"]]

    def comic(self, manga_id: str) -> Comic:
        """One title."""
        return _comic(self._get(f"/manga/{manga_id}", (("includes[]", "cover_art"),))["data"])

    def feed(self, manga_id: str) -> list[Mapping[str, Any]]:
        """All chapter entries of a title, all pages of the feed."""
        entries: list[Mapping[str, Any]] = []
        while True:
            query: _Query = (
                *(("translatedLanguage[]", language) for language in LANGUAGES),
                ("order[chapter]", "asc"),
                ("limit", str(FEED_PAGE)),
                ("offset", str(len(entries))),
            )
            page = self._get(f"/manga/{manga_id}/feed", query)
            entries += page["data"]
            if not page["data"] or len(entries) >= page["total"]:
                return entries

    def page_list(self, chapter_id: str) -> PageList:
        """Where the images of a chapter are now."""
        self._page_lists()
        found = self._get(f"/at-home/server/{chapter_id}", ())
        chapter = found["chapter"]
        return PageList(found["baseUrl"].rstrip("/"), chapter["hash"], tuple(chapter["data"]))

    def _get(self, path: str, query: _Query) -> dict[str, Any]:
        def refused(failure: http.HttpFailure) -> CatalogueError:
            return CatalogueError(str(failure), failure.status)

        kinds: Sequence[http.Kind] = (
            "timeout",
            "network",
            "rate_limited",
            "unauthorized",
            "not_found",
            "client",
            "server",
        )
        with http.raising(dict.fromkeys(kinds, refused)):
            response = http.check(self._client.get(path, params=query))
        try:
            document = response.json()
        except ValueError as error:
            raise CatalogueError(f"{path} answered no JSON", response.status_code) from error
        if not isinstance(document, dict) or document.get("result") != "ok":
            raise CatalogueError(f"{path} answered no result", response.status_code)
        return document


def chosen(entries: Sequence[Mapping[str, Any]], limit: int) -> list[Chapter]:
    """The chapters to make a video of: one for each number, Vietnamese before others, in the order of their numbers.

    Entries hosted elsewhere or without pages are none of ours. Chapters without a number stay, each on its own, at the end.
    """
    found: dict[str, Chapter] = {}
    for entry in entries:
        attributes = entry["attributes"]
        if attributes.get("externalUrl") or not attributes.get("pages"):
            continue
        number = attributes.get("chapter") or None
        key = number if number is not None else f"id:{entry['id']}"
        language = attributes.get("translatedLanguage") or ""
        known = found.get(key)
        if known is not None and (known.language == "vi" or language != "vi"):
            continue
        title = attributes.get("title") or (f"Chapter {number}" if number is not None else "Oneshot")
        found[key] = Chapter(entry["id"], number, title, language)
    return sorted(found.values(), key=_order)[:limit]


def _order(chapter: Chapter) -> tuple[bool, float]:
    try:
        return False, float(chapter.number or "")
    except ValueError:
        return True, 0.0


def _comic(found: Mapping[str, Any]) -> Comic:
    attributes = found["attributes"]
    titles, descriptions = attributes.get("title") or {}, attributes.get("description") or {}
    covers = [
        relation["attributes"]["fileName"]
        for relation in found.get("relationships", ())
        if relation["type"] == "cover_art" and relation.get("attributes")
    ]
    return Comic(
        id=found["id"],
        title=titles.get("en") or titles.get("ja-ro") or next(iter(titles.values()), found["id"]),
        # An empty PHP array stands for an empty object in this API.
        description=(descriptions.get("vi") or descriptions.get("en") or "")
        if isinstance(descriptions, Mapping)
        else "",
        genres=tuple(
            tag["attributes"]["name"]["en"] for tag in attributes.get("tags", ()) if tag["attributes"]["name"].get("en")
        ),
        rating=attributes.get("contentRating") or "safe",
        cover_url=f"{COVERS}/{found['id']}/{covers[0]}" if covers else None,
    )
