"""Snapshots: immutable versions of a collection, and the pointer that names the one readers use.

The pointer is moved by a conditional write, and that is what guarantees that no publication is lost: the lock around it only saves
work. Readers fetch the version the pointer names, verify its hash and open it.
"""

from __future__ import annotations

import json
import secrets
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embeddings import artifacts
from embeddings.entities import Entity
from embeddings.errors import DeltaInvalid, PointerConflict, SnapshotMissing
from embeddings.payloads import store
from embeddings.vectors import Directory, opened
from stepwell import toolkit
from stepwell.toolkit.errors import ObjectNotFound, PreconditionFailed, StorageError
from stepwell.toolkit.objects import Bucket

log = toolkit.logger(__name__)
TARBALL, HASH, MANIFEST = "snapshot.tar.gz", ".snapshot_hash", "MANIFEST.json"
RUNS_REMEMBERED = 200
COMPRESSION = 1
"""Vectors hardly shrink; a higher level costs time only."""


@dataclass(frozen=True)
class Pointer:
    """Which version is published, and the etag to compare and swap with; both None before the first publication."""

    version: str | None
    etag: str | None


class Snapshots:
    """The versions of one collection."""

    def __init__(self, bucket: Bucket, entity: Entity) -> None:
        self.bucket = bucket
        self.entity = entity
        self.pointer_key = f"{entity.snapshot_root}latest-pointer.txt"

    def prefix(self, version: str) -> str:
        """Where a version lies."""
        return f"{self.entity.snapshot_root}timestamped/{version}/"

    def pointer(self) -> Pointer:
        """The pointer as it is now. The etag is read before the text: a change in between makes the swap fail."""
        try:
            info = self.bucket.head(self.pointer_key)
            return Pointer(self.bucket.get(self.pointer_key).decode().strip(), info.etag)
        except ObjectNotFound:
            return Pointer(None, None)

    def manifest(self, version: str) -> dict[str, Any]:
        """What is known of a version. Raises SnapshotMissing."""
        try:
            found = json.loads(self.bucket.get(self.prefix(version) + MANIFEST))
        except ObjectNotFound:
            raise SnapshotMissing(
                f"{self.prefix(version)} is not in {self.bucket.name}: it has no {MANIFEST}"
            ) from None
        assert isinstance(found, dict)
        return found

    def fetch(self, version: str, target: Path) -> dict[str, Any]:
        """Download, verify and unpack a version into an empty directory; its MANIFEST.

        Raises SnapshotMissing when it is not there whole, DeltaInvalid when its bytes are not what was published.
        """
        manifest = self.manifest(version)
        prefix = self.prefix(version)
        target.mkdir(parents=True, exist_ok=True)
        archive = target.parent / f"{target.name}.tar.gz"
        try:
            wanted = self.bucket.get(prefix + HASH).decode().strip()
            self.bucket.download_file(prefix + TARBALL, archive)
        except ObjectNotFound as error:
            raise SnapshotMissing(f"version {version} of {self.entity.database} is not there whole: {error}") from None
        try:
            if f"sha256:{artifacts.digest(archive)}" != wanted:
                raise DeltaInvalid(
                    f"version {version} of {self.entity.database}: the tarball is not what was published"
                )
            with tarfile.open(archive) as tar:
                tar.extractall(target, filter="data")  # refuses absolute names and those with ..
        finally:
            archive.unlink()
        return manifest

    def write(
        self,
        directory: Path,
        *,
        count: int,
        base: str | None,
        run_id: str,
        fence: int,
        applied: list[str],
        applied_count: int,
        source_deltas: list[str],
    ) -> str:
        """Upload a closed directory as a new version, read it back and verify it; its id. Nobody reads it yet."""
        version = f"{datetime.now(UTC):%Y%m%d_%H%M%S_%f}_{secrets.token_hex(4)}"
        prefix = self.prefix(version)
        archive = directory.parent / f"{version}.tar.gz"
        with tarfile.open(archive, "w:gz", compresslevel=COMPRESSION) as tar:
            for path in sorted(directory.rglob("*")):
                tar.add(path, path.relative_to(directory).as_posix(), recursive=False)
        self.bucket.upload_file(archive, prefix + TARBALL, content_type="application/gzip")
        self.bucket.put(prefix + HASH, f"sha256:{artifacts.digest(archive)}".encode())
        archive.unlink()
        manifest = {
            "count": count,
            "base_version": base,
            "run_id": run_id,
            "fence": fence,
            "applied_runs": applied[-RUNS_REMEMBERED:],
            "applied_count": applied_count,
            "source_deltas": source_deltas,
            "format_version": self.entity.format_version,
        }
        store(self.bucket, prefix + MANIFEST, manifest)
        copy = directory.parent / f"copy-{version}"
        try:
            self.fetch(version, copy)
            with opened(copy) as read_back:
                found = read_back.only().count()
            if found != count:
                raise DeltaInvalid(f"version {version} of {self.entity.database} holds {found} of {count} records")
        except BaseException:
            self.remove(version)
            raise
        return version

    def publish(self, version: str, seen: Pointer) -> None:
        """Move the pointer, if it is still the one that was seen. Raises PointerConflict."""
        try:
            if seen.etag is None:
                self.bucket.put(self.pointer_key, version.encode(), if_absent=True, content_type="text/plain")
            else:
                self.bucket.put(self.pointer_key, version.encode(), if_match=seen.etag, content_type="text/plain")
        except PreconditionFailed:
            raise PointerConflict(f"{self.entity.database}: somebody published after version {seen.version}") from None

    def versions(self) -> list[str]:
        """All versions, complete or not, newest first."""
        root = f"{self.entity.snapshot_root}timestamped/"
        return sorted({found.key.removeprefix(root).split("/")[0] for found in self.bucket.list(root)}, reverse=True)

    def remove(self, version: str) -> None:
        """Delete a version that is not published."""
        artifacts.remove(self.bucket, self.prefix(version))

    def retain(self, keep: int, protect_minutes: float) -> None:
        """Delete all but the newest `keep`, the published one and those younger than the protection. Failures are logged only."""
        try:
            current = self.pointer().version
            for version in self.versions()[keep:]:
                made = datetime.strptime(version[:22], "%Y%m%d_%H%M%S_%f").replace(tzinfo=UTC)
                if version != current and (datetime.now(UTC) - made).total_seconds() >= protect_minutes * 60:
                    self.remove(version)
        except (StorageError, ValueError) as error:
            log.warning("old versions were not removed", event_type="retention_failed", error_message=str(error))

    @contextmanager
    def reading(self, folder: Path) -> Iterator[tuple[str, Directory]]:
        """The published version, opened in an empty folder. Raises SnapshotMissing.

        A version that vanished while it was fetched was replaced by a newer one: the pointer is read once more.
        """
        version = self._published()
        try:
            self.fetch(version, folder / version)
        except SnapshotMissing:
            gone, version = version, self._published()
            if version == gone:
                raise
            self.fetch(version, folder / version)
        with opened(folder / version) as directory:
            yield version, directory

    def _published(self) -> str:
        version = self.pointer().version
        if version is None:
            raise SnapshotMissing(f"nothing was published yet of {self.entity.database}")
        return version
