"""Merging deltas into chunks and chunks into groups: in order, the later one wins, nothing is left out."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from embeddings import artifacts
from embeddings.entities import Entity
from embeddings.errors import ContractViolation
from embeddings.payloads import load, optional, required, run_id
from embeddings.services import Services
from embeddings.vectors import Store, opened


def process_chunk(services: Services, entity: Entity, event: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the deltas of one chunk into an intermediate. One delta that cannot be read fails the chunk."""
    run = run_id(event)
    index = required(event, "chunk_index", int)
    results = optional(event, "delta_results", list)
    if results is None:
        results = _slice(services, event, "chunks_s3_key", index).get("delta_results")
    if not isinstance(results, list) or not results:
        raise ContractViolation(f"chunk {index} has no deltas")
    keys = []
    for result in results:
        key = required(result, "delta_key", str) if isinstance(result, Mapping) else ""
        if not key.startswith(entity.delta_prefix) or not key.endswith("/") or key == entity.delta_prefix:
            raise ContractViolation(f"{key!r} is not the key of a delta: it must be {entity.delta_prefix}ID/")
        keys.append(key)
    prefix = f"intermediate/{run}/chunk-{index}/"
    count, _ = _merge(services, entity, keys, prefix, run)
    return {"intermediate_key": prefix, "total_embeddings": count, "delta_count": len(keys), "chunk_index": index}


def merge_group(services: Services, entity: Entity, event: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the intermediates of one group into a larger one."""
    run = run_id(event)
    index = required(event, "group_index", int)
    group: Any = optional(event, "chunk_group", list)
    if group is None:
        group = _slice(services, event, "groups_s3_key", index)
    keys: list[Any] = [member.get("intermediate_key") if isinstance(member, Mapping) else member for member in group]
    if not keys or not all(isinstance(key, str) and key.endswith("/") for key in keys):
        raise ContractViolation(f"group {index} must be a non-empty list of intermediate keys")
    prefix = f"intermediate/{run}-group-{index}/merged/"
    count, _ = _merge(services, entity, keys, prefix, run)
    return {"intermediate_key": prefix, "group_index": index, "total_embeddings": count, "source_count": len(keys)}


def fetch(services: Services, entity: Entity, prefix: str, target: Path) -> dict[str, Any]:
    """Download an artifact of this entity; its MANIFEST. Raises MissingArtifact, ContractViolation for another format."""
    manifest = artifacts.download(services.vectors, prefix, target)
    if manifest["format_version"] != entity.format_version:
        raise ContractViolation(
            f"{prefix} is of format {manifest['format_version']!r}; {entity.database} hold {entity.format_version!r}"
        )
    return manifest


def copy_pages(services: Services, source: Store, target: Store) -> None:
    """All records of one collection into another, replacing what is there."""
    for page in source.pages(services.settings.vector_page):
        services.clock.check()
        target.replace_page(page)


def _merge(services: Services, entity: Entity, keys: Sequence[str], prefix: str, run: str) -> tuple[int, list[str]]:
    """Each source is fetched, merged and deleted before the next: memory and disk stay bounded."""
    sources: dict[str, None] = {}
    batch_ids: dict[str, None] = {}
    with tempfile.TemporaryDirectory(prefix="merge-") as folder:
        path = Path(folder) / "merged"
        with opened(path) as directory:
            target = directory.ensure(entity.database, services.settings.vector_space)
            for number, key in enumerate(keys):
                services.clock.check()
                source = Path(folder) / f"source-{number}"
                manifest = fetch(services, entity, key, source)
                with opened(source) as origin:
                    copy_pages(services, origin.only(), target)
                shutil.rmtree(source)
                sources.update(dict.fromkeys(manifest["source_deltas"]))
                batch_ids.update(dict.fromkeys(manifest["batch_ids"]))
            count = target.count()
        artifacts.upload(
            services.vectors,
            prefix,
            path,
            entity,
            kind="intermediate",
            count=count,
            run_id=run,
            source_deltas=sources,
            batch_ids=batch_ids,
        )
    return count, list(sources)


def _slice(services: Services, event: Mapping[str, Any], name: str, index: int) -> Any:
    key = optional(event, name, str)
    if not key:
        raise ContractViolation(f"neither a list nor {name} was given")
    entries = load(services.vectors, key, list)
    if not 0 <= index < len(entries):
        raise ContractViolation(f"{key} has {len(entries)} entries; there is no number {index}")
    return entries[index]
