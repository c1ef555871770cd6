"""Find items that were never embedded and claim them, receipt by receipt."""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from embeddings import batches
from embeddings.claims import claim_all
from embeddings.entities import Entity
from embeddings.errors import ValidationError
from embeddings.keys import ItemKey, ReceiptKey
from embeddings.payloads import load, store
from embeddings.services import Services
from stepwell import toolkit
from stepwell.toolkit.records import Item, begins_with

log = toolkit.logger(__name__)
_NAMESPACE = re.compile(r"[a-z0-9._-]{1,64}")
_PRIVATE = frozenset(
    [
        "GSI1PK",
        "GSI1SK",
        "embedding_status",
        "embedding_batch_id",
        "claimed_at",
        "claimed_by",
        "embedding_attempts",
        "embedding_error",
    ]
)
"""What a claim changes: no part of an item's content, and so not of its hash."""


def find_and_claim(
    services: Services, entity: Entity, *, run_id: str, namespace: str = "incremental", limit: int | None = None
) -> dict[str, Any]:
    """Claim up to `limit` receipts' items; each receipt becomes one batch. Repeatable within a run.

    What is to be claimed is written down for the run before it is claimed, so that a repetition after a crash finishes what was
    begun instead of splitting a receipt.
    """
    namespace = namespace.lower()
    if not _NAMESPACE.fullmatch(namespace):
        raise ValidationError(f"submission_namespace is {namespace[:80]!r}; it has 1-64 of a-z, 0-9, '.', '_' and '-'")
    limit = services.settings.max_receipts_per_run if limit is None else limit
    journal = f"submissions/{entity.database}/runs/{run_id}/"
    made: list[dict[str, Any]] = []
    claimed = 0
    for found in services.work.list(journal):
        entry = load(services.work, found.key, dict)
        keys = [entity.item_key(key) for key in entry["items"]]
        if claim_all(services.table, keys, entry["batch"]["batch_id"], run_id):
            made.append(entry["batch"])
            claimed += len(keys)
        else:
            services.work.delete(found.key)
    has_more = False
    done = {ReceiptKey(batch["image_id"], batch["receipt_id"]) for batch in made}
    for receipt in _receipts(services, entity):
        if receipt in done:
            continue
        if len(made) >= limit:
            has_more = True
            break
        items = _fresh(services, entity, receipt)
        if not items:
            continue
        batch, content = _batch(services, entity, receipt, items, namespace)
        services.work.put(batch["s3_key"], content, content_type="application/x-ndjson")
        keys = sorted(items)
        store(
            services.work,
            f"{journal}{batch['batch_id']}.json",
            {"batch": batch, "items": [key.document() for key in keys]},
        )
        if claim_all(services.table, keys, batch["batch_id"], run_id):
            made.append(batch)
            claimed += len(keys)
        else:
            services.work.delete(f"{journal}{batch['batch_id']}.json")
            log.info("receipt belongs to another run", event_type="claim_lost", receipt=receipt.index)
    made.sort(key=lambda batch: (batch["image_id"], batch["receipt_id"]))
    return {
        "entity": entity.name,
        "submission_namespace": namespace,
        "batches": made,
        "claimed_items": claimed,
        "batch_count": len(made),
        "has_more": has_more,
    }


def _receipts(services: Services, entity: Entity) -> Iterator[ReceiptKey]:
    """Receipts with items in state NONE, in the order of the index; noise does not count."""
    last: ReceiptKey | None = None
    after: str | None = None
    while True:
        page = services.table.query_page(
            "EMBEDDING_STATUS#NONE",
            index="GSI1",
            sort=begins_with(entity.discover_prefix),
            limit=services.settings.discovery_page,
            after=after,
        )
        for record in page.items:
            receipt = entity.item_key(record).receipt
            if receipt != last and not record.get("is_noise"):
                last = receipt
                yield receipt
        after = page.next
        if after is None:
            return
        services.clock.check()


def _fresh(services: Services, entity: Entity, receipt: ReceiptKey) -> dict[ItemKey, Item]:
    """The receipt's items that can be claimed, as the base table has them now.

    None of them while a claim on the receipt is being made (or was abandoned: the reconciler frees those): what that claim has not
    reached yet belongs to it.
    """
    prefix = begins_with(f"RECEIPT#{receipt.receipt_id:05d}#LINE#")
    records = [r for r in services.table.query(receipt.partition, sort=prefix) if r.get("TYPE") == entity.record_type]
    claims = {r["embedding_batch_id"] for r in records if r.get("embedding_status") == "PENDING"}
    if any(batches.get(services.table, batch_id) is None for batch_id in claims):
        return {}
    return {
        entity.item_key(record): record
        for record in records
        if record.get("embedding_status", "NONE") == "NONE" and not record.get("is_noise")
    }


def _batch(
    services: Services, entity: Entity, receipt: ReceiptKey, items: dict[ItemKey, Item], namespace: str
) -> tuple[dict[str, Any], bytes]:
    lines = [canonical(items[key]) for key in sorted(items)]
    content = b"".join(line + b"\n" for line in lines)
    digest = hashlib.sha256(content).hexdigest()[:16]
    database, bucket = entity.database, services.work.name
    key = f"submissions/{database}/{namespace}/{database}-{receipt.image_id}-{receipt.receipt_id}-{digest}.ndjson"
    attempt = 1 + max(int(item.get("embedding_attempts") or 0) for item in items.values())
    batch_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{entity.name}:{bucket}:{key}:{attempt}"))
    batch = {"batch_id": batch_id, "s3_key": key, "s3_bucket": bucket, **receipt.reference()}
    return batch, content


def canonical(item: Item) -> bytes:
    """One line of the NDJSON: the record without what a claim changes, with sorted keys."""
    content = {name: value for name, value in item.items() if name not in _PRIVATE}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_number).encode()


def _number(value: Any) -> float:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
