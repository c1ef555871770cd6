"""What the server counts, in Prometheus's text format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

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

    def render(self) -> bytes:
        text: bytes = generate_latest(self.registry)
        return text
