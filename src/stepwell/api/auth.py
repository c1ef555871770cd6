"""Signatures of AWS requests (SigV4)."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Protocol

from stepwell.engine.errors import ApiError


class AuthError(ApiError):
    """The request's signature is missing or wrong."""


class Authenticator(Protocol):
    """Checks a request's credentials."""

    def check(self, scope: MutableMapping[str, Any], body: bytes, service: str) -> str:
        """The access key of a rightly signed request. Raises AuthError."""
        ...
