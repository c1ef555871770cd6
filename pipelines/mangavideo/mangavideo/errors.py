"""What can go wrong. A class's name is the error name the state machine sees, so these names are a contract with machine.asl.json."""

from __future__ import annotations


class MangaVideoError(Exception):
    """Base of everything this pipeline raises on purpose."""


class ConfigError(MangaVideoError):
    """Something is not set up, or an input that must exist does not. Never retried."""


class JobNotFound(MangaVideoError):
    """There is no such job. Never retried."""


class CatalogueError(MangaVideoError):
    """The comic catalogue answered something unusable; `status` is the HTTP status, None for a lost connection."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class FetchError(MangaVideoError):
    """No source of candidates answered."""


class LLMAuthError(MangaVideoError):
    """The language model's service refused the key (401, 403) or wants money (402). Never retried."""


class LLMError(MangaVideoError):
    """The language model gave no usable text, or too many chapters have none."""


class TTSError(MangaVideoError):
    """Speech could not be synthesised."""


class LaunchError(MangaVideoError):
    """No machine could be had now; trying again later may help."""


class RenderError(MangaVideoError):
    """The video could not be made."""


class UploadError(MangaVideoError):
    """The video could not be uploaded."""


class YouTubeQuotaError(UploadError):
    """The day's units of the video host are used; the upload waits for tomorrow. Never retried."""
