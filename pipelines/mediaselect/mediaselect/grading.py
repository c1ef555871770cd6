"""Colour arithmetic of video enhancement (section 11.1): histograms, groups of similar frames, and colour look-up tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float64]

BINS = 32
SIMILAR = 0.92
MIN_GROUP_SECONDS = 0.5
MAX_GROUPS = 24
GRID = 33
SIGMAS = (1.0, 2.0, 4.0, 8.0)
ASPECT_TOLERANCE = 0.02
MIN_LUMINANCE_CORRELATION = 0.6
_SUPPORT = 1e-3
"""A smoothed count below this is no support: the next coarser level is asked."""


@dataclass(frozen=True)
class Group:
    """A run of similar frames that share one grade: `start` is the first frame's index."""

    start: int
    count: int

    @property
    def representative(self) -> int:
        """The index of the frame that is graded for all."""
        return self.start + self.count // 2


def histogram(image: Image.Image) -> Floats:
    """32 x 32 x 32 bins of the RGB values, summing to 1."""
    pixels = np.asarray(image.convert("RGB"), dtype=np.uint32).reshape(-1, 3) // (256 // BINS)
    counts = np.bincount((pixels[:, 0] * BINS + pixels[:, 1]) * BINS + pixels[:, 2], minlength=BINS**3)
    return np.asarray(counts / max(1, counts.sum()), dtype=np.float64)


def correlation(first: Floats, second: Floats) -> float:
    """Pearson's, over all bins; 1.0 where a flat histogram leaves nothing to compare."""
    a, b = first - first.mean(), second - second.mean()
    below = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return 1.0 if below < 1e-10 else float((a * b).sum() / below)


def group_frames(histograms: Sequence[Floats | None], fps: float) -> list[Group]:
    """Groups in time order. None stands for an unreadable frame: it closes a group and belongs to none.

    Groups shorter than half a second join their more similar neighbour, and at most 24 remain.
    """
    groups: list[Group] = []
    previous: Floats | None = None
    for index, current in enumerate(histograms):
        if current is not None:
            if previous is not None and groups and correlation(previous, current) >= SIMILAR:
                groups[-1] = Group(groups[-1].start, groups[-1].count + 1)
            else:
                groups.append(Group(index, 1))
        previous = current
    if not groups:
        return []
    means = [_mean(histograms, group) for group in groups]

    def join(left: int) -> None:
        first, second = groups[left], groups[left + 1]
        means[left] = (means[left] * first.count + means[left + 1] * second.count) / (first.count + second.count)
        groups[left] = Group(first.start, second.start + second.count - first.start)
        del groups[left + 1], means[left + 1]

    while len(groups) > 1:
        short = [index for index, group in enumerate(groups) if group.count / fps < MIN_GROUP_SECONDS]
        likeness = [correlation(means[index], means[index + 1]) for index in range(len(groups) - 1)]
        if short:
            index = min(short, key=lambda found: groups[found].count)
            before = likeness[index - 1] if index > 0 else -2.0
            after = likeness[index] if index < len(likeness) else -2.0
            join(index - 1 if before >= after else index)
        elif len(groups) > MAX_GROUPS:
            join(int(np.argmax(likeness)))
        else:
            break
    return groups


def _mean(histograms: Sequence[Floats | None], group: Group) -> Floats:
    found = [value for value in histograms[group.start : group.start + group.count] if value is not None]
    return np.asarray(np.mean(found, axis=0), dtype=np.float64)


def is_same_picture(original: Image.Image, graded: Image.Image) -> bool:
    """Whether the graded frame still shows the same: the same shape, and light and dark in the same places."""
    shape, other = original.width / original.height, graded.width / graded.height
    if abs(shape - other) / shape > ASPECT_TOLERANCE:
        return False
    first, second = (
        np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BILINEAR), dtype=np.float64).ravel()
        for image in (original, graded)
    )
    return correlation(first, second) >= MIN_LUMINANCE_CORRELATION


def lookup_table(original: Image.Image, graded: Image.Image, size: int = GRID) -> Floats:
    """The grade as a table of shape (red, green, blue, 3), values 0 to 1. Equal pictures give the identity, exactly.

    Each pixel says by how much its colour changed. Colours that do not occur take the change of their nearest ones, smoothed over
    1, 2, 4 or 8 nodes; far from all of them nothing changes. Absolute means with holes would band.
    """
    same = graded if graded.size == original.size else graded.resize(original.size, Image.Resampling.LANCZOS)
    before = np.asarray(original.convert("RGB"), dtype=np.float64).reshape(-1, 3)
    change = np.asarray(same.convert("RGB"), dtype=np.float64).reshape(-1, 3) - before
    nodes = np.rint(before * (size - 1) / 255).astype(np.int64)
    flat = (nodes[:, 0] * size + nodes[:, 1]) * size + nodes[:, 2]
    cube = (size, size, size)
    counts = np.bincount(flat, minlength=size**3).astype(np.float64).reshape(cube)
    sums = [
        np.bincount(flat, weights=change[:, channel], minlength=size**3).astype(np.float64).reshape(cube)
        for channel in range(3)
    ]
    delta = np.zeros((*cube, 3))
    open_nodes = np.ones(cube, dtype=bool)
    for sigma in SIGMAS:
        weight = _smooth(counts, sigma)
        found = open_nodes & (weight > _SUPPORT)
        if found.any():
            for channel in range(3):
                delta[..., channel][found] = (_smooth(sums[channel], sigma)[found] / weight[found]) / 255
            open_nodes &= ~found
    return np.asarray(np.clip(identity(size) + delta, 0.0, 1.0), dtype=np.float64)


def identity(size: int = GRID) -> Floats:
    """The table that changes nothing."""
    axis = np.linspace(0.0, 1.0, size)
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)


def _smooth(values: Floats, sigma: float) -> Floats:
    """A Gaussian along each axis; nothing lies beyond the edges."""
    reach = int(np.ceil(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    size = values.shape[0]
    distance = np.arange(size)[:, None] - np.arange(size)[None, :]
    matrix = np.where(np.abs(distance) <= reach, kernel[np.clip(distance + reach, 0, 2 * reach)], 0.0)
    for axis in range(3):
        values = np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)
    return values


def cube_text(table: Floats, title: str = "grade") -> str:
    """The `.cube` file: red is the fastest index, then green, then blue."""
    size = table.shape[0]
    rows = table.transpose(2, 1, 0, 3).reshape(-1, 3)
    lines = "\n".join(f"{red:.6f} {green:.6f} {blue:.6f}" for red, green, blue in rows)
    return f'TITLE "{title}"\nLUT_3D_SIZE {size}\n{lines}\n'
