"""Artifacts: a closed Chroma directory in the object store, valid once its MANIFEST is there.

The files lie under `{prefix}data-{8 hex}/`, a new one for each attempt; `{prefix}MANIFEST.json` is written last and lists them with
their sizes and hashes. So a reader sees all of an attempt or nothing of it, and what an interrupted attempt left does no harm.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from embeddings.entities import Entity
from embeddings.errors import MissingArtifact
from embeddings.keys import now_iso
from embeddings.payloads import store
from stepwell.toolkit.errors import ObjectNotFound
from stepwell.toolkit.objects import Bucket

MANIFEST = "MANIFEST.json"


def upload(
    bucket: Bucket,
    prefix: str,
    directory: Path,
    entity: Entity,
    *,
    kind: str,
    count: int,
    run_id: str,
    source_deltas: Iterable[str],
    batch_ids: Iterable[str] = (),
) -> None:
    """Copy a closed directory. `prefix` ends in a slash; `kind` is "delta" or "intermediate"."""
    root = f"data-{secrets.token_hex(4)}/"
    files = []
    for path in sorted(found for found in directory.rglob("*") if found.is_file()):
        name = path.relative_to(directory).as_posix()
        bucket.upload_file(path, f"{prefix}{root}{name}")
        files.append({"path": name, "size": path.stat().st_size, "sha256": digest(path)})
    manifest = {
        "format": 1,
        "kind": kind,
        "root": root,
        "database": entity.database,
        "format_version": entity.format_version,
        "collections": {entity.database: count},
        "files": files,
        "source_deltas": list(source_deltas),
        "run_id": run_id,
        "batch_ids": list(batch_ids),
        "created_at": now_iso(),
    }
    store(bucket, prefix + MANIFEST, manifest)


def manifest(bucket: Bucket, prefix: str) -> dict[str, Any]:
    """The MANIFEST of an artifact. Raises MissingArtifact."""
    try:
        found = json.loads(bucket.get(prefix + MANIFEST))
    except ObjectNotFound:
        raise MissingArtifact(f"there is no artifact {prefix} in {bucket.name}: it has no {MANIFEST}") from None
    except ValueError as error:
        raise MissingArtifact(f"{prefix}{MANIFEST} in {bucket.name} is not JSON: {error}") from None
    if not isinstance(found, dict) or found.get("format") != 1:
        raise MissingArtifact(f"{prefix}{MANIFEST} in {bucket.name} is not of a format this program reads")
    return found


def download(bucket: Bucket, prefix: str, target: Path) -> dict[str, Any]:
    """Fetch exactly the listed files into an empty directory and verify them; the MANIFEST. Raises MissingArtifact."""
    found = manifest(bucket, prefix)
    for entry in found["files"]:
        path = target / entry["path"]
        if Path(entry["path"]).is_absolute() or ".." in Path(entry["path"]).parts:
            raise MissingArtifact(f"{prefix}: the file name {entry['path']!r} leads outside")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            bucket.download_file(f"{prefix}{found['root']}{entry['path']}", path)
        except ObjectNotFound:
            raise MissingArtifact(f"{prefix}: {entry['path']} is listed and not there") from None
        if path.stat().st_size != entry["size"] or digest(path) != entry["sha256"]:
            raise MissingArtifact(f"{prefix}: {entry['path']} is not what was uploaded")
    return found


def remove(bucket: Bucket, prefix: str) -> int:
    """Delete everything below a prefix, MANIFEST first, so that no reader finds half of it; how many objects."""
    keys = sorted((found.key for found in bucket.list(prefix)), key=lambda key: not key.endswith(MANIFEST))
    for start in range(0, len(keys), 1000):
        bucket.delete_many(keys[start : start + 1000])
    return len(keys)


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
