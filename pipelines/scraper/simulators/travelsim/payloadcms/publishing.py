"""What the CMS asks for before an itinerary is published, and what the public sees of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CHECKS = ("allImagesProcessed", "noFailedImages", "schemaGenerated", "tripTypesSelected")


def blockers(itinerary: Mapping[str, Any]) -> list[str]:
    """What is not reviewed or not done."""
    found = [
        f"{name} is not reviewed"
        for name, flag in (
            ("title", itinerary.get("titleReviewed")),
            ("metaTitle", itinerary.get("metaTitleReviewed")),
            ("metaDescription", itinerary.get("metaDescriptionReviewed")),
            ("heroImage", itinerary.get("heroImageReviewed")),
            ("summary", (itinerary.get("overview") or {}).get("summaryReviewed")),
            ("includes", (itinerary.get("investmentLevel") or {}).get("includesReviewed")),
        )
        if not flag
    ]
    needed = {
        "stay": ("accommodationName", "description", "inclusions"),
        "activity": ("title", "description"),
        "transfer": ("title", "description"),
    }
    for day in itinerary.get("days") or []:
        if not day.get("titleReviewed"):
            found.append(f"title of day {day.get('dayNumber')} is not reviewed")
        for block in day.get("segments") or []:
            found += [
                f"{name} of a {block['blockType']} on day {day.get('dayNumber')} is not reviewed"
                for name in needed[block["blockType"]]
                if not block.get(f"{name}Reviewed")
            ]
    for number, item in enumerate(itinerary.get("faqItems") or [], 1):
        found += [
            f"{name} of question {number} is not reviewed"
            for name in ("question", "answer")
            if not item.get(f"{name}Reviewed")
        ]
    checklist = itinerary.get("publishChecklist") or {}
    return found + [f"{name} is not fulfilled" for name in CHECKS if not checklist.get(name)]


def resolved(value: Any) -> Any:
    """For the public: `x` is what was edited, else what was imported; the three internal fields are gone."""
    if isinstance(value, list):
        return [resolved(member) for member in value]
    if not isinstance(value, dict):
        return value
    result = dict(value)
    for name in [name.removesuffix("Itrvl") for name in value if name.endswith("Itrvl")]:
        imported = result.pop(f"{name}Itrvl")
        edited = result.pop(f"{name}Enhanced", None)
        result.pop(f"{name}Reviewed", None)
        result[name] = edited or imported
    return {name: resolved(member) for name, member in result.items()}
