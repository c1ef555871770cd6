"""Photo enhancement (section 10): a global edit, a look at the result, and at most one more global pass and three local edits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mediaselect import images, masks, prompts, schemas
from mediaselect.ai import Deadline, MaskEditor, Models, Picture, Turn, one_picture
from mediaselect.errors import AiRefused, AiUnavailable, UnsupportedMedia
from mediaselect.settings import Settings
from mediaselect.verdicts import Unusable, parse_json
from stepwell.toolkit.errors import ToolkitError
from stepwell.toolkit.logs import logger

log = logger(__name__)

PUBLISHABLE = 8.5
EXCEPTIONAL = 9.0
MAX_MASK_EDITS = 3
INSERTION, REMOVAL = "EDIT_MODE_INPAINT_INSERTION", "EDIT_MODE_INPAINT_REMOVAL"
Progress = Callable[[str, Mapping[str, Any]], None]
"""Told the phase that begins, and what is known by then."""


@dataclass
class Retouched:
    """An enhanced photo."""

    picture: Picture
    text: str
    analysis: dict[str, Any]
    imagen_edits: int


class Retoucher:
    """Calls the models for one photo."""

    def __init__(self, settings: Settings, deadline: Deadline) -> None:
        self.settings = settings
        self.models = Models(settings, deadline)
        self._deadline = deadline

    def enhance(self, picture: Picture, progress: Progress) -> Retouched:
        """All phases. Raises AiRefused or AiUnavailable when the first edit or the analysis fails."""
        progress("phase1", {})
        answer = self.models.generate(
            self.settings.model_image,
            [picture, prompts.prompt("retouch-user")],
            system=prompts.prompt("retouch-system"),
            operation="photo-edit",
            images=True,
        )
        current, text = one_picture(answer), answer.text.strip()
        progress("phase2", {"phase1Text": text})
        analysis = self.analyse(current)
        edits = 0
        if not is_finished(analysis):
            progress("phase3", {"analysis": analysis})
            current = self._second_pass(current, analysis)
            current, edits = self.mask_edits(current, analysis)
        return Retouched(current, text, analysis, edits)

    def analyse(self, picture: Picture, feedback: str | None = None) -> dict[str, Any]:
        """What remains to be done. An answer that cannot be read counts as a finished photo. Raises AiRefused, AiUnavailable."""
        question = prompts.prompt("analysis-user")
        if feedback is not None:
            question = prompts.prompt("analysis-feedback", feedback=prompts.quoted(feedback))
        answer = self.models.generate(
            self.settings.model_analysis,
            [picture, question],
            system=prompts.prompt("analysis-system"),
            operation="photo-analysis",
            schema=schemas.PHOTO_ANALYSIS,
        )
        try:
            return read_analysis(answer.text)
        except Unusable:
            log.warning("analysis not readable", event_type="analysis_unreadable")
            return {
                "overallAssessment": "",
                "remainingImprovements": [],
                "professionalScore": PUBLISHABLE,
                "targetScore": EXCEPTIONAL,
                "noFurtherEditsNeeded": True,
            }

    def _second_pass(self, picture: Picture, analysis: Mapping[str, Any]) -> Picture:
        wanted = [found["editInstruction"] for found in worthwhile(analysis) if not found["imagenSuitable"]]
        if not wanted:
            return picture
        instructions = "\n".join(f"{number}. {text}" for number, text in enumerate(wanted, start=1))
        try:
            answer = self.models.generate(
                self.settings.model_image,
                [picture, prompts.prompt("retouch-again", instructions=instructions)],
                system=prompts.prompt("retouch-system"),
                operation="photo-edit",
                images=True,
            )
            return one_picture(answer)
        except (AiRefused, AiUnavailable) as error:
            log.warning("second pass left out", event_type="second_pass_failed", reason=str(error))
            return picture

    def mask_edits(self, picture: Picture, analysis: Mapping[str, Any]) -> tuple[Picture, int]:
        """Up to three local edits, each on the result of the one before; those that fail are left out."""
        wanted = [found for found in worthwhile(analysis) if found["imagenSuitable"]][:MAX_MASK_EDITS]
        if not wanted or not self.settings.mask_editing:
            return picture, 0
        try:
            editor = MaskEditor(self.settings, self._deadline)
        except (ToolkitError, ValueError) as error:
            log.error(
                "no local edits: their credentials cannot be used", event_type="mask_editor_unusable", exc_info=error
            )
            return picture, 0
        done = 0
        for found in wanted:
            try:
                # The mask has the size of what is edited now: models return other sizes than they were given.
                area = masks.mask(found["region"], images.decode(picture.data).size)
                mode = INSERTION if found["type"] in ("background-cleanup", "composition-fix") else REMOVAL
                picture = editor.edit(picture, images.png(area), found["editInstruction"], mode)
                done += 1
            except (AiRefused, AiUnavailable, UnsupportedMedia, ValueError) as error:
                log.warning("local edit left out", event_type="mask_edit_failed", reason=str(error))
        return picture, done

    def follow(self, picture: Picture, feedback: str, history: Sequence[Turn]) -> tuple[Picture | None, str, str]:
        """The photo changed as its owner wishes (None when that was not possible), the answer, and the method that did it."""
        said = ""
        try:
            answer = self.models.generate(
                self.settings.model_image,
                [picture, prompts.prompt("retouch-feedback", feedback=prompts.quoted(feedback))],
                system=prompts.prompt("retouch-system"),
                operation="photo-feedback",
                images=True,
                history=history,
            )
            said = answer.text.strip()
            if answer.pictures:
                return one_picture(answer), said, "gemini"
        except AiRefused as error:
            said = str(error)
        if self.settings.mask_editing:
            try:
                edited, count = self.mask_edits(picture, self.analyse(picture, feedback))
            except AiRefused as error:
                log.warning("local edits not found", event_type="feedback_analysis_failed", reason=str(error))
                count = 0
            if count:
                return edited, f"applied {count} local edit(s)", "imagen"
        return None, f"the change could not be applied{': ' + said if said else ''}", "gemini"


def read_analysis(text: str) -> dict[str, Any]:
    """The analysis in an answer, within its bounds: unknown values are dropped, scores lie in 1.0 to 10.0. Raises Unusable."""
    document = parse_json(text)
    if not isinstance(document, dict):
        raise Unusable("the answer is not a JSON object")
    found = document.get("remainingImprovements")
    return {
        "overallAssessment": _text(document, "overallAssessment"),
        "remainingImprovements": [
            _improvement(entry) for entry in (found if isinstance(found, list) else []) if _is_improvement(entry)
        ],
        "professionalScore": score(document.get("professionalScore"), PUBLISHABLE),
        "targetScore": score(document.get("targetScore"), EXCEPTIONAL),
        "noFurtherEditsNeeded": document.get("noFurtherEditsNeeded") is True,
    }


def score(value: Any, default: float) -> float:
    """A score clamped to 1.0 to 10.0; what is no number counts as `default`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return default
    return min(10.0, max(1.0, float(value)))


def is_finished(analysis: Mapping[str, Any]) -> bool:
    """Whether a picture is good enough to be left alone."""
    return bool(analysis["noFurtherEditsNeeded"]) or analysis["professionalScore"] >= PUBLISHABLE


def worthwhile(analysis: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The improvements of high or medium impact, in their order."""
    return [found for found in analysis["remainingImprovements"] if found["impact"] in ("high", "medium")]


def _is_improvement(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and entry.get("type") in schemas.IMPROVEMENTS
        and entry.get("impact") in schemas.IMPACTS
        and bool(_text(entry, "editInstruction"))
    )


def _improvement(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": entry["type"],
        "description": _text(entry, "description"),
        "region": str(entry.get("region", "global")),
        "impact": entry["impact"],
        "imagenSuitable": entry.get("imagenSuitable") is True,
        "editInstruction": _text(entry, "editInstruction"),
        **({"safeForPropagation": True} if entry.get("safeForPropagation") is True else {}),
    }


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return value.strip() if isinstance(value, str) else ""
