"""Pages of comics that nobody drew: frames, figures, bubbles. The same title, chapter and page always give the same picture."""

from __future__ import annotations

import io
import random
from functools import cache

from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]


def paper(title: str, chapter: str, page: int) -> Colour:
    """The tint of a page's paper, by which it is recognised in a video."""
    chance = random.Random(f"{title}/{chapter}/{page}")
    return chance.randint(150, 245), chance.randint(150, 245), chance.randint(150, 245)


@cache
def draw(title: str, chapter: str, page: int, size: tuple[int, int] = (900, 1280), form: str = "JPEG") -> bytes:
    """One page as a file."""
    chance = random.Random(f"draw {title}/{chapter}/{page}")
    tint = paper(title, chapter, page)
    picture = Image.new("RGB", size, tint)
    pen = ImageDraw.Draw(picture)
    width, height = size
    margin = max(8, width // 30)
    top = margin
    rows = chance.randint(2, 4)
    for _ in range(rows):
        bottom = top + (height - 2 * margin) // rows - margin
        cut = chance.choice((1, 1, 2))
        for column in range(cut):
            left = margin + column * (width - 2 * margin) // cut
            right = left + (width - 2 * margin) // cut - (margin // 2 if cut > 1 else 0)
            _panel(pen, chance, (left, top, right, bottom))
        top = bottom + margin
    font = ImageFont.load_default(size=max(12, width // 22))
    text = f"{title}  {chapter} / {page + 1}"
    box = pen.textbbox((0, 0), text, font=font)
    pen.rectangle(
        (margin, height - margin - box[3] - 12, margin + box[2] + 20, height - margin // 2),
        fill="white",
        outline="black",
    )
    pen.text((margin + 10, height - margin - box[3] - 6), text, fill="black", font=font)
    out = io.BytesIO()
    picture.save(out, form, **({"quality": 88} if form == "JPEG" else {}))
    return out.getvalue()


def _panel(pen: ImageDraw.ImageDraw, chance: random.Random, box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    shade = chance.randint(205, 250)
    pen.rectangle(box, fill=(shade, shade, shade), outline="black", width=5)
    for _ in range(chance.randint(6, 14)):  # speed lines
        x = chance.randint(left + 6, right - 6)
        pen.line((x, top + 6, chance.randint(left + 6, right - 6), bottom - 6), fill=(shade - 60,) * 3, width=2)
    floor, tall = bottom - 8, (bottom - top) * 2 // 3
    head = max(4, min(tall // 5, (right - left - 24) // 4))  # a figure is four heads wide, and stays in its panel
    middle = chance.randint(left + 2 * head + 8, max(left + 2 * head + 9, right - 2 * head - 8))
    pen.ellipse(
        (middle - head, floor - tall, middle + head, floor - tall + 2 * head), fill="white", outline="black", width=4
    )
    pen.polygon(
        [(middle, floor - tall + 2 * head), (middle - head * 2, floor), (middle + head * 2, floor)],
        fill=(60, 60, 70),
        outline="black",
    )
    for eye in (-1, 1):
        x, y = middle + eye * head // 2, floor - tall + head
        pen.ellipse((x - 4, y - 6, x + 4, y + 6), fill="black")
    bubble = (left + 14, top + 12, left + 14 + (right - left) // 3, top + 12 + (bottom - top) // 4)
    pen.ellipse(bubble, fill="white", outline="black", width=3)
    for line in range(3):
        y = bubble[1] + (bubble[3] - bubble[1]) * (line + 2) // 6
        pen.line((bubble[0] + 18, y, bubble[2] - 18, y), fill="black", width=3)
