"""What the pipeline asks of a media service, and the register of the services it knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class MediaItem:
    """One item of a library. `file_size` in bytes, 0 for unknown; `duration` in whole seconds; `upload_date` as listed."""

    media_id: str
    filename: str
    file_size: int = 0
    upload_date: str = ""
    duration: int = 0
    provider: str = "gopro"
    media_type: str = "unknown"
    resolution: str = "unknown"
    download_url: str = field(default="", repr=False)

    def state(self) -> dict[str, Any]:
        """What goes into the state machine. The URL does not: it carries a token, and states are logged."""
        shown = asdict(self)
        del shown["download_url"], shown["provider"]
        return shown


@dataclass(frozen=True)
class Pagination:
    """Where a page stands in the library; `total_items` is None when the service does not say."""

    current_page: int
    per_page: int
    total_items: int | None
    total_pages: int


@dataclass(frozen=True)
class Page:
    """One listed page: its well-formed items (a nameless one has filename ""), how many were malformed, and a sample of the body."""

    items: list[MediaItem]
    pagination: Pagination
    malformed: int
    total: int
    sample: str


class Provider(Protocol):
    """A media service. Errors are those of `cloudsync.errors`."""

    def list_page(self, cookies: str, user_agent: str, page: int, per_page: int) -> Page:
        """Exactly one page of the listing.

        Raises TokenExpiredError, RateLimitError, NetworkError, TimeoutError, APIError, APIStructureError.
        """
        ...

    def resolve_download(
        self, media_id: str, cookies: str, user_agent: str, quality: str = "source"
    ) -> tuple[str, str]:
        """A signed URL, good for about an hour, and the label of the rendition it gives.

        Raises what `list_page` does, SourceDeletedError and QualityUnavailableError.
        """
        ...

    def probe(self, cookie_header: str, user_agent: str, correlation_id: str = "") -> int:
        """The HTTP status of a cheap request with these cookies; 0 when there was none. Never raises."""
        ...


_providers: dict[str, Callable[[str], Provider]] = {}


def register(name: str, factory: Callable[[str], Provider]) -> None:
    """Make a provider known; `factory` takes the base URL of its API."""
    _providers[name] = factory


def create(name: str, base_url: str) -> Provider:
    """A provider by name. Raises ValueError for an unknown one."""
    if name not in _providers:
        raise ValueError(f"unknown provider {name!r}; known are {', '.join(names()) or 'none'}")
    return _providers[name](base_url)


def names() -> list[str]:
    """The known providers, sorted."""
    return sorted(_providers)
