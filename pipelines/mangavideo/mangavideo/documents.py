"""JSON objects in the bucket: manifests, script, checkpoint, upload session."""

from __future__ import annotations

import json
from typing import Any

from stepwell.toolkit.errors import ObjectNotFound
from stepwell.toolkit.objects import Bucket


def load(bucket: Bucket, key: str) -> dict[str, Any] | None:
    """The document under a key, None when there is none."""
    try:
        document = json.loads(bucket.get(key))
    except ObjectNotFound:
        return None
    if not isinstance(document, dict):
        raise ValueError(f"{key} holds no JSON object")
    return document


def save(bucket: Bucket, key: str, document: dict[str, Any]) -> None:
    """Write a document."""
    bucket.put(key, json.dumps(document, ensure_ascii=False).encode(), content_type="application/json")
