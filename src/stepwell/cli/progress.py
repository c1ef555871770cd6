"""What a running execution looks like: history events in, a table or plain lines out.

Events are those of GetExecutionHistory. A state's own events are found by following `previousEventId`: each event belongs to
the state of the event before it, unless it enters another one. The table has one row a state, however often a loop enters it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

_FAILED = ("Failed", "TimedOut")
_ATTEMPTS = ("TaskScheduled", "LambdaFunctionScheduled", "ActivityScheduled", "MapRunStarted")


@dataclass(slots=True)
class StateProgress:
    """One state of the definition, however many times it is entered."""

    name: str
    kind: str
    entered: int = 0
    left: int = 0
    failed: int = 0
    retries: int = 0
    items: int = 0
    items_done: int = 0
    items_failed: int = 0
    first: float = 0.0
    last: float = 0.0
    error: str = ""

    @property
    def running(self) -> bool:
        """Whether an entry of this state has not been left yet."""
        return self.entered > self.left + self.failed

    def describe(self) -> str:
        """Its standing in a few words, such as ``7/12 items, 1 retry``."""
        parts: list[str] = []
        if self.kind == "Map":
            parts.append(
                f"{self.items_done}/{self.items} items" + (f", {self.items_failed} failed" if self.items_failed else "")
            )
        if self.entered > 1:
            parts.append(f"{self.left}/{self.entered} times" if self.running else f"{self.entered} times")
        if self.retries:
            parts.append(f"{self.retries} {'retry' if self.retries == 1 else 'retries'}")
        if self.error:
            parts.append(self.error)
        return ", ".join(parts)


@dataclass(slots=True)
class Progress:
    """The standing of one execution."""

    states: dict[str, StateProgress] = field(default_factory=dict)
    status: str = "RUNNING"
    started: float = 0.0
    now: float = 0.0
    _owner: dict[int, StateProgress] = field(default_factory=dict)
    _failures: set[int] = field(default_factory=set)

    def feed(self, event: dict[str, Any]) -> str | None:
        """Take in one event; gives a plain line where it is worth one in a log."""
        kind: str = event["type"]
        stamp = _seconds(event["timestamp"])
        self.now = max(self.now, stamp)
        if kind == "ExecutionStarted":
            self.started = stamp
            return "execution started"
        if kind.startswith("Execution"):
            self.status = {
                "ExecutionSucceeded": "SUCCEEDED",
                "ExecutionFailed": "FAILED",
                "ExecutionTimedOut": "TIMED_OUT",
                "ExecutionAborted": "ABORTED",
                "ExecutionRedriven": "RUNNING",
            }[kind]
            return f"execution {self.status.lower()}{_reason(event)}"
        if kind.endswith("StateEntered"):
            return self._entered(event, kind.removesuffix("StateEntered"), stamp)
        state = self._owner.get(event["previousEventId"])
        if state is None:
            return None
        self._owner[event["id"]] = state
        state.last = stamp
        return self._inside(event, kind, state)

    def _entered(self, event: dict[str, Any], kind: str, stamp: float) -> str:
        name = event["stateEnteredEventDetails"]["name"]
        state = self.states.setdefault(name, StateProgress(name, kind, first=stamp))
        state.entered += 1
        state.last = stamp
        self._owner[event["id"]] = state
        return f"{name} entered"

    def _inside(self, event: dict[str, Any], kind: str, state: StateProgress) -> str | None:
        name = state.name
        if kind.endswith("StateExited"):
            state.left += 1
            return f"{name} done"
        if kind == "MapStateStarted":
            added, before = event["mapStateStartedEventDetails"]["length"], state.items
            state.items += added
            return f"{name} has {added} more items, {state.items} in all" if before else f"{name} has {added} items"
        if kind.startswith("MapIteration"):
            return self._iteration(event, kind, state)
        if kind in _ATTEMPTS:
            if event["previousEventId"] not in self._failures:
                return None
            state.retries += 1
            return f"{name} retried"
        if kind.endswith(("StateFailed", "StateAborted", "StateTimedOut")):
            state.failed += 1
            return f"{name} failed{_reason(event)}"
        if kind.endswith(_FAILED):
            state.error = _error(event)
            self._failures.add(event["id"])
            return f"{name} attempt failed{_reason(event)}"
        return None

    def _iteration(self, event: dict[str, Any], kind: str, state: StateProgress) -> str | None:
        # The last event of an iteration hangs on the state that ended it, inside the Map: the details name the Map.
        name = event[f"{kind[0].lower()}{kind[1:]}EventDetails"]["name"]
        owner = self.states.get(name, state)
        if kind == "MapIterationSucceeded":
            owner.items_done += 1
        elif kind == "MapIterationFailed":
            owner.items_failed += 1
        else:
            return None
        self._owner[event["id"]] = owner
        return f"{name} {owner.items_done + owner.items_failed}/{owner.items} items"

    def table(self) -> Table:
        """A table of the states, one row each, in the order in which they were first entered."""
        from rich.table import Table

        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for state in self.states.values():
            mark = "[cyan]▶[/]" if state.running else "[red]✗[/]" if state.failed else "[green]✓[/]"
            seconds = (self.now if state.running else state.last) - state.first
            table.add_row(mark, state.name, f"[dim]{state.kind}[/]", state.describe(), f"[dim]{seconds:.1f} s[/]")
        return table


def _seconds(stamp: Any) -> float:
    return stamp.timestamp() if hasattr(stamp, "timestamp") else float(stamp)


def _details(event: dict[str, Any]) -> dict[str, Any]:
    return next((value for key, value in event.items() if key.endswith("EventDetails")), {})


def _error(event: dict[str, Any]) -> str:
    return str(_details(event).get("error", ""))


def _reason(event: dict[str, Any]) -> str:
    details = _details(event)
    words = [str(details[key]) for key in ("error", "cause") if details.get(key)]
    text = ": ".join(words)
    return f" ({text if len(text) < 200 else text[:197] + '...'})" if text else ""
