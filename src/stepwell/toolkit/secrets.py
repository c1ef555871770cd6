"""Secrets: read at run time, never in logs, in a repr or in a state's payload.

    credentials = toolkit.secret("gopro/credentials").read()
    cookies = credentials.json()["cookies"]

Embedded, a secret is the environment variable `STEPWELL_SECRET_<NAME>` (the name in upper case, every other character `_`),
or else a file of mode 0600 in the data directory's `secrets/`. On AWS it is in Secrets Manager or, with `store = "ssm"`, a
SecureString parameter.

A secret that was read is masked in every log line of this process, whole and by its parts: the texts inside a JSON value, the
values inside a cookie header.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets as random_source
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import orjson

from stepwell.toolkit import aws, redaction
from stepwell.toolkit.errors import SecretInvalid, SecretNotFound, StorageError

_SEGMENT = re.compile(r"[A-Za-z0-9_+=@-][A-Za-z0-9_+=.@-]*")


class Secret:
    """A secret's value. `str` and `repr` do not show it, and it cannot be pickled or encoded by accident."""

    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value
        redaction.register(value, *_parts(value))

    def reveal(self) -> str:
        """The text itself."""
        return self._value

    def json(self) -> dict[str, Any]:
        """The JSON object in it. Raises `SecretInvalid`, without showing the text, if it is none."""
        try:
            value = orjson.loads(self._value)
        except orjson.JSONDecodeError as error:
            raise SecretInvalid(
                f"secret {self.name!r} is not JSON: {error.msg} at line {error.lineno} column {error.colno}"
            ) from None
        if not isinstance(value, dict):
            raise SecretInvalid(f"secret {self.name!r} is not a JSON object")
        return value

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"

    __str__ = __repr__

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"secret {self.name!r} must not leave the process: pass its name and read it there")


class SecretHandle(ABC):
    """One declared secret."""

    name: str
    _cached: tuple[float, Secret] | None = None

    def read(self, *, max_age: float = 0.0) -> Secret:
        """The current value; one read at most `max_age` seconds ago by this process will do.

        Raises `SecretNotFound`, `SecretInvalid`, `StorageError`.
        """
        if self._cached is not None and time.monotonic() - self._cached[0] <= max_age:
            return self._cached[1]
        found = Secret(self.name, self._fetch())
        self._cached = (time.monotonic(), found)
        return found

    def write(self, value: str | Mapping[str, Any]) -> None:
        """Create or replace the value; a mapping is written as JSON."""
        text = value if isinstance(value, str) else orjson.dumps(value).decode()
        redaction.register(text, *_parts(text))
        self._store(text)
        self._cached = None

    @abstractmethod
    def _fetch(self) -> str: ...

    @abstractmethod
    def _store(self, value: str) -> None: ...

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class LocalSecret(SecretHandle):
    """An environment variable, or a file of mode 0600 at `<data>/secrets/<name>`."""

    def __init__(self, data: Path, name: str) -> None:
        segments = name.lstrip("/").split("/")
        if not all(_SEGMENT.fullmatch(segment) for segment in segments):
            raise ValueError(f"secret name {name!r} must consist of letters, digits and _ + = . @ - between slashes")
        self.name = name
        self.variable = "STEPWELL_SECRET_" + re.sub(r"[^A-Z0-9]", "_", name.lstrip("/").upper())
        self.path = data.joinpath("secrets", *segments)
        self._top = data / "secrets"

    def _fetch(self) -> str:
        value = os.environ.get(self.variable)
        if value is not None:
            return value
        try:
            with self.path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                if mode & 0o077:
                    raise SecretInvalid(f"{self.path} can be read by others: chmod 600 {self.path}")
                return file.read().decode()
        except FileNotFoundError:
            raise SecretNotFound(
                f"secret {self.name!r} is not there: set {self.variable}, or write it to {self.path} (mode 0600)"
            ) from None
        except UnicodeDecodeError:
            raise SecretInvalid(f"secret {self.name!r} is not UTF-8 text: {self.path}") from None
        except OSError as error:
            raise StorageError(f"secret {self.name!r} cannot be read: {error.strerror} ({self.path})") from None

    def _store(self, value: str) -> None:
        if self.variable in os.environ:
            raise SecretInvalid(f"secret {self.name!r} comes from {self.variable}: change it there")
        try:
            self._top.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = self.path.with_name(f".{self.path.name}.{random_source.token_hex(6)}")
            try:
                with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                    file.write(value.encode())
                    file.flush()
                    os.fsync(file.fileno())
                draft.rename(self.path)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise StorageError(f"secret {self.name!r} cannot be written: {error.strerror} ({self.path})") from None


class SecretsManagerSecret(SecretHandle):
    """A text secret in AWS Secrets Manager."""

    def __init__(self, name: str) -> None:
        self.name = name

    def _fetch(self) -> str:
        with _errors(self.name, "reading", ("ResourceNotFoundException", "InvalidRequestException")):
            answer = aws.client("secretsmanager").get_secret_value(SecretId=self.name)
        if "SecretString" not in answer:
            raise SecretInvalid(f"secret {self.name!r} is binary; a text was expected")
        return str(answer["SecretString"])

    def _store(self, value: str) -> None:
        client = aws.client("secretsmanager")
        try:
            with _errors(self.name, "writing", ("ResourceNotFoundException",)):
                client.put_secret_value(SecretId=self.name, SecretString=value)
        except SecretNotFound:
            with _errors(self.name, "creating", ()):
                client.create_secret(Name=self.name, SecretString=value)


class ParameterSecret(SecretHandle):
    """A SecureString in the AWS Systems Manager Parameter Store, up to 8 KB."""

    def __init__(self, name: str) -> None:
        self.name = name

    def _fetch(self) -> str:
        with _errors(self.name, "reading", ("ParameterNotFound",)):
            answer = aws.client("ssm").get_parameter(Name=self.name, WithDecryption=True)
        return str(answer["Parameter"]["Value"])

    def _store(self, value: str) -> None:
        with _errors(self.name, "writing", ()):
            aws.client("ssm").put_parameter(
                Name=self.name, Value=value, Type="SecureString", Overwrite=True, Tier="Intelligent-Tiering"
            )


def _parts(value: str) -> Iterator[str]:
    """The texts inside that could be logged on their own."""
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError:
        yield from _cookie_values(value)
        return
    pending = [document]
    while pending:
        found = pending.pop()
        if isinstance(found, dict):
            pending += found.values()
        elif isinstance(found, list):
            pending += found
        elif isinstance(found, str):
            yield found
            yield from _cookie_values(found)


def _cookie_values(header: str) -> Iterator[str]:
    for pair in header.split(";"):
        name, equals, value = pair.strip().partition("=")
        if equals and name.replace("-", "").replace("_", "").replace(".", "").isalnum():
            yield value


@contextlib.contextmanager
def _errors(name: str, what: str, absent: tuple[str, ...]) -> Iterator[None]:
    from botocore.exceptions import ClientError

    with aws.errors(f"{what} secret {name!r}"):
        try:
            yield
        except ClientError as error:
            if aws.code(error) in absent:
                raise SecretNotFound(f"secret {name!r} is not there ({aws.code(error)})") from None
            raise
