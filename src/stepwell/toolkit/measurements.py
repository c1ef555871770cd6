"""Metrics: numbers under a namespace, with dimensions.

    metrics = toolkit.metrics("GoProSync", Provider="gopro", Environment="dev")
    metrics.count("VideosSynced")
    metrics.observe("TransferDuration", 12.3, unit="Seconds")
    metrics.gauge("CookieAgeDays", 4.99)
    metrics.count("SyncFailures", ErrorType="NetworkError")

As in CloudWatch, a metric is its namespace, its name and its exact set of dimensions. Embedded, data go to a spool in the data
directory, which the host shows to Prometheus (`prometheus.SpoolCollector`) and alarms are evaluated on; it survives its writers
and loses nothing when they are killed. On AWS they are lines in CloudWatch's embedded metric format on standard output.

Writing a metric never raises: a failure is logged, and the work goes on.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import math
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from stepwell.toolkit.errors import StorageError
from stepwell.toolkit.logs import logger
from stepwell.toolkit.sqlite import Database

Kind = Literal["count", "gauge", "observe"]

MAX_DIMENSIONS = 30
MAX_METRICS_A_LINE = 100
MAX_VALUES_A_METRIC = 100
KEPT_MINUTES = 15 * 24 * 60
"""How long the spool remembers single minutes (alarms look back at most a day or so); totals are kept for ever."""
BOUNDS: Sequence[float] = [float(f"{digit}e{decade}") for decade in range(-3, 12) for digit in (1, 2.5, 5)]
"""Upper bounds of the buckets that distributions are shown in."""
UNITS = frozenset(
    f"{size}{per}"
    for per in ("", "/Second")
    for size in (
        *(
            "Bytes",
            "Kilobytes",
            "Megabytes",
            "Gigabytes",
            "Terabytes",
            "Bits",
            "Kilobits",
            "Megabits",
            "Gigabits",
            "Terabits",
        ),
        "Count",
    )
) | {"Seconds", "Milliseconds", "Microseconds", "Percent", "None"}
"""What CloudWatch accepts: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html"""

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Datum:
    """One number."""

    name: str
    value: float
    unit: str
    kind: Kind
    dimensions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured of one metric in one minute that begins at epoch second `at`."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    at: int
    count: int
    total: float
    minimum: float
    maximum: float


class Sink(Protocol):
    """Where data go. Raises `StorageError` or OSError."""

    def write(self, namespace: str, data: Sequence[Datum]) -> None:
        """Take the data; they count as measured now."""


class Metrics:
    """Metrics of one namespace, each with these dimensions. Keywords of a call add dimensions to it."""

    def __init__(self, namespace: str, dimensions: Mapping[str, str], sink: Sink) -> None:
        if not namespace or len(namespace) > 255 or namespace.startswith("AWS/"):
            raise ValueError(f"{namespace!r} is not a namespace: 1 to 255 characters, not beginning with AWS/")
        self.namespace = namespace
        self.dimensions = {name: str(value) for name, value in dimensions.items()}
        self._sink = sink
        self._batch: list[Datum] | None = None

    def count(self, name: str, value: float = 1, *, unit: str = "Count", **dimensions: str) -> None:
        """Add to a counter; `value` must not be negative."""
        self._add(name, value, unit, "count", dimensions)

    def gauge(self, name: str, value: float, *, unit: str = "None", **dimensions: str) -> None:
        """Say what is true now."""
        self._add(name, value, unit, "gauge", dimensions)

    def observe(self, name: str, value: float, *, unit: str = "None", **dimensions: str) -> None:
        """One measurement of a distribution (a duration, a size)."""
        self._add(name, value, unit, "observe", dimensions)

    @contextlib.contextmanager
    def batch(self) -> Iterator[Metrics]:
        """Metrics that are written together when the block ends, also by an exception."""
        batch = Metrics(self.namespace, self.dimensions, self._sink)
        batch._batch = []
        try:
            yield batch
        finally:
            data, batch._batch = batch._batch, None
            self._write(data)

    def _add(self, name: str, value: float, unit: str, kind: Kind, dimensions: Mapping[str, str]) -> None:
        try:
            datum = self._check(Datum(name, float(value), unit, kind, {**self.dimensions, **dimensions}))
        except (ValueError, TypeError) as error:
            log.error("metric refused", event_type="metric_refused", metric=name, error_message=str(error))
            return
        if self._batch is not None:
            self._batch.append(datum)
        else:
            self._write([datum])

    def _check(self, datum: Datum) -> Datum:
        if not datum.name or len(datum.name) > 255:
            raise ValueError("a metric's name has 1 to 255 characters")
        if not math.isfinite(datum.value) or (datum.kind == "count" and datum.value < 0):
            raise ValueError(f"{datum.value} is not a value of a {datum.kind}")
        if datum.unit not in UNITS:
            raise ValueError(f"{datum.unit!r} is not a unit of CloudWatch")
        if len(datum.dimensions) > MAX_DIMENSIONS:
            raise ValueError(f"a metric has at most {MAX_DIMENSIONS} dimensions")
        for name, value in datum.dimensions.items():
            if not value or not str(value).isascii() or len(str(value)) > 1024:
                raise ValueError(f"dimension {name!r} must be 1 to 1,024 ASCII characters, not {value!r}")
        return datum

    def _write(self, data: Sequence[Datum]) -> None:
        if not data:
            return
        try:
            self._sink.write(self.namespace, data)
        except (StorageError, OSError, ValueError) as error:
            log.error("metrics not written", event_type="metrics_failed", metrics=len(data), error_message=str(error))


class EmbeddedFormatSink:
    """CloudWatch embedded metric format, one line for each set of dimensions, at most 100 metrics a line.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock

    def write(self, namespace: str, data: Sequence[Datum]) -> None:
        groups: dict[tuple[tuple[str, str], ...], list[Datum]] = {}
        for datum in data:
            groups.setdefault(tuple(sorted(datum.dimensions.items())), []).append(datum)
        lines = [
            line
            for dimensions, members in groups.items()
            for line in _embedded_lines(namespace, dict(dimensions), members, int(self._clock() * 1000))
        ]
        sys.stdout.write("".join(lines))
        sys.stdout.flush()


def _embedded_lines(namespace: str, dimensions: Mapping[str, str], data: Sequence[Datum], now: int) -> Iterator[str]:
    values: dict[str, list[float]] = {}
    units: dict[str, str] = {}

    def line() -> str:
        document: dict[str, Any] = {
            "_aws": {
                "Timestamp": now,
                "CloudWatchMetrics": [
                    {
                        "Namespace": namespace,
                        "Dimensions": [sorted(dimensions)],
                        "Metrics": [{"Name": name, "Unit": units[name]} for name in values],
                    }
                ],
            },
            **dimensions,
            **{name: found[0] if len(found) == 1 else found for name, found in values.items()},
        }
        return json.dumps(document, separators=(",", ":")) + "\n"

    for datum in data:
        if datum.name in dimensions or datum.name == "_aws":
            raise ValueError(f"metric {datum.name!r} has the name of a dimension")
        full = len(values.get(datum.name, ())) == MAX_VALUES_A_METRIC
        other = datum.name in units and units[datum.name] != datum.unit
        if full or other or (datum.name not in values and len(values) == MAX_METRICS_A_LINE):
            yield line()
            values.clear()
            units.clear()
        values.setdefault(datum.name, []).append(_plain(datum.value))
        units[datum.name] = datum.unit
    if values:
        yield line()


def read_embedded_format(lines: Iterable[str]) -> Iterator[Point]:
    """The metrics in lines of a log; other lines are passed over. For tests and for evaluating alarms on a log."""
    for line in lines:
        if '"_aws"' not in line:
            continue
        document = json.loads(line)
        at = int(document["_aws"]["Timestamp"]) // 60_000 * 60
        for directive in document["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = {name: document[name] for name in names}
                for metric in directive["Metrics"]:
                    value = document[metric["Name"]]
                    numbers = value if isinstance(value, list) else [value]
                    yield Point(
                        directive["Namespace"], metric["Name"], dimensions, at,
                        len(numbers), float(sum(numbers)), float(min(numbers)), float(max(numbers)),
                    )  # fmt: skip


_LAYOUT = """
CREATE TABLE series (
    id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL, dimensions TEXT NOT NULL, kind TEXT NOT NULL,
    unit TEXT NOT NULL, count INTEGER NOT NULL DEFAULT 0, total REAL NOT NULL DEFAULT 0, last REAL NOT NULL DEFAULT 0,
    buckets TEXT NOT NULL DEFAULT '{}', UNIQUE (namespace, name, dimensions, kind)
);
CREATE TABLE minutes (
    series INTEGER NOT NULL, minute INTEGER NOT NULL, count INTEGER NOT NULL, total REAL NOT NULL, minimum REAL NOT NULL,
    maximum REAL NOT NULL, PRIMARY KEY (series, minute)
) WITHOUT ROWID;
CREATE INDEX minutes_by_time ON minutes (minute)
"""


_FIND = "SELECT id, buckets FROM series WHERE namespace = ? AND name = ? AND dimensions = ? AND kind = ?"


@dataclass(frozen=True, slots=True)
class Series:
    """Everything measured so far of one metric: `buckets` maps an index of `BOUNDS` (or its length) to a count."""

    namespace: str
    name: str
    dimensions: Mapping[str, str]
    kind: Kind
    unit: str
    count: int
    total: float
    last: float
    buckets: Mapping[int, int]
    recent_minimum: float | None
    recent_maximum: float | None


class SpoolSink:
    """A SQLite file that every process of this machine writes to, and the host reads.

    Killing a writer loses nothing that `write` returned for; a power failure may lose the last second or so.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._database = Database(path, _LAYOUT, 1, durable=False)
        self._clock = clock
        self._pruned = 0.0
        self._lock = threading.Lock()

    def write(self, namespace: str, data: Sequence[Datum]) -> None:
        minute = int(self._clock()) // 60
        with self._database.write() as spool:
            for datum in data:
                _add(spool, namespace, datum, minute)
        self._prune(minute)

    def series(self, *, recent_seconds: int = 120) -> list[Series]:
        """Every metric, with the extremes of its last `recent_seconds`."""
        since = (int(self._clock()) - recent_seconds) // 60
        with self._database.read() as spool:
            rows = spool.execute(
                "SELECT namespace, name, dimensions, kind, unit, s.count, s.total, last, buckets, min(minimum), max(maximum) "
                "FROM series s LEFT JOIN minutes m ON m.series = s.id AND m.minute >= ? GROUP BY s.id ORDER BY 1, 2, 3, 4",
                (since,),
            ).fetchall()
        return [
            Series(
                namespace, name, json.loads(dimensions), kind, unit, count, total, last,
                {int(index): found for index, found in json.loads(buckets).items()}, low, high,
            )
            for namespace, name, dimensions, kind, unit, count, total, last, buckets, low, high in rows
        ]  # fmt: skip

    def points(self, namespace: str, name: str, *, since: float) -> list[Point]:
        """What was measured of a metric, whatever its dimensions, minute by minute since an epoch second."""
        with self._database.read() as spool:
            rows = spool.execute(
                "SELECT dimensions, minute, m.count, m.total, minimum, maximum FROM series s JOIN minutes m ON m.series = s.id "
                "WHERE namespace = ? AND name = ? AND minute >= ? ORDER BY minute",
                (namespace, name, int(since) // 60),
            ).fetchall()
        return [
            Point(namespace, name, json.loads(dimensions), minute * 60, count, total, low, high)
            for dimensions, minute, count, total, low, high in rows
        ]

    def _prune(self, minute: int) -> None:
        with self._lock:
            if self._clock() - self._pruned < 3600:
                return
            self._pruned = self._clock()
        with self._database.write() as spool:
            spool.execute("DELETE FROM minutes WHERE minute < ?", (minute - KEPT_MINUTES,))


def _add(spool: sqlite3.Connection, namespace: str, datum: Datum, minute: int) -> None:
    dimensions = json.dumps(dict(sorted(datum.dimensions.items())), separators=(",", ":"))
    identity = (namespace, datum.name, dimensions, datum.kind)
    row = spool.execute(_FIND, identity).fetchone()
    if row is None:
        spool.execute(
            "INSERT INTO series (namespace, name, dimensions, kind, unit) VALUES (?, ?, ?, ?, ?)",
            (*identity, datum.unit),
        )
        row = spool.execute(_FIND, identity).fetchone()
    series, buckets = row
    if datum.kind == "observe":
        counts = json.loads(buckets)
        index = str(bisect.bisect_left(BOUNDS, datum.value))
        counts[index] = counts.get(index, 0) + 1
        buckets = json.dumps(counts)
    spool.execute(
        "UPDATE series SET count = count + 1, total = total + ?, last = ?, unit = ?, buckets = ? WHERE id = ?",
        (datum.value, datum.value, datum.unit, buckets, series),
    )
    spool.execute(
        "INSERT INTO minutes VALUES (?, ?, 1, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + 1, total = total + excluded.total, "
        "minimum = min(minimum, excluded.minimum), maximum = max(maximum, excluded.maximum)",
        (series, minute, datum.value, datum.value, datum.value),
    )


def _plain(value: float) -> float:
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
