"""Masks for local edits (section 10.4): white where the picture may change, black where it must stay."""

from __future__ import annotations

from PIL import Image, ImageDraw

from mediaselect.schemas import REGIONS


def mask(region: str, size: tuple[int, int]) -> Image.Image:
    """The mask of a region, in pixels of exactly the picture that is edited. Raises ValueError for an unknown region."""
    if region not in REGIONS:
        raise ValueError(f"there is no region {region!r}")
    width, height = size
    if region == "global":
        return Image.new("L", size, 255)
    if region == "background":
        image = Image.new("L", size, 255)
        _fill(image, (width // 5, height // 5, 4 * width // 5, 4 * height // 5), 0)
        return image
    image = Image.new("L", size, 0)
    _fill(image, rectangle(region, size), 255)
    return image


def rectangle(region: str, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a grid region or the foreground; right and bottom are outside of it."""
    width, height = size
    if region == "foreground":
        return width // 5, height // 5, 4 * width // 5, 4 * height // 5
    row, _, column = region.partition("-")
    if not column:
        row, column = "center", "center"
    across = ("left", "center", "right").index(column)
    down = ("top", "center", "bottom").index(row)
    margin = width // 20  # the same on both axes
    left, right = _third(width, margin, across)
    top, bottom = _third(height, margin, down)
    return left, top, right, bottom


def _third(length: int, margin: int, index: int) -> tuple[int, int]:
    third = length // 3
    low, high = (0, third + margin), (2 * third - margin, length)
    start, end = (low, (third - margin, 2 * third + margin), high)[index]
    return max(0, start), min(length, end)


def _fill(image: Image.Image, box: tuple[int, int, int, int], value: int) -> None:
    left, top, right, bottom = box
    if right > left and bottom > top:
        ImageDraw.Draw(image).rectangle((left, top, right - 1, bottom - 1), fill=value)
