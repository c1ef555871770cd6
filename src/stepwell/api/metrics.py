"""What the server counts, in Prometheus's text format."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from stepwell.engine.engine import Engine

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]


class Metrics:
    """Requests by action and outcome. Children are looked up once per action and kept: a request costs two increments."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._requests = Counter(
            "stepwell_api_requests",
            "Requests by action and outcome (ok, or the error's code).",
            ["action", "outcome"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "stepwell_api_request_seconds",
            "Time from a request's arrival to its answer.",
            ["action"],
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5, 60),
            registry=self.registry,
        )
        self.in_flight = Gauge("stepwell_api_requests_in_flight", "Requests being answered.", registry=self.registry)
        self._children: dict[tuple[str, str], tuple[Counter, Histogram]] = {}

    def observe(self, action: str, outcome: str, seconds: float) -> None:
        key = (action, outcome)
        found = self._children.get(key)
        if found is None:
            found = self._requests.labels(action, outcome), self._seconds.labels(action)
            self._children[key] = found
        counter, histogram = found
        counter.inc()
        histogram.observe(seconds)

    def watch(self, engine: Engine) -> None:
        """Show the engine's counters too, and what its functions measured."""
        self.registry.register(_EngineCollector(engine))
        if engine.directory is not None and engine.mode == "run":
            from stepwell.toolkit.prometheus import SpoolCollector

            self.registry.register(SpoolCollector(engine.directory / "metrics.sqlite3"))

    def render(self) -> bytes:
        text: bytes = generate_latest(self.registry)
        return text


class _EngineCollector(Collector):
    """An engine's plain counters, read when they are asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        counted = self._engine.metrics
        started = CounterMetricFamily("stepwell_executions_started", "Executions started.", labels=["type"])
        for kind, count in counted.executions_started.items():
            started.add_metric([kind], count)
        ended = CounterMetricFamily("stepwell_executions_ended", "Executions ended.", labels=["type", "status"])
        for (kind, status), count in counted.executions_ended.items():
            ended.add_metric([kind, status], count)
        tasks = CounterMetricFamily(
            "stepwell_tasks", "Task attempts by how they ended.", labels=["resource", "outcome"]
        )
        for (resource, outcome), count in counted.tasks.items():
            tasks.add_metric([resource, outcome], count)
        seconds = CounterMetricFamily("stepwell_task_seconds", "Time spent in task attempts.", labels=["resource"])
        for resource, total in counted.task_seconds.items():
            seconds.add_metric([resource], total)
        open_now = GaugeMetricFamily("stepwell_executions_open", "STANDARD executions that have not ended.")
        open_now.add_metric([], self._engine.journal.open_count())
        commits = CounterMetricFamily("stepwell_journal_commits", "Commits of the journal.")
        commits.add_metric([], self._engine.journal.commits)
        rows = CounterMetricFamily("stepwell_journal_rows", "Rows written to the journal.")
        rows.add_metric([], self._engine.journal.rows)
        yield from (started, ended, tasks, seconds, open_now, commits, rows)
