"""The front half of a map run: evaluating its fields, reading its items, starting its children.

Nothing here ends a map run; a field that can't be evaluated raises StatesError.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from stepwell.interpreter.effects import OpenMapRun, ReadItems, RedriveChild, StartChild
from stepwell.interpreter.failures import data_limit
from stepwell.interpreter.maprecords import STATE_DATA, MapRun, Slot
from stepwell.interpreter.numbers import fraction, whole
from stepwell.interpreter.payload import LIMIT, Payload
from stepwell.language.errors import RUNTIME, StatesError

if TYPE_CHECKING:
    from stepwell.interpreter.effects import AnyEffect
    from stepwell.interpreter.execution import Execution
    from stepwell.interpreter.frames import Frame
    from stepwell.language.model import MapState, Reader
    from stepwell.language.scope import Scope

__all__ = [
    "evaluated",
    "fill",
    "new_run",
    "note_sources",
    "open_effect",
    "read_ahead",
    "read_effect",
    "read_items",
    "source_of",
    "start_effect",
]

WINDOW = 10_000
"""Concurrent children of a map run with MaxConcurrency 0."""

PAGE = 1_000
"""Items asked for at a time."""


def new_run(x: Execution, frame: Frame, state: MapState, scope: Scope, window: int) -> MapRun:
    """The settings of a map run that is about to begin."""
    prefix = x.identity.state_machine_arn.rpartition(":stateMachine:")[0]
    label = state.label or x.random.uuid4()
    count = whole(state.tolerated_count, scope)
    percentage = fraction(state.tolerated_percentage, scope)
    if count is not None and count < 0:
        raise StatesError(RUNTIME, "ToleratedFailureCount cannot be negative.")
    if percentage is not None and not 0 <= percentage <= 100:
        raise StatesError(RUNTIME, "ToleratedFailurePercentage must be between 0 and 100.")
    run = MapRun(
        arn=f"{prefix}:mapRun:{x.identity.state_machine_name}/{label}:{x.random.uuid4()}",
        max_concurrency=window,
        tolerated_count=count,
        tolerated_percentage=percentage,
    )
    if state.batcher is not None:
        run.batch_items = whole(state.batcher.max_items, scope)
        run.batch_bytes = whole(state.batcher.max_bytes, scope)
        for name, most in (("MaxItemsPerBatch", run.batch_items), ("MaxInputBytesPerBatch", run.batch_bytes)):
            if most is not None and most < 1:
                raise StatesError(RUNTIME, f"{name} must be positive.")
        if state.batcher.batch_input is not None:
            run.batch_input = state.batcher.batch_input(scope)
    if state.writer is not None:
        run.transformation = state.writer.config.get("Transformation")
        if state.writer.resource is not None or run.transformation == "NONE":
            run.writer = {"Resource": state.writer.resource, "WriterConfig": dict(state.writer.config)}
            if state.writer.arguments is not None:
                arguments = _object("ResultWriter", state.writer.arguments(scope))
                run.writer["Arguments" if state.jsonata else "Parameters"] = arguments
            run.keep_results = False
    return run


def evaluated(reader: Reader, scope: Scope) -> dict[str, Any]:
    """An ItemReader's fields."""
    found: dict[str, Any] = {"Resource": reader.resource}
    if reader.arguments is not None:
        found["Parameters"] = _object("ItemReader", reader.arguments(scope))
    found["ReaderConfig"] = {} if reader.config is None else reader.config(scope)
    return found


def _object(field: str, value: Any) -> dict[str, Any]:
    """The evaluated arguments of a reader or writer."""
    if isinstance(value, dict):
        return value
    raise StatesError(RUNTIME, f"The {field} arguments must be a JSON object.")


def source_of(reader: dict[str, Any]) -> str:
    """The context object's Map.Item.Source of what an evaluated ItemReader reads."""
    parameters = reader.get("Parameters") or {}
    bucket, key = parameters.get("Bucket"), parameters.get("Key")
    if bucket is None:
        return STATE_DATA
    return f"S3://{bucket}" if key is None else f"S3://{bucket}/{key}"


def read_items(run: MapRun, reader: Reader, max_items: int | None, scope: Scope) -> None:
    """The items come from a reader."""
    run.reader = evaluated(reader, scope)
    run.source = source_of(run.reader)
    run.remaining = max_items or None
    run.reading = True


def open_effect(x: Execution, frame: Frame, run: MapRun, state: MapState) -> OpenMapRun:
    """The effect that makes a map run visible."""
    return OpenMapRun(
        map_run_arn=run.arn,
        command=x.allot(frame),
        state=state.pointer,
        execution_type=state.execution_type,
        max_concurrency=run.max_concurrency,
        tolerated_failure_count=run.tolerated_count,
        tolerated_failure_percentage=run.tolerated_percentage,
        redrive_count=run.redrives,
    )


def read_ahead(x: Execution, frame: Frame, run: MapRun) -> None:
    """Ask for the next page while the one before is being worked on."""
    if not run.reading or run.read_command is not None or len(run.page) - run.offset >= PAGE // 2:
        return
    run.read_command = x.allot(frame)
    x.effects.append(read_effect(run))


def read_effect(run: MapRun) -> ReadItems:
    """The effect that asks for the next page, now or after a restart."""
    assert run.reader is not None and run.read_command is not None
    limit = PAGE if run.remaining is None else min(PAGE, run.remaining)
    return ReadItems(run.read_command, run.arn, run.reader, run.cursor, limit)


def fill(x: Execution, frame: Frame, run: MapRun, state: MapState) -> None:
    """Start as many children as the window allows; those of a redrive first."""
    window = run.max_concurrency or WINDOW
    while run.again and len(run.slots) < window:
        _start_again(x, frame, run, state)
    while len(run.slots) < window:
        batch = _next_batch(x, frame, run, state)
        if batch is None:
            return
        _start_child(x, frame, run, state, *batch)


def _next_batch(x: Execution, frame: Frame, run: MapRun, state: MapState) -> tuple[Payload, int] | None:
    """The input of the next child and its number of items; None when it has to wait for a page, or there is none."""
    available = len(run.page) - run.offset
    if not available:
        return None
    if state.batcher is None:
        return _item(x, frame, run, state, 0), 1
    most = run.batch_items or (1 << 60)
    if available < most and run.reading:
        return None
    batch: dict[str, Any] = {}
    if run.batch_input is not None:
        batch["BatchInput"] = run.batch_input
    limit = min(run.batch_bytes or LIMIT, LIMIT)
    size = Payload({**batch, "Items": []}).size
    items: list[Any] = []
    while len(items) < min(most, available):
        item = _item(x, frame, run, state, len(items))
        size += item.size + (1 if items else 0)
        if items and size > limit:
            break
        items.append(item.value)
    batch["Items"] = items
    return Payload(batch), len(items)


def _item(x: Execution, frame: Frame, run: MapRun, state: MapState, ahead: int) -> Payload:
    value = run.page[run.offset + ahead]
    if state.item_selector is None:
        return Payload(value)
    index = run.position + ahead
    item = {"Index": index, "Value": value, "Source": _source_at(run, index)}
    if run.keys is not None:
        item["Key"] = run.keys[index]
    states = {"input": frame.input.value} if state.jsonata else {}
    return Payload(state.item_selector(x.scope(frame, run.document, states=states, item=item)))


def _source_at(run: MapRun, index: int) -> str:
    place = bisect_right(run.sources, index, key=lambda entry: entry[0])
    return run.sources[place - 1][1] if place else run.source


def note_sources(run: MapRun, first: int, sources: list[tuple[int, str]]) -> None:
    """Remember where the items from index `first` on come from, and forget it of those that were started."""
    started = bisect_right(run.sources, run.position, key=lambda entry: entry[0])
    del run.sources[: max(started - 1, 0)]
    for count, source in sources:
        if not run.sources or run.sources[-1][1] != source:
            run.sources.append((first, source))
        first += count


def _start_child(x: Execution, frame: Frame, run: MapRun, state: MapState, payload: Payload, items: int) -> None:
    if payload.size > LIMIT:
        raise data_limit(state.name)
    slot = Slot(x.allot(frame), run.children, x.random.uuid4(), items, payload.encode())
    run.offset += items
    run.position += items
    run.children += 1
    run.slots[slot.command] = slot
    run.item_counts.move("pending", "running", items)
    run.execution_counts.move(None, "running", 1)
    x.changes.slot(frame, slot.command)
    x.effects.append(start_effect(run, state, slot))


def start_effect(run: MapRun, state: MapState, slot: Slot) -> AnyEffect:
    """The effect that starts a child, now or after a restart; one that was started before is redriven."""
    exported = run.writer is not None
    arn, pointer, kind = run.arn, state.pointer, state.execution_type
    if slot.index in run.unsuccessful:
        return RedriveChild(slot.command, arn, pointer, slot.name, slot.input, kind, slot.items, exported)
    assert slot.input is not None
    return StartChild(slot.command, arn, pointer, slot.name, slot.input, kind, slot.items, exported)


def _start_again(x: Execution, frame: Frame, run: MapRun, state: MapState) -> None:
    """Redrive the next child that did not succeed."""
    old = run.unsuccessful[run.again.pop()]
    run.again_from = run.again[-1] if run.again else None
    slot = Slot(x.allot(frame), old.index, old.name, old.items, old.input)
    run.slots[slot.command] = slot
    run.item_counts.move("pending_redrive", "running", slot.items)
    run.execution_counts.move("pending_redrive", "running", 1)
    x.changes.slot(frame, slot.command)
    x.effects.append(start_effect(run, state, slot))
