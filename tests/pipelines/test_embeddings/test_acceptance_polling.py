"""Acceptance statements 7-16: listing, polling, partial results, stale receipts, batches without results."""

import contextlib
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from embeddings.entities import ENTITIES
from embeddings.errors import EmbeddingError, ProviderError, ValidationError
from embeddings.listing import listing
from embeddings.payloads import size
from openai_api import Behaviour, Refusal
from receiptbook import Line, Receipt, image_id, words_receipt

from embeddings import functions
from stepwell.toolkit.errors import ToolkitError

from .running import FUNCTIONS


def hours_ago(hours):
    return (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="microseconds")


# --- 7, 8


def test_07_inline_or_manifest(pipeline):
    def listed(batches):
        return listing(pipeline.services, ENTITIES["word"], "run-1", batches)

    def batches(count, total=None):
        made = [{"batch_id": f"b{n}", "openai_batch_id": "x"} for n in range(count)]
        if total is not None:
            made[0]["openai_batch_id"] += "é" * ((total - size(made)) // 2)
            made[0]["openai_batch_id"] += "y" * (total - size(made))
            assert size(made) == total
        return made

    inline, manifest = listed(batches(50)), listed(batches(51))
    assert not inline["use_s3"] and len(inline["pending_batches"]) == 50 and inline["manifest_s3_key"] is None
    assert manifest["use_s3"] and manifest["pending_batches"] is None
    assert manifest["manifest_s3_key"] == "poll_manifests/run-1/manifest.json"
    assert manifest["batch_indices"] == list(range(51)) and manifest["total_batches"] == 51
    assert inline.keys() == manifest.keys() and "manifest_s3_bucket" in inline
    assert not listed(batches(10, 153_600))["use_s3"]
    assert listed(batches(10, 153_601))["use_s3"]
    document = json.loads(pipeline.work.get(manifest["manifest_s3_key"]))
    assert document["total_batches"] == 10 and document["batches"][9]["index"] == 9


def test_08_a_batch_is_found_three_ways(pipeline):
    pipeline.seed(*(words_receipt(n, 3) for n in range(3)))
    submitted = pipeline.submit_now()
    listed = pipeline.call("list-pending", batch_type="word", execution_id="run-1")
    pipeline.set(MANIFEST_MAX_INLINE=1)
    filed = pipeline.call("list-pending", batch_type="word", execution_id="run-1")
    assert filed["use_s3"] and not listed["use_s3"]
    chosen = listed["pending_batches"][1]
    event = {"entity": "word", "run_id": "run-1", "skip_sqs_notification": True}
    by_list = {"batch_index": 1, "pending_batches": listed["pending_batches"], "manifest_s3_key": None}
    by_file = {
        "batch_index": 1,
        "pending_batches": None,
        "manifest_s3_key": filed["manifest_s3_key"],
        "manifest_s3_bucket": filed["manifest_s3_bucket"],
    }
    direct = {"batch_index": None, "pending_batches": None, "manifest_s3_key": None, **chosen}
    results = []
    for how in (by_file, by_list, direct):
        reference = pipeline.call("poll-batch", **event, **how)
        assert size(reference) <= 400
        full = json.loads(pipeline.work.get(reference["result_s3_key"]))
        results.append({key: value for key, value in full.items() if not key.startswith("delta_")})
        assert full["delta_key"].startswith("words/delta/words/receipt_words/")
    assert results[0] == results[1] == results[2]
    assert results[0]["embedding_count"] == 3
    assert len(submitted) == 3
    for index in (-1, 3):
        for how in (by_file, by_list):
            with pytest.raises(ValidationError):
                pipeline.call("poll-batch", **event, **{**how, "batch_index": index})


FIELDS = """
    entity database run_id batch_id execution_id operation max_batches max_receipts submission_namespace
    batch_index pending_batches manifest_s3_key manifest_s3_bucket openai_batch_id skip_sqs_notification
    poll_results poll_results_s3_key poll_results_s3_bucket chunk_index delta_results chunks_s3_key
    chunks_s3_bucket chunk_results group_size group_index chunk_group groups_s3_key groups_s3_bucket
    expect_deltas s3_key s3_bucket image_id receipt_id batch_type
""".split()  # fmt: skip  # noqa: SIM905
BASES = {
    "find-unembedded": [{"entity": "word", "run_id": "r"}],
    "submit-batch": [
        {"entity": "word", "run_id": "r", "batch_id": "b", "s3_key": "k", "image_id": "i", "receipt_id": 1}
    ],
    "list-pending": [{"batch_type": "word"}],
    "poll-batch": [{"entity": "word", "run_id": "r", "batch_id": "b", "openai_batch_id": "o"}],
    "normalize-poll-results": [{"batch_id": "r", "database": "words"}],
    "split-into-chunks": [
        {"operation": "split", "batch_id": "r", "database": "words"},
        {"operation": "load_chunks_from_s3", "batch_id": "r"},
    ],
    "create-chunk-groups": [
        {"operation": "create", "batch_id": "r", "chunk_results": [{"intermediate_key": "i/"}]},
        {"operation": "load_groups_from_s3", "batch_id": "r"},
    ],
    "vector-compact": [
        {"operation": name, "batch_id": "r", "database": "words", "chunk_index": 0, "group_index": 0}
        for name in ("process_chunk", "merge_chunk_group", "final_merge")
    ],
    "mark-batches-complete": [{"entity": "word"}],
    "reconcile": [{"entity": "word"}],
}


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_08_null_in_any_field_is_no_type_error(pipeline, function):
    for base in BASES[function]:
        nothing = {name: base.get(name) for name in FIELDS}
        for event in (nothing, *({**nothing, name: None} for name in base), {}):
            # A clear error is right; a TypeError or AttributeError is not.
            with contextlib.suppress(EmbeddingError, ToolkitError):
                pipeline.call(function, **event)
    with pytest.raises(ValidationError):
        getattr(functions, FUNCTIONS[function])(None, None)


# --- 9: the table of provider statuses

ERRORS = ({"code": "invalid_request", "line": 2, "message": "bad input", "param": "input"},)
TABLE = {
    # behaviour, action, items then, summary then, items and summary after the run
    "validating": (Behaviour(stuck="validating"), "wait", {"PENDING": 4}, "VALIDATING"),
    "in_progress": (Behaviour(stuck="in_progress"), "wait", {"PENDING": 4}, "IN_PROGRESS"),
    "finalizing": (Behaviour(stuck="finalizing"), "wait", {"PENDING": 4}, "FINALIZING"),
    "cancelling": (Behaviour(stuck="cancelling"), "wait", {"PENDING": 4}, "CANCELING"),
    "canceling": (Behaviour(stuck="canceling"), "wait", {"PENDING": 4}, "CANCELING"),
    "completed": (Behaviour(), "process_results", {"PENDING": 4}, "PENDING"),
    "expired-partial": (Behaviour("expired", done=3), "process_partial", {"PENDING": 3, "NONE": 1}, "PENDING"),
    "cancelled-partial": (Behaviour("cancelled", done=3), "process_partial", {"PENDING": 3, "NONE": 1}, "PENDING"),
    "expired-empty": (Behaviour("expired", done=0), "handle_failure", {"NONE": 4}, "EXPIRED"),
    "cancelled-empty": (Behaviour("cancelled", done=0), "handle_cancellation", {"NONE": 4}, "CANCELLED"),
    "failed": (Behaviour("failed"), "handle_failure", {"NONE": 4}, "FAILED"),
    "failed-by-line": (Behaviour("failed", errors=ERRORS), "handle_failure", {"NONE": 3, "FAILED": 1}, "FAILED"),
    "late-404": (None, "handle_failure", {"NONE": 4}, "FAILED"),
    "early-404": (None, None, {"PENDING": 4}, "PENDING"),
    "unknown": (Behaviour("exploded"), None, {"PENDING": 4}, "PENDING"),
}
AFTERWARDS = {
    "completed": ({"SUCCESS": 4}, "COMPLETED"),
    "expired-partial": ({"SUCCESS": 3, "NONE": 1}, "EXPIRED"),
    "cancelled-partial": ({"SUCCESS": 3, "NONE": 1}, "CANCELLED"),
}


async def test_09_every_provider_status(pipeline, api):
    names = {image_id(number): name for number, name in enumerate(TABLE)}
    pipeline.seed(*(words_receipt(number, 4) for number in range(len(TABLE))))
    submitted = {
        names[b["image_id"]]: b for b in pipeline.call("find-unembedded", entity="word", run_id="r")["batches"]
    }
    submitted = {name: pipeline.call("submit-batch", entity="word", run_id="r", **b) for name, b in submitted.items()}

    def held(name):
        images = {image for image, other in names.items() if other == name}
        return Counter(i["embedding_status"] for i in pipeline.items() if i["PK"].removeprefix("IMAGE#") in images)

    for name, (behaviour, action, items, state) in TABLE.items():
        batch = submitted[name]
        if behaviour is None:
            api.forget(batch["openai_batch_id"])
            if name == "late-404":
                summary = pipeline.summaries()[batch["batch_id"]]
                pipeline.table.put({**summary, "submitted_at": hours_ago(2)})
        else:
            api.change(batch["openai_batch_id"], behaviour)
        if action is None:
            with pytest.raises(ProviderError):
                pipeline.poll_now([batch])
        else:
            [result] = pipeline.poll_now([batch])
            assert result["action"] == action, name
            assert ("delta_key" in result) == action.startswith("process"), name
            assert ("hours_elapsed" in result) == (action == "wait"), name
        assert held(name) == items, name
        assert pipeline.summaries()[batch["batch_id"]]["status"] == state, name
    run = await pipeline.ingest()
    assert run.output["mark_complete_result"]["batches_marked"] == 3
    for name, batch in submitted.items():
        items, state = AFTERWARDS.get(name, TABLE[name][2:])
        assert (held(name), pipeline.summaries()[batch["batch_id"]]["status"]) == (items, state), name
    poll_errors = [
        r for r in json.loads(pipeline.vectors.get(run.output["poll_results_s3_key"])) if r["action"] == "poll_error"
    ]
    assert len(poll_errors) == 2 and all(
        entry["error"].startswith(("BatchNotFound", "ProviderError")) for entry in poll_errors
    )


# --- 10-13: what the files hold


async def test_10_a_completed_batch_with_failures(pipeline, api, tmp_path):
    pipeline.seed(words_receipt(1, 100))
    [batch] = pipeline.submit_now()
    ids = [request["custom_id"] for request in api.requests_of(batch["openai_batch_id"])]
    api.change(
        batch["openai_batch_id"],
        Behaviour(refusals={ids[3]: Refusal(), ids[50]: Refusal()}, unreported=frozenset({ids[70]})),
    )
    [result] = pipeline.poll_now([batch])
    assert (result["embedding_count"], result["released"], result["failed"]) == (97, 3, 0)
    assert pipeline.summary_states() == {"PENDING": 1}
    run = await pipeline.ingest()
    assert "FinalMerge" in run.visited
    assert pipeline.states() == {"SUCCESS": 97, "NONE": 3}
    assert {item["embedding_attempts"] for item in pipeline.items()} == {1}
    assert pipeline.summary_states() == {"COMPLETED": 1}
    assert pipeline.published(tmp_path).keys() == set(ids) - {ids[3], ids[50], ids[70]}


def test_11_broken_result_lines_are_counted(pipeline, api):
    pipeline.seed(words_receipt(1, 10))
    [batch] = pipeline.submit_now()
    ids = [request["custom_id"] for request in api.requests_of(batch["openai_batch_id"])]
    empty = {"status_code": 200, "body": {"data": []}}

    def line(custom_id, **members):
        return json.dumps({"id": "x", "custom_id": custom_id, **members}).encode()

    extra = (
        b'{"custom_id": "broken',
        b"",
        b"[]",
        line(ids[0], response=None, error=None),
        line(ids[1], response=empty, error=None),
        line(ids[2], response={"status_code": 200, "body": None}, error=None),
        line(ids[3]),
        line(
            ids[4], response={"status_code": 200, "body": {"data": [{"embedding": [float("nan")] * 256}]}}, error=None
        ),
        line("IMAGE#nobody", response=None, error=None),
        line(ids[9], response=None, error={"code": "late", "message": "a second line of an id"}),
    )
    api.change(batch["openai_batch_id"], Behaviour(unreported=frozenset(ids[:5]), extra=extra))
    [result] = pipeline.poll_now([batch])
    assert result["embedding_count"] == 5 and result["released"] == 5
    assert result["error_types"] == {"unknown_error": 5}
    assert result["skipped"]["unknown_ids"] == 1
    assert pipeline.states() == {"PENDING": 5, "NONE": 5}


async def test_12_an_expired_batch_publishes_what_it_has(pipeline, api, tmp_path):
    pipeline.seed(words_receipt(1, 100))
    [batch] = pipeline.submit_now()
    api.change(batch["openai_batch_id"], Behaviour("expired", done=40))
    pipeline.poll_now([batch])  # and then the run crashes
    assert pipeline.summary_states() == {"PENDING": 1}
    assert pipeline.states() == {"PENDING": 40, "NONE": 60}
    await pipeline.ingest()
    assert len(pipeline.published(tmp_path)) == 40
    assert pipeline.states() == {"SUCCESS": 40, "NONE": 60}
    assert pipeline.summary_states() == {"EXPIRED": 1}


async def test_13_permanent_and_retryable_errors(pipeline, api):
    pipeline.seed(words_receipt(1, 4))
    bad, flaky = pipeline.items()[0], pipeline.items()[1]
    ids = {name: f"{item['PK']}#{item['SK']}" for name, item in (("bad", bad), ("flaky", flaky))}
    refusals = {ids["bad"]: Refusal(400, "invalid_request_error", "invalid input"), ids["flaky"]: Refusal(503)}
    api.decide = lambda batch, requests: Behaviour(refusals=refusals)
    states = []
    for _ in range(4):
        await pipeline.submit()
        await pipeline.ingest()
        now = {f"{i['PK']}#{i['SK']}": i["embedding_status"] for i in pipeline.items()}
        states.append((now[ids["bad"]], now[ids["flaky"]]))
    assert states == [("FAILED", "NONE"), ("FAILED", "NONE"), ("FAILED", "FAILED"), ("FAILED", "FAILED")]
    item = pipeline.table.get((bad["PK"], bad["SK"]))
    assert item["embedding_attempts"] == 1 and item["embedding_error"] == "invalid_request_error: invalid input"
    assert pipeline.table.get((flaky["PK"], flaky["SK"]))["embedding_attempts"] == 3
    assert len(api.batches()) == 3, "failed items are not found again"
    pipeline.seed(words_receipt(2, 3))
    api.decide = lambda batch, requests: Behaviour("expired", done=0)
    for _ in range(4):
        [batch] = pipeline.submit_now(run=f"r{len(api.batches())}")
        pipeline.poll_now([batch])
    assert pipeline.states() == {"FAILED": 2, "SUCCESS": 2, "NONE": 3}
    assert max(i["embedding_attempts"] for i in pipeline.items() if i["embedding_status"] == "NONE") == 4


# --- 14-16


async def test_14_a_deleted_receipt_and_an_edited_word(pipeline, tmp_path):
    gone, edited, untouched = words_receipt(1, 6), words_receipt(2, 12), words_receipt(3, 6)
    pipeline.seed(gone, edited, untouched)
    batches = pipeline.submit_now()
    pipeline.table.delete((f"IMAGE#{gone.image_id}", "RECEIPT#00001"))
    word = next(item for item in pipeline.items() if item["PK"] == f"IMAGE#{edited.image_id}")
    pipeline.table.put({**word, "text": "EDITED"})
    pipeline.poll_now(batches)
    await pipeline.ingest()
    vectors = pipeline.published(tmp_path)
    images = Counter(metadata["image_id"] for _, _, metadata in vectors.values())
    assert gone.image_id not in images and images[untouched.image_id] == 6
    dropped = 12 - images[edited.image_id]
    assert 1 <= dropped <= 5, "the edited word and those that have it as a neighbour"
    states = Counter(i["embedding_status"] for i in pipeline.items() if i["PK"] == f"IMAGE#{edited.image_id}")
    assert states == {"SUCCESS": 12 - dropped, "NONE": dropped}
    assert f"{word['PK']}#{word['SK']}" not in vectors


async def test_14_a_regrouped_line_makes_its_whole_receipt_stale(pipeline, tmp_path):
    one = [Line("MILK", 0.05, 0.7), Line("4.29", 0.8, 0.7, 0.1), Line("BREAD", 0.05, 0.6), Line("TOTAL", 0.05, 0.5)]
    regrouped, kept = Receipt(image_id(11), 1, one), Receipt(image_id(12), 1, one)
    pipeline.seed(regrouped, kept)
    batches = pipeline.submit_now("line", run="lines")
    assert {batch["request_count"] for batch in batches} == {3}
    item = next(
        i for i in pipeline.items("line") if i["PK"] == f"IMAGE#{regrouped.image_id}" and i["SK"].endswith("00003")
    )
    box = {**item["bounding_box"], "x": Decimal("0.5"), "y": Decimal("0.7")}
    pipeline.table.put({**item, "bounding_box": box})  # BREAD is in the row of MILK now, and heads none
    run = await pipeline.ingest("line")
    assert run.output["final_merge_result"]["total_embeddings"] == 3
    lines = pipeline.published(tmp_path, "line")
    assert {metadata["image_id"] for _, _, metadata in lines.values()} == {kept.image_id}
    states = Counter((i["PK"], i["embedding_status"]) for i in pipeline.items("line"))
    assert states == {(f"IMAGE#{regrouped.image_id}", "NONE"): 4, (f"IMAGE#{kept.image_id}", "SUCCESS"): 4}


async def test_15_a_batch_without_anything_to_publish_is_closed(pipeline):
    receipt = words_receipt(1, 5)
    pipeline.seed(receipt)
    pipeline.submit_now()
    pipeline.table.delete((f"IMAGE#{receipt.image_id}", "RECEIPT#00001"))
    run = await pipeline.ingest()
    assert run.visited[-2:] == ["NoChunksToProcess", "MarkBatchesComplete"]
    assert pipeline.summary_states() == {"COMPLETED": 1}
    [result] = json.loads(pipeline.vectors.get(run.output["poll_results_s3_key"]))
    assert result["skipped_all"] and result["skip_reason"] == "5 gone" and "delta_key" not in result
    assert pipeline.snapshots().pointer().version is None


async def test_16_one_bad_batch_stops_no_other(pipeline, tmp_path):
    pipeline.seed(*(words_receipt(n, 5) for n in range(3)))
    batches = pipeline.submit_now()
    bad = pipeline.summaries()[batches[1]["batch_id"]]
    pipeline.work.delete(bad["requests_key"])
    run = await pipeline.ingest()
    assert run.output["mark_complete_result"]["batches_marked"] == 2
    assert len(pipeline.published(tmp_path)) == 10
    assert pipeline.summary_states() == {"COMPLETED": 2, "PENDING": 1}
    assert run.visited.count("PollError") == 1
    # Alone it fails the run, and nothing is published over what is there.
    version = pipeline.snapshots().pointer()
    alone = await pipeline.run("word-embedding-ingest")
    assert (alone.status, alone.error) == ("FAILED", "PollFailed") and alone.cause.startswith("AllPollsFailed")
    assert pipeline.snapshots().pointer() == version
