"""The spool of `measurements` as Prometheus sees it.

    registry.register(SpoolCollector(data / "metrics.sqlite3"))

Names are in snake case: `CloudSync/TokenValidation` `TokenExpired` becomes `cloud_sync_token_validation_token_expired_total`. A counter
gets `_total`; a distribution `_bucket`, `_sum`, `_count` and, as gauges, `_recent_min` and `_recent_max` of the last two minutes.
Dimensions become labels; the label `dimensions` names them all, so that a metric published with and without a dimension (as
CloudWatch wants it) is never added up twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from stepwell.toolkit.errors import StorageError
from stepwell.toolkit.logs import logger
from stepwell.toolkit.measurements import BOUNDS, Series, SpoolSink

log = logger(__name__)

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z]|\b|_|[^A-Za-z])|[A-Z]?[a-z]+|[A-Z]+|\d+")


class SpoolCollector(Collector):
    """Everything in a spool file."""

    def __init__(self, path: Path) -> None:
        self._spool = SpoolSink(path)

    def collect(self) -> Iterator[Metric]:
        families: dict[tuple[str, str], Metric] = {}
        try:
            found = self._spool.series()
        except StorageError as error:  # the host's own metrics are still worth showing
            log.error("metrics of functions not read", event_type="metrics_failed", error_message=str(error))
            return
        for series in found:
            for name, kind, samples in _samples(series):
                family = families.get((name, kind))
                if family is None:
                    text = f"{series.namespace} {series.name} ({series.unit})"
                    family = families[name, kind] = Metric(name, text, kind)
                for suffix, labels, value in samples:
                    family.add_sample(name + suffix, labels, value)
        yield from families.values()


def metric_name(namespace: str, name: str) -> str:
    """The family name of a metric, without the suffix of its kind."""
    return f"{snake(namespace)}_{snake(name)}"


def snake(text: str) -> str:
    """`APIStructureChangeDetected` as `api_structure_change_detected`."""
    joined = "_".join(word.lower() for word in _WORD.findall(text)) or "x"
    return f"_{joined}" if joined[0].isdigit() else joined


def labels_of(dimensions: Mapping[str, str]) -> dict[str, str]:
    """The labels of a metric: its dimensions, and their names together."""
    return {**{snake(name): value for name, value in dimensions.items()}, "dimensions": ",".join(sorted(dimensions))}


def _samples(series: Series) -> Iterator[tuple[str, str, list[tuple[str, dict[str, str], float]]]]:
    name, labels = metric_name(series.namespace, series.name), labels_of(series.dimensions)
    if series.kind == "count":
        yield name, "counter", [("_total", labels, series.total)]
        return
    if series.kind == "gauge":
        yield name, "gauge", [("", labels, series.last)]
    else:
        buckets: list[tuple[str, dict[str, str], float]] = []
        below = 0
        for index in range(min(series.buckets), min(max(series.buckets) + 1, len(BOUNDS))):
            below += series.buckets.get(index, 0)
            buckets.append(("_bucket", {**labels, "le": f"{BOUNDS[index]:g}"}, below))
        buckets.append(("_bucket", {**labels, "le": "+Inf"}, series.count))
        yield name, "histogram", [*buckets, ("_count", labels, series.count), ("_sum", labels, series.total)]
    if series.recent_maximum is not None and series.recent_minimum is not None:
        yield f"{name}_recent_max", "gauge", [("", labels, series.recent_maximum)]
        yield f"{name}_recent_min", "gauge", [("", labels, series.recent_minimum)]
