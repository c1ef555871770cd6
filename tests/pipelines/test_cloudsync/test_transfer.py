"""From the CDN into the archive: parts, verification, and nothing left behind when it fails."""

import hashlib
import threading
import time

import pytest
from cloudsync.transfer import Deadline, Plan, SignatureExpired, transfer
from mediacloud import BLOCK, BytesContent, Media, MediaCloud, SyntheticContent

from cloudsync import errors
from stepwell.toolkit.errors import StorageError as PortError
from stepwell.toolkit.objects.local import LocalBucket

CHUNK = 5 * BLOCK
KEY = "gopro-videos/2025/11/GH1.MP4"


class Spy(LocalBucket):
    """A real bucket that remembers how it was written to."""

    def __init__(self, data, name):
        super().__init__(data, name)
        self.calls = []
        self.fail_part = None

    def put(self, key, data, **options):
        self.calls.append(("put", len(data)))
        return super().put(key, data, **options)

    def begin_upload(self, key, **attributes):
        self.calls.append(("begin",))
        upload = super().begin_upload(key, **attributes)
        put_part, complete, abort = upload.put_part, upload.complete, upload.abort

        def part(number, data):
            self.calls.append(("part", number, len(data)))
            if number == self.fail_part:
                raise PortError("disk full")
            return put_part(number, data)

        def done(parts=None, **options):
            parts = list(parts)
            self.calls.append(("complete", [found.number for found in parts]))
            return complete(parts, **options)

        def give_up():
            self.calls.append(("abort",))
            abort()

        upload.put_part, upload.complete, upload.abort = part, done, give_up
        return upload


@pytest.fixture
def cloud():
    with MediaCloud() as running:
        yield running


@pytest.fixture
def bucket(tmp_path):
    return Spy(tmp_path, "archive")


def fetch(
    cloud,
    bucket,
    content,
    *,
    listed=0,
    label="source",
    strict=False,
    threshold=CHUNK,
    remaining=lambda: 900.0,
    verified=None,
):
    if cloud.find("m1") is None:
        cloud.add(Media("m1", "GH1.MP4", content))
    plan = Plan(
        url=cloud.sign("/cdn/m1/source"),
        label=label,
        key=KEY,
        listed_size=listed,
        threshold=threshold,
        chunk_size=CHUNK,
        strict_size=strict,
        attributes={"metadata": {"SourceMediaId": "m1"}},
    )
    return transfer(bucket, plan, Deadline(remaining), verified or (lambda size: None))


def digest(bucket):
    with bucket.open(KEY) as reader:
        return hashlib.file_digest(reader, "sha256").hexdigest()


def same(bucket, content):
    whole = hashlib.sha256()
    for piece in content.read(0, content.size):
        whole.update(piece)
    return digest(bucket) == whole.hexdigest()


def nothing_left(bucket):
    return not list(bucket.list()) and not list(bucket.list_uploads())


@pytest.mark.parametrize(
    ("size", "calls"),
    [
        (1, [("put", 1)]),
        (CHUNK, [("put", CHUNK)]),
        (CHUNK + 1, [("begin",), ("part", 1, CHUNK), ("part", 2, 1), ("complete", [1, 2])]),
        (3 * CHUNK, [("begin",), *(("part", n, CHUNK) for n in (1, 2, 3)), ("complete", [1, 2, 3])]),
    ],
)
def test_mode_and_parts(cloud, bucket, size, calls):
    content = SyntheticContent(size)
    outcome = fetch(cloud, bucket, content, listed=size)
    assert bucket.calls == calls
    assert (outcome.received, outcome.stored.size, outcome.size_mismatch) == (size, size, False)
    assert same(bucket, content) and not list(bucket.list_uploads())
    assert 0 < outcome.first_byte_seconds <= outcome.seconds


@pytest.mark.parametrize("fragment", [1000, BLOCK, 3 * BLOCK + 1])
def test_parts_are_whole_however_the_network_delivers(cloud, bucket, fragment):
    content = SyntheticContent(2 * CHUNK + 77)
    cloud.fail("cdn", fragment=fragment)
    fetch(cloud, bucket, content)
    assert [call[2] for call in bucket.calls if call[0] == "part"] == [CHUNK, CHUNK, 77]
    assert same(bucket, content)


@pytest.mark.parametrize("chunked", [True, False])
def test_a_size_that_nobody_lists_goes_in_parts(cloud, bucket, chunked):
    cloud.fail("cdn", chunked=chunked)
    fetch(cloud, bucket, BytesContent(b"abc"), listed=0)
    assert bucket.calls == [("begin",), ("part", 1, 3), ("complete", [1])]


def test_a_body_longer_than_anybody_said(cloud, bucket):
    content = SyntheticContent(2 * CHUNK + 5)
    cloud.fail("cdn", chunked=True)
    outcome = fetch(cloud, bucket, content, listed=10, threshold=2 * CHUNK)
    assert [call[2] for call in bucket.calls if call[0] == "part"] == [CHUNK, CHUNK, 5]
    assert outcome.size_mismatch and same(bucket, content)


def test_empty_bodies(cloud, bucket):
    with pytest.raises(errors.TransferError, match="empty"):
        fetch(cloud, bucket, BytesContent(b""))
    cloud.fail("cdn", chunked=True)
    with pytest.raises(errors.TransferError, match="empty"):
        fetch(cloud, bucket, BytesContent(b""))
    assert nothing_left(bucket)


@pytest.mark.parametrize("size", [CHUNK, 3 * CHUNK])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"truncate_after": CHUNK - 10}, errors.TransferError),
        ({"truncate_after": CHUNK - 10, "chunked": True}, errors.NetworkError),
        ({"reset_after": CHUNK - 10}, errors.NetworkError),
        ({"status": 500}, errors.NetworkError),
        ({"status": 503}, errors.NetworkError),
        ({"status": 429, "headers": {"Retry-After": "7"}}, errors.RateLimitError),
        ({"status": 403}, SignatureExpired),
        ({"status": 410}, SignatureExpired),
        ({"status": 404}, errors.SourceDeletedError),
        ({"status": 400}, errors.TransferError),
        ({"status": 401}, errors.TransferError),
    ],
)
def test_what_goes_wrong_has_its_name_and_leaves_nothing(cloud, bucket, size, fault, error):
    cloud.fail("cdn", **fault)
    with pytest.raises(error) as raised:
        fetch(cloud, bucket, SyntheticContent(size))
    assert type(raised.value) is error
    assert "Signature=" not in str(raised.value)
    assert nothing_left(bucket)
    if error is errors.RateLimitError:
        assert raised.value.retry_after == 7


def test_f3_a_reset_in_the_second_part(cloud, bucket):
    cloud.fail("cdn", reset_after=CHUNK + 2 * BLOCK)
    with pytest.raises(errors.NetworkError):
        fetch(cloud, bucket, SyntheticContent(3 * CHUNK))
    assert bucket.calls == [("begin",), ("part", 1, CHUNK), ("abort",)]
    assert nothing_left(bucket)


def test_no_connection(bucket):
    with MediaCloud() as gone:
        gone.add(Media("m1", "GH1.MP4", BytesContent(b"abc")))
    with pytest.raises(errors.NetworkError):
        fetch(gone, bucket, BytesContent(b"abc"))


def test_a_part_that_cannot_be_stored(cloud, bucket):
    bucket.fail_part = 2
    with pytest.raises(errors.StorageError, match="disk full"):
        fetch(cloud, bucket, SyntheticContent(4 * CHUNK))
    assert nothing_left(bucket)


def test_sizes_that_differ_from_the_listed_one(cloud, bucket):
    assert fetch(cloud, bucket, BytesContent(b"x" * 90), listed=100).size_mismatch
    assert not fetch(
        cloud, bucket, BytesContent(b"x" * 90), listed=100, label="high_res_proxy_mp4", strict=True
    ).size_mismatch
    bucket.delete(KEY)
    with pytest.raises(errors.SizeMismatchError):
        fetch(cloud, bucket, BytesContent(b"x" * 90), listed=100, strict=True)
    assert nothing_left(bucket)


def test_nothing_is_published_when_the_lease_is_lost(cloud, bucket):
    def lost(size):
        assert size == 2 * CHUNK
        raise errors.StorageError("lease lost")

    with pytest.raises(errors.StorageError, match="lease lost"):
        fetch(cloud, bucket, SyntheticContent(2 * CHUNK), verified=lost)
    assert nothing_left(bucket)


def test_too_many_parts_are_refused_before_they_are_sent(cloud, bucket):
    cloud.fail("cdn", length=CHUNK * 10_000 + 1, truncate_after=0)
    with pytest.raises(errors.TransferError, match="raise CHUNK_SIZE"):
        fetch(cloud, bucket, SyntheticContent(10))
    assert not bucket.calls


def test_the_deadline_is_seen_while_bytes_come(cloud, bucket):
    cloud.fail("cdn", fragment=BLOCK, pause=0.02)
    left = iter([900.0] * 12 + [29.0] * 100)
    with pytest.raises(errors.TimeoutError):
        fetch(cloud, bucket, SyntheticContent(8 * CHUNK), remaining=lambda: next(left))
    assert nothing_left(bucket)


@pytest.mark.parametrize("size", [BLOCK, 3 * CHUNK])
def test_the_deadline_wakes_a_read_that_waits_for_a_silent_peer(cloud, bucket, size):
    cloud.fail("cdn", fragment=BLOCK // 2, pause=20)
    end = time.monotonic() + 30.5
    began = time.monotonic()
    with pytest.raises(errors.TimeoutError):
        fetch(cloud, bucket, SyntheticContent(size), remaining=lambda: end - time.monotonic())
    assert time.monotonic() - began < 5
    assert nothing_left(bucket)
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer) and thread.is_alive()]


def test_no_time_left_at_all(cloud, bucket):
    with pytest.raises(errors.TimeoutError):
        fetch(cloud, bucket, BytesContent(b"abc"), remaining=lambda: 29.0)
    assert not cloud.requests()


def test_f28_the_cdn_gets_no_credentials(cloud, bucket, monkeypatch, tmp_path):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b")
    monkeypatch.setenv("NETRC", str(netrc))
    fetch(cloud, bucket, BytesContent(b"abc"))
    (request,) = cloud.requests("cdn")
    assert not {"cookie", "authorization", "referer", "x-correlation-id"} & set(request.headers)
