"""Map states, and inline iterations. `mapruns` has the distributed ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepwell.interpreter import mapruns
from stepwell.interpreter.failures import Failure, fault, state_failed
from stepwell.interpreter.frames import Children, Frame, Phase
from stepwell.interpreter.maprecords import STATE_DATA
from stepwell.interpreter.numbers import fraction, whole
from stepwell.interpreter.parallels import cut_off, finish, resume
from stepwell.interpreter.payload import Payload
from stepwell.interpreter.states import effective_input
from stepwell.language.errors import QUERY_EVALUATION_ERROR, RUNTIME, StatesError

if TYPE_CHECKING:
    from stepwell.interpreter.execution import Execution
    from stepwell.language.model import MapState
    from stepwell.language.scope import Scope

__all__ = ["enter", "items_of", "iteration_done", "iteration_failed", "not_an_array", "tolerance"]

WINDOW = 40
"""Concurrent iterations of an inline Map, whatever MaxConcurrency says beyond it."""


def enter(x: Execution, frame: Frame, state: MapState, again: bool) -> bool:
    """Evaluate the items and start as many iterations as the window allows."""
    if state.distributed:
        return mapruns.enter(x, frame, state, again)
    if not again:
        x.enter(frame, state)
    elif frame.children is not None:
        if not resume(x, frame):
            _start_more(x, frame, frame.previous)
        return False
    payload, scope = effective_input(x, frame, state)
    items = items_of(state, scope, payload)
    if not isinstance(items, list):
        raise not_an_array(state)
    window = whole(state.max_concurrency, scope) or WINDOW
    if window < 0:
        raise StatesError(RUNTIME, "MaxConcurrency cannot be negative.")
    children = Children(len(items), min(window, WINDOW))
    children.tolerated = tolerance(state, scope, len(items))
    children.items = items
    children.document = payload.value
    frame.children = children
    x.changes.new_children(frame)
    frame.previous = x.record("MapStateStarted", frame.previous, "mapStateStartedEventDetails", {"length": len(items)})
    frame.phase = Phase.CHILDREN
    if not items:
        _succeed(x, frame, frame.previous)
    else:
        _start_more(x, frame, frame.previous)
    return False


def items_of(state: MapState, scope: Scope, payload: Payload) -> Any:
    """What the Map iterates over, before it is known to be an array."""
    return payload.value if state.items is None else state.items(scope)


def not_an_array(state: MapState) -> StatesError:
    if state.jsonata:
        return StatesError(QUERY_EVALUATION_ERROR, "The Items field must be an array.", "Items")
    return StatesError(RUNTIME, f'Reference path "{state.items_text}" must point to array.')


def tolerance(state: MapState, scope: Scope, total: int) -> int:
    """How many failed iterations an inline Map puts up with."""
    count = whole(state.tolerated_count, scope)
    percentage = fraction(state.tolerated_percentage, scope)
    if percentage is not None and not 0 <= percentage <= 100:
        raise StatesError(RUNTIME, "ToleratedFailurePercentage must be between 0 and 100.")
    limits = []
    if count is not None:
        limits.append(count)
    if percentage is not None:
        limits.append(int(total * percentage / 100))
    return min(limits, default=0)


def _start_more(x: Execution, frame: Frame, previous: int) -> None:
    state: MapState = frame.state  # type: ignore[assignment]
    children = frame.children
    assert children is not None and children.items is not None
    items = children.items
    while len(children.running) < children.window and children.next < children.total:
        index = children.next
        iteration = {"Index": index, "Value": items[index], "Source": STATE_DATA}
        payload = Payload(items[index])
        if state.item_selector is not None:
            try:
                payload = Payload(state.item_selector(_selector_scope(x, frame, state, iteration)))
            except StatesError as error:
                cut_off(x, frame, None)
                fault(x, frame, error)
                return
        children.next += 1
        details = {"name": state.name, "index": index}
        started = x.record("MapIterationStarted", previous, "mapIterationStartedEventDetails", details)
        child = x.spawn(frame, index, state.processor, payload, started)
        child.iteration = iteration
        children.running[index] = child.number
        x.go(child)


def _selector_scope(x: Execution, frame: Frame, state: MapState, iteration: dict[str, Any]) -> Scope:
    children = frame.children
    assert children is not None
    states = {"input": frame.input.value} if state.jsonata else {}
    return x.scope(frame, children.document, states=states, item=iteration)


def iteration_done(x: Execution, parent: Frame, frame: Frame, output: Payload) -> None:
    """An iteration ended well: its place in the window is free."""
    children = parent.children
    assert children is not None
    x.changes.touch_children(parent)
    del children.running[frame.index]
    children.results[frame.index] = output
    x.changes.result(parent, frame.index)
    last = frame.previous
    details = {"name": parent.state.name, "index": frame.index}
    closed = x.record("MapIterationSucceeded", last, "mapIterationSucceededEventDetails", details)
    x.drop(frame)
    _go_on(x, parent, last, closed)


def _go_on(x: Execution, parent: Frame, last: int, closed: int) -> None:
    """The next iteration hangs from the `last` event in the one before it, the Map's end from that one's closing event."""
    children = parent.children
    assert children is not None
    if children.next < children.total:
        _start_more(x, parent, last)
    elif not children.running:
        _succeed(x, parent, closed)


def _succeed(x: Execution, frame: Frame, last: int) -> None:
    x.record("MapStateSucceeded", last)
    finish(x, frame, last)


def iteration_failed(x: Execution, parent: Frame, frame: Frame, failure: Failure) -> None:
    """An iteration failed: it is tolerated, or all others are cut off and the Map fails the same way."""
    children = parent.children
    assert children is not None
    if children.failed < children.tolerated:
        children.failed += 1
        x.changes.touch_children(parent)
        del children.running[frame.index]
        last = frame.previous
        details = {"name": parent.state.name, "index": frame.index}
        closed = x.record("MapIterationFailed", last, "mapIterationFailedEventDetails", details)
        x.drop(frame)
        _go_on(x, parent, last, closed)
        return
    cut_off(x, parent, frame)
    state_failed(x, parent, failure)
