"""Counters of an engine, for Prometheus, the console and tests."""

from __future__ import annotations

from collections import Counter, defaultdict

__all__ = ["Metrics"]


class Metrics:
    """Plain numbers since the engine was opened. The API exposes them; nothing here knows how."""

    def __init__(self) -> None:
        self.executions_started: Counter[str] = Counter()
        """By type: STANDARD, EXPRESS."""
        self.executions_ended: Counter[tuple[str, str]] = Counter()
        """By type and status: SUCCEEDED, FAILED, TIMED_OUT, ABORTED."""
        self.tasks: Counter[tuple[str, str]] = Counter()
        """By resource and outcome: succeeded, failed, submitted, cancelled."""
        self.task_seconds: defaultdict[str, float] = defaultdict(float)
        """Time spent in finished tasks, by resource."""

    def started(self, type: str) -> None:
        """An execution began."""
        self.executions_started[type] += 1

    def ended(self, type: str, status: str) -> None:
        """An execution ended."""
        self.executions_ended[type, status] += 1

    def task(self, resource: str, outcome: str, seconds: float) -> None:
        """A task ended."""
        self.tasks[resource, outcome] += 1
        self.task_seconds[resource] += seconds
