"""The model's choice, made whole (section 9.5): found in whatever stands around the JSON, and repaired until every file is in it once.

Each repair leaves a warning. What cannot be repaired raises `Unusable`; its text is quoted to the model when it is asked once more.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mediaselect.keys import label
from mediaselect.schemas import CATEGORIES


class Unusable(Exception):
    """An answer that holds no selection; the text says what is wrong with it."""


@dataclass(frozen=True)
class Medium:
    """A file as the model saw it: its number (from 1), name, key, and the key whose thumbnail the UI shows."""

    number: int
    filename: str
    key: str
    thumbnail: str

    @property
    def url(self) -> str:
        """Where the UI finds the thumbnail."""
        return f"/api/media/thumbnail?key={self.thumbnail}"


@dataclass
class Verdict:
    """The lists of a selection job."""

    selected: list[dict[str, Any]] = field(default_factory=list)
    excluded: list[dict[str, Any]] = field(default_factory=list)
    scenes: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


_FENCE = re.compile(r"\A```[a-zA-Z]*\s*\n(.*?)\n?```\Z", re.DOTALL)


def parse_json(text: str) -> Any:
    """The JSON in a model's answer: without a code fence, from the first brace or bracket to the last matching one. Raises Unusable."""
    text = text.strip()
    if fenced := _FENCE.match(text):
        text = fenced[1].strip()
    starts = [position for position in (text.find("{"), text.find("[")) if position >= 0]
    if not starts:
        raise Unusable("the answer holds no JSON")
    start = min(starts)
    end = text.rfind("}" if text[start] == "{" else "]")
    try:
        return json.loads(text[start : end + 1])
    except ValueError as error:
        raise Unusable(f"the answer is not valid JSON: {error}") from None


def read_verdict(text: str, media: Sequence[Medium]) -> Verdict:
    """The selection in an answer, complete. Raises Unusable."""
    document = parse_json(text)
    if not isinstance(document, dict):
        raise Unusable("the answer is not a JSON object")
    selected, excluded = _entries(document, "selected"), _entries(document, "excluded")
    if not selected and not excluded:
        raise Unusable("both selected and excluded are empty")
    return _Reader(media).read(selected, excluded, _entries(document, "sceneGroups"))


def _entries(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    value = document.get(name) or []
    if not isinstance(value, list):
        raise Unusable(f"{name} is not a list")
    return [entry for entry in value if isinstance(entry, dict)]


class _Reader:
    def __init__(self, media: Sequence[Medium]) -> None:
        self.media = {medium.number: medium for medium in media}
        counts = Counter(medium.filename.lower() for medium in media)
        self.names = {medium.filename.lower(): medium for medium in media if counts[medium.filename.lower()] == 1}
        self.warnings: list[str] = []

    def read(
        self, selected: list[dict[str, Any]], excluded: list[dict[str, Any]], scenes: list[dict[str, Any]]
    ) -> Verdict:
        chosen = self._once(selected, "selected", set())
        rejected = self._once(excluded, "excluded", {medium.number for medium, _ in chosen})
        verdict = Verdict()
        chosen.sort(key=lambda pair: _rank(pair[1]))
        for rank, (medium, entry) in enumerate(chosen, start=1):
            verdict.selected.append(self._selected(rank, medium, entry))
        for medium, entry in rejected:
            verdict.excluded.append(self._excluded(medium, entry))
        named = {medium.number for medium, _ in [*chosen, *rejected]}
        for medium in self.media.values():
            if medium.number not in named:
                self.warnings.append(f"the model did not classify {medium.filename}")
                verdict.excluded.append(
                    {
                        "media": medium.number, "filename": medium.filename, "key": medium.key, "thumbnailUrl": medium.url,
                        "reason": "not classified by the model", "category": "content-mismatch",
                    }
                )  # fmt: skip
        verdict.scenes = self._scenes(scenes, {medium.number for medium, _ in chosen})
        verdict.warnings = self.warnings
        return verdict

    def _once(self, entries: list[dict[str, Any]], where: str, taken: set[int]) -> list[tuple[Medium, dict[str, Any]]]:
        found = []
        own: set[int] = set()
        for entry in entries:
            medium = self._medium(entry, where)
            if medium is None:
                continue
            if medium.number in own:
                self.warnings.append(f"the model listed {medium.filename} twice in {where}; the first entry counts")
            elif medium.number in taken:
                self.warnings.append(f"the model both selected and excluded {medium.filename}; it counts as selected")
            else:
                found.append((medium, entry))
            own.add(medium.number)
        return found

    def _medium(self, entry: dict[str, Any], where: str) -> Medium | None:
        number = entry.get("media")
        by_number = self.media.get(number) if isinstance(number, int) and not isinstance(number, bool) else None
        name = str(entry.get("filename") or "")
        by_name = self.names.get(name.lower())
        if by_number is None:
            if by_name is None:
                self.warnings.append(
                    f"the model named media number {number!s:.20} in {where}, which does not exist; dropped"
                )
            else:
                self.warnings.append(
                    f"the model gave {by_name.filename} the wrong number {number!s:.20}; the name counts"
                )
            return by_name
        if name and by_name is not None and by_name is not by_number:
            self.warnings.append(
                f"the model gave number {by_number.number} the name {by_name.filename}; the name counts"
            )
            return by_name
        return by_number

    def _selected(self, rank: int, medium: Medium, entry: dict[str, Any]) -> dict[str, Any]:
        result = {
            "rank": rank, "media": medium.number, "filename": medium.filename, "key": medium.key, "type": label(medium.filename),
            "scene": _text(entry, "scene"), "justification": _text(entry, "justification"), "thumbnailUrl": medium.url,
        }  # fmt: skip
        if note := _text(entry, "comparisonNote"):
            result["comparisonNote"] = note
        return result

    def _excluded(self, medium: Medium, entry: dict[str, Any]) -> dict[str, Any]:
        category = entry.get("category")
        if category not in CATEGORIES:
            self.warnings.append(f"the model gave {medium.filename} an unknown category")
            category = "content-mismatch"
        result = {
            "media": medium.number, "filename": medium.filename, "key": medium.key, "thumbnailUrl": medium.url,
            "reason": _text(entry, "reason"), "category": category,
        }  # fmt: skip
        if duplicate := _text(entry, "duplicateOf"):
            result["duplicateOf"] = duplicate
        elif category == "near-duplicate":
            self.warnings.append(f"the model did not say what {medium.filename} is a duplicate of")
        return result

    def _scenes(self, scenes: list[dict[str, Any]], chosen: set[int]) -> list[dict[str, Any]]:
        groups, seen = [], set()
        known = len(self.warnings)
        for scene in scenes:
            items = []
            for entry in scene.get("items") or []:
                medium = self._medium(entry, "a scene") if isinstance(entry, dict) else None
                if medium is None or medium.number in seen:
                    continue
                seen.add(medium.number)
                items.append(
                    {
                        "media": medium.number, "filename": medium.filename, "key": medium.key, "type": label(medium.filename),
                        "selected": medium.number in chosen, "description": _text(entry, "description"), "thumbnailUrl": medium.url,
                    }
                )  # fmt: skip
            if items:
                group: dict[str, Any] = {"name": _text(scene, "name") or "Scene", "items": items}
                group |= {name: _text(scene, name) for name in ("gps", "timeRange") if _text(scene, name)}
                groups.append(group)
        del self.warnings[known:]  # scenes are for display: the lists' warnings say what matters
        return groups


def _rank(entry: dict[str, Any]) -> float:
    rank = entry.get("rank")
    return float(rank) if isinstance(rank, int | float) and not isinstance(rank, bool) else float("inf")


def _text(entry: dict[str, Any], name: str) -> str:
    value = entry.get(name)
    return value.strip() if isinstance(value, str) else ""
