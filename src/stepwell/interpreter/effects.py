"""What the interpreter asks of a host.

`start` and `Execution.handle` return effects in the order in which they were decided. A host writes the event that
caused them to its journal first and carries them out after that write is on disk. Carrying an effect out twice must be
harmless: after a crash, `Execution.pending()` gives again every effect that is still without an answer, with the same
`command`.

Commands and timers are numbers that are unique within an execution; (execution, command) is the id of an attempt.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Effect(msgspec.Struct, frozen=True, tag=True):
    """The base of all effects."""


class RunTask(Effect, frozen=True):
    """Do a Task state's work and answer with TaskSucceeded or TaskFailed (and TaskSubmitted) for `command`.

    An activity task is answered with TaskQueued when it is in its activity's queue, and TaskStarted when a worker took
    it. (execution, command) is the attempt id, the same after a restart. `kind` is "lambda" (a function's ARN as
    Resource), "activity" or "service" (an integration, optimised or aws-sdk). `arguments` is the JSON text of the
    evaluated input of the task. Timeouts are the interpreter's: it sets timers and sends CancelTask; the seconds are
    here for the worker to know.
    """

    command: int
    kind: str
    resource: str
    arguments: bytes
    state: str
    retry_count: int = 0
    token: str | None = None
    timeout_seconds: int | None = None
    heartbeat_seconds: int | None = None
    credentials: dict[str, Any] | None = None
    submitted: bytes | None = None
    """Set when the attempt is carried out again after a restart and its request had been accepted already."""
    taken: bool = False
    """Whether an activity worker has the task already: after a restart it must not be offered to another."""


class CancelTask(Effect, frozen=True):
    """Nobody waits for this attempt any more: stop it if that is possible; its answer will be ignored."""

    command: int


class SetTimer(Effect, frozen=True):
    """Answer with TimerFired at `due` (milliseconds since the epoch), never before."""

    timer: int
    due: int


class CancelTimer(Effect, frozen=True):
    """The timer is of no interest any more."""

    timer: int


class OpenMapRun(Effect, frozen=True):
    """A distributed Map began, or is redriven: make its map run visible.

    `state` is the JSON pointer of the Map state in the definition.
    """

    map_run_arn: str
    command: int
    state: str
    execution_type: str
    max_concurrency: int
    tolerated_failure_count: int | None
    tolerated_failure_percentage: float | None
    redrive_count: int = 0


class ReadItems(Effect, frozen=True):
    """Read at most `limit` items by an evaluated ItemReader, from `cursor` on (None: from the beginning).

    `reader` has Resource, Parameters (also for JSONata's Arguments) and ReaderConfig without MaxItems.
    Answer with ItemsRead or TaskFailed for `command`.
    """

    command: int
    map_run_arn: str
    reader: dict[str, Any]
    cursor: str | None
    limit: int


class StartChild(Effect, frozen=True):
    """Start a child execution of a map run; answer with ChildFinished for `command`.

    The child runs the ItemProcessor of the Map state at JSON pointer `state` of this execution's definition.
    `exported`: its outcome is to be kept for WriteResults.
    """

    command: int
    map_run_arn: str
    state: str
    name: str
    input: bytes
    execution_type: str
    item_count: int
    exported: bool = False


class RedriveChild(Effect, frozen=True):
    """Redrive a child execution of a map run that did not succeed; answer with ChildFinished for `command`.

    A STANDARD child continues from the states that did not succeed. `input` is set for an EXPRESS child, which keeps no
    state: it is started anew under the same name.
    """

    command: int
    map_run_arn: str
    state: str
    name: str
    input: bytes | None
    execution_type: str
    item_count: int
    exported: bool = False


class StopChild(Effect, frozen=True):
    """Abort a child execution started by `command`."""

    command: int


class WriteResults(Effect, frozen=True):
    """Export the outcomes of a map run's children; answer with ResultsWritten or TaskFailed.

    `writer` has Resource, Parameters or Arguments, and WriterConfig. A Resource of None asks for no export: the results in
    the shape of WriterConfig are the answer themselves.
    """

    command: int
    map_run_arn: str
    writer: dict[str, Any]


class UpdateMapRun(Effect, frozen=True):
    """The counts of a map run changed: keys are those of DescribeMapRun's itemCounts (executions count alike)."""

    map_run_arn: str
    item_counts: dict[str, int]
    execution_counts: dict[str, int]


class CloseMapRun(Effect, frozen=True):
    """A map run ended with `status` SUCCEEDED, FAILED or ABORTED."""

    map_run_arn: str
    status: str


class EmitHistory(Effect, frozen=True):
    """History events in the shape of GetExecutionHistory, `timestamp` in seconds as a float.

    At most one such effect per call, and the first. The dicts share parts: do not change them.
    """

    events: list[dict[str, Any]]


class Finish(Effect, frozen=True):
    """The execution ended: status SUCCEEDED, FAILED, TIMED_OUT or ABORTED; `output` is JSON text.

    Always the last effect. All timers of the execution are void.
    """

    status: str
    output: bytes | None = None
    error: str | None = None
    cause: str | None = None


AnyEffect = (
    RunTask
    | CancelTask
    | SetTimer
    | CancelTimer
    | OpenMapRun
    | ReadItems
    | StartChild
    | RedriveChild
    | StopChild
    | WriteResults
    | UpdateMapRun
    | CloseMapRun
    | EmitHistory
    | Finish
)
