"""Offload, over both buckets."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from stepwell.toolkit.errors import ObjectNotFound, StorageError
from stepwell.toolkit.objects import Bucket
from stepwell.toolkit.offload import Offload, is_reference, size

from .conftest import MakeResources


@pytest.fixture
def bucket(make_resources: MakeResources) -> Bucket:
    return make_resources({"buckets": {"work": {}}}).bucket("work")


def value_of(length: int) -> list[str]:
    value = ["x" * (length - 4)]
    assert size(value) == length
    return value


@pytest.mark.parametrize(("length", "inline"), [(153_599, True), (153_600, True), (153_601, False)])
def test_threshold(bucket: Bucket, length: int, inline: bool) -> None:
    box = Offload(bucket)
    value = value_of(length)
    packed = box.pack(value, "runs/r1/chunks.json")
    assert (packed is value) == inline
    assert is_reference(packed) != inline
    assert box.unpack(packed) == value
    assert bucket.exists("runs/r1/chunks.json") != inline


def test_length_is_in_bytes_of_utf8(bucket: Bucket) -> None:
    assert size("é") == 4
    box = Offload(bucket, limit=10)
    assert not is_reference(box.pack("éééé", "k"))
    assert is_reference(box.pack("ééééé", "k"))


def test_reference(bucket: Bucket) -> None:
    box = Offload(bucket)
    reference = box.store({"a": [1, None]}, "poll_results/" + "r" * 150 + "/b.json")
    assert reference["offloaded"]["bucket"] == bucket.name
    assert reference["offloaded"]["size"] == 14
    assert len(orjson.dumps(reference)) <= 400
    assert box.load(reference) == {"a": [1, None]}
    assert bucket.head("poll_results/" + "r" * 150 + "/b.json").content_type == "application/json"


@pytest.mark.parametrize("value", [None, [], {}, 0, "text", {"offloaded": 1}, {"offloaded": {}, "more": 1}])
def test_what_is_no_reference_passes(bucket: Bucket, value: Any) -> None:
    assert Offload(bucket).unpack(value) == value
    assert Offload(bucket).pack(value, "k") == value


def test_refusals(bucket: Bucket) -> None:
    box = Offload(bucket, limit=10)
    with pytest.raises(ValueError, match="reference"):
        Offload(bucket).pack({"offloaded": {}}, "k")
    reference = box.pack("x" * 100, "k")
    bucket.put("k", b'"something else"')
    with pytest.raises(StorageError, match="overwritten"):
        box.unpack(reference)
    bucket.delete("k")
    with pytest.raises(ObjectNotFound):
        box.unpack(reference)
    reference["offloaded"]["bucket"] = "elsewhere"
    with pytest.raises(StorageError, match="elsewhere"):
        box.unpack(reference)
