"""The CMS's rich text, and the fields that come in threes: imported, edited, reviewed."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def rich(text: str | None) -> Json | None:
    """Rich text of one paragraph; None for no text."""
    if not text:
        return None
    paragraph = {"type": "paragraph", "direction": "ltr", "format": "", "indent": 0, "version": 1}
    root = {"type": "root", "direction": "ltr", "format": "", "indent": 0, "version": 1}
    return {"root": {**root, "children": [{**paragraph, "children": [{"type": "text", "text": text}]}]}}


def plain(value: Any) -> str:
    """All text of a rich text, or the text itself."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(plain(member) for member in value)
    if isinstance(value, dict):
        if isinstance(value.get("text"), str):
            return str(value["text"])
        return plain(value.get("root") or value.get("children") or [])
    return ""


def pair(name: str, imported: Any) -> Json:
    """`nameItrvl`, and its edited form and review, which an import leaves empty."""
    return {f"{name}Itrvl": imported, f"{name}Enhanced": None, f"{name}Reviewed": False}
