"""Ask the provider about one batch, and turn what it has made into a delta: a small Chroma directory."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embeddings import artifacts, batches, claims, results
from embeddings.entities import Entity, Record, Submitted
from embeddings.errors import (
    BatchNotFound,
    ContractViolation,
    DeltaInvalid,
    MissingArtifact,
    ProviderError,
    ValidationError,
)
from embeddings.keys import ItemKey, ReceiptKey, item_of, now_iso, seconds_since
from embeddings.payloads import load, optional, required, run_id, store
from embeddings.places import Found
from embeddings.receipts import read
from embeddings.services import Services
from embeddings.vectors import Page, opened
from stepwell import toolkit
from stepwell.toolkit.records import Item

log = toolkit.logger(__name__)
WAITING = {
    "validating": "VALIDATING",
    "in_progress": "IN_PROGRESS",
    "finalizing": "FINALIZING",
    "cancelling": "CANCELING",
    "canceling": "CANCELING",
}
WARN_HOURS = 20.0
EARLY_S = 3600.0
"""A batch the provider does not know may still appear within this time."""
DELTA_TRIES = 3
DETAILS_S, DELTA_S, ITEMS_S = 60.0, 300.0, 60.0
"""What reading the receipts, building the delta and settling the items may take; the place finder has a time of its own."""
UNPLACEABLE = "UNPLACEABLE"


@dataclass
class Poll:
    """One batch while it is looked at."""

    summary: Item
    action: str
    provider_status: str
    requests: list[Submitted] = field(default_factory=list)
    terminal: str | None = None
    outcome: results.Outcome = field(default_factory=results.Outcome)
    permanent: dict[str, str] = field(default_factory=dict)
    """Requests that the provider refused for good, with the reason."""
    summary_of_errors: dict[str, Any] = field(default_factory=dict)

    @property
    def batch_id(self) -> str:
        """The summary's id."""
        return str(self.summary["batch_id"])


def resolve(services: Services, event: Mapping[str, Any]) -> tuple[str, str]:
    """Our id and the provider's: by index from the manifest, else from the inline list, else from the event itself.

    Raises ValidationError for an index out of range.
    """
    index = optional(event, "batch_index", int)
    manifest = optional(event, "manifest_s3_key", str)
    inline = optional(event, "pending_batches", list)
    listed: list[Any] | None = inline
    if manifest:
        listed = load(services.work, manifest, dict).get("batches")
        if not isinstance(listed, list):
            raise ContractViolation(f"{manifest} has no list of batches")
    if listed is not None and index is not None:
        if not 0 <= index < len(listed):
            raise ValidationError(f"batch_index is {index}; there are {len(listed)} batches")
        entry = listed[index]
        if not isinstance(entry, Mapping):
            raise ContractViolation(f"batch {index} of the list is {type(entry).__name__}, not an object")
        return required(entry, "batch_id", str), required(entry, "openai_batch_id", str)
    return required(event, "batch_id", str), required(event, "openai_batch_id", str)


def poll(services: Services, entity: Entity, event: Mapping[str, Any]) -> dict[str, Any]:
    """Look after one batch; a reference of at most 400 bytes to the full result. See `_result` for what that holds.

    Items of accepted vectors stay PENDING: they are published by then in no snapshot.
    """
    run = run_id(event, "run_id")
    batch_id, openai_batch_id = resolve(services, event)
    summary = batches.get(services.table, batch_id)
    if summary is None:
        raise ContractViolation(f"batch {batch_id} has no summary")
    looked = _look(services, summary, openai_batch_id)
    if looked.action == "wait":
        result = _waiting(looked)
    elif looked.action in ("process_results", "process_partial"):
        result = _process(services, entity, looked, run)
        if event.get("skip_sqs_notification") is False and result.get("delta_key"):
            _announce(services, entity, result)
    else:
        result = _settle(services, entity, looked)
    key = f"poll_results/{run}/{batch_id}.json"
    store(services.work, key, result)
    return {
        "batch_id": batch_id,
        "result_s3_key": key,
        "result_s3_bucket": services.work.name,
        "action": result["action"],
    }


# --- what the provider says


def _look(services: Services, summary: Item, openai_batch_id: str) -> Poll:
    batch_id = str(summary["batch_id"])
    try:
        found = services.provider.retrieve_batch(openai_batch_id)
    except BatchNotFound:
        if seconds_since(summary["submitted_at"]) <= EARLY_S:
            raise
        looked = Poll(summary, "handle_failure", "not_found", terminal="FAILED")
        looked.requests = _requests(services, summary)
        looked.outcome.unreported = [request.custom_id for request in looked.requests]
        looked.summary_of_errors = {"batch_not_found": 1}
        return looked
    status = str(found["status"])
    _note(services, batch_id, last_polled_at=now_iso(), provider_status=status)
    if status in WAITING:
        if summary["status"] in batches.ACTIVE:
            summary = _note(services, batch_id, status=WAITING[status]) or summary
        return Poll(summary, "wait", status)
    if status not in ("completed", "expired", "cancelled", "failed"):
        raise ProviderError(f"batch {openai_batch_id} has the unknown status {status!r}")
    looked = Poll(summary, "process_results", status, terminal=status.upper())
    looked.requests = _requests(services, summary)
    if found.get("output_file_id"):
        _note(services, batch_id, result_file_id=found["output_file_id"])
    files = [
        services.provider.file_content(found[name])
        for name in (("output_file_id", "error_file_id") if status != "failed" else ("error_file_id",))
        if found.get(name)
    ]
    ids = [request.custom_id for request in looked.requests]
    looked.outcome = results.read(ids, files, services.settings.embed_dim)
    looked.summary_of_errors = dict(looked.outcome.error_types)
    if status == "failed":
        looked.action = "handle_failure"
        _validation_errors(looked, found)
    elif status != "completed":
        partial, nothing = "process_partial", "handle_failure" if status == "expired" else "handle_cancellation"
        looked.action = partial if looked.outcome.vectors else nothing
    return looked


def _validation_errors(looked: Poll, found: Mapping[str, Any]) -> None:
    """A batch that failed validation ran nothing; a request is to blame only if the error names its line (from 1 on)."""
    data = (found.get("errors") or {}).get("data") or []
    for error in data:
        if not isinstance(error, Mapping):
            continue
        code = str(error.get("code") or "unknown_error")
        looked.summary_of_errors[code] = looked.summary_of_errors.get(code, 0) + 1
        line = error.get("line")
        if isinstance(line, int) and 1 <= line <= len(looked.requests):
            looked.permanent[looked.requests[line - 1].custom_id] = f"{code}: {error.get('message')}"


def _requests(services: Services, summary: Item) -> list[Submitted]:
    key = str(summary["requests_key"])
    document = load(services.work, key, dict)
    listed = document.get("requests")
    if not isinstance(listed, list):
        raise ContractViolation(f"{key} has no list of requests")
    return [
        Submitted(
            entry["custom_id"], tuple(item_of(dict(member)) for member in entry["members"]), entry["input_sha256"]
        )
        for entry in listed
    ]


def _note(services: Services, batch_id: str, *, status: str | None = None, **changed: Any) -> Item | None:
    """Bookkeeping on an active summary; a terminal one is left as it is."""
    try:
        return batches.update(services.table, batch_id, expect=batches.ACTIVE, status=status, **changed)
    except claims.ConditionFailed:
        return None


# --- no results


def _waiting(looked: Poll) -> dict[str, Any]:
    hours = seconds_since(looked.summary["submitted_at"]) / 3600
    if hours > WARN_HOURS:
        log.warning(
            "a batch takes long", event_type="batch_slow", batch_id=looked.batch_id, hours_elapsed=round(hours, 1)
        )
    return {**_envelope(looked), "hours_elapsed": round(hours, 3)}


def _settle(services: Services, entity: Entity, looked: Poll) -> dict[str, Any]:
    """A batch without results: let go of its items, and only then close it."""
    released, failed = _let_go(services, looked, set())
    assert looked.terminal is not None
    try:
        batches.update(
            services.table,
            looked.batch_id,
            expect=batches.ACTIVE,
            status=looked.terminal,
            error_summary=looked.summary_of_errors,
        )
    except claims.ConditionFailed:
        log.info("the batch is closed already", event_type="batch_closed", batch_id=looked.batch_id)
    return {
        **_envelope(looked),
        "terminal_status": looked.terminal,
        "released": released,
        "failed": failed,
        "error_types": looked.summary_of_errors,
    }


def _let_go(
    services: Services, looked: Poll, dropped: Iterable[ItemKey], unplaceable: Iterable[ItemKey] = ()
) -> tuple[int, int]:
    """Release what may be tried again, and fail what may not: permanent errors, and items at the limit of their attempts."""
    by_id = {request.custom_id: request.members for request in looked.requests}
    free: set[ItemKey] = {key for one in looked.outcome.unreported for key in by_id[one]} | set(dropped)
    hopeless: dict[str, set[ItemKey]] = {UNPLACEABLE: set(unplaceable)}
    retryable: dict[ItemKey, str] = {}
    for one, failure in looked.outcome.failures.items():
        if failure.permanent:
            hopeless.setdefault(failure.message, set()).update(by_id[one])
        else:
            retryable.update((key, failure.message) for key in by_id[one])
    for one, message in looked.permanent.items():
        hopeless.setdefault(message, set()).update(by_id[one])
    records = services.table.batch_get({key.record for key in retryable}) if retryable else {}
    for key, message in retryable.items():
        attempts = int(records.get(key.record, {}).get("embedding_attempts") or 0)
        if attempts >= services.settings.max_item_attempts:
            hopeless.setdefault(message, set()).add(key)
        else:
            free.add(key)
    bad = {key for keys in hopeless.values() for key in keys}
    failed = 0
    with services.clock.step("settling the items", ITEMS_S):
        for message, keys in hopeless.items():
            services.clock.check()
            failed += claims.fail(services.table, keys, looked.batch_id, message)
        services.clock.check()
        return claims.release(services.table, free - bad, looked.batch_id), failed


# --- results


def _process(services: Services, entity: Entity, looked: Poll, run: str) -> dict[str, Any]:
    by_receipt: dict[ReceiptKey, list[Submitted]] = {}
    for request in looked.requests:
        if request.custom_id in looked.outcome.vectors:
            by_receipt.setdefault(request.members[0].receipt, []).append(request)
    accepted: dict[str, tuple[Record, tuple[ItemKey, ...]]] = {}
    release: set[ItemKey] = set()
    unplaceable: set[ItemKey] = set()
    skipped = {"stale": 0, "gone": 0, "unplaceable": 0, "unknown_ids": looked.outcome.unknown}
    for receipt_key, requests in by_receipt.items():
        services.clock.check()
        place = services.places.ensure(receipt_key)
        if place is Found.UNPLACEABLE:
            skipped["unplaceable"] += len(requests)
            unplaceable.update(key for request in requests for key in request.members)
            continue
        with services.clock.step("reading a receipt", DETAILS_S):
            receipt = None if place is Found.GONE else read(services.table, receipt_key, sections=entity.needs_sections)
            services.clock.check()
        if receipt is None:
            skipped["gone"] += len(requests)
            continue
        verdict = entity.check_stale(receipt, requests, looked.batch_id)
        accepted.update(verdict.accepted)
        release |= verdict.release
        skipped["stale"] += verdict.stale
        skipped["gone"] += verdict.gone
    result = {
        **_envelope(looked),
        "results_count": len(looked.outcome.vectors) + len(looked.outcome.failures),
        "embedding_count": len(accepted),
        "storage": "s3_delta",
        "collection": entity.database,
        "database": entity.database,
        "submitted_at": looked.summary["submitted_at"],
        "terminal_status": looked.terminal,
    }
    if accepted:
        with services.clock.step("building the delta", DELTA_S):
            delta_id = _build_delta(services, entity, looked, accepted, run)
        result |= {"delta_id": delta_id, "delta_key": f"{entity.delta_prefix}{delta_id}/"}
    else:
        result |= {"skipped_all": True, "skip_reason": _reason(looked, skipped)}
    released, failed = _let_go(services, looked, release, unplaceable)
    if looked.summary_of_errors:
        _note(services, looked.batch_id, error_summary=looked.summary_of_errors)
    return {
        **result,
        "embedded_items": [key.document() for key in sorted({key for _, keys in accepted.values() for key in keys})],
        "released": released,
        "failed": failed,
        "error_types": looked.summary_of_errors,
        "skipped": skipped,
    }


def _reason(looked: Poll, skipped: Mapping[str, int]) -> str:
    if not looked.outcome.vectors:
        return "no request has a vector"
    return ", ".join(f"{count} {name}" for name, count in skipped.items() if count) or "nothing to publish"


def _envelope(looked: Poll) -> dict[str, Any]:
    return {
        "batch_id": looked.batch_id,
        "openai_batch_id": looked.summary["openai_batch_id"],
        "batch_status": looked.provider_status,
        "action": looked.action,
    }


def _build_delta(
    services: Services,
    entity: Entity,
    looked: Poll,
    accepted: Mapping[str, tuple[Record, tuple[ItemKey, ...]]],
    run: str,
) -> str:
    """Write the accepted records to a directory of their own, upload it, and read it back; the delta's id.

    Raises DeltaInvalid after 3 attempts.
    """
    attempt = 1
    while True:
        services.clock.check()
        delta_id = uuid.uuid4().hex
        prefix = f"{entity.delta_prefix}{delta_id}/"
        try:
            _write_delta(services, entity, looked, accepted, prefix, run)
        except (DeltaInvalid, MissingArtifact) as error:
            artifacts.remove(services.vectors, prefix)
            if attempt == DELTA_TRIES:
                raise DeltaInvalid(f"the delta of batch {looked.batch_id} failed {attempt} times: {error}") from error
            time.sleep(0.5 * attempt)
            attempt += 1
        else:
            return delta_id


def _write_delta(
    services: Services,
    entity: Entity,
    looked: Poll,
    accepted: Mapping[str, tuple[Record, tuple[ItemKey, ...]]],
    prefix: str,
    run: str,
) -> None:
    settings = services.settings
    with tempfile.TemporaryDirectory(prefix="delta-") as folder:
        path = Path(folder) / "delta"
        with opened(path) as directory:
            target = directory.ensure(entity.database, settings.vector_space)
            for ids in claims.chunks(sorted(accepted), settings.vector_page):
                services.clock.check()
                records = [accepted[one][0] for one in ids]
                matrix = np.array([looked.outcome.vectors[one] for one in ids], dtype=np.float32)
                page = Page(
                    [record.id for record in records],
                    matrix,
                    [record.document for record in records],
                    [record.metadata for record in records],
                )
                target.replace_page(page, known=set())
        artifacts.upload(
            services.vectors,
            prefix,
            path,
            entity,
            kind="delta",
            count=len(accepted),
            run_id=run,
            source_deltas=[prefix],
            batch_ids=[looked.batch_id],
        )
        services.clock.check()
        copy = Path(folder) / "copy"
        artifacts.download(services.vectors, prefix, copy)
        with opened(copy) as directory:
            found = directory.only().count()
        if found != len(accepted):
            raise DeltaInvalid(f"{prefix} holds {found} of {len(accepted)} records")


def _announce(services: Services, entity: Entity, result: Mapping[str, Any]) -> None:
    """Tell the compaction queue of a delta that no state machine will merge."""
    if not services.settings.compaction_queue:
        return
    message = {
        "delta_key": result["delta_key"],
        "collection": entity.database,
        "database": entity.database,
        "vector_count": result["embedding_count"],
        "timestamp": now_iso(),
        "batch_id": result["batch_id"],
    }
    toolkit.topic(services.settings.compaction_queue).publish("delta", message)
