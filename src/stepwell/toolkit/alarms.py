"""Alarms: what is declared in `stepwell.toml`, evaluated on the metrics themselves and rendered as a Prometheus rule.

An alarm watches one metric with one exact set of dimensions, as in CloudWatch: a metric that is published with one more dimension is
another metric. It is in ALARM when the statistic compares as declared with the threshold in each of the last `periods` periods;
a period without data does not count as such.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from stepwell.toolkit.measurements import Point, SpoolSink
from stepwell.toolkit.prometheus import labels_of, metric_name, snake

Statistic = Literal["Sum", "Average", "Minimum", "Maximum", "SampleCount"]
Comparison = Literal[">", ">=", "<", "<="]

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """A declared alarm; `period` in seconds, a multiple of 60."""

    name: str
    namespace: str
    metric: str
    threshold: float
    statistic: Statistic = "Sum"
    comparison: Comparison = ">="
    period: int = 300
    periods: int = 1
    dimensions: Mapping[str, str] = field(default_factory=dict)
    topics: Sequence[str] = ()
    description: str = ""

    def __post_init__(self) -> None:
        if self.period < 60 or self.period % 60:
            raise ValueError(f"alarm {self.name!r}: the period is a multiple of 60 seconds, not {self.period}")
        if self.periods < 1:
            raise ValueError(f"alarm {self.name!r}: periods must be at least 1, not {self.periods}")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """`values`: the statistic of each period, newest first, None where nothing was measured."""

    state: Literal["ALARM", "OK"]
    values: list[float | None]


def evaluate(alarm: Alarm, points: Iterable[Point], *, now: float) -> Evaluation:
    """The alarm's state at epoch second `now`, by what was measured (of any metric: others are passed over).

    Periods end with the current minute, so that what was just measured counts at once.
    """
    end = int(now) // 60 * 60 + 60
    periods: list[list[Point]] = [[] for _ in range(alarm.periods)]
    for point in points:
        if (point.namespace, point.name) != (alarm.namespace, alarm.metric):
            continue
        if dict(point.dimensions) != dict(alarm.dimensions):
            continue
        place = (end - point.at - 60) // alarm.period
        if 0 <= place < alarm.periods:
            periods[place].append(point)
    values = [_statistic(alarm.statistic, members) for members in periods]
    compare = _COMPARE[alarm.comparison]
    breached = all(value is not None and compare(value, alarm.threshold) for value in values)
    return Evaluation("ALARM" if breached else "OK", values)


def evaluate_spool(alarm: Alarm, spool: SpoolSink, *, now: float) -> Evaluation:
    """The alarm's state by what this machine's functions measured."""
    since = now - alarm.period * alarm.periods - 60
    return evaluate(alarm, spool.points(alarm.namespace, alarm.metric, since=since), now=now)


def prometheus_rule(alarm: Alarm) -> dict[str, Any]:
    """The alarm as an alerting rule (a member of `rules` in a Prometheus rule file).

    Counters of the spool never go back, so what happened in a period is a plain difference, and a metric that appears for the
    first time counts from nothing. `increase()` would miss the first event of a new metric: the usual case of a failure.
    """
    expression = _expression(alarm)
    return {
        "alert": alarm.name,
        "expr": f"{expression} {alarm.comparison} {alarm.threshold:g}",
        **({"for": f"{alarm.period * (alarm.periods - 1)}s"} if alarm.periods > 1 else {}),
        "labels": {"namespace": alarm.namespace, **{snake(name): value for name, value in alarm.dimensions.items()}},
        "annotations": {
            "summary": alarm.description
            or f"{alarm.statistic} of {alarm.metric} {alarm.comparison} {alarm.threshold:g}",
            "topics": ",".join(alarm.topics),
        },
    }


def prometheus_rules(alarms: Iterable[Alarm], *, group: str) -> dict[str, Any]:
    """A rule file with these alarms, ready to be written as YAML."""
    return {"groups": [{"name": group, "rules": [prometheus_rule(alarm) for alarm in alarms]}]}


def _expression(alarm: Alarm) -> str:
    name = metric_name(alarm.namespace, alarm.metric)
    labels = labels_of(alarm.dimensions)
    selector = "{" + ",".join(f'{label}="{_escape(value)}"' for label, value in sorted(labels.items())) + "}"
    window = f"{alarm.period}s"

    def happened(suffix: str) -> str:
        series = f"{name}{suffix}{selector}"
        return f"(sum({series}) - (sum({series} offset {window}) or vector(0)))"

    if alarm.statistic == "Sum":
        return f"({happened('_total')} or {happened('_sum')})"
    if alarm.statistic == "SampleCount":
        return happened("_count")
    if alarm.statistic == "Average":
        return f"({happened('_sum')} / ({happened('_count')} > 0) or avg(avg_over_time({name}{selector}[{window}])))"
    short = "max" if alarm.statistic == "Maximum" else "min"
    return f"{short}({short}_over_time({name}_recent_{short}{selector}[{window}]))"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _statistic(statistic: Statistic, points: Sequence[Point]) -> float | None:
    if not points:
        return None
    if statistic == "Minimum":
        return min(point.minimum for point in points)
    if statistic == "Maximum":
        return max(point.maximum for point in points)
    count = sum(point.count for point in points)
    total = sum(point.total for point in points)
    if statistic == "SampleCount":
        return count
    return total if statistic == "Sum" else total / count
