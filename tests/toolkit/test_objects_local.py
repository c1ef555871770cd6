"""What only the local bucket has: files for people, a signing server, the disk's own troubles."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.testclient import TestClient

from stepwell.toolkit.errors import ObjectNotFound, PreconditionFailed, ResourceNotDeclared, StorageError
from stepwell.toolkit.objects import MIN_PART_BYTES, files
from stepwell.toolkit.objects.local import LocalBucket
from stepwell.toolkit.objects.server import application
from stepwell.toolkit.objects.signing import Signer

PART = MIN_PART_BYTES


@pytest.fixture
def bucket(tmp_path: Path) -> LocalBucket:
    return LocalBucket(tmp_path, "archive")


def shown(tmp_path: Path) -> list[str]:
    """The files a person sees in the bucket's folder."""
    root = tmp_path / "buckets" / "archive"
    found = (path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())
    return sorted(path for path in found if not path.startswith(".store/"))


def stored(tmp_path: Path) -> list[str]:
    """Every file with an object's bytes, or waiting to become one."""
    root = tmp_path / "buckets" / "archive" / ".store"
    return sorted(path.name for name in ("blobs", "staging", "uploads") for path in (root / name).iterdir())


def test_objects_are_files_by_their_name(bucket: LocalBucket, tmp_path: Path) -> None:
    bucket.put("gopro-videos/2025/11/GH010042.MP4", b"video")
    bucket.put("tiếng việt/ảnh.jpg", b"image")
    assert shown(tmp_path) == ["gopro-videos/2025/11/GH010042.MP4", "tiếng việt/ảnh.jpg"]
    path = tmp_path / "buckets" / "archive" / "gopro-videos" / "2025" / "11" / "GH010042.MP4"
    assert path.read_bytes() == b"video"
    bucket.delete("gopro-videos/2025/11/GH010042.MP4")
    assert shown(tmp_path) == ["tiếng việt/ảnh.jpg"]
    assert not (tmp_path / "buckets" / "archive" / "gopro-videos").exists()


def test_one_file_an_object_however_often_it_is_written(bucket: LocalBucket, tmp_path: Path) -> None:
    for n in range(7):
        bucket.put("a/pointer.txt", b"%d" % n)
    assert len(shown(tmp_path)) == 1
    assert shown(tmp_path)[0].startswith("a/pointer")
    with bucket.begin_upload("a/pointer.txt") as upload:
        upload.put_part(1, b"x")
        upload.complete()
    bucket.copy("a/pointer.txt", "a/pointer.txt")
    assert len(shown(tmp_path)) == 1
    assert stored(tmp_path) == []


def test_names_that_collide_on_a_disk(bucket: LocalBucket) -> None:
    keys = ["a", "a/b", "a/b/c", "A", "x" * 300, ".store/index.sqlite3", "é", "e\u0301", "CON", "a.txt", "A.TXT"]
    for key in keys:
        bucket.put(key, key.encode())
    for key in keys:
        assert bucket.get(key) == key.encode()
    for key in reversed(keys):
        bucket.delete(key)
    assert list(bucket.list()) == []
    for key in reversed(keys):
        bucket.put(key, key.encode())
    assert all(bucket.get(key) == key.encode() for key in keys)


def test_nothing_is_written_outside(bucket: LocalBucket, tmp_path: Path) -> None:
    before = sorted(path for path in tmp_path.rglob("*") if "buckets/archive" not in path.as_posix())
    for key in ("/etc/passwd", "//double//", "a//b", "~/x", "C:\\x", "$HOME", "-rf"):
        bucket.put(key, b"x")
        assert bucket.get(key) == b"x"
    assert sorted(path for path in tmp_path.rglob("*") if "buckets/archive" not in path.as_posix()) == before


def test_parts_in_order_are_never_copied(bucket: LocalBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copied(*args: Any) -> None:
        raise AssertionError("copied")

    monkeypatch.setattr("stepwell.toolkit.objects.local.copy_range", copied)
    with bucket.begin_upload("k") as upload:
        for number in (1, 2, 3):
            upload.put_part(number, bytes([number]) * PART)
        upload.complete()
    assert bucket.get("k", start=PART - 1, length=2) == b"\x01\x02"
    assert stored(tmp_path) == []
    assert shown(tmp_path) == ["k"]


def test_parts_from_threads(bucket: LocalBucket, tmp_path: Path) -> None:
    parts = {number: os.urandom(PART) for number in range(1, 7)}
    with bucket.begin_upload("k") as upload:
        threads = [threading.Thread(target=upload.put_part, args=item) for item in parts.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        upload.complete()
    assert bucket.get("k") == b"".join(parts[number] for number in range(1, 7))
    assert stored(tmp_path) == []


def test_concurrent_compare_and_swap(tmp_path: Path) -> None:
    first = LocalBucket(tmp_path, "archive").put("n", b"0")
    done: list[int] = []

    def add() -> None:
        mine = LocalBucket(tmp_path, "archive")
        for _ in range(25):
            while True:
                info = mine.head("n")
                value = int(mine.get("n"))
                try:
                    mine.put("n", b"%d" % (value + 1), if_match=info.etag)
                    break
                except PreconditionFailed:
                    continue
            done.append(1)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert int(LocalBucket(tmp_path, "archive").get("n")) == len(done) == 100
    assert first.etag != LocalBucket(tmp_path, "archive").head("n").etag


def test_readers_never_see_a_mixture(bucket: LocalBucket, tmp_path: Path) -> None:
    """Bytes, size and etag are always of one version, while others replace, remove and make it again."""
    stop = threading.Event()
    problems: list[str] = []

    def read() -> None:
        mine = LocalBucket(tmp_path, "archive")
        while not stop.is_set():
            if not mine.exists("k"):
                continue
            try:
                with mine.open("k") as reader:
                    data = reader.readall()
            except ObjectNotFound:
                continue
            except StorageError as error:
                problems.append(str(error))
                continue
            if len(data) != reader.info.size or len(set(data)) > 1 or dict(reader.info.metadata)["c"] != chr(data[0]):
                problems.append(f"{reader.info} {len(data)} {set(data)}")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for n in range(120):
        letter = "abcdefgh"[n % 8]
        bucket.put("k", letter.encode() * (n * 100 + 1), metadata={"c": letter})
        if n % 10 == 0:
            bucket.delete("k")
    stop.set()
    for reader in readers:
        reader.join()
    assert problems == []
    assert len(shown(tmp_path)) == 1


def test_leftovers_of_killed_writers_are_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = LocalBucket(tmp_path, "archive")
    alive = bucket.writer("alive")
    alive.write(b"x")
    dead = tmp_path / "buckets" / "archive" / ".store" / "staging" / "dead"
    dead.write_bytes(b"x")
    monkeypatch.setattr(files, "STALE_SECONDS", -1.0)
    LocalBucket(tmp_path, "archive")
    assert not dead.exists()
    assert len(stored(tmp_path)) == 1
    alive.close()
    assert bucket.get("alive") == b"x"


def test_a_noted_leftover_is_removed_by_the_next_write(bucket: LocalBucket, tmp_path: Path) -> None:
    """The state after a kill between the commit of a new version and the removal of the old one's file."""
    bucket.put("k", b"old")
    path = tmp_path / "buckets" / "archive" / "k"
    index = sqlite3.connect(tmp_path / "buckets" / "archive" / ".store" / "index.sqlite3")
    index.execute("DELETE FROM objects")
    index.execute("INSERT INTO garbage VALUES ('k')")
    index.commit()
    assert path.exists()
    bucket.put("other", b"x")
    assert not path.exists()


def test_a_placed_file_without_its_commit_is_replaced(bucket: LocalBucket, tmp_path: Path) -> None:
    """The state after a kill between naming the file and the commit."""
    path = tmp_path / "buckets" / "archive" / "videos" / "a.mp4"
    path.parent.mkdir()
    path.write_bytes(b"never acknowledged")
    assert not bucket.exists("videos/a.mp4")
    bucket.put("videos/a.mp4", b"second attempt")
    assert path.read_bytes() == b"second attempt"
    assert shown(tmp_path) == ["videos/a.mp4"]


def test_a_file_that_was_removed_by_hand_is_named(bucket: LocalBucket, tmp_path: Path) -> None:
    bucket.put("k", b"x" * 100)
    path = tmp_path / "buckets" / "archive" / "k"
    path.write_bytes(b"short")
    with pytest.raises(StorageError, match="altered"):
        bucket.get("k")
    path.unlink()
    with pytest.raises(StorageError, match=f"missing: {path}"):
        bucket.get("k")
    bucket.put("k", b"again")
    assert bucket.get("k") == b"again"


def test_a_full_disk(bucket: LocalBucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bucket.put("k", b"before")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        bucket.put("k", b"after")
    monkeypatch.undo()
    assert bucket.get("k") == b"before"
    assert stored(tmp_path) == []


def test_an_index_of_a_newer_version(tmp_path: Path) -> None:
    LocalBucket(tmp_path, "archive").put("k", b"x")
    index = sqlite3.connect(tmp_path / "buckets" / "archive" / ".store" / "index.sqlite3")
    index.execute("PRAGMA user_version=99")
    with pytest.raises(StorageError, match="newer Stepwell"):
        LocalBucket(tmp_path, "archive").get("k")


def test_a_large_object_takes_little_memory(tmp_path: Path) -> None:
    """256 MB by writer, by parts, and read back, in a process whose memory grows by less than 40 MB."""
    code = """
import resource, sys
from pathlib import Path
from stepwell.toolkit.objects.local import LocalBucket
bucket = LocalBucket(Path(sys.argv[1]), "big")
chunk = bytes(range(256)) * 4096
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with bucket.writer("a") as out:
    for _ in range(256):
        out.write(chunk)
with bucket.begin_upload("b") as upload:
    for number in range(1, 33):
        upload.put_part(number, chunk * 8)
    upload.complete()
for key in "ab":
    with bucket.open(key) as reader:
        assert sum(len(piece) for piece in reader) == 256 * len(chunk)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024)
"""
    found = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 40


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv("STEPWELL_OBJECTS_URL", "http://testserver/")
    return TestClient(application(tmp_path))


def test_presigned_get(bucket: LocalBucket, web: TestClient) -> None:
    bucket.put("a b/ü&?#.mp4", b"0123456789", content_type="video/mp4")
    url = bucket.presigned_url("a b/ü&?#.mp4")
    found = web.get(url)
    assert (found.status_code, found.content) == (200, b"0123456789")
    assert found.headers["content-type"] == "video/mp4"
    assert found.headers["etag"] == f'"{bucket.head("a b/ü&?#.mp4").etag}"'
    head = web.head(url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "10")


@pytest.mark.parametrize(
    ("header", "status", "content", "content_range"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=5-", 206, b"56789", "bytes 5-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=0-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=-0", 416, b"", "bytes */10"),
        ("bytes=4-2", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("items=0-1", 200, b"0123456789", None),
    ],
)
def test_ranges(
    bucket: LocalBucket, web: TestClient, header: str, status: int, content: bytes, content_range: str | None
) -> None:
    bucket.put("k", b"0123456789")
    found = web.get(bucket.presigned_url("k"), headers={"range": header})
    assert (found.status_code, found.content, found.headers.get("content-range")) == (status, content, content_range)


def test_if_range(bucket: LocalBucket, web: TestClient) -> None:
    etag = bucket.put("k", b"0123456789").etag
    url = bucket.presigned_url("k")
    assert web.get(url, headers={"range": "bytes=2-", "if-range": f'"{etag}"'}).status_code == 206
    assert web.get(url, headers={"range": "bytes=2-", "if-range": '"other"'}).status_code == 200


def test_presigned_put(bucket: LocalBucket, web: TestClient) -> None:
    url = bucket.presigned_url("in/photo.jpg", method="PUT", content_type="image/jpeg")
    assert web.put(url, content=b"x", headers={"content-type": "text/plain"}).status_code == 403
    found = web.put(url, content=b"jpeg bytes", headers={"content-type": "image/jpeg"})
    assert found.status_code == 200
    assert found.headers["etag"] == f'"{bucket.head("in/photo.jpg").etag}"'
    assert bucket.get("in/photo.jpg") == b"jpeg bytes"
    assert bucket.head("in/photo.jpg").content_type == "image/jpeg"
    large = os.urandom(3_000_000)
    assert web.put(bucket.presigned_url("large", method="PUT"), content=large).status_code == 200
    assert bucket.get("large") == large


def test_presigned_parts(bucket: LocalBucket, web: TestClient) -> None:
    upload = bucket.begin_upload("k")
    etags = [
        web.put(upload.presigned_part_url(number), content=bytes([number]) * PART).headers["etag"].strip('"')
        for number in (1, 2)
    ]
    assert [part.etag for part in upload.parts()] == etags
    upload.complete()
    assert bucket.head("k").size == 2 * PART
    assert web.put(upload.presigned_part_url(3), content=b"x").status_code == 404


def test_urls_that_are_refused(bucket: LocalBucket, web: TestClient, tmp_path: Path) -> None:
    bucket.put("k", b"x")
    bucket.put("other", b"y")
    url = bucket.presigned_url("k")
    query = urlsplit(url).query
    for wrong in (
        "/archive/k",
        f"/archive/other?{query}",
        f"/elsewhere/k?{query}",
        f"/archive/k?{query}0",
        f"/archive/k?{query.replace('Expires=1', 'Expires=2')}",
        f"/archive/k?{query}&uploadId=1",
    ):
        assert web.get(wrong).status_code == 403, wrong
    assert web.put(url, content=b"z").status_code == 403
    assert web.get(bucket.presigned_url("k", method="PUT")).status_code == 403
    assert web.delete(url).status_code == 405
    assert web.get(bucket.presigned_url("gone")).status_code == 404
    signer = Signer(tmp_path / "buckets")
    old = signer.url("http://testserver", "GET", "archive", "k", 10, now=1_000_000)
    assert web.get(old).status_code == 403
    assert "expired" in web.get(old).text
    assert not (tmp_path / "buckets" / "elsewhere").exists()
    assert bucket.get("k") == b"x"


def test_cross_origin(bucket: LocalBucket, web: TestClient) -> None:
    url = bucket.presigned_url("k", method="PUT")
    preflight = web.options(url, headers={"origin": "https://site", "access-control-request-method": "PUT"})
    assert preflight.headers["access-control-allow-origin"] == "*"
    found = web.put(url, content=b"x", headers={"origin": "https://site"})
    assert "ETag" in found.headers["access-control-expose-headers"]


def test_the_signing_key_is_private_and_shared(bucket: LocalBucket, tmp_path: Path, web: TestClient) -> None:
    bucket.put("k", b"x")
    url = bucket.presigned_url("k")
    assert (tmp_path / "buckets" / ".signing-key").stat().st_mode & 0o077 == 0
    assert TestClient(application(tmp_path)).get(url).status_code == 200
    assert LocalBucket(tmp_path, "archive").presigned_url("k", expires=3600).split("Signature=")[0]


def test_presigning_needs_an_address(bucket: LocalBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEPWELL_OBJECTS_URL", raising=False)
    with pytest.raises(ResourceNotDeclared, match="STEPWELL_OBJECTS_URL"):
        bucket.presigned_url("k")


@pytest.mark.parametrize("expires", [0, 604_801])
def test_expiry_limits(bucket: LocalBucket, web: TestClient, expires: int) -> None:
    with pytest.raises(ValueError, match="604800"):
        bucket.presigned_url("k", expires=expires)


def test_s3_presigned_urls_work(aws_backend: str) -> None:
    from .conftest import provision

    bucket = provision({"buckets": {"b": {}}}).bucket("b")
    put = bucket.presigned_url("k", method="PUT", content_type="image/jpeg")
    assert httpx.put(put, content=b"data", headers={"content-type": "image/jpeg"}).status_code == 200
    assert httpx.get(bucket.presigned_url("k", expires=60)).content == b"data"
    upload = bucket.begin_upload("m")
    assert httpx.put(upload.presigned_part_url(1), content=b"part").status_code == 200
    upload.complete()
    assert bucket.get("m") == b"part"
    with pytest.raises(ValueError, match="604800"):
        bucket.presigned_url("k", expires=0)
