"""A plot as an SVG file: a few lines over sizes that grow by powers of ten. Small enough to read."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 36, 70
COLOURS = ("#2563eb", "#d97706", "#059669", "#7c3aed")


@dataclass
class Line:
    """A name and its (x, y) points."""

    name: str
    points: list[tuple[float, float]]


def plot(title: str, x_label: str, y_label: str, lines: list[Line], *, log_x: bool, log_y: bool) -> str:
    """The SVG text. A linear axis begins at 0; a logarithmic one at the power of ten below the smallest value."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    x_at, x_ticks = _axis(xs, LEFT, WIDTH - RIGHT, log_x)
    y_at, y_ticks = _axis(ys, HEIGHT - BOTTOM, TOP, log_y)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14" font-weight="bold">{escape(title)}</text>',
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - BOTTOM + 32}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text transform="translate(14 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
    ]
    for value in y_ticks:
        y = y_at(value)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,.10g}</text>')
    for value in x_ticks:
        parts.append(
            f'<text x="{x_at(value):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:,.10g}</text>'
        )
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x_at(x):.1f},{y_at(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x_at(x):.1f}" cy="{y_at(y):.1f}" r="3" fill="{colour}"/>' for x, y in line.points]
        at = LEFT + number * (WIDTH - LEFT - RIGHT) / len(lines)
        parts.append(f'<rect x="{at}" y="{HEIGHT - 22}" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{at + 15}" y="{HEIGHT - 13}">{escape(line.name)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _axis(values: list[float], low: float, high: float, log: bool) -> tuple[Callable[[float], float], list[float]]:
    """(value to pixel, ticks)."""
    if log:
        first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        last = max(last, first + 1)
        return (
            lambda value: low + (math.log10(value) - first) / (last - first) * (high - low),
            [10.0**power for power in range(first, last + 1)],
        )
    step = 10.0 ** math.floor(math.log10(max(values) or 1))
    step = step / 2 if max(values) / step < 2.5 else step
    end = math.ceil(max(values) * 1.05 / step) * step
    return lambda value: low + value / end * (high - low), [step * n for n in range(round(end / step) + 1)]
