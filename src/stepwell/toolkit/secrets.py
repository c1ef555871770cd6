"""Secrets: read at run time, never in logs, in a repr or in a state's payload.

    credentials = toolkit.secret("gopro/credentials").read()
    cookies = credentials.json()["cookies"]

Embedded, a secret is the environment variable `STEPWELL_SECRET_<NAME>` (name in upper case, every other character `_`), or else a
file of mode 0600 in the data directory's `secrets/`. On AWS it is in Secrets Manager or, with `store = "ssm"`, a SecureString
parameter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any


class Secret:
    """A secret's value. `str` and `repr` do not show it; revealing it makes this process's logs mask it."""

    def __init__(self, name: str, value: str) -> None: ...

    def reveal(self) -> str:
        """The text itself."""
        raise NotImplementedError

    def json(self) -> dict[str, Any]:
        """The JSON object in it. Raises `SecretInvalid` (without showing the text) if it is none."""
        raise NotImplementedError


class SecretHandle(ABC):
    """One declared secret."""

    name: str

    @abstractmethod
    def read(self, *, max_age: float = 0.0) -> Secret:
        """The current value; one read at most `max_age` seconds ago in this process will do. Raises `SecretNotFound`."""

    @abstractmethod
    def write(self, value: str) -> None:
        """Create or replace the value."""

    @abstractmethod
    def delete(self) -> None:
        """Remove it; removing what is not there is no error."""


class LocalSecret(SecretHandle):
    """An environment variable or a file of mode 0600."""

    def __init__(self, data: Path, name: str) -> None:
        self.name = name


class SecretsManagerSecret(SecretHandle):
    """AWS Secrets Manager."""

    def __init__(self, name: str) -> None:
        self.name = name


class ParameterSecret(SecretHandle):
    """A SecureString in the AWS Systems Manager Parameter Store."""

    def __init__(self, name: str) -> None:
        self.name = name
