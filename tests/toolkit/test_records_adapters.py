"""What only one of the two tables has."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.toolkit import aws
from stepwell.toolkit.errors import StorageError
from stepwell.toolkit.records import Index, Schema, values
from stepwell.toolkit.records.dynamodb import DynamoTable, decode, encode
from stepwell.toolkit.records.sqlite import SqliteTable

from .conftest import provision

SCHEMA = Schema(("id",), {"by-status": Index("status", "at")})


@pytest.fixture
def table(tmp_path: Path) -> SqliteTable:
    return SqliteTable(tmp_path, "t", SCHEMA)


COUNT = """
import sys
from pathlib import Path
from stepwell.toolkit.records import Index, Schema
from stepwell.toolkit.records.sqlite import SqliteTable
table = SqliteTable(Path(sys.argv[1]), "t", Schema(("id",), {"by-status": Index("status", "at")}))
for _ in range(int(sys.argv[2])):
    table.mutate("n", lambda item: {"n": (item or {}).get("n", 0) + 1, "status": "s", "at": "a"})
"""


def count_in_processes(data: Path, processes: int, times: int) -> None:
    command = [sys.executable, "-c", COUNT, str(data), str(times)]
    running = [subprocess.Popen(command) for _ in range(processes)]
    assert [process.wait(60) for process in running] == [0] * processes


def test_counting_in_several_processes(tmp_path: Path) -> None:
    count_in_processes(tmp_path, 4, 100)
    table = SqliteTable(tmp_path, "t", SCHEMA)
    assert table.get("n") == {"id": "n", "n": 400, "status": "s", "at": "a"}
    assert len(list(table.query("s", index="by-status"))) == 1


def test_many_open_a_new_table_at_once(tmp_path: Path) -> None:
    for number in range(3):
        count_in_processes(tmp_path / str(number), 4, 1)


def test_an_index_that_is_added_is_filled(table: SqliteTable, tmp_path: Path) -> None:
    table.batch_write([{"id": str(n), "status": "a", "at": str(n), "owner": f"o{n % 2}"} for n in range(10)])
    wider = SqliteTable(tmp_path, "t", Schema(("id",), {**SCHEMA.indexes, "by-owner": Index("owner", "at")}))
    assert [item["at"] for item in wider.query("o1", index="by-owner")] == ["1", "3", "5", "7", "9"]
    other = SqliteTable(tmp_path, "t", Schema(("id",), {"by-status": Index("status")}, ttl="until"))
    assert len(list(other.query("a", index="by-status"))) == 10
    other.put({"id": "old", "until": 1})
    assert other.get("old") is None
    assert SqliteTable(tmp_path, "t", SCHEMA).get("old") == {"id": "old", "until": 1}
    assert SqliteTable(tmp_path, "t", Schema(("id",), {}, ttl="until")).get("old") is None


def test_another_key_is_refused(table: SqliteTable, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r'made with key \["id:S"\] and is declared with key \["other:S"\]'):
        SqliteTable(tmp_path, "t", Schema(("other",)))
    with pytest.raises(StorageError, match="declared with key"):
        SqliteTable(tmp_path, "t", Schema(("id",), types={"id": "N"}))


def test_files_that_cannot_be_used(table: SqliteTable, tmp_path: Path) -> None:
    path = tmp_path / "tables" / "t.sqlite3"
    sqlite3.connect(path).execute("PRAGMA user_version=99")
    with pytest.raises(StorageError, match="newer Stepwell"):
        SqliteTable(tmp_path, "t", SCHEMA)
    (tmp_path / "tables" / "broken.sqlite3").write_text("no database " * 1000)
    with pytest.raises(StorageError, match=r"broken.sqlite3: .*backup"):
        SqliteTable(tmp_path, "broken", SCHEMA)


def test_a_lock_that_is_held_too_long(table: SqliteTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.toolkit.sqlite.BUSY_SECONDS", 0.05)
    holder = sqlite3.connect(tmp_path / "tables" / "t.sqlite3", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="another process held it"):
        SqliteTable(tmp_path, "t", SCHEMA).put({"id": "x"})
    holder.execute("ROLLBACK")


def test_a_function_may_use_the_table_itself(table: SqliteTable) -> None:
    def outer(item: Any) -> Any:
        table.mutate("inner", lambda found: {"n": (found or {}).get("n", 0) + 1})
        return {"seen": table.get("inner")}

    assert table.mutate("outer", outer) == {"id": "outer", "seen": {"id": "inner", "n": 1}}


def test_expired_records_are_removed(tmp_path: Path) -> None:
    table = SqliteTable(tmp_path, "t", Schema(("id",), {"i": Index("status")}, ttl="until"))
    now = int(time.time())
    table.batch_write([{"id": str(n), "status": "s", "until": now - 10 + n} for n in range(20)])
    assert table.remove_expired(now=now) == 10
    assert table.remove_expired(now=now) == 0
    index = sqlite3.connect(tmp_path / "tables" / "t.sqlite3")
    assert index.execute("SELECT count(*) FROM records").fetchone() == (10,)
    assert index.execute("SELECT count(*) FROM entries").fetchone() == (10,)


def test_writers_remove_expired_records_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = SqliteTable(tmp_path, "t", Schema(("id",), {}, ttl="until"))
    table.put({"id": "old", "until": 1})
    rows = sqlite3.connect(tmp_path / "tables" / "t.sqlite3")
    assert rows.execute("SELECT count(*) FROM records").fetchone() == (1,)
    monkeypatch.setattr("stepwell.toolkit.records.sqlite.SWEEP_SECONDS", -1.0)
    table.mutate("new", lambda item: {})
    assert rows.execute("SELECT hash FROM records").fetchall() == [("new",)]


def test_bodies_are_plain_json(table: SqliteTable, tmp_path: Path) -> None:
    table.put({"id": "x", "n": Decimal("1.50"), "big": 2**70})
    (body,) = sqlite3.connect(tmp_path / "tables" / "t.sqlite3").execute("SELECT body FROM records").fetchone()
    assert body == f'{{"id":"x","n":1.5,"big":{2**70}}}'


NUMBERS = st.one_of(
    st.integers(-(10**38) + 1, 10**38 - 1),
    st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**20), max_value=10**20),
    st.builds(
        lambda digits, exponent: Decimal(digits).scaleb(exponent), st.integers(-(10**30), 10**30), st.integers(-90, 90)
    ),
)


@given(NUMBERS, NUMBERS)
def test_the_sort_form_keeps_the_order_of_numbers(a: Any, b: Any) -> None:
    first, second = values.sortable(values.number(a, "a")), values.sortable(values.number(b, "b"))
    assert (first < second) == (a < b)  # type: ignore[operator]
    assert (first == second) == (a == b)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(st.characters(exclude_categories=["Cs"])), st.binary()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.sampled_from(["$bytes", "$$bytes", "$", "a"]), st.text(max_size=3)), inner, max_size=3
        ),
    ),
    max_leaves=12,
)


@given(VALUES)
def test_both_encodings_give_back_the_same(value: Any) -> None:
    item = values.normalize({"id": "x", "v": value}, SCHEMA)
    assert item["v"] == value
    assert repr(values.load(values.dump(item))) == repr(item)
    assert repr(decode(encode(item))) == repr(item)
    assert values.normalize(item, SCHEMA) == item


# --- DynamoDB


class Scripted:
    """A DynamoDB client that leaves keys unprocessed by a script and passes the rest on."""

    def __init__(self, leave: list[int]) -> None:
        self._real = aws.client("dynamodb")
        self._leave = leave
        self.asked: list[list[Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def batch_get_item(self, RequestItems: Any) -> Any:
        ((name, request),) = RequestItems.items()
        keys = request["Keys"]
        self.asked.append(keys)
        assert request["ConsistentRead"] is True
        left = self._leave.pop(0) if self._leave else 0
        answer = self._real.batch_get_item(RequestItems={name: {**request, "Keys": keys[left:]}}) if keys[left:] else {}
        if left:
            answer["UnprocessedKeys"] = {name: {**request, "Keys": keys[:left]}}
        return answer

    def batch_write_item(self, RequestItems: Any) -> Any:
        ((name, requests),) = RequestItems.items()
        self.asked.append(requests)
        left = self._leave.pop(0) if self._leave else 0
        if requests[left:]:
            self._real.batch_write_item(RequestItems={name: requests[left:]})
        return {"UnprocessedItems": {name: requests[:left]} if left else {}}


@pytest.fixture
def dynamo(aws_backend: str) -> tuple[DynamoTable, list[float]]:
    made = provision({"tables": {"t": {"key": ["id"], "indexes": {"by-status": {"key": ["status", "at"]}}}}}).table("t")
    slept: list[float] = []
    return DynamoTable(made.name, made.schema, sleep=slept.append), slept


def scripted(monkeypatch: pytest.MonkeyPatch, leave: list[int]) -> Scripted:
    client = Scripted(leave)
    monkeypatch.setattr(aws, "client", lambda service: client)
    return client


def test_unprocessed_keys_are_asked_for_alone(dynamo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    table, slept = dynamo
    table.batch_write([{"id": f"{n}"} for n in range(150)])
    client = scripted(monkeypatch, [30, 7])
    found = table.batch_get([f"{n}" for n in range(150)] + ["1", "2"])
    assert len(found) == 150
    assert [len(keys) for keys in client.asked] == [100, 30, 7, 50]
    assert client.asked[1] == client.asked[0][:30]
    assert slept == [1.0, 2.0]


def test_keys_that_stay_unprocessed(dynamo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    table, slept = dynamo
    scripted(monkeypatch, [2, 2, 2, 2])
    with pytest.raises(StorageError, match="2 keys"):
        table.batch_get(["a", "b", "c"])
    assert slept == [1.0, 2.0, 4.0]


def test_unprocessed_writes(dynamo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    table, slept = dynamo
    client = scripted(monkeypatch, [5])
    table.batch_write([{"id": f"{n:02d}"} for n in range(30)])
    assert [len(requests) for requests in client.asked] == [25, 5, 5]
    assert slept == [1.0]
    assert len(list(table.scan())) == 30
    scripted(monkeypatch, [1, 1, 1, 1])
    with pytest.raises(StorageError, match="1 writes"):
        table.batch_write([{"id": "x"}])


def test_a_mutation_writes_only_what_changed(dynamo: Any) -> None:
    """A writer that knows nothing of this toolkit is neither overwritten nor overlooked."""
    table, _ = dynamo
    table.put({"id": "x", "a": 1, "b": [1, {"c": Decimal("1.5")}], "gone": b"\x00"})
    client = aws.client("dynamodb")
    calls = 0

    def change(item: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 1:
            client.update_item(
                TableName=table.name,
                Key={"id": {"S": "x"}},
                UpdateExpression="SET #s = :s",
                ExpressionAttributeNames={"#s": "set"},
                ExpressionAttributeValues={":s": {"SS": ["b", "a"]}},
            )
            client.update_item(
                TableName=table.name,
                Key={"id": {"S": "x"}},
                UpdateExpression="SET a = :a",
                ExpressionAttributeValues={":a": {"N": "5"}},
            )
        item["a"] += 1
        item.pop("gone", None)
        return item

    assert table.mutate("x", change)["a"] == 6
    assert calls == 2
    raw = client.get_item(TableName=table.name, Key={"id": {"S": "x"}})["Item"]
    assert raw["set"] in ({"SS": ["a", "b"]}, {"SS": ["b", "a"]})
    assert set(raw) == {"id", "a", "b", "set"}


def test_words_that_dynamodb_reserves(dynamo: Any) -> None:
    table, _ = dynamo
    item = {"id": "x", "status": "s", "at": "a", "name": 1, "size": 2, "ttl": 3, "a-b.c": 4, "données": 5, "#x": 6}
    table.put(item)
    assert table.mutate("x", lambda found: {**found, "size": 3, "a-b.c": 5, "values": 7})["values"] == 7
    assert table.batch_get(["x"], attributes=["status", "name", "a-b.c"])["x"] == {
        "id": "x",
        "status": "s",
        "name": 1,
        "a-b.c": 5,
    }


def test_a_record_with_very_many_attributes(dynamo: Any) -> None:
    table, _ = dynamo
    table.put({"id": "x", **{f"a{n}": n for n in range(150)}})
    assert table.mutate("x", lambda found: {**found, "a7": "seven"})["a7"] == "seven"
    table.put({"id": "x", **{f"a{n}": n for n in range(250)}})
    with pytest.raises(ValueError, match="up to 200"):
        table.mutate("x", lambda found: {**found, "a7": "seven"})


def test_conditions_stay_below_the_limit_of_an_expression(dynamo: Any) -> None:
    table, _ = dynamo
    before = encode({"id": "x", **{f"a{n}": n for n in range(199)}})
    write = table._write("x", before, {"id": "x", **{f"b{n}": n for n in range(10)}})["Update"]
    assert len(write["ConditionExpression"]) <= 4096
    assert len(write["UpdateExpression"]) <= 4096
    assert json.dumps(write)
