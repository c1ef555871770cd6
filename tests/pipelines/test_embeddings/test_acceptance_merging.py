"""Acceptance statements 17-22: chunks, groups, payloads, concurrency, what a merge may and may not lose."""

import json
from collections import Counter
from dataclasses import replace

import pytest
from embeddings.errors import ContractViolation, CoverageMismatch, MissingArtifact
from embeddings.payloads import size, store
from embeddings.vectors import opened
from receiptbook import Line, Receipt, image_id, words_receipt

from embeddings import artifacts, merging

from .merging import WORDS, Killed, Watched, chunk, delta, final_event, merge, plain, polled

SMALL = [Line("MILK", 0.1, 0.5)]


# --- 17


@pytest.mark.parametrize(("deltas", "chunks", "groups"), [(0, 0, 0), (41, 5, 1)])
async def test_17_chunks_and_groups(pipeline, tmp_path, deltas, chunks, groups):
    await grouped(pipeline, tmp_path, deltas, chunks, groups)


@pytest.mark.slow
@pytest.mark.parametrize(("deltas", "chunks", "groups"), [(30, 3, 0), (40, 4, 0), (101, 11, 2), (300, 30, 3)])
async def test_17_more_chunks_and_groups(pipeline, tmp_path, deltas, chunks, groups):
    await grouped(pipeline, tmp_path, deltas, chunks, groups)


async def grouped(pipeline, tmp_path, deltas, chunks, groups):
    pipeline.seed(*(Receipt(image_id(n), 1, SMALL) for n in range(deltas)))
    if deltas:
        pipeline.submit_now(max_receipts=deltas)
    run = await pipeline.ingest(max_batches=0)
    if not deltas:
        assert run.visited[-1] == "NoPendingBatches"
        return
    assert run.visited.count("ProcessChunk") == chunks
    assert run.visited.count("MergeChunkGroup") == groups
    assert ("PrepareHierarchicalFinalMerge" in run.visited) == bool(groups)
    assert ("PrepareFinalMerge" in run.visited) == (not groups)
    wanted = {f"IMAGE#{image_id(n)}#RECEIPT#00001#LINE#00001#WORD#00001" for n in range(deltas)}
    assert pipeline.published(tmp_path).keys() == wanted
    assert pipeline.states() == {"SUCCESS": deltas} and pipeline.summary_states() == {"COMPLETED": deltas}
    assert run.concurrency("PollBatches") <= 50
    assert run.concurrency("ProcessChunksInParallel") <= 10
    assert run.concurrency("MergeChunkGroupsInParallel") <= 6
    assert max(run.sizes().values()) <= 204_800


# --- 18, 19: many batches; what the workers do inside is left out, what they say is of the real size


def talkative(pipeline):
    """Handlers for a run of many large batches: polls and merges answer as for 1,000 words each, without the vectors."""

    def poll(event, context):
        merging_batch = event["pending_batches"][event["batch_index"]] if event["pending_batches"] else None
        if merging_batch is None:
            manifest = json.loads(pipeline.work.get(event["manifest_s3_key"]))
            merging_batch = manifest["batches"][event["batch_index"]]
        batch_id, run = merging_batch["batch_id"], event["run_id"]
        image = image_id(event["batch_index"])
        items = [{"image_id": image, "receipt_id": 1, "line_id": n // 4, "word_id": n % 4} for n in range(1000)]
        result = {
            "batch_id": batch_id,
            "openai_batch_id": merging_batch["openai_batch_id"],
            "batch_status": "completed",
            "action": "process_results",
            "results_count": 1000,
            "embedding_count": 1000,
            "delta_id": "d" * 32,
            "delta_key": f"{WORDS.delta_prefix}{event['batch_index']:032x}/",
            "collection": "words",
            "database": "words",
            "submitted_at": f"2030-01-05T08:00:00.{event['batch_index']:06d}+00:00",
            "terminal_status": "COMPLETED",
            "embedded_items": items,
        }
        key = f"poll_results/{run}/{batch_id}.json"
        store(pipeline.work, key, result)
        return {
            "batch_id": batch_id,
            "result_s3_key": key,
            "result_s3_bucket": pipeline.work.name,
            "action": "process_results",
        }

    def compact(event, context):
        run = event["batch_id"]
        if event["operation"] == "process_chunk":
            assert event["delta_results"] is not None or event["chunks_s3_key"]
            index = event["chunk_index"]
            return {
                "intermediate_key": f"intermediate/{run}/chunk-{index}/",
                "total_embeddings": 10_000,
                "delta_count": 10,
                "chunk_index": index,
            }
        if event["operation"] == "merge_chunk_group":
            index = event["group_index"]
            key = f"intermediate/{run}-group-{index}/merged/"
            return {"intermediate_key": key, "group_index": index, "total_embeddings": 100_000, "source_count": 10}
        keys = ("poll_results_s3_key", "poll_results_s3_bucket")
        return {"statusCode": 200, "batch_id": run, "version_id": "v", **{name: event[name] for name in keys}}

    def mark(event, context):
        results = json.loads(pipeline.vectors.get(event["poll_results_s3_key"]))
        return {"batches_marked": len(results), "batch_ids": [r["batch_id"] for r in results][:1000], "items_marked": 0}

    return {"poll-batch": poll, "vector-compact": compact, "mark-batches-complete": mark}


def pending(pipeline, count):
    pipeline.table.batch_write(
        {
            "PK": f"BATCH#7d9a3c1e-0000-5000-8000-{n:012d}",
            "SK": "STATUS",
            "TYPE": "BATCH_SUMMARY",
            "GSI1PK": "STATUS#PENDING",
            "GSI1SK": f"BATCH_TYPE#WORD_EMBEDDING#BATCH_ID#7d9a3c1e-0000-5000-8000-{n:012d}",
            "batch_id": f"7d9a3c1e-0000-5000-8000-{n:012d}",
            "openai_batch_id": f"batch_{n:040d}",
            "submitted_at": "2030-01-05T08:00:00.000000+00:00",
            "status": "PENDING",
        }
        for n in range(count)
    )


async def test_18_no_state_exceeds_its_budget(pipeline):
    pending(pipeline, 250)
    run = await pipeline.run("word-embedding-ingest", replaced=talkative(pipeline))
    assert run.status == "SUCCEEDED", (run.error, run.cause)
    assert run.output["mark_complete_result"]["batches_marked"] == 250
    sizes = run.sizes()
    assert max(sizes.values()) <= 204_800, sizes
    assert sizes["NormalizePollResults"] > 20_000, "the references did pass through"


async def test_19_concurrency_stays_within_its_bounds(pipeline):
    pending(pipeline, 700)
    run = await pipeline.run("word-embedding-ingest", {"max_batches": 0}, replaced=talkative(pipeline))
    assert run.status == "SUCCEEDED", (run.error, run.cause)
    assert run.concurrency("PollBatches") == 40, "an inline Map runs 40 iterations at once, whatever it asks for"
    assert run.concurrency("ProcessChunksInParallel") == 10
    assert run.concurrency("MergeChunkGroupsInParallel") == 6
    assert run.visited.count("ProcessChunk") == 70 and run.visited.count("MergeChunkGroup") == 7
    assert "LoadChunksFromS3" in run.visited, "700 deltas are beyond 150 KB"
    assert max(run.sizes().values()) <= 262_144


# --- the offload thresholds themselves


def test_chunks_travel_inline_up_to_153600_bytes(pipeline):
    def results(total):
        made = [
            {
                "delta_key": f"{WORDS.delta_prefix}{n}/",
                "collection": "words",
                "action": "process_results",
                "delta_id": "x",
            }
            for n in range(20)
        ]

        def answer():
            store(pipeline.vectors, "results.json", made)
            event = {"operation": "split", "batch_id": "r", "database": "words", "poll_results_s3_key": "results.json"}
            return pipeline.call("split-into-chunks", **event, poll_results_s3_bucket="b")

        measured = {key: answer()[key] for key in ("batch_id", "chunks", "total_chunks")}
        made[0]["delta_id"] += "x" * (total - size(measured))
        return answer()

    inline, offloaded = results(153_600), results(153_601)
    assert not inline["use_s3"] and len(inline["chunks"]) == 2 and inline["chunks_s3_key"] is None
    assert offloaded["use_s3"] and offloaded["chunks"] == [] and offloaded["total_chunks"] == 2
    assert inline.keys() == offloaded.keys()
    loaded = pipeline.call("split-into-chunks", **{**offloaded, "operation": "load_chunks_from_s3"})
    assert [entry["chunk_index"] for entry in loaded["chunks"]] == [0, 1]
    assert all(entry["delta_results"] is None for entry in loaded["chunks"])


def test_inline_poll_results_of_groups_up_to_102400_bytes(pipeline):
    def create(total):
        value = [{"x": ""}]
        value[0]["x"] = "y" * (total - size(value))
        return pipeline.call(
            "create-chunk-groups",
            operation="create",
            batch_id="r",
            chunk_results=[{"intermediate_key": f"i/{n}/", "chunk_index": n} for n in reversed(range(11))],
            poll_results=value,
            poll_results_s3_key=None,
        )

    inline, offloaded = create(102_400), create(102_401)
    assert inline["poll_results"] is not None and inline["poll_results_s3_key"] is None
    assert offloaded["poll_results"] is None
    assert offloaded["poll_results_s3_key"] == "chunk_groups/r/poll_results.json"
    assert inline["use_s3"] and inline["groups"] == [] and inline["total_groups"] == 2
    groups = json.loads(pipeline.vectors.get(inline["groups_s3_key"]))
    assert [len(group) for group in groups] == [10, 1] and groups[0][0] == {"intermediate_key": "i/0/"}


async def test_chunks_in_the_object_store_end_in_the_same_snapshot(make, tmp_path):
    pipeline = make(INLINE_LIMIT=500, CHUNK_SIZE=1, MANIFEST_MAX_INLINE=1)
    pipeline.seed(*(words_receipt(n, 3) for n in range(5)))
    pipeline.submit_now()
    run = await pipeline.ingest()
    assert {"LoadChunksFromS3", "LoadChunkGroupsFromS3", "MergeChunkGroup"} <= set(run.visited)
    assert len(pipeline.published(tmp_path)) == 15


@pytest.mark.parametrize(("length", "status"), [(262_144 - 3_000, "SUCCEEDED"), (262_144, "FAILED")])
async def test_the_engine_refuses_states_beyond_262144_bytes(pipeline, length, status):
    def find(event, context):
        return {"batches": [], "padding": "x" * (length - len('{"batches":[],"padding":""}'))} | (
            {} if status == "SUCCEEDED" else {"one": 1}
        )

    run = await pipeline.run("word-embedding-submit", replaced={"find-unembedded": find})
    assert run.status == status
    if status == "FAILED":
        assert run.error == "States.DataLimitExceeded"


# --- 20-22


def test_20_a_killed_merge_leaves_nothing_that_a_reader_takes(pipeline):
    first, second = delta(pipeline, plain("a", "b")), delta(pipeline, plain("c"))
    event = {
        "operation": "process_chunk",
        "batch_id": "run",
        "chunk_index": 0,
        "delta_results": [{"delta_key": first}, {"delta_key": second}],
    }
    group = {"batch_id": "run", "group_index": 0, "chunk_group": ["intermediate/run/chunk-0/"]}
    for step, prefix, given in (
        (merging.process_chunk, "intermediate/run/chunk-0/", event),
        (merging.merge_group, "intermediate/run-group-0/merged/", group),
    ):
        uploads = 0
        while True:
            count = iter(range(uploads, -1, -1))

            def kill(method, args, count=count):
                if method in ("upload_file", "put") and next(count) == 0:
                    raise Killed

            services = pipeline.services
            services = replace(services, vectors=Watched(pipeline.vectors, kill))
            try:
                step(services, WORDS, given)
            except Killed:
                uploads += 1
                with pytest.raises(MissingArtifact):
                    artifacts.manifest(pipeline.vectors, prefix)
            else:
                break
        assert uploads >= 2, "at least the database and the MANIFEST"
        assert content(pipeline, prefix) == {"a", "b", "c"}
        step(pipeline.services, WORDS, given)
        assert content(pipeline, prefix) == {"a", "b", "c"}


def content(pipeline, prefix, tmp=None):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        artifacts.download(pipeline.vectors, prefix, Path(folder) / "x")
        with opened(Path(folder) / "x") as directory:
            return set(directory.only().get().ids)


def test_20_an_altered_file_is_refused(pipeline):
    key = delta(pipeline, plain("a"))
    root = artifacts.manifest(pipeline.vectors, key)["root"]
    database = f"{key}{root}chroma.sqlite3"
    data = bytearray(pipeline.vectors.get(database))
    data[-1] ^= 1
    pipeline.vectors.put(database, bytes(data))
    with pytest.raises(MissingArtifact, match="not what was uploaded"):
        chunk(pipeline, "run", 0, [key])
    with pytest.raises(ContractViolation):
        chunk(pipeline, "run", 0, [WORDS.delta_prefix])


def test_21_the_later_vector_wins_and_nothing_of_the_earlier_is_left(pipeline, tmp_path):
    def pair(number):
        old = delta(pipeline, plain("same", f"old-{number}", valid_labels_array=["TAX"], stays="no"), seed=1)
        return old, delta(pipeline, plain("same", f"new-{number}", winner=number), seed=2 + number)

    first = pair(1)
    made = chunk(pipeline, "chunked", 0, first)
    assert made["total_embeddings"] == 3 and made["delta_count"] == 2
    merge(pipeline, "chunk", first)
    found = pipeline.published(tmp_path)
    assert found["same"][2] == {"text": "same", "winner": 1}
    one = found["same"][0]

    second = pair(2)
    for index, key in enumerate(second):
        chunk(pipeline, "grouped", index, [key])
    group = pipeline.call(
        "vector-compact",
        operation="merge_chunk_group",
        batch_id="grouped",
        group_index=0,
        database="words",
        chunk_group=["intermediate/grouped/chunk-0/", "intermediate/grouped/chunk-1/"],
    )
    assert group["intermediate_key"] == "intermediate/grouped-group-0/merged/" and group["source_count"] == 2
    event = {
        "operation": "final_merge",
        "batch_id": "grouped",
        "database": "words",
        "chunk_results": [group],
        **polled(pipeline, "grouped", second),
    }
    pipeline.call("vector-compact", **event)
    found = pipeline.published(tmp_path)
    assert found["same"][2] == {"text": "same", "winner": 2} and found["same"][0] != one

    third = pair(3)
    pipeline.call("vector-compact", **final_event(pipeline, "final", third, chunks=[[third[0]], [third[1]]]))
    found = pipeline.published(tmp_path)
    assert found["same"][2] == {"text": "same", "winner": 3}
    assert found.keys() == {"same", "old-1", "old-2", "old-3", "new-1", "new-2", "new-3"}


async def test_22_a_lost_chunk_is_noticed(make):
    pipeline = make(CHUNK_SIZE=1)
    pipeline.seed(words_receipt(1, 3), words_receipt(2, 3))
    pipeline.submit_now()
    lost = []

    def forgetful(event, context):
        from embeddings.functions import vector_compact

        if event["operation"] == "final_merge":
            lost.append(event["chunk_results"].pop())
        return vector_compact(event, context)

    run = await pipeline.run("word-embedding-ingest", replaced={"vector-compact": forgetful})
    assert (run.status, run.error) == ("FAILED", "CompactionFailed")
    assert run.cause.startswith(CoverageMismatch.__name__) and lost
    assert pipeline.snapshots().pointer().version is None
    assert pipeline.states() == {"PENDING": 6} and pipeline.summary_states() == {"PENDING": 2}
    assert run.visited.count("FinalMerge") == 1
    assert Counter(event["type"] for event in run.history)["LambdaFunctionFailed"] == 1, "not tried again"
    after = await pipeline.ingest()
    assert after.output["final_merge_result"]["total_embeddings"] == 6
