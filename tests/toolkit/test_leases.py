"""Leases, over both tables."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from stepwell.toolkit import leases
from stepwell.toolkit.environment import Resources
from stepwell.toolkit.errors import LeaseLost, LeaseUnavailable, StorageError
from stepwell.toolkit.leases import Waiting
from stepwell.toolkit.records import Index, Schema, Table
from stepwell.toolkit.records.sqlite import SqliteTable

from .conftest import MakeResources

KEY = ("LOCK#lines#chroma-lines-update", "LOCK")


class Clock:
    def __init__(self) -> None:
        self.now = 1_893_456_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def table(make_resources: MakeResources) -> Table:
    return make_resources(
        {"tables": {"single": {"key": ["PK", "SK"], "indexes": {"GSI1": {"key": ["GSI1PK", "GSI1SK"]}}}}}
    ).table("single")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def take(table: Table, clock: Clock, ttl: float = 960, **more: Any) -> leases.Lease:
    return leases.acquire(table, KEY, ttl=ttl, clock=clock, sleep=clock.sleep, **more)


def test_one_holder_at_a_time(table: Table, clock: Clock) -> None:
    lease = take(table, clock, owner="one", attributes={"GSI1PK": "LOCK#lines", "GSI1SK": "x", "run_id": "r1"})
    with pytest.raises(LeaseUnavailable, match="held by one"):
        take(table, clock, owner="two")
    item = table.get(KEY)
    assert item is not None
    assert (item["owner"], item["fence"], item["run_id"]) == ("one", 1, "r1")
    assert item["expires_ms"] == int((clock.now + 960) * 1000)
    assert item["expires"] == "2030-01-01T00:16:00.000000+00:00"
    assert [found["owner"] for found in table.query("LOCK#lines", index="GSI1")] == ["one"]
    lease.release()
    lease.release()
    again = take(table, clock, owner="two")
    assert again.fence == 2
    item = table.get(KEY)
    assert item is not None
    assert item["run_id"] == "r1"  # the record is never removed


def test_what_follows_from_the_expiry_moves_with_it(table: Table, clock: Clock) -> None:
    lease = take(
        table,
        clock,
        attributes={"GSI1PK": "LOCK#lines"},
        derived=lambda expires: {"GSI1SK": f"EXPIRES#{expires}"},
    )
    first = table.get(KEY)
    clock.now += 60
    lease.renew()
    second = table.get(KEY)
    assert first is not None and second is not None
    assert first["GSI1SK"] == "EXPIRES#2030-01-01T00:16:00.000000+00:00"
    assert second["GSI1SK"] == f"EXPIRES#{second['expires']}" == "EXPIRES#2030-01-01T00:17:00.000000+00:00"
    assert [found["owner"] for found in table.query("LOCK#lines", index="GSI1")] == [lease.owner]


def test_takeover_after_expiry(table: Table, clock: Clock) -> None:
    old = take(table, clock, ttl=100)
    clock.now += 99
    with pytest.raises(LeaseUnavailable):
        take(table, clock)
    clock.now += 2
    new = take(table, clock)
    assert (old.fence, new.fence) == (1, 2)
    with pytest.raises(LeaseLost, match="taken over"):
        old.renew()
    assert not old.ok
    with pytest.raises(LeaseLost):
        old.check()
    with pytest.raises(LeaseLost):
        old.validate()
    old.release()  # never takes away what is somebody else's
    new.validate()
    assert new.ok


def test_an_expired_lease_is_not_taken_back(table: Table, clock: Clock) -> None:
    lease = take(table, clock, ttl=100)
    clock.now += 60
    lease.renew()
    clock.now += 99
    lease.validate()
    clock.now += 2
    with pytest.raises(LeaseLost, match="expired"):
        lease.renew()
    with pytest.raises(LeaseLost):
        lease.validate()


def test_fences_only_grow(table: Table, clock: Clock) -> None:
    fences = []
    for n in range(5):
        lease = take(table, clock, ttl=10)
        fences.append(lease.fence)
        if n % 2:
            lease.release()
        else:
            clock.now += 11
    assert fences == [1, 2, 3, 4, 5]


def test_waiting_for_a_dead_holder(table: Table, clock: Clock) -> None:
    take(table, clock, ttl=200, owner="dead")
    clock.now += 150  # its last heartbeat is old
    lease = take(table, clock, waiting=Waiting())
    assert lease.fence == 2
    assert clock.slept[:5] == [3.0, 4.5, 6.75, 10.0, 10.0]


def test_waiting_stops_for_a_live_holder(table: Table, clock: Clock) -> None:
    take(table, clock, owner="alive")
    with pytest.raises(LeaseUnavailable, match="held by alive"):
        take(table, clock, waiting=Waiting())
    assert clock.slept == [3.0, 4.5]


def test_waiting_has_an_end(table: Table, clock: Clock) -> None:
    take(table, clock, ttl=10_000, owner="stuck")
    clock.now += 1000
    with pytest.raises(LeaseUnavailable, match="waited"):
        take(table, clock, waiting=Waiting())
    assert sum(clock.slept) <= 60
    assert len(clock.slept) <= 9


def test_context_manager_releases_also_after_an_error(table: Table) -> None:
    with pytest.raises(RuntimeError), leases.hold(table, KEY, ttl=60) as lease:
        assert lease.ok
        raise RuntimeError
    with leases.hold(table, KEY, ttl=60) as second:
        assert second.fence == 2
        second.validate()


def test_many_want_it_one_gets_it(table: Table) -> None:
    got: list[int] = []
    refused: list[BaseException] = []

    def want() -> None:
        try:
            got.append(leases.acquire(table, KEY, ttl=60).fence)
        except LeaseUnavailable as error:
            refused.append(error)

    threads = [threading.Thread(target=want) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [1]
    assert len(refused) == 5


@pytest.fixture
def local(tmp_path: Path) -> SqliteTable:
    return SqliteTable(tmp_path, "t", Schema(("PK", "SK"), {"i": Index("owner")}))


def wait_for(event: threading.Event) -> None:
    assert event.wait(10)


def test_heartbeat_renews(local: SqliteTable, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = leases.acquire(local, KEY, ttl=60)
    renewed = threading.Event()
    original = local.transact

    def transact(mutations: Any) -> Any:
        result = original(mutations)
        renewed.set()
        return result

    before = local.get(KEY)
    monkeypatch.setattr(local, "transact", transact)
    lease.start_heartbeat(0.01)
    wait_for(renewed)
    lease.stop_heartbeat()
    after = local.get(KEY)
    assert before is not None and after is not None
    assert after["expires_ms"] > before["expires_ms"]
    assert lease.ok
    with pytest.raises(RuntimeError, match="runs already"):
        lease.start_heartbeat(1)


def test_heartbeat_notices_that_the_lease_is_lost(local: SqliteTable) -> None:
    lease = leases.acquire(local, KEY, ttl=60)
    local.mutate(KEY, lambda item: {**(item or {}), "owner": "thief", "fence": 2})
    lease.start_heartbeat(0.01)
    assert lease._thread is not None
    lease._thread.join(10)
    assert not lease.ok
    lease.release()
    item = local.get(KEY)
    assert item is not None
    assert (item["owner"], item["fence"]) == ("thief", 2)


def test_heartbeat_survives_some_errors_and_gives_up_after_three(
    local: SqliteTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = leases.acquire(local, KEY, ttl=60)
    calls = 0
    original = local.transact

    def transact(mutations: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            return original(mutations)
        raise StorageError("the disk is on fire")

    monkeypatch.setattr(local, "transact", transact)
    lease.start_heartbeat(0.001)
    assert lease._thread is not None
    lease._thread.join(10)
    assert calls == 6
    assert not lease.ok
    with pytest.raises(LeaseLost, match="on fire"):
        lease.check()


def test_embedded_resources_give_the_same_lease_to_everybody(tmp_path: Path) -> None:
    declared = {"tables": {"single": {"key": ["PK", "SK"]}}}
    first = Resources("embedded", tmp_path, declared).table("single")
    second = Resources("embedded", tmp_path, declared).table("single")
    leases.acquire(first, KEY, ttl=60)
    with pytest.raises(LeaseUnavailable):
        leases.acquire(second, KEY, ttl=60)
