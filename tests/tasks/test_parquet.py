"""ItemReader with InputType PARQUET."""

import datetime
import decimal
import json
import subprocess
import sys

import pytest

from stepwell.tasks import TaskError
from stepwell.toolkit.objects.local import LocalBucket

from .test_items import everything, pages, reading, refusal, store  # noqa: F401 (a fixture)

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

PARQUET = {"InputType": "PARQUET"}


def written(columns, schema=None, **options):
    sink = arrow.BufferOutputStream()
    parquet.write_table(arrow.table(columns, schema=schema), sink, **options)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd", "snappy"])
@pytest.mark.parametrize("limit", [3, 10, 1000])
async def test_rows_are_objects_page_by_page(store, compression, limit):  # noqa: F811
    columns = {"n": list(range(25)), "name": [f"name {n % 3}" if n else None for n in range(25)]}
    store.put("f.parquet", written(columns, row_group_size=7, compression=compression))
    found = await pages(store, PARQUET, Key="f.parquet", limit=limit)
    assert [item for page in found for item in page] == [
        {"n": n, "name": f"name {n % 3}" if n else None} for n in range(25)
    ]
    assert max(len(page) for page in found) == min(limit, 7)


async def test_a_restart_goes_on_in_the_middle_of_a_row_group(store):  # noqa: F811
    store.put("f.parquet", written({"n": list(range(100))}, row_group_size=40))
    cursor, found = None, []
    while True:
        store.items._parquet = type(store.items._parquet)()  # what a new process has
        text, cursor, _ = await store.items.read(reading(PARQUET, Key="f.parquet", limit=9, cursor=cursor), "role")
        found += [item["n"] for item in json.loads(text)]
        if cursor is None:
            break
    assert found == list(range(100))


async def test_types(store):  # noqa: F811
    moment = datetime.datetime(2025, 1, 2, 3, 4, 5, 678000)
    schema = arrow.schema(
        [
            ("i", arrow.int64()),
            ("f", arrow.float64()),
            ("b", arrow.bool_()),
            ("d", arrow.decimal128(20, 2)),
            ("date", arrow.date32()),
            ("at", arrow.timestamp("ns", "UTC")),
            ("local", arrow.timestamp("ms")),
            ("raw", arrow.binary()),
            ("text", arrow.binary()),
            ("list", arrow.list_(arrow.struct([("x", arrow.int32())]))),
            ("map", arrow.map_(arrow.string(), arrow.int32())),
            ("none", arrow.string()),
        ]
    )
    row = {
        "i": 2**60,
        "f": 0.5,
        "b": True,
        "d": decimal.Decimal("123456789012345678.90"),
        "date": moment.date(),
        "at": moment.replace(tzinfo=datetime.UTC),
        "local": moment,
        "raw": b"\xff\x00",
        "text": b"abc",
        "list": [{"x": 1}, {"x": None}],
        "map": [("a", 1)],
        "none": None,
    }
    store.put("f.parquet", written({name: [value] for name, value in row.items()}, schema))
    assert await everything(store, PARQUET, Key="f.parquet") == [
        {
            "i": 2**60,
            "f": 0.5,
            "b": True,
            "d": "123456789012345678.90",
            "date": "2025-01-02",
            "at": "2025-01-02T03:04:05.678000Z",
            "local": "2025-01-02T03:04:05.678000",
            "raw": "/wA=",
            "text": "abc",
            "list": [{"x": 1}, {"x": None}],
            "map": {"a": 1},
            "none": None,
        }
    ]


async def test_listings_and_manifests_of_parquet(store):  # noqa: F811
    store.put("in/1.parquet", written({"n": [1, 2]}))
    store.put("in/2.parquet", written({"n": []}, arrow.schema([("n", arrow.int64())])))
    store.put("in/3.parquet", written({"n": [3]}))
    config = {**PARQUET, "Transformation": "LOAD_AND_FLATTEN"}
    found = await everything(store, config, action="listObjectsV2", Prefix="in/", limit=1)
    assert [item["n"] for item in found] == [1, 2, 3]
    store.put("m.csv", b"s3://pail/in/1.parquet\ns3://pail/in/3.parquet\n")
    found = await everything(store, {**PARQUET, "ManifestType": "ATHENA_DATA"}, Key="m.csv")
    assert [item["n"] for item in found] == [1, 2, 3]


async def test_what_is_no_parquet_file(store, monkeypatch):  # noqa: F811
    good = written({"n": list(range(1000))})
    for data in (b"", b"PAR1", b"n\n1\n" * 100, good[:-4] + b"PARE", good[: len(good) // 2], good[-30:]):
        store.put("f.parquet", data)
        if data:
            assert "not a Parquet file" in await refusal(store, PARQUET, Key="f.parquet")
    broken = bytearray(good)
    broken[4:60] = b"\xff" * 56
    store.put("f.parquet", bytes(broken))
    assert "cannot be read" in await refusal(store, PARQUET, Key="f.parquet")
    store.put("f.parquet", good)
    assert "VersionId" in await refusal(store, PARQUET, Key="f.parquet", VersionId="1")
    monkeypatch.setattr("stepwell.tasks.parquet.LARGEST_ROW_GROUP", 100)
    assert "row group" in await refusal(store, PARQUET, Key="f.parquet")
    monkeypatch.setattr("stepwell.tasks.parquet.LARGEST_FOOTER", 100)
    assert "footer" in await refusal(store, PARQUET, Key="f.parquet")


async def test_without_pyarrow_the_extra_is_named(store, monkeypatch):  # noqa: F811
    store.put("f.parquet", written({"n": [1]}))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "stepwell[parquet]" in await refusal(store, PARQUET, Key="f.parquet")


async def test_an_object_that_is_replaced_meanwhile(store):  # noqa: F811
    store.put("f.parquet", written({"n": [1, 2]}))
    _, cursor, _ = await store.items.read(reading(PARQUET, Key="f.parquet", limit=1), "role")
    store.put("f.parquet", written({"n": [8, 9]}))
    with pytest.raises(TaskError, match="was replaced while its items were read"):
        await store.items.read(reading(PARQUET, Key="f.parquet", limit=1, cursor=cursor), "role")


MILLION = """
import asyncio, json, sys
from pathlib import Path
from tests.tasks.test_items import reading
from stepwell.tasks.items import Items
import pyarrow.parquet

async def main():
    items, cursor, count = Items(data=Path(sys.argv[1])), None, 0
    while True:
        text, cursor, _ = await items.read(reading({"InputType": "PARQUET"}, Key=sys.argv[2], cursor=cursor), "role")
        count += len(json.loads(text))
        if cursor is None:
            break
    # Not ru_maxrss: that begins with what the parent had.
    print(count, Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

asyncio.run(main())
"""


def test_sixty_row_groups_take_no_more_memory_than_ten(tmp_path):
    bucket = LocalBucket(tmp_path, "pail")
    peaks = []
    for groups in (10, 60):
        key = f"{groups}.parquet"
        sink = arrow.BufferOutputStream()
        table = arrow.table({"id": list(range(10_000)), "name": [f"name {n}" for n in range(10_000)]})
        with parquet.ParquetWriter(sink, table.schema) as writer:
            for _ in range(groups):
                writer.write_table(table)
        bucket.put(key, sink.getvalue().to_pybytes())
        done = subprocess.run(
            [sys.executable, "-c", MILLION, str(tmp_path), key], capture_output=True, text=True, check=True
        )
        count, peak = map(int, done.stdout.split())
        assert count == groups * 10_000
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 20_000, "kilobytes"
