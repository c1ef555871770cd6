"""Parallel states, and how the threads of a Parallel or a Map are cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.interpreter import mapruns, tasks
from stepwell.interpreter.failures import Failure, data_limit, fault, state_failed
from stepwell.interpreter.frames import Children, Frame, Phase
from stepwell.interpreter.payload import LIMIT, Payload, join
from stepwell.interpreter.states import complete, effective_input
from stepwell.language.errors import StatesError

if TYPE_CHECKING:
    from stepwell.interpreter.execution import Execution
    from stepwell.language.model import ParallelState

__all__ = ["abort", "branch_done", "branch_failed", "cut_off", "enter", "finish", "halt", "resume"]


def enter(x: Execution, frame: Frame, state: ParallelState, again: bool) -> bool:
    """Start every branch."""
    if not again:
        x.enter(frame, state)
    elif frame.children is not None:
        return resume(x, frame)
    payload, scope = effective_input(x, frame, state)
    if state.parameters is not None:
        payload = Payload(state.parameters(scope))
    frame.previous = x.record("ParallelStateStarted", frame.previous)
    children = frame.children = Children(len(state.branches), len(state.branches))
    x.changes.new_children(frame)
    for index, branch in enumerate(state.branches):
        child = x.spawn(frame, index, branch, payload, frame.previous)
        children.running[index] = child.number
        x.go(child)
    children.next = children.total
    frame.phase = Phase.CHILDREN
    return False


def branch_done(x: Execution, parent: Frame, frame: Frame, output: Payload) -> None:
    """A branch ended well; the last one to do so lets the Parallel go on."""
    children = parent.children
    assert children is not None
    x.changes.touch_children(parent)
    del children.running[frame.index]
    children.results[frame.index] = output
    x.changes.result(parent, frame.index)
    last = frame.previous
    x.drop(frame)
    if len(children.results) == children.total:
        x.record("ParallelStateSucceeded", last)
        finish(x, parent, last)


def finish(x: Execution, parent: Frame, last: int) -> None:
    """All children of a Parallel or an inline Map are done: the state's result is the array of theirs."""
    children = parent.children
    assert children is not None
    results = children.results
    if children.failed:
        result = join([results[index] for index in sorted(results)])
    else:
        result = join([results[index] for index in range(children.total)])
    parent.previous = last
    x.changes.touch(parent)
    try:
        parent.phase = Phase.STUCK
        x.drop_children(parent)
        if result.size > LIMIT:
            raise data_limit(parent.state.name)
        if complete(x, parent, parent.state, result):
            x.go(parent)
    except StatesError as error:
        fault(x, parent, error)


def branch_failed(x: Execution, parent: Frame, frame: Frame, failure: Failure) -> None:
    """A branch failed: the others are cut off, and the Parallel fails the same way."""
    cut_off(x, parent, frame)
    state_failed(x, parent, failure)


def cut_off(x: Execution, parent: Frame, failing: Frame | None) -> None:
    """End all children of a state because of one (or because of the state itself), recording what AWS records.

    All events hang from the last event of the failing child. AWS works through what happened before it decides: tasks
    whose time was up at the same moment are recorded as timed out, not as aborted.
    """
    children = parent.children
    assert children is not None
    others = [
        x.frames[number] for index, number in children.running.items() if failing is None or index != failing.index
    ]
    for other in others:
        _expire(x, other)
    last = parent.previous if failing is None else failing.previous
    name = parent.state.name
    iterations = children.items is not None
    if failing is not None:
        if iterations:
            details = {"name": name, "index": failing.index}
            x.record("MapIterationFailed", last, "mapIterationFailedEventDetails", details)
        if failing.state.TYPE == "Task":
            x.record("TaskStateAborted", last)
        failing.phase = Phase.STUCK
        x.changes.touch(failing)
    for other in others:
        if iterations:
            details = {"name": name, "index": other.index}
            x.record("MapIterationAborted", last, "mapIterationAbortedEventDetails", details)
        abort(x, other, last)
    parent.previous = last


def _expire(x: Execution, frame: Frame) -> None:
    """Record the timeouts that are due by now, here and below."""
    attempt = frame.attempt
    if attempt is not None:
        if tasks.due_timer(attempt, x.at):
            tasks.record_timeout(x, frame, attempt, None)
            frame.phase = Phase.STUCK
            x.changes.touch(frame)
    elif frame.children is not None:
        for number in frame.children.running.values():
            _expire(x, x.frames[number])


_ABORTED = {
    "Task": "TaskStateAborted",
    "Wait": "WaitStateAborted",
    "Parallel": "ParallelStateAborted",
    "Map": "MapStateAborted",
}


def abort(x: Execution, frame: Frame, last: int) -> None:
    """Stop a thread and record which of its states were cut off; innermost first."""
    entered = frame.phase not in (Phase.READY, Phase.HELD)
    children = frame.children
    if children is not None:
        for index, number in children.running.items():
            if children.items is not None:
                details = {"name": frame.state.name, "index": index}
                x.record("MapIterationAborted", last, "mapIterationAbortedEventDetails", details)
            abort(x, x.frames[number], last)
    if frame.map_run is not None:
        mapruns.abort(x, frame, last)
    stop_waiting(x, frame)
    kind = _ABORTED.get(frame.state.TYPE)
    if entered and kind is not None:
        x.record(kind, last)


def stop_waiting(x: Execution, frame: Frame) -> None:
    """What a frame waits for is of no interest any more; it keeps its place for a redrive."""
    tasks.abandon(x, frame)
    if frame.timer is not None:
        x.cancel_timer(frame.timer)
        frame.timer = None
    frame.phase = Phase.HELD if frame.phase in (Phase.READY, Phase.HELD) else Phase.STUCK
    x.changes.touch(frame)


def halt(x: Execution) -> None:
    """The execution is over: stop everything that is under way."""
    for frame in x.frames.values():
        if frame.map_run is not None:
            mapruns.halt(x, frame)
        stop_waiting(x, frame)
    x.ready.clear()


def resume(x: Execution, frame: Frame) -> bool:
    """A redrive: the children that did not succeed go on, the others keep their results."""
    children = frame.children
    assert children is not None
    frame.phase = Phase.CHILDREN
    for number in children.running.values():
        child = x.frames[number]
        child.previous = frame.previous
        child.retries = None
        child.retry_count = 0
        x.go(child, again=child.phase != Phase.HELD)
    if not children.running and children.next == children.total:
        finish(x, frame, frame.previous)
    return False
