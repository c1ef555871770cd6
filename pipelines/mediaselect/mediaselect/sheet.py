"""Contact sheets: what was chosen and what was not, with the reasons; and enhanced media beside their sources."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

WIDTH, HEIGHT, TEXT, GAP = 230, 172, 74, 12
GREEN, RED, GREY = (38, 140, 70), (190, 50, 45), (120, 120, 120)
Fetch = Callable[[str], bytes]
"""The thumbnail of a URL or key."""


def selection(result: Mapping[str, Any], fetch: Fetch, columns: int = 4) -> Image.Image:
    """Selected media in their order, then excluded, then skipped ones."""
    cells = [
        (
            fetch(entry["thumbnailUrl"]),
            GREEN,
            f"{entry['rank']}  {entry['filename']}",
            entry.get("comparisonNote") or entry["justification"],
        )
        for entry in result["selected"]
    ]
    cells += [
        (fetch(entry["thumbnailUrl"]), RED, entry["filename"], f"{entry['category']}: {entry['reason']}")
        for entry in result["excluded"]
    ]
    cells += [
        (b"", GREY, entry["key"].rsplit("/", 1)[-1], f"skipped: {entry['reason']}") for entry in result["skipped"]
    ]
    return _sheet([_cell(*cell) for cell in cells], columns)


def comparison(items: Sequence[Mapping[str, Any]], fetch: Fetch, columns: int = 2) -> Image.Image:
    """Each enhanced item: the source on the left, the result on the right."""
    cells = []
    for item in items:
        if not item.get("enhancedThumbKey"):
            continue
        left = _cell(fetch(item["originalThumbKey"]), GREY, item["filename"], "before")
        said = str(item.get("phase1Text", "")).replace("\n", " ").replace("- ", "")
        right = _cell(fetch(item["enhancedThumbKey"]), GREEN, f"version {item.get('version', 1)}", said)
        pair = Image.new("RGB", (left.width + right.width, left.height), "white")
        pair.paste(left, (0, 0))
        pair.paste(right, (left.width, 0))
        cells.append(pair)
    return _sheet(cells, columns)


def _cell(data: bytes, colour: tuple[int, int, int], title: str, text: str) -> Image.Image:
    cell = Image.new("RGB", (WIDTH + GAP, HEIGHT + TEXT), "white")
    draw = ImageDraw.Draw(cell)
    draw.rectangle((GAP // 2, GAP // 2, WIDTH + GAP // 2 - 1, HEIGHT - 1), fill=(236, 236, 236))
    if data:
        picture = ImageOps.contain(Image.open(io.BytesIO(data)).convert("RGB"), (WIDTH - 8, HEIGHT - GAP // 2 - 8))
        cell.paste(
            picture, (GAP // 2 + (WIDTH - picture.width) // 2, GAP // 2 + (HEIGHT - GAP // 2 - picture.height) // 2)
        )
    draw.rectangle((GAP // 2, GAP // 2, WIDTH + GAP // 2 - 1, HEIGHT - 1), outline=colour, width=4)
    draw.text((GAP // 2, HEIGHT + 4), title, fill=colour, font=ImageFont.load_default(13))
    wrapped = textwrap.wrap(text, 41)
    shown = "\n".join(wrapped[:3]) + (" …" if len(wrapped) > 3 else "")
    draw.multiline_text((GAP // 2, HEIGHT + 22), shown, fill=(60, 60, 60), font=ImageFont.load_default(11), spacing=3)
    return cell


def _sheet(cells: Sequence[Image.Image], columns: int) -> Image.Image:
    if not cells:
        return Image.new("RGB", (WIDTH, HEIGHT), "white")
    width, height = cells[0].size
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    for index, cell in enumerate(cells):
        sheet.paste(cell, (GAP // 2 + index % columns * width, GAP // 2 + index // columns * height))
    return sheet
