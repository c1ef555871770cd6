"""The models: Gemini for reading and editing pictures, Imagen for edits inside a mask. Both through Google's own client.

A call is tried three times when the service is busy or unreachable (429, 5xx, network), with 2, 4, ... seconds between, never beyond the
caller's deadline. An answer without what was asked for is `AiRefused`; no answer is `AiUnavailable`.
"""

from __future__ import annotations

import io
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
from google import genai
from google.auth.exceptions import GoogleAuthError
from google.genai import errors, types

from mediaselect import images as stills
from mediaselect.errors import AiRefused, AiUnavailable, UnsupportedMedia
from mediaselect.settings import Settings
from stepwell import toolkit
from stepwell.toolkit import redaction
from stepwell.toolkit.logs import logger
from stepwell.toolkit.measurements import Metrics

T = TypeVar("T")
TRIES = 3
FILE_WAIT_SECONDS = 600.0
MAX_OUTPUT_TOKENS = 65_536
CALL_SECONDS = 240.0
MASK_SECONDS = 60.0
MAX_FILE_BYTES = 2 * 1024**3
REFUSAL_CHARACTERS = 200
try:  # Google's client sends by httpx2 where that is installed, else by httpx
    import httpx2

    _FAILURES: tuple[type[Exception], ...] = (
        errors.APIError, GoogleAuthError, httpx.HTTPError, httpx2.HTTPError, OSError,
    )  # fmt: skip
except ImportError:
    _FAILURES = (errors.APIError, GoogleAuthError, httpx.HTTPError, OSError)
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
# The client's own lines hold URLs of uploads.
for _name in ("httpx", "google_genai", "google_genai.models"):
    logging.getLogger(_name).addFilter(redaction.RedactingFilter())
    logging.getLogger(_name).setLevel(logging.WARNING)

log = logger(__name__)


@dataclass(frozen=True)
class Picture:
    """An image file and its MIME type."""

    data: bytes
    mime: str


@dataclass(frozen=True)
class Link:
    """A file in the model's store, or a URL it may fetch."""

    uri: str
    mime: str


Part = str | Picture | Link


@dataclass(frozen=True)
class Turn:
    """An earlier exchange of a conversation."""

    user: str
    model: str


@dataclass
class Answer:
    """What a model said."""

    text: str
    pictures: list[Picture] = field(default_factory=list)
    finish: str = ""

    @property
    def truncated(self) -> bool:
        """Whether it ended because the limit of tokens was reached."""
        return self.finish == "MAX_TOKENS"


class Deadline:
    """How much of an invocation's time is left, in seconds."""

    def __init__(self, remaining: Callable[[], float]) -> None:
        self.remaining = remaining

    @classmethod
    def of(cls, context: Any) -> Deadline:
        """Of a function's context."""
        return cls(lambda: context.get_remaining_time_in_millis() / 1000)

    def within(self, seconds: float) -> float:
        """At most `seconds`, at most what is left (less a second to answer in), at least one."""
        return max(1.0, min(seconds, self.remaining() - 1.0))


class Models:
    """Gemini's models and file store. One a process is enough; safe for one thread."""

    def __init__(self, settings: Settings, deadline: Deadline) -> None:
        self._client = genai.Client(
            vertexai=False,
            api_key=settings.api_key(),
            http_options=types.HttpOptions(api_version="v1beta"),  # where the preview models are
        )
        self._settings = settings
        self._deadline = deadline
        self._metrics = toolkit.metrics("MediaSelect")

    def generate(
        self,
        model: str,
        parts: Sequence[Part],
        *,
        system: str,
        operation: str,
        schema: Mapping[str, Any] | None = None,
        images: bool = False,
        history: Sequence[Turn] = (),
        resolution: str | None = None,
    ) -> Answer:
        """One question. With `schema` the answer's text is JSON; with `images` it may hold pictures.

        Raises AiUnavailable, AiRefused (for a request or an answer that the service blocks).
        """
        config = types.GenerateContentConfig(
            system_instruction=system,
            http_options=types.HttpOptions(timeout=int(self._deadline.within(CALL_SECONDS) * 1000)),
        )
        if schema is not None:
            config.response_mime_type = "application/json"
            config.response_schema = dict(schema)
            config.max_output_tokens = MAX_OUTPUT_TOKENS
        if images:
            config.response_modalities = ["TEXT", "IMAGE"]
        if resolution is not None:
            config.media_resolution = types.MediaResolution(resolution)
        contents = [
            content
            for turn in history
            for content in (
                types.Content(role="user", parts=[types.Part(text=turn.user)]),
                types.Content(role="model", parts=[types.Part(text=turn.model or "(no comment)")]),
            )
        ]
        contents.append(types.Content(role="user", parts=[_part(part) for part in parts]))
        began = time.monotonic()
        try:
            response = self._try(
                lambda: self._client.models.generate_content(model=model, contents=contents, config=config), operation
            )
        except errors.APIError as error:
            raise AiRefused(f"the model refused the request (status {error.code})") from error
        self._metrics.observe(
            "GeminiApiLatencyMs", (time.monotonic() - began) * 1000, unit="Milliseconds", Operation=operation
        )
        if usage := response.usage_metadata:
            self._metrics.count("GeminiInputTokens", usage.prompt_token_count or 0, Operation=operation)
            self._metrics.count("GeminiOutputTokens", usage.candidates_token_count or 0, Operation=operation)
        return _answer(response)

    def upload(self, data: bytes | Path, mime: str) -> Link:
        """Put a file into the model's store and wait until it may be used. Raises AiUnavailable, AiRefused (state FAILED)."""
        began = time.monotonic()
        config = types.UploadFileConfig(mime_type=mime)
        try:
            stored = self._try(
                lambda: self._client.files.upload(
                    file=str(data) if isinstance(data, Path) else io.BytesIO(data), config=config
                ),
                "file-upload",
            )
            until = time.monotonic() + self._deadline.within(FILE_WAIT_SECONDS)
            while stored.state == types.FileState.PROCESSING:
                if time.monotonic() > until:
                    self.delete(Link(stored.uri or "", mime))
                    raise AiUnavailable("an uploaded file was not processed in time")
                time.sleep(self._settings.poll_seconds)
                stored = self._try(partial(self._client.files.get, name=stored.name or ""), "file-state")
        except errors.APIError as error:
            raise AiRefused(f"the model refused a file (status {error.code})") from error
        self._metrics.observe(
            "FileUploadMs", (time.monotonic() - began) * 1000, unit="Milliseconds", Operation="file-upload"
        )
        link = Link(stored.uri or "", mime)
        if stored.state == types.FileState.FAILED:
            self.delete(link)
            raise AiRefused("the model could not process a file")
        return link

    def delete(self, link: Link) -> None:
        """Remove an uploaded file; what goes wrong is logged only (files expire after 48 hours)."""
        try:
            self._client.files.delete(name="files/" + link.uri.rsplit("/", 1)[-1])
        except _FAILURES as error:
            log.warning(
                "uploaded file not deleted", event_type="file_delete_failed", error_message=type(error).__name__
            )

    def _try(self, call: Callable[[], T], operation: str) -> T:
        return attempt(call, operation, self._settings.retry_seconds, self._deadline, self._metrics)


class MaskEditor:
    """Imagen's edits inside a mask. Needs a Vertex project; a static token or a service account pays for it."""

    def __init__(self, settings: Settings, deadline: Deadline) -> None:
        self._client = genai.Client(
            vertexai=True,
            project=settings.vertex_project,
            location=settings.vertex_region,
            credentials=_credentials(settings),
        )
        self._settings = settings
        self._deadline = deadline

    def edit(self, picture: Picture, mask: bytes, instruction: str, mode: str) -> Picture:
        """The picture with the white part of the mask (a PNG of its size) changed. Raises AiUnavailable, AiRefused."""
        references: list[Any] = [
            types.RawReferenceImage(
                reference_id=1, reference_image=types.Image(image_bytes=picture.data, mime_type=picture.mime)
            ),
            types.MaskReferenceImage(
                reference_id=2,
                reference_image=types.Image(image_bytes=mask, mime_type="image/png"),
                config=types.MaskReferenceConfig(mask_mode=types.MaskReferenceMode.MASK_MODE_USER_PROVIDED),
            ),
        ]
        config = types.EditImageConfig(
            edit_mode=types.EditMode(mode),
            number_of_images=1,
            http_options=types.HttpOptions(timeout=int(self._deadline.within(MASK_SECONDS) * 1000)),
        )
        try:
            response = attempt(
                lambda: self._client.models.edit_image(
                    model=self._settings.model_mask, prompt=instruction, reference_images=references, config=config
                ),
                "mask-edit",
                self._settings.retry_seconds,
                self._deadline,
                toolkit.metrics("MediaSelect"),
            )
        except errors.APIError as error:
            raise AiRefused(f"the mask edit was refused (status {error.code})") from error
        image = response.generated_images[0].image if response.generated_images else None
        if image is None or not image.image_bytes:
            raise AiRefused("the mask edit gave no image")
        return readable(Picture(image.image_bytes, image.mime_type or "image/png"))


def attempt(call: Callable[[], T], operation: str, first_wait: float, deadline: Deadline, metrics: Metrics) -> T:
    """Call until it works, at most three times. An APIError that a repetition cannot cure passes through; otherwise AiUnavailable."""
    wait = first_wait
    for number in range(1, TRIES + 1):
        metrics.count("GeminiApiCalls", Operation=operation)
        try:
            return call()
        except _FAILURES as error:
            metrics.count("GeminiApiErrors", Operation=operation)
            if isinstance(error, errors.APIError) and error.code not in _BUSY:
                raise
            pause = wait + random.uniform(0, wait / 4)
            log.warning(
                "the model is not available",
                event_type="ai_unavailable",
                operation=operation,
                attempt=number,
                status=getattr(error, "code", None),
            )
            if number == TRIES or deadline.remaining() < pause + 5.0:
                raise AiUnavailable("the model is not available at the moment") from error
            time.sleep(pause)
            wait *= 2
    raise AssertionError("unreachable")


def _part(part: Part) -> types.Part:
    if isinstance(part, str):
        return types.Part(text=part)
    if isinstance(part, Picture):
        return types.Part(inline_data=types.Blob(data=part.data, mime_type=part.mime))
    return types.Part(file_data=types.FileData(file_uri=part.uri, mime_type=part.mime))


def _answer(response: types.GenerateContentResponse) -> Answer:
    if not response.candidates:
        feedback = response.prompt_feedback
        reason = str(feedback.block_reason.value) if feedback and feedback.block_reason else "no answer"
        raise AiRefused(f"the model blocked the request ({reason})")
    candidate = response.candidates[0]
    answer = Answer("", finish=str(candidate.finish_reason.value) if candidate.finish_reason else "")
    for part in (candidate.content.parts if candidate.content else None) or []:
        if part.text and not part.thought:
            answer.text += part.text
        if part.inline_data and part.inline_data.data:
            answer.pictures.append(Picture(part.inline_data.data, part.inline_data.mime_type or "image/png"))
    return answer


def one_picture(answer: Answer) -> Picture:
    """The last picture of an answer. Raises AiRefused with what the model said instead."""
    if not answer.pictures:
        said = answer.text.strip()[:REFUSAL_CHARACTERS] or answer.finish or "nothing"
        raise AiRefused(f"the model gave no image: {said}")
    return readable(answer.pictures[-1])


def readable(picture: Picture) -> Picture:
    """The picture, if it is one: bytes that cannot be decoded are no answer either. Raises AiRefused."""
    try:
        stills.decode(picture.data, bound=64)
    except UnsupportedMedia as error:
        raise AiRefused("the model gave an image that cannot be read") from error
    return picture


def _credentials(settings: Settings) -> Any:
    if settings.vertex_token:
        from google.oauth2.credentials import Credentials

        return Credentials(token=settings.vertex_token)  # type: ignore[no-untyped-call]
    from google.oauth2 import service_account

    return service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        toolkit.secret(settings.vertex_secret).read(max_age=600).json(),
        scopes=["https://www.googleapis.com/auth/cloud-platform"],
    )
