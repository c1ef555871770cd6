"""Lines in visual rows: what a reader of the receipt sees side by side is embedded together (format `rows-v2`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from embeddings.receipts import Text

EDGE = "<EDGE>"


@dataclass(frozen=True)
class Row:
    """Lines from left to right."""

    lines: tuple[Text, ...]

    @property
    def primary(self) -> Text:
        """The first line: the row goes by its id."""
        return self.lines[0]

    @property
    def text(self) -> str:
        """The lines' texts, joined by one space."""
        return " ".join(line.text for line in self.lines)

    @property
    def order(self) -> tuple[float, int]:
        """Rows sort by this: from the top of the receipt down, ties by the smallest line id."""
        ids = sorted((line.line_id, line.box.y) for line in self.lines)
        return -sum(y for _, y in ids) / len(ids), ids[0][0]


def rows(lines: Iterable[Text]) -> list[Row]:
    """All rows of a receipt, top first. Noise lines take part: they keep the geometry honest.

    Two lines share a row if the middle of one lies within the closed vertical span of the other; rows are the connected components.
    """
    ordered = sorted(lines, key=lambda line: line.line_id)
    parent = list(range(len(ordered)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for first, one in enumerate(ordered):
        for second in range(first):
            other = ordered[second]
            if one.box.y <= other.box.middle <= one.box.top or other.box.y <= one.box.middle <= other.box.top:
                parent[root(first)] = root(second)
    groups: dict[int, list[Text]] = {}
    for index, line in enumerate(ordered):
        groups.setdefault(root(index), []).append(line)
    found = [Row(tuple(sorted(group, key=lambda line: (line.box.x, line.line_id)))) for group in groups.values()]
    return sorted(found, key=lambda row: row.order)


def inputs(ordered: list[Row]) -> list[str]:
    """What is embedded for each row: the row above, the row, the row below."""
    texts = [EDGE, *(row.text for row in ordered), EDGE]
    return ["\n".join(texts[index : index + 3]) for index in range(len(ordered))]
