"""One execution of a state machine as a pure state machine: events in, effects out."""

from __future__ import annotations

from stepwell.interpreter.effects import AnyEffect
from stepwell.interpreter.events import AnyEvent
from stepwell.interpreter.identity import Identity
from stepwell.language.model import Machine

__all__ = ["Execution", "load", "start"]


class Execution:
    """A running (or ended) execution. Made by `start` or `load`; not thread-safe."""

    machine: Machine
    identity: Identity
    status: str
    """RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED."""
    output: bytes | None
    error: str | None
    cause: str | None
    redrive_count: int
    redrive_time: int | None
    """Milliseconds since the epoch of the last redrive."""
    event_count: int
    """How many history events were emitted so far (the id of the last one)."""

    def handle(self, event: AnyEvent) -> list[AnyEffect]:
        """What follows from an event. Events nobody waits for give no effects; a second Finish never comes without a Redriven."""
        raise NotImplementedError

    def pending(self) -> list[AnyEffect]:
        """Every effect that is still without an answer (tasks, timers, reads, children, writes), as it was first given."""
        raise NotImplementedError

    def awaits(self, command: int, nonce: str | None = None) -> bool:
        """Whether an answer (success, failure, heartbeat) to this attempt would still count."""
        raise NotImplementedError

    def dump(self) -> bytes:
        """The whole state as bytes, from which `load` continues identically; does not reset `dump_changes`."""
        raise NotImplementedError

    def dump_changes(self) -> dict[int, bytes | None]:
        """The records that changed since the last call (all, on the first), by key; None for a removed one.

        Key 0 is the execution's own record, every frame has one of its own. For hosts that store frames apart;
        `load_records` takes them back.
        """
        raise NotImplementedError


def start(
    machine: Machine, input: bytes, identity: Identity, *, at: int, seed: int
) -> tuple[Execution, list[AnyEffect]]:
    """Begin an execution. `input` is JSON text; `at` milliseconds since the epoch; `seed` 64 random bits.

    The caller has checked that `input` is JSON and within the payload limit (StartExecution refuses it otherwise).
    """
    raise NotImplementedError


def load(machine: Machine, data: bytes) -> Execution:
    """The execution `dump` wrote, for the same definition. Raises ValueError for a dump of a newer Stepwell."""
    raise NotImplementedError


def load_records(machine: Machine, records: dict[int, bytes]) -> Execution:
    """The execution whose current records these are (see `Execution.dump_changes`)."""
    raise NotImplementedError
