"""Scenes: which panel is on screen when, on the grid of frames (sections 7.2 and 7.3)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FRAME_RATE = 24
MIN_SECONDS = 2.0
TOLERANCE = 1e-6
CHUNK_SCENES = 100


@dataclass(frozen=True)
class Scene:
    """One picture for a while. `panel` is an object key; None stands for the cover, or black without one.

    `start` and `seconds` are exact; `frame` and `frames` are its place on the grid.
    """

    panel: str | None
    start: float
    seconds: float
    frame: int
    frames: int


def shown(panels: int, seconds: float) -> int:
    """How many of a segment's panels are shown: all, if each gets two seconds; else the first ones that do."""
    if panels == 0 or seconds >= MIN_SECONDS * panels - TOLERANCE:
        return panels
    return max(1, math.floor(seconds / MIN_SECONDS + TOLERANCE))


def build(segments: Sequence[Mapping[str, Any]], panel_keys: Sequence[str]) -> list[Scene]:
    """Scenes of an audio manifest's segments over all panels of the job. They follow one another without gaps."""
    scenes: list[Scene] = []
    start = 0.0
    previous: str | None = None
    for segment in segments:
        seconds = float(segment["duration_seconds"])
        if segment["missing"] or seconds <= 0:
            continue
        panels: list[str | None] = list(panel_keys[segment["panel_start"] : segment["panel_end"] + 1])
        # Without panels of its own a segment keeps the picture before it: dropping it would shift all that follow.
        panels = panels[: shown(len(panels), seconds)] or [previous]
        each = seconds / len(panels)
        for number, panel in enumerate(panels):
            begin = start + number * each
            first = max(scenes[-1].frame + scenes[-1].frames if scenes else 0, on_grid(begin))
            scenes.append(Scene(panel, begin, each, first, max(1, on_grid(begin + each) - first)))
            previous = panel
        start += seconds
    return scenes


def on_grid(seconds: float) -> int:
    """The frame nearest to a time."""
    return math.floor(seconds * FRAME_RATE + 0.5 + TOLERANCE)


def total_seconds(scenes: Sequence[Scene]) -> float:
    """How long they last together."""
    return sum(scene.seconds for scene in scenes)


def chunked(scenes: Sequence[Scene], size: int = CHUNK_SCENES) -> list[list[Scene]]:
    """Groups of `size` scenes that are rendered one by one."""
    return [list(scenes[start : start + size]) for start in range(0, len(scenes), size)]


def fingerprint(scenes: Sequence[Scene], *settings: object) -> str:
    """What a checkpoint belongs to: these scenes in this order, rendered and chunked with these settings."""
    document = [[scene.panel, scene.frame, scene.frames] for scene in scenes]
    return hashlib.sha256(json.dumps([document, [str(setting) for setting in settings]]).encode()).hexdigest()
