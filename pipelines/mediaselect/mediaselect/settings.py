"""What functions and the API read from their environment (section 2), and the ports it names.

`GEMINI_API_KEY` goes before the secret named by `SSM_API_KEY_PARAM`. Google's own `GOOGLE_GEMINI_BASE_URL` and
`GOOGLE_VERTEX_BASE_URL` lead its client elsewhere: to a proxy, or to the simulators.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from mediaselect.errors import InvalidEvent
from mediaselect.sessions import SessionStore
from stepwell import toolkit
from stepwell.toolkit import redaction
from stepwell.toolkit.objects import Bucket

MODELS = ("gemini-3-flash-preview", "gemini-3-pro-preview")
"""The models a selection may be asked of, besides MODEL_SELECTION."""


@dataclass(frozen=True)
class Settings:
    """One environment. Names of models age: they are configuration."""

    bucket: str
    table: str = "media-selection-sessions"
    api_key_secret: str = ""
    model_selection: str = "gemini-3-flash-preview"
    model_image: str = "gemini-3-pro-image-preview"
    model_analysis: str = "gemini-3-pro-preview"
    model_mask: str = "imagen-3.0-capability-001"
    vertex_project: str = ""
    vertex_region: str = ""
    vertex_token: str = ""
    vertex_secret: str = "mediaselect/vertex-service-account"  # noqa: S105 - a name
    video_transport: Literal["compress", "presigned"] = "compress"
    video_mode: Literal["auto", "frames", "filters"] = "auto"
    portrait_key: str = ""
    """A reference portrait of the owner in the bucket; empty for none."""
    retry_seconds: float = 2.0
    """The first wait between tries of a call to a model; it doubles."""
    poll_seconds: float = 5.0
    """Between two looks at an uploaded file that is being processed."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Raises ValueError naming the variable that is missing or wrong."""
        env = os.environ if environ is None else environ
        if not env.get("MEDIA_BUCKET_NAME"):
            raise ValueError("MEDIA_BUCKET_NAME is not set: the name of the bucket with the sessions")
        transport = env.get("VIDEO_TRANSPORT") or "compress"
        mode = env.get("VIDEO_ENHANCE_MODE") or "auto"
        if transport not in ("compress", "presigned"):
            raise ValueError(f"VIDEO_TRANSPORT is {transport!r}; it must be 'compress' or 'presigned'")
        if mode not in ("auto", "frames", "filters"):
            raise ValueError(f"VIDEO_ENHANCE_MODE is {mode!r}; it must be 'auto', 'frames' or 'filters'")
        if env.get("VERTEX_AI_TOKEN"):
            redaction.register(env["VERTEX_AI_TOKEN"])
        return cls(
            bucket=env["MEDIA_BUCKET_NAME"],
            table=env.get("DYNAMO_TABLE_NAME") or cls.table,
            api_key_secret=env.get("SSM_API_KEY_PARAM", ""),
            model_selection=env.get("MODEL_SELECTION") or cls.model_selection,
            model_image=env.get("MODEL_IMAGE") or cls.model_image,
            model_analysis=env.get("MODEL_ANALYSIS") or cls.model_analysis,
            model_mask=env.get("MODEL_MASK") or cls.model_mask,
            vertex_project=env.get("VERTEX_AI_PROJECT", ""),
            vertex_region=env.get("VERTEX_AI_REGION", ""),
            vertex_token=env.get("VERTEX_AI_TOKEN", ""),
            vertex_secret=env.get("VERTEX_AI_SECRET") or cls.vertex_secret,
            video_transport=transport,  # type: ignore[arg-type]
            video_mode=mode,  # type: ignore[arg-type]
            portrait_key=env.get("OWNER_PORTRAIT_KEY", ""),
            retry_seconds=float(env.get("AI_RETRY_SECONDS") or cls.retry_seconds),
            poll_seconds=float(env.get("AI_POLL_SECONDS") or cls.poll_seconds),
        )

    @property
    def mask_editing(self) -> bool:
        """Whether Imagen may be asked for local edits."""
        return bool(self.vertex_project and self.vertex_region)

    @property
    def models(self) -> frozenset[str]:
        """What may be asked for by a client of the API."""
        return frozenset({*MODELS, self.model_selection})

    def api_key(self) -> str:
        """The key of the Gemini API, read once a process. Raises what the secret raises, or ValueError when none is named."""
        return _api_key(self.api_key_secret)

    def media(self, name: object = None) -> Bucket:
        """The bucket; `name` is what an event says instead, which must be a declared one."""
        if name is not None and not isinstance(name, str):
            raise InvalidEvent("bucket must be a name")
        return toolkit.bucket(name or self.bucket)

    def sessions(self) -> SessionStore:
        """The session store."""
        return SessionStore(toolkit.table(self.table))


@lru_cache(maxsize=1)
def _api_key(secret: str) -> str:
    key = os.environ.get("GEMINI_API_KEY")
    if not key:
        if not secret:
            raise ValueError("neither GEMINI_API_KEY nor SSM_API_KEY_PARAM is set")
        key = toolkit.secret(secret).read().reveal()
    redaction.register(key)
    return key
