"""What can go wrong. The class names are the error names that the state machines match (section 13 of the specification).

Messages are shown to users: they hold no keys, no URLs and no text of other programs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stepwell.functions import InvalidEvent
from stepwell.toolkit import ToolkitError

MAX_ERROR_CHARACTERS = 500


class MediaSelectError(Exception):
    """Base of what this pipeline raises on purpose."""


class UnsupportedMedia(MediaSelectError):
    """A file type that is not read, or bytes that cannot be decoded."""


class NoMedia(MediaSelectError):
    """Nothing of the session can be used."""


class MediaTooLarge(MediaSelectError):
    """A video beyond the limits of size or duration."""


class AiRefused(MediaSelectError):
    """The model answered, but without the image or the JSON that was asked for."""


class AiUnavailable(MediaSelectError):
    """The model could not be reached, or was busy, in every attempt."""


class MediaToolError(MediaSelectError):
    """ffmpeg failed; what it wrote is in the log only."""


class StoreError(MediaSelectError):
    """Objects or records could not be read or written."""


@contextmanager
def storing(what: str) -> Iterator[None]:
    """Whatever the toolkit raises inside becomes a StoreError about `what`."""
    try:
        yield
    except ToolkitError as error:
        raise StoreError(f"{what} failed") from error


_URL = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_ARN = re.compile(r"\barn:[^\s\"']+")
_KEY = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(/\S*)?")
_PATH = re.compile(r"(?<!\w)/(?:[\w.-]+/)+[\w.-]*")


def user_text(error: Any) -> str:
    """A short text for the user from a Catch's `{Error, Cause}`, a text or an exception: at most 500 characters, without keys and URLs."""
    if isinstance(error, dict):
        cause = error.get("Cause")
        text = str(cause or error.get("Error") or "")
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if isinstance(document, dict) and document.get("errorMessage"):
            text = str(document["errorMessage"])
    else:
        text = str(error)
    for pattern in (_URL, _ARN, _KEY, _PATH):
        text = pattern.sub("…", text)
    return (text.strip() or "processing failed")[:MAX_ERROR_CHARACTERS]


__all__ = [
    "AiRefused",
    "AiUnavailable",
    "InvalidEvent",
    "MediaSelectError",
    "MediaTooLarge",
    "MediaToolError",
    "NoMedia",
    "StoreError",
    "UnsupportedMedia",
    "storing",
    "user_text",
]
