"""Small media for tests: each photo has a size of its own, by which a request to the models can be told from others."""

from __future__ import annotations

from functools import cache

import holiday
from PIL import Image


@cache
def photo(kind: str = "harbour", size: tuple[int, int] = (640, 480), form: str = "JPEG", **facts: object) -> bytes:
    """Underexposed and flat: there is something to enhance."""
    return holiday.photo(holiday.dim(holiday.scene(kind, size), 0.6, 0.75), form, **facts)


@cache
def film(
    kind: str = "beach",
    *,
    seconds: float = 1.2,
    size: tuple[int, int] = (160, 120),
    fps: float = 10.0,
    **options: object,
) -> bytes:
    return holiday.film(
        [holiday.dim(holiday.scene(kind, size), 0.55, 0.7)], seconds=seconds, fps=fps, size=size, **options
    )


def sized(*size: int):
    """Whether a request's first picture has this size."""
    return lambda request: bool(request.pictures) and request.size == size


def solid(colour: str | tuple[int, int, int], size: tuple[int, int] = (160, 120)) -> Image.Image:
    return Image.new("RGB", size, colour)
