"""Keeping secrets out of logs: by value, by field name, and in URLs.

Three rules, applied to every line that `stepwell.toolkit.logs` writes and, through `RedactingFilter`, to standard logging:

* a value that was revealed from a `Secret` is replaced wherever it appears (`register`);
* a field whose name equals or ends with one of `FIELD_NAMES` is blanked. Ends with, not contains: `s3_key` and
  `input_tokens` are no secrets;
* the query of a URL that carries a signature or a token is cut off, as are the values of Cookie and Authorization headers
  written as text.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from typing import Any

MASK = "[redacted]"
FIELD_NAMES = (
    "secret",
    "password",
    "passwd",
    "api_key",
    "apikey",
    "access_token",
    "refresh_token",
    "session_token",
    "id_token",
    "task_token",
    "authorization",
    "cookie",
    "cookies",
    "private_key",
    "client_secret",
)
MIN_VALUE_LENGTH = 6
"""Shorter values are not replaced: masking every `1` or `en` would destroy the log and hide nothing."""

_SIGNED_QUERY = re.compile(
    r"(?P<base>\bhttps?://[^\s\"'<>?]+)\?(?P<query>[^\s\"'<>]*?"
    r"(?:signature|sig|token|key-pair-id|credential|key|expires|policy|auth|password|secret|code)=[^\s\"'<>]*)",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"(?P<name>\b(?:set-cookie|cookie|authorization|x-api-key|x-goog-api-key)\b[\"']?\s*[:=]\s*[\"']?)(?P<value>[^\"'\r\n}]+)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(?P<scheme>Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}")

_values: set[str] = set()
_pattern: re.Pattern[str] | None = None
_lock = threading.Lock()


def register(*values: str) -> None:
    """Mask these values from now on, in this process."""
    global _pattern
    fresh = {value for value in values if len(value) >= MIN_VALUE_LENGTH} - _values
    if not fresh:
        return
    with _lock:
        _values.update(fresh)
        # Longest first, so that a value that contains another is masked whole.
        _pattern = re.compile("|".join(re.escape(value) for value in sorted(_values, key=len, reverse=True)))


def text(message: str) -> str:
    """The text without secret values, signed queries and credentials headers."""
    pattern = _pattern
    if pattern is not None:
        message = pattern.sub(MASK, message)
    if "://" in message:
        message = _SIGNED_QUERY.sub(rf"\g<base>?{MASK}", message)
    lowered = message.lower()
    if "cookie" in lowered or "authorization" in lowered or "api-key" in lowered:
        message = _HEADER.sub(rf"\g<name>{MASK}", message)
    if "Bearer" in message or "Basic" in message:
        message = _BEARER.sub(rf"\g<scheme> {MASK}", message)
    return message


def is_secret_field(name: str) -> bool:
    """Whether a field of this name is blanked, whatever it holds."""
    lowered = name.lower().replace("-", "_")
    return lowered.endswith(FIELD_NAMES)


def fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy with secret fields blanked and every text inside cleaned, at any depth."""
    return {name: MASK if is_secret_field(name) and value else _clean(value) for name, value in values.items()}


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping):
        return fields({str(name): item for name, item in value.items()})
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    return value


class RedactingFilter(logging.Filter):
    """Put it on a handler of standard logging: it cleans the message, its arguments, extras and the exception's text."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = text(record.getMessage())
        record.args = None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = text(record.exc_text)
        for name, value in list(record.__dict__.items()):
            if name not in _STANDARD:
                record.__dict__[name] = MASK if is_secret_field(name) and value else _clean(value)
        return True


_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
