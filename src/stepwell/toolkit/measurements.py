"""Metrics: numbers under a namespace, with dimensions.

    metrics = toolkit.metrics("GoProSync", Provider="gopro", Environment="dev")
    metrics.count("VideosSynced")
    metrics.observe("TransferDuration", 12.3, unit="Seconds")
    metrics.gauge("CookieAgeDays", 4.99)
    metrics.count("SyncFailures", ErrorType="NetworkError")

Embedded, they go to a spool in the data directory that the host shows to Prometheus; on AWS they are lines in CloudWatch's embedded
metric format on standard output. Writing a metric never raises: a failure is logged, the work goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol


class Sink(Protocol):
    """Where data go."""


class Metrics:
    """Metrics of one namespace."""

    def __init__(self, namespace: str, dimensions: Mapping[str, str], sink: Sink) -> None: ...

    def count(self, name: str, value: float = 1, *, unit: str = "Count", **dimensions: str) -> None:
        """Add to a counter."""

    def gauge(self, name: str, value: float, *, unit: str = "None", **dimensions: str) -> None:
        """Set what is true now."""

    def observe(self, name: str, value: float, *, unit: str = "None", **dimensions: str) -> None:
        """One measurement of a distribution (a duration, a size)."""

    @contextmanager
    def batch(self) -> Iterator[Metrics]:
        """Write what is measured inside in one go at the end."""
        yield self


class SpoolSink:
    """A SQLite file that every process of this machine appends to."""

    def __init__(self, path: Path) -> None: ...


class EmbeddedFormatSink:
    """CloudWatch embedded metric format on standard output."""
