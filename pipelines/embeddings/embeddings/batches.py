"""Batch summaries: the record of each provider batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from embeddings.claims import ConditionFailed
from embeddings.entities import Entity
from embeddings.errors import ContractViolation
from embeddings.keys import now_iso
from stepwell.toolkit.errors import RecordExists
from stepwell.toolkit.records import Item, Table, begins_with

SUBMITTING = "SUBMITTING"
"""Internal: a provider batch may or may not exist yet."""
ACTIVE = ("PENDING", "VALIDATING", "IN_PROGRESS", "FINALIZING", "CANCELING")
TERMINAL = ("COMPLETED", "FAILED", "EXPIRED", "CANCELLED")


def key(batch_id: str) -> tuple[str, str]:
    """Primary key of a summary."""
    return f"BATCH#{batch_id}", "STATUS"


def get(table: Table, batch_id: str) -> Item | None:
    """The summary, or None."""
    return table.get(key(batch_id))


def create(table: Table, entity: Entity, batch_id: str, attributes: dict[str, Any]) -> Item:
    """Write the summary in state SUBMITTING unless there is one; gives the one that is there now."""
    item = {
        "PK": key(batch_id)[0],
        "SK": "STATUS",
        "TYPE": "BATCH_SUMMARY",
        "GSI1PK": f"STATUS#{SUBMITTING}",
        "GSI1SK": f"BATCH_TYPE#{entity.batch_type}#BATCH_ID#{batch_id}",
        "batch_id": batch_id,
        "batch_type": entity.batch_type,
        "openai_batch_id": "",
        "submitted_at": now_iso(),
        "status": SUBMITTING,
        "result_file_id": "N/A",
        **attributes,
    }
    try:
        table.put(item, if_absent=True)
    except RecordExists:
        found = get(table, batch_id)
        assert found is not None
        return found
    return item


def update(table: Table, batch_id: str, *, expect: Iterable[str], status: str | None = None, **changed: Any) -> Item:
    """Change attributes, and the state with its index entry, if the state is one of `expect`.

    Raises ConditionFailed when it is not, ContractViolation when there is no summary.
    """
    allowed = tuple(expect)

    def change(item: Item | None) -> Item:
        if item is None:
            raise ContractViolation(f"batch {batch_id} has no summary")
        if item["status"] not in allowed:
            raise ConditionFailed(item["status"])
        state = {} if status is None else {"status": status, "GSI1PK": f"STATUS#{status}"}
        return {**item, **changed, **state}

    stored = table.mutate(key(batch_id), change)
    assert stored is not None
    return stored


def listed(table: Table, entity: Entity, status: str) -> list[Item]:
    """All summaries of the entity in a state, as the index has them."""
    found: list[Item] = []
    after: str | None = None
    prefix = begins_with(f"BATCH_TYPE#{entity.batch_type}#")
    while True:
        page = table.query_page(f"STATUS#{status}", index="GSI1", sort=prefix, limit=25, after=after)
        found += page.items
        after = page.next
        if after is None:
            return found
