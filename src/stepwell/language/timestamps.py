"""The ISO-8601 profile AWS reads and writes.

AWS calls it "ISO-8601 extended offset date-time": a date, `T`, a time whose seconds and fraction may be left out, and
an offset, `Z` or `+01:00`. Recordings: `2016-12-05T21:29:29Z` and `....00Z` are accepted; without `T`, without an
offset, or with a month 13 or an hour 25 they are not.
"""

import re
from datetime import UTC, datetime, timedelta, timezone

__all__ = ["format_timestamp", "parse_timestamp"]

_TIMESTAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{0,9}))?)?(?:Z|([+-])(\d\d):(\d\d)(?::(\d\d))?)",
    re.ASCII | re.IGNORECASE,
)
_MAX_OFFSET = timedelta(hours=18)


def parse_timestamp(text: str) -> datetime:
    """The moment a timestamp names, with its offset, to the microsecond. ValueError when it is not of the profile."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise ValueError(f"Not an ISO-8601 extended offset date-time: {text!r}")
    year, month, day, hour, minute, second, fraction, sign, hours, minutes, seconds = match.groups()
    zone: timezone = UTC
    if sign:
        offset = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds or 0))
        if offset > _MAX_OFFSET or int(minutes) > 59 or int(seconds or 0) > 59:
            raise ValueError(f"The offset is out of range: {text!r}")
        zone = timezone(offset if sign == "+" else -offset)
    micros = int((fraction or "").ljust(6, "0")[:6])
    return datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0), micros, tzinfo=zone)


def format_timestamp(moment: datetime) -> str:
    """A moment as in the context object: UTC, milliseconds, `Z`, such as `2024-01-31T09:00:00.123Z`."""
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"
