"""One execution of a state machine as a pure state machine: events in, effects out.

Theory of operation
===================

An execution is a tree of frames (`frames`). A frame is one thread of states: the machine itself, a branch of a Parallel
state or an iteration of an inline Map. `handle` finds the frame an event is for (a command or timer number says which),
lets it go on, and then runs every frame that can move until all of them wait for something: an answer to a task, a
timer, their children. What they decide on the way becomes effects; what AWS would record becomes history events.

A frame that can move is in the queue `ready`. Taking it from there enters its state; each type of state is one
function in `states`, `tasks`, `parallels`, `maps` or `mapruns`. Such a function records the Entered event,
evaluates the state's fields and ends in one of four ways:

* `leave`: the output is known. Variables are assigned, the Exited event is recorded, and the frame stands before the
  next state, or is done, which its parent learns.
* it waits: a task is under way (`tasks`), a timer runs (Wait), or children do (`parallels`, `maps`, `mapruns`).
* a `StatesError`: `failures.fault` turns it into AWS's error and cause, and Retry, Catch or the parent deal with it.
* `fail`: the execution is over. So it is after `States.Runtime`, which nothing catches.

The chain of `previousEventId` is per thread: `frame.previous` is the last event of the thread. A joined Parallel
continues from the last event of the branch that finished last, a Map from the `MapIterationSucceeded` of the iteration
that did; while there are iterations left, the next one's `MapIterationStarted` hangs from the last state of the one
that made room. `MapStateSucceeded` and `ParallelStateSucceeded` hang beside the chain, they are nobody's predecessor.
This is what AWS records; the recordings in the conformance suite say so for each type of event.

Nothing here looks at a clock or draws random numbers: `at` and `seed` of the event are all there is. A run of pure
states is cut after `BREATH` states by a timer that is due at once, so that an endless loop in an EXPRESS execution
neither blocks its host nor outlives its timeout.

Cost: handling an event touches the frames on its path and no others. Payloads are shared, never copied, and their
text is made once (`payload`). `storage` writes each changed frame as a record of its own.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from stepwell.interpreter import (
    context,
    failures,
    lifecycle,
    mapruns,
    maps,
    parallels,
    states,
    storage,
    tasks,
    variables,
)
from stepwell.interpreter.effects import AnyEffect, CancelTimer, EmitHistory
from stepwell.interpreter.events import (
    AnyEvent,
    ChildFinished,
    ItemsRead,
    MapRunChanged,
    Redriven,
    ResultsWritten,
    StopRequested,
    TaskFailed,
    TaskHeartbeat,
    TaskQueued,
    TaskStarted,
    TaskSubmitted,
    TaskSucceeded,
    TimerFired,
)
from stepwell.interpreter.failures import Failure, data_limit
from stepwell.interpreter.frames import FRAME_BITS, ROOT, Frame, Phase
from stepwell.interpreter.identity import Identity
from stepwell.interpreter.payload import LIMIT, Payload
from stepwell.interpreter.randomness import Random
from stepwell.language.errors import RUNTIME, StatesError
from stepwell.language.scope import EMPTY, Evaluator, Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stepwell.language.model import Machine, State

__all__ = ["BREATH", "HISTORY_LIMIT", "Execution", "load", "load_records", "start"]

HISTORY_LIMIT = 25_000
"""Events a STANDARD execution may have; the last one is an end of the execution."""

BREATH = 1_000
"""States entered in one call of `handle` before the host gets its turn."""

_COMPLETE = {"truncated": False}


class HistoryFull(Exception):
    """There is room for one more event in the history, and it must end the execution."""


class Execution:
    """A running (or ended) execution. Made by `start` or `load`; not thread-safe."""

    __slots__ = (
        "_at",
        "_events",
        "_random",
        "_seed",
        "_stamp",
        "breath_due",
        "breath_timer",
        "budget",
        "cause",
        "changes",
        "deadline",
        "effects",
        "error",
        "event_count",
        "event_limit",
        "frames",
        "identity",
        "input",
        "inspection",
        "machine",
        "next_frame",
        "output",
        "ready",
        "redrive_count",
        "redrive_time",
        "status",
        "timeout_timer",
        "variables_size",
    )

    def __init__(self, machine: Machine, identity: Identity, input: Payload) -> None:
        self.machine = machine
        self.identity = identity
        self.input = input
        self.status = "RUNNING"
        """RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED."""
        self.output: bytes | None = None
        self.error: str | None = None
        self.cause: str | None = None
        self.redrive_count = 0
        self.redrive_time: int | None = None
        """Milliseconds since the epoch of the last redrive."""
        self.event_count = 0
        """How many history events were emitted so far (the id of the last one)."""
        self.event_limit = HISTORY_LIMIT if identity.type == "STANDARD" else 1 << 62
        self.frames: dict[int, Frame] = {}
        self.next_frame = ROOT
        self.ready: deque[Frame] = deque()
        self.variables_size = 0
        self.timeout_timer: int | None = None
        self.deadline: int | None = None
        self.breath_timer: int | None = None
        self.breath_due = 0
        self.budget = BREATH
        self.effects: list[AnyEffect] = []
        self.changes = storage.Changes()
        self.inspection: dict[str, Any] | None = None
        """Where intermediate values are noted for a TestState; None in an ordinary execution."""
        self._events: list[dict[str, Any]] = []
        self._at = 0
        self._seed = 0
        self._stamp = 0.0
        self._random: Random | None = None

    # -- the interface of hosts

    def handle(self, event: AnyEvent) -> list[AnyEffect]:
        """What follows from an event. An event that nothing waits for has no effects.

        Each call gives at most one Finish; another can only come after a Redriven.
        """
        if self.status != "RUNNING" and not isinstance(event, Redriven):
            return []
        self.begin(event.at, event.seed)
        try:
            _HANDLERS[type(event)](self, event)
            self.run()
        except HistoryFull:
            lifecycle.history_full(self)
        return self.finish_step()

    def pending(self) -> list[AnyEffect]:
        """Every effect that is still without an answer: tasks, timers, reads, children, writes, as they were first given."""
        return lifecycle.pending(self)

    def awaits(self, command: int, nonce: str | None = None) -> bool:
        """Whether an answer (success, failure, heartbeat) to this attempt would still count.

        With a `nonce`, whether the holder of the token with this nonce may answer.
        """
        if self.status != "RUNNING":
            return False
        frame = self.frames.get(command >> FRAME_BITS)
        if frame is None:
            return False
        attempt = frame.attempt
        if attempt is not None and attempt.command == command:
            return nonce is None or attempt.nonce == nonce
        return nonce is None and frame.map_run is not None and frame.map_run.awaits(command)

    def dump(self) -> bytes:
        """The whole state as bytes, from which `load` continues identically; does not touch what `dump_changes` gives."""
        return storage.dump(self)

    def dump_changes(self) -> dict[str, bytes | None]:
        """The records that changed since the last call (all, on the first), by key; None for a removed one.

        For hosts that store frames apart: `load_records` takes the current records back.
        """
        return storage.dump_changes(self)

    # -- one step: begin, move, collect

    def begin(self, at: int, seed: int) -> None:
        self._at = at
        self._seed = seed
        self._stamp = at / 1000
        self._random = None
        self._events = []
        self.effects = []
        self.budget = BREATH

    def finish_step(self) -> list[AnyEffect]:
        """The effects of this step: the history first, the end last."""
        effects = self.effects
        self.effects = []
        if self._events:
            effects.insert(0, EmitHistory(self._events))
            self._events = []
        if self.status == "RUNNING":
            lifecycle.guard(self, effects)
        return effects

    def run(self) -> None:
        """Let every frame that can move go on until it waits."""
        ready = self.ready
        touch = self.changes.touch
        while ready:
            frame = ready.popleft()
            reenter = frame.phase == Phase.REENTER
            if not reenter and frame.phase != Phase.READY:
                continue  # cut off while it was in the queue
            touch(frame)
            while True:
                self.budget -= 1
                if self.budget < 0:
                    frame.phase = Phase.REENTER if reenter else Phase.READY
                    ready.appendleft(frame)
                    lifecycle.breathe(self)
                    return
                frame.phase = Phase.STUCK
                try:
                    if not _ENTER[frame.state.TYPE](self, frame, frame.state, reenter):
                        break
                except StatesError as error:
                    failures.fault(self, frame, error)
                    break
                except RecursionError:
                    failures.fault(self, frame, StatesError(RUNTIME, "The state's data is nested too deeply."))
                    break
                reenter = False

    @property
    def at(self) -> int:
        """The time of this step, milliseconds since the epoch."""
        return self._at

    @property
    def random(self) -> Random:
        """The randomness of this step."""
        if self._random is None:
            self._random = Random(self._seed)
        return self._random

    # -- history

    def record(self, type: str, previous: int, key: str | None = None, details: dict[str, Any] | None = None) -> int:
        """Record a history event and give its id."""
        number = self.event_count + 1
        if number >= self.event_limit and type != "ExecutionSucceeded":
            raise HistoryFull
        return self.record_last(type, previous, key, details)

    def record_last(
        self, type: str, previous: int, key: str | None = None, details: dict[str, Any] | None = None
    ) -> int:
        """Record an event without a look at the limit: the end of the execution always has its place."""
        self.event_count = number = self.event_count + 1
        event: dict[str, Any] = {"timestamp": self._stamp, "type": type, "id": number, "previousEventId": previous}
        if key is not None:
            event[key] = details
        self._events.append(event)
        return number

    def enter(self, frame: Frame, state: State) -> None:
        """Record that a frame enters its state."""
        number = self.event_count + 1
        if number >= self.event_limit:
            raise HistoryFull
        self.event_count = number
        previous = frame.previous
        self._events.append(
            {
                "timestamp": self._stamp,
                "type": _ENTERED[state.TYPE],
                "id": number,
                "previousEventId": previous,
                "stateEnteredEventDetails": {
                    "name": state.name,
                    "input": frame.input.text,
                    "inputDetails": _COMPLETE,
                },
            }
        )
        frame.entered_previous = previous
        frame.previous = frame.entered = number
        frame.entered_at = self._at

    def leave(
        self, frame: Frame, output: Payload, assign: Evaluator | None, scope: Scope | None, following: str | None
    ) -> bool:
        """A state is done: assign, record, go on. True when the frame stands before its next state.

        `scope` is what `assign` sees. Raises StatesError when the output or a variable is too big.
        """
        state = frame.state
        text = output.text
        # A character has four bytes at most: only long texts must be counted.
        if len(text) > LIMIT // 4 and output is not frame.input and output.size > LIMIT:
            raise data_limit(state.name)
        details: dict[str, Any] = {"name": state.name, "output": text, "outputDetails": _COMPLETE}
        if assign is not None and scope is not None:
            values = assign(scope)
            if values:
                details["assignedVariables"] = variables.assign(self, frame, values)
                details["assignedVariablesDetails"] = _COMPLETE
        number = self.event_count + 1
        if number >= self.event_limit:
            raise HistoryFull
        self.event_count = number
        self._events.append(
            {
                "timestamp": self._stamp,
                "type": _EXITED[state.TYPE],
                "id": number,
                "previousEventId": frame.previous,
                "stateExitedEventDetails": details,
            }
        )
        frame.previous = number
        if frame.retries is not None:
            frame.retries = None
        frame.retry_count = 0
        frame.input = output
        if following is None:
            self.frame_done(frame, output)
            return False
        frame.state = frame.workflow.states[following]
        return True

    # -- evaluation

    def scope(
        self,
        frame: Frame,
        document: Any,
        *,
        states: Mapping[str, Any] = EMPTY,
        token: str | None = None,
        item: dict[str, Any] | None = None,
    ) -> Scope:
        """What the expressions of a frame's state see."""
        return Scope(
            document,
            context_factory=lambda: context.build(self, frame, token=token, item=item),
            variables=frame.variables,
            random=self._random if self._random is not None else self.random,
            states=states,
            now=self.at,
        )

    # -- frames

    def go(self, frame: Frame, *, again: bool = False) -> None:
        """Let a frame enter its state as soon as it is its turn; `again` when the state was entered before."""
        frame.phase = Phase.REENTER if again else Phase.READY
        self.ready.append(frame)

    def spawn(self, parent: Frame | None, index: int, workflow: Any, input: Payload, previous: int) -> Frame:
        """A new frame, standing before the first state of its workflow."""
        number = self.next_frame
        self.next_frame += 1
        frame = Frame(number, None if parent is None else parent.number, index, workflow, input)
        frame.previous = previous
        if parent is not None:
            frame.variables = parent.variables
        self.frames[number] = frame
        return frame

    def allot(self, frame: Frame) -> int:
        """The next number for a command or a timer of a frame."""
        frame.numbers += 1
        return (frame.number << FRAME_BITS) | frame.numbers

    def cancel_timer(self, timer: int | None) -> None:
        """Tell the host that a timer is of no interest any more."""
        if timer is not None:
            self.effects.append(CancelTimer(timer))

    def drop(self, frame: Frame) -> None:
        """Forget a frame and everything below it."""
        self.drop_children(frame)
        for payload in frame.own.values():
            self.variables_size -= payload.size
        del self.frames[frame.number]
        frame.phase = Phase.HELD
        self.changes.drop(frame)

    def drop_children(self, frame: Frame) -> None:
        """Forget what a Parallel or Map state had started."""
        children = frame.children
        if children is not None:
            for number in list(children.running.values()):
                self.drop(self.frames[number])
            self.changes.drop_children(frame)
            frame.children = None
        if frame.map_run is not None:
            self.changes.drop_map_run(frame)
            frame.map_run = None

    def frame_done(self, frame: Frame, output: Payload) -> None:
        """The last state of a frame's workflow was left."""
        if frame.parent is None:
            lifecycle.succeed(self, frame, output)
            return
        parent = self.frames[frame.parent]
        if parent.state.TYPE == "Parallel":
            parallels.branch_done(self, parent, frame, output)
        else:
            maps.iteration_done(self, parent, frame, output)

    def frame_failed(self, frame: Frame, failure: Failure) -> None:
        """A frame's state failed, and nothing in the frame caught it."""
        if frame.parent is None:
            self.fail(failure, frame.previous)
            return
        parent = self.frames[frame.parent]
        self.changes.touch(parent)
        if parent.state.TYPE == "Parallel":
            parallels.branch_failed(self, parent, frame, failure)
        else:
            maps.iteration_failed(self, parent, frame, failure)

    def fail(self, failure: Failure, previous: int) -> None:
        """The execution failed."""
        lifecycle.fail(self, failure, previous)


_ENTERED = {
    kind: f"{kind}StateEntered" for kind in ("Pass", "Choice", "Wait", "Succeed", "Fail", "Task", "Parallel", "Map")
}
_EXITED = {kind: f"{kind}StateExited" for kind in ("Pass", "Choice", "Wait", "Succeed", "Task", "Parallel", "Map")}

_ENTER: dict[str, Callable[[Execution, Frame, Any, bool], bool]] = {
    "Pass": states.enter_pass,
    "Choice": states.enter_choice,
    "Wait": states.enter_wait,
    "Succeed": states.enter_succeed,
    "Fail": states.enter_fail,
    "Task": tasks.enter,
    "Parallel": parallels.enter,
    "Map": maps.enter,
}

_HANDLERS: dict[type, Callable[[Execution, Any], None]] = {
    TaskQueued: tasks.queued,
    TaskStarted: tasks.started,
    TaskSubmitted: tasks.submitted,
    TaskSucceeded: tasks.succeeded,
    TaskFailed: tasks.failed,
    TaskHeartbeat: tasks.heartbeat,
    TimerFired: lifecycle.timer_fired,
    ItemsRead: mapruns.items_read,
    ChildFinished: mapruns.child_finished,
    ResultsWritten: mapruns.results_written,
    MapRunChanged: mapruns.changed,
    StopRequested: lifecycle.stop,
    Redriven: lifecycle.redrive,
}


def start(
    machine: Machine, input: bytes, identity: Identity, *, at: int, seed: int
) -> tuple[Execution, list[AnyEffect]]:
    """Begin an execution. `input` is JSON text; `at` milliseconds since the epoch; `seed` 64 random bits.

    The caller has checked that `input` is JSON and within the payload limit (StartExecution refuses it otherwise);
    ValueError when it is not JSON.
    """
    execution = Execution(machine, identity, Payload.of_text(input))
    execution.begin(at, seed)
    lifecycle.begin(execution)
    try:
        execution.run()
    except HistoryFull:
        lifecycle.history_full(execution)
    return execution, execution.finish_step()


def load(machine: Machine, data: bytes) -> Execution:
    """The execution that `dump` wrote, for the same definition. Raises ValueError for a dump of a newer Stepwell."""
    return storage.load(machine, data)


def load_records(machine: Machine, records: Mapping[str, bytes]) -> Execution:
    """The execution whose current records these are (see `Execution.dump_changes`)."""
    return storage.load_records(machine, records)
