"""Looking things up in the published snapshot: the nearest neighbours of a text, or of a record."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embeddings.entities import Entity
from embeddings.services import Services
from embeddings.snapshots import Snapshots


@dataclass(frozen=True)
class Neighbour:
    """A record near what was asked for; a smaller distance is nearer."""

    id: str
    text: str
    distance: float
    metadata: dict[str, Any]


def nearest(
    services: Services, entity: Entity, vectors: Sequence[Sequence[float]], count: int = 5
) -> list[list[Neighbour]]:
    """The neighbours of each vector in the published snapshot. Raises SnapshotMissing."""
    with (
        tempfile.TemporaryDirectory(prefix="search-") as folder,
        Snapshots(services.vectors, entity).reading(Path(folder)) as (_, directory),
    ):
        store = directory.store(entity.database)
        return [[Neighbour(*found) for found in store.nearest(vector, count)] for vector in vectors]


def nearest_to_texts(services: Services, entity: Entity, texts: Sequence[str], count: int = 5) -> list[list[Neighbour]]:
    """The neighbours of texts, which the provider embeds: one call."""
    return nearest(services, entity, services.provider.embed(list(texts)), count)
