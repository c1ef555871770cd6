"""Acceptance statements on the listing: what is kept, what is new, what to do about a changed API."""

import time

import pytest
from cloudsync.errors import ProviderError, StorageError, ValidationError
from mediacloud import BytesContent, Media

from stepwell.toolkit import errors as toolkit_errors

from .test_parts import SAMPLE

LISTING = "CloudSync/MediaListing"


def media(number, **options):
    return Media(f"m{number}", f"GH{number:06}.MP4", BytesContent(b"x" * 100), **options)


def as_listed(entry, content=b"x" * 100):
    """An item of the documented sample, as the cloud lists it, with a body behind it."""
    return Media(
        entry["id"],
        entry["filename"],
        BytesContent(content),
        listing={"captured_at": None, "created_at": None, **entry},
    )


async def test_10_the_documented_sample(cloud, sync):
    entries = SAMPLE["_embedded"]["media"]
    cloud.add(*(as_listed({"width": None, "height": None, **entry}) for entry in entries))
    world = sync()
    run = await world.run()
    (listing,) = run.results("ListMedia")
    assert [(item["media_id"], item["file_size"]) for item in listing["new_videos"]] == [
        ("mABC123", 734003200),
        ("mDEF456", 0),
    ]
    assert (listing["total_found"], listing["new_count"], listing["already_synced"]) == (2, 2, 0)
    (line,) = world.logs(event_type="listing_page")
    assert (line.fields["kept"], line.fields["filtered_prefix"], line.fields["filtered_no_name"]) == (2, 1, 1)
    assert set(world.rows()) == {"mABC123", "mDEF456"}
    unknown = world.bucket.head("gopro-videos/2025/11/GOPR0007.JPG")
    assert unknown.etag.endswith("-1"), "multipart, although small"
    assert world.row("mDEF456")["status"] == "COMPLETED"
    assert (world.metric(LISTING, "MediaListedFromProvider"), world.metric(LISTING, "NewVideosFound")) == (2, 2)
    assert world.metric(LISTING, "ListingSuccess") == 1 and world.metric(LISTING, "ListingDuration") > 0


async def test_11_durations(cloud, sync):
    raw = {"m1": "187321", "m2": 18969, "m3": None}
    cloud.add(*(media(int(name[1:]), listing={"source_duration": value}) for name, value in raw.items()))
    run = await sync().run()
    (listing,) = run.results("ListMedia")
    assert {item["media_id"]: item["duration"] for item in listing["new_videos"]} == {"m1": 187, "m2": 18, "m3": 0}


async def test_13_what_is_new(cloud, sync):
    now = int(time.time())
    rows = {
        "completed": {"status": "COMPLETED", "s3_key": "k"},
        "pending": {"status": "PENDING"},
        "failed": {"status": "FAILED", "retry_count": 2},
        "expired": {"status": "IN_PROGRESS", "lease_owner": "other", "lease_expires_at": now - 5},
        "live": {"status": "IN_PROGRESS", "lease_owner": "other", "lease_expires_at": now + 600},
    }
    world = sync()
    for name in ("absent", *rows):
        cloud.add(Media(name, f"GH-{name}.MP4", BytesContent(b"x" * 10)))
    for name, row in rows.items():
        world.tracker.put({"media_id": name, **row})
    run = await world.run()
    (listing,) = run.results("ListMedia")
    assert [item["media_id"] for item in listing["new_videos"]] == ["absent", "pending", "failed", "expired"]
    assert (listing["total_found"], listing["new_count"], listing["already_synced"]) == (6, 4, 1)
    assert {name: row["status"] for name, row in world.rows().items()} == {
        "absent": "COMPLETED", "pending": "COMPLETED", "failed": "COMPLETED", "expired": "COMPLETED",
        "completed": "COMPLETED", "live": "IN_PROGRESS",
    }  # fmt: skip
    assert "GH-live.MP4" not in " ".join(world.archived())


@pytest.mark.parametrize(
    "body",
    [
        {"_pages": SAMPLE["_pages"], "_embedded": {"errors": [], "items": ["x" * 600]}},
        {"_pages": {}, "_embedded": {"media": [{"id": "m1", "filename": "GH1.MP4"}]}},
        "<html>maintenance" + "." * 600,
    ],
)
async def test_14_another_structure(cloud, sync, body):
    cloud.fail("search", page=1, body=body)
    world = sync()
    run = await world.run()
    assert run.errors("ListMedia") == ["APIStructureError"], "not retried"
    (alert,) = world.alerts("API_STRUCTURE_CHANGE")
    assert alert["severity"] == "MEDIUM" and len(alert["response_sample"]) <= 500
    assert [subject for subject, _ in world.notices()] == [
        "GoPro Sync: API Structure Change Detected", "GoPro Sync Critical Failure",
    ]  # fmt: skip
    assert world.notices()[1][1]["error_details"] == "APIStructureError"
    assert world.metric(LISTING, "APIStructureChangeDetected") == 1
    assert world.metric(LISTING, "ListingFailure") == 1
    assert (run.status, run.error) == ("FAILED", "SyncExecutionFailed")


def listing(world, page=1):
    return world.call("media-lister", {"provider": "gopro", "correlation_id": "c", "page_number": page})


def test_many_malformed_items_alert_and_the_rest_goes_on(cloud, sync):
    cloud.add(*(media(number) for number in range(4)))
    cloud.add(*(media(10 + number, listing={"id": None}) for number in range(3)))
    world = sync()
    assert listing(world)["new_count"] == 4
    assert len(world.alerts("API_STRUCTURE_CHANGE")) == 1
    assert world.metric(LISTING, "APIStructureChangeDetected") == 1


def test_few_malformed_items_do_not_alert(cloud, sync):
    cloud.add(*(media(number) for number in range(4)))
    cloud.add(*(media(10 + number, listing={"id": None}) for number in range(2)))
    world = sync()
    assert listing(world)["new_count"] == 4 and not world.notices()


def test_f9_all_camera_names_are_archived(cloud, sync):
    names = ["GH010001.MP4", "GX010002.MP4", "GOPR0003.JPG", "GP010004.MP4", "GS010005.360", "GL010006.MP4"]
    others = ["PXL_1.mp4", "IMG_2.JPG", "gh3.MP4", "edit.mp4"]
    cloud.add(*(Media(f"m{number}", name, BytesContent(b"x")) for number, name in enumerate(names + others)))
    assert [item["filename"] for item in listing(sync())["new_videos"]] == names


def test_max_videos_leaves_the_rest_to_the_next_run(cloud, sync):
    cloud.add(*(media(number) for number in range(5)))
    world = sync(MAX_VIDEOS=3)
    found = listing(world)
    assert (found["new_count"], len(found["new_videos"]), found["total_found"]) == (3, 3, 5)


def test_an_item_listed_twice_is_new_once(cloud, sync):
    cloud.add(media(1), media(1))
    assert listing(sync())["new_count"] == 1


def test_f1_exactly_one_page_of_at_most_a_hundred(cloud, sync):
    cloud.add(*(media(number) for number in range(150)))
    world = sync(PAGE_SIZE=500)
    found = [listing(world, page) for page in (1, 2, 3)]
    assert [page["new_count"] for page in found] == [100, 50, 0]
    assert [request.query for request in cloud.requests("search")] == [
        {"page": str(n), "per_page": "100"} for n in (1, 2, 3)
    ]
    assert found[2]["pagination"] == {"current_page": 3, "per_page": 100, "total_items": 150, "total_pages": 2}


def test_1000_items_in_less_than_two_minutes(cloud, sync):
    cloud.add(*(media(number) for number in range(1000)))
    world = sync(PAGE_SIZE=100)
    began = time.monotonic()
    assert sum(listing(world, page)["new_count"] for page in range(1, 11)) == 1000
    assert time.monotonic() - began < 120


@pytest.mark.parametrize("event", [{"provider": "dji"}, {"provider": "gopro"}])
def test_an_unknown_provider_or_unreadable_credentials(cloud, sync, event):
    world = sync()
    if event["provider"] == "gopro":
        world.remove_secret()
    with pytest.raises(ProviderError):
        world.call("media-lister", event)
    assert world.metric(LISTING, "ListingFailure") == 1


@pytest.mark.parametrize("page", [0, -1, "2", True, 1.5])
def test_unusable_page_numbers(cloud, sync, page):
    with pytest.raises(ValidationError):
        listing(sync(), page)


def test_f15_statuses_that_cannot_be_read_are_an_error(cloud, sync, monkeypatch):
    cloud.add(media(1))
    world = sync()

    def refuse(*_, **__):
        raise toolkit_errors.StorageError("7 keys stayed unprocessed")

    monkeypatch.setattr("stepwell.toolkit.records.sqlite.SqliteTable.batch_get", refuse)
    with pytest.raises(StorageError, match="7 keys stayed unprocessed"):
        listing(world)
    assert world.metric(LISTING, "ListingFailure") == 1
