"""The fetcher: chooses a title nobody has, and brings its pages into the bucket (section 6.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from mangavideo import documents, keys
from mangavideo.errors import CatalogueError, FetchError
from mangavideo.images import ImageError, Images
from mangavideo.jobs import Jobs
from mangavideo.mangadex import ORDERS, Chapter, Comic, MangaDex, chosen
from mangavideo.titles import Titles
from stepwell import toolkit
from stepwell.toolkit.objects import Bucket

RESERVE_SECONDS = 90.0
TITLES_WITHOUT_PANELS = 2
"""After so many claimed titles without a single panel, the day has none."""

log = toolkit.logger(__name__)


class Fetcher:
    """`remaining` tells the seconds the function still has."""

    def __init__(
        self,
        bucket: Bucket,
        jobs: Jobs,
        titles: Titles,
        catalogue: MangaDex,
        *,
        max_chapters: int,
        remaining: Callable[[], float],
    ) -> None:
        self._bucket = bucket
        self._jobs = jobs
        self._titles = titles
        self._catalogue = catalogue
        self._images = Images(catalogue)
        self._max_chapters = max_chapters
        self._remaining = remaining

    def fetch(self, job_id: str, execution_id: str) -> dict[str, Any]:
        """Pages and manifest of the next title. A second call for the same job gives the same answer. Raises FetchError."""
        done = documents.load(self._bucket, keys.panel_manifest(job_id))
        if done is not None and self._jobs.get(job_id) is not None:
            return _success(done)
        claimed = 0
        for comic in self._candidates(job_id):
            chapters = self._claimed(comic, job_id)
            if chapters is None:
                continue
            claimed += 1
            manifest = self._bring(job_id, execution_id, comic, chapters)
            if manifest is not None:
                return _success(manifest)
            if claimed == TITLES_WITHOUT_PANELS:
                break
        status = "no_chapters_available" if claimed else "no_manga_available"
        log.info("no title to make a video of", event_type="no_title", status=status)
        return _answer(status, job_id)

    def _candidates(self, job_id: str) -> Iterator[Comic]:
        """Titles in the order they are tried; a job that had a title before goes on with that one."""
        row = self._jobs.get(job_id)
        if row is not None and row["status"] != "failed":
            yield self._catalogue.comic(str(row["manga_id"]))
            return
        seen: set[str] = set()
        failures = 0
        for order in ORDERS:
            try:
                found = self._catalogue.candidates(order)
            except CatalogueError as error:
                failures += 1
                log.warning("a source of candidates failed", event_type="source_failed", order=order, error=str(error))
                continue
            for comic in found:
                if comic.id not in seen:
                    seen.add(comic.id)
                    yield comic
        if failures == len(ORDERS):
            raise FetchError("none of the catalogue's listings could be read")

    def _claimed(self, comic: Comic, job_id: str) -> list[Chapter] | None:
        """The chapters of a title that is now ours; None when it is not for us."""
        reason = "adult" if comic.adult() else None
        if reason is None and not self._titles.available(comic.id, job_id):
            reason = "processed or claimed"
        chapters: list[Chapter] = []
        if reason is None:
            chapters = chosen(self._catalogue.feed(comic.id), self._max_chapters)
            reason = None if chapters else "no chapters"
        if reason is None and not self._titles.claim(comic.id, comic.title, job_id):
            reason = "claimed meanwhile"
        if reason is not None:
            log.info("title skipped", event_type="title_skipped", manga_id=comic.id, reason=reason)
            return None
        return chapters

    def _bring(self, job_id: str, execution_id: str, comic: Comic, chapters: list[Chapter]) -> dict[str, Any] | None:
        """Download, write the manifest; None when not one panel could be had."""
        comic = self._catalogue.comic(comic.id)
        self._jobs.open(job_id, comic.id, comic.title, execution_id)
        try:
            written = [entry for entry in self._chapters(job_id, chapters) if entry["panel_keys"]]
            total = sum(len(entry["panel_keys"]) for entry in written)
            if total == 0:
                self._titles.fail(comic.id, job_id)
                message = "not one page could be downloaded"
                self._jobs.update(job_id, status="failed", error_message=message, error_name="NoPanels")
                log.warning("title without panels", event_type="no_panels", manga_id=comic.id)
                return None
            manifest = {
                "job_id": job_id,
                "manga_id": comic.id,
                "manga_title": comic.title,
                "description": comic.description,
                "genres": list(comic.genres),
                "cover_url": comic.cover_url,
                "total_panels": total,
                "chapters": written,
            }
            documents.save(self._bucket, keys.panel_manifest(job_id), manifest)
            self._jobs.advance(job_id, "scripting", 20)
            log.info(
                "pages stored",
                event_type="pages_stored",
                manga_id=comic.id,
                panels=total,
                s3_key=keys.panel_manifest(job_id),
            )
            return manifest
        except Exception as error:
            self._jobs.update(job_id, status="failed", error_message=str(error)[:2000], error_name=type(error).__name__)
            raise

    def _chapters(self, job_id: str, chapters: list[Chapter]) -> Iterator[dict[str, Any]]:
        for index, chapter in enumerate(chapters):
            if index and self._remaining() < RESERVE_SECONDS:
                log.warning("no time for more chapters", event_type="deadline", done=index, of=len(chapters))
                return
            try:
                found = list(self._pages(job_id, index, chapter))
            except CatalogueError as error:
                log.warning("chapter skipped", event_type="chapter_failed", chapter_id=chapter.id, error=str(error))
                continue
            yield {
                "chapter_id": chapter.id,
                "chapter_number": chapter.number,
                "title": chapter.title,
                "language": chapter.language,
                "panel_keys": found,
            }

    def _pages(self, job_id: str, index: int, chapter: Chapter) -> Iterator[str]:
        pages = self._images.chapter(chapter)
        for page in range(len(pages)):
            try:
                body, extension = pages.read(page)
            except ImageError as error:
                log.warning(
                    "page skipped", event_type="page_failed", chapter_id=chapter.id, page=page, error=str(error)
                )
                continue
            key = keys.panel(job_id, index, page, extension)
            kind = "jpeg" if extension == "jpg" else extension
            self._bucket.put(key, body, content_type=f"image/{kind}")
            yield key


def _answer(status: str, job_id: str, **known: Any) -> dict[str, Any]:
    empty = {"manga_id": None, "manga_title": None, "panel_manifest_s3_key": None, "total_panels": 0}
    return {"status": status, "job_id": job_id, **empty, **known}


def _success(manifest: dict[str, Any]) -> dict[str, Any]:
    return _answer(
        "success",
        manifest["job_id"],
        manga_id=manifest["manga_id"],
        manga_title=manifest["manga_title"],
        panel_manifest_s3_key=keys.panel_manifest(manifest["job_id"]),
        total_panels=manifest["total_panels"],
    )
