"""Statements 27 to 31: the upload, its metadata, and what is left afterwards."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from mangavideo.errors import ConfigError, UploadError, YouTubeQuotaError
from mangavideo.settings import Environment
from mangavideo.uploading import Upload
from mangaworld import Answer, manga, quota_exceeded

from mangavideo import metadata, times

SIZE = 25_000_000
PIECE = 10_485_760


@pytest.fixture
def ready(make):
    """A world whose job `j` has a video of 25,000,000 bytes to upload."""
    world = make([])
    data = random.Random(1).randbytes(SIZE)
    world.bucket.put("jobs/j/video.mp4", data)
    manifest = {"job_id": "j", "manga_id": "m", "manga_title": "T", "description": "", "genres": [], "chapters": [{}]}
    world.bucket.put("jobs/j/panel_manifest.json", json.dumps(manifest).encode())
    now = times.iso()
    world.jobs.put(
        {
            "job_id": "j",
            "manga_id": "m",
            "manga_title": "T",
            "status": "uploading",
            "created_at": now,
            "updated_at": now,
        }
    )
    world.content = data
    return world


def upload(job="j"):
    return Upload(Environment(), job).run()


def ranges(world):
    return [request.headers["content-range"] for request in world.host.asked("/session/", "PUT")]


def test_27_three_pieces_and_a_503(ready):
    assert upload() == "https://youtube.com/watch?v=vid1"
    plain = [
        f"bytes 0-{PIECE - 1}/{SIZE}",
        f"bytes {PIECE}-{2 * PIECE - 1}/{SIZE}",
        f"bytes {2 * PIECE}-{SIZE - 1}/{SIZE}",
    ]
    assert ranges(ready) == plain
    assert ready.uploaded() == [ready.content]
    opened = ready.host.asked("/videos")[0]
    assert opened.headers["x-upload-content-length"] == str(SIZE)
    assert opened.headers["x-upload-content-type"] == "video/*"

    ready.jobs.mutate("j", lambda row: {k: v for k, v in row.items() if k != "youtube_url"})
    ready.bucket.delete("jobs/j/upload_session.json")
    ready.host.requests.clear()
    ready.host.fail("/session/", Answer(503), skip=1)
    upload()
    assert ranges(ready) == [plain[0], plain[1], f"bytes */{SIZE}", plain[1], plain[2]]
    assert ready.uploaded()[1] == ready.content


def test_a_cut_connection(ready):
    """The host kept a part of the piece; the upload goes on from there."""
    ready.host.cuts = [3_000_000]
    upload()
    kept = 3_000_000 // 262_144 * 262_144
    assert ranges(ready)[:3] == [
        f"bytes 0-{PIECE - 1}/{SIZE}",
        f"bytes */{SIZE}",
        f"bytes {kept}-{kept + PIECE - 1}/{SIZE}",
    ]
    assert ready.uploaded() == [ready.content]


def test_a_session_of_an_earlier_machine(ready):
    """It is taken up where it was; a lost one is replaced once; one that is done names its video."""
    ready.host.fail("/session/", Answer(400), skip=1)
    with pytest.raises(UploadError):
        upload()
    upload()
    assert len(ready.host.asked("/videos")) == 1
    assert ranges(ready)[2] == f"bytes */{SIZE}"
    ready.jobs.mutate("j", lambda row: {k: v for k, v in row.items() if k != "youtube_url"})
    assert upload().endswith("vid1"), "killed between the last piece and the record: no second video"
    assert len(ready.host.videos) == 1
    ready.jobs.mutate("j", lambda row: {k: v for k, v in row.items() if k != "youtube_url"})
    ready.host.sessions.clear()
    assert upload().endswith("vid2")


def test_tokens(ready):
    """F17: no expiry, an empty token or one about to end is renewed; the new one is kept; 401 renews once."""
    upload()
    kept = ready.ports.secret("manga-pipeline/youtube-oauth").read().json()
    assert kept["access_token"] and times.parsed(kept["expiry"]) > times.now() + timedelta(minutes=50)
    ready.jobs.mutate("j", lambda row: {k: v for k, v in row.items() if k != "youtube_url"})
    ready.bucket.delete("jobs/j/upload_session.json")
    ready.host.expire_tokens()
    upload()
    assert len(ready.host.asked("/token")) == 2
    ready.host.refresh_token = "another"
    ready.host.expire_tokens()
    ready.jobs.mutate("j", lambda row: {k: v for k, v in row.items() if k != "youtube_url"})
    with pytest.raises(UploadError, match="invalid_grant: the account must give its consent again"):
        upload()


def test_failures_that_last(ready):
    ready.host.fail("/session/", Answer(503), times=100)
    with pytest.raises(UploadError, match="broke off at byte 0"):
        upload()
    assert len(ready.host.pieces()) <= 6
    ready.bucket.delete("jobs/j/video.mp4")
    with pytest.raises(ConfigError):
        upload()


@pytest.mark.parametrize("reason", ["quotaExceeded", "uploadLimitExceeded"])
def test_quota_errors(ready, reason):
    ready.host.fail("/videos", quota_exceeded(reason))
    with pytest.raises(YouTubeQuotaError):
        upload()
    ready.host.fail("/videos", quota_exceeded("rateLimitExceeded"))
    assert upload().endswith("vid1"), "a rate limit is waited out"


def test_28_the_hosts_quota(make):
    world = make([manga(1, "First Light", 1, 1), manga(2, "Second Wind", 1, 1)])
    world.host.units = 0
    run = world.run()
    assert run.last == "QuotaReached"
    assert [name for name, _ in run.failures()] == ["YouTubeQuotaError"]
    job = f"{run.name}-0"
    row = world.job(job)
    assert (row["status"], row["deferred_reason"]) == ("uploading", "youtube_quota")
    assert times.parsed(row["deferred_until"]) == times.next_quota_day()
    assert "video.mp4" in world.keys(job)
    video = world.bucket.get(f"jobs/{job}/video.mp4")

    world.host.units = 10_000
    world.variable(MANGAVIDEO_NOW=times.iso(times.next_quota_day() + timedelta(minutes=1)))
    again = world.run({"single_video_mode": True})
    assert again.last == "Done"
    assert "AdoptDeferredJob" in again.visited and "WaitForRender" not in again.visited
    assert world.uploaded() == [video]
    assert world.job(job)["status"] == "completed" and "deferred_until" not in world.job(job)
    assert world.keys(job) == []
    assert len(world.machines("renderer")) == 1


def test_29_uploaded_before(ready):
    ready.jobs.mutate("j", lambda row: {**row, "youtube_url": "https://youtube.com/watch?v=old"})
    assert upload() == "https://youtube.com/watch?v=old"
    assert not ready.host.requests


def test_30_metadata():
    title = metadata.title("Rất Dài " * 17 + "Cuối")
    assert len("Rất Dài " * 17 + "Cuối") == 140
    assert len(title) <= 100 and title.startswith("Review Manga Rất Dài") and title.endswith(" | Tóm Tắt Đầy Đủ")
    assert metadata.title("A<B>") == "Review Manga AB | Tóm Tắt Đầy Đủ"
    manifest = {
        "manga_title": "Kim Đồng",
        "description": "ấ" * 600,
        "genres": ["Phiêu lưu", "Action!"],
        "chapters": [1, 2],
    }
    text = metadata.description(manifest)
    assert text.splitlines()[2] == "ấ" * 497 + "..."
    assert text.splitlines()[4:6] == ["Thể loại: Phiêu lưu, Action!", "Số chương: 2"]
    assert text.endswith("#manga #review #tomtat #KimĐồng")
    assert len(metadata.description({**manifest, "genres": ["ấ" * 1500]}).encode()) <= 5000
    empty = metadata.description({**manifest, "description": "", "genres": []})
    assert "Manga hay và hấp dẫn" in empty and "Thể loại: Không rõ" in empty
    tags = metadata.tags("Kim Đồng!", ["Action", "action", "Slice of Life"])
    assert tags == ["kim đồng", "action", "slice of life", "review manga", "tóm tắt manga", "manga hay", "đọc manga"]
    many = metadata.tags("T", [f"genre number {n}" for n in range(60)])
    assert sum(len(tag) + 2 * (" " in tag) for tag in many) + len(many) - 1 <= 500
    assert metadata.body(manifest)["status"] == {"privacyStatus": "public", "selfDeclaredMadeForKids": False}


def test_31_cleaning_up(make):
    world = make([manga(1, "First Light", 1, 1)])
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda n: world.bucket.put(f"jobs/j/panels/{n:04d}_0000.jpg", b"x"), range(2350)))
    world.bucket.put("jobs/j2/video.mp4", b"another's")
    now = times.iso()
    row = {"job_id": "j", "manga_id": "m-1", "manga_title": "First Light", "created_at": now, "updated_at": now}
    world.jobs.put({**row, "status": "awaiting_review"})
    with pytest.raises(ConfigError, match="still needed"):
        world.call("cleanup", job_id="j")
    world.jobs.put({**row, "status": "completed", "youtube_url": "https://youtube.com/watch?v=1"})
    batches = []
    bucket = type(world.bucket)
    original = bucket.delete_many

    def counted(self, keys):
        batches.append(list(keys))
        original(self, batches[-1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bucket, "delete_many", counted)
        assert world.call("cleanup", job_id="j") == {"job_id": "j", "objects_deleted": 2350, "bytes_freed": 2350}
    assert [len(batch) for batch in batches] == [1000, 1000, 350]
    assert world.job("j")["cleanup_at"]
    assert world.titles.get("m-1")["status"] == "completed"
    assert world.bucket.exists("jobs/j2/video.mp4")
    assert world.call("cleanup", job_id="j")["objects_deleted"] == 0
    with pytest.raises(ValueError, match="no job_id"):
        world.call("cleanup")
    assert world.run().last == "NoMangaAvailable", "the title is not selected again"
