"""An execution as bytes: whole, or as records of which only the changed ones are written.

The records, by key (`n` is a frame's number):

    execution       status, counters, timers: small, written at every step
    input           the execution's input: written once
    f<n>            a frame: where it stands, its input, its variables, its attempt
    c<n>            the counters of a Parallel's or Map's children, and which of them run
    i<n>            a Map's items: written once
    r<n>.<index>    the result of a child: written once
    m<n>            a map run's counters and settings
    p<n>            the page of items a map run is working on
    s<n>.<command>  a child execution that runs
    u<n>.<index>    a child execution that did not succeed

So an event costs the records on its path, however many siblings they have. Every record is a msgpack array or map;
fields are only ever added, with a default. A change beyond that gets a new `VERSION` and an entry in `UPGRADES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from stepwell.interpreter.frames import Attempt, Children, Frame
from stepwell.interpreter.identity import Identity
from stepwell.interpreter.maprecords import STATE_DATA, MapRun, Slot
from stepwell.interpreter.payload import Payload, parse, render
from stepwell.interpreter.states import effective_input

if TYPE_CHECKING:
    from stepwell.interpreter.execution import Execution
    from stepwell.language.model import Machine

__all__ = ["UPGRADES", "VERSION", "Changes", "dump", "dump_changes", "load", "load_records"]

VERSION = 1

Records = Mapping[str, bytes]

UPGRADES: dict[int, Callable[[dict[str, bytes]], dict[str, bytes]]] = {}
"""By version: makes records of the next version out of records of this one."""


class _ExecutionRecord(msgspec.Struct, array_like=True):
    version: int
    identity: Identity
    status: str
    output: bytes | None
    error: str | None
    cause: str | None
    redrive_count: int
    redrive_time: int | None
    event_count: int
    next_frame: int
    ready: list[int]
    variables_size: int
    timeout_timer: int | None
    deadline: int | None
    breath_timer: int | None
    breath_due: int


class _AttemptRecord(msgspec.Struct, array_like=True):
    command: int
    arguments: str | None
    """None when they are the state's input."""
    nonce: str | None
    token: str | None
    credentials: dict[str, Any] | None
    timeout_seconds: int | None
    heartbeat_seconds: int | None
    timeout_timer: int | None
    heartbeat_timer: int | None
    deadline: int | None
    heartbeat_due: int
    queued: bool
    started: bool
    submitted: bytes | None


class _FrameRecord(msgspec.Struct, array_like=True):
    parent: int | None
    index: int
    workflow: str
    state: str
    input: str
    phase: int
    previous: int
    entered: int
    entered_previous: int
    entered_at: int
    own: dict[str, str]
    retries: list[int] | None
    retry_count: int
    timer: int | None
    timer_due: int
    numbers: int
    attempt: _AttemptRecord | None


class _ChildrenRecord(msgspec.Struct, array_like=True):
    total: int
    window: int
    next: int
    running: list[tuple[int, int]]
    failed: int
    tolerated: int


_encode = msgspec.msgpack.Encoder().encode
_execution_decoder = msgspec.msgpack.Decoder(_ExecutionRecord)
_frame_decoder = msgspec.msgpack.Decoder(_FrameRecord)
_children_decoder = msgspec.msgpack.Decoder(_ChildrenRecord)
_slot_decoder = msgspec.msgpack.Decoder(Slot)
_whole_decoder = msgspec.msgpack.Decoder(dict[str, bytes])

_RUN_APART = frozenset({"page", "keys", "document", "slots", "results", "unsuccessful", "again"})
_run_decoder = msgspec.msgpack.Decoder(MapRun)


class Changes:
    """Which records changed since `dump_changes` was called last. Keeps nothing until it was called once."""

    __slots__ = ("dirty", "tracking")

    def __init__(self) -> None:
        self.tracking = False
        self.dirty: dict[str, None] = {}

    def touch(self, frame: Frame) -> None:
        """A frame changed."""
        if self.tracking:
            self.dirty[f"f{frame.number}"] = None

    def touch_children(self, frame: Frame) -> None:
        """The counters of a frame's children changed."""
        if self.tracking:
            self.dirty[f"c{frame.number}"] = None

    def touch_map_run(self, frame: Frame) -> None:
        """The counters of a frame's map run changed, and the numbers it gave out."""
        if self.tracking:
            self.dirty[f"m{frame.number}"] = None

    def new_children(self, frame: Frame) -> None:
        """A frame got children."""
        if self.tracking:
            self.dirty[f"c{frame.number}"] = None
            self.dirty[f"i{frame.number}"] = None

    def new_map_run(self, frame: Frame) -> None:
        """A frame got a map run."""
        if self.tracking:
            self.dirty[f"m{frame.number}"] = None
            self.dirty[f"p{frame.number}"] = None

    def page(self, frame: Frame) -> None:
        """A map run has a new page of items."""
        if self.tracking:
            self.dirty[f"p{frame.number}"] = None

    def result(self, frame: Frame, index: int) -> None:
        """A child of a frame gave its result."""
        if self.tracking:
            self.dirty[f"r{frame.number}.{index}"] = None

    def slot(self, frame: Frame, command: int) -> None:
        """A child execution was started, or is over."""
        if self.tracking:
            self.dirty[f"s{frame.number}.{command}"] = None

    def unsuccessful(self, frame: Frame, index: int) -> None:
        """A child execution did not succeed, or did at last."""
        if self.tracking:
            self.dirty[f"u{frame.number}.{index}"] = None

    def drop(self, frame: Frame) -> None:
        """A frame is gone."""
        self.touch(frame)

    def drop_results(self, frame: Frame) -> None:
        """The results of a map run are not kept any more."""
        if self.tracking and frame.map_run is not None:
            for index in frame.map_run.results:
                self.result(frame, index)

    def drop_children(self, frame: Frame) -> None:
        """A frame's children are gone."""
        if self.tracking and frame.children is not None:
            self.new_children(frame)
            for index in frame.children.results:
                self.result(frame, index)

    def drop_map_run(self, frame: Frame) -> None:
        """A frame's map run is gone."""
        run = frame.map_run
        if self.tracking and run is not None:
            self.new_map_run(frame)
            self.drop_results(frame)
            for command in run.slots:
                self.slot(frame, command)
            for index in run.unsuccessful:
                self.unsuccessful(frame, index)


# -- writing


def dump(x: Execution) -> bytes:
    """All records, as one msgpack map."""
    return _encode({key: _record(x, key) for key in _keys(x)})


def dump_changes(x: Execution) -> dict[str, bytes | None]:
    """See `Execution.dump_changes`."""
    changes = x.changes
    if not changes.tracking:
        changes.tracking = True
        return {key: _record(x, key) for key in _keys(x)}
    dirty = changes.dirty
    changes.dirty = {}
    dirty["execution"] = None
    return {key: _record(x, key) for key in dirty}


def _keys(x: Execution) -> Iterator[str]:
    yield "execution"
    yield "input"
    for number, frame in x.frames.items():
        yield f"f{number}"
        children, run = frame.children, frame.map_run
        if children is not None:
            yield f"c{number}"
            if children.items is not None:
                yield f"i{number}"
            for index in children.results:
                yield f"r{number}.{index}"
        if run is not None:
            yield f"m{number}"
            yield f"p{number}"
            for index in run.results:
                yield f"r{number}.{index}"
            for command in run.slots:
                yield f"s{number}.{command}"
            for index in run.unsuccessful:
                yield f"u{number}.{index}"


def _record(x: Execution, key: str) -> bytes | None:
    """The record under a key as it is now; None when there is none."""
    if key == "execution":
        return _encode(_execution_record(x))
    if key == "input":
        return x.input.encode()
    kind = key[0]
    number, _, rest = key[1:].partition(".")
    frame = x.frames.get(int(number))
    if frame is None:
        return None
    children, run = frame.children, frame.map_run
    if kind == "f":
        return _encode(_frame_record(frame))
    if kind in "ci" and children is None:
        return None  # a map run, or nothing, has taken the place of the branches
    if kind == "c" and children is not None:
        return _encode(
            _ChildrenRecord(
                children.total,
                children.window,
                children.next,
                list(children.running.items()),
                children.failed,
                children.tolerated,
            )
        )
    if kind == "i" and children is not None:
        return None if children.items is None else render(children.items).encode("utf-8", "surrogatepass")
    if kind == "r":
        results = children.results if children is not None else run.results if run is not None else {}
        result = results.get(int(rest))
        return None if result is None else result.encode()
    if run is None:
        return None
    if kind == "m":
        fields = {name: getattr(run, name) for name in run.__struct_fields__ if name not in _RUN_APART}
        return _encode({**fields, "numbers": frame.numbers})
    if kind == "p":
        return render([run.page, run.keys]).encode("utf-8", "surrogatepass")
    slot = (run.slots if kind == "s" else run.unsuccessful).get(int(rest))
    return None if slot is None else _encode(slot)


def _execution_record(x: Execution) -> _ExecutionRecord:
    return _ExecutionRecord(
        VERSION,
        x.identity,
        x.status,
        x.output,
        x.error,
        x.cause,
        x.redrive_count,
        x.redrive_time,
        x.event_count,
        x.next_frame,
        [frame.number for frame in x.ready],
        x.variables_size,
        x.timeout_timer,
        x.deadline,
        x.breath_timer,
        x.breath_due,
    )


def _frame_record(frame: Frame) -> _FrameRecord:
    attempt = frame.attempt
    return _FrameRecord(
        frame.parent,
        frame.index,
        frame.workflow.pointer,
        frame.state.name,
        frame.input.text,
        frame.phase,
        frame.previous,
        frame.entered,
        frame.entered_previous,
        frame.entered_at,
        {name: payload.text for name, payload in frame.own.items()},
        frame.retries,
        frame.retry_count,
        frame.timer,
        frame.timer_due,
        frame.numbers,
        None
        if attempt is None
        else _AttemptRecord(
            attempt.command,
            None if attempt.arguments is frame.input else attempt.arguments.text,
            attempt.nonce,
            attempt.token,
            attempt.credentials,
            attempt.timeout_seconds,
            attempt.heartbeat_seconds,
            attempt.timeout_timer,
            attempt.heartbeat_timer,
            attempt.deadline,
            attempt.heartbeat_due,
            attempt.queued,
            attempt.started,
            attempt.submitted,
        ),
    )


# -- reading


def load(machine: Machine, data: bytes) -> Execution:
    """What `dump` wrote. Raises ValueError when it is not that, or is of a newer Stepwell."""
    try:
        records = _whole_decoder.decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(f"not a dump of an execution: {error}") from error
    return load_records(machine, records)


def load_records(machine: Machine, records: Records) -> Execution:
    """The execution of these records. Raises ValueError as `load`, and KeyError for a record that is missing."""
    from stepwell.interpreter.execution import Execution

    header = msgspec.msgpack.decode(records["execution"], type=list)
    version = header[0]
    if version > VERSION:
        raise ValueError(
            f"this execution was written by a newer Stepwell (state version {version}, this one knows {VERSION}): "
            "upgrade Stepwell to continue it"
        )
    upgraded = dict(records)
    while version < VERSION:
        upgraded = UPGRADES[version](upgraded)
        version += 1
    records = upgraded
    record = _execution_decoder.decode(records["execution"])
    x = Execution(machine, record.identity, Payload.of_text(records["input"]))
    x.status = record.status
    x.output, x.error, x.cause = record.output, record.error, record.cause
    x.redrive_count, x.redrive_time = record.redrive_count, record.redrive_time
    x.event_count = record.event_count
    x.next_frame = record.next_frame
    x.variables_size = record.variables_size
    x.timeout_timer, x.deadline = record.timeout_timer, record.deadline
    x.breath_timer, x.breath_due = record.breath_timer, record.breath_due
    apart: dict[int, list[tuple[str, str, bytes]]] = {}
    numbers = []
    for key, data in records.items():
        if key in ("execution", "input"):
            continue
        digits, _, rest = key[1:].partition(".")
        if key[0] == "f":
            numbers.append(int(digits))
        else:
            apart.setdefault(int(digits), []).append((key[0], rest, data))
    for n in sorted(numbers):
        frame = _load_frame(x, machine, n, records[f"f{n}"])
        x.frames[n] = frame
        _load_apart(x, frame, apart.get(n, []))
    x.ready.extend(x.frames[number] for number in record.ready)
    return x


def _load_frame(x: Execution, machine: Machine, number: int, data: bytes) -> Frame:
    record = _frame_decoder.decode(data)
    workflow = machine if record.workflow == machine.pointer else machine.workflows[record.workflow]
    frame = Frame(number, record.parent, record.index, workflow, Payload.of_text(record.input))
    frame.state = workflow.states[record.state]
    frame.phase = record.phase
    frame.previous = record.previous
    frame.entered, frame.entered_previous, frame.entered_at = record.entered, record.entered_previous, record.entered_at
    frame.retries, frame.retry_count = record.retries, record.retry_count
    frame.timer, frame.timer_due = record.timer, record.timer_due
    frame.numbers = record.numbers
    parent = None if record.parent is None else x.frames[record.parent]
    if parent is not None:
        frame.variables = parent.variables
        if parent.children is not None and parent.children.items is not None:
            value = parent.children.items[record.index]
            frame.iteration = {"Index": record.index, "Value": value, "Source": STATE_DATA}
    if record.own:
        frame.own = {name: Payload.of_text(text) for name, text in record.own.items()}
        frame.variables = {**frame.variables, **{name: payload.value for name, payload in frame.own.items()}}
    if record.attempt is not None:
        frame.attempt = _load_attempt(frame, record.attempt)
    return frame


def _load_attempt(frame: Frame, record: _AttemptRecord) -> Attempt:
    arguments = frame.input if record.arguments is None else Payload.of_text(record.arguments)
    attempt = Attempt(record.command, arguments)
    for name in record.__struct_fields__:
        if name not in ("command", "arguments"):
            setattr(attempt, name, getattr(record, name))
    return attempt


def _load_apart(x: Execution, frame: Frame, parts: list[tuple[str, str, bytes]]) -> None:
    kinds = {kind: data for kind, _, data in parts if kind in "cimp"}
    if "c" in kinds:
        record = _children_decoder.decode(kinds["c"])
        children = frame.children = Children(record.total, record.window)
        children.next = record.next
        children.running = dict(record.running)
        children.failed = record.failed
        children.tolerated = record.tolerated
        if "i" in kinds:
            children.items = parse(kinds["i"])
            children.document = effective_input(x, frame, frame.state)[0].value
        for kind, rest, data in parts:
            if kind == "r":
                children.results[int(rest)] = Payload.of_text(data)
    elif "m" in kinds:
        frame.numbers = max(frame.numbers, msgspec.msgpack.decode(kinds["m"])["numbers"])
        run = frame.map_run = _run_decoder.decode(kinds["m"])
        run.page, run.keys = parse(kinds["p"])
        run.document = effective_input(x, frame, frame.state)[0].value
        for kind, rest, data in sorted(parts, key=lambda part: (part[0], int(part[1] or 0))):
            if kind == "r":
                run.results[int(rest)] = Payload.of_text(data)
            elif kind == "s":
                run.slots[int(rest)] = _slot_decoder.decode(data)
            elif kind == "u":
                run.unsuccessful[int(rest)] = _slot_decoder.decode(data)
        if run.again_from is not None:
            started = {slot.index for slot in run.slots.values()}
            waiting = (i for i in run.unsuccessful if i >= run.again_from and i not in started)
            run.again = sorted(waiting, reverse=True)
