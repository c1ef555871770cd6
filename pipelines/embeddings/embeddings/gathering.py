"""Vectors on their way into a snapshot: in a file of their own, the later record of an id in the place of the earlier one.

Cheaper by far than a Chroma directory: nobody searches here, and an index that is thrown away a minute later need not be built.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import orjson

from embeddings.vectors import Page


class Gathering:
    """Records on disk; in memory only the ids and where each one's latest record lies."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._vectors = (folder / "vectors.f32").open("w+b")
        self._records = (folder / "records.json").open("w+b")
        self._places: dict[str, tuple[int, int, int]] = {}
        """Id to: row of the vector, offset and length of the rest."""
        self._rows = 0
        self._end = 0
        self._width = 0

    def __enter__(self) -> Gathering:
        return self

    def __exit__(self, *problem: object) -> None:
        self._vectors.close()
        self._records.close()

    def __len__(self) -> int:
        return len(self._places)

    def add(self, page: Page) -> None:
        """Append records; an id that is there already has the new record from now on."""
        matrix = np.ascontiguousarray(page.embeddings, dtype=np.float32)
        self._width = matrix.shape[1]
        self._vectors.write(matrix.tobytes())
        for one, document, metadata in zip(page.ids, page.documents, page.metadatas, strict=True):
            text = orjson.dumps([document, metadata])
            self._records.write(text)
            self._places[one] = (self._rows, self._end, len(text))
            self._rows += 1
            self._end += len(text)

    def pages(self, size: int) -> Iterator[Page]:
        """Every id's latest record, in the order in which the ids first came."""
        self._vectors.flush()
        self._records.flush()
        if not self._rows:
            return
        matrix = np.memmap(self._vectors.name, dtype=np.float32, mode="r", shape=(self._rows, self._width))
        ids = list(self._places)
        for start in range(0, len(ids), size):
            some = ids[start : start + size]
            places = [self._places[one] for one in some]
            rest = []
            for _, offset, length in places:
                self._records.seek(offset)
                rest.append(orjson.loads(self._records.read(length)))
            rows = np.array(matrix[[row for row, _, _ in places]])
            yield Page(some, rows, [document for document, _ in rest], [metadata for _, metadata in rest])
