"""Distributed Maps: a map run reads items page by page and runs a child execution for each item or batch.

The items never are in memory together: at most a page waits to be started, and a child that runs holds its input. What
a child gave is kept as a result only while all results together could still be the Map's output; with a ResultWriter
the host exports them, and nothing is kept. So a million items cost what their window costs.

`mapfeed` has the front half, from the items to the children; this module has what becomes of them. A child execution is
another `Execution` that the host starts for `StartChild`; `child_identity` says who it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepwell.interpreter.effects import CloseMapRun, StopChild, UpdateMapRun, WriteResults
from stepwell.interpreter.failures import Failure, data_limit, fault, state_failed
from stepwell.interpreter.frames import FRAME_BITS, Frame, Phase
from stepwell.interpreter.mapfeed import (
    fill,
    new_run,
    note_sources,
    open_effect,
    read_ahead,
    read_effect,
    read_items,
    start_effect,
)
from stepwell.interpreter.maprecords import MapRun, Slot
from stepwell.interpreter.numbers import whole
from stepwell.interpreter.payload import LIMIT, Payload, parse
from stepwell.interpreter.states import complete, effective_input
from stepwell.language.errors import (
    EXCEED_TOLERATED_FAILURE_THRESHOLD,
    ITEM_READER_FAILED,
    QUERY_EVALUATION_ERROR,
    RESULT_WRITER_FAILED,
    RUNTIME,
    StatesError,
)

if TYPE_CHECKING:
    from stepwell.interpreter.effects import AnyEffect
    from stepwell.interpreter.events import ChildFinished, ItemsRead, MapRunChanged, ResultsWritten, TaskFailed
    from stepwell.interpreter.execution import Execution
    from stepwell.language.model import MapState

__all__ = [
    "abort",
    "changed",
    "child_finished",
    "enter",
    "halt",
    "items_read",
    "pending",
    "results_written",
    "task_failed",
]

EXCEEDED = "The specified tolerated failure threshold was exceeded"

_OUTCOMES = {"SUCCEEDED": "succeeded", "FAILED": "failed", "TIMED_OUT": "timedOut", "ABORTED": "aborted"}


def enter(x: Execution, frame: Frame, state: MapState, again: bool) -> bool:
    """Open a map run and read or take its first items."""
    if not again:
        x.enter(frame, state)
    elif frame.map_run is not None:
        _redrive(x, frame, frame.map_run)
        return False
    payload, scope = effective_input(x, frame, state)
    items: Any = None
    if state.reader is None:
        items = payload.value if state.items is None else state.items(scope)
        if not isinstance(items, (list, dict)):
            if state.jsonata:
                raise StatesError(QUERY_EVALUATION_ERROR, "The Items field must be an array or an object.", "Items")
            raise StatesError(RUNTIME, f'Reference path "{state.items_text}" must point to array.')
    window = whole(state.max_concurrency, scope) or 0
    if window < 0:
        raise StatesError(RUNTIME, "MaxConcurrency cannot be negative.")
    length = 0 if items is None else len(items)
    frame.previous = x.record("MapStateStarted", frame.previous, "mapStateStartedEventDetails", {"length": length})
    run = new_run(x, frame, state, scope, window)
    run.document = payload.value
    max_items = None
    if state.reader is not None:
        max_items = whole(state.reader.max_items, scope)
        read_items(run, state.reader, max_items, scope)
    elif isinstance(items, dict):
        run.keys = list(items)
        run.page = list(items.values())
    else:
        run.page = items
    run.item_counts.pending = len(run.page)
    frame.map_run = run
    frame.phase = Phase.MAP_RUN
    x.changes.new_map_run(frame)
    x.effects.append(open_effect(x, frame, run, state))
    frame.previous = x.record("MapRunStarted", frame.previous, "mapRunStartedEventDetails", {"mapRunArn": run.arn})
    if max_items is not None and max_items < 0:
        _fail(x, frame, run, Failure(ITEM_READER_FAILED, "field MaxItems must be positive"))
        return False
    _pump(x, frame, run)
    return False


# -- items in, children out


def items_read(x: Execution, event: ItemsRead) -> None:
    """A page of items came."""
    found = _find(x, event.command)
    if found is None or found[1].read_command != event.command:
        return
    frame, run = found
    run.read_command = None
    items = parse(event.items)
    if run.remaining is not None:
        items = items[: run.remaining]
        run.remaining -= len(items)
    run.page = run.page[run.offset :] + items
    run.offset = 0
    if event.sources is not None:
        note_sources(run, run.position + len(run.page) - len(items), event.sources)
    run.item_counts.pending += len(items)
    run.cursor = event.cursor
    run.reading = event.cursor is not None and run.remaining != 0
    x.changes.page(frame)
    _pump(x, frame, run)


def _pump(x: Execution, frame: Frame, run: MapRun) -> None:
    """Start what the window allows, read ahead, and finish when there is nothing left."""
    x.changes.touch_map_run(frame)
    state: MapState = frame.state  # type: ignore[assignment]
    try:
        fill(x, frame, run, state)
    except StatesError as error:
        _stop_children(x, run)
        run.reading = False
        x.effects.append(CloseMapRun(run.arn, "FAILED"))
        fault(x, frame, error)
        return
    read_ahead(x, frame, run)
    _update(x, run)
    if not run.slots and not run.again and not run.reading and run.read_command is None and run.offset >= len(run.page):
        _children_done(x, frame, run)


def _update(x: Execution, run: MapRun) -> None:
    x.effects.append(UpdateMapRun(run.arn, run.item_counts.api(0), run.execution_counts.api(0)))


# -- outcomes


def _find(x: Execution, command: int) -> tuple[Frame, MapRun] | None:
    frame = x.frames.get(command >> FRAME_BITS)
    if frame is None or frame.map_run is None or not frame.map_run.awaits(command):
        return None
    return frame, frame.map_run


def child_finished(x: Execution, event: ChildFinished) -> None:
    """A child execution ended."""
    found = _find(x, event.command)
    if found is None:
        return
    frame, run = found
    slot = run.slots.pop(event.command)
    x.changes.slot(frame, event.command)
    x.changes.touch_map_run(frame)
    outcome = _OUTCOMES[event.status]
    field = "timed_out" if outcome == "timedOut" else outcome
    run.item_counts.move("running", field, slot.items)
    run.execution_counts.move("running", field, 1)
    if event.status == "SUCCEEDED":
        if run.unsuccessful.pop(slot.index, None) is not None:
            x.changes.unsuccessful(frame, slot.index)
        if run.keep_results and event.output is not None:
            _keep(x, frame, run, slot.index, event.output)
    else:
        _remember(x, frame, run, slot)
        if _too_many_failures(run, done=False):
            _fail(x, frame, run, Failure(EXCEED_TOLERATED_FAILURE_THRESHOLD, EXCEEDED))
            return
    _pump(x, frame, run)


def _keep(x: Execution, frame: Frame, run: MapRun, index: int, output: bytes) -> None:
    """Keep a result as long as all together may still be the Map's output."""
    run.results_size += len(output) + 1
    if run.results_size > LIMIT + 1:
        if run.results:
            x.changes.drop_results(frame)
            run.results = {}
        return
    run.results[index] = Payload.of_text(output)
    x.changes.result(frame, index)


def _remember(x: Execution, frame: Frame, run: MapRun, slot: Slot) -> None:
    """Keep what a redrive needs. A STANDARD child keeps its own input; an EXPRESS one is started anew."""
    state: MapState = frame.state  # type: ignore[assignment]
    if state.execution_type == "STANDARD":
        slot.input = None
    run.unsuccessful[slot.index] = slot
    x.changes.unsuccessful(frame, slot.index)


def _too_many_failures(run: MapRun, *, done: bool) -> bool:
    """Whether a threshold is exceeded. A percentage is of all items, so it has to wait until all were read."""
    failed = run.item_counts.unsuccessful
    if not failed:
        return False
    count, percentage = run.tolerated_count, run.tolerated_percentage
    if count is None and percentage is None:
        return True
    if count is not None and failed > count:
        return True
    if percentage is not None and not run.reading and run.read_command is None:
        return failed * 100 > percentage * run.item_counts.total
    return False


def _children_done(x: Execution, frame: Frame, run: MapRun) -> None:
    if _too_many_failures(run, done=True):
        _fail(x, frame, run, Failure(EXCEED_TOLERATED_FAILURE_THRESHOLD, EXCEEDED))
        return
    if run.writer is not None:
        run.write_command = x.allot(frame)
        x.effects.append(_write_effect(run))
        return
    state: MapState = frame.state  # type: ignore[assignment]
    if run.results_size > LIMIT + 1:
        _close(x, frame, run)
        frame.phase = Phase.STUCK
        x.drop_children(frame)
        fault(x, frame, data_limit(state.name))
        return
    results = [run.results[index] for index in sorted(run.results)]
    values = [payload.value for payload in results]
    if run.transformation == "FLATTEN":
        values = [item for value in values for item in (value if isinstance(value, list) else [value])]
        payload = Payload(values)
    else:
        payload = Payload(values, f"[{','.join([payload.text for payload in results])}]")
    _succeed(x, frame, run, payload)


def _write_effect(run: MapRun) -> WriteResults:
    assert run.write_command is not None and run.writer is not None
    return WriteResults(run.write_command, run.arn, run.writer)


def results_written(x: Execution, event: ResultsWritten) -> None:
    """The host exported the results."""
    found = _find(x, event.command)
    if found is None or found[1].write_command != event.command:
        return
    frame, run = found
    run.write_command = None
    total = run.execution_counts.total
    x.effects.append(UpdateMapRun(run.arn, run.item_counts.api(total), run.execution_counts.api(total)))
    _succeed(x, frame, run, Payload.of_text(event.output))


def _close(x: Execution, frame: Frame, run: MapRun) -> None:
    x.changes.touch(frame)
    frame.previous = x.record("MapRunSucceeded", frame.previous)
    x.effects.append(CloseMapRun(run.arn, "SUCCEEDED"))


def _succeed(x: Execution, frame: Frame, run: MapRun, result: Payload) -> None:
    _close(x, frame, run)
    state: MapState = frame.state  # type: ignore[assignment]
    x.record("MapStateSucceeded", frame.previous)
    try:
        frame.phase = Phase.STUCK
        x.drop_children(frame)
        if result.size > LIMIT:
            raise data_limit(state.name)
        if complete(x, frame, state, result):
            x.go(frame)
    except StatesError as error:
        fault(x, frame, error)


# -- ends other than success


def _stop_children(x: Execution, run: MapRun) -> None:
    """Abort the children that run; they can be redriven with the others that did not succeed."""
    for slot in run.slots.values():
        x.effects.append(StopChild(slot.command))


def _park(x: Execution, frame: Frame, run: MapRun) -> None:
    """Nothing is awaited any more; what runs counts as aborted."""
    _stop_children(x, run)
    for slot in list(run.slots.values()):
        run.item_counts.move("running", "aborted", slot.items)
        run.execution_counts.move("running", "aborted", 1)
        x.changes.slot(frame, slot.command)
        _remember(x, frame, run, slot)
    run.slots = {}
    run.read_command = run.write_command = None
    run.again = []
    run.again_from = None
    for counts in (run.item_counts, run.execution_counts):
        counts.aborted += counts.pending_redrive
        counts.pending_redrive = 0
    x.changes.touch_map_run(frame)
    _update(x, run)


def _fail(x: Execution, frame: Frame, run: MapRun, failure: Failure) -> None:
    """The map run failed."""
    x.changes.touch(frame)
    _park(x, frame, run)
    frame.previous = x.record("MapRunFailed", frame.previous, "mapRunFailedEventDetails", failure.details)
    x.effects.append(CloseMapRun(run.arn, "FAILED"))
    frame.phase = Phase.STUCK
    state_failed(x, frame, failure)


def task_failed(x: Execution, event: TaskFailed) -> None:
    """Reading or writing failed."""
    found = _find(x, event.command)
    if found is None:
        return
    frame, run = found
    name = RESULT_WRITER_FAILED if run.write_command == event.command else ITEM_READER_FAILED
    _fail(x, frame, run, Failure(event.error or name, event.cause))


def abort(x: Execution, frame: Frame, last: int) -> None:
    """The Map's thread is cut off."""
    run = frame.map_run
    assert run is not None
    if frame.phase == Phase.MAP_RUN:
        _park(x, frame, run)
        x.record("MapRunAborted", last)
        x.effects.append(CloseMapRun(run.arn, "ABORTED"))


def halt(x: Execution, frame: Frame) -> None:
    """The execution is over."""
    run = frame.map_run
    if run is not None and frame.phase == Phase.MAP_RUN:
        _park(x, frame, run)
        x.effects.append(CloseMapRun(run.arn, "ABORTED"))


def _redrive(x: Execution, frame: Frame, run: MapRun) -> None:
    """Redrive the children that did not succeed, and go on with the items that were never started."""
    state: MapState = frame.state  # type: ignore[assignment]
    run.redrives += 1
    frame.phase = Phase.MAP_RUN
    details = {"mapRunArn": run.arn, "redriveCount": run.redrives}
    frame.previous = x.record("MapRunRedriven", frame.previous, "mapRunRedrivenEventDetails", details)
    x.effects.append(open_effect(x, frame, run, state))
    run.again = sorted(run.unsuccessful, reverse=True)
    for counts in (run.item_counts, run.execution_counts):
        counts.pending_redrive = counts.failed + counts.timed_out + counts.aborted
        counts.failed = counts.timed_out = counts.aborted = 0
    run.again_from = run.again[-1] if run.again else None
    _pump(x, frame, run)


def changed(x: Execution, event: MapRunChanged) -> None:
    """UpdateMapRun."""
    for frame in x.frames.values():
        run = frame.map_run
        if run is None or run.arn != event.map_run_arn or frame.phase != Phase.MAP_RUN:
            continue
        if event.max_concurrency is not None:
            run.max_concurrency = event.max_concurrency
        if event.tolerated_failure_count is not None:
            run.tolerated_count = event.tolerated_failure_count
        if event.tolerated_failure_percentage is not None:
            run.tolerated_percentage = event.tolerated_failure_percentage
        _pump(x, frame, run)
        return


def pending(frame: Frame, run: MapRun) -> list[AnyEffect]:
    """What is still without an answer."""
    state: MapState = frame.state  # type: ignore[assignment]
    effects: list[AnyEffect] = []
    if frame.phase != Phase.MAP_RUN:
        return effects
    if run.read_command is not None:
        effects.append(read_effect(run))
    effects.extend(start_effect(run, state, slot) for slot in run.slots.values())
    if run.write_command is not None:
        effects.append(_write_effect(run))
    return effects
