"""Acceptance statements 23-30: the lock, the pointer, receipts, readers, marking, cleaning up."""

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from embeddings.errors import LockLost, LockUnavailable, PointerConflict, SnapshotMissing
from embeddings.marking import mark_complete
from receiptbook import words_receipt

from embeddings import publishing
from stepwell.toolkit.errors import LeaseLost

from .merging import WORDS, Killed, Watched, delta, final_event, merge, plain

LOCK = ("LOCK#words#chroma-words-update", "LOCK")


def chain(pipeline):
    """Versions from the published one back to the first."""
    snapshots, found = pipeline.snapshots(), []
    version = snapshots.pointer().version
    while version is not None:
        found.append(version)
        version = snapshots.manifest(version)["base_version"]
    return found


def test_23_two_final_merges_at_once(pipeline, tmp_path):
    events = [
        final_event(pipeline, name, [delta(pipeline, plain(*(f"{name}-{n}" for n in range(40)), "shared"))])
        for name in ("one", "two")
    ]
    begun = threading.Barrier(2)

    def run(event):
        begun.wait()
        for _ in range(40):  # RP-LOCK
            try:
                return pipeline.call("vector-compact", **event)
            except (LockUnavailable, LockLost, PointerConflict):
                continue
        raise AssertionError("40 attempts did not do")

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, events))
    assert pipeline.published(tmp_path).keys() == {f"{n}-{i}" for n in ("one", "two") for i in range(40)} | {"shared"}
    history = chain(pipeline)
    assert set(history) == {result["version_id"] for result in results} and len(history) == 2
    assert sorted(history, reverse=True) == history
    fences = [pipeline.snapshots().manifest(version)["fence"] for version in history]
    assert fences == sorted(fences, reverse=True) and len(set(fences)) == 2
    assert pipeline.snapshots().manifest(history[0])["applied_runs"] != []


def heartless(services, ttl=960.0):
    """The services of a process that does not renew its lock: what a paused one is to the others."""
    return replace(services, settings=replace(services.settings, lock_ttl_s=ttl, lock_heartbeat_s=1000.0))


def expire(pipeline):
    """The lock's time is over."""
    pipeline.table.mutate(LOCK, lambda record: {**record, "expires_ms": int(time.time() * 1000) - 1})


@pytest.mark.parametrize("when", ["while it applies", "before the pointer"])
def test_24_a_paused_holder_loses(make, tmp_path, when):
    pipeline = make()
    slow = final_event(pipeline, "slow", [delta(pipeline, plain("slow"))])
    quick = final_event(pipeline, "quick", [delta(pipeline, plain("quick"))])
    paused, go_on = threading.Event(), threading.Event()
    moment = "snapshot.tar.gz" if when == "while it applies" else "latest-pointer.txt"

    def pause(method, args):
        if method in ("upload_file", "put") and any(str(arg).endswith(moment) for arg in args) and not paused.is_set():
            paused.set()
            assert go_on.wait(60)

    services = heartless(pipeline.services)  # a paused process beats no heart
    watched = replace(services, vectors=Watched(pipeline.vectors, pause))
    with ThreadPoolExecutor(1) as pool:
        attempt = pool.submit(publishing.final_merge, watched, WORDS, slow)
        assert paused.wait(60)
        with pytest.raises(LockUnavailable):
            pipeline.call("vector-compact", **quick)
        expire(pipeline)
        published = pipeline.call("vector-compact", **quick)
        go_on.set()
        with pytest.raises((LockLost, PointerConflict)):
            attempt.result(30)
    assert pipeline.snapshots().pointer().version == published["version_id"]
    assert pipeline.published(tmp_path).keys() == {"quick"}
    again = pipeline.call("vector-compact", **slow)
    assert pipeline.snapshots().manifest(again["version_id"])["base_version"] == published["version_id"]
    assert pipeline.published(tmp_path).keys() == {"slow", "quick"}


def test_25_fencing(make):
    pipeline = make()
    fences = []
    with pytest.raises(LockLost), publishing.held(heartless(pipeline.services, 0.05), WORDS, "first") as former:
        fences.append(former.fence)
        while True:
            try:
                with publishing.held(pipeline.services, WORDS, "second") as holder:
                    fences.append(holder.fence)
                    before = pipeline.table.get(LOCK)
                    assert before["run_id"] == "second" and before["owner"] == holder.owner
                    assert before == {
                        **before,
                        "PK": "LOCK#words#chroma-words-update",
                        "SK": "LOCK",
                        "TYPE": "COMPACTION_LOCK",
                        "collection": "words",
                        "fence": holder.fence,
                        "GSI1PK": "LOCK#words",
                        "GSI1SK": f"EXPIRES#{before['expires']}",
                    }
                    [indexed] = pipeline.table.query("LOCK#words", index="GSI1")
                    assert indexed == before
                    with pytest.raises(LeaseLost):
                        former.renew()
                    former.release()
                    assert pipeline.table.get(LOCK) == before
                    holder.validate()
                break
            except LockUnavailable:
                continue
        former.validate()
    released = pipeline.table.get(LOCK)
    assert released["owner"] == "" and released["expires_ms"] == 0
    for run in ("third", "fourth"):
        with publishing.held(pipeline.services, WORDS, run) as lease:
            fences.append(lease.fence)
    assert fences == sorted(set(fences))


@pytest.mark.parametrize("later_run", [False, True])
def test_26_killed_after_the_pointer(pipeline, later_run):
    event = final_event(pipeline, "run", [delta(pipeline, plain("a"))])

    def kill(method, args):
        if method == "put" and str(args[0]).startswith("runs/"):
            raise Killed

    with pytest.raises(Killed):
        publishing.final_merge(replace(pipeline.services, vectors=Watched(pipeline.vectors, kill)), WORDS, event)
    version = pipeline.snapshots().pointer().version
    assert version is not None and not pipeline.vectors.exists("runs/words/run/final_merge.json")
    if later_run:
        merge(pipeline, "later", [delta(pipeline, plain("b"))])
    versions = pipeline.snapshots().versions()
    again = pipeline.call("vector-compact", **event)
    assert again["version_id"] == version and again["total_embeddings"] == 1
    assert pipeline.snapshots().versions() == versions
    receipt = json.loads(pipeline.vectors.get("runs/words/run/final_merge.json"))
    assert receipt["version_id"] == version and receipt["source_deltas"]
    assert list(pipeline.vectors.list("intermediate/run/")) == []
    assert pipeline.call("vector-compact", **event)["version_id"] == version


def test_27_a_pointer_to_nothing_is_not_overwritten(pipeline):
    merge(pipeline, "first", [delta(pipeline, plain("a"))])
    pipeline.vectors.put(pipeline.snapshots().pointer_key, b"20300101_000000_000000_deadbeef")
    event = final_event(pipeline, "second", [delta(pipeline, plain("b"))])
    with pytest.raises(SnapshotMissing):
        pipeline.call("vector-compact", **event)
    assert pipeline.snapshots().pointer().version == "20300101_000000_000000_deadbeef"


def test_28_readers_see_whole_snapshots(make, tmp_path):
    pipeline = make(SNAPSHOT_PROTECT_MIN=0)
    merge(pipeline, "run-0", [delta(pipeline, plain("id-0"))])
    events = [final_event(pipeline, f"run-{n}", [delta(pipeline, plain(f"id-{n}"))]) for n in range(1, 21)]
    done = threading.Event()

    def read():
        seen = []
        while not done.is_set():
            seen.append(len(pipeline.published(tmp_path)))
        return seen

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        try:
            for event in events:
                pipeline.call("vector-compact", **event)
        finally:
            done.set()
        seen = reader.result(30)
    assert seen == sorted(seen) and len(seen) >= 5 and set(seen) <= set(range(1, 22))
    assert len(pipeline.published(tmp_path)) == 21


async def test_29_marking_killed_midway(pipeline, api):
    pipeline.seed(words_receipt(1, 60), words_receipt(2, 60))
    batches = pipeline.submit_now()
    killed = []

    def interrupted(event, context):
        count = iter(range(100))

        def kill(method, args):
            if method == "transact" and next(count) == 3:
                raise Killed

        services = pipeline.services
        try:
            mark_complete(replace(services, table=Watched(pipeline.table, kill)), WORDS, event)
        except Killed:
            killed.append(event)
        raise RuntimeError("the worker is gone")

    run = await pipeline.run("word-embedding-ingest", replaced={"mark-batches-complete": interrupted})
    assert (run.status, run.error) == ("FAILED", "MarkCompleteFailed")
    states = pipeline.states()
    assert states == {"SUCCESS": 60, "PENDING": 60}, "three transactions for the first receipt, none for the second"
    assert pipeline.summary_states() == {"PENDING": 2}
    # Somebody freed one of the items meanwhile, and another batch claimed it.
    item = next(i for i in pipeline.items() if i["embedding_status"] == "PENDING")
    pipeline.table.put({**item, "embedding_batch_id": "another-batch"})
    after = await pipeline.ingest()
    marked = after.output["mark_complete_result"]
    assert marked["batches_marked"] == 2 and marked["items_marked"] == 59
    assert pipeline.states() == {"SUCCESS": 119, "PENDING": 1}
    untouched = pipeline.table.get((item["PK"], item["SK"]))
    assert (untouched["embedding_status"], untouched["embedding_batch_id"]) == ("PENDING", "another-batch")
    assert pipeline.summary_states() == {"COMPLETED": 2} and len(batches) == 2
    # The same event once more: nothing is left to do, and nothing is undone.
    again = pipeline.call("mark-batches-complete", **killed[0])
    assert again["batches_marked"] == 0 and again["items_marked"] == 0


def test_30_nothing_intermediate_is_left(make, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a thousand objects that need not outlive a power cut
    pipeline = make(SNAPSHOT_PROTECT_MIN=0)
    for number in range(6):
        event = final_event(pipeline, f"run-{number}", [delta(pipeline, plain(f"id-{number}"))])
        if number == 5:
            for extra in range(1100):  # what many attempts left behind
                pipeline.vectors.put(f"intermediate/run-5/chunk-0/data-{extra:08x}/left.bin", b"x")
            pipeline.vectors.put("intermediate/run-5-group-0/merged/data-1/left.bin", b"x")
            pipeline.vectors.put("intermediate/run-5-group-x/chunk-0/other.bin", b"of another run")
        pipeline.call("vector-compact", **event)
    left = [found.key for found in pipeline.vectors.list("intermediate/")]
    assert left == ["intermediate/run-5-group-x/chunk-0/other.bin"]
    assert len(pipeline.snapshots().versions()) == 4
    assert pipeline.snapshots().versions() == chain_of(pipeline, 4)
    pipeline.set(SNAPSHOT_PROTECT_MIN=60)
    for number in (6, 7):
        merge(pipeline, f"run-{number}", [delta(pipeline, plain(f"id-{number}"))])
    assert len(pipeline.snapshots().versions()) == 6, "young versions are protected"
    assert all(v.startswith(f"{datetime.now(UTC):%Y}") for v in pipeline.snapshots().versions())


def chain_of(pipeline, length):
    snapshots, found = pipeline.snapshots(), []
    version = snapshots.pointer().version
    while len(found) < length:
        found.append(version)
        version = snapshots.manifest(version)["base_version"]
    return found
