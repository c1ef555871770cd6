"""Many runs and many vectors: two runs at once, and 300 batches with 60,000 vectors."""

import time

import numpy as np
import pytest
from openai_api import embed
from receiptbook import words_receipt


async def test_two_runs_at_once_end_in_one_snapshot(pipeline, api, tmp_path):
    pipeline.seed(*(words_receipt(n, 20) for n in range(4)))
    await pipeline.submit()
    runs = await pipeline.run_all([("word-embedding-ingest", None, name) for name in ("one", "two")])
    assert [run.status for run in runs] == ["SUCCEEDED", "SUCCEEDED"], [run.cause for run in runs]
    assert len(pipeline.published(tmp_path)) == 80
    assert pipeline.states() == {"SUCCESS": 80} and pipeline.summary_states() == {"COMPLETED": 4}
    marked = [run.output["mark_complete_result"]["items_marked"] for run in runs]
    assert sum(marked) == 80
    assert sum(run.output["mark_complete_result"]["batches_marked"] for run in runs) == 4


@pytest.mark.slow
async def test_300_batches_of_200_words(make, api, tmp_path, capsys):
    """60,000 vectors through the real machines: every one of them is published, and equals what the model gives."""
    pipeline = make(MAX_RECEIPTS_PER_RUN=300)
    took = {}

    async def timed(name, work):
        began = time.perf_counter()
        result = await work
        took[name] = time.perf_counter() - began
        return result

    pipeline.seed(*(words_receipt(n, 200) for n in range(300)))
    await timed("submit", pipeline.submit())
    run = await timed("ingest", pipeline.ingest(max_batches=0))
    assert run.visited.count("PollBatch") == 300
    assert run.visited.count("ProcessChunk") == 30 and run.visited.count("MergeChunkGroup") == 3
    assert max(run.sizes().values()) <= 204_800
    final = run.output["final_merge_result"]
    assert final["total_embeddings"] == final["snapshot_count"] == 60_000
    assert run.output["mark_complete_result"]["items_marked"] == 60_000
    published, asked = pipeline.published(tmp_path), pipeline.expected_vectors()
    assert published.keys() == asked.keys() and len(published) == 60_000
    ids = list(published)
    found = np.array([published[one][0] for one in ids], dtype=np.float32)
    np.testing.assert_allclose(found, embed([str(asked[one]) for one in ids], 256), atol=1e-6)
    assert pipeline.states() == {"SUCCESS": 60_000} and pipeline.summary_states() == {"COMPLETED": 300}
    with capsys.disabled():
        print(
            f"\n300 batches, 60,000 vectors: submit {took['submit']:.0f} s, ingest {took['ingest']:.0f} s, of which the final merge "
            f"{final['processing_time_seconds']:.0f} s ({60_000 / final['processing_time_seconds']:.0f} vectors/s)"
        )
