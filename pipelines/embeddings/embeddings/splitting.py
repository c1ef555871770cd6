"""Between polling and merging: collect the polls' results, cut them into chunks, chunks into groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embeddings.entities import Entity
from embeddings.errors import AllPollsFailed, ContractViolation
from embeddings.payloads import checked, load, optional, required, run_id, size, store
from embeddings.services import Services

PUBLISHING = ("process_results", "process_partial")


def normalize(services: Services, event: Mapping[str, Any]) -> dict[str, Any]:
    """All full results of a run in one object. Raises AllPollsFailed when there is not one; a missing result raises too."""
    run = run_id(event)
    references = optional(event, "poll_results", list, [])
    full: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for reference in references or []:
        if not isinstance(reference, Mapping):
            raise ContractViolation(f"a poll result is {type(reference).__name__}, not an object")
        if reference.get("action") == "poll_error":
            errors.append(dict(reference))
        else:
            full.append(load(services.work, required(reference, "result_s3_key", str), dict))
    if errors and not full:
        raise AllPollsFailed(f"all {len(errors)} polls failed, the first with: {errors[0].get('error')}")
    full.sort(key=lambda result: (str(result.get("submitted_at") or ""), str(result["batch_id"])))
    key = f"poll_results/{run}/poll_results.json"
    store(services.vectors, key, full + errors)
    return {
        "batch_id": run,
        "poll_results": None,
        "poll_results_s3_key": key,
        "poll_results_s3_bucket": services.vectors.name,
        "total_results": len(full) + len(errors),
        "delta_count": len(deltas(full)),
    }


def poll_results(services: Services, event: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The inline list if it is a non-empty one, else the file's; None when there is neither."""
    inline = optional(event, "poll_results", list)
    if inline:
        return inline
    key = optional(event, "poll_results_s3_key", str)
    if not key:
        return inline
    return load(services.vectors, key, list)


def deltas(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results that have something to publish, in their order."""
    return [result for result in results if result.get("delta_key") and result.get("action") in PUBLISHING]


def split(services: Services, entity: Entity, event: Mapping[str, Any]) -> dict[str, Any]:
    """Chunks of 10 deltas each, inline up to 153,600 bytes."""
    run = run_id(event)
    results = poll_results(services, event)
    if results is None:
        raise ContractViolation("there are no poll results, neither inline nor as a file")
    found = deltas(results)
    for result in found:
        if result.get("collection") != entity.database:
            raise ContractViolation(
                f"delta {result['delta_key']} is of {result.get('collection')!r}, not {entity.database!r}"
            )
    width = services.settings.chunk_size
    chunks = [
        {
            "chunk_index": index,
            "batch_id": run,
            "operation": "process_chunk",
            "delta_results": [
                {
                    name: result.get(name)
                    for name in ("delta_key", "delta_id", "batch_id", "collection", "embedding_count")
                }
                for result in found[start : start + width]
            ],
        }
        for index, start in enumerate(range(0, len(found), width))
    ]
    answer: dict[str, Any] = {"batch_id": run, "chunks": chunks, "total_chunks": len(chunks)}
    offload = size(answer) > services.settings.inline_limit
    answer |= {
        "use_s3": offload,
        "chunks_s3_key": None,
        "chunks_s3_bucket": None,
        "poll_results_s3_key": optional(event, "poll_results_s3_key", str),
        "poll_results_s3_bucket": optional(event, "poll_results_s3_bucket", str),
    }
    if offload:
        key = f"chunks/{run}/chunks.json"
        store(services.vectors, key, chunks)
        answer |= {"chunks": [], "chunks_s3_key": key, "chunks_s3_bucket": services.vectors.name}
    return checked(answer)


def load_chunks(services: Services, event: Mapping[str, Any]) -> dict[str, Any]:
    """Index entries for chunks that lie in the object store: each worker fetches its own."""
    run = run_id(event)
    key = required(event, "chunks_s3_key", str)
    chunks = load(services.vectors, key, list)
    entries = [
        {
            "chunk_index": index,
            "batch_id": run,
            "operation": "process_chunk",
            "chunks_s3_key": key,
            "chunks_s3_bucket": services.vectors.name,
            "delta_results": None,
        }
        for index in range(len(chunks))
    ]
    return checked(
        {
            "batch_id": run,
            "chunks": entries,
            "total_chunks": len(entries),
            "use_s3": True,
            "chunks_s3_key": key,
            "chunks_s3_bucket": services.vectors.name,
            "poll_results_s3_key": optional(event, "poll_results_s3_key", str),
            "poll_results_s3_bucket": optional(event, "poll_results_s3_bucket", str),
        }
    )


def create_groups(services: Services, event: Mapping[str, Any]) -> dict[str, Any]:
    """Groups of 10 intermediates each, always as a file."""
    run = run_id(event)
    results = required(event, "chunk_results", list)
    width = optional(event, "group_size", int, services.settings.group_size)
    assert width is not None
    if width < 1:
        raise ContractViolation(f"group_size is {width}")
    for result in results:
        if not isinstance(result, Mapping) or not isinstance(result.get("intermediate_key"), str):
            raise ContractViolation(f"a chunk's result has no intermediate_key: {str(result)[:200]}")
    ordered = sorted(results, key=lambda result: int(result.get("chunk_index") or 0))
    members = [{"intermediate_key": result["intermediate_key"]} for result in ordered]
    groups = [members[start : start + width] for start in range(0, len(members), width)]
    key = f"chunk_groups/{run}/groups.json"
    store(services.vectors, key, groups)
    inline = optional(event, "poll_results", list)
    passed = {
        "poll_results": inline,
        "poll_results_s3_key": optional(event, "poll_results_s3_key", str),
        "poll_results_s3_bucket": optional(event, "poll_results_s3_bucket", str),
    }
    if inline is not None and size(inline) > services.settings.poll_inline_limit:
        file = f"chunk_groups/{run}/poll_results.json"
        store(services.vectors, file, inline)
        passed = {"poll_results": None, "poll_results_s3_key": file, "poll_results_s3_bucket": services.vectors.name}
    return checked(
        {
            "batch_id": run,
            "groups": [],
            "groups_s3_key": key,
            "groups_s3_bucket": services.vectors.name,
            "total_groups": len(groups),
            "use_s3": True,
            **passed,
        }
    )


def load_groups(services: Services, event: Mapping[str, Any]) -> dict[str, Any]:
    """Index entries for the groups."""
    run = run_id(event)
    key = required(event, "groups_s3_key", str)
    groups = load(services.vectors, key, list)
    entries = [
        {
            "group_index": index,
            "batch_id": run,
            "groups_s3_key": key,
            "groups_s3_bucket": services.vectors.name,
            "chunk_group": None,
        }
        for index in range(len(groups))
    ]
    return checked(
        {
            "batch_id": run,
            "groups": entries,
            "groups_s3_key": key,
            "groups_s3_bucket": services.vectors.name,
            "total_groups": len(entries),
            "use_s3": True,
            "poll_results": optional(event, "poll_results", list),
            "poll_results_s3_key": optional(event, "poll_results_s3_key", str),
            "poll_results_s3_bucket": optional(event, "poll_results_s3_bucket", str),
        }
    )
