"""Embeddings: throughput of the final merge against a plain Chroma upsert of the same data in one process.

    python -m benchmarks.embeddings_merge [--vectors 20000] [--dimensions 256] [--rounds 3]

Both start with no snapshot and the same records, and are measured in vectors a second of CPU and wall time; the order alternates. The plain
side opens a directory, upserts pages of 1,000 and closes it. The merge does all that FinalMerge does: fetch and verify the inputs, check
the coverage, take the lock, apply, pack, upload, read back and verify, move the pointer, clean up.
The goal is 0.8 of the plain side.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).parent.parent / "pipelines" / "embeddings"
sys.path.insert(0, str(PROJECT))

from embeddings.entities import entity_named  # noqa: E402
from embeddings.payloads import store  # noqa: E402
from embeddings.services import Services  # noqa: E402
from embeddings.vectors import Page, opened  # noqa: E402

from embeddings import artifacts, publishing  # noqa: E402
from stepwell.project import load_project  # noqa: E402

WORDS = entity_named("word")
PAGE = 1000
GROUPS = 6


def pages(count: int, dimensions: int) -> Iterator[Page]:
    """Records as the pipeline writes them."""
    random = np.random.default_rng(7)
    for start in range(0, count, PAGE):
        size = min(PAGE, count - start)
        matrix = random.normal(size=(size, dimensions)).astype(np.float32)
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        ids = [
            f"IMAGE#11111111-2222-4333-8444-555555555555#RECEIPT#{(start + n) // 200:05d}#LINE#{n:05d}#WORD#{start + n:05d}"
            for n in range(size)
        ]
        metadata = [
            {
                "image_id": "11111111-2222-4333-8444-555555555555",
                "receipt_id": (start + n) // 200,
                "line_id": n,
                "word_id": start + n,
                "text": "MILK",
                "x": 0.5,
                "y": 0.5,
                "width": 0.1,
                "height": 0.02,
                "confidence": 0.97,
                "left": "OAT",
                "right": "<EDGE>",
                "merchant_name": "Corner Market",
                "source": "openai_embedding_batch",
                "label_status": "validated",
                "valid_labels_array": ["PRODUCT_NAME"],
                "format_version": "ctx2-v2",
                "batch_id": "7d9a3c1e-0000-5000-8000-000000000001",
            }
            for n in range(size)
        ]
        yield Page(ids, matrix, ["MILK"] * size, metadata)  # type: ignore[arg-type]


def plain(count: int, dimensions: int) -> tuple[float, float]:
    """CPU and wall seconds of a plain upsert."""
    data = list(pages(count, dimensions))
    with tempfile.TemporaryDirectory() as folder:
        cpu, wall = time.process_time(), time.perf_counter()
        import chromadb
        from chromadb.config import Settings

        client = chromadb.PersistentClient(path=folder, settings=Settings(anonymized_telemetry=False))
        collection = client.create_collection("words", embedding_function=None, configuration={"hnsw": {"space": "l2"}})
        for page in data:
            collection.upsert(
                ids=page.ids, embeddings=page.embeddings, documents=page.documents, metadatas=page.metadatas
            )
        assert collection.count() == count
        client.close()
        return time.process_time() - cpu, time.perf_counter() - wall


def merge(count: int, dimensions: int) -> tuple[float, float]:
    """CPU and wall seconds of a final merge of the same records, in six intermediates."""
    with tempfile.TemporaryDirectory() as folder:
        variables = next(iter(load_project(PROJECT).functions.values())).environment
        os.environ |= {**variables, "STEPWELL_DATA": folder, "OPENAI_API_KEY": "unused"}
        services = Services.from_environment()
        run, data = uuid.uuid4().hex, list(pages(count, dimensions))
        results, polled = [], []
        for index in range(GROUPS):
            source = f"{WORDS.delta_prefix}{index:032x}/"
            some = data[index::GROUPS]
            key = f"intermediate/{run}-group-{index}/merged/"
            with tempfile.TemporaryDirectory() as local:
                path = Path(local) / "group"
                with opened(path) as directory:
                    target = directory.ensure("words", "l2")
                    for page in some:
                        target.replace_page(page, known=set())
                total = sum(len(page.ids) for page in some)
                artifacts.upload(
                    services.vectors,
                    key,
                    path,
                    WORDS,
                    kind="intermediate",
                    count=total,
                    run_id=run,
                    source_deltas=[source],
                )
            results.append({"intermediate_key": key})
            polled.append({"delta_key": source, "action": "process_results"})
        store(services.vectors, "poll_results.json", polled)
        event = {"batch_id": run, "chunk_results": results, "poll_results_s3_key": "poll_results.json"}
        cpu, wall = time.process_time(), time.perf_counter()
        answer = publishing.final_merge(services, WORDS, event)
        assert answer["snapshot_count"] == count
        return time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    """Print both sides and their ratio."""
    parser = argparse.ArgumentParser(description="Final merge against a plain Chroma upsert.")
    parser.add_argument("--vectors", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    plain(1000, options.dimensions)  # imports, caches
    measured: dict[str, list[tuple[float, float]]] = {"plain": [], "merge": []}
    for number in range(options.rounds):
        sides = [("plain", plain), ("merge", merge)]
        for name, side in sides if number % 2 == 0 else reversed(sides):
            measured[name].append(side(options.vectors, options.dimensions))
    print(f"{options.vectors} vectors of {options.dimensions} dimensions, {options.rounds} rounds, medians")
    rates = {}
    for name, times in measured.items():
        cpu, wall = (options.vectors / statistics.median(column) for column in zip(*times, strict=True))
        rates[name] = cpu, wall
        print(f"  {name:6} {cpu:8.0f} vectors per CPU second   {wall:8.0f} vectors per second")
    ratios = [merged / upserted for merged, upserted in zip(rates["merge"], rates["plain"], strict=True)]
    print(f"  merge / plain: {ratios[0]:.2f} by CPU, {ratios[1]:.2f} by wall time (goal: 0.80)")


if __name__ == "__main__":
    main()
