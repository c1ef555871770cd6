"""Times: the business date, and waits.

Business dates are calendar dates in Ho Chi Minh City (UTC+7 all year); the video host counts its quota by days in US Pacific time.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

BUSINESS_ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
QUOTA_ZONE = ZoneInfo("America/Los_Angeles")
NOW_VARIABLE = "MANGAVIDEO_NOW"
WAIT_VARIABLE = "MANGAVIDEO_WAIT_FACTOR"


def now() -> datetime:
    """The time in UTC, or the instant in MANGAVIDEO_NOW (ISO 8601): to replay a day, and for tests."""
    pinned = os.environ.get(NOW_VARIABLE)
    return datetime.fromisoformat(pinned).astimezone(UTC) if pinned else datetime.now(UTC)


def iso(at: datetime | None = None) -> str:
    """UTC with milliseconds and Z: such texts sort as the times they say."""
    return (at or now()).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parsed(text: str) -> datetime:
    """The instant an `iso` text says."""
    return datetime.fromisoformat(text).astimezone(UTC)


def business_date(at: datetime | None = None) -> str:
    """The calendar date in Ho Chi Minh City."""
    return (at or now()).astimezone(BUSINESS_ZONE).date().isoformat()


def next_quota_day(at: datetime | None = None) -> datetime:
    """The next midnight US Pacific, when the video host gives new units."""
    tomorrow: date = (at or now()).astimezone(QUOTA_ZONE).date() + timedelta(days=1)
    return datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=QUOTA_ZONE).astimezone(UTC)


def scale() -> float:
    """MANGAVIDEO_WAIT_FACTOR: shortens every wait of this pipeline, against simulators that need not be spared."""
    return float(os.environ.get(WAIT_VARIABLE) or 1)


def wait(seconds: float) -> None:
    """Sleep."""
    time.sleep(seconds * scale())


class Spacing:
    """At least `seconds` from the start of one call to the start of the next."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds * scale()
        self._next = 0.0

    def __call__(self) -> None:
        """Wait until the next call may start."""
        ahead = self._next - time.monotonic()
        if ahead > 0:
            time.sleep(ahead)
        self._next = time.monotonic() + self._seconds
