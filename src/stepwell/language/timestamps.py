"""The ISO-8601 profile AWS reads and writes."""

from datetime import datetime

__all__ = ["format_timestamp", "parse_timestamp"]


def parse_timestamp(text: str) -> datetime:
    """The moment a timestamp names, with its offset. ValueError when it is not of AWS's profile (RFC 3339, `T`, offset)."""
    raise NotImplementedError


def format_timestamp(moment: datetime) -> str:
    """A moment as in the context object: UTC, milliseconds, `Z`, such as `2024-01-31T09:00:00.123Z`."""
    raise NotImplementedError
