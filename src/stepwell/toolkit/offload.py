"""Offload: values too large for a state's payload travel as a reference to an object.

box = Offload(bucket, limit=153_600)
output = box.pack(value, key=f"runs/{run_id}/chunks.json")      # the value, or {"offloaded": {...}}
value = box.unpack(event["chunks"])
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

import orjson

from stepwell.toolkit.errors import StorageError
from stepwell.toolkit.objects import Bucket

DEFAULT_LIMIT: Final = 153_600
"""150 KB: leaves room in the 262,144 bytes that a state may pass on."""
MARK: Final = "offloaded"


def size(value: Any) -> int:
    """The UTF-8 length in bytes of the value's JSON without spaces, as it counts towards a payload limit."""
    return len(_encode(value))


class Offload:
    """Packs values above `limit` bytes (strictly above: a value of exactly `limit` bytes stays inline)."""

    def __init__(self, bucket: Bucket, *, limit: int = DEFAULT_LIMIT) -> None:
        self.bucket = bucket
        self.limit = limit

    def pack(self, value: Any, key: str) -> Any:
        """The value itself, or the reference of the object it was written to."""
        data = _encode(value)
        if len(data) > self.limit:
            return self._store(data, key)
        if is_reference(value):
            raise ValueError(f"a value that is itself {{'{MARK}': ...}} cannot be told from a reference")
        return value

    def store(self, value: Any, key: str) -> dict[str, Any]:
        """Write the value whatever its size; returns the reference (below 400 bytes for keys below 200)."""
        return self._store(_encode(value), key)

    def unpack(self, value: Any) -> Any:
        """The value behind a reference, or the value itself.

        Raises `ObjectNotFound`, and `StorageError` when the object is not the one that was stored.
        """
        return self.load(value) if is_reference(value) else value

    def load(self, reference: Mapping[str, Any]) -> Any:
        """The value behind a reference made by `store` or `pack`."""
        found = reference[MARK]
        if found["bucket"] != self.bucket.name:
            raise StorageError(f"the reference points into bucket {found['bucket']!r}, not {self.bucket.name!r}")
        data = self.bucket.get(found["key"])
        if hashlib.sha256(data).hexdigest() != found["sha256"]:
            raise StorageError(
                f"object {found['key']!r} in {self.bucket.name!r} was overwritten since it was offloaded"
            )
        return orjson.loads(data)

    def _store(self, data: bytes, key: str) -> dict[str, Any]:
        self.bucket.put(key, data, content_type="application/json")
        digest = hashlib.sha256(data).hexdigest()
        return {MARK: {"bucket": self.bucket.name, "key": key, "size": len(data), "sha256": digest}}


def is_reference(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether a value is a reference made by `Offload`."""
    return isinstance(value, Mapping) and value.keys() == {MARK} and isinstance(value[MARK], Mapping)


def _encode(value: Any) -> bytes:
    return orjson.dumps(value)
