"""What the tests of merging start from: deltas made by hand, and stores in which something happens at a chosen moment."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from embeddings.entities import entity_named
from embeddings.payloads import store
from embeddings.vectors import Page, opened

from embeddings import artifacts

WORDS = entity_named("word")


def vector(seed: int) -> list[float]:
    found = np.random.default_rng(seed).normal(size=256)
    return [float(x) for x in (found / np.linalg.norm(found)).astype(np.float32)]


def delta(pipeline: Any, records: Mapping[str, Mapping[str, Any]], *, seed: int = 0) -> str:
    """A delta of records by id; its key. Vectors follow from the seed and the id."""
    key = f"{WORDS.delta_prefix}{uuid.uuid4().hex}/"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "delta"
        with opened(path) as directory:
            page = Page(
                list(records),
                np.array([vector(seed + sum(one.encode())) for one in records], dtype=np.float32),
                [str(metadata.get("text", one)) for one, metadata in records.items()],
                [dict(metadata) for metadata in records.values()],
            )
            directory.ensure("words", "l2").replace_page(page)
        artifacts.upload(
            pipeline.vectors,
            key,
            path,
            WORDS,
            kind="delta",
            count=len(records),
            run_id="by-hand",
            source_deltas=[key],
            batch_ids=["b"],
        )
    return key


def plain(*ids: str, **metadata: Any) -> dict[str, dict[str, Any]]:
    return {one: {"text": one, **metadata} for one in ids}


def chunk(pipeline: Any, run: str, index: int, keys: Sequence[str]) -> dict[str, Any]:
    results = [{"delta_key": key, "collection": "words"} for key in keys]
    return pipeline.call(
        "vector-compact",
        operation="process_chunk",
        batch_id=run,
        chunk_index=index,
        delta_results=results,
        database="words",
    )


def polled(pipeline: Any, run: str, keys: Sequence[str]) -> dict[str, str]:
    """The poll results of a run whose deltas these are."""
    results = [
        {
            "batch_id": f"b{n}",
            "delta_key": key,
            "action": "process_results",
            "collection": "words",
            "embedded_items": [],
        }
        for n, key in enumerate(keys)
    ]
    key = f"poll_results/{run}/poll_results.json"
    store(pipeline.vectors, key, results)
    return {"poll_results_s3_key": key, "poll_results_s3_bucket": pipeline.vectors.name}


def final_event(
    pipeline: Any, run: str, keys: Sequence[str], *, chunks: Sequence[Sequence[str]] | None = None
) -> dict[str, Any]:
    """The event of FinalMerge for deltas, chunked (all in one by default)."""
    made = [chunk(pipeline, run, index, some) for index, some in enumerate(chunks or [keys])]
    return {
        "operation": "final_merge",
        "batch_id": run,
        "database": "words",
        "chunk_results": made,
        "poll_results": None,
        **polled(pipeline, run, keys),
    }


def merge(pipeline: Any, run: str, keys: Sequence[str]) -> dict[str, Any]:
    """Chunk and publish."""
    return pipeline.call("vector-compact", **final_event(pipeline, run, keys))


class Watched:
    """A bucket or table that calls `before(method, args)` first; what that raises stops the call, as a kill would."""

    def __init__(self, inner: Any, before: Callable[[str, tuple[Any, ...]], None]) -> None:
        self._inner = inner
        self._before = before

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def called(*args: Any, **options: Any) -> Any:
            self._before(name, args)
            return found(*args, **options)

        return called


class Killed(BaseException):
    """Stands for the end of the process: nothing but the operating system's cleanup follows."""
