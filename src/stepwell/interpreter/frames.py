"""The tree of frames: where every thread of an execution is.

A frame is one sequence of states: the machine itself, a Parallel branch, or an iteration of an inline Map. It stands
in one state at a time. While that state is a Task, the frame has an `Attempt`; while it is a Parallel or an inline
Map it has `Children`, and while it is a distributed Map a `MapRun` (see `mapruns`).

Frames refer to each other by number. Commands and timers carry the number of the frame they belong to
(`number >> FRAME_BITS`), so that an answer finds its frame without a table that grows with the execution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepwell.interpreter.payload import Payload

if TYPE_CHECKING:
    from stepwell.interpreter.maprecords import MapRun
    from stepwell.language.model import State, Workflow

__all__ = [
    "FRAME_BITS",
    "ROOT",
    "Attempt",
    "Children",
    "Frame",
    "Phase",
]

ROOT = 0
FRAME_BITS = 24
"""Commands and timers of a frame are numbered within 24 bits: a STANDARD history has 25,000 events, an EXPRESS
execution five minutes."""


class Phase:
    """What a frame waits for."""

    READY = 0
    """Nothing: it is in the queue of frames that can go on, about to enter its state."""
    TASK = 1
    """The answer to its attempt."""
    WAIT = 2
    """The timer of a Wait state."""
    RETRY = 3
    """The timer of a retry's backoff."""
    CHILDREN = 4
    """Its branches or iterations."""
    MAP_RUN = 5
    """The child executions of a distributed Map."""
    STUCK = 6
    """Nothing: its state is being evaluated, or did not succeed. A redrive lets it go on."""
    HELD = 8
    """Cut off before it entered its state; a redrive lets it."""
    REENTER = 7
    """Like READY, but its state was entered before: after a backoff, or by a redrive."""


class Attempt:
    """One try of a Task state."""

    __slots__ = (
        "arguments",
        "command",
        "credentials",
        "deadline",
        "heartbeat_due",
        "heartbeat_seconds",
        "heartbeat_timer",
        "nonce",
        "queued",
        "started",
        "submitted",
        "timeout_seconds",
        "timeout_timer",
        "token",
    )

    def __init__(self, command: int, arguments: Payload) -> None:
        self.command = command
        self.arguments = arguments
        self.nonce: str | None = None
        self.token: str | None = None
        self.credentials: dict[str, Any] | None = None
        self.timeout_seconds: int | None = None
        self.heartbeat_seconds: int | None = None
        self.timeout_timer: int | None = None
        self.heartbeat_timer: int | None = None
        self.deadline: int | None = None
        """When the timeout is due, milliseconds since the epoch."""
        self.heartbeat_due = 0
        self.queued = True
        """False for an activity task whose host has not said yet that the activity exists."""
        self.started = False
        self.submitted: bytes | None = None


class Children:
    """The branches of a Parallel state, or the iterations of an inline Map.

    Counters and the set of running frames are small; items and results are stored apart (see `storage`), each written
    once, so that one more finished iteration costs the same in a Map of ten and in a Map of a million.
    """

    __slots__ = ("document", "failed", "items", "next", "results", "running", "started", "tolerated", "total", "window")

    def __init__(self, total: int, window: int) -> None:
        self.total = total
        self.window = window
        self.next = 0
        """The index of the first child that was not started yet."""
        self.running: dict[int, int] = {}
        """Frame number by index of the children that run."""
        self.results: dict[int, Payload] = {}
        """Results by index of the children that succeeded."""
        self.failed = 0
        """How many iterations failed and were tolerated."""
        self.tolerated: int = 0
        self.items: list[Any] | None = None
        """A Map's items; None for a Parallel."""
        self.document: Any = None
        """A Map's effective input: `$` of ItemSelector."""


class Frame:
    """One thread of states. `parent` is None for the machine itself."""

    __slots__ = (
        "attempt",
        "children",
        "entered",
        "entered_at",
        "entered_previous",
        "index",
        "input",
        "iteration",
        "map_run",
        "number",
        "numbers",
        "own",
        "parent",
        "phase",
        "previous",
        "retries",
        "retry_count",
        "state",
        "timer",
        "timer_due",
        "variables",
        "workflow",
    )

    def __init__(self, number: int, parent: int | None, index: int, workflow: Workflow, input: Payload) -> None:
        self.number = number
        self.parent = parent
        self.index = index
        """Which branch or iteration of the parent's state this is."""
        self.workflow = workflow
        self.state: State = workflow.states[workflow.start_at]
        self.input = input
        """The raw input of the state."""
        self.phase = Phase.READY
        self.previous = 0
        """The id of the last history event of this thread: the next one's `previousEventId`."""
        self.entered = 0
        self.entered_previous = 0
        self.entered_at = 0
        self.own: dict[str, Payload] = {}
        """The variables assigned in this thread."""
        self.variables: dict[str, Any] = {}
        """The values of all variables visible here; shared with the parent until one is assigned."""
        self.retries: list[int] | None = None
        """How often each retrier of the state was used."""
        self.retry_count = 0
        self.timer: int | None = None
        """The timer of a Wait or of a backoff."""
        self.timer_due = 0
        self.attempt: Attempt | None = None
        self.children: Children | None = None
        self.map_run: MapRun | None = None
        self.iteration: dict[str, Any] | None = None
        """Map.Item of the context object, in an iteration."""
        self.numbers = 0
        """How many commands and timers this frame has had."""
