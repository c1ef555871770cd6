"""What happened in an execution, for assertions."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import orjson

__all__ = ["Run", "Visit"]


@dataclass(frozen=True)
class Visit:
    """A state that was entered. `output` is None when it was not left."""

    name: str
    type: str
    input: Any
    output: Any = None
    left: bool = False


class Run:
    """An execution that ended."""

    def __init__(self, record: Any, events: list[dict[str, Any]]) -> None:
        self.status: str = record.status
        """SUCCEEDED, FAILED, TIMED_OUT or ABORTED."""
        self.error: str | None = record.error
        self.cause: str | None = record.cause
        self.output: Any = None if record.output is None else orjson.loads(record.output)
        self.events = events
        """The history, as GetExecutionHistory gives it."""
        self.elapsed: float = record.stop_date - record.start_date
        """Seconds of virtual time."""

    def __repr__(self) -> str:
        return f"<Run {self.status} {self.error or self.output!r}>"

    @property
    def succeeded(self) -> bool:
        """Whether it SUCCEEDED."""
        return self.status == "SUCCEEDED"

    @property
    def visited(self) -> list[str]:
        """The names of the states that were entered, in order; a retry does not enter a state again."""
        return [visit.name for visit in self.visits()]

    def visits(self, name: str | None = None) -> list[Visit]:
        """The states that were entered, or each time one of them was."""
        outputs = {}
        open_at: dict[str, list[int]] = {}
        entered: list[tuple[int, str, dict[str, Any]]] = []
        for event in self.events:
            if (details := event.get("stateEnteredEventDetails")) is not None:
                entered.append((event["id"], event["type"].removesuffix("StateEntered"), details))
                open_at.setdefault(details["name"], []).append(event["id"])
            elif (details := event.get("stateExitedEventDetails")) is not None:
                waiting = open_at.get(details["name"])
                if waiting:
                    outputs[self._entry(event, waiting)] = details.get("output")
        return [
            Visit(
                details["name"],
                type,
                orjson.loads(details.get("input") or "null"),
                orjson.loads(outputs.get(id) or "null"),
                id in outputs,
            )
            for id, type, details in entered
            if name is None or details["name"] == name
        ]

    def _entry(self, event: dict[str, Any], waiting: list[int]) -> int:
        """Which of the open entries of a state an Exited event belongs to: the one its chain of events leads back to."""
        by_id = {one["id"]: one for one in self.events}
        id: int = event["previousEventId"]
        while id not in waiting and id in by_id and id != 0:
            id = by_id[id]["previousEventId"]
        if id in waiting:
            waiting.remove(id)
            return id
        return waiting.pop()

    @property
    def counts(self) -> Counter[str]:
        """How often each type of event is in the history."""
        return Counter(event["type"] for event in self.events)

    # -- assertions

    def assert_succeeded(self, output: Any = ...) -> None:
        """It SUCCEEDED, with this output if one is given."""
        assert self.status == "SUCCEEDED", self.story()
        if output is not ...:
            assert self.output == output, self.story()

    def assert_failed(self, error: str | None = None, cause: str | None = None) -> None:
        """It FAILED, with this error, and a cause in which this regular expression is found."""
        assert self.status == "FAILED", self.story()
        if error is not None:
            assert self.error == error, self.story()
        if cause is not None:
            assert re.search(cause, self.cause or ""), self.story()

    def assert_visited(self, *names: str) -> None:
        """These states were entered, in this order; others may be between them."""
        rest = iter(self.visited)
        missing = [name for name in names if name not in rest]
        assert not missing, f"not visited in this order: {missing}\n{self.story()}"

    def story(self) -> str:
        """The history in lines, for a failed assertion's message."""
        start = self.events[0]["timestamp"] if self.events else 0
        lines = [f"{self.status} {self.error or ''} {self.cause or ''}".rstrip()]
        for event in self.events:
            details: dict[str, Any] = next((value for key, value in event.items() if key.endswith("EventDetails")), {})
            told = {
                key: value
                for key, value in details.items()
                if key in ("name", "resource", "input", "output", "error", "cause") and value is not None
            }
            text = " ".join(f"{key}={str(value)[:120]}" for key, value in told.items())
            lines.append(f"{event['timestamp'] - start:10.3f} {event['id']:4} {event['type']} {text}")
        return "\n".join(lines)
