"""Acceptance statements on the archive: parts, sizes, keys, attributes, and what a failure leaves behind.

Most of them stand on one run over a library in which something is the matter with every item (`troubled`).
"""

import asyncio
import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

import pytest
from mediacloud import BLOCK, BytesContent, Media, MediaCloud, SyntheticContent

from cloudsync import errors

from .syncing import Run, Sync

CHUNK = 5 * BLOCK
MIB_100 = 104_857_600


def body(size, seed=0):
    return SyntheticContent(size, seed)


def etag_of_parts(content, chunk):
    """The etag S3 gives an object that was uploaded in parts of exactly `chunk` bytes but the last."""
    digests = [
        hashlib.md5(b"".join(content.read(start, min(start + chunk, content.size)))).digest()
        for start in range(0, content.size, chunk)
    ]
    return f"{hashlib.md5(b''.join(digests)).hexdigest()}-{len(digests)}"


def stored_is(world, key, content):
    with world.bucket.open(key) as reader:
        stored = hashlib.file_digest(reader, "sha256").hexdigest()
    whole = hashlib.sha256()
    for piece in content.read(0, content.size):
        whole.update(piece)
    return stored == whole.hexdigest()


@dataclass
class Troubled:
    world: Sync
    run: Run
    contents: dict[str, Any]
    before_retry: dict[str, Any]


@pytest.fixture(scope="module")
def troubled(tmp_path_factory):
    contents = {
        "fragments": body(3 * CHUNK + 12_345, 1),
        "reset": body(3 * CHUNK, 2),
        "truncated": body(2 * BLOCK, 3),
        "mismatch": BytesContent(b"m" * 90),
        "deleted": body(1000, 4),
        "proxy": body(2000, 5),
        "plain": body(1500, 6),
        "twin": body(1600, 7),
        "removed": body(100, 8),
    }
    listing = {"mismatch": {"file_size": 100}}
    names = {"plain": "GH010042.MP4", "twin": "GH010042.MP4"}
    with MediaCloud() as cloud:
        for name, content in contents.items():
            item = Media(name, names.get(name, f"GH-{name}.MP4"), content, listing=listing.get(name, {}))
            if name == "proxy":
                item = Media(name, "GH-proxy.MP4", None, proxies={"high_res_proxy_mp4": content, "edit_proxy": body(5)})
            cloud.add(item)
        cloud.fail("cdn", media_id="fragments", fragment=1_000_000, pause=0.001)
        cloud.fail("cdn", media_id="reset", reset_after=CHUNK + 2 * BLOCK)
        cloud.fail("cdn", media_id="truncated", truncate_after=BLOCK)
        cloud.fail("download", media_id="deleted", status=404)
        cloud.fail("cdn", media_id="removed", status=404)
        world = Sync(cloud, tmp_path_factory.mktemp("troubled") / "data", MULTIPART_THRESHOLD=CHUNK, CHUNK_SIZE=CHUNK)
        before_retry = {}

        def watch(request):
            if request.where == "download" and request.media_id == "reset" and cloud.requests("cdn", media_id="reset"):
                before_retry.update(row=world.row("reset"), uploads=world.uploads())

        cloud.watchers.append(watch)
        yield Troubled(world, asyncio.run(world.run()), contents, before_retry)


def test_18_fragments_of_1_mb_make_whole_parts(troubled):
    content = troubled.contents["fragments"]
    stored = troubled.world.bucket.head("gopro-videos/2025/11/GH-fragments.MP4")
    assert stored.etag == etag_of_parts(content, CHUNK)
    assert stored.etag.endswith("-4")
    assert stored_is(troubled.world, stored.key, content)


def test_19_a_reset_in_the_second_part(troubled):
    world, run = troubled.world, troubled.run
    assert run.errors("DownloadVideo").count("NetworkError") == 1
    assert 30.0 in run.waits("DownloadVideo")
    row, uploads = troubled.before_retry["row"], troubled.before_retry["uploads"]
    assert (row["error_type"], row["retry_count"]) == ("NetworkError", 1), (
        "the row was FAILED before the second attempt"
    )
    assert "gopro-videos/2025/11/GH-reset.MP4" not in uploads
    assert not world.logs(event_type="upload_swept"), "aborted by the attempt itself, not found by the next one"
    assert world.row("reset")["status"] == "COMPLETED"
    assert stored_is(world, world.row("reset")["s3_key"], troubled.contents["reset"])
    assert not world.uploads()


def test_20_a_truncated_body(troubled):
    world = troubled.world
    assert "TransferError" in troubled.run.errors("DownloadVideo"), "and it is not retried in this run"
    assert len(world.cloud.requests("cdn", media_id="truncated")) == 1
    assert not [key for key in world.archived() if "truncated" in key] and not world.uploads()
    row = world.row("truncated")
    assert (row["status"], row["retry_count"], row["error_type"]) == ("FAILED", 1, "TransferError")
    assert troubled.run.summary["failed_media"] == [{"media_id": "truncated", "error_type": "TransferError"}]


async def test_20_the_next_run_tries_again(cloud, sync):
    cloud.add(Media("m1", "GH1.MP4", body(2000)))
    cloud.fail("cdn", truncate_after=1000, times=2)
    world = sync()
    for count in (1, 2):
        run = await world.run()
        assert (world.row("m1")["status"], world.row("m1")["retry_count"]) == ("FAILED", count)
        assert run.summary["failed_count"] == 1 and not world.archived() and not world.uploads()
    run = await world.run()
    assert world.row("m1")["status"] == "COMPLETED" and run.summary["failed_count"] == 0


def test_21_another_size_than_listed_is_accepted(troubled):
    row = troubled.world.row("mismatch")
    assert (row["status"], row["size_mismatch"], row["bytes_transferred"], row["file_size"]) == (
        "COMPLETED",
        True,
        90,
        100,
    )
    assert troubled.world.row("plain")["size_mismatch"] is False


async def test_21_another_size_than_listed_is_refused_when_strict(cloud, sync):
    cloud.add(Media("m1", "GH1.MP4", BytesContent(b"m" * 90), listing={"file_size": 100}))
    world = sync(STRICT_SIZE="true")
    run = await world.run()
    assert run.errors("DownloadVideo") == ["SizeMismatchError"]
    assert (world.row("m1")["status"], world.row("m1")["error_type"]) == ("FAILED", "SizeMismatchError")
    assert not world.archived() and not world.uploads()


@pytest.mark.parametrize("name", ["deleted", "removed"])
def test_22_gone_from_the_source(troubled, name):
    row = troubled.world.row(name)
    assert (row["status"], row["note"], row["bytes_transferred"]) == ("COMPLETED", "source_deleted", 0)
    (answer,) = [found for found in troubled.run.results("DownloadVideo") if found["media_id"] == name]
    assert (answer["statusCode"], answer["message"], answer["bytes_transferred"]) == (
        200,
        "Video deleted from source",
        0,
    )
    assert not [key for key in troubled.world.archived() if name in key]


async def test_22_is_no_failure(cloud, sync):
    cloud.add(Media("m1", "GH1.MP4", body(10)))
    cloud.fail("download", status=404)
    run = await sync().run()
    assert (run.summary["failed_count"], run.visited[-1]) == (0, "SyncComplete")


def test_23_only_a_proxy(troubled):
    row = troubled.world.row("proxy")
    assert (row["status"], row["delivered_quality"], row["size_mismatch"]) == ("COMPLETED", "high_res_proxy_mp4", False)
    assert stored_is(troubled.world, row["s3_key"], troubled.contents["proxy"])


def test_24_keys(troubled):
    world = troubled.world
    keys = {name: world.row(name)["s3_key"] for name in ("plain", "twin")}
    first, second = sorted(keys, key=lambda name: len(keys[name]))
    assert keys[first] == "gopro-videos/2025/11/GH010042.MP4"
    assert keys[second] == f"gopro-videos/2025/11/GH010042_{second}.MP4"
    for name, key in keys.items():
        assert stored_is(world, key, troubled.contents[name]), "nothing was overwritten"


def test_25_attributes_of_an_object(troubled):
    world, row = troubled.world, troubled.world.row("plain")
    stored = world.bucket.head(row["s3_key"])
    assert stored.kms_key_id == "alias/gopro-archive"
    assert stored.storage_class == "STANDARD"
    assert world.bucket.tags(row["s3_key"]) == {"Source": "gopro", "AutoSync": "True"}
    token = stored.metadata["idempotencytoken"]
    assert token.startswith("plain-20") and token.endswith("Z")
    assert dict(stored.metadata) == {
        "idempotencytoken": token, "sourcemediaid": "plain", "sourceprovider": "gopro",
    }  # fmt: skip
    assert row["s3_etag"] == stored.etag


def test_26_again_for_an_uploaded_object(troubled):
    """The record says so; the record is lost; the record was left behind by a process that died."""
    world, row = troubled.world, troubled.world.row("plain")
    fetched = len(world.cloud.requests("cdn", media_id="plain"))
    assert world.download("plain")["message"] == "Already synced"
    assert world.row("plain") == row
    world.tracker.delete("plain")
    assert world.download("plain")["message"] == "Already uploaded"
    recovered = world.row("plain")
    assert (recovered["status"], recovered["s3_key"], recovered["s3_etag"]) == (
        "COMPLETED",
        row["s3_key"],
        row["s3_etag"],
    )
    assert recovered["bytes_transferred"] == 1500
    left = {**row, "status": "IN_PROGRESS", "lease_owner": "run", "lease_expires_at": int(time.time()) + 900}
    world.tracker.put(left)
    answer = world.download("plain")
    assert (answer["message"], answer["statusCode"], answer["s3_key"]) == ("Already uploaded", 200, row["s3_key"])
    assert world.row("plain")["status"] == "COMPLETED"
    assert len(world.cloud.requests("cdn", media_id="plain")) == fetched


async def test_26_f6b_an_uploaded_object_without_a_record_is_not_listed_for_ever(cloud, sync):
    cloud.add(Media("m1", "GH1.MP4", body(100)))
    world = sync()
    world.download("m1")
    world.tracker.delete("m1")
    first, second = await world.run(), await world.run()
    assert [answer["message"] for answer in first.results("DownloadVideo")] == ["Already uploaded"]
    assert second.visited[-1] == "NoNewVideos"
    assert len(cloud.requests("cdn")) == 1


async def test_17_the_mode_changes_after_100_mib(cloud, sync):
    sizes = {"whole": MIB_100, "parts": MIB_100 + 1}
    cloud.add(*(Media(name, f"GH-{name}.MP4", body(size)) for name, size in sizes.items()))
    world = sync()
    run = await world.run()
    assert run.summary["total_synced"] == 2
    assert "-" not in world.row("whole")["s3_etag"], "one PutObject"
    assert world.row("parts")["s3_etag"] == etag_of_parts(body(MIB_100 + 1), MIB_100)
    assert world.row("parts")["s3_etag"].endswith("-2")


async def test_32_the_function_s_time_is_nearly_over(cloud, sync):
    cloud.add(Media("m1", "GH1.MP4", body(8 * CHUNK)))
    cloud.fail("cdn", fragment=BLOCK, pause=0.1)
    world = sync(MULTIPART_THRESHOLD=CHUNK, CHUNK_SIZE=CHUNK)
    world.timeouts["video-downloader"] = 32.0
    seen = {}

    def watch(request):
        if request.where == "download" and cloud.requests("cdn"):
            seen.update(uploads=world.uploads(), row=world.row("m1"))

    cloud.watchers.append(watch)
    run = await world.run()
    assert run.errors("DownloadVideo") == ["TimeoutError"]
    assert seen["uploads"] == [] and seen["row"]["error_type"] == "TimeoutError"
    assert run.waits("DownloadVideo") == [30]
    assert world.row("m1")["status"] == "COMPLETED" and not world.uploads()
    assert not world.logs(event_type="upload_swept")


# --- beyond the statements


def test_f6b_f14_an_item_that_another_run_has(cloud, sync):
    cloud.add(Media("m1", "GH1.MP4", body(100)))
    world = sync()
    world.tracker.put(
        {"media_id": "m1", "status": "IN_PROGRESS", "lease_owner": "other", "lease_expires_at": int(time.time()) + 600}
    )
    answer = world.download("m1")
    assert (answer["message"], answer["statusCode"]) == ("In progress elsewhere", 200)
    assert world.row("m1")["lease_owner"] == "other" and not cloud.requests("download")


def test_f2_every_answer_has_all_keys(cloud, sync):
    cloud.add(Media("m1", "GH1.MP4", body(100)), Media("m2", "GH2.MP4", None))
    world = sync()
    world.tracker.put(
        {"media_id": "m3", "status": "IN_PROGRESS", "lease_owner": "other", "lease_expires_at": int(time.time()) + 600}
    )
    answers = [world.download("m1"), world.download("m1"), world.download("m3")]
    world.tracker.delete("m1")
    answers.append(world.download("m1"))
    cloud.removed.add("m2")
    answers.append(world.download("m2"))
    assert [answer["message"] for answer in answers] == [
        "Uploaded", "Already synced", "In progress elsewhere", "Already uploaded", "Video deleted from source",
    ]  # fmt: skip
    assert {frozenset(answer) for answer in answers} == {
        frozenset(
            {
                "statusCode", "media_id", "s3_key", "s3_etag", "bytes_transferred", "transfer_duration_seconds", "throughput_mbps",
                "delivered_quality", "message", "correlation_id",
            }
        )
    }  # fmt: skip


def test_a_refused_url_is_resolved_once_more(cloud, sync):
    cloud.add(Media("m1", "GH1.MP4", body(100)))
    world = sync()
    cloud.fail("cdn", status=403)
    assert world.download("m1")["message"] == "Uploaded"
    assert len(cloud.requests("download")) == 2
    world.tracker.delete("m1")
    world.bucket.delete("gopro-videos/2025/11/GH1.MP4")
    cloud.fail("cdn", status=403, times=2)
    with pytest.raises(errors.TransferError):
        world.download("m1")
    assert world.row("m1")["status"] == "FAILED"


def test_an_expired_url_is_resolved_once_more(sync, cloud):
    cloud.add(Media("m1", "GH1.MP4", body(100)))
    cloud.url_lifetime = -5
    cloud.watchers.append(
        lambda request: setattr(cloud, "url_lifetime", 60 if request.where == "cdn" else cloud.url_lifetime)
    )
    assert sync().download("m1")["message"] == "Uploaded"
    assert [request.status for request in cloud.requests("cdn")] == [403, 200]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"status": 401}, errors.TokenExpiredError),
        ({"status": 403}, errors.TokenExpiredError),
        ({"status": 429}, errors.RateLimitError),
        ({"status": 500}, errors.NetworkError),
        ({"status": 418}, errors.APIError),
        ({"body": "{}"}, errors.APIStructureError),
        ({"body": {"_embedded": {"files": [], "variations": []}}}, errors.QualityUnavailableError),
    ],
)
def test_failures_of_the_link_have_their_names(cloud, sync, fault, error):
    cloud.add(Media("m1", "GH1.MP4", body(100)))
    cloud.fail("download", **fault)
    world = sync()
    with pytest.raises(error):
        world.download("m1")
    row = world.row("m1")
    assert (row["status"], row["error_type"], row["retry_count"]) == ("FAILED", error.__name__, 1)
    assert world.metric("GoProSync", "SyncFailures") == 1
    assert world.metric("GoProSync", "SyncFailures", ErrorType=error.__name__) == 1


def test_a_key_is_kept_when_the_listing_changes(cloud, sync):
    cloud.add(Media("m1", "GH1.MP4", body(100)))
    world = sync()
    cloud.fail("cdn", truncate_after=10)
    with pytest.raises(errors.TransferError):
        world.download("m1", upload_date="")
    key = world.row("m1")["s3_key"]
    assert key == time.strftime("gopro-videos/%Y/%m/GH1.MP4", time.gmtime())
    assert world.download("m1", upload_date="2019-01-01T00:00:00Z")["s3_key"] == key


def test_what_a_killed_attempt_left_is_removed(cloud, sync):
    cloud.add(Media("m1", "GH1.MP4", body(100)))
    world = sync()
    world.bucket.begin_upload("gopro-videos/2025/11/GH1.MP4").put_part(1, b"x" * 100)
    world.bucket.begin_upload("gopro-videos/2025/11/GH1.MP4.other").put_part(1, b"x" * 100)
    world.download("m1")
    assert world.uploads() == ["gopro-videos/2025/11/GH1.MP4.other"]


def test_missing_settings_are_named(cloud, sync):
    cloud.add(Media("m1", "GH1.MP4", body(100)))
    world = sync(S3_BUCKET="", KMS_KEY_ID="")
    with pytest.raises(errors.ValidationError, match="S3_BUCKET, KMS_KEY_ID"):
        world.download("m1")


def test_metrics_of_a_transfer(cloud, sync):
    cloud.add(Media("m1", "GH1.MP4", body(5000)))
    world = sync("staging")
    world.download("m1")
    assert world.metric("GoProSync", "VideosSynced") == 1
    assert world.metric("GoProSync", "BytesTransferred") == 5000
    for name in ("TransferDuration", "TimeToFirstByte", "TransferThroughput"):
        assert world.metric("GoProSync", name) > 0


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_f10_metrics_have_the_dimensions_of_the_alarms(cloud, sync, environment):
    cloud.add(Media("m1", "GH1.MP4", body(100)))
    cloud.fail("cdn", truncate_after=10)
    world = sync(environment)
    world.call("token-validator", {})
    world.call("media-lister", {})
    with pytest.raises(errors.TransferError):
        world.download("m1")
    world.download("m1")
    published = {
        (point.namespace, point.name, frozenset(point.dimensions.items()))
        for alarm in world.project.alarms.values()
        for point in world.spool.points(alarm.namespace, alarm.metric, since=0)
    }
    always = {("Provider", "gopro"), ("Environment", environment)}
    assert {(namespace, name) for namespace, name, _ in published} == {
        ("CloudSync/TokenValidation", "CookieAgeDays"), ("GoProSync", "SyncFailures"), ("GoProSync", "TransferThroughput"),
    }  # fmt: skip
    assert {dimensions - always for _, _, dimensions in published} == {
        frozenset(),
        frozenset({("ErrorType", "TransferError")}),
    }
    assert all(dimensions >= always for _, _, dimensions in published)


def test_of_several_files_one_is_archived_and_that_is_said(cloud, sync, capsys):
    cloud.add(Media("m1", "GH1.MP4", body(100), parts=(body(200), body(300))))
    world = sync(LOG_LEVEL="INFO")
    world.download("m1")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (line,) = [line for line in lines if line["event_type"] == "multi_item_media"]
    assert (line["media_id"], line["files"], line["level"]) == ("m1", 3, "WARN")
    assert world.archived() == ["gopro-videos/2025/11/GH1.MP4"]
