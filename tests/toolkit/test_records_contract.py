"""What both tables promise."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from stepwell.toolkit.errors import RecordExists, RecordTooLarge, StorageError
from stepwell.toolkit.records import (
    Item,
    Table,
    above,
    at_least,
    at_most,
    begins_with,
    below,
    between,
    equals,
)

from .conftest import MakeResources

DECLARED: dict[str, Any] = {
    "tables": {
        "tracker": {
            "key": ["media_id"],
            "indexes": {"status-sync_timestamp-index": {"key": ["status", "sync_timestamp"]}},
        },
        "single": {
            "key": ["PK", "SK"],
            "indexes": {"GSI1": {"key": ["GSI1PK", "GSI1SK"]}, "by-owner": {"key": ["owner"]}},
            "ttl": "expiresAt",
        },
        "numbers": {
            "key": ["group", "n"],
            "types": {"n": "N", "score": "N"},
            "indexes": {"by-score": {"key": ["group", "score"]}},
        },
        "binary": {"key": ["id", "part"], "types": {"id": "B", "part": "B"}},
    }
}
INDEX = "status-sync_timestamp-index"


@pytest.fixture
def tables(make_resources: MakeResources) -> Callable[[str], Table]:
    return lambda name: make_resources({"tables": {name: DECLARED["tables"][name]}}).table(name)


@pytest.fixture
def tracker(tables: Callable[[str], Table]) -> Table:
    return tables("tracker")


@pytest.fixture
def single(tables: Callable[[str], Table]) -> Table:
    return tables("single")


def test_values_come_back_as_they_went(tracker: Table) -> None:
    item = {
        "media_id": "m1",
        "text": "xin chào 👋",
        "empty": "",
        "yes": True,
        "no": False,
        "nothing": None,
        "int": 734003200,
        "negative": -7,
        "large": 12345678901234567890123456789012345678,
        "duration": Decimal("12.34"),
        "tiny": Decimal("1.5E-100"),
        "blob": b"\x00\xff",
        "list": [1, "two", None, [Decimal("0.5")], {"deep": b"x"}],
        "map": {"a": {"b": []}, "$bytes": "not bytes"},
        "dollar": {"$bytes": "eA=="},
        "dollars": {"$$x": {"$y": 1}},
    }
    tracker.put(item)
    found = tracker.get("m1")
    assert found == item
    assert found is not None
    assert {name: type(value) for name, value in found.items()} == {name: type(value) for name, value in item.items()}


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (Decimal("2.00"), 2),
        (Decimal("1.50"), Decimal("1.5")),
        (Decimal("1E+3"), 1000),
        (Decimal("-0"), 0),
        (Decimal("0.10"), Decimal("0.1")),
        (10**100, 10**100),
        (Decimal("-1.10E+1"), -11),
        (2**63, 2**63),
        (2**64 + 1, 2**64 + 1),
    ],
)
def test_numbers_are_normalised_alike(tracker: Table, given: Any, read: Any) -> None:
    tracker.put({"media_id": "m", "n": given})
    found = tracker.get("m")
    assert found is not None
    assert found["n"] == read
    assert type(found["n"]) is type(read)
    assert str(found["n"]) == str(read)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (1.5, TypeError),
        ({1, 2}, TypeError),
        (object(), TypeError),
        ({1: 2}, TypeError),
        (Decimal("NaN"), ValueError),
        (Decimal("Infinity"), ValueError),
        (Decimal("1." + "1" * 38), ValueError),
        (10**126, ValueError),
        (Decimal("1E-131"), ValueError),
    ],
)
def test_values_that_are_refused(tracker: Table, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="attr"):
        tracker.put({"media_id": "m", "attr": [value]})
    with pytest.raises(error, match="attr"):
        tracker.mutate("m", lambda item: {"attr": value})
    assert tracker.get("m") is None


def test_size_limit(tracker: Table) -> None:
    tracker.put({"media_id": "m", "text": "x" * 400_000})
    with pytest.raises(RecordTooLarge, match="409600"):
        tracker.put({"media_id": "m", "text": "x" * 409_600})


def test_keys_are_checked(tracker: Table, single: Table, tables: Callable[[str], Table]) -> None:
    for key in (1, b"x", ("a", "b"), Decimal(1), True):
        with pytest.raises((TypeError, ValueError), match="media_id"):
            tracker.get(key)
    for key in ("", "x" * 2049):
        with pytest.raises(ValueError, match="media_id"):
            tracker.get(key)
    with pytest.raises(ValueError, match="PK and SK"):
        single.get("a")
    with pytest.raises(ValueError, match="lacks its key attribute 'media_id'"):
        tracker.put({"id": "m"})
    with pytest.raises(TypeError, match="'status'"):
        tracker.put({"media_id": "m", "status": None})
    with pytest.raises(ValueError, match="'status'"):
        tracker.put({"media_id": "m", "status": ""})
    with pytest.raises(TypeError, match="'n' must be a number"):
        tables("numbers").get(("a", "1"))


def test_put_get_delete(tracker: Table) -> None:
    assert tracker.get("m") is None
    tracker.put({"media_id": "m", "a": 1})
    tracker.put({"media_id": "m", "b": 2})
    assert tracker.get("m") == {"media_id": "m", "b": 2}
    tracker.delete("m")
    tracker.delete("m")
    assert tracker.get("m") is None


def test_put_if_absent(tracker: Table) -> None:
    tracker.put({"media_id": "m", "a": 1}, if_absent=True)
    with pytest.raises(RecordExists, match="'m'"):
        tracker.put({"media_id": "m", "a": 2}, if_absent=True)
    assert tracker.get("m") == {"media_id": "m", "a": 1}


def test_mutate_makes_changes_and_removes(tracker: Table) -> None:
    seen: list[Item | None] = []

    def count(item: Item | None) -> Item:
        seen.append(None if item is None else dict(item))
        return {**(item or {}), "retry_count": (item or {}).get("retry_count", 0) + 1}

    assert tracker.mutate("m", count) == {"media_id": "m", "retry_count": 1}
    assert tracker.mutate("m", count) == {"media_id": "m", "retry_count": 2}
    assert seen == [None, {"media_id": "m", "retry_count": 1}]
    assert tracker.get("m") == {"media_id": "m", "retry_count": 2}
    assert tracker.mutate("m", lambda item: None) is None
    assert tracker.get("m") is None
    assert tracker.mutate("m", lambda item: None) is None


def test_mutate_in_place(tracker: Table) -> None:
    tracker.put({"media_id": "m", "list": [1], "gone": True, "flag": True})

    def change(item: Item | None) -> Item:
        assert item is not None
        item["list"].append(2)
        del item["gone"]
        item["flag"] = 1  # equal to True for Python, another value for a table
        return item

    tracker.mutate("m", change)
    found = tracker.get("m")
    assert found == {"media_id": "m", "list": [1, 2], "flag": 1}
    assert found is not None
    assert found["flag"] is not True


def test_mutate_refuses_by_an_exception(tracker: Table) -> None:
    class AlreadyCompleted(Exception):
        pass

    def refuse(item: Item | None) -> Item:
        assert item is not None
        item["status"] = "FAILED"
        raise AlreadyCompleted

    tracker.put({"media_id": "m", "status": "COMPLETED"})
    with pytest.raises(AlreadyCompleted):
        tracker.mutate("m", refuse)
    assert tracker.get("m") == {"media_id": "m", "status": "COMPLETED"}


def test_mutate_keeps_the_key(tracker: Table) -> None:
    with pytest.raises(ValueError, match="media_id"):
        tracker.mutate("m", lambda item: {"media_id": "other"})
    assert tracker.mutate("m", lambda item: {"media_id": "m"}) == {"media_id": "m"}


def test_mutate_sees_what_others_wrote(tracker: Table) -> None:
    """The function is called again when somebody was faster, and nobody's change is lost."""
    tracker.put({"media_id": "m", "count": 0})
    calls = 0

    def slow(item: Item | None) -> Item:
        nonlocal calls
        calls += 1
        assert item is not None
        if calls <= 2:
            tracker.put({"media_id": "m", "count": item["count"] + 100})
        return {**item, "count": item["count"] + 1, "mine": True}

    assert tracker.mutate("m", slow) == {"media_id": "m", "count": 201, "mine": True}
    assert calls == 3


def test_mutate_notices_an_attribute_that_appeared(tracker: Table) -> None:
    tracker.put({"media_id": "m"})
    calls = 0

    def add(item: Item | None) -> Item:
        nonlocal calls
        calls += 1
        assert item is not None
        if calls == 1:
            tracker.put({"media_id": "m", "owner": "somebody else"})
        return {**item, "owner": item.get("owner", "me")}

    assert tracker.mutate("m", add) == {"media_id": "m", "owner": "somebody else"}


def test_mutate_of_a_record_that_is_removed_meanwhile(tracker: Table) -> None:
    tracker.put({"media_id": "m", "a": 1})
    calls = 0

    def change(item: Item | None) -> Item:
        nonlocal calls
        calls += 1
        if calls == 1:
            tracker.delete("m")
        return {**(item or {}), "b": 2}

    assert tracker.mutate("m", change) == {"media_id": "m", "b": 2}


def test_concurrent_counters_lose_nothing(tracker: Table) -> None:
    threads, each = 4, 15
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(each):
                tracker.mutate("m", lambda item: {"n": (item or {}).get("n", 0) + 1})
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert errors == []
    assert tracker.get("m") == {"media_id": "m", "n": threads * each}


def test_transact_all_or_none(single: Table) -> None:
    keys = [("r", f"{n}") for n in range(25)]
    for key in keys:
        single.put({"PK": key[0], "SK": key[1], "status": "NONE"})

    def claim(item: Item | None) -> Item:
        assert item is not None
        if item["status"] != "NONE":
            raise ValueError("claimed already")
        return {**item, "status": "PENDING"}

    result = single.transact(dict.fromkeys(keys, claim))
    assert [item and item["status"] for item in result.values()] == ["PENDING"] * 25
    single.put({"PK": "r", "SK": "new", "status": "NONE"})
    with pytest.raises(ValueError, match="claimed already"):
        single.transact(dict.fromkeys([("r", "new"), keys[0]], claim))
    assert single.get(("r", "new")) == {"PK": "r", "SK": "new", "status": "NONE"}
    with pytest.raises(ValueError, match="100"):
        single.transact({("r", str(n)): claim for n in range(101)})


def test_transact_mixes_making_changing_and_removing(single: Table) -> None:
    single.put({"PK": "a", "SK": "1", "n": 1})
    single.put({"PK": "a", "SK": "2", "n": 2})
    single.put({"PK": "a", "SK": "3", "n": 3})
    single.transact(
        {
            ("a", "1"): lambda item: None,
            ("a", "2"): lambda item: {**(item or {}), "n": 20},
            ("a", "3"): lambda item: item,
            ("a", "4"): lambda item: {"n": 4},
            ("a", "5"): lambda item: None,
        }
    )
    assert [(item["SK"], item["n"]) for item in single.query("a")] == [("2", 20), ("3", 3), ("4", 4)]


def test_transact_checks_records_it_only_read(single: Table) -> None:
    single.put({"PK": "a", "SK": "limit", "n": 1})
    calls = 0
    seen: list[int] = []

    def look(item: Item | None) -> Item | None:
        nonlocal calls
        calls += 1
        assert item is not None
        seen.append(item["n"])
        if calls == 1:
            single.put({"PK": "a", "SK": "limit", "n": 2})
        return item

    single.transact({("a", "limit"): look, ("a", "x"): lambda item: {"n": seen[-1]}})
    assert single.get(("a", "x")) == {"PK": "a", "SK": "x", "n": 2}


def fill(table: Table) -> list[str]:
    stamps = [f"2025-11-{day:02d}T00:00:00Z" for day in range(1, 31)]
    for n, stamp in enumerate(stamps):
        status = "FAILED" if n % 2 else "COMPLETED"
        table.put({"media_id": f"m{n:02d}", "status": status, "sync_timestamp": stamp})
    table.put({"media_id": "pending", "status": "FAILED"})
    return [stamp for n, stamp in enumerate(stamps) if n % 2]


def test_query_by_index(tracker: Table) -> None:
    failed = fill(tracker)
    found = [item["sync_timestamp"] for item in tracker.query("FAILED", index=INDEX)]
    assert found == failed  # in order, and without the record that lacks the sort key
    assert [item["sync_timestamp"] for item in tracker.query("FAILED", index=INDEX, descending=True)] == failed[::-1]
    assert list(tracker.query("ABSENT", index=INDEX)) == []


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (equals("2025-11-04T00:00:00Z"), slice(1, 2)),
        (between("2025-11-04T00:00:00Z", "2025-11-08T00:00:00Z"), slice(1, 4)),
        (begins_with("2025-11-1"), slice(4, 9)),
        (at_least("2025-11-28T00:00:00Z"), slice(13, 15)),
        (above("2025-11-28T00:00:00Z"), slice(14, 15)),
        (at_most("2025-11-04T00:00:00Z"), slice(0, 2)),
        (below("2025-11-04T00:00:00Z"), slice(0, 1)),
    ],
    ids=lambda value: getattr(value, "operator", ""),
)
def test_query_ranges(tracker: Table, condition: Any, expected: slice) -> None:
    failed = fill(tracker)
    found = [item["sync_timestamp"] for item in tracker.query("FAILED", index=INDEX, sort=condition)]
    assert found == failed[expected]
    down = [item["sync_timestamp"] for item in tracker.query("FAILED", index=INDEX, sort=condition, descending=True)]
    assert down == failed[expected][::-1]


@pytest.mark.parametrize("descending", [False, True])
def test_query_pages(tracker: Table, descending: bool) -> None:
    failed = fill(tracker)
    sizes, found, after = [], [], None
    while True:
        page = tracker.query_page("FAILED", index=INDEX, limit=4, after=after, descending=descending)
        sizes.append(len(page.items))
        found += [item["sync_timestamp"] for item in page.items]
        after = page.next
        if after is None:
            break
    assert found == (failed[::-1] if descending else failed)
    assert [size for size in sizes if size] == [4, 4, 4, 3]
    with pytest.raises(ValueError, match="after"):
        tracker.query_page("FAILED", index=INDEX, after="nonsense")
    with pytest.raises(ValueError, match="limit"):
        tracker.query_page("FAILED", index=INDEX, limit=0)


def test_pages_with_equal_sort_keys(tracker: Table) -> None:
    for n in range(7):
        tracker.put({"media_id": f"m{n}", "status": "FAILED", "sync_timestamp": "same"})
    found, after = [], None
    while True:
        page = tracker.query_page("FAILED", index=INDEX, limit=2, after=after)
        found += [item["media_id"] for item in page.items]
        after = page.next
        if after is None:
            break
    assert sorted(found) == [f"m{n}" for n in range(7)]


def test_query_of_the_table_itself(single: Table) -> None:
    for n in (2, 10, 1):
        single.put({"PK": "BATCH#1", "SK": f"LINE#{n:05d}", "n": n})
    single.put({"PK": "BATCH#1", "SK": "STATUS", "n": 0})
    single.put({"PK": "BATCH#2", "SK": "LINE#00001", "n": 9})
    assert [item["n"] for item in single.query("BATCH#1")] == [1, 2, 10, 0]
    assert [item["n"] for item in single.query("BATCH#1", sort=begins_with("LINE#"))] == [1, 2, 10]
    assert [item["n"] for item in single.query("BATCH#1", descending=True)] == [0, 10, 2, 1]


def test_index_follows_the_record(single: Table) -> None:
    single.put({"PK": "a", "SK": "1", "GSI1PK": "STATUS#NONE", "GSI1SK": "x"})
    single.mutate(("a", "1"), lambda item: {**(item or {}), "GSI1PK": "STATUS#PENDING"})
    assert list(single.query("STATUS#NONE", index="GSI1")) == []
    assert [item["SK"] for item in single.query("STATUS#PENDING", index="GSI1")] == ["1"]
    single.mutate(("a", "1"), lambda item: {k: v for k, v in (item or {}).items() if k != "GSI1SK"})
    assert list(single.query("STATUS#PENDING", index="GSI1")) == []
    single.put({"PK": "a", "SK": "2", "owner": "me"})
    assert [item["SK"] for item in single.query("me", index="by-owner")] == ["2"]
    single.delete(("a", "2"))
    assert list(single.query("me", index="by-owner")) == []


def test_wrong_questions(tracker: Table, single: Table, tables: Callable[[str], Table]) -> None:
    with pytest.raises(ValueError, match="no index 'nope'"):
        tracker.query_page("x", index="nope")
    with pytest.raises(ValueError, match="no sort key"):
        tracker.query_page("x", sort=equals("y"))
    with pytest.raises(ValueError, match="no sort key"):
        single.query_page("x", index="by-owner", sort=equals("y"))
    with pytest.raises(TypeError, match="begins_with"):
        tables("numbers").query_page("g", sort=begins_with("1"))
    with pytest.raises(TypeError, match="must be a number"):
        tables("numbers").query_page("g", sort=equals("1"))


NUMBERS = [
    -(10**30), -100, Decimal("-10.5"), -10, Decimal("-1.25"), Decimal("-1.2"), -1, Decimal("-0.01"), 0, Decimal("1E-50"),
    Decimal("0.01"), Decimal("0.1"), 1, Decimal("1.2"), Decimal("1.25"), 2, 9, 10, 11, 100, 1000, 2**53, 2**53 + 1, 10**30,
]  # fmt: skip


def test_numbers_sort_as_numbers(tables: Callable[[str], Table]) -> None:
    table = tables("numbers")
    assert sorted(NUMBERS) == NUMBERS
    for place, n in enumerate(reversed(NUMBERS)):
        table.put({"group": "g", "n": n, "score": -n, "place": place})
    assert [item["n"] for item in table.query("g")] == NUMBERS
    assert [item["n"] for item in table.query("g", index="by-score", descending=True)] == NUMBERS
    assert [item["n"] for item in table.query("g", sort=between(Decimal("0.1"), 10))] == NUMBERS[11:18]
    assert table.get(("g", Decimal("10.00"))) == table.get(("g", 10))
    page = table.query_page("g", limit=5)
    assert [item["n"] for item in table.query_page("g", limit=5, after=page.next).items] == NUMBERS[5:10]


def test_binary_keys(tables: Callable[[str], Table]) -> None:
    table = tables("binary")
    for part in (b"\x00", b"\x00\xff", b"\x7f", b"\xff", b"\xff\x00"):
        table.put({"id": b"\x01\x02", "part": part})
    assert [item["part"] for item in table.query(b"\x01\x02")] == [b"\x00", b"\x00\xff", b"\x7f", b"\xff", b"\xff\x00"]
    assert [item["part"] for item in table.query(b"\x01\x02", sort=begins_with(b"\xff"))] == [b"\xff", b"\xff\x00"]  # type: ignore[arg-type]
    page = table.query_page(b"\x01\x02", limit=2)
    assert [i["part"] for i in table.query_page(b"\x01\x02", after=page.next).items] == [b"\x7f", b"\xff", b"\xff\x00"]


def test_batch_get(tracker: Table) -> None:
    for n in range(150):
        tracker.put({"media_id": f"m{n}", "status": "FAILED", "sync_timestamp": str(n), "large": "x" * 100})
    keys = [f"m{n}" for n in range(150)] + ["absent", "m3"]
    found = tracker.batch_get(keys)
    assert len(found) == 150
    assert found["m3"]["large"] == "x" * 100
    some = tracker.batch_get(["m1", "absent"], attributes=["status"])
    assert some == {"m1": {"media_id": "m1", "status": "FAILED"}}
    assert tracker.batch_get([]) == {}


def test_batch_get_of_two_part_keys(single: Table) -> None:
    single.put({"PK": "a", "SK": "1"})
    single.put({"PK": "a", "SK": "2"})
    assert set(single.batch_get([("a", "1"), ("a", "2"), ("b", "1")])) == {("a", "1"), ("a", "2")}


def test_batch_write(single: Table) -> None:
    single.batch_write([{"PK": "a", "SK": f"{n:03d}", "n": n} for n in range(60)])
    assert [item["n"] for item in single.query("a")] == list(range(60))
    single.batch_write(
        [{"PK": "a", "SK": "000", "n": 1000}], deletes=[("a", f"{n:03d}") for n in range(1, 55)] + [("b", "absent")]
    )
    assert [item["n"] for item in single.query("a")] == [1000, 55, 56, 57, 58, 59]
    with pytest.raises(ValueError, match="twice"):
        single.batch_write([{"PK": "a", "SK": "1"}], deletes=[("a", "1")])
    single.batch_write()


def test_scan(single: Table) -> None:
    items = [{"PK": f"p{n % 7}", "SK": f"{n}"} for n in range(40)]
    single.batch_write(items)
    assert sorted(item["SK"] for item in single.scan()) == sorted(item["SK"] for item in items)


def test_expired_records_are_absent(single: Table) -> None:
    now = int(time.time())
    single.put({"PK": "a", "SK": "old", "owner": "me", "expiresAt": now - 1})
    single.put({"PK": "a", "SK": "new", "owner": "me", "expiresAt": now + 1000})
    single.put({"PK": "a", "SK": "never", "owner": "me"})
    assert single.get(("a", "old")) is None
    assert {item["SK"] for item in single.query("a")} == {"new", "never"}
    assert {item["SK"] for item in single.query("me", index="by-owner")} == {"new", "never"}
    assert {item["SK"] for item in single.scan()} == {"new", "never"}
    assert set(single.batch_get([("a", "old"), ("a", "new")], attributes=["owner"])) == {("a", "new")}
    single.put({"PK": "a", "SK": "old", "n": 1}, if_absent=True)
    assert single.get(("a", "old")) == {"PK": "a", "SK": "old", "n": 1}
    single.put({"PK": "a", "SK": "old", "expiresAt": now - 1, "n": 5})
    assert single.mutate(("a", "old"), lambda item: {"n": 0 if item is None else math.nan}) == {
        "PK": "a",
        "SK": "old",
        "n": 0,
    }


def test_absent_table_is_named(make_resources: MakeResources) -> None:
    resources = make_resources({})
    if resources.backend == "aws":
        resources = type(resources)("aws", None, {"tables": {"gone": {"key": ["id"]}}})
        with pytest.raises(StorageError, match="gone"):
            resources.table("gone").get("x")
