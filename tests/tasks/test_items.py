"""ItemReader: pages of items from S3 and from local buckets."""

import csv
import gzip
import io
import json
import random
import resource

import pytest

from stepwell.interpreter.effects import ReadItems
from stepwell.tasks import TaskError
from stepwell.tasks.item_formats import array_items, csv_rows
from stepwell.tasks.items import Items
from stepwell.toolkit.objects.local import LocalBucket

from .conftest import ACCOUNT, REGION

MAP_RUN = f"arn:aws:states:{REGION}:{ACCOUNT}:mapRun:machine/label:0c3f"


class Local:
    def __init__(self, directory):
        self.bucket = LocalBucket(directory, "pail")
        self.items = Items(data=directory)

    def put(self, key, data):
        self.bucket.put(key, data)


class S3:
    def __init__(self, client, aws):
        self.client = client
        self.items = Items(aws=aws)
        client.create_bucket(Bucket="pail")

    def put(self, key, data):
        self.client.put_object(Bucket="pail", Key=key, Body=data)


@pytest.fixture(params=["local", "s3"])
def store(request, tmp_path):
    if request.param == "local":
        yield Local(tmp_path)
        return
    client = request.getfixturevalue("boto")("s3")
    yield S3(client, request.getfixturevalue("aws"))
    for item in client.list_objects_v2(Bucket="pail").get("Contents", []):
        client.delete_object(Bucket="pail", Key=item["Key"])
    client.delete_bucket(Bucket="pail")


def reading(config, *, action="getObject", limit=1000, cursor=None, **parameters):
    reader = {
        "Resource": f"arn:aws:states:::s3:{action}",
        "Parameters": {"Bucket": "pail", **parameters},
        "ReaderConfig": config,
    }
    return ReadItems(1, MAP_RUN, reader, cursor, limit)


async def pages(store, config, *, limit=1000, **more):
    cursor, found = None, []
    while True:
        text, cursor, _ = await store.items.read(reading(config, limit=limit, cursor=cursor, **more), "role")
        page = json.loads(text)
        assert len(page) <= limit or more.get("action")
        found.append(page)
        if cursor is None:
            return found


async def everything(store, config, **more):
    return [item for page in await pages(store, config, **more) for item in page]


async def refusal(store, config, **more):
    with pytest.raises(TaskError) as caught:
        await pages(store, config, **more)
    assert caught.value.error == "States.ItemReaderFailed"
    return caught.value.cause


FIRST = {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"}


@pytest.mark.parametrize("limit", [1, 2, 1000])
async def test_csv_as_aws_reads_it(store, limit):
    store.put("f.csv", b"Col1,Col2,Col3\nValue1,Value2,Value3\n,,,\ntrue,1,'HelloWorld'\nNull,None,\n   \n")
    assert await everything(store, FIRST, Key="f.csv", limit=limit) == [
        {"Col1": "Value1", "Col2": "Value2", "Col3": "Value3"},
        {"Col1": "", "Col2": "", "Col3": ""},
        {"Col1": "true", "Col2": "1", "Col3": "'HelloWorld'"},
        {"Col1": "Null", "Col2": "None", "Col3": ""},
        {"Col1": "   ", "Col2": "", "Col3": ""},
    ]


async def test_csv_with_given_headers_delimiters_quotes_and_no_last_line_end(store):
    store.put("f.csv", '\ufeffa|"b\n""c"|d\r\n\r\n1|2'.encode())
    config = {"InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": ["x", "y"], "CSVDelimiter": "PIPE"}
    assert await everything(store, config, Key="f.csv", limit=1) == [{"x": "a", "y": 'b\n"c'}, {"x": "1", "y": "2"}]
    assert "CSVDelimiter must be one of" in await refusal(store, {**config, "CSVDelimiter": "DOT"}, Key="f.csv")


async def test_headers_that_are_there_twice(store):
    store.put("f.csv", b"a,a\n1,2\n")
    assert await refusal(store, FIRST, Key="f.csv") == "CSV headers cannot contain duplicates."


async def test_json_lines(store):
    store.put("f.jsonl", b'{"a":1}\n\n[2]\n"three"')
    assert await everything(store, {"InputType": "JSONL"}, Key="f.jsonl", limit=2) == [{"a": 1}, [2], "three"]
    store.put("bad.jsonl", b"{\n")
    assert "A line is not valid JSON" in await refusal(store, {"InputType": "JSONL"}, Key="bad.jsonl")


async def test_json(store):
    store.put("f.json", b' [ {"a": "x,]"}, [1, 2], null ] ')
    for limit in (1, 2, 10):
        assert await everything(store, {"InputType": "JSON"}, Key="f.json", limit=limit) == [{"a": "x,]"}, [1, 2], None]
    store.put("object.json", b'{"a": {"items": [1, 2, 3]}}')
    assert await refusal(store, {"InputType": "JSON"}, Key="object.json") == "Attempting to map over non-iterable node."
    pointed = {"InputType": "JSON", "ItemsPointer": "/a/items"}
    assert await everything(store, pointed, Key="object.json", limit=2) == [1, 2, 3]
    store.put("cut.json", b"[1, 2")
    assert "the array does not end" in await refusal(store, {"InputType": "JSON"}, Key="cut.json")


async def test_a_listing(store):
    for name in ("a/2", "a/1", "b/1"):
        store.put(name, b"xyz")
    found = await everything(store, {}, action="listObjectsV2", Prefix="a/")
    assert [item["Key"] for item in found] == ["a/1", "a/2"]
    assert set(found[0]) == {"Etag", "Key", "LastModified", "Size", "StorageClass"}
    assert (found[0]["Etag"], found[0]["Size"]) == ('"d16fb36f0911f878998c136191af705e"', 3)
    assert isinstance(found[0]["LastModified"], int)


async def test_a_listing_with_what_is_in_its_objects(store):
    store.put("d/1.jsonl", b"1\n2\n3\n")
    store.put("d/2.jsonl", b"4\n")
    config = {"InputType": "JSONL", "Transformation": "LOAD_AND_FLATTEN"}
    assert await everything(store, config, action="listObjectsV2", Prefix="d/", limit=2) == [1, 2, 3, 4]


async def test_an_inventory(store):
    store.put("data/1.csv.gz", gzip.compress(b'"pail","a+b%2Fc","12"\n"pail","d","0"\n"pail","e","1"\n'))
    store.put("data/2.csv.gz", gzip.compress(b'"pail","f","2"\n'))
    manifest = {
        "destinationBucket": "arn:aws:s3:::pail",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size",
        "files": [{"key": "data/1.csv.gz"}, {"key": "data/2.csv.gz"}],
    }
    store.put("manifest.json", json.dumps(manifest).encode())
    found = await everything(store, {"InputType": "MANIFEST"}, Key="manifest.json", limit=2)
    assert found[0] == {"Bucket": "pail", "Key": "a b/c", "Size": "12"}
    assert [item["Key"] for item in found] == ["a b/c", "d", "e", "f"]


async def test_athenas_manifest(store):
    store.put("out/1", b'{"n":1}\n')
    store.put("out/2", b'{"n":2}\n')
    store.put("m.csv", b"s3://pail/out/1\ns3://pail/out/2\n")
    config = {"InputType": "JSONL", "ManifestType": "ATHENA_DATA"}
    assert await everything(store, config, Key="m.csv", limit=1) == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize("ending", ["gz", "zst"])
@pytest.mark.parametrize("limit", [2, 1000])
async def test_compressed_files(store, ending, limit):
    if ending == "gz":
        pack = gzip.compress
    else:
        codec = pytest.importorskip("pyarrow").Codec("zstd")

        def pack(data):
            return codec.compress(data, asbytes=True)

    lines = [{"n": n} for n in range(5)]
    store.put(f"f.jsonl.{ending}", pack(b"".join(json.dumps(line).encode() + b"\n" for line in lines)))
    assert await everything(store, {"InputType": "JSONL"}, Key=f"f.jsonl.{ending}", limit=limit) == lines
    store.put(f"f.json.{ending}", pack(json.dumps({"a": {"b": lines}}).encode()))
    config = {"InputType": "JSON", "ItemsPointer": "/a/b"}
    assert await everything(store, config, Key=f"f.json.{ending}", limit=limit) == lines
    store.put(f"f.csv.{ending}", b"no " * 100)
    assert "cannot be unpacked" in await refusal(store, FIRST, Key=f"f.csv.{ending}")


async def test_a_version_of_an_object(boto, aws):
    client = boto("s3")
    client.create_bucket(Bucket="versions")
    client.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    old = client.put_object(Bucket="versions", Key="f.jsonl", Body=b"1\n")["VersionId"]
    client.put_object(Bucket="versions", Key="f.jsonl", Body=b"2\n")
    place = S3.__new__(S3)
    place.items = Items(aws=aws)
    wanted = {"Bucket": "versions", "Key": "f.jsonl"}
    assert await everything(place, {"InputType": "JSONL"}, **wanted) == [2]
    assert await everything(place, {"InputType": "JSONL"}, **wanted, VersionId=old) == [1]
    assert "version" in await refusal(place, {"InputType": "JSONL"}, **wanted, VersionId="none")


async def test_a_local_bucket_keeps_no_versions(tmp_path):
    store = Local(tmp_path)
    store.put("f.jsonl", b"1\n")
    assert "keeps no versions" in await refusal(store, {"InputType": "JSONL"}, Key="f.jsonl", VersionId="1")


async def test_each_item_has_its_source_where_several_objects_are_read(store):
    for name in ("1", "2", "3"):
        store.put(f"in/{name}", f"{name}\n{name}0\n".encode())
    config = {"InputType": "JSONL", "Transformation": "LOAD_AND_FLATTEN"}
    request = reading(config, action="listObjectsV2", Prefix="in/", limit=3)
    text, cursor, sources = await store.items.read(request, "role")
    assert (json.loads(text), sources) == ([1, 10, 2], [(2, "S3://pail/in/1"), (1, "S3://pail/in/2")])
    request = reading(config, action="listObjectsV2", Prefix="in/", limit=9, cursor=cursor)
    assert (await store.items.read(request, "role"))[2] == [(1, "S3://pail/in/2"), (2, "S3://pail/in/3")]
    store.put("m.csv", b"s3://pail/in/3\n")
    request = reading({"InputType": "JSONL", "ManifestType": "ATHENA_DATA"}, Key="m.csv")
    assert (await store.items.read(request, "role"))[2] == [(2, "S3://pail/in/3")]
    request = reading({"InputType": "JSONL"}, Key="in/1")
    assert (await store.items.read(request, "role"))[2] is None


async def test_what_cannot_be_read(store):
    assert "The specified key does not exist." in await refusal(store, FIRST, Key="absent")
    assert "must have the string 'Key'" in await refusal(store, FIRST)


async def test_an_object_that_is_replaced_meanwhile(store):
    store.put("f.jsonl", b"1\n2\n")
    _, cursor, _ = await store.items.read(reading({"InputType": "JSONL"}, Key="f.jsonl", limit=1), "role")
    store.put("f.jsonl", b"8\n9\n")
    with pytest.raises(TaskError, match="was replaced while its items were read"):
        await store.items.read(reading({"InputType": "JSONL"}, Key="f.jsonl", limit=1, cursor=cursor), "role")


async def test_a_million_lines_take_no_more_memory_than_a_thousand(tmp_path):
    store = Local(tmp_path)
    with store.bucket.writer("large.csv") as out:
        out.write(b"id,name\n")
        for start in range(0, 1_000_000, 10_000):
            out.write(b"".join(b"%d,name %d\n" % (n, n) for n in range(start, start + 10_000)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cursor, count, total = None, 0, 0
    while True:
        text, cursor, _ = await store.items.read(reading(FIRST, Key="large.csv", cursor=cursor), "role")
        page = json.loads(text)
        count += len(page)
        total += sum(int(item["id"]) for item in page)
        if cursor is None:
            break
    assert (count, total) == (1_000_000, 999_999 * 500_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000, "kilobytes"


def test_csv_in_windows_of_any_size():
    chance = random.Random(1)
    for _ in range(200):
        rows = [
            ["".join(chance.choice('ab",\n ') for _ in range(chance.randrange(5))) for _ in range(3)] for _ in range(6)
        ]
        text = io.StringIO()
        csv.writer(text, quoting=chance.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])).writerows(rows)
        data = text.getvalue().encode()
        size = chance.randrange(1, 40)
        found, position, window = [], 0, size
        while position < len(data):
            part = data[position : position + window]
            taken, used = csv_rows(part, position + window >= len(data), chance.randrange(1, 4))
            window = size if used else window * 2
            found += taken
            position += used
        assert found == rows


def test_arrays_in_windows_of_any_size():
    chance = random.Random(2)

    def value(depth=0):
        kind = chance.random()
        if depth > 3 or kind < 0.4:
            return chance.choice([1, None, 'a,b]"\\', "é\n", 1.5, True, ""])
        if kind < 0.7:
            return [value(depth + 1) for _ in range(chance.randrange(4))]
        return {chance.choice('ab,"]'): value(depth + 1) for _ in range(chance.randrange(3))}

    for _ in range(200):
        values = [value() for _ in range(chance.randrange(20))]
        data = json.dumps(values, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 1])).encode()
        size = chance.randrange(1, 60)
        found, position, window, inside, ended = [], 0, size, False, False
        while not ended:
            part = data[position : position + window]
            taken, used, ended = array_items(part, position + window >= len(data), 3, inside=inside)
            inside = inside or used > 0
            window = size if used else window * 2
            found += taken
            position += used
        assert found == values
