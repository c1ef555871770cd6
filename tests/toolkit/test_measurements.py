"""Metrics: the spool, Prometheus, the embedded metric format, alarms."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stepwell.toolkit.alarms import Alarm, evaluate, evaluate_spool, prometheus_rule, prometheus_rules
from stepwell.toolkit.environment import Resources
from stepwell.toolkit.measurements import EmbeddedFormatSink, Metrics, SpoolSink, read_embedded_format
from stepwell.toolkit.prometheus import SpoolCollector, snake

NOW = 1_764_637_200.0
DIMENSIONS = {"Provider": "gopro", "Environment": "dev"}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spool(tmp_path: Path, clock: Clock) -> SpoolSink:
    return SpoolSink(tmp_path / "metrics.sqlite3", clock=clock)


@pytest.fixture
def metrics(spool: SpoolSink) -> Metrics:
    return Metrics("GoProSync", DIMENSIONS, spool)


def exposed(path: Path) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    registry = CollectorRegistry()
    registry.register(SpoolCollector(path))
    text = generate_latest(registry).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def labels(**more: str) -> frozenset[tuple[str, str]]:
    found = {"provider": "gopro", "environment": "dev", "dimensions": "Environment,Provider", **more}
    return frozenset(found.items())


def test_prometheus_sees_every_kind(metrics: Metrics, tmp_path: Path) -> None:
    metrics.count("VideosSynced")
    metrics.count("VideosSynced", 2)
    metrics.count("SyncFailures")
    metrics.count("SyncFailures", ErrorType="NetworkError")
    metrics.gauge("CookieAgeDays", 4.5)
    metrics.gauge("CookieAgeDays", 4.99)
    for seconds in (0.2, 1.0, 30.0):
        metrics.observe("TransferDuration", seconds, unit="Seconds")
    found = exposed(tmp_path / "metrics.sqlite3")
    assert found["go_pro_sync_videos_synced_total", labels()] == 3
    assert found["go_pro_sync_sync_failures_total", labels()] == 1
    with_type = labels(error_type="NetworkError", dimensions="Environment,ErrorType,Provider")
    assert found["go_pro_sync_sync_failures_total", with_type] == 1
    assert found["go_pro_sync_cookie_age_days", labels()] == 4.99
    assert found["go_pro_sync_transfer_duration_count", labels()] == 3
    assert found["go_pro_sync_transfer_duration_sum", labels()] == pytest.approx(31.2)
    buckets = {
        float(dict(key)["le"]): value
        for (name, key), value in found.items()
        if name == "go_pro_sync_transfer_duration_bucket"
    }
    assert (buckets[0.25], buckets[1], buckets[50], buckets[math.inf]) == (1, 2, 3, 3)


def test_recent_extremes(metrics: Metrics, tmp_path: Path, clock: Clock, spool: SpoolSink) -> None:
    metrics.observe("TransferThroughput", 80)
    metrics.observe("TransferThroughput", 20)
    (series,) = spool.series()
    assert (series.recent_minimum, series.recent_maximum) == (20, 80)
    clock.now += 300
    (series,) = spool.series()
    assert (series.recent_minimum, series.count) == (None, 2)


def test_totals_outlive_processes_and_threads(tmp_path: Path, clock: Clock) -> None:
    def work() -> None:
        mine = Metrics("N", {}, SpoolSink(tmp_path / "metrics.sqlite3"))
        for _ in range(50):
            mine.count("x")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert exposed(tmp_path / "metrics.sqlite3")["n_x_total", frozenset({("dimensions", "")})] == 200


def test_old_minutes_are_forgotten_totals_are_not(metrics: Metrics, spool: SpoolSink, clock: Clock) -> None:
    metrics.count("x")
    clock.now += 20 * 24 * 3600
    metrics.count("x")
    assert len(spool.points("GoProSync", "x", since=0)) == 1
    assert spool.series()[0].total == 2


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda m: m.count("x", -1), "not a value of a count"),
        (lambda m: m.gauge("x", math.nan), "not a value of a gauge"),
        (lambda m: m.observe("x", math.inf), "not a value"),
        (lambda m: m.count("x", unit="Parsecs"), "not a unit"),
        (lambda m: m.count("", 1), "name"),
        (lambda m: m.count("x", Dim=""), "dimension 'Dim'"),
        (lambda m: m.count("x", Dim="é"), "dimension 'Dim'"),
        (lambda m: m.count("x", **{f"d{n}": "v" for n in range(30)}), "30 dimensions"),
        (lambda m: m.count("x", "many"), "convert"),
    ],
)
def test_what_is_refused_is_logged_and_never_raised(
    metrics: Metrics, spool: SpoolSink, call: Any, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    call(metrics)
    line = json.loads(capsys.readouterr().out)
    assert (line["level"], line["event_type"]) == ("ERROR", "metric_refused")
    assert why in line["error_message"]
    assert spool.series() == []


def test_a_broken_spool_never_stops_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metrics.sqlite3").write_text("this is not a database, but long enough to be taken for one" * 100)
    Metrics("N", {}, SpoolSink(tmp_path / "metrics.sqlite3")).count("x")
    assert json.loads(capsys.readouterr().out)["event_type"] == "metrics_failed"


def test_namespaces_of_aws_are_not_ours(spool: SpoolSink) -> None:
    with pytest.raises(ValueError, match="namespace"):
        Metrics("AWS/Lambda", {}, spool)


def test_batches(metrics: Metrics, spool: SpoolSink) -> None:
    with pytest.raises(RuntimeError), metrics.batch() as batch:
        batch.count("a")
        batch.observe("b", 2, unit="Seconds")
        assert spool.series() == []
        raise RuntimeError
    assert [(series.name, series.total) for series in spool.series()] == [("a", 1), ("b", 2)]


def test_embedded_format(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics("GoProSync", DIMENSIONS, EmbeddedFormatSink(clock=clock))
    with metrics.batch() as batch:
        batch.count("VideosSynced")
        batch.observe("TransferDuration", 12.5, unit="Seconds")
        batch.observe("TransferDuration", 2, unit="Seconds")
        batch.count("SyncFailures", ErrorType="NetworkError")
    first, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert first == {
        "_aws": {
            "Timestamp": int(NOW * 1000),
            "CloudWatchMetrics": [
                {
                    "Namespace": "GoProSync",
                    "Dimensions": [["Environment", "Provider"]],
                    "Metrics": [
                        {"Name": "VideosSynced", "Unit": "Count"},
                        {"Name": "TransferDuration", "Unit": "Seconds"},
                    ],
                }
            ],
        },
        "Environment": "dev",
        "Provider": "gopro",
        "VideosSynced": 1,
        "TransferDuration": [12.5, 2],
    }
    assert second["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["Environment", "ErrorType", "Provider"]]
    assert second["ErrorType"] == "NetworkError"


def test_embedded_format_limits(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics("N", {}, EmbeddedFormatSink(clock=clock))
    with metrics.batch() as batch:
        for n in range(250):
            batch.count(f"m{n}")
        for n in range(250):
            batch.observe("d", n)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    sizes = [len(line["_aws"]["CloudWatchMetrics"][0]["Metrics"]) for line in lines]
    assert max(sizes) <= 100
    assert all(not isinstance(value, list) or len(value) <= 100 for line in lines for value in line.values())
    points = list(read_embedded_format(json.dumps(line) for line in lines))
    assert sum(point.count for point in points if point.name == "d") == 250
    assert sum(point.total for point in points if point.name == "d") == sum(range(250))
    assert len([point for point in points if point.name != "d"]) == 250


def test_a_metric_named_as_a_dimension_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    Metrics("N", {"x": "1"}, EmbeddedFormatSink()).count("x")
    assert json.loads(capsys.readouterr().out)["event_type"] == "metrics_failed"


def test_from_resources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Resources("embedded", tmp_path, {}).metrics("N", a="1").count("x")
    assert exposed(tmp_path / "metrics.sqlite3")["n_x_total", frozenset({("a", "1"), ("dimensions", "a")})] == 1
    assert capsys.readouterr().out == ""
    Resources("aws", None, {}).metrics("N", a="1").count("x")
    (point,) = read_embedded_format(capsys.readouterr().out.splitlines())
    assert (point.namespace, point.name, dict(point.dimensions), point.total) == ("N", "x", {"a": "1"}, 1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CloudSync/TokenValidation", "cloud_sync_token_validation"),
        ("APIStructureChangeDetected", "api_structure_change_detected"),
        ("GoProSync", "go_pro_sync"),
        ("ExecutionsTimedOut", "executions_timed_out"),
        ("AWS/States", "aws_states"),
        ("9lives", "_9_lives"),
    ],
)
def test_names(text: str, expected: str) -> None:
    assert snake(text) == expected


def alarm(**changes: Any) -> Alarm:
    return Alarm(
        **{
            "name": "a",
            "namespace": "GoProSync",
            "metric": "SyncFailures",
            "threshold": 3,
            "comparison": ">",
            "dimensions": DIMENSIONS,
            **changes,
        }
    )


def test_alarm_fires_above_its_threshold(metrics: Metrics, spool: SpoolSink, clock: Clock) -> None:
    high = alarm()
    assert evaluate_spool(high, spool, now=clock.now).state == "OK"
    for _ in range(3):
        metrics.count("SyncFailures")
    assert evaluate_spool(high, spool, now=clock.now) == evaluate_spool(high, spool, now=clock.now)
    assert evaluate_spool(high, spool, now=clock.now).state == "OK"
    clock.now += 200
    metrics.count("SyncFailures")
    evaluation = evaluate_spool(high, spool, now=clock.now)
    assert (evaluation.state, evaluation.values) == ("ALARM", [4.0])
    clock.now += 150  # the first three are more than five minutes ago
    assert evaluate_spool(high, spool, now=clock.now).values == [1.0]


def test_alarm_wants_the_exact_dimensions(metrics: Metrics, spool: SpoolSink, clock: Clock) -> None:
    for _ in range(5):
        metrics.count("SyncFailures", ErrorType="NetworkError")
    assert evaluate_spool(alarm(), spool, now=clock.now).state == "OK"
    typed = alarm(dimensions={**DIMENSIONS, "ErrorType": "NetworkError"})
    assert evaluate_spool(typed, spool, now=clock.now).state == "ALARM"


@pytest.mark.parametrize(
    ("statistic", "value"), [("Sum", 60.0), ("Average", 20.0), ("Minimum", 10.0), ("Maximum", 30.0), ("SampleCount", 3)]
)
def test_statistics(metrics: Metrics, spool: SpoolSink, clock: Clock, statistic: Any, value: float) -> None:
    for number in (10, 20, 30):
        metrics.observe("TransferThroughput", number)
    found = evaluate_spool(alarm(metric="TransferThroughput", statistic=statistic), spool, now=clock.now)
    assert found.values == [value]


def test_every_period_must_breach_and_missing_data_do_not(metrics: Metrics, spool: SpoolSink, clock: Clock) -> None:
    low = alarm(metric="TransferThroughput", statistic="Average", comparison="<", threshold=20, period=900, periods=2)
    metrics.observe("TransferThroughput", 5)
    assert evaluate_spool(low, spool, now=clock.now).values == [5.0, None]
    assert evaluate_spool(low, spool, now=clock.now).state == "OK"
    clock.now += 900
    metrics.observe("TransferThroughput", 6)
    assert evaluate_spool(low, spool, now=clock.now) == evaluate(
        low, spool.points("GoProSync", "TransferThroughput", since=0), now=clock.now
    )
    assert evaluate_spool(low, spool, now=clock.now).state == "ALARM"
    metrics.observe("TransferThroughput", 100)
    assert evaluate_spool(low, spool, now=clock.now).state == "OK"


def test_a_daily_maximum(metrics: Metrics, spool: SpoolSink, clock: Clock) -> None:
    age = alarm(metric="CookieAgeDays", statistic="Maximum", comparison=">", threshold=60, period=86_400)
    metrics.gauge("CookieAgeDays", 60.5)
    clock.now += 80_000
    assert evaluate_spool(age, spool, now=clock.now).state == "ALARM"
    clock.now += 10_000
    assert evaluate_spool(age, spool, now=clock.now).state == "OK"


def test_the_same_alarm_on_the_embedded_format(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = Metrics("GoProSync", DIMENSIONS, EmbeddedFormatSink(clock=clock))
    for _ in range(4):
        metrics.count("SyncFailures")
    points = list(read_embedded_format(["other line", *capsys.readouterr().out.splitlines()]))
    assert evaluate(alarm(), points, now=clock.now).state == "ALARM"


def test_alarms_that_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 60"):
        alarm(period=90)
    with pytest.raises(ValueError, match="at least 1"):
        alarm(periods=0)


def test_rules() -> None:
    rule = prometheus_rule(alarm(topics=("alerts",), description="too many failures"))
    selector = '{dimensions="Environment,Provider",environment="dev",provider="gopro"}'
    total = f"go_pro_sync_sync_failures_total{selector}"
    assert rule["expr"].startswith(f"((sum({total}) - (sum({total} offset 300s) or vector(0)))")
    assert rule["expr"].endswith(" > 3")
    assert rule["annotations"] == {"summary": "too many failures", "topics": "alerts"}
    assert "for" not in rule
    low = prometheus_rule(
        alarm(metric="TransferThroughput", statistic="Average", comparison="<", period=900, periods=2)
    )
    assert low["for"] == "900s"
    high = prometheus_rule(alarm(metric="CookieAgeDays", statistic="Maximum", period=86_400))
    assert high["expr"] == f"max(max_over_time(go_pro_sync_cookie_age_days_recent_max{selector}[86400s])) > 3"
    document = prometheus_rules([alarm()], group="cloudsync")
    assert document["groups"][0]["name"] == "cloudsync"
    assert json.loads(json.dumps(document)) == document


def test_rules_name_what_is_exposed(metrics: Metrics, tmp_path: Path) -> None:
    metrics.count("SyncFailures")
    metrics.gauge("CookieAgeDays", 1)
    metrics.observe("TransferThroughput", 1)
    names = {name for name, _ in exposed(tmp_path / "metrics.sqlite3")}
    assert {
        "go_pro_sync_sync_failures_total",
        "go_pro_sync_cookie_age_days",
        "go_pro_sync_transfer_throughput_sum",
    } <= names
