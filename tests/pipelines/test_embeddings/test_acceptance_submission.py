"""Acceptance statements 1-6: the definitions, the inputs, claims and submission."""

import itertools
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from embeddings.entities import ENTITIES
from embeddings.keys import ReceiptKey
from embeddings.receipts import read
from openai_api import Fault
from receiptbook import Line, Receipt, image_id, words_receipt

from embeddings import claims
from stepwell.project import load_project

from . import PROJECT

IMAGE = "11111111-2222-4333-8444-555555555555"
MARKET = Receipt(
    IMAGE,
    1,
    [
        Line("CORNER MARKET", 0.3, 0.90),
        Line("OAT MILK 1L", 0.05, 0.700),
        Line("4.29", 0.80, 0.701, 0.1),
        Line("TOTAL", 0.05, 0.60),
        Line("4.29", 0.80, 0.60, 0.1),
    ],
)


def test_01_one_builder_two_machines():
    machines = load_project(PROJECT).machines
    for purpose in ("submit", "ingest", "reconcile"):
        line, word = machines[f"line-embedding-{purpose}"], machines[f"word-embedding-{purpose}"]
        assert line.path == word.path

        def differing(one, other, path=""):
            if isinstance(one, dict) and isinstance(other, dict):
                assert one.keys() == other.keys(), path
                for key in one:
                    yield from differing(one[key], other[key], f"{path}/{key}")
            elif isinstance(one, list) and isinstance(other, list):
                assert len(one) == len(other), path
                for index, (a, b) in enumerate(zip(one, other, strict=True)):
                    yield from differing(a, b, f"{path}/{index}")
            elif one != other:
                yield (one, other)

        values = set(differing(line.definition, word.definition))
        values = {pair for pair in values if pair[0].replace("lines", "words") != pair[1]}
        assert values == {("line", "word")}
        assert not any("Word" in name or "Line" in name for name in line.definition["States"])


def test_02_examples_give_the_stated_inputs(pipeline):
    pipeline.seed(MARKET)
    receipt = read(pipeline.table, ReceiptKey(IMAGE, 1))
    lines, words = ENTITIES["line"], ENTITIES["word"]
    claimed = {line.key for line in receipt.lines if line.line_id in (2,)}
    [request] = lines.build_requests(receipt, claimed)
    assert request.custom_id == f"IMAGE#{IMAGE}#RECEIPT#00001#LINE#00002"
    assert len(request.custom_id) == 67
    assert [key.line_id for key in request.members] == [2, 3]
    assert request.input == "CORNER MARKET\nOAT MILK 1L 4.29\nTOTAL 4.29"

    row = {word.text: word.key for word in receipt.words if word.line_id in (2, 3)}
    by_id = {r.custom_id: r for r in words.build_requests(receipt, set(row.values()))}
    assert by_id[row["4.29"].custom_id].input == "MILK 1L 4.29 <EDGE> <EDGE>"
    assert by_id[row["OAT"].custom_id].input == "<EDGE> <EDGE> OAT MILK 1L"
    assert len(row["OAT"].custom_id) == 78
    assert by_id[row["OAT"].custom_id].members == (row["OAT"],)

    every_line = {line.key for line in receipt.lines}
    every_word = {word.key for word in receipt.words}
    wanted = lines.build_requests(receipt, every_line), words.build_requests(receipt, every_word)
    assert [r.input.split("\n")[1] for r in wanted[0]] == ["CORNER MARKET", "OAT MILK 1L 4.29", "TOTAL 4.29"]
    for order in itertools.permutations(receipt.lines):
        shuffled = random.Random(1).sample(receipt.words, len(receipt.words))
        other = type(receipt)(receipt.key, list(order), shuffled, receipt.labels, receipt.place, receipt.sections)
        assert (lines.build_requests(other, every_line), words.build_requests(other, every_word)) == wanted


async def test_03_two_submit_runs_claim_everything_once(pipeline, api):
    receipts = [Receipt(image_id(n), 1, [Line("MILK", 0.1, 0.5), Line("BREAD", 0.1, 0.4)]) for n in range(200)]
    pipeline.seed(*receipts)
    runs = await pipeline.run_all(
        [("line-embedding-submit", {"max_receipts": 200}, name) for name in ("first", "second")]
    )
    assert [run.status for run in runs] == ["SUCCEEDED", "SUCCEEDED"]
    assert sum(run.output["claimed_items"] for run in runs) == 400
    items = pipeline.items("line")
    assert Counter(item["embedding_status"] for item in items) == {"PENDING": 400}
    assert all(item["embedding_attempts"] == 1 for item in items)
    batches = {item["embedding_batch_id"] for item in items}
    assert len(batches) == 200
    submitted = Counter(r["custom_id"] for b in api.batches() for r in api.requests_of(b["id"]))
    assert len(submitted) == 400 and set(submitted.values()) == {1}
    assert Counter(b["metadata"]["batch_id"] for b in api.batches()) == dict.fromkeys(batches, 1)
    assert pipeline.summary_states() == {"PENDING": 200}
    assert all(len(summary["receipt_refs"]) == 1 for summary in pipeline.summaries().values())
    assert max(run.concurrency("SubmitBatches") for run in runs) <= 10


class Racing:
    """A table in which somebody else claims a word just before the second transaction."""

    def __init__(self, table, race):
        self._table, self._race, self._count = table, race, 0

    def __getattr__(self, name):
        return getattr(self._table, name)

    def transact(self, mutations):
        self._count += 1
        if self._count == 2:
            self._race()
        return self._table.transact(mutations)


def test_04_a_lost_race_undoes_the_whole_claim(pipeline):
    pipeline.seed(words_receipt(1, 60))
    victim = pipeline.items()[40]
    key = (victim["PK"], victim["SK"])

    def race():
        pipeline.table.mutate(key, claims.claim("other-batch", "other-run", "2030-01-01T00:00:00+00:00"))

    services = pipeline.services
    racing = type(services)(
        services.settings, Racing(pipeline.table, race), services.vectors, services.work, services.clock
    )
    from embeddings.finding import find_and_claim

    found = find_and_claim(racing, ENTITIES["word"], run_id="loser")
    assert found["batches"] == [] and found["claimed_items"] == 0
    assert pipeline.states() == {"NONE": 59, "PENDING": 1}
    assert pipeline.table.get(key)["embedding_batch_id"] == "other-batch"
    assert all("claimed_by" not in item for item in pipeline.items() if item["embedding_status"] == "NONE")


async def test_05_submit_killed_after_create_batch_makes_no_second_batch(pipeline, api):
    pipeline.seed(words_receipt(1, 5))
    # The provider creates the batch, and its answer never arrives: for us the same as being killed at that moment.
    api.fail("create", Fault(0, after=True))
    run = await pipeline.submit()
    assert [s for s in run.visited if s == "SubmitFailed"] == []
    assert len(api.batches()) == 1 and api.calls("create") == 1
    [summary] = pipeline.summaries().values()
    assert summary["status"] == "PENDING" and summary["openai_batch_id"] == api.batches()[0]["id"]
    assert pipeline.states() == {"PENDING": 5}


def test_06_a_claim_without_a_summary_is_freed_after_the_grace(pipeline):
    pipeline.seed(words_receipt(1, 30), words_receipt(2, 30))
    found = pipeline.call("find-unembedded", entity="word", run_id="crashed")
    old, young = found["batches"]
    hour_ago = (datetime.now(UTC) - timedelta(minutes=61)).isoformat(timespec="microseconds")
    for item in pipeline.items():
        if item["embedding_batch_id"] == old["batch_id"]:
            pipeline.table.put({**item, "claimed_at": hour_ago})
    counts = pipeline.call("reconcile", entity="word")
    assert counts["released"] == 30
    by_receipt = {item["PK"]: item for item in pipeline.items()}
    assert by_receipt[f"IMAGE#{old['image_id']}"]["embedding_status"] == "NONE"
    assert by_receipt[f"IMAGE#{young['image_id']}"]["embedding_status"] == "PENDING"
    assert pipeline.states() == {"NONE": 30, "PENDING": 30}


@pytest.mark.parametrize("words", [60])
def test_a_run_that_is_repeated_finishes_the_claim_it_began(pipeline, words):
    """A crash between two claim transactions: the same run claims the rest of the receipt, in the same batch."""
    pipeline.seed(words_receipt(1, words))
    first = pipeline.call("find-unembedded", entity="word", run_id="run-1")
    for item in pipeline.items()[25:]:
        fresh = {k: v for k, v in item.items() if not k.startswith(("claimed", "embedding_"))}
        pipeline.table.put({**fresh, "embedding_status": "NONE", "GSI1PK": "EMBEDDING_STATUS#NONE"})
    other = pipeline.call("find-unembedded", entity="word", run_id="run-2")
    assert other["batches"] == []
    again = pipeline.call("find-unembedded", entity="word", run_id="run-1")
    assert again["batches"] == first["batches"] and again["claimed_items"] == words
    assert pipeline.states() == {"PENDING": words}
