"""A real, small embedding model that ships in a wheel: similar texts get similar vectors."""

from __future__ import annotations

import re
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_lock = threading.Lock()
_MARKUP = re.compile(r"<[A-Za-z/]+>")


@cache
def _model():  # type: ignore[no-untyped-def]
    import wordllama

    return wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)


def embed(texts: list[str], dimensions: int) -> NDArray[np.float32]:
    """Vectors of unit length, one a row.

    A model this small knows words in lower case only, and no markup: upper case is folded and `<EDGE>` and the like are dropped.
    The model has 256 dimensions. Fewer are its first ones, brought to unit length again, as the service shortens its own; more are
    filled with zeros, which changes no distance.
    """
    with _lock:
        found = np.asarray(_model().embed([_plain(text) for text in texts], norm=True), dtype=np.float32)
    found = found[:, :dimensions]
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    found = (found / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    missing = dimensions - found.shape[1]
    return np.pad(found, ((0, 0), (0, missing))) if missing > 0 else found


def _plain(text: str) -> str:
    return " ".join(_MARKUP.sub(" ", text).lower().split()) or "nothing"
