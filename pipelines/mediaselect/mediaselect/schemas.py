"""The shapes of the models' JSON answers (sections 9.5, 10.3 and 11.2), in the form the Gemini API takes."""

from __future__ import annotations

from typing import Any, Final

CATEGORIES: Final = ("near-duplicate", "quality-issue", "content-mismatch", "redundant-scene")
IMPROVEMENTS: Final = (
    "object-removal", "background-cleanup", "blemish-removal", "color-grading", "lighting-fix", "composition-fix", "detail-enhancement",
)  # fmt: skip
GRID: Final = (
    "top-left", "top-center", "top-right", "center-left", "center", "center-right", "bottom-left", "bottom-center", "bottom-right",
)  # fmt: skip
REGIONS: Final = (*GRID, "background", "foreground", "global")
IMPACTS: Final = ("high", "medium", "low")

_TEXT: Final = {"type": "STRING"}
_NUMBER: Final = {"type": "NUMBER"}
_INTEGER: Final = {"type": "INTEGER"}
_FLAG: Final = {"type": "BOOLEAN"}
_MEDIUM: Final = {"type": "STRING", "enum": ["Photo", "Video"]}


def _object(optional: tuple[str, ...] = (), /, **properties: Any) -> dict[str, Any]:
    return {
        "type": "OBJECT",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "ARRAY", "items": items}


SELECTION: Final = _object(
    selected=_list(
        _object(
            ("comparisonNote",), rank=_INTEGER, media=_INTEGER, filename=_TEXT, type=_MEDIUM, scene=_TEXT, justification=_TEXT,
            comparisonNote=_TEXT,
        )
    ),
    excluded=_list(
        _object(
            ("duplicateOf",), media=_INTEGER, filename=_TEXT, reason=_TEXT, category={"type": "STRING", "enum": list(CATEGORIES)},
            duplicateOf=_TEXT,
        )
    ),
    sceneGroups=_list(
        _object(
            ("gps", "timeRange"), name=_TEXT, gps=_TEXT, timeRange=_TEXT,
            items=_list(_object(media=_INTEGER, filename=_TEXT, type=_MEDIUM, selected=_FLAG, description=_TEXT)),
        )
    ),
)  # fmt: skip

_IMPROVEMENT: Final[dict[str, Any]] = {
    "type": {"type": "STRING", "enum": list(IMPROVEMENTS)},
    "description": _TEXT,
    "region": {"type": "STRING", "enum": list(REGIONS)},
    "impact": {"type": "STRING", "enum": list(IMPACTS)},
}

PHOTO_ANALYSIS: Final = _object(
    overallAssessment=_TEXT,
    remainingImprovements=_list(_object(**_IMPROVEMENT, imagenSuitable=_FLAG, editInstruction=_TEXT)),
    professionalScore=_NUMBER,
    targetScore=_NUMBER,
    noFurtherEditsNeeded=_FLAG,
)

FRAME_ANALYSIS: Final = _object(
    overallAssessment=_TEXT,
    remainingImprovements=_list(
        _object(
            **{
                **_IMPROVEMENT,
                "type": {"type": "STRING", "enum": [name for name in IMPROVEMENTS if name != "composition-fix"]},
            },
            imagenSuitable=_FLAG,
            editInstruction=_TEXT,
            safeForPropagation=_FLAG,
        )
    ),
    professionalScore=_NUMBER,
    targetScore=_NUMBER,
    noFurtherEditsNeeded=_FLAG,
)

_STRENGTH: Final = {"type": "STRING", "enum": ["none", "light", "medium", "strong"]}

VIDEO_FILTERS: Final = _object(
    overallAssessment=_TEXT,
    professionalScore=_NUMBER,
    targetScore=_NUMBER,
    noFurtherEditsNeeded=_FLAG,
    filters=_object(
        brightness=_NUMBER, contrast=_NUMBER, saturation=_NUMBER, gamma=_NUMBER, temperatureKelvin=_NUMBER, sharpen=_NUMBER,
        denoise=_STRENGTH, stabilize=_STRENGTH,
    ),
    rationale=_TEXT,
)  # fmt: skip
