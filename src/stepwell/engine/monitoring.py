"""What operators watch: AWS's own metrics of executions and functions, and the alarms a project declares.

Executions are counted in the namespace AWS/States and function calls in AWS/Lambda, with CloudWatch's names and dimensions, beside the
metrics that functions emit themselves. Counts are gathered in memory and written every few seconds. Once a minute each alarm is evaluated;
one that changes is published to its topics, as CloudWatch does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.toolkit.alarms import Alarm, evaluate_spool
from stepwell.toolkit.errors import ToolkitError
from stepwell.toolkit.measurements import Datum, SpoolSink
from stepwell.toolkit.notices import LocalTopic

if TYPE_CHECKING:
    from stepwell.engine.live import Live
    from stepwell.functions.spec import InvokeResult
    from stepwell.project.project import Project

__all__ = ["SPOOL", "Monitoring"]

log = logging.getLogger("stepwell.alarms")

SPOOL = "metrics.sqlite3"
"""The file in a data directory that functions and the host write metrics to."""
FLUSH_SECONDS = 5.0
EVALUATE_SECONDS = 60.0

_ENDED = {
    "SUCCEEDED": "ExecutionsSucceeded",
    "FAILED": "ExecutionsFailed",
    "TIMED_OUT": "ExecutionsTimedOut",
    "ABORTED": "ExecutionsAborted",
}


class Monitoring:
    """Counts, writes and evaluates, for the projects loaded into one engine. Methods belong to the event loop's thread."""

    def __init__(self, directory: Path, machine_arn: str) -> None:
        """`machine_arn` is the start of every state machine's ARN, up to the name."""
        self.states: dict[str, str] = {}
        """ALARM or OK by the alarm's name, since its first evaluation."""
        self._directory = directory
        self._machine_arn = machine_arn
        self._spool = SpoolSink(directory / SPOOL)
        self._counts: Counter[tuple[str, str, str, str]] = Counter()
        self._alarms: dict[str, tuple[Alarm, Sequence[LocalTopic]]] = {}
        self._running: asyncio.Task[None] | None = None

    def add(self, project: Project) -> None:
        """Watch a project's alarms; again replaces them."""
        topics = project.resources.get("topics", {})
        for declared in project.alarms.values():
            alarm = Alarm(
                name=str(declared.name),
                namespace=str(declared.namespace),
                metric=declared.metric,
                threshold=declared.threshold,
                statistic=declared.statistic,
                comparison=declared.comparison,
                period=int(declared.period),
                periods=declared.periods,
                dimensions=declared.dimensions,
                topics=declared.topics,
                description=declared.description,
            )
            told = [LocalTopic(self._directory, topics[key]["name"], logged=False) for key in declared.topics]
            self._alarms[alarm.name] = alarm, told
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="stepwell-monitoring")

    def execution_ended(self, live: Live) -> None:
        """Count an execution by its state machine."""
        arn = self._machine_arn + live.resource.partition("/")[0]
        self._counts["AWS/States", _ENDED[live.execution.status], "StateMachineArn", arn] += 1

    def function_called(self, name: str, result: InvokeResult | None) -> None:
        """Count a call of a function; None: it was refused because all its workers were busy."""
        if result is None:
            self._counts["AWS/Lambda", "Throttles", "FunctionName", name] += 1
            return
        self._counts["AWS/Lambda", "Invocations", "FunctionName", name] += 1
        if result.error is not None:
            self._counts["AWS/Lambda", "Errors", "FunctionName", name] += 1

    async def close(self) -> None:
        """Write what was counted and stop."""
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        self._flush()

    async def evaluate(self, now: float) -> dict[str, str]:
        """Evaluate every alarm as of epoch second `now`, tell the topics of those that changed, and give the states."""
        await asyncio.to_thread(self._flush)
        for alarm, topics in self._alarms.values():
            found = await asyncio.to_thread(evaluate_spool, alarm, self._spool, now=now)
            before = self.states.get(alarm.name, "OK")
            self.states[alarm.name] = found.state
            if found.state == before:
                continue
            log.warning("alarm %s is %s (%s %s)", alarm.name, found.state, alarm.statistic, found.values)
            for topic in topics:
                await asyncio.to_thread(_publish, topic, alarm, before, found.state, found.values, now)
        return self.states

    async def _run(self) -> None:
        due = time.time() + EVALUATE_SECONDS
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                if time.time() >= due:
                    due += EVALUATE_SECONDS
                    await self.evaluate(time.time())
                else:
                    await asyncio.to_thread(self._flush)
            except Exception:
                log.exception("metrics could not be written or alarms not evaluated; it is tried again")

    def _flush(self) -> None:
        counts, self._counts = self._counts, Counter()
        by_namespace: dict[str, list[Datum]] = {}
        for (namespace, metric, dimension, value), count in counts.items():
            datum = Datum(metric, float(count), "Count", "count", {dimension: value})
            by_namespace.setdefault(namespace, []).append(datum)
        for namespace, data in by_namespace.items():
            self._spool.write(namespace, data)


def _publish(
    topic: LocalTopic, alarm: Alarm, before: str, state: str, values: Sequence[float | None], now: float
) -> None:
    # The message has the fields of a CloudWatch alarm notification that people match on.
    body = {
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "NewStateValue": state,
        "OldStateValue": before,
        "NewStateReason": f"{alarm.statistic} {list(values)} {alarm.comparison} {alarm.threshold}",
        "StateChangeTime": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        "Trigger": {
            "Namespace": alarm.namespace,
            "MetricName": alarm.metric,
            "Dimensions": [{"name": name, "value": value} for name, value in alarm.dimensions.items()],
        },
    }
    subject = f'{state}: "{alarm.name}"'
    try:
        topic.publish(subject if len(subject) < 100 else subject[:99], body)
    except ToolkitError:
        log.exception("the alarm %s could not be published to the topic %s", alarm.name, topic.name)
