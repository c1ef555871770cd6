"""Which batches an ingest run looks after."""

from __future__ import annotations

import uuid
from typing import Any

from embeddings import batches
from embeddings.entities import Entity
from embeddings.keys import now_iso
from embeddings.payloads import checked, size, store
from embeddings.services import Services

_EPOCH = "1970-01-01T00:00:00.000000+00:00"


def list_pending(services: Services, entity: Entity, *, run_id: str | None, limit: int | None) -> dict[str, Any]:
    """All active batches, those polled longest ago first, cut to `limit` (0: no cap), inline or as a manifest."""
    run_id = run_id or str(uuid.uuid4())
    limit = services.settings.max_batches if limit is None else limit
    found = {
        item["batch_id"]: item for status in batches.ACTIVE for item in batches.listed(services.table, entity, status)
    }
    ordered = sorted(
        found.values(), key=lambda item: (item.get("last_polled_at") or _EPOCH, item["submitted_at"], item["batch_id"])
    )
    if limit > 0:
        ordered = ordered[:limit]
    pending = [{"batch_id": item["batch_id"], "openai_batch_id": item["openai_batch_id"]} for item in ordered]
    return listing(services, entity, run_id, pending)


def listing(services: Services, entity: Entity, run_id: str, pending: list[dict[str, str]]) -> dict[str, Any]:
    """The list as the state machine carries it: inline up to 50 batches and 153,600 bytes, both included."""
    settings = services.settings
    result: dict[str, Any] = {
        "pending_batches": pending,
        "batch_indices": list(range(len(pending))),
        "use_s3": False,
        "manifest_s3_key": None,
        "manifest_s3_bucket": None,
        "execution_id": run_id,
        "total_batches": len(pending),
    }
    if size(pending) <= settings.inline_limit and len(pending) <= settings.manifest_max_inline:
        return checked(result)
    key = f"poll_manifests/{run_id}/manifest.json"
    document = {
        "execution_id": run_id,
        "created_at": now_iso(),
        "total_batches": len(pending),
        "batch_type": entity.name,
        "batches": [{"index": index, **batch} for index, batch in enumerate(pending)],
    }
    store(services.work, key, document)
    manifest = {"manifest_s3_key": key, "manifest_s3_bucket": services.work.name}
    return checked({**result, "pending_batches": None, "use_s3": True, **manifest})
