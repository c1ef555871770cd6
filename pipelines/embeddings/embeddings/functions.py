"""The functions of the pipeline, as the state machines call them. Each is also the entry point of an AWS Lambda function.

A failure is an exception: no function answers with a status code that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from embeddings import merging, polling, publishing, splitting
from embeddings.entities import Entity, entity_named, entity_of
from embeddings.errors import ValidationError
from embeddings.finding import find_and_claim
from embeddings.listing import list_pending as list_batches
from embeddings.marking import mark_complete
from embeddings.payloads import optional, required, run_id
from embeddings.reconciling import reconcile as reconcile_items
from embeddings.services import Clock, Services
from embeddings.submitting import submit
from stepwell.toolkit import logs

Event = Mapping[str, Any]


def find_unembedded(event: Event, context: Any) -> dict[str, Any]:
    """Event: `{entity, run_id, submission_namespace?, max_receipts?}`. Claims receipts; each becomes a batch to submit."""
    with _services(event, context, "run_id") as services:
        return find_and_claim(
            services,
            _entity(event),
            run_id=run_id(event, "run_id"),
            namespace=optional(event, "submission_namespace", str) or "incremental",
            limit=optional(event, "max_receipts", int),
        )


def submit_batch(event: Event, context: Any) -> dict[str, Any]:
    """Event: `{entity, run_id, batch_id, s3_key, image_id, receipt_id}`. Sends one claimed receipt to the provider, once."""
    with _services(event, context, "run_id") as services:
        return submit(services, _entity(event), event, run_id(event, "run_id"))


def list_pending(event: Event, context: Any) -> dict[str, Any]:
    """Event: `{batch_type, execution_id?, max_batches?}`. The active batches, inline or as a manifest."""
    with _services(event, context, "execution_id") as services:
        return list_batches(
            services,
            entity_named(required(event, "batch_type", str)),
            run_id=run_id(event, "execution_id") if event.get("execution_id") else None,
            limit=optional(event, "max_batches", int),
        )


def poll_batch(event: Event, context: Any) -> dict[str, Any]:
    """Event: `{entity, run_id, batch_index, manifest_s3_key?, pending_batches?}`. Looks after one batch; a reference."""
    with _services(event, context, "run_id") as services:
        return polling.poll(services, _entity(event), event)


def normalize_poll_results(event: Event, context: Any) -> dict[str, Any]:
    """Event: `{batch_id, poll_results, database}`. All results of a run in one object."""
    with _services(event, context, "batch_id") as services:
        return splitting.normalize(services, event)


def split_into_chunks(event: Event, context: Any) -> dict[str, Any]:
    """Event: `{operation: "split" | "load_chunks_from_s3", ...}`."""
    with _services(event, context, "batch_id") as services:
        return _operation(
            event,
            {
                "split": lambda: splitting.split(services, _entity(event), event),
                "load_chunks_from_s3": lambda: splitting.load_chunks(services, event),
            },
        )


def create_chunk_groups(event: Event, context: Any) -> dict[str, Any]:
    """Event: `{operation: "create" | "load_groups_from_s3", ...}`."""
    with _services(event, context, "batch_id") as services:
        return _operation(
            event,
            {
                "create": lambda: splitting.create_groups(services, event),
                "load_groups_from_s3": lambda: splitting.load_groups(services, event),
            },
        )


def vector_compact(event: Event, context: Any) -> dict[str, Any]:
    """Event: `{operation: "process_chunk" | "merge_chunk_group" | "final_merge", batch_id, database, ...}`."""
    with _services(event, context, "batch_id") as services:
        return _operation(
            event,
            {
                "process_chunk": lambda: merging.process_chunk(services, _entity(event), event),
                "merge_chunk_group": lambda: merging.merge_group(services, _entity(event), event),
                "final_merge": lambda: publishing.final_merge(services, _entity(event), event),
            },
        )


def mark_batches_complete(event: Event, context: Any) -> dict[str, Any]:
    """Event: `{entity, poll_results, poll_results_s3_key, expect_deltas}`. Items become SUCCESS, batches are closed."""
    with _services(event, context, "run_id") as services:
        return mark_complete(services, _entity(event), event)


def reconcile(event: Event, context: Any) -> dict[str, Any]:
    """Event: `{entity}`. One pass of repairs; see `embeddings.reconciling`."""
    with _services(event, context, "run_id") as services:
        return reconcile_items(services, _entity(event))


def _entity(event: Event) -> Entity:
    name = optional(event, "entity", str)
    return entity_named(name) if name else entity_of(required(event, "database", str))


def _operation(event: Event, operations: Mapping[str, Callable[[], dict[str, Any]]]) -> dict[str, Any]:
    name = required(event, "operation", str)
    if name not in operations:
        raise ValidationError(f"operation {name!r} is not known; there is {', '.join(operations)}")
    return operations[name]()


@contextmanager
def _services(event: Any, context: Any, run: str) -> Iterator[Services]:
    if not isinstance(event, Mapping):
        raise ValidationError(f"the event must be an object, not {type(event).__name__}")
    clock = Clock(lambda: context.get_remaining_time_in_millis() / 1000)
    with logs.bind(correlation_id=event.get(run), function_name=context.function_name):
        yield Services.from_environment(clock)
