"""Chroma collections in a directory: no network, no embedding function, closed before anybody copies the files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embeddings.errors import ContractViolation

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection

MAX_WRITE = 5_461
"""Chroma's limit of records a call."""

BATCH, SYNC = 1000, 2000
"""Records that Chroma collects before it indexes them, and before it writes the index: 15 % less CPU than its defaults of 100 and 1,000
for the merges here, and at most 2,000 records to index again when a directory is opened."""


@dataclass
class Page:
    """Some records: as many of each."""

    ids: list[str]
    embeddings: Any
    """A matrix of float32, or a list of lists."""
    documents: list[str]
    metadatas: list[dict[str, Any]]


class Directory:
    """A Chroma persistent directory that is open. Use it in a `with` statement: leaving it closes the files.

    A directory without data opens as an empty one: absence must be found out before (see `artifacts`).
    """

    def __init__(self, path: Path) -> None:
        import chromadb
        from chromadb.config import Settings

        path.mkdir(parents=True, exist_ok=True)
        self._client = chromadb.PersistentClient(
            path=str(path), settings=Settings(anonymized_telemetry=False, allow_reset=False)
        )

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *problem: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files. An error here means that they must not be copied, and is raised."""
        self._client.close()  # type: ignore[attr-defined]

    def names(self) -> list[str]:
        """The collections' names."""
        return [collection.name for collection in self._client.list_collections()]

    def ensure(self, name: str, space: str) -> Store:
        """The collection of that name, created with that distance if it is not there."""
        from chromadb.errors import NotFoundError

        try:
            return self.store(name)
        except NotFoundError:
            hnsw = {"space": space, "batch_size": BATCH, "sync_threshold": SYNC}
            made = self._client.create_collection(name, embedding_function=None, configuration={"hnsw": hnsw})  # type: ignore[arg-type]
            return Store(made)

    def store(self, name: str) -> Store:
        """The collection of that name. Raises chromadb.errors.NotFoundError."""
        return Store(self._client.get_collection(name, embedding_function=None))

    def only(self) -> Store:
        """The one collection of this directory, whatever its name. Raises ContractViolation."""
        names = self.names()
        if len(names) != 1:
            raise ContractViolation(f"a directory must hold exactly one collection, not {names}")
        return self.store(names[0])


class Store:
    """One collection."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def count(self) -> int:
        """How many records there are."""
        return self._collection.count()

    def known(self, ids: Sequence[str]) -> set[str]:
        """Those of the ids that are there."""
        return set(self._collection.get(ids=list(ids), include=[])["ids"])

    def replace_page(self, page: Page, *, known: set[str] | None = None) -> None:
        """Write records so that nothing is left of their earlier versions: the only way this pipeline writes.

        Chroma's own `upsert` merges metadata, so that a key that was taken away would survive; its `add` ignores what is there.
        """
        if not page.ids:
            return
        stale = self.known(page.ids) if known is None else known
        if stale:
            self._collection.delete(ids=sorted(stale))
        self._collection.upsert(
            ids=page.ids,
            embeddings=page.embeddings,
            documents=page.documents,
            metadatas=page.metadatas,  # type: ignore[arg-type]
        )

    def pages(self, size: int) -> Iterator[Page]:
        """Every record in the order of insertion; nobody may write meanwhile."""
        offset = 0
        while True:
            page = self._collection.get(limit=size, offset=offset, include=["embeddings", "documents", "metadatas"])
            if not page["ids"]:
                return
            yield Page(page["ids"], page["embeddings"], page["documents"], page["metadatas"])  # type: ignore[arg-type]
            offset += len(page["ids"])

    def get(self, ids: Sequence[str] | None = None) -> Page:
        """Records by id; all of them without ids."""
        found = self._collection.get(
            ids=None if ids is None else list(ids), include=["embeddings", "documents", "metadatas"]
        )
        return Page(found["ids"], found["embeddings"], found["documents"], found["metadatas"])  # type: ignore[arg-type]

    def nearest(self, vector: Sequence[float], count: int) -> list[tuple[str, str, float, dict[str, Any]]]:
        """The nearest records: id, document, distance, metadata."""
        found = self._collection.query(
            query_embeddings=np.array([vector], dtype=np.float32),
            n_results=count,
            include=["documents", "distances", "metadatas"],
        )
        documents, distances, metadatas = found["documents"], found["distances"], found["metadatas"]
        assert documents is not None and distances is not None and metadatas is not None
        return [
            (one, document, float(distance), dict(metadata))
            for one, document, distance, metadata in zip(
                found["ids"][0], documents[0], distances[0], metadatas[0], strict=True
            )
        ]


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Directory]:
    """Open a directory and close it, whatever happens in between."""
    directory = Directory(path)
    try:
        yield directory
    finally:
        directory.close()
