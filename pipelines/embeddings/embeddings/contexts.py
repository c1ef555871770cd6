"""Words with two neighbours on each side (format `ctx2-v2`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from embeddings.errors import ItemGone
from embeddings.keys import ItemKey
from embeddings.receipts import Text
from embeddings.rows import EDGE

NEIGHBOURS = 2
NEAR_Y = 0.05
NEAR_X = 0.25


@dataclass(frozen=True)
class Neighbourhood:
    """A word and its neighbours; both sides nearest first, without padding."""

    word: Text
    left: tuple[Text, ...]
    right: tuple[Text, ...]

    @property
    def input(self) -> str:
        """What is embedded: `{l2} {l1} {word} {r1} {r2}`."""
        padding = [EDGE] * NEIGHBOURS
        left = ([text.text for text in self.left] + padding)[:NEIGHBOURS]
        right = ([text.text for text in self.right] + padding)[:NEIGHBOURS]
        return " ".join([*reversed(left), self.word.text, *right])

    @property
    def nearest_left(self) -> str:
        """Text of the nearest left neighbour."""
        return self.left[0].text if self.left else EDGE

    @property
    def nearest_right(self) -> str:
        """Text of the nearest right neighbour."""
        return self.right[0].text if self.right else EDGE


class Contexts:
    """The neighbourhoods of one receipt's words; noise words are neighbours too."""

    def __init__(self, words: Iterable[Text]) -> None:
        self._ordered = sorted(words, key=lambda word: (word.centroid[0], word.line_id, word.word_id))
        self._position = {word.key: index for index, word in enumerate(self._ordered)}

    def of(self, key: ItemKey) -> Neighbourhood:
        """The word's neighbourhood. Raises ItemGone."""
        if key not in self._position:
            raise ItemGone(f"{key.custom_id} is not in its receipt")
        position = self._position[key]
        word = self._ordered[position]
        left = self._side(word, reversed(self._ordered[:position]), -1)
        right = self._side(word, iter(self._ordered[position + 1 :]), 1)
        return Neighbourhood(word, left, right)

    def _side(self, word: Text, outward: Iterable[Text], sign: int) -> tuple[Text, ...]:
        taken: list[Text] = []
        for other in outward:
            if _same_line(other, word):
                taken.append(other)
                if len(taken) == NEIGHBOURS:
                    return tuple(taken)
        nearby = []
        for other in self._ordered:
            dx = sign * (other.centroid[0] - word.centroid[0])
            dy = abs(other.centroid[1] - word.centroid[1])
            if 0 < dx < NEAR_X and dy < NEAR_Y and not _same_line(other, word):
                nearby.append((dy, dx, other.line_id, other.word_id, other))
        nearby.sort(key=lambda entry: entry[:4])
        taken += [entry[4] for entry in nearby]
        return tuple(taken[:NEIGHBOURS])


def _same_line(other: Text, word: Text) -> bool:
    return other.box.y <= word.box.top and other.box.top >= word.box.y
