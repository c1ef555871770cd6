"""What a host tells the interpreter.

Every event carries its own time and its own randomness, so that the same events give the same bytes:
`at` is milliseconds since the epoch, `seed` is 64 random bits from which the interpreter draws whatever
the handling of this event needs (task tokens, jitter, States.UUID, States.MathRandom).

Events are journaled as they are (`encode` / `decode`); fields are only ever added at the end, with a default,
so that a newer Stepwell reads an older journal.
"""

from __future__ import annotations

import msgspec


class Event(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """The base of all events."""

    at: int
    seed: int


class TaskQueued(Event, frozen=True):
    """An activity task was put into its activity's queue: the activity exists, and AWS records ActivityScheduled now.

    When there is no such activity, answer with TaskFailed, phase "schedule", instead. Only for activities.
    """

    command: int


class TaskStarted(Event, frozen=True):
    """An activity worker took the task. Other kinds of task count as started when they are scheduled."""

    command: int
    worker_name: str | None = None


class TaskSubmitted(Event, frozen=True):
    """The request of a `.sync` or `.waitForTaskToken` integration was accepted; `output` is the service's answer, JSON."""

    command: int
    output: bytes


class TaskSucceeded(Event, frozen=True):
    """The task's result, as JSON text. From a token callback, `nonce` is the one in the token."""

    command: int
    output: bytes
    nonce: str | None = None


class TaskFailed(Event, frozen=True):
    """The task failed. `error` and `cause` may be absent (SendTaskFailure without either): absent is not empty.

    `phase` says how far it got: "schedule" (it could not be scheduled), "start", "submit" (the request was refused) or
    "run"; AWS records different events for them. `timeout` marks a failure that AWS records as timed out, such as a
    function that ran into the task's own limit.
    """

    command: int
    error: str | None = None
    cause: str | None = None
    nonce: str | None = None
    phase: str = "run"
    timeout: bool = False


class TaskHeartbeat(Event, frozen=True):
    """The worker is alive: the heartbeat timer starts anew."""

    command: int
    nonce: str | None = None


class TimerFired(Event, frozen=True):
    """A timer set by `SetTimer` is due. A timer that was cancelled or replaced is ignored."""

    timer: int


class ItemsRead(Event, frozen=True):
    """A page of a distributed Map's items, as the JSON text of an array; `cursor` None means it was the last page.

    `sources`: where the items come from, (number of items, Map.Item.Source) in their order, if the ItemReader reads several objects.
    """

    command: int
    items: bytes
    cursor: str | None = None
    sources: list[tuple[int, str]] | None = None


class ChildFinished(Event, frozen=True):
    """A child execution of a map run ended. `status` is SUCCEEDED, FAILED, TIMED_OUT or ABORTED."""

    command: int
    status: str
    output: bytes | None = None
    error: str | None = None
    cause: str | None = None


class ResultsWritten(Event, frozen=True):
    """A ResultWriter is done; `output` is the JSON the Map state gets as its result."""

    command: int
    output: bytes


class MapRunChanged(Event, frozen=True):
    """UpdateMapRun: new limits for a running map run; None leaves a limit as it is."""

    map_run_arn: str
    max_concurrency: int | None = None
    tolerated_failure_count: int | None = None
    tolerated_failure_percentage: float | None = None


class StopRequested(Event, frozen=True):
    """StopExecution. `error` and `cause` may be absent."""

    error: str | None = None
    cause: str | None = None


class Redriven(Event, frozen=True):
    """RedriveExecution: continue a failed, aborted or timed out execution from the states that did not succeed."""


AnyEvent = (
    TaskQueued
    | TaskStarted
    | TaskSubmitted
    | TaskSucceeded
    | TaskFailed
    | TaskHeartbeat
    | TimerFired
    | ItemsRead
    | ChildFinished
    | ResultsWritten
    | MapRunChanged
    | StopRequested
    | Redriven
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyEvent] = msgspec.msgpack.Decoder(AnyEvent)


def encode(event: AnyEvent) -> bytes:
    """The event as journaled bytes (msgpack)."""
    return _encoder.encode(event)


def decode(data: bytes) -> AnyEvent:
    """The event of journaled bytes. Raises msgspec.DecodeError."""
    return _decoder.decode(data)
