"""What must hold of a data directory after crashes, read without the server.

`Observer` looks at copies taken while the server is dead and holds every later one against them; `verify` judges the end.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from stepwell.engine import Engine
from stepwell.engine.launching import identity_of
from stepwell.engine.mapruns import pointer_of
from stepwell.engine.packing import unpack
from stepwell.engine.rows import ExecutionRow
from stepwell.interpreter import events, start
from stepwell.interpreter.effects import EmitHistory

from .generation import RETRY_DELAY, Suite
from .traffic import Facts

ENDED = ("ExecutionSucceeded", "ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut")
_KEY_BITS = 24


class Violation(AssertionError):
    """A promise was broken."""


def require(condition: object, text: str) -> None:
    if not condition:
        raise Violation(text)


class Observer:
    """Histories as they were at earlier crashes. What was on disk then must be the beginning of what is on disk later."""

    def __init__(self) -> None:
        self.open: dict[int, bytes] = {}
        """Execution -> its history so far."""
        self.results: dict[str, int] = {}
        """Call of a function whose result was on disk -> the number of the server that had it."""
        self.looks = 0
        self.last = 0
        """The newest execution seen."""

    def look(self, directory: Path, server: int) -> None:
        """Compare a copy with what was seen before. `server` numbers the server that died."""
        self.looks += 1
        connection = sqlite3.connect(directory / "journal.db")
        try:
            require(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), "the journal is damaged")
            statuses = dict(connection.execute("SELECT id, status FROM executions"))
            wanted = [id for id in statuses if id in self.open or id > self.last]
            for id in self.open:
                require(id in statuses, f"execution {id} is gone")
            for id in wanted:
                self._compare(connection, id, statuses[id], server)
            self.last = max(statuses, default=0)
        finally:
            connection.close()

    def _compare(self, connection: sqlite3.Connection, id: int, status: str, server: int) -> None:
        rows = connection.execute(
            "SELECT data FROM history WHERE key BETWEEN ? AND ? ORDER BY key",
            (id << _KEY_BITS, (id + 1 << _KEY_BITS) - 1),
        )
        text = b"".join(unpack(row[0])[1:-1] + b"," for row in rows)
        before = self.open.pop(id, b"")
        require(text.startswith(before), f"the history of execution {id} on disk has changed")
        for call in re.findall(rb'\\"call\\":\\"([0-9a-f-]+)\\"', text[len(before) :]):
            self.results.setdefault(call.decode(), server)
        if status == "RUNNING":
            self.open[id] = text


class Calls:
    """What the functions have left: each call with the server that made it."""

    def __init__(self, effects: Path, servers: list[int]) -> None:
        self.by_request: dict[str, list[int]] = defaultdict(list)
        self.total = 0
        for path in effects.glob("*-*.log"):
            for line in path.read_text().splitlines():
                _, pid, request, _, _, _ = json.loads(line)
                require(pid in servers, f"a function was called by process {pid}, which is no server")
                self.by_request[request].append(servers.index(pid))
                self.total += 1

    def check(self, results: dict[str, int]) -> int:
        """One call per attempt and server, none after its result was on disk; gives how often one was made again."""
        again = 0
        for request, servers in self.by_request.items():
            require(len(servers) == len(set(servers)), f"attempt {request} was called twice without a crash between")
            again += len(servers) - 1
            last = results.get(request)
            require(
                last is None or max(servers) <= last, f"attempt {request} was called again after its result was on disk"
            )
        return again


async def verify(directory: Path, suite: Suite, facts: Facts | None) -> Counter[str]:
    """Judge a data directory, at the end (with the facts) or as it was at some moment (without). Raises Violation.

    Gives what was counted.
    """
    connection = sqlite3.connect(directory / "journal.db")
    require(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), "the journal is damaged")
    if not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        return Counter()  # torn before its first page
    rows = [
        ExecutionRow(*row)
        for row in connection.execute("SELECT * FROM executions WHERE resource NOT LIKE '%:express' ORDER BY id")
    ]
    connection.close()
    counts: Counter[str] = Counter()
    marks: Counter[str] = Counter()
    nested: Counter[str] = Counter()
    async with Engine.open(directory, mode="read") as engine:
        for row in rows:
            counts["executions"] += 1
            counts[row.status] += 1
            history = stored_history(engine, row)
            check_replay(engine, row, history)
            if row.status != "RUNNING":
                check_history(row, history)
                check_outcome(row, suite)
            require(facts is None or row.status != "RUNNING", f"{row.resource}:{row.name} has not ended")
            counts["events"] += len(history)
            counts["children"] += row.map_run is not None
            for event in history:
                if event.get("taskScheduledEventDetails", {}).get("resourceType") == "states":
                    nested[orjson.loads(row.input)["x"]] += 1
                if event["type"] in ("TaskSucceeded", "ActivitySucceeded"):
                    details = event.get("taskSucceededEventDetails") or event["activitySucceededEventDetails"]
                    marks.update(re.findall(r'"mark":\s*"([0-9a-f]{32})"', details.get("output", "")))
        counts["scheduled"] = check_schedule([row for row in rows if row.resource == "ticks"])
        if facts is not None:
            check_map_runs(engine, rows)
            check_nested(rows, nested)
            check_facts(rows, marks, facts)
    return counts


def check_facts(rows: list[ExecutionRow], marks: Counter[str], facts: Facts) -> None:
    """Everything that was acknowledged is there, once."""
    found = {(row.resource, row.name): row for row in rows}
    require(len(found) == len(rows), "two executions have one name")
    for name, (machine, _) in facts.started.items():
        require((machine, name) in found, f"the start of {name} was acknowledged and is lost")
    for mark, name in facts.marks.items():
        require(marks[mark] == 1, f"the acknowledged answer {mark} of {name} is there {marks[mark]} times")
    for mark, count in marks.items():
        require(count == 1, f"the answer {mark} was applied {count} times")
        require(mark in facts.marks or mark in facts.open_marks, f"the answer {mark} was refused, and applied")
    for name in facts.stopped:
        status = found["stopped", name].status
        require(status == "ABORTED", f"the stop of {name} was acknowledged, and it is {status}")


def stored_history(engine: Engine, row: ExecutionRow) -> list[dict[str, Any]]:
    chunks = engine.journal.history(row.id, 1, 1 << 30)
    return [event for _, _, data in chunks for event in orjson.loads(data)]


def check_replay(engine: Engine, row: ExecutionRow, history: list[dict[str, Any]]) -> None:
    """The inputs alone give the same history, status and output."""
    pointer = "" if row.map_run is None else pointer_of(engine.journal, row.map_run)
    parent = None if row.parent is None else engine.journal.execution(row.parent)
    parent_arn = None if parent is None else engine.arns.execution(parent.resource, parent.name)
    execution, effects = start(
        engine.registry.compiled(row.revision, pointer),
        row.input,
        identity_of(row, engine.registry, parent_arn),
        at=row.start,
        seed=row.seed,
    )
    fired: set[int] = set()
    numbers = []
    for number, data in engine.journal.inputs(row.id):
        numbers.append(number)
        event = events.decode(data)
        if isinstance(event, events.TimerFired):
            require(event.timer not in fired, f"timer {event.timer} of {row.name} fired twice")
            fired.add(event.timer)
        effects += execution.handle(event)
    require(numbers == list(range(1, len(numbers) + 1)), f"the inputs of {row.name} have a gap: {numbers}")
    again = [event for effect in effects if isinstance(effect, EmitHistory) for event in effect.events]
    require(orjson.dumps(again) == orjson.dumps(history), f"the history of {row.name} is not what its inputs give")
    require(execution.status == row.status, f"{row.name} is {row.status}, its inputs give {execution.status}")
    require(execution.output == row.output, f"the output of {row.name} is not what its inputs give")


def check_history(row: ExecutionRow, history: list[dict[str, Any]]) -> None:
    """Gapless, pointing back, whole, in order of time; waits and retries never early."""
    name = f"{row.resource}:{row.name}"
    require([event["id"] for event in history] == list(range(1, len(history) + 1)), f"the history of {name} has gaps")
    require(history[0]["type"] == "ExecutionStarted", f"the history of {name} has no beginning")
    require(history[-1]["type"] in ENDED, f"the history of {name} has no end")
    require(not any(event["type"] in ENDED for event in history[:-1]), f"{name} ended twice")
    times = [event["timestamp"] for event in history]
    require(times == sorted(times), f"the history of {name} goes back in time")
    by_id = {event["id"]: event for event in history}
    entered: Counter[str] = Counter()
    exited: Counter[str] = Counter()
    waits: dict[str, list[float]] = defaultdict(list)
    for event in history[1:]:
        previous = event["previousEventId"]
        require(0 <= previous < event["id"], f"event {event['id']} of {name} points to {previous}")
        if "stateEnteredEventDetails" in event:
            state = event["stateEnteredEventDetails"]["name"]
            entered[state] += 1
            if event["type"] == "WaitStateEntered":
                waits[state].append(event["timestamp"])
        if "stateExitedEventDetails" in event:
            state = event["stateExitedEventDetails"]["name"]
            exited[state] += 1
            if event["type"] == "WaitStateExited":
                # Iterations of a Map wait side by side, and end in the order they began.
                began = waits[state].pop(0)
                match = re.match(r"Wait(\d+)s", state)
                seconds = int(match[1]) if match else 1
                require(
                    event["timestamp"] - began >= seconds - 1e-3, f"{state} of {name} went on early: {event}, {began}"
                )
        if event["type"] in ("LambdaFunctionScheduled", "ActivityScheduled", "TaskScheduled") and previous:
            cause = by_id[previous]
            if cause["type"].endswith(("Failed", "TimedOut")):
                early = event["timestamp"] - cause["timestamp"] < RETRY_DELAY - 1e-3
                require(not early, f"a retry of {name} came early: {event}")
    if row.status == "SUCCEEDED":
        require(entered == exited, f"states of {name} were entered and not left, or twice: {entered - exited}")


def check_outcome(row: ExecutionRow, suite: Suite) -> None:
    """The state that the definition dictates."""
    if row.resource == "ticks" or row.map_run is not None:
        require(row.status == "SUCCEEDED", f"{row.resource}:{row.name} is {row.status}: {row.error} {row.cause}")
        return
    given = orjson.loads(row.input)
    expected = suite.expected(row.resource, given["x"], given["n"])
    found = (row.status, row.error if expected.error else None, orjson.loads(row.output) if row.output else None)
    require(
        found == (expected.status, expected.error, expected.output),
        f"{row.resource}:{row.name} must be {expected}, and is {row.status} {row.error} {row.cause} {row.output!r}",
    )


def check_map_runs(engine: Engine, rows: list[ExecutionRow]) -> None:
    """A map run has counted what its children are."""
    children: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row.map_run is not None:
            children[row.map_run][row.status] += 1
    for arn, statuses in children.items():
        record = engine.map_runs.describe(arn)
        total = sum(statuses.values())
        counted = (record.status, record.execution_counts["succeeded"], record.execution_counts["total"])
        require(counted == ("SUCCEEDED", total, total), f"{arn} says {counted}, and its children are {statuses}")


def check_nested(rows: list[ExecutionRow], nested: Counter[str]) -> None:
    """As many nested executions as their parents' histories have: none was started twice for one attempt."""
    found = Counter(orjson.loads(row.input)["x"] for row in rows if row.resource == "leaf")
    require(found == nested, f"nested executions: {found - nested} more, {nested - found} fewer than histories say")


def check_schedule(rows: list[ExecutionRow]) -> int:
    """Each minute from the first due time to the last has its one execution, never before its time."""
    dues = []
    for row in rows:
        due = datetime.strptime(row.name[-16:], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        require(row.start >= due.timestamp() * 1000, f"{row.name} was started early")
        dues.append(due)
    dues.sort()
    for one, other in pairwise(dues):
        require(other - one == timedelta(minutes=1), f"due times between {one} and {other} started nothing")
    return len(dues)
