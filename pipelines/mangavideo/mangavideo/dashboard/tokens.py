"""Who is who: passwords, the session cookie, one-time CSRF tokens, and a limit on guesses."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

import bcrypt
import jwt

from mangavideo import times
from stepwell.toolkit.records import Item, Table
from stepwell.toolkit.secrets import SecretHandle

COOKIE = "access_token"
SESSION = timedelta(hours=24)
CSRF = timedelta(minutes=60)
GUESSES, GUESS_WINDOW = 5, timedelta(minutes=15)
"""So many wrong passwords from one address, then 429 until the window is over."""
SECRET_SECONDS = 300.0

_NOBODY = bcrypt.hashpw(b"nobody's password", bcrypt.gensalt(4))


class TooManyGuesses(Exception):
    """Wrong passwords; `wait` is in seconds."""

    def __init__(self, wait: int) -> None:
        super().__init__(f"too many failed logins; try again in {wait} s")
        self.wait = wait


class Tokens:
    """Over a table for what may be used once, and the two secrets."""

    def __init__(self, table: Table, admin: SecretHandle, key: SecretHandle) -> None:
        self._table = table
        self._admin = admin
        self._key = key

    def login(self, username: str, password: str, address: str) -> str | None:
        """A session token; None for a wrong name or password. Raises TooManyGuesses."""
        guesses = f"guesses:{address}"
        row = self._table.get(guesses)
        if row is not None and int(row["count"]) >= GUESSES:
            raise TooManyGuesses(max(1, int(row["expires"]) - int(times.now().timestamp())))
        admin = self._admin.read(max_age=SECRET_SECONDS).json()
        known = secrets.compare_digest(username.encode(), str(admin["username"]).encode())
        # A wrong name takes as long as a wrong password.
        stored = str(admin["password_hash"]).encode() if known else _NOBODY
        if not bcrypt.checkpw(password.encode()[:72], stored) or not known:
            self._table.mutate(guesses, self._guessed)
            return None
        self._table.delete(guesses)
        until = times.now() + SESSION
        return jwt.encode({"sub": username, "iat": times.now(), "exp": until}, self._secret(), algorithm="HS256")

    def user(self, token: str | None) -> str | None:
        """Whose session it is; None when it is nobody's, over, or forged."""
        if not token:
            return None
        try:
            claims = jwt.decode(token, self._secret(), algorithms=["HS256"], options={"require": ["exp", "sub"]})
        except jwt.InvalidTokenError:
            return None
        return str(claims["sub"])

    def csrf(self) -> str:
        """A token that is good for one request within the hour."""
        token = secrets.token_urlsafe(32)
        self._table.put({"token_id": _csrf_id(token), "expires": int((times.now() + CSRF).timestamp())})
        return token

    def spend(self, token: str | None) -> bool:
        """Use a CSRF token up; whether it was good."""
        if not token:
            return False
        good = False

        def take(row: Item | None) -> None:
            nonlocal good
            good = row is not None and int(row["expires"]) > times.now().timestamp()

        self._table.mutate(_csrf_id(token), take)
        return good

    def _guessed(self, row: Item | None) -> Item:
        until = int((times.now() + GUESS_WINDOW).timestamp())
        return {"count": int((row or {}).get("count", 0)) + 1, "expires": (row or {}).get("expires", until)}

    def _secret(self) -> str:
        return str(self._key.read(max_age=SECRET_SECONDS).json()["secret_key"])


def _csrf_id(token: str) -> str:
    return f"csrf:{hashlib.sha256(token.encode()).hexdigest()}"
