"""Phone numbers, addresses and URLs in one spelling, so that equal ones compare equal. None: nothing that can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

_ABBREVIATIONS = {
    "STREET": "ST", "ROAD": "RD", "AVENUE": "AVE", "BOULEVARD": "BLVD", "DRIVE": "DR", "LANE": "LN",
    "HIGHWAY": "HWY", "PARKWAY": "PKWY", "SUITE": "STE", "APARTMENT": "APT",
}  # fmt: skip
_EMAIL = re.compile(r"[^@/\s]+@[^@/\s]+")


def phone(value: str) -> str | None:
    """Ten digits."""
    digits = re.sub(r"\D", "", value)
    if len(digits) == 11 and digits[0] == "1":
        digits = digits[1:]
    return digits if len(digits) == 10 and len(set(digits)) > 1 else None


def address(value: str) -> str | None:
    """Upper case, without punctuation, with the post's abbreviations."""
    words = re.sub(r"[,.;:|/\\-]", " ", value.upper()).split()
    return " ".join(_ABBREVIATIONS.get(word, word) for word in words) or None


def url(value: str) -> str | None:
    """Host and path: `example.com/menu`. None for an e-mail address."""
    text = value.strip()
    if not text or _EMAIL.fullmatch(text):
        return None
    parts = urlsplit(text if "://" in text else f"//{text}")
    host = (parts.hostname or "").removeprefix("www.")
    if not host:
        return None
    path = re.sub(r"/+", "/", parts.path).rstrip("/")
    return f"{host}{path}"


_KINDS = {
    "phone": ("normalized_phone_10", phone),
    "address": ("normalized_full_address", address),
    "url": ("normalized_url", url),
}


def extracted(found: Iterable[Mapping[str, Any] | None]) -> dict[str, str]:
    """The first usable value of each kind among words' `extracted_data`. What cannot be read is left out: it never fails a batch."""
    result: dict[str, str] = {}
    for data in found:
        if not isinstance(data, Mapping):
            continue
        name, normalize = _KINDS.get(str(data.get("type")), (None, None))
        value = data.get("value")
        if name is None or normalize is None or name in result or not isinstance(value, str):
            continue
        try:
            normal = normalize(value)
        except ValueError:
            continue
        if normal:
            result[name] = normal
    return result
