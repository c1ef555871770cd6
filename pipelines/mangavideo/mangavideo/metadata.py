"""What the video host is told about a video (section 8)."""

from __future__ import annotations

import re
from typing import Any

MAX_TITLE, MAX_SYNOPSIS, MAX_DESCRIPTION_BYTES, MAX_TAGS = 100, 500, 5000, 500
PREFIX, SUFFIX = "Review Manga ", " | Tóm Tắt Đầy Đủ"
STANDING_TAGS = ("review manga", "tóm tắt manga", "manga hay", "đọc manga")
CATEGORY = "24"
LANGUAGE = "vi"


def body(manifest: dict[str, Any], privacy: str = "public") -> dict[str, Any]:
    """The resource of an insert call."""
    return {
        "snippet": {
            "title": title(manifest["manga_title"]),
            "description": description(manifest),
            "tags": tags(manifest["manga_title"], manifest["genres"]),
            "categoryId": CATEGORY,
            "defaultLanguage": LANGUAGE,
        },
        "status": {"privacyStatus": privacy, "selfDeclaredMadeForKids": False},
    }


def title(comic: str) -> str:
    """At most 100 characters; only the comic's own title is shortened."""
    room = MAX_TITLE - len(PREFIX) - len(SUFFIX)
    return f"{PREFIX}{_plain(comic)[:room].rstrip()}{SUFFIX}"


def description(manifest: dict[str, Any]) -> str:
    """At most 5,000 bytes; the synopsis gives way."""
    comic = _plain(manifest["manga_title"])
    synopsis = _plain(manifest["description"]).strip() or "Manga hay và hấp dẫn"
    if len(synopsis) > MAX_SYNOPSIS:
        synopsis = synopsis[: MAX_SYNOPSIS - 3] + "..."
    hashtag = re.sub(r"\s+", "", comic)

    def text(shown: str) -> str:
        return "\n".join(
            [
                f"📖 Review và tóm tắt manga {comic}",
                "",
                shown,
                "",
                f"Thể loại: {', '.join(manifest['genres']) or 'Không rõ'}",
                f"Số chương: {len(manifest['chapters'])}",
                "",
                f"#manga #review #tomtat #{hashtag}",
            ]
        )

    excess = len(text(synopsis).encode()) - MAX_DESCRIPTION_BYTES
    if excess > 0:
        synopsis = _cut(synopsis, max(0, len(synopsis.encode()) - excess))
    return _cut(text(synopsis), MAX_DESCRIPTION_BYTES)


def tags(comic: str, genres: list[str]) -> list[str]:
    """Title, genres and the standing ones, as far as their joined length allows; a tag with blanks costs its quotation marks."""
    found: list[str] = []
    length = 0
    for candidate in (comic, *genres, *STANDING_TAGS):
        tag = " ".join("".join(c if c.isalnum() else " " if c.isspace() else "" for c in candidate.lower()).split())
        if not tag or tag in found:
            continue
        cost = len(tag) + (2 if " " in tag else 0) + (1 if found else 0)
        if length + cost > MAX_TAGS:
            break
        found.append(tag)
        length += cost
    return found


def _plain(text: str) -> str:
    return text.replace("<", "").replace(">", "")


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")
