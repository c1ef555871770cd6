"""The final merge: apply a run's vectors to the published snapshot and publish the next one, once.

Gathering needs no lock. Reading the base, applying and moving the pointer happen under the collection's lease; what makes them safe is
the conditional write of the pointer. A merge receipt, and the list of applied runs in every snapshot, make a repetition harmless.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from embeddings import artifacts
from embeddings.entities import Entity
from embeddings.errors import (
    ContractViolation,
    CoverageMismatch,
    DeltaInvalid,
    LockLost,
    LockUnavailable,
    PointerConflict,
)
from embeddings.gathering import Gathering
from embeddings.keys import now_iso
from embeddings.merging import fetch
from embeddings.payloads import load, optional, required, run_id, store
from embeddings.services import Services
from embeddings.snapshots import Pointer, Snapshots
from embeddings.splitting import deltas, poll_results
from embeddings.vectors import opened
from stepwell import toolkit
from stepwell.toolkit import leases
from stepwell.toolkit.errors import LeaseLost, LeaseUnavailable, ObjectNotFound

log = toolkit.logger(__name__)
CONFLICTS = 3
"""How often a refused pointer is answered by applying everything again, under the same lock."""


def final_merge(services: Services, entity: Entity, event: Mapping[str, Any]) -> dict[str, Any]:
    """Publish a run's intermediates. Again is harmless: the same version is reported.

    Raises CoverageMismatch, MissingArtifact, SnapshotMissing (nothing helps); LockUnavailable, LockLost, PointerConflict (again).
    """
    began = time.monotonic()
    run = run_id(event)
    inputs = required(event, "chunk_results", list)
    keys = [result.get("intermediate_key") if isinstance(result, Mapping) else None for result in inputs]
    if not keys or not all(isinstance(key, str) and key for key in keys):
        raise ContractViolation("chunk_results must be a non-empty list of objects with an intermediate_key")
    snapshots = Snapshots(services.vectors, entity)
    receipt = _receipt(services, entity, run) or _applied(services, entity, snapshots, run)
    if receipt is None:
        expected = {result["delta_key"] for result in deltas(poll_results(services, event) or [])}
        with tempfile.TemporaryDirectory(prefix="final-") as folder:
            gathered, sources = _gather(services, entity, [str(key) for key in keys], Path(folder), expected)
            with gathered:
                receipt = _publish(services, entity, snapshots, gathered, sources, run, Path(folder))
    _finish(services, entity, snapshots, receipt)
    return {
        "statusCode": 200,
        "batch_id": run,
        "snapshot_key": receipt["snapshot_key"],
        "pointer_key": snapshots.pointer_key,
        "version_id": receipt["version_id"],
        "total_embeddings": receipt["total_embeddings"],
        "snapshot_count": receipt["snapshot_count"],
        "processing_time_seconds": round(time.monotonic() - began, 3),
        "message": "Final merge completed successfully",
        "poll_results_s3_key": optional(event, "poll_results_s3_key", str),
        "poll_results_s3_bucket": optional(event, "poll_results_s3_bucket", str),
    }


def _receipt_key(entity: Entity, run: str) -> str:
    return f"runs/{entity.database}/{run}/final_merge.json"


def _receipt(services: Services, entity: Entity, run: str) -> dict[str, Any] | None:
    try:
        services.vectors.head(_receipt_key(entity, run))
    except ObjectNotFound:
        return None
    return load(services.vectors, _receipt_key(entity, run), dict)


def _applied(services: Services, entity: Entity, snapshots: Snapshots, run: str) -> dict[str, Any] | None:
    """This run's publication, when a crash came between the pointer and the receipt: the version that first lists the run."""
    version = snapshots.pointer().version
    if version is None or run not in snapshots.manifest(version)["applied_runs"]:
        return None
    while (manifest := snapshots.manifest(version))["run_id"] != run:
        base = manifest["base_version"]
        if base is None or base not in snapshots.versions():
            break  # removed meanwhile: the oldest version that still holds the run's vectors stands for it
        version = base
    return {
        "run_id": run,
        "database": entity.database,
        "version_id": version,
        "base_version": manifest["base_version"],
        "snapshot_key": snapshots.prefix(version),
        "source_deltas": manifest.get("source_deltas", []),
        "total_embeddings": manifest.get("applied_count", 0),
        "snapshot_count": manifest["count"],
        "published_at": now_iso(),
    }


def _gather(
    services: Services, entity: Entity, keys: list[str], folder: Path, expected: set[str]
) -> tuple[Gathering, list[str]]:
    """All inputs in order, in one place; only if together they hold exactly the deltas that were polled."""
    sources: dict[str, None] = {}
    for key in keys:
        sources.update(dict.fromkeys(artifacts.manifest(services.vectors, key)["source_deltas"]))
    if set(sources) != expected:
        lost, extra = sorted(expected - set(sources)), sorted(set(sources) - expected)
        raise CoverageMismatch(
            f"{len(expected)} deltas were polled; {len(lost)} are missing from the merge ({lost[:3]}), "
            f"{len(extra)} were not polled ({extra[:3]})"
        )
    gathered = Gathering(folder / "gathered")
    for number, key in enumerate(keys):
        services.clock.check()
        path = folder / f"input-{number}"
        fetch(services, entity, key, path)
        with opened(path) as directory:
            for page in directory.only().pages(services.settings.vector_page):
                gathered.add(page)
        shutil.rmtree(path)
    return gathered, list(sources)


def _publish(
    services: Services,
    entity: Entity,
    snapshots: Snapshots,
    gathered: Gathering,
    sources: list[str],
    run: str,
    folder: Path,
) -> dict[str, Any]:
    with held(services, entity, run) as lease:
        for attempt in range(1, CONFLICTS + 1):
            seen = snapshots.pointer()
            path = folder / f"base-{attempt}"
            count, applied = _apply(services, entity, snapshots, gathered, seen, path, lease)
            if run in applied:  # published while this attempt waited for the lock
                found = _applied(services, entity, snapshots, run)
                assert found is not None
                return _write_receipt(services, entity, found)
            lease.validate()
            version = snapshots.write(
                path,
                count=count,
                base=seen.version,
                run_id=run,
                fence=lease.fence,
                applied=[*applied, run],
                applied_count=len(gathered),
                source_deltas=sources,
            )
            shutil.rmtree(path)
            try:
                lease.validate()
                snapshots.publish(version, seen)
            except LeaseLost:
                snapshots.remove(version)
                raise
            except PointerConflict:
                snapshots.remove(version)
                if attempt == CONFLICTS:
                    raise
                log.warning("pointer moved; applying again", event_type="pointer_conflict", run_id=run, attempt=attempt)
                continue
            break
    receipt = {
        "run_id": run,
        "database": entity.database,
        "version_id": version,
        "base_version": seen.version,
        "snapshot_key": snapshots.prefix(version),
        "source_deltas": sources,
        "total_embeddings": len(gathered),
        "snapshot_count": count,
        "published_at": now_iso(),
    }
    return _write_receipt(services, entity, receipt)


def _apply(
    services: Services,
    entity: Entity,
    snapshots: Snapshots,
    gathered: Gathering,
    seen: Pointer,
    path: Path,
    lease: leases.Lease,
) -> tuple[int, list[str]]:
    """The base with the gathered records in it, in `path`, closed; its count, and the runs that the base already holds."""
    applied: list[str] = []
    if seen.version is not None:
        manifest = snapshots.fetch(seen.version, path)
        applied = list(manifest["applied_runs"])
        if manifest["format_version"] != entity.format_version:
            raise ContractViolation(
                f"version {seen.version} is of format {manifest['format_version']!r}, not {entity.format_version!r}"
            )
    with opened(path) as directory:
        target = directory.ensure(entity.database, services.settings.vector_space)
        before = target.count()
        new = 0
        for page in gathered.pages(services.settings.vector_page):
            lease.check()
            services.clock.check()
            known = target.known(page.ids) if before else set[str]()
            target.replace_page(page, known=known)
            new += len(page.ids) - len(known)
        count = target.count()
    if count != before + new:
        raise DeltaInvalid(f"{entity.database}: {count} records after applying {new} new ones to {before}")
    return count, applied


@contextmanager
def held(services: Services, entity: Entity, run: str) -> Iterator[leases.Lease]:
    """The collection's lease, which every writer of its snapshot takes. Raises LockUnavailable, LockLost."""
    settings = services.settings
    waiting = leases.Waiting(
        tries=settings.lock_tries,
        first=settings.lock_first_s,
        factor=settings.lock_factor,
        longest=settings.lock_max_s,
        total=settings.lock_total_s,
        live_heartbeat=settings.lock_live_heartbeat_s,
    )
    database = entity.database
    attributes = {"TYPE": "COMPACTION_LOCK", "run_id": run, "collection": database, "GSI1PK": f"LOCK#{database}"}
    try:
        with leases.hold(
            services.table,
            (f"LOCK#{database}#{entity.lock_id}", "LOCK"),
            ttl=settings.lock_ttl_s,
            heartbeat=settings.lock_heartbeat_s,
            max_failures=settings.lock_max_hb_failures,
            waiting=waiting,
            attributes=attributes,
            derived=lambda expires: {"GSI1SK": f"EXPIRES#{expires}"},
        ) as lease:
            yield lease
    except LeaseUnavailable as error:
        raise LockUnavailable(str(error)) from error
    except LeaseLost as error:
        raise LockLost(str(error)) from error


def _write_receipt(services: Services, entity: Entity, receipt: dict[str, Any]) -> dict[str, Any]:
    store(services.vectors, _receipt_key(entity, receipt["run_id"]), receipt)
    return receipt


def _finish(services: Services, entity: Entity, snapshots: Snapshots, receipt: dict[str, Any]) -> None:
    run = receipt["run_id"]
    if _receipt(services, entity, run) is None:
        _write_receipt(services, entity, receipt)
    artifacts.remove(services.vectors, f"intermediate/{run}/")
    for group in _groups(services, run):
        artifacts.remove(services.vectors, group)
    snapshots.retain(services.settings.snapshot_keep, services.settings.snapshot_protect_min)


def _groups(services: Services, run: str) -> list[str]:
    """Prefixes of this run's merged groups; another run's name may begin with this one's."""
    start = f"intermediate/{run}-group-"
    found = {f"{start}{summary.key.removeprefix(start).split('/')[0]}/" for summary in services.vectors.list(start)}
    return sorted(prefix for prefix in found if prefix.removeprefix(start)[:-1].isdigit())
