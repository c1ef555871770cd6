"""Put right what crashes and people left behind: claims without a batch, noise, receipts that have a place by now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from embeddings import batches, claims
from embeddings.entities import Entity
from embeddings.keys import ItemKey, seconds_since
from embeddings.polling import UNPLACEABLE
from embeddings.receipts import place_of
from embeddings.services import Services
from embeddings.submitting import adopt
from stepwell import toolkit
from stepwell.toolkit.records import Item, begins_with

log = toolkit.logger(__name__)
STATUSES = ("NONE", "PENDING", "SUCCESS", "FAILED", "NOISE")


def reconcile(services: Services, entity: Entity) -> dict[str, Any]:
    """One pass over the entity's batches and items; counts of what was changed. All writes are conditional."""
    counts = dict.fromkeys(("adopted", "abandoned", "released", "noise", "denoised", "placed", "overdue"), 0)
    grace = services.settings.claim_grace_min * 60
    for summary in batches.listed(services.table, entity, batches.SUBMITTING):
        if seconds_since(summary["submitted_at"]) <= grace:
            continue
        if adopt(services, summary) is not None:
            counts["adopted"] += 1
        else:
            counts["released"] += _abandon(services, entity, summary)
            counts["abandoned"] += 1
    counts["released"] += _release_orphans(services, entity, grace)
    counts["noise"], counts["denoised"] = _noise(services, entity)
    counts["placed"] = _placed(services, entity)
    for status in batches.ACTIVE:
        for summary in batches.listed(services.table, entity, status):
            hours = seconds_since(summary["submitted_at"]) / 3600
            if hours > services.settings.stale_batch_h:
                counts["overdue"] += 1
                log.error(
                    "a batch is overdue",
                    event_type="batch_overdue",
                    batch_id=summary["batch_id"],
                    hours=round(hours, 1),
                )
    return {"entity": entity.name, **counts}


def _abandon(services: Services, entity: Entity, summary: Item) -> int:
    """The provider never got this batch: free its items, then close it."""
    batch_id = str(summary["batch_id"])
    held = [key for key, item in _items(services, entity, "PENDING") if item.get("embedding_batch_id") == batch_id]
    released = claims.release(services.table, held, batch_id)
    try:
        batches.update(
            services.table,
            batch_id,
            expect=(batches.SUBMITTING,),
            status="FAILED",
            error_summary={"never_submitted": 1},
        )
    except claims.ConditionFailed:
        log.info("the batch was adopted meanwhile", event_type="batch_adopted", batch_id=batch_id)
    return released


def _release_orphans(services: Services, entity: Entity, grace: float) -> int:
    summaries: dict[str, Item | None] = {}
    orphans: dict[str, list[ItemKey]] = {}
    for key, item in _items(services, entity, "PENDING"):
        claimed, batch_id = item.get("claimed_at"), str(item.get("embedding_batch_id") or "")
        if claimed and seconds_since(claimed) <= grace:
            continue
        if batch_id not in summaries:
            summaries[batch_id] = batches.get(services.table, batch_id) if batch_id else None
        summary = summaries[batch_id]
        if summary is None or summary["status"] in batches.TERMINAL:
            orphans.setdefault(batch_id, []).append(key)
    return sum(claims.release(services.table, keys, batch_id) for batch_id, keys in orphans.items())


def _noise(services: Services, entity: Entity) -> tuple[int, int]:
    marked = cleared = 0
    for status in STATUSES:
        wanted = status == "NOISE"
        for key, item in list(_items(services, entity, status)):
            if bool(item.get("is_noise")) == wanted:
                continue
            changed = _changed(services, key, _misplaced(status, wanted), "NONE" if wanted else "NOISE")
            marked, cleared = (marked, cleared + changed) if wanted else (marked + changed, cleared)
    return marked, cleared


def _misplaced(status: str, wanted: bool) -> Callable[[Item], bool]:
    return lambda found: found.get("embedding_status") == status and bool(found.get("is_noise")) != wanted


def _placed(services: Services, entity: Entity) -> int:
    count = 0
    for key, item in list(_items(services, entity, "FAILED")):
        if item.get("embedding_error") == UNPLACEABLE and place_of(services.table, key.receipt) is not None:
            count += _changed(
                services,
                key,
                lambda found: found.get("embedding_status") == "FAILED" and found.get("embedding_error") == UNPLACEABLE,
                "NONE",
                without=("embedding_error",),
                embedding_attempts=0,
            )
    return count


def _changed(
    services: Services,
    key: ItemKey,
    still: Callable[[Item], bool],
    status: str,
    *,
    without: Sequence[str] = (),
    **attributes: Any,
) -> int:
    def change(item: Item | None) -> Item:
        if item is None or not still(item):
            raise claims.ConditionFailed
        kept = {name: value for name, value in item.items() if name not in without}
        return claims.with_status(kept, status, **attributes)

    try:
        services.table.mutate(key.record, change)
    except claims.ConditionFailed:
        return 0
    return 1


def _items(services: Services, entity: Entity, status: str) -> Iterator[tuple[ItemKey, Item]]:
    for item in services.table.query(
        f"EMBEDDING_STATUS#{status}", index="GSI1", sort=begins_with(entity.discover_prefix)
    ):
        yield entity.item_key(item), item
