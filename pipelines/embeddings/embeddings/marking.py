"""The end of a run: what was published is SUCCESS, and only then are its batches closed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embeddings import batches, claims
from embeddings.entities import Entity
from embeddings.errors import ContractViolation, ValidationError
from embeddings.payloads import checked, optional
from embeddings.services import Services
from embeddings.splitting import PUBLISHING, deltas, poll_results

LISTED = 1_000
"""Batch ids in the answer: 1,000 of them have 39,000 bytes of JSON."""


def mark_complete(services: Services, entity: Entity, event: Mapping[str, Any]) -> dict[str, Any]:
    """Items of published deltas become SUCCESS, then batches with results their terminal state. Again is harmless.

    Items that another batch holds by now are left to it (`items_skipped`). Raises ValidationError without poll results.
    """
    results = poll_results(services, event)
    if results is None:
        raise ValidationError(
            "there are no poll results, neither inline nor as a file: nothing can be said to be complete"
        )
    published = deltas(results)
    if published and optional(event, "expect_deltas", bool, True) is False:
        raise ContractViolation(f"{len(published)} results have deltas, and none were merged")
    marked = skipped = 0
    for result in published:
        services.clock.check()
        keys = dict.fromkeys(entity.item_key(item) for item in result.get("embedded_items") or [])
        good, bad = claims.succeed(services.table, keys, result["batch_id"])
        marked, skipped = marked + good, skipped + bad
    closed = []
    for result in results:
        if result.get("action") not in PUBLISHING:
            continue
        try:
            batches.update(
                services.table,
                result["batch_id"],
                expect=batches.ACTIVE,
                status=result.get("terminal_status") or "COMPLETED",
            )
            closed.append(result["batch_id"])
        except claims.ConditionFailed:
            continue  # closed by another run, or by an earlier attempt of this one
    return checked(
        {
            "batches_marked": len(closed),
            "batch_ids": closed[:LISTED],
            "items_marked": marked,
            "items_skipped": skipped,
        }
    )
