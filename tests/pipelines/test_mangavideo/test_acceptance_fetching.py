"""Statements 6 to 11: which title is chosen, which chapters, which pages."""

import itertools
import threading
from datetime import timedelta

from mangavideo.mangadex import MangaDex, chosen
from mangaworld import Answer, Chapter, Manga, Page, draw, manga

from mangavideo import times

PAGE = draw("any", "1", 0, (300, 400))


def entry(id, number, language="vi", pages=3, **attributes):
    return {
        "id": id,
        "attributes": {"chapter": number, "title": None, "translatedLanguage": language, "pages": pages, **attributes},
    }


def test_06_titles_that_are_skipped(make):
    library = [
        manga(1, "Adult", 1, 1, rating="erotica"),
        manga(2, "Tagged", 1, 1, genres=("Hentai",)),
        manga(3, "Done", 1, 1),
        manga(4, "Claimed", 1, 1),
        Manga("m-5", {"en": "Empty"}, []),
        manga(6, "Chosen", 1, 1),
        manga(7, "Later", 1, 1),
    ]
    world = make(library)
    world.titles.put({"manga_id": "m-3", "status": "completed"})
    world.titles.put({"manga_id": "m-4", "status": "claimed", "claimed_by": "other", "claimed_at": times.iso()})
    world.jobs.put(
        {"job_id": "other", "manga_id": "m-4", "status": "tts", "created_at": times.iso(), "updated_at": times.iso()}
    )
    answer = world.call("fetcher", job_id="j")
    assert (answer["status"], answer["manga_id"]) == ("success", "m-6")
    feeds = [request.path for request in world.catalogue.asked("/feed")]
    assert feeds == ["/manga/m-5/feed", "/manga/m-6/feed"], (
        "those before were refused without looking at their chapters"
    )
    assert world.titles.get("m-6")["claimed_by"] == "j"


def test_claims(make):
    """Section 3.3 and F4: who may take a title."""
    from mangavideo.jobs import Jobs
    from mangavideo.titles import Titles

    world = make([])
    jobs = Jobs(world.jobs)
    titles = Titles(world.titles, jobs)
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(titles.claim("m-1", "T", f"j{n}"))) for n in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert results.count(True) == 1
    old = times.iso(times.now() - timedelta(hours=27))
    for status, age, free in (
        ("rendering", times.iso(), False),
        ("rendering", old, True),
        ("uploading", old, False),
        ("awaiting_review", old, False),
        ("failed", times.iso(), True),
    ):
        world.titles.put({"manga_id": "m-2", "status": "claimed", "claimed_by": "h"})
        world.jobs.put({"job_id": "h", "manga_id": "m-2", "status": status, "created_at": age, "updated_at": age})
        assert titles.available("m-2", "x") is free, (status, age)
    titles.claim("m-3", "T", "j")
    titles.fail("m-3", "j")
    row = world.titles.get("m-3")
    assert (row["status"], row["attempts"]) == ("failed", 1)
    assert not titles.available("m-3", "k")
    world.titles.put({**row, "retry_after": old})
    assert titles.available("m-3", "k")
    world.titles.put({**row, "retry_after": old, "attempts": 3})
    assert not titles.available("m-3", "k")


def test_07_the_whole_feed(make):
    chapters = [Chapter(f"c-{n}", str(n), [Page(PAGE)]) for n in range(1100)]
    world = make([Manga("m-1", {"en": "Long"}, chapters)])
    assert len(MangaDex(world.catalogue.url).feed("m-1")) == 1100
    asked = world.catalogue.asked("/feed")
    assert [request.first("offset") for request in asked] == ["0", "500", "1000"]
    assert asked[0].first("limit") == "500"
    assert [value for name, value in asked[0].query if name == "translatedLanguage[]"] == ["vi", "en"]


def test_08_chapters_chosen():
    entries = [entry("e3", "3", "en"), entry("v3", "3", "vi"), entry("e3b", "3", "en")]
    assert [chapter.id for chapter in chosen(entries, 10)] == ["v3"]
    many = [entry(f"c{n}", str(n)) for n in (10, 2, 1, *range(11, 33))]
    assert [chapter.number for chapter in chosen(many, 10)] == ["1", "2", "10", *map(str, range(11, 18))]
    odd = [entry("x", None), entry("y", "extra"), entry("z", "1.5"), entry("w", None)]
    assert [chapter.id for chapter in chosen(odd, 10)] == ["z", "x", "y", "w"]
    assert chosen([entry("a", "4")], 1)[0].title == "Chapter 4"


def test_09_chapters_hosted_elsewhere(make):
    chapters = [
        Chapter("ext", "1", [Page(PAGE)], listing={"externalUrl": "https://elsewhere"}),
        Chapter("none", "2", [Page(PAGE)], listing={"pages": 0}),
        Chapter("ours", "3", [Page(PAGE)]),
    ]
    world = make([Manga("m-1", {"en": "Mixed"}, chapters)])
    world.call("fetcher", job_id="j")
    manifest = world.document("jobs/j/panel_manifest.json")
    assert [chapter["chapter_id"] for chapter in manifest["chapters"]] == ["ours"]


def test_10_broken_pages(make):
    broken = Page(PAGE, status=404)
    partly = Manga("m-1", {"en": "Partly"}, [Chapter("c-1", "1", [Page(PAGE), broken, Page(PAGE)])])
    world = make([partly])
    assert world.call("fetcher", job_id="j")["total_panels"] == 2
    manifest = world.document("jobs/j/panel_manifest.json")
    assert manifest["chapters"][0]["panel_keys"] == [f"jobs/j/panels/0000_{page:04d}.jpg" for page in (0, 2)]
    assert len(world.catalogue.asked("/1.jpg")) == 3, "three attempts"

    wholly = [Manga(f"m-{n}", {"en": f"T{n}"}, [Chapter(f"b-{n}", "1", [broken])]) for n in (2, 3, 4)]
    world.catalogue.works = wholly
    run = world.run()
    assert run.last == "NoMangaAvailable"
    assert run.inputs("FetchChoice")[0]["fetchResult"]["status"] == "no_chapters_available"
    assert [world.titles.get(f"m-{n}")["status"] for n in (2, 3)] == ["failed", "failed"], "the next one is tried once"
    assert world.titles.get("m-4") is None
    assert world.job(f"{run.name}-0")["status"] == "failed"
    assert not world.model.requests


def test_11_fetching_again(make):
    world = make()
    first = world.call("fetcher", job_id="j")
    asked = len(world.catalogue.requests)
    second = world.call("fetcher", job_id="j")
    assert first == second
    assert len(world.catalogue.requests) == asked
    assert len(list(world.jobs.scan())) == 1
    manifest = world.document("jobs/j/panel_manifest.json")
    assert manifest["description"] and manifest["genres"] == ["Action"], "F18"
    assert manifest["cover_url"] == "https://uploads.mangadex.org/covers/m-1/c.jpg"
    assert world.job("j")["progress_pct"] == 20


def test_expired_links_are_asked_for_anew(make):
    world = make([manga(1, "First Light", 1, 3)])
    seen = []

    def expire(request):
        if request.path.endswith("/1.jpg") and not seen:
            seen.append(request)
            world.catalogue.expire_links()

    world.catalogue.watchers.append(expire)
    assert world.call("fetcher", job_id="j")["total_panels"] == 3
    assert len(world.catalogue.asked("/at-home/")) == 2


def test_the_catalogues_limits_are_kept(make):
    """Retry-After of a 429 is honoured; an honest User-Agent is sent; a failing source is skipped; images are spaced."""
    world = make([manga(1, "First Light", 1, 3)], MANGAVIDEO_WAIT_FACTOR="0.2")
    world.catalogue.fail("/manga", Answer(404, {}))
    world.catalogue.fail("/feed", Answer(429, {}, {"retry-after": "0.3"}))
    assert world.call("fetcher", job_id="j")["manga_id"] == "m-1"
    listings = [request for request in world.catalogue.requests if request.path == "/manga"]
    assert [request.query[0][0] for request in listings] == ["order[followedCount]", "order[latestUploadedChapter]"]
    feeds = world.catalogue.asked("/feed")
    assert feeds[1].at - feeds[0].at >= 0.3
    assert all("manga-video-pipeline" in request.headers["user-agent"] for request in world.catalogue.requests)
    images = [request.at for request in world.catalogue.asked("/data/")]
    assert all(later - earlier >= 0.5 * 0.2 - 0.005 for earlier, later in itertools.pairwise(images))


def test_time_runs_out(make):
    """The chapters that are complete are kept."""
    world = make([manga(1, "First Light", 3, 1)])
    assert world.call("fetcher", remaining=60.0, job_id="j")["total_panels"] == 1
