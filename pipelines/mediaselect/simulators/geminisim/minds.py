"""The simulated models' answers: which media to choose, what remains to be improved, which filters to use."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from PIL import Image

from . import vision


@dataclass
class Seen:
    """One labelled medium of a selection request."""

    number: int
    filename: str
    type: str
    look: vision.Look
    taken: datetime | None = None
    gps: tuple[float, float] | None = None
    seconds: float = 0.0

    @property
    def blurred(self) -> bool:
        return self.look.sharpness < vision.UNUSABLE_SHARPNESS

    @property
    def worth(self) -> float:
        """Among duplicates: sharpness first, then exposure; a film of 5 to 15 seconds counts for its sound."""
        return min(self.look.sharpness, 120.0) + 8 * self.look.score + (30 if self.type == "Video" else 0)


_LABEL = re.compile(r"Media (\d+): (.+?)(?: \(of this video.*)?\Z")
_LINE = re.compile(r"^(\d+)\. .* \[(Photo|Video)\] (.*)$", re.MULTILINE)


def choose(seen: list[Seen], prompt: str) -> dict[str, Any]:
    """The answer to a selection request."""
    facts = {int(number): text for number, _, text in _LINE.findall(prompt)}
    for item in seen:
        text = facts.get(item.number, "")
        if found := re.search(r"GPS (-?[\d.]+), (-?[\d.]+)", text):
            item.gps = (float(found[1]), float(found[2]))
        if found := re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", text):
            item.taken = datetime.fromisoformat(found[0])
    scenes = _scenes(seen)
    selected: list[dict[str, Any]] = []
    excluded: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes, start=1):
        name = f"Scene {number}"
        items = []
        for moment in _moments(scene):
            usable = [item for item in moment if not item.blurred]
            best = max(usable, key=lambda item: (item.worth, -item.number)) if usable else None
            for item in moment:
                items.append(
                    {
                        "media": item.number, "filename": item.filename, "type": item.type, "selected": item is best,
                        "description": _describe(item),
                    }
                )  # fmt: skip
                if item is best:
                    entry = {
                        "rank": len(selected) + 1, "media": item.number, "filename": item.filename, "type": item.type,
                        "scene": name, "justification": f"{_describe(item)}; the best of its moment.",
                    }  # fmt: skip
                    rivals = [other.filename for other in moment if other is not item]
                    if rivals:
                        entry["comparisonNote"] = f"Sharper and better exposed than {', '.join(rivals)}."
                    selected.append(entry)
                elif item.blurred:
                    excluded.append(
                        {"media": item.number, "filename": item.filename, "reason": "Extremely blurred, nothing can be made out.",
                         "category": "quality-issue"}
                    )  # fmt: skip
                else:
                    assert best is not None
                    excluded.append(
                        {"media": item.number, "filename": item.filename,
                         "reason": f"Shows the same moment as {best.filename}, less sharp or less well exposed.",
                         "category": "near-duplicate", "duplicateOf": best.filename}
                    )  # fmt: skip
        group: dict[str, Any] = {"name": name, "items": items}
        placed = [item.gps for item in scene if item.gps]
        timed = sorted(item.taken for item in scene if item.taken)
        if placed:
            group["gps"] = f"{placed[0][0]:.4f}, {placed[0][1]:.4f}"
        if timed:
            group["timeRange"] = f"{timed[0]:%H:%M} - {timed[-1]:%H:%M}"
        groups.append(group)
    return {"selected": selected, "excluded": excluded, "sceneGroups": groups}


def _describe(item: Seen) -> str:
    light = "dark" if item.look.mean < 80 else "bright" if item.look.mean > 160 else "balanced"
    return f"A {light} {item.type.lower()}, brightness {item.look.mean:.0f}, sharpness {item.look.sharpness:.0f}"


def _scenes(seen: list[Seen]) -> list[list[Seen]]:
    """Broken where 2 hours or 1 km lie between; media without a date stay with the one before."""
    scenes: list[list[Seen]] = []
    ordered = sorted(seen, key=lambda item: (item.taken is None, item.taken or datetime.min, item.number))
    for item in ordered:
        last = scenes[-1][-1] if scenes else None
        far = last is not None and last.gps and item.gps and _distance(last.gps, item.gps) >= 1.0
        late = last is not None and last.taken and item.taken and (item.taken - last.taken).total_seconds() >= 7200
        if last is None or far or late:
            scenes.append([])
        scenes[-1].append(item)
    return scenes


def _moments(scene: list[Seen]) -> list[list[Seen]]:
    """Near-duplicates together: each item joins the moment whose first picture it is most alike."""
    moments: list[list[Seen]] = []
    for item in sorted(scene, key=lambda item: (item.blurred, item.number)):
        likeness = [max(item.look.like(other.look) for other in moment) for moment in moments]
        threshold = vision.ALIKE - (0.09 if item.blurred else 0.0)
        if likeness and max(likeness) >= threshold:
            moments[int(np.argmax(likeness))].append(item)
        else:
            moments.append([item])
    return moments


def _distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Kilometres."""
    north = (b[0] - a[0]) * 111.2
    east = (b[1] - a[1]) * 111.2 * math.cos(math.radians(a[0]))
    return math.hypot(north, east)


def analyse(image: Image.Image, question: str, *, frame: bool) -> dict[str, Any]:
    """What remains to be improved in a picture."""
    seen = vision.look(image)
    found: list[dict[str, Any]] = []

    def add(kind: str, text: str, gap: float) -> None:
        entry = {
            "type": kind, "description": text, "region": "global", "impact": "high" if gap > 0.35 else "medium",
            "imagenSuitable": False, "editInstruction": text,
        }  # fmt: skip
        found.append({**entry, "safeForPropagation": True} if frame else entry)

    if abs(seen.mean - seen.ideal) > 24:
        add("lighting-fix", f"{'Brighten' if seen.mean < seen.ideal else 'Darken'} the picture",
            abs(seen.mean - seen.ideal) / vision.IDEAL_MEAN)  # fmt: skip
    if seen.spread < vision.IDEAL_SPREAD - 16:
        add("color-grading", "Raise the contrast", (vision.IDEAL_SPREAD - seen.spread) / vision.IDEAL_SPREAD)
    wish = "asks for a change" in question
    if wish and re.search(r"remove|erase|clean", question.lower()):
        region = re.search(r"top-left|top-right|bottom-left|bottom-right|center", question.lower())
        found.append(
            {"type": "object-removal", "description": "What the owner wants gone", "region": region[0] if region else "center",
             "impact": "high", "imagenSuitable": True, "editInstruction": "Remove it and continue the background"}
        )  # fmt: skip
    score = 7.0 if wish else seen.score
    return {
        "overallAssessment": f"Brightness {seen.mean:.0f}, contrast {seen.spread:.0f}, colour {seen.colour:.0f}.",
        "remainingImprovements": found,
        "professionalScore": score,
        "targetScore": 9.0,
        "noFurtherEditsNeeded": not found and score >= 8.5,
    }


def filters(pictures: list[Image.Image], question: str) -> dict[str, Any]:
    """Filters for a film, from its frames and from what is applied already."""
    applied: dict[str, Any] = {
        "brightness": 0.0, "contrast": 1.0, "saturation": 1.0, "gamma": 1.0, "temperatureKelvin": 6500, "sharpen": 0.0,
        "denoise": "none", "stabilize": "none",
    }  # fmt: skip
    if told := re.search(r"applied already: (\{.*?\})", question):
        applied |= json.loads(told[1])
    seen = [vision.look(picture) for picture in pictures]
    mean = float(np.mean([item.mean for item in seen]))
    spread = float(np.mean([item.spread for item in seen]))
    colour = float(np.mean([item.colour for item in seen]))
    noise = float(np.mean([item.noise for item in seen]))
    score = round(float(np.mean([item.score for item in seen])), 1)
    wanted = dict(applied)
    if abs(mean - vision.IDEAL_MEAN) > 14:
        wanted["gamma"] = round(float(np.clip(applied["gamma"] * np.log(mean / 255) / np.log(116 / 255), 0.7, 1.5)), 2)
    if spread < vision.IDEAL_SPREAD - 8:
        wanted["contrast"] = round(min(1.4, applied["contrast"] * min(1.3, vision.IDEAL_SPREAD / max(spread, 20))), 2)
    if colour < vision.IDEAL_COLOUR - 12:
        wanted["saturation"] = round(min(1.6, applied["saturation"] * 1.25), 2)
    if noise > 4.0 and applied["denoise"] == "none":
        wanted["denoise"] = "strong" if noise > 9 else "medium" if noise > 6 else "light"
    if "warm" in question.lower():
        wanted["temperatureKelvin"] = 5200
    return {
        "overallAssessment": f"Brightness {mean:.0f}, contrast {spread:.0f}, colour {colour:.0f}, noise {noise:.1f}.",
        "professionalScore": score,
        "targetScore": 8.5,
        "noFurtherEditsNeeded": wanted == applied,
        "filters": wanted,
        "rationale": "Towards middle brightness and full contrast.",
    }


def label_of(text: str) -> tuple[int, str] | None:
    """Number and file name of a label part."""
    found = _LABEL.match(text.strip())
    return (int(found[1]), found[2]) if found else None
