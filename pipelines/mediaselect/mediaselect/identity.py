"""Who asks: the `sub` of a bearer token (JWT, HS256) signed with the secret that the identity provider shares."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time


class BadToken(Exception):
    """A token that is missing, altered, expired, or signed otherwise."""


def subject(header: str | None, secret: str, *, now: float | None = None) -> str:
    """The `sub` of an Authorization header. Raises BadToken, always without a secret: nobody is let in by a missing setting."""
    if not secret or not header or not header.lower().startswith("bearer "):
        raise BadToken("a bearer token is required")
    try:
        head, body, signature = header[7:].strip().split(".")
        if json.loads(_decode(head)).get("alg") != "HS256":
            raise BadToken("the token is not signed with HS256")
        expected = hmac.new(secret.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
        if not hmac.compare_digest(expected, _decode(signature)):
            raise BadToken("the token's signature is wrong")
        claims = json.loads(_decode(body))
        expires = float(claims.get("exp", 0))
    except (ValueError, AttributeError, TypeError, binascii.Error) as error:
        raise BadToken("the token cannot be read") from error
    if expires < (time.time() if now is None else now):
        raise BadToken("the token has expired")
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise BadToken("the token names nobody")
    return str(claims["sub"])


def sign(sub: str, secret: str, *, seconds: int = 3600) -> str:
    """A token for `sub`: for the command line, the demo and tests."""
    head = _encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    body = _encode(json.dumps({"sub": sub, "exp": int(time.time()) + seconds}).encode())
    return f"{head}.{body}.{_encode(hmac.new(secret.encode(), f'{head}.{body}'.encode(), hashlib.sha256).digest())}"


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
