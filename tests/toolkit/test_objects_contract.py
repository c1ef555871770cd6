"""What both buckets promise."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stepwell.toolkit.errors import ObjectNotFound, PreconditionFailed, StorageError, UploadNotFound
from stepwell.toolkit.objects import MIN_PART_BYTES, Bucket
from stepwell.toolkit.objects.s3 import S3Bucket

from .conftest import MakeResources

PART = MIN_PART_BYTES


@pytest.fixture
def bucket(make_resources: MakeResources) -> Bucket:
    return make_resources({"buckets": {"archive": {}}}).bucket("archive")


@pytest.fixture
def other(make_resources: MakeResources) -> Bucket:
    return make_resources({"buckets": {"other": {}}}).bucket("other")


def test_put_get_head(bucket: Bucket) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)
    put = bucket.put(
        "videos/2025/11/GH010042.MP4",
        b"moving pictures",
        content_type="video/mp4",
        metadata={"SourceMediaId": "mABC", "IdempotencyToken": "mABC-2025-11-10T14:23:45Z"},
    )
    head = bucket.head("videos/2025/11/GH010042.MP4")
    assert bucket.get("videos/2025/11/GH010042.MP4") == b"moving pictures"
    assert head.content_type == put.content_type == "video/mp4"
    assert dict(head.metadata) == dict(put.metadata)
    assert dict(head.metadata) == {"sourcemediaid": "mABC", "idempotencytoken": "mABC-2025-11-10T14:23:45Z"}
    assert (head.size, head.etag) == (put.size, put.etag) == (15, hashlib.md5(b"moving pictures").hexdigest())
    assert before < head.modified < datetime.now(UTC) + timedelta(seconds=2)
    assert head.storage_class == "STANDARD"
    assert head.kms_key_id is None


def test_defaults(bucket: Bucket) -> None:
    bucket.put("k", b"")
    head = bucket.head("k")
    assert head.size == 0
    assert bucket.get("k") == b""
    assert dict(head.metadata) == {}
    assert bucket.tags("k") == {}


def test_cache_control_is_kept(bucket: Bucket) -> None:
    caching = "public, max-age=31536000, immutable"
    put = bucket.put("photo.jpg", b"x", cache_control=caching, metadata={"a": "b"})
    head = bucket.head("photo.jpg")
    assert put.cache_control == head.cache_control == caching
    assert dict(head.metadata) == {"a": "b"}
    assert bucket.copy("photo.jpg", "copy.jpg").cache_control == caching
    bucket.put("photo.jpg", b"y")
    assert bucket.head("photo.jpg").cache_control is None


def test_storage_class_kms_and_tags_are_kept(bucket: Bucket) -> None:
    bucket.put(
        "k",
        b"x",
        storage_class="GLACIER_IR",
        kms_key_id="alias/archive",
        tags={"Source": "gopro", "Auto Sync": "a=b+c"},
    )
    head = bucket.head("k")
    assert head.storage_class == "GLACIER_IR"
    assert head.kms_key_id is not None and head.kms_key_id.endswith("alias/archive")
    assert bucket.tags("k") == {"Source": "gopro", "Auto Sync": "a=b+c"}
    assert next(bucket.list()).storage_class == "GLACIER_IR"


def test_absent(bucket: Bucket) -> None:
    for ask in (bucket.get, bucket.head, bucket.tags, bucket.open):
        with pytest.raises(ObjectNotFound, match="nothing"):
            ask("nothing/here")
    assert not bucket.exists("nothing/here")
    bucket.delete("nothing/here")
    with pytest.raises(ObjectNotFound):
        bucket.copy("nothing/here", "k")


def test_overwrite_and_delete(bucket: Bucket) -> None:
    for version in range(5):
        bucket.put("pointer.txt", b"v%d" % version)
        assert bucket.get("pointer.txt") == b"v%d" % version
    bucket.delete("pointer.txt")
    assert not bucket.exists("pointer.txt")
    bucket.put("pointer.txt", b"again")
    assert [found.key for found in bucket.list()] == ["pointer.txt"]


def test_create_only(bucket: Bucket) -> None:
    bucket.put("k", b"first", if_absent=True)
    with pytest.raises(PreconditionFailed, match="'k'"):
        bucket.put("k", b"second", if_absent=True)
    assert bucket.get("k") == b"first"


def test_compare_and_swap(bucket: Bucket) -> None:
    with pytest.raises(PreconditionFailed):
        bucket.put("k", b"x", if_match="0" * 32)
    first = bucket.put("k", b"one")
    second = bucket.put("k", b"two", if_match=first.etag)
    with pytest.raises(PreconditionFailed):
        bucket.put("k", b"three", if_match=first.etag)
    assert bucket.get("k") == b"two"
    assert bucket.head("k").etag == second.etag


def test_ranges(bucket: Bucket) -> None:
    bucket.put("k", b"0123456789")
    assert bucket.get("k", start=3) == b"3456789"
    assert bucket.get("k", start=3, length=4) == b"3456"
    assert bucket.get("k", start=8, length=100) == b"89"
    assert bucket.get("k", length=0) == b""
    assert bucket.get("k", start=10) == b""
    assert bucket.get("k", start=99) == b""
    with bucket.open("k", start=2, length=5) as reader:
        assert reader.info.size == 10
        assert reader.read(2) == b"23"
        assert reader.read() == b"456"
        assert reader.read() == b""
    with pytest.raises(ValueError, match="negative"):
        bucket.get("k", start=-1)


def test_reader_keeps_its_version_while_it_is_replaced(bucket: Bucket) -> None:
    old = os.urandom(200_000)
    bucket.put("k", old)
    with bucket.open("k") as reader:
        start = reader.read(1000)
        bucket.put("k", b"new")
        bucket.delete("k")
        rest = reader.readall()
    assert start + rest == old


def test_listing_order_prefix_and_pages(bucket: Bucket) -> None:
    keys = ["a", "a/b", "a-b", "a0", "B", "é", "é/x", "日本", "zz/1", "zz/10", "zz/2", "zz/2/3"]
    for key in keys:
        bucket.put(key, key.encode())
    expected = sorted(keys, key=str.encode)
    assert [found.key for found in bucket.list()] == expected
    assert [found.key for found in bucket.list("zz/")] == ["zz/1", "zz/10", "zz/2", "zz/2/3"]
    assert [found.key for found in bucket.list("zz/1")] == ["zz/1", "zz/10"]
    assert [found.key for found in bucket.list("é")] == ["é", "é/x"]
    assert list(bucket.list("nothing")) == []
    pages, after = [], None
    while True:
        page = bucket.list_page(limit=5, after=after)
        pages.append([found.key for found in page.items])
        after = page.next
        if after is None:
            break
    assert [len(page) for page in pages] == [5, 5, 2]
    assert [key for page in pages for key in page] == expected
    assert all(bucket.get(key) == key.encode() for key in keys)


def test_delete_many(bucket: Bucket) -> None:
    for number in range(12):
        bucket.put(f"d/{number}", b"x")
    bucket.delete_many([f"d/{number}" for number in range(11)] + ["d/absent"])
    assert [found.key for found in bucket.list()] == ["d/11"]
    bucket.delete_many([])


@pytest.mark.parametrize("key", ["", "../x", "a/../b", "a/./b", "..", ".", "a\0b", "a\nb", "x" * 1025, "\ud800"])
def test_keys_that_are_refused(bucket: Bucket, key: str) -> None:
    with pytest.raises(ValueError, match="object key"):
        bucket.put(key, b"x")
    with pytest.raises(ValueError, match="object key"):
        bucket.open(key)


@pytest.mark.parametrize(
    "key",
    ["a b+c&d=e?f#g%20", "ünï/日本語.txt", "trailing/", ".hidden/.x", "...", "long/" + "n" * 1000, "a\\b", "*", "a:b"],
)
def test_odd_keys_are_kept(bucket: Bucket, key: str) -> None:
    bucket.put(key, b"x", content_type="text/plain")
    assert bucket.get(key) == b"x"
    assert [found.key for found in bucket.list(key)] == [key]
    bucket.copy(key, "copied")
    bucket.delete(key)
    assert [found.key for found in bucket.list()] == ["copied"]


def test_attributes_that_are_refused(bucket: Bucket) -> None:
    with pytest.raises(ValueError, match="2048"):
        bucket.put("k", b"", metadata={"a": "x" * 2048})
    with pytest.raises(ValueError, match="ASCII"):
        bucket.put("k", b"", metadata={"a": "é"})
    with pytest.raises(ValueError, match="10 tags"):
        bucket.put("k", b"", tags={str(n): "" for n in range(11)})
    with pytest.raises(ValueError, match="tag 'a'"):
        bucket.put("k", b"", tags={"a": "b&c"})


def test_writer_streams_and_publishes_at_the_end(bucket: Bucket) -> None:
    chunk = os.urandom(700_001)
    with bucket.writer("big", part_size=PART, content_type="video/mp4", metadata={"a": "b"}) as out:
        for _ in range(20):
            out.write(chunk)
        assert not bucket.exists("big")
    assert out.info is not None
    assert out.info.size == out.size == bucket.head("big").size == 20 * 700_001
    assert bucket.get("big") == chunk * 20
    assert bucket.head("big").content_type == "video/mp4"
    assert bucket.head("big").etag == out.info.etag
    assert list(bucket.list_uploads()) == []


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART])
def test_writer_sizes(bucket: Bucket, size: int) -> None:
    data = os.urandom(size)
    with bucket.writer("k", part_size=PART) as out:
        out.write(data)
    assert bucket.get("k") == data


def test_writer_that_fails_leaves_nothing(bucket: Bucket) -> None:
    bucket.put("k", b"before")
    with pytest.raises(RuntimeError), bucket.writer("k", part_size=PART) as out:
        out.write(b"x" * (PART + 10))
        raise RuntimeError
    assert bucket.get("k") == b"before"
    assert list(bucket.list_uploads()) == []
    with pytest.raises(ValueError, match=r"closed|aborted"):
        out.write(b"x")
    with pytest.raises(ValueError, match="aborted"):
        out.close()


@pytest.mark.parametrize("size", [3, PART + 3])
def test_writer_conditions_hold_at_the_end(bucket: Bucket, size: int) -> None:
    with pytest.raises(PreconditionFailed), bucket.writer("k", part_size=PART, if_absent=True) as out:
        out.write(b"x" * size)
        bucket.put("k", b"somebody else")
    assert bucket.get("k") == b"somebody else"
    assert list(bucket.list_uploads()) == []


def test_multipart(bucket: Bucket) -> None:
    first, last = os.urandom(PART), os.urandom(10)
    with bucket.begin_upload(
        "k", content_type="video/mp4", tags={"Source": "gopro"}, metadata={"SourceMediaId": "m"}
    ) as up:
        one = up.put_part(1, first)
        two = up.put_part(2, last)
        assert (one.number, one.size, two.number, two.size) == (1, PART, 2, 10)
        assert up.parts() == [one, two]
        assert [(found.key, found.upload_id) for found in bucket.list_uploads()] == [("k", up.upload_id)]
        assert not bucket.exists("k")
        info = up.complete([one, two])
    assert bucket.get("k") == first + last
    assert info.etag == bucket.head("k").etag
    assert info.etag.endswith("-2")
    assert info.size == PART + 10
    assert bucket.head("k").content_type == "video/mp4"
    assert dict(bucket.head("k").metadata) == {"sourcemediaid": "m"}
    assert bucket.tags("k") == {"Source": "gopro"}
    assert list(bucket.list_uploads()) == []


def test_multipart_in_any_order_and_again(bucket: Bucket) -> None:
    parts = {number: os.urandom(PART) for number in (1, 2, 3)}
    with bucket.begin_upload("k") as upload:
        upload.put_part(3, parts[3])
        upload.put_part(1, b"to be replaced" * 500_000)
        upload.put_part(2, parts[2])
        again = bucket.resume_upload("k", upload.upload_id)
        again.put_part(1, parts[1])
        upload.complete()
    assert bucket.get("k") == parts[1] + parts[2] + parts[3]


def test_multipart_of_chosen_parts(bucket: Bucket) -> None:
    with bucket.begin_upload("k") as upload:
        one = upload.put_part(1, b"a" * PART)
        upload.put_part(2, b"b" * PART)
        three = upload.put_part(7, b"c")
        upload.complete([one, three])
    assert bucket.get("k") == b"a" * PART + b"c"


def test_multipart_aborts_itself(bucket: Bucket) -> None:
    with pytest.raises(RuntimeError), bucket.begin_upload("k") as upload:
        upload.put_part(1, b"x")
        raise RuntimeError
    assert list(bucket.list_uploads()) == []
    assert not bucket.exists("k")
    if not isinstance(bucket, S3Bucket):  # moto answers 500 where S3 answers NoSuchUpload
        with pytest.raises(UploadNotFound):
            upload.put_part(2, b"y")
    with pytest.raises(UploadNotFound):
        upload.complete()
    with pytest.raises(UploadNotFound):
        upload.parts()
    with pytest.raises(UploadNotFound):
        bucket.resume_upload("k", upload.upload_id)
    upload.abort()


def test_multipart_refusals(bucket: Bucket) -> None:
    with bucket.begin_upload("k") as upload:
        with pytest.raises(StorageError):
            upload.complete()
        for number in (0, 10_001):
            with pytest.raises(ValueError, match="part number"):
                upload.put_part(number, b"x")
        small = upload.put_part(1, b"small")
        large = upload.put_part(2, b"x" * PART)
        with pytest.raises(StorageError):
            upload.complete([small, large])
        with pytest.raises(StorageError):
            upload.complete([large, small])
    assert not bucket.exists("k")


def test_multipart_condition(bucket: Bucket) -> None:
    with bucket.begin_upload("k") as upload:
        upload.put_part(1, b"mine")
        bucket.put("k", b"theirs")
        with pytest.raises(PreconditionFailed):
            upload.complete(if_absent=True)
    assert bucket.get("k") == b"theirs"
    assert list(bucket.list_uploads()) == []


def test_stale_uploads_are_aborted(bucket: Bucket) -> None:
    bucket.begin_upload("videos/a").put_part(1, b"x")
    bucket.begin_upload("other/b")
    if not isinstance(bucket, S3Bucket):  # moto says that every upload was begun in 2010
        assert bucket.abort_uploads(timedelta(days=1)) == 0
    assert bucket.abort_uploads(timedelta(seconds=-5), prefix="videos/") == 1
    assert [found.key for found in bucket.list_uploads()] == ["other/b"]


def test_copy(bucket: Bucket, other: Bucket) -> None:
    bucket.put("a", b"data", content_type="image/png", metadata={"x": "1"}, tags={"t": "1"})
    copied = bucket.copy("a", "b")
    assert bucket.get("b") == b"data"
    assert (copied.content_type, dict(copied.metadata), bucket.tags("b")) == ("image/png", {"x": "1"}, {"t": "1"})
    other.copy("a", "c", source_bucket=bucket, metadata={"x": "2"})
    assert other.get("c") == b"data"
    assert dict(other.head("c").metadata) == {"x": "2"}
    assert other.head("c").content_type == "image/png"


def test_files(bucket: Bucket, tmp_path: Path) -> None:
    source, target = tmp_path / "in.bin", tmp_path / "out.bin"
    source.write_bytes(os.urandom(3_000_000))
    seen: list[int] = []
    bucket.upload_file(source, "k", progress=seen.append, content_type="application/zip")
    info = bucket.download_file("k", target)
    assert target.read_bytes() == source.read_bytes()
    assert seen[-1] == info.size == 3_000_000
    assert info.content_type == "application/zip"


def test_iterating_gives_chunks(bucket: Bucket) -> None:
    data = os.urandom(2_500_000)
    bucket.put("k", data)
    with bucket.open("k") as reader:
        chunks = list(reader)
    assert b"".join(chunks) == data
    assert all(len(chunk) <= 1024 * 1024 for chunk in chunks)
    assert len(chunks) < 50


def test_memoryviews_and_bytearrays(bucket: Bucket) -> None:
    bucket.put("a", memoryview(b"0123")[1:3])
    bucket.put("b", bytearray(b"xy"))
    assert (bucket.get("a"), bucket.get("b")) == (b"12", b"xy")
