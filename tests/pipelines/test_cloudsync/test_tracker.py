"""The tracker's transitions, and who may make them; keys that two items of one name never share."""

import threading
from decimal import Decimal

import pytest
from cloudsync.errors import NetworkError, StorageError
from cloudsync.keys import Shelf
from cloudsync.tracker import LEASE_SECONDS, AlreadyCompleted, Leased, Tracker, Transfer

from stepwell.toolkit.objects.local import LocalBucket
from stepwell.toolkit.records import Index, Schema
from stepwell.toolkit.records.sqlite import SqliteTable

LISTED = {"provider": "gopro", "filename": "GH1.MP4", "file_size": 5, "upload_date": "2025-11-10"}
DONE = Transfer("etag", 10_000_000, 2.0, "source")
SCHEMA = Schema(("media_id",), {"status-sync_timestamp-index": Index("status", "sync_timestamp")})


class Clock:
    def __init__(self):
        self.now = 1_764_637_200.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def table(tmp_path):
    return SqliteTable(tmp_path, "tracker", SCHEMA)


@pytest.fixture
def tracker(table, clock):
    return Tracker(table, clock)


def begin(tracker, owner="run-1", media_id="m1"):
    return tracker.begin(media_id, owner, LISTED, "gopro-videos/2025/11/GH1.MP4", tracker.now())


def test_a_record_s_life(tracker, table, clock):
    row = begin(tracker)
    assert row == {
        **LISTED,
        "media_id": "m1",
        "first_seen_at": "2025-12-02T01:00:00.000Z",
        "s3_key": "gopro-videos/2025/11/GH1.MP4",
        "status": "IN_PROGRESS",
        "update_timestamp": "2025-12-02T01:00:00.000Z",
        "sync_timestamp": "2025-12-02T01:00:00.000Z",
        "lease_owner": "run-1",
        "lease_expires_at": int(clock.now) + LEASE_SECONDS,
    }
    clock.now += 2
    tracker.note_received("m1", "run-1", 10_000_000, "source")
    row = tracker.complete("m1", "run-1", DONE)
    assert row["status"] == "COMPLETED" and row["s3_etag"] == "etag" and row["bytes_transferred"] == 10_000_000
    assert row["transfer_duration"] == Decimal("2.00") and row["throughput_mbps"] == Decimal("40.00")
    assert (row["delivered_quality"], row["size_mismatch"]) == ("source", False)
    assert row["update_timestamp"] == row["sync_timestamp"] == "2025-12-02T01:00:02.000Z"
    assert row["first_seen_at"] == "2025-12-02T01:00:00.000Z"
    assert "lease_owner" not in row and "lease_expires_at" not in row
    assert table.get("m1") == row


@pytest.mark.parametrize("status", ["PENDING", "FAILED"])
def test_open_statuses_may_begin(tracker, table, status):
    table.put({"media_id": "m1", "status": status, "first_seen_at": "2020-01-01T00:00:00Z", "retry_count": 4})
    row = begin(tracker)
    assert (row["status"], row["first_seen_at"], row["retry_count"]) == ("IN_PROGRESS", "2020-01-01T00:00:00Z", 4)


def test_f14_a_live_lease_keeps_others_out(tracker, clock):
    begin(tracker)
    with pytest.raises(Leased):
        begin(tracker, "run-2")
    begin(tracker)  # its owner may begin again: a task that was cut off is run again
    clock.now += LEASE_SECONDS + 1
    assert begin(tracker, "run-2")["lease_owner"] == "run-2"
    for attempt in (
        lambda: tracker.complete("m1", "run-1", DONE),
        lambda: tracker.fail("m1", "run-1", NetworkError("x")),
        lambda: tracker.note_received("m1", "run-1", 5, "source"),
    ):
        with pytest.raises(Leased):
            attempt()
    tracker.complete("m1", "run-2", DONE)


def test_f14_nothing_changes_what_is_completed(tracker, table):
    begin(tracker)
    done = tracker.complete("m1", "run-1", DONE)
    for attempt in (
        lambda: begin(tracker),
        lambda: begin(tracker, "run-2"),
        lambda: tracker.complete("m1", "run-1", DONE),
        lambda: tracker.fail("m1", "run-1", NetworkError("late")),
        lambda: tracker.note_received("m1", "run-1", 5, "source"),
    ):
        with pytest.raises(AlreadyCompleted):
            attempt()
    assert table.get("m1") == done


def test_f14_of_many_at_once_one_begins(table):
    got, refused, barrier = [], [], threading.Barrier(8)

    def contend(owner):
        barrier.wait()
        try:
            begin(Tracker(table), owner)
            got.append(owner)
        except Leased:
            refused.append(owner)

    threads = [threading.Thread(target=contend, args=(f"run-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(refused)) == (1, 7)


def test_f12_failures_are_counted(tracker):
    for count in (1, 2, 3):
        begin(tracker)
        row = tracker.fail("m1", "run-1", NetworkError("x" * 5000))
        assert (row["retry_count"], row["error_type"], len(row["error_message"])) == (count, "NetworkError", 1024)
    begin(tracker)
    row = tracker.complete("m1", "run-1", DONE)
    assert row["retry_count"] == 3 and "error_type" not in row and "error_message" not in row


def test_f13_every_status_is_in_the_index(tracker, table, clock):
    for number in range(3):
        begin(tracker, media_id=f"m{number}")
        clock.now += 1
    tracker.fail("m2", "run-1", NetworkError("x"))
    clock.now += 1
    tracker.fail("m0", "run-1", NetworkError("x"))
    assert [row["media_id"] for row in tracker.failed()] == ["m2", "m0"]
    assert [row["media_id"] for row in tracker.failed(newest_first=True)] == ["m0", "m2"]
    assert [row["media_id"] for row in table.query("IN_PROGRESS", index="status-sync_timestamp-index")] == ["m1"]


def test_gone_from_the_source(tracker):
    begin(tracker)
    row = tracker.complete_deleted("m1", "run-1")
    assert (row["status"], row["note"], row["bytes_transferred"]) == ("COMPLETED", "source_deleted", 0)
    assert "s3_key" not in row


def test_f15_statuses_that_cannot_be_read_are_an_error(tracker, table, monkeypatch):
    from stepwell.toolkit.errors import StorageError as PortError

    def refuse(*_, **__):
        raise PortError("2 keys are still unprocessed")

    monkeypatch.setattr(table, "batch_get", refuse)
    with pytest.raises(StorageError, match="still unprocessed"):
        tracker.statuses(["m1", "m2"])


# --- keys


def upload(bucket, key, media_id):
    bucket.put(key, b"x", metadata={"SourceMediaId": media_id})


@pytest.fixture
def shelf(tmp_path):
    return Shelf(LocalBucket(tmp_path, "archive"), SqliteTable(tmp_path, "keys", Schema(("s3_key",))))


def test_f7_two_items_of_one_name(shelf):
    assert shelf.place("p/2025/11/GH1.MP4", "mA", "now") == ("p/2025/11/GH1.MP4", None)
    assert shelf.place("p/2025/11/GH1.MP4", "mB", "now") == ("p/2025/11/GH1_mB.MP4", None), (
        "also before any is uploaded"
    )
    assert shelf.place("p/2025/11/GH1.MP4", "mA", "now")[0] == "p/2025/11/GH1.MP4"
    assert shelf.place("p/2025/11/GH1_mB.MP4", "mB", "now")[0] == "p/2025/11/GH1_mB.MP4", "a key stays what it is"


def test_f7_objects_older_than_the_claims(shelf):
    upload(shelf._bucket, "p/GH1.MP4", "old")
    assert shelf.place("p/GH1.MP4", "new", "now")[0] == "p/GH1_new.MP4"
    key, stored = shelf.place("p/GH1.MP4", "old", "now")
    assert key == "p/GH1.MP4" and stored.size == 1


def test_f7_many_at_once(shelf):
    keys, barrier = [], threading.Barrier(6)

    def place(number):
        barrier.wait()
        keys.append(shelf.place("p/GH1.MP4", f"m{number}", "now")[0])

    threads = [threading.Thread(target=place, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(keys)) == 6 and "p/GH1.MP4" in keys
