"""What a function works with: its settings, the table, the buckets, the time it has left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from embeddings.config import Settings
from embeddings.errors import TimeRunningOut
from embeddings.places import PlaceFinder
from embeddings.provider import Provider
from stepwell import toolkit
from stepwell.toolkit.objects import Bucket
from stepwell.toolkit.records import Table

log = toolkit.logger(__name__)


class Clock:
    """Warns once at 90 % of the time granted, and aborts at 95 %."""

    def __init__(self, remaining: Callable[[], float]) -> None:
        """`remaining` gives the seconds until the function is killed."""
        self._remaining = remaining
        self._granted = max(remaining(), 0.001)
        self._warned = False
        self._step: tuple[str, float, float] | None = None

    @contextmanager
    def step(self, name: str, seconds: float) -> Iterator[None]:
        """A part of the work with a limit of its own, which `check` enforces."""
        self._step = name, seconds, time.monotonic() + seconds
        try:
            yield
        finally:
            self._step = None

    def check(self) -> None:
        """To be called between pages and files. Raises TimeRunningOut."""
        if self._step is not None and time.monotonic() > self._step[2]:
            raise TimeRunningOut(f"{self._step[0]} took longer than {self._step[1]:.0f} s")
        left = self._remaining() / self._granted
        if left < 0.05:
            raise TimeRunningOut(f"95 % of {self._granted:.0f} s are used")
        if left < 0.1 and not self._warned:
            self._warned = True
            log.warning("90 % of the time granted is used", event_type="time_running_out", granted_s=self._granted)


def unlimited() -> Clock:
    """For use outside a function."""
    return Clock(lambda: 1e9 - time.monotonic())


@dataclass(frozen=True)
class Services:
    """The ports, by the names the settings give."""

    settings: Settings
    table: Table
    vectors: Bucket
    work: Bucket
    clock: Clock

    @classmethod
    def from_environment(cls, clock: Clock | None = None) -> Services:
        """Raises ValidationError for what is missing."""
        settings = Settings.from_environment()
        return cls(
            settings,
            toolkit.table(settings.dynamodb_table_name),
            toolkit.bucket(settings.chromadb_bucket),
            toolkit.bucket(settings.s3_bucket),
            clock or unlimited(),
        )

    @cached_property
    def provider(self) -> Provider:
        """The provider's API."""
        return Provider(self.settings)

    @cached_property
    def places(self) -> PlaceFinder:
        """The place finder."""
        return PlaceFinder(self.settings, self.table)
