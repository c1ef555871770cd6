"""Send one receipt's claimed items to the provider, once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from embeddings import batches
from embeddings.claims import ConditionFailed, claim
from embeddings.config import MAX_FILE_BYTES, MAX_REQUESTS, Settings
from embeddings.entities import Entity, Request
from embeddings.errors import ContractViolation, ValidationError
from embeddings.keys import ItemKey, ReceiptKey, now_iso
from embeddings.payloads import required, store
from embeddings.provider import request_options
from embeddings.receipts import Receipt, read
from embeddings.services import Services
from stepwell import toolkit
from stepwell.toolkit.errors import ObjectNotFound
from stepwell.toolkit.records import Item

log = toolkit.logger(__name__)
ADOPTION_MARGIN_S = 600.0
"""The provider's clock and ours may differ by this much."""


def submit(services: Services, entity: Entity, event: Mapping[str, Any], run_id: str) -> dict[str, Any]:
    """Submit a batch that `find_and_claim` made; again is harmless. Raises ValidationError beyond the provider's limits.

    A failure leaves the claims and the summary as they are: a batch may exist at the provider by then, and a repetition (or the
    reconciler) finds it by its metadata.
    """
    batch_id = required(event, "batch_id", str)
    receipt_key = ReceiptKey(required(event, "image_id", str), required(event, "receipt_id", int))
    summary = batches.get(services.table, batch_id)
    if summary is not None and summary["status"] != batches.SUBMITTING:
        return _answer(summary, "replayed")
    if summary is not None:
        adopted = adopt(services, summary)
        if adopted is not None:
            return _answer(adopted, "adopted")
    if summary is None or not summary.get("openai_input_file_id"):
        summary = _prepare(services, entity, event, batch_id, receipt_key, run_id)
        if summary is None:
            return _answer({"batch_id": batch_id}, "nothing_to_submit")
        if summary["status"] != batches.SUBMITTING:
            return _answer(summary, "replayed")
    file_id = summary["openai_input_file_id"]
    made = services.provider.create_batch(
        file_id, {"model": services.settings.embed_model, "batch_id": batch_id, "entity": entity.name}
    )
    return _answer(_started(services, summary, made), "submitted")


def _prepare(
    services: Services, entity: Entity, event: Mapping[str, Any], batch_id: str, receipt_key: ReceiptKey, run_id: str
) -> Item | None:
    """Write down what is to be embedded, here and at the provider; the summary with its file's id, None for nothing."""
    items = _claimed_items(services, entity, event)
    receipt = read(services.table, receipt_key)
    texts = [] if receipt is None else (receipt.lines if entity.name == "line" else receipt.words)
    held = {text.key for text in texts if text.status == "PENDING" and text.batch_id == batch_id}
    if receipt is None or not held & items:
        return None
    requests = entity.build_requests(receipt, held)
    held |= _claim_mates(services, requests, receipt, held, batch_id, run_id)
    content = input_file(requests, services.settings)
    folder = f"submissions/{entity.database}/batches/{batch_id}"
    services.work.put(f"{folder}/input.jsonl", content, content_type="application/jsonl")
    store(services.work, f"{folder}/requests.json", _sidecar(entity, requests))
    attributes: dict[str, Any] = {
        "receipt_refs": [receipt_key.reference()],
        "requests_key": f"{folder}/requests.json",
        "request_count": len(requests),
        "item_count": len(held),
        "attempt": max(text.attempts for text in texts if text.key in held),
    }
    summary = batches.create(services.table, entity, batch_id, attributes)
    if summary["status"] != batches.SUBMITTING or summary.get("openai_input_file_id"):
        return summary
    file_id = services.provider.upload_file(f"{batch_id}.jsonl", content)
    # The counts are those of this file: an earlier attempt may have been stopped before it had written its own.
    return batches.update(
        services.table, batch_id, expect=(batches.SUBMITTING,), openai_input_file_id=file_id, **attributes
    )


def adopt(services: Services, summary: Item) -> Item | None:
    """Take over the provider's batch of a summary in state SUBMITTING, if there is one; the summary as it is then."""
    since = datetime.fromisoformat(summary["submitted_at"]).timestamp() - ADOPTION_MARGIN_S
    made = services.provider.find_batch(summary["batch_id"], since)
    return None if made is None else _started(services, summary, made)


def input_file(requests: list[Request], settings: Settings) -> bytes:
    """The provider's file of requests. Raises ValidationError above 50,000 requests or 200 MB."""
    body = request_options(settings)
    lines = [
        json.dumps(
            {
                "custom_id": request.custom_id,
                "method": "POST",
                "url": "/v1/embeddings",
                "body": {**body, "input": request.input},
            },
            separators=(",", ":"),
            ensure_ascii=False,
        )
        for request in requests
    ]
    content = "".join(line + "\n" for line in lines).encode()
    if len(lines) > MAX_REQUESTS or len(content) > MAX_FILE_BYTES:
        raise ValidationError(
            f"{len(lines)} requests of {len(content)} bytes; a batch takes {MAX_REQUESTS} of {MAX_FILE_BYTES} bytes"
        )
    return content


def _started(services: Services, summary: Item, made: Mapping[str, Any]) -> Item:
    changed = {"openai_batch_id": made["id"], "openai_input_file_id": made["input_file_id"], "submitted_at": now_iso()}
    try:
        return batches.update(
            services.table, summary["batch_id"], expect=(batches.SUBMITTING,), status="PENDING", **changed
        )
    except ConditionFailed:
        # Somebody adopted it meanwhile: it is the same batch.
        return batches.get(services.table, summary["batch_id"]) or summary


def _claimed_items(services: Services, entity: Entity, event: Mapping[str, Any]) -> set[ItemKey]:
    key = required(event, "s3_key", str)
    try:
        content = services.work.get(key)
    except ObjectNotFound:
        raise ContractViolation(f"the claimed items {key} are not in {services.work.name}") from None
    return {entity.item_key(json.loads(line)) for line in content.splitlines() if line.strip()}


def _claim_mates(
    services: Services, requests: list[Request], receipt: Receipt, held: set[ItemKey], batch_id: str, run_id: str
) -> set[ItemKey]:
    """Claim what shares a row with a claimed line; what another batch holds is left to it."""
    claimed: set[ItemKey] = set()
    change = claim(batch_id, run_id, now_iso(), allowed=("NONE", "FAILED", "SUCCESS"))
    for request in requests:
        for key in request.members:
            if key in held:
                continue
            try:
                services.table.mutate(key.record, change)
                claimed.add(key)
            except ConditionFailed:
                log.info("a row mate belongs to another batch", event_type="mate_not_claimed", item=key.custom_id)
    return claimed


def _sidecar(entity: Entity, requests: list[Request]) -> dict[str, Any]:
    return {
        "format_version": entity.format_version,
        "requests": [
            {
                "custom_id": request.custom_id,
                "members": [key.document() for key in request.members],
                "input_sha256": request.digest,
            }
            for request in requests
        ],
    }


def _answer(summary: Mapping[str, Any], status: str) -> dict[str, Any]:
    return {
        "batch_id": summary["batch_id"],
        "openai_batch_id": summary.get("openai_batch_id") or None,
        "openai_file_id": summary.get("openai_input_file_id"),
        "request_count": summary.get("request_count", 0),
        "item_count": summary.get("item_count", 0),
        "status": status,
    }
