"""The parts: normalisers, metadata, places, the provider's client, noise, settings."""

import time

import pytest
from embeddings.config import Settings
from embeddings.entities import ENTITIES
from embeddings.errors import (
    AuthError,
    PlaceFinderError,
    ProviderError,
    ProviderUnavailable,
    TimeRunningOut,
    ValidationError,
)
from embeddings.gathering import Gathering
from embeddings.keys import ReceiptKey, parse
from embeddings.provider import Breaker
from embeddings.receipts import read
from embeddings.rows import rows
from embeddings.services import Clock
from embeddings.vectors import Page
from openai_api import Behaviour, Fault, Refusal
from placefinder import PlaceFinderService
from receiptbook import Line, Receipt, image_id, words_receipt

from embeddings import normalizers, polling

from .merging import delta, merge, plain


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("+1 (555) 010-2345", "5550102345"), ("555 010 234", None), ("0000000000", None), ("2 555 010 2345", None)],
)
def test_phones(given, wanted):
    assert normalizers.phone(given) == wanted


def test_addresses_and_urls():
    assert normalizers.address("12 Main Street,  Suite 4") == "12 MAIN ST STE 4"
    assert normalizers.url("HTTPS://www.Example.com//menu/?a=1#x") == "example.com/menu"
    assert normalizers.url("someone@example.com") is None
    assert normalizers.extracted(
        [
            None,
            {"type": "date", "value": "x"},
            {"type": "url", "value": "http://[broken"},
            {"type": "phone", "value": "5550102345"},
        ]
    ) == {"normalized_phone_10": "5550102345"}


def stored(pipeline, receipt):
    pipeline.seed(receipt)
    return read(pipeline.table, ReceiptKey(receipt.image_id, 1), sections=True)


def test_noise_keeps_its_place_in_rows_and_is_no_member(pipeline):
    lines = [Line("MILK", 0.05, 0.7), Line("~~", 0.4, 0.71, noise=True), Line("4.29", 0.8, 0.72)]
    receipt = stored(pipeline, Receipt(image_id(1), 1, lines))
    assert len(rows(receipt.lines)) == 1, "the noise joins what would be apart"
    [request] = ENTITIES["line"].build_requests(receipt, {receipt.lines[0].key})
    assert [key.line_id for key in request.members] == [1, 3] and request.input == "<EDGE>\nMILK ~~ 4.29\n<EDGE>"


def test_the_nearest_left_neighbour_is_stored(pipeline):
    receipt = stored(pipeline, Receipt(image_id(1), 1, [Line("OAT MILK FRESH", 0.1, 0.5)]))
    words = ENTITIES["word"]
    [request] = words.build_requests(receipt, {receipt.words[2].key})
    assert request.input == "OAT MILK FRESH <EDGE> <EDGE>"
    from embeddings.contexts import Contexts

    record = words.build_record(receipt, Contexts(receipt.words).of(receipt.words[2].key), "b")
    assert record.metadata["left"] == "MILK" and record.metadata["right"] == "<EDGE>"


def test_labels_and_sections(pipeline):
    labels = [
        (1, 1, "PRODUCT_NAME", "VALID"),
        (1, 1, "TAX", "INVALID"),
        (1, 2, "TAX", "VALID"),
        (1, 2, "INVENTED", "VALID"),
    ]
    receipt = Receipt(image_id(1), 1, [Line("OAT MILK", 0.1, 0.5), Line("4.29", 0.8, 0.5)], labels=labels)
    pipeline.seed(receipt)
    sections = [
        ("ITEMS", [1, 2], 0.5, "PENDING"),
        ("HEADER", [1], 0.9, "PENDING"),
        ("FOOTER", [1, 2], 1, "INVALID"),
        ("ITEMS2", [2], 0.2, "VALID"),
    ]
    for kind, ids, confidence, status in sections:
        key = {"PK": f"IMAGE#{receipt.image_id}", "SK": f"RECEIPT#00001#SECTION#{kind}", "section_type": kind}
        pipeline.table.put({**key, "line_ids": ids, "confidence": str(confidence), "validation_status": status})
    found = read(pipeline.table, ReceiptKey(receipt.image_id, 1), sections=True)
    metadata = ENTITIES["line"].build_record(found, rows(found.lines)[0], "b").metadata
    assert metadata["valid_labels_array"] == ["PRODUCT_NAME", "TAX"] and "invalid_labels_array" not in metadata
    assert "section_label" not in metadata, "HEADER and ITEMS2 have one vote each"
    assert metadata["label_status"] == "validated"


def test_a_removed_label_does_not_reappear(pipeline, tmp_path):
    merge(pipeline, "one", [delta(pipeline, plain("a", valid_labels_array=["TAX"]))])
    merge(pipeline, "two", [delta(pipeline, plain("a"))])
    assert pipeline.published(tmp_path)["a"][2] == {"text": "a"}


def test_gathering_keeps_the_last(tmp_path):
    with Gathering(tmp_path / "g") as gathered:
        gathered.add(Page(["a", "b"], [[1.0, 2.0], [3.0, 4.0]], ["x", "y"], [{"n": 1}, {"n": 2}]))
        gathered.add(Page(["a"], [[5.0, 6.0]], ["z"], [{"n": 3}]))
        [page] = gathered.pages(10)
    assert page.ids == ["a", "b"] and page.embeddings.tolist() == [[5, 6], [3, 4]]
    assert page.documents == ["z", "y"] and page.metadatas == [{"n": 3}, {"n": 2}]


# --- places


async def test_places(make, tmp_path):
    pipeline = make()
    known, found, lost = (
        Receipt(image_id(n), 1, [Line("MILK", 0.1, 0.5)], m) for n, m in ((1, "SHOP"), (2, None), (3, None))
    )
    pipeline.seed(known, found, lost)
    with PlaceFinderService(save=pipeline.table.put) as places:
        pipeline.set(PLACE_FINDER_URL=places.url)
        places.merchants[(found.image_id, 1)] = "  blue harbor CAFE "
        batches = pipeline.submit_now()
        places.faults = [503]
        by_receipt = {
            b["batch_id"]: s["receipt_refs"][0]["image_id"]
            for b in batches
            for s in [pipeline.summaries()[b["batch_id"]]]
        }
        batch = next(b for b in batches if by_receipt[b["batch_id"]] == found.image_id)
        with pytest.raises(PlaceFinderError):
            pipeline.poll_now([batch])
        assert pipeline.states() == {"PENDING": 3}, "nothing of the batch is written"
        await pipeline.ingest()
        assert pipeline.states() == {"SUCCESS": 2, "FAILED": 1}
        assert (known.image_id, 1) not in places.asked
    merchants = {m["image_id"]: m["merchant_name"] for _, _, m in pipeline.published(tmp_path).values()}
    assert merchants == {known.image_id: "Shop", found.image_id: "Blue Harbor Cafe"}
    [failed] = [item for item in pipeline.items() if item["embedding_status"] == "FAILED"]
    assert failed["embedding_error"] == "UNPLACEABLE"
    assert pipeline.call("reconcile", entity="word")["placed"] == 0
    pipeline.table.put(lost.place("LATE SHOP"))
    assert pipeline.call("reconcile", entity="word")["placed"] == 1
    assert pipeline.states() == {"SUCCESS": 2, "NONE": 1}
    [placed] = [item for item in pipeline.items() if item["embedding_status"] == "NONE"]
    assert "embedding_error" not in placed and placed["embedding_attempts"] == 0


def test_the_records_of_a_batch_and_its_items(pipeline):
    """Every attribute of sections 4.2 and 4.3, and none beside them but who claimed an item."""
    pipeline.seed(words_receipt(1, 2))
    before = pipeline.items()
    [batch] = pipeline.submit_now()
    summary = pipeline.table.get((f"BATCH#{batch['batch_id']}", "STATUS"))
    [made] = pipeline.api.batches()
    folder = f"submissions/words/batches/{batch['batch_id']}"
    assert summary == {
        "PK": f"BATCH#{batch['batch_id']}",
        "SK": "STATUS",
        "TYPE": "BATCH_SUMMARY",
        "GSI1PK": "STATUS#PENDING",
        "GSI1SK": f"BATCH_TYPE#WORD_EMBEDDING#BATCH_ID#{batch['batch_id']}",
        "batch_id": batch["batch_id"],
        "batch_type": "WORD_EMBEDDING",
        "openai_batch_id": made["id"],
        "openai_input_file_id": made["input_file_id"],
        "submitted_at": summary["submitted_at"],
        "status": "PENDING",
        "result_file_id": "N/A",
        "receipt_refs": [{"image_id": image_id(1), "receipt_id": 1}],
        "requests_key": f"{folder}/requests.json",
        "request_count": 2,
        "item_count": 2,
        "attempt": 1,
    }
    for old, new in zip(before, pipeline.items(), strict=True):
        assert new == {
            **old,
            "embedding_status": "PENDING",
            "GSI1PK": "EMBEDDING_STATUS#PENDING",
            "embedding_batch_id": batch["batch_id"],
            "embedding_attempts": 1,
            "claimed_at": new["claimed_at"],
            "claimed_by": new["claimed_by"],
        }


def test_noise_is_reconciled(pipeline):
    pipeline.seed(words_receipt(1, 3))
    first, second, _ = pipeline.items()
    pipeline.table.put({**first, "is_noise": True})
    pipeline.table.put({**second, "embedding_status": "NOISE", "GSI1PK": "EMBEDDING_STATUS#NOISE"})
    counts = pipeline.call("reconcile", entity="word")
    assert (counts["noise"], counts["denoised"]) == (1, 1)
    assert pipeline.states() == {"NOISE": 1, "NONE": 2}


# --- the provider


def test_429_with_retry_after_is_waited_for(pipeline, api):
    pipeline.seed(words_receipt(1, 2))
    api.fail("upload", Fault(429, retry_after=0.2))
    api.fail("create", Fault(429, retry_after=0.3))
    [batch] = pipeline.submit_now()
    moments = {what: [seen.at for seen in api.seen() if seen.what == what] for what in ("upload", "create")}
    assert moments["upload"][1] - moments["upload"][0] >= 0.2
    assert moments["create"][1] - moments["create"][0] >= 0.3
    assert batch["status"] == "submitted" and len(api.batches()) == 1


def test_faults_that_do_not_pass(pipeline, api):
    pipeline.seed(words_receipt(1, 2))
    [batch] = pipeline.submit_now()
    api.fail("retrieve", Fault(500), times=4)
    with pytest.raises(ProviderError):
        pipeline.poll_now([batch])
    assert api.calls("retrieve") == 4, "the call and three repetitions"
    pipeline.set(OPENAI_API_KEY="sk-wrong")
    with pytest.raises(AuthError):
        pipeline.poll_now([batch])
    assert api.calls("retrieve") == 5, "a refused key is not tried again"


def test_the_breaker():
    breaker = Breaker(1000)
    for _ in range(3):
        breaker.check()
        breaker.failure()
    with pytest.raises(ProviderUnavailable):
        breaker.check()
    scattered = Breaker(1000)
    for _ in range(5):
        scattered.failure()
        scattered.failure()
        scattered.success()
        scattered.check()  # never three in a row


def test_the_breaker_recovers(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    breaker = Breaker(30)
    for _ in range(3):
        breaker.failure()
    now = 31
    breaker.check()
    breaker.success()
    breaker.failure()
    with pytest.raises(ProviderUnavailable):
        breaker.check()  # half open: one failure is enough
    now = 62
    breaker.check()
    breaker.success()
    breaker.success()
    breaker.failure()
    breaker.failure()
    breaker.check()  # closed: it takes three again


def test_time_runs_out(monkeypatch):
    now, left = 0.0, 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    clock = Clock(lambda: left)
    clock.check()
    with clock.step("building the delta", 30):
        now = 30
        clock.check()
        now = 31
        with pytest.raises(TimeRunningOut, match="building the delta took longer than 30 s"):
            clock.check()
    clock.check()
    left = 4.9
    with pytest.raises(TimeRunningOut, match="95 %"):
        clock.check()


def test_a_delta_that_takes_too_long_is_given_up(pipeline, monkeypatch):
    pipeline.seed(words_receipt(1, 2))
    [batch] = pipeline.submit_now()
    monkeypatch.setattr(polling, "DELTA_S", -1.0)
    with pytest.raises(TimeRunningOut, match="building the delta"):
        pipeline.poll_now([batch])
    assert pipeline.states() == {"PENDING": 2} and list(pipeline.vectors.list("words/delta/")) == []


async def test_slow_completion(pipeline, api):
    pipeline.seed(words_receipt(1, 3))
    api.decide = lambda batch, requests: Behaviour(
        polls=3, refusals={requests[0]["custom_id"]: Refusal(None, "late", "x")}
    )
    await pipeline.submit()
    states = []
    for _ in range(4):
        await pipeline.ingest()
        states += list(pipeline.summary_states())
    assert states == ["VALIDATING", "IN_PROGRESS", "FINALIZING", "COMPLETED"]
    assert pipeline.states() == {"SUCCESS": 2, "NONE": 1}


# --- keys and settings


def test_ids():
    with pytest.raises(ValidationError):
        parse("IMAGE#x#RECEIPT#00001#LINE#00001")
    with pytest.raises(ValidationError):
        ENTITIES["word"].parse_custom_id("IMAGE#11111111-2222-4333-8444-555555555555#RECEIPT#00001#LINE#00001")


def test_settings_name_everything_that_is_wrong():
    with pytest.raises(ValidationError) as error:
        Settings.from_environment({"S3_BUCKET": "b", "CHUNK_SIZE": "no", "VECTOR_SPACE": "round", "LOCK_TTL_S": "180"})
    for name in (
        "LOCK_TTL_S",
        "DYNAMODB_TABLE_NAME",
        "CHROMADB_BUCKET",
        "OPENAI_API_KEY",
        "CHUNK_SIZE",
        "VECTOR_SPACE",
    ):
        assert name in str(error.value)
