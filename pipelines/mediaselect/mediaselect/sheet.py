"""Contact sheets: what was chosen and what was not, with the reasons; and enhanced media beside their sources."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

WIDTH, HEIGHT, GAP, MARGIN = 320, 240, 24, 32
"""Pixels of a picture's box, between two cells, and around the sheet."""
TITLE, TEXT, LINE = 19, 16, 21
HEADING = 46
GREEN, RED, GREY = (30, 132, 73), (192, 57, 43), (127, 140, 141)
INK, SOFT, PAPER, GROUND = (33, 37, 41), (95, 103, 110), (255, 255, 255), (240, 241, 242)
Colour = tuple[int, int, int]
Fetch = Callable[[str], bytes]
"""The thumbnail of a URL or key."""


def selection(result: Mapping[str, Any], fetch: Fetch, columns: int = 4) -> Image.Image:
    """Selected media in their order, then excluded, then skipped ones."""
    selected = [
        _cell(
            [_picture(fetch(entry["thumbnailUrl"]), GREEN, str(entry["rank"]))],
            entry["filename"],
            entry.get("comparisonNote") or entry["justification"],
        )
        for entry in result["selected"]
    ]
    excluded = [
        _cell(
            [_picture(fetch(entry["thumbnailUrl"]), RED, "")],
            entry["filename"],
            f"{entry['category']}: {entry['reason']}",
        )
        for entry in result["excluded"]
    ]
    skipped = [
        _cell([_picture(b"", GREY, "")], entry["key"].rsplit("/", 1)[-1], entry["reason"])
        for entry in result["skipped"]
    ]
    sections = [("selected", GREEN, selected), ("excluded", RED, excluded), ("skipped", GREY, skipped)]
    return _sheet([(f"{len(cells)} {name}", colour, cells) for name, colour, cells in sections if cells], columns)


def comparison(items: Sequence[Mapping[str, Any]], fetch: Fetch, columns: int = 2) -> Image.Image:
    """Each enhanced item: the source on the left, the result on the right."""
    pairs = []
    for item in items:
        if not item.get("enhancedThumbKey"):
            continue
        said = " ".join(line.removeprefix("- ") for line in str(item.get("phase1Text", "")).splitlines())
        before = _picture(fetch(item["originalThumbKey"]), GREY, "before")
        after = _picture(fetch(item["enhancedThumbKey"]), GREEN, "after")
        pairs.append(_cell([before, after], item["filename"], said, lines=2))
    return _sheet([(f"{len(pairs)} enhanced", GREEN, pairs)], columns)


def _picture(data: bytes, colour: Colour, badge: str) -> Image.Image:
    """A thumbnail in its box, underlined in a colour; a cross where there is none."""
    box = Image.new("RGB", (WIDTH, HEIGHT), GROUND)
    draw = ImageDraw.Draw(box)
    if data:
        picture = ImageOps.contain(Image.open(io.BytesIO(data)).convert("RGB"), (WIDTH, HEIGHT))
        box.paste(picture, ((WIDTH - picture.width) // 2, (HEIGHT - picture.height) // 2))
    else:
        x, y, arm = WIDTH // 2, HEIGHT // 2, 26
        draw.line((x - arm, y - arm, x + arm, y + arm), fill=colour, width=6)
        draw.line((x - arm, y + arm, x + arm, y - arm), fill=colour, width=6)
    draw.rectangle((0, HEIGHT - 6, WIDTH, HEIGHT), fill=colour)
    if badge:
        font = ImageFont.load_default(TEXT)
        draw.rounded_rectangle((10, 10, 10 + max(30, font.getlength(badge) + 18), 40), 15, fill=colour)
        draw.text((10 + max(30, font.getlength(badge) + 18) / 2, 25), badge, fill=PAPER, font=font, anchor="mm")
    return box


def _cell(pictures: Sequence[Image.Image], title: str, text: str, lines: int = 3) -> Image.Image:
    """Pictures side by side with one caption under them."""
    width = len(pictures) * WIDTH
    cell = Image.new("RGB", (width, HEIGHT + 12 + TITLE + 6 + lines * LINE), PAPER)
    for index, picture in enumerate(pictures):
        cell.paste(picture, (index * WIDTH, 0))
    draw = ImageDraw.Draw(cell)
    draw.text((0, HEIGHT + 10), title, fill=INK, font=ImageFont.load_default(TITLE))
    for number, line in enumerate(_wrapped(text, width, lines)):
        place = (0, HEIGHT + 12 + TITLE + 6 + number * LINE)
        draw.text(place, line, fill=SOFT, font=ImageFont.load_default(TEXT))
    return cell


def _wrapped(text: str, width: int, most: int) -> list[str]:
    """At most so many lines of `width` pixels; what does not fit ends in an ellipsis."""
    font = ImageFont.load_default(TEXT)
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) <= most:
        return lines
    last = lines[most - 1]
    while last and font.getlength(f"{last} …") > width:
        last = last[:-1]
    return [*lines[: most - 1], f"{last} …"]


def _sheet(sections: Sequence[tuple[str, Colour, Sequence[Image.Image]]], columns: int) -> Image.Image:
    """Sections below each other, each with a heading and its cells in rows."""
    width, height = next((cells[0].size for _, _, cells in sections if cells), (WIDTH, HEIGHT))
    rows = sum(-(-len(cells) // columns) for _, _, cells in sections)
    size = (
        2 * MARGIN + columns * width + (columns - 1) * GAP,
        2 * MARGIN + len(sections) * HEADING + rows * (height + GAP) - GAP,
    )
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    top = MARGIN
    for title, colour, cells in sections:
        draw.text((MARGIN, top), title, fill=colour, font=ImageFont.load_default(24))
        top += HEADING
        for index, cell in enumerate(cells):
            row, column = divmod(index, columns)
            sheet.paste(cell, (MARGIN + column * (width + GAP), top + row * (height + GAP)))
        top += -(-len(cells) // columns) * (height + GAP)
    return sheet
