"""Settings: what a function or worker reads from its environment, and what people set in the dashboard."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mangavideo.errors import ConfigError
from mangavideo.times import iso
from stepwell import toolkit
from stepwell.toolkit.objects import Bucket
from stepwell.toolkit.records import Table

VOICES = ("vi-VN-HoaiMyNeural", "vi-VN-NamMinhNeural")
STYLES = ("detailed_review", "summary", "chapter_walkthrough")
MAX_QUOTA = 10
SETTING_KEY = "pipeline_settings"


class Environment:
    """Variables, read once. Raises ConfigError that names every one of `required` that is missing."""

    def __init__(self, *required: str, environ: Mapping[str, str] | None = None) -> None:
        self._values = os.environ if environ is None else environ
        missing = [name for name in required if not self._values.get(name)]
        if missing:
            raise ConfigError(f"missing environment variables: {', '.join(missing)}")

    def text(self, name: str, default: str = "") -> str:
        """A text; an empty one is an absent one."""
        return self._values.get(name) or default

    def number(self, name: str, default: int) -> int:
        """A whole number. Raises ConfigError."""
        text = self.text(name, str(default))
        try:
            return int(text)
        except ValueError:
            raise ConfigError(f"{name} is {text!r}; it must be a whole number") from None

    def seconds(self, name: str, default: float) -> float:
        """A number. Raises ConfigError."""
        text = self.text(name, str(default))
        try:
            return float(text)
        except ValueError:
            raise ConfigError(f"{name} is {text!r}; it must be a number") from None

    @property
    def assets(self) -> Bucket:
        return toolkit.bucket(self.text("S3_BUCKET"))

    @property
    def jobs(self) -> Table:
        return toolkit.table(self.text("DYNAMODB_JOBS_TABLE"))

    @property
    def titles(self) -> Table:
        return toolkit.table(self.text("DYNAMODB_MANGA_TABLE"))

    @property
    def settings(self) -> Table:
        return toolkit.table(self.text("DYNAMODB_SETTINGS_TABLE"))

    @property
    def counters(self) -> Table:
        return toolkit.table(self.text("DYNAMODB_COUNTER_TABLE"))


@dataclass(frozen=True)
class PipelineSettings:
    """What the dashboard edits. `updated_at` is None for the defaults."""

    daily_quota: int = 1
    voice_id: str = VOICES[0]
    tone: str = "engaging and informative"
    script_style: str = "chapter_walkthrough"
    manual_review_mode: bool = False
    updated_at: str | None = None

    @classmethod
    def load(cls, table: Table) -> PipelineSettings:
        """The stored settings; the defaults where there are none."""
        row = table.get(SETTING_KEY) or {}
        return cls(**{name: row[name] for name in cls.__dataclass_fields__ if row.get(name) is not None})

    @classmethod
    def checked(cls, values: Mapping[str, Any]) -> PipelineSettings:
        """From what a person sent. Raises ValueError naming everything wrong."""
        wrong: list[str] = []

        def require(holds: bool, text: str) -> None:
            if not holds:
                wrong.append(text)

        quota = values.get("daily_quota", cls.daily_quota)
        whole = isinstance(quota, int) and not isinstance(quota, bool)
        require(whole and 1 <= quota <= MAX_QUOTA, f"daily_quota must be 1 to {MAX_QUOTA}")
        require(values.get("voice_id", VOICES[0]) in VOICES, _one_of("voice_id", VOICES))
        require(values.get("script_style", STYLES[0]) in STYLES, _one_of("script_style", STYLES))
        tone = values.get("tone", cls.tone)
        require(isinstance(tone, str) and bool(tone.strip()), "tone must be a text")
        require(isinstance(values.get("manual_review_mode", False), bool), "manual_review_mode must be true or false")
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        require(not unknown, f"unknown settings: {', '.join(unknown)}")
        if wrong:
            raise ValueError("; ".join(wrong))
        return cls(**{**values, "updated_at": iso()})

    def document(self) -> dict[str, Any]:
        """The settings as the table and the dashboard have them."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def _one_of(name: str, allowed: Iterable[str]) -> str:
    return f"{name} must be one of {', '.join(allowed)}"
