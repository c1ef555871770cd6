"""The provider's Files and Batches API, through its own client; with repetitions, and a breaker for when it is down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import stamina

from embeddings.config import NATIVE_DIMENSIONS, Settings
from embeddings.errors import AuthError, BatchNotFound, ProviderError, ProviderUnavailable, ValidationError
from stepwell import toolkit
from stepwell.toolkit import http

if TYPE_CHECKING:
    import openai

T = TypeVar("T")
TIMEOUT_S = 60.0
RETRIEVE_S, DOWNLOAD_S = 60.0, 180.0
"""After which a failed call is not repeated."""
ATTEMPTS = 4
"""The first try and three repetitions."""
_REPEATABLE = (408, 409, 429)


class Breaker:
    """Opens after 3 failures in a row, is half open after the recovery time, closes after 2 successes."""

    def __init__(self, recovery: float, *, failures: int = 3, successes: int = 2) -> None:
        self._recovery = recovery
        self._limit = failures
        self._needed = successes
        self._lock = threading.Lock()
        self._failed = 0
        self._succeeded = 0
        self._opened: float | None = None
        """When it opened last; None while it is closed."""

    def check(self) -> None:
        """Raise ProviderUnavailable while it is open."""
        with self._lock:
            left = 0.0 if self._opened is None else self._opened + self._recovery - time.monotonic()
            if left > 0:
                raise ProviderUnavailable(
                    f"the provider failed {self._failed} times in a row; next try in {left:.0f} s"
                )

    def success(self) -> None:
        """A call succeeded."""
        with self._lock:
            self._succeeded += 1
            if self._opened is None or self._succeeded >= self._needed:
                self._failed = 0
                self._opened = None

    def failure(self) -> None:
        """A call failed for a reason that lies with the provider."""
        with self._lock:
            self._failed += 1
            self._succeeded = 0
            if self._opened is not None or self._failed >= self._limit:  # half open: one failure opens it again
                self._opened = time.monotonic()


def request_options(settings: Settings) -> dict[str, Any]:
    """Model and, where they are not the model's own, dimensions: as requests state them."""
    options: dict[str, Any] = {"model": settings.embed_model}
    if settings.embed_dim != NATIVE_DIMENSIONS.get(settings.embed_model, settings.embed_dim):
        options["dimensions"] = settings.embed_dim
    return options


_breakers: dict[str, Breaker] = {}


@lru_cache(maxsize=4)
def _client(key: str, base_url: str) -> openai.OpenAI:
    """One a process: its connections outlive a call of the function. Safe for threads."""
    import openai

    return openai.OpenAI(
        api_key=key,
        base_url=base_url,
        max_retries=0,
        timeout=TIMEOUT_S,
        http_client=http.client(timeout=TIMEOUT_S),  # type: ignore[arg-type]  # httpx 0.28 is taken as well as its successor
    )


class Provider:
    """What the pipeline needs of the provider. Raises AuthError, BatchNotFound, ValidationError (refused), ProviderError."""

    def __init__(self, settings: Settings) -> None:
        import openai

        self._errors = openai
        self._settings = settings
        self._first = settings.retry_first_s
        self._breaker = _breakers.setdefault(settings.openai_base_url, Breaker(settings.breaker_recovery_s))
        key = settings.openai_api_key or toolkit.secret(settings.openai_secret).read().reveal()
        self._client: openai.OpenAI = _client(key, settings.openai_base_url)

    def upload_file(self, name: str, data: bytes) -> str:
        """Upload a file of requests; its id."""
        return self._call("uploading", lambda: self._client.files.create(file=(name, data), purpose="batch").id)

    def create_batch(self, file_id: str, metadata: dict[str, str]) -> dict[str, Any]:
        """Start a batch; the batch object.

        Repeated only where the provider says that it did nothing: a second batch would be paid for. What is left unclear, the
        caller clears up by looking for its metadata (`find_batch`).
        """
        return self._call(
            "creating a batch",
            lambda: self._client.batches.create(
                input_file_id=file_id, endpoint="/v1/embeddings", completion_window="24h", metadata=metadata
            ).model_dump(),
            certain=True,
        )

    def retrieve_batch(self, batch_id: str) -> dict[str, Any]:
        """The batch object, within a minute. Its status may be one this client does not know."""
        return self._call(
            f"retrieving {batch_id}", lambda: self._client.batches.retrieve(batch_id).model_dump(), within=RETRIEVE_S
        )

    def list_batches(self) -> Iterator[dict[str, Any]]:
        """Batch objects, newest first, page by page."""
        after: str | None = None
        while True:
            options = {"limit": 100} if after is None else {"limit": 100, "after": after}
            page = self._call("listing batches", lambda: self._client.batches.list(**options))  # noqa: B023
            yield from (batch.model_dump() for batch in page.data)
            if not page.has_more or not page.data:
                return
            after = page.data[-1].id

    def find_batch(self, batch_id: str, since: float) -> dict[str, Any] | None:
        """Our batch at the provider, by its metadata, among those created at or after `since` (epoch seconds)."""
        for batch in self.list_batches():
            if batch["created_at"] < since:
                return None
            if (batch.get("metadata") or {}).get("batch_id") == batch_id:
                return batch
        return None

    def embed(self, texts: list[str]) -> list[list[float]]:
        """Vectors of texts, now: for questions, not for bulk."""
        options = request_options(self._settings)
        made = self._call(
            "embedding", lambda: self._client.embeddings.create(input=texts, encoding_format="float", **options)
        )
        return [entry.embedding for entry in sorted(made.data, key=lambda entry: entry.index)]

    def file_content(self, file_id: str) -> bytes:
        """The bytes of a result file, within three minutes."""
        return self._call(
            f"downloading {file_id}", lambda: self._client.files.content(file_id).content, within=DOWNLOAD_S
        )

    def _call(self, what: str, call: Callable[[], T], *, certain: bool = False, within: float | None = None) -> T:
        """One call, repeated after faults that pass, for `within` seconds. `certain`: only when it surely had no effect."""
        api = self._errors

        def again(error: Exception) -> bool | float:
            if isinstance(error, api.APIStatusError):
                status = error.status_code
                if status == 429 or (not certain and (status in _REPEATABLE or status >= 500)):
                    asked = http.retry_after(error.response)
                    return True if asked is None else min(asked, 30.0)
                return False
            return isinstance(error, api.APIConnectionError) and not certain

        self._breaker.check()
        try:
            for attempt in stamina.retry_context(
                on=again,
                attempts=ATTEMPTS,
                timeout=within,
                wait_initial=self._first,
                wait_max=30.0,
                wait_exp_base=2.0,
                wait_jitter=self._first / 10,
            ):
                with attempt:
                    result = call()
        except api.APIStatusError as error:
            status = error.status_code
            message = f"{what}: {status}: {error.message[:300]}"
            if status in (401, 403):
                raise AuthError(message) from None
            if status == 404:
                raise BatchNotFound(message) from None
            if status < 500 and status not in _REPEATABLE:
                raise ValidationError(message) from None
            self._breaker.failure()
            raise ProviderError(message) from None
        except api.APIError as error:
            self._breaker.failure()
            raise ProviderError(f"{what}: {type(error).__name__}: {error}") from None
        self._breaker.success()
        return result
