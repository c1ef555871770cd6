"""The browser session in the secret: reading it, its age, and cutting cookies out of it (section 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cloudsync.errors import AuthenticationError
from stepwell import toolkit
from stepwell.toolkit.errors import ToolkitError

DEFAULT_USER_AGENT = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36"
UNKNOWN_AGE = 999.0
MINIMAL_COOKIES = ("gp_access_token", "gp_user_id")

log = toolkit.logger(__name__)


@dataclass(frozen=True)
class Credentials:
    """A session; `cookies` is the whole Cookie header, "" when the secret has none."""

    cookies: str = field(repr=False)
    user_agent: str
    last_updated: str

    def age_days(self, now: datetime) -> float:
        """Days since the cookies were taken from the browser; 0.0 when that is not known."""
        try:
            taken = datetime.fromisoformat(self.last_updated)
        except ValueError:
            log.warning("the age of the cookies is not known", event_type="cookie_age_unknown")
            return 0.0
        taken = taken.replace(tzinfo=UTC) if taken.tzinfo is None else taken
        return max(0.0, (now - taken).total_seconds() / 86_400)

    def minimal(self) -> str | None:
        """A Cookie header of the two cookies that normally suffice, or None when one of them is missing."""
        found = [(name, cookie(self.cookies, name)) for name in MINIMAL_COOKIES]
        return (
            None if any(value is None for _, value in found) else "; ".join(f"{name}={value}" for name, value in found)
        )

    def require_cookies(self) -> str:
        """The Cookie header. Raises AuthenticationError when there is none."""
        if not self.cookies:
            raise AuthenticationError(
                "the secret has no cookies; run `python -m cloudsync credentials` with fresh ones"
            )
        return self.cookies


def read_credentials(secret_name: str) -> Credentials:
    """What the secret says. Raises AuthenticationError when it is missing or cannot be understood."""
    try:
        document: Mapping[str, Any] = toolkit.secret(secret_name).read().json()
    except ToolkitError as error:
        raise AuthenticationError(f"the secret {secret_name} cannot be read: {error}") from error

    def text(name: str) -> str:
        value = document.get(name)
        return value if isinstance(value, str) else ""

    return Credentials(
        cookies=text("cookies").strip(),
        user_agent=text("user-agent") or DEFAULT_USER_AGENT,
        last_updated=text("last_updated"),
    )


def cookie(header: str, name: str) -> str | None:
    """One cookie's value (which may contain `=`) from a Cookie header, or None."""
    for pair in header.split(";"):
        pair = pair.strip()
        if pair.startswith(f"{name}="):
            return pair[len(name) + 1 :]
    return None
