"""What can go wrong. A class's name is the error name the state machine sees, so these names are a contract with machine.asl.json."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from contextlib import contextmanager

from stepwell.toolkit import errors as toolkit_errors


class CloudSyncError(Exception):
    """Base of everything this pipeline raises on purpose."""


class AuthenticationError(CloudSyncError):
    """The credentials cannot be read or do not work."""


class TokenExpiredError(AuthenticationError):
    """The service refused the session (401, 403): new cookies are needed. Never retried."""


class APIError(CloudSyncError):
    """The service answered something that is no success; `status_code` is None when the answer itself was unusable."""

    def __init__(self, message: str, status_code: int | None = None) -> None:
        super().__init__(message)
        self.status_code = status_code


class RateLimitError(APIError):
    """429. `retry_after` is in seconds, 60 when the service does not say. Retried by the state machine."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message, 429)
        self.retry_after = 60.0 if retry_after is None else retry_after


class APIStructureError(APIError):
    """The answer has another shape than documented. `sample` holds up to 500 characters of it, or None."""

    def __init__(self, message: str, sample: str | None = None) -> None:
        super().__init__(message, 200)
        self.sample = sample


class SourceDeletedError(APIError):
    """The media is gone from the service (404). Handled, never seen by the state machine."""


class QualityUnavailableError(APIError):
    """Neither the wanted rendition nor its fallback is available."""


class NetworkError(CloudSyncError):
    """No connection, a broken one, or a 5xx. Retried by the state machine."""


class TimeoutError(CloudSyncError, builtins.TimeoutError):
    """The service was too slow, or the function's own time is nearly over. Retried by the state machine."""


class TransferError(CloudSyncError):
    """The bytes did not come as announced. Left to the next run."""


class SizeMismatchError(TransferError):
    """The size differs from the listed one and STRICT_SIZE is on."""


class StorageError(CloudSyncError):
    """The archive or the tracker could not be read or written."""


class ValidationError(CloudSyncError):
    """An event or a setting that cannot be used."""


class ProviderError(CloudSyncError):
    """The provider cannot be used at all: unknown, or without readable credentials."""


@contextmanager
def storing(what: str) -> Iterator[None]:
    """Give failures of the toolkit's ports the one name this pipeline has for them."""
    try:
        yield
    except toolkit_errors.StorageError as error:
        raise StorageError(f"{what}: {error}") from error
