"""What can go wrong, by the names that the state machine's Retry and Catch see."""

from __future__ import annotations


class ScraperError(Exception):
    """Any failure of this pipeline."""


class ConfigurationError(ScraperError):
    """A setting is missing or wrong."""


class InvalidEvent(ScraperError):
    """A function was called without what it needs."""


class CmsError(ScraperError):
    """The CMS refused a request, or gave no usable answer. `status` is None when there was no answer."""

    def __init__(self, message: str, status: int | None = None, body: str = "") -> None:
        super().__init__(f"{message}: {body[:500]}" if body else message)
        self.status = status
        self.body = body

    @property
    def is_unique_violation(self) -> bool:
        """Whether another document has that value already (Payload answers 400 with a text about uniqueness)."""
        return self.status == 400 and "unique" in self.body.lower()


class PortalUrlError(ScraperError):
    """A URL that is no itinerary of an allowed portal."""


class CaptureError(ScraperError):
    """The portal's page did not give its two JSON responses."""


class ScrapeFailed(ScraperError):
    """The scraper answered with an error."""


class JobNotFound(ScraperError):
    """The CMS has no such job."""


class JobCancelled(ScraperError):
    """An editor cancelled the job; the execution ends. Not retried."""


class JobSuperseded(ScraperError):
    """Another execution owns the job; this one is a leftover. Not retried."""


class ItineraryIdMismatch(ScraperError):
    """What was scraped is another itinerary than the one asked for. Not retried."""


class NoProgress(ScraperError):
    """A loop of the machine would never end. Not retried."""


class PhotoError(ScraperError):
    """One photo could not be taken over."""


class FilmError(ScraperError):
    """A film could not be taken over."""


class LabelError(ScraperError):
    """One photo could not be labelled."""
