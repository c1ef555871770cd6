"""Spoken text: what a model wrote becomes plain prose, and prose becomes pieces a speech service takes."""

from __future__ import annotations

import re

PIECE_CHARACTERS = 3000

_FENCE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
_LINK = re.compile(r"!?\[([^\]\n]*)\]\((?:[^()\s]|\([^()\s]*\))*\)")
_URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_CUE = re.compile(
    r"\[[^\]\n]*\]|【[^】\n]*】|\((?:nhạc|âm thanh|tiếng|music|sound|sfx|pause)[^)\n]*\)|\*\([^)\n]*\)\*", re.IGNORECASE
)
_LINE_MARK = re.compile(r"^\s*(?:#{1,6}\s+|>+\s*|[-*+•]\s+|\d{1,2}[.)]\s+(?=\S)|[-*_]{3,}\s*$)", re.MULTILINE)
_EMPHASIS = re.compile(r"[*_`~]{1,3}")
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\U00002600-\U000027bf\U00002b00-\U00002bff\U0000fe00-\U0000fe0f\U0000200d\U000020e3\U000e0020-\U000e007f]"
)
_BLANKS = re.compile(r"[ \t\u00a0]+")
_LINES = re.compile(r"\s*\n\s*")


def sanitised(text: str) -> str:
    """Without markdown, code, links' addresses, emoji and stage directions in brackets; blanks collapsed."""
    text = _FENCE.sub(" ", text)
    text = _LINK.sub(r"\1", text)
    text = _URL.sub(" ", text)
    text = _CUE.sub(" ", text)
    text = _LINE_MARK.sub("", text)
    text = _EMPHASIS.sub("", text)
    text = _EMOJI.sub("", text)
    text = _LINES.sub("\n", _BLANKS.sub(" ", text))
    return re.sub(r" ([,.!?…;:])", r"\1", text).strip()


def split(text: str, limit: int = PIECE_CHARACTERS) -> list[str]:
    """Pieces of at most `limit` characters whose concatenation is the text.

    Broken after a sentence (not inside a number or an ellipsis of dots) or a line, else after a comma, else after a blank, else anywhere.
    """
    pieces: list[str] = []
    while len(text) > limit:
        cut = _cut(text, limit)
        pieces.append(text[:cut])
        text = text[cut:]
    return [*pieces, text] if text else pieces


_BREAKS = (
    re.compile(r"(?:(?<!\.)\.(?![.\d])|\.{2,}(?!\.)|[!?…\n])[\"”’)]*\s*"),
    re.compile(r",(?!\d)\s*"),
    re.compile(r"\s+"),
)


def _cut(text: str, limit: int) -> int:
    # One character more than fits is looked at, so that what follows a full stop at the limit is known.
    for pattern in _BREAKS:
        ends = [match.end() for match in pattern.finditer(text, 0, limit + 1) if match.end() <= limit]
        if ends:
            return ends[-1]
    return limit
