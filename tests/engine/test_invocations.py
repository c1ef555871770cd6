"""Asynchronous invocations by themselves: ages, limits, and a journal that refuses."""

import uuid
from pathlib import Path

import pytest

from stepwell.engine.clock import VirtualClock
from stepwell.engine.errors import JournalFull
from stepwell.engine.invocations import Invocations
from stepwell.engine.journal import Journal
from stepwell.functions import Call, FunctionPool, FunctionSpec, TooManyRequests, UnknownFunction
from stepwell.tasks.ports import Failure, Invocation, Policy


class Told:
    """Outcomes that are remembered."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.ends: list[tuple[str, int]] = []

    def policy(self, invocation: Invocation) -> Policy:
        return self._policy

    async def succeeded(self, invocation: Invocation, payload: bytes) -> None:
        self.ends.append(("Success", invocation.attempts))

    async def failed(self, invocation: Invocation, failure: Failure, condition: str) -> None:
        assert failure.message == "no"
        self.ends.append((condition, invocation.attempts))


def fail(event: object, context: object) -> None:
    raise ValueError("no")


def echo(event: object, context: object) -> object:
    return event


def call() -> Call:
    return Call(request_id=str(uuid.uuid4()))


def pool() -> FunctionPool:
    return FunctionPool([FunctionSpec(name=f.__name__, handler=f, inline=True, typed=False) for f in (fail, echo)])


async def settle(clock: VirtualClock, invocations: Invocations, seconds: float) -> None:
    """Let time pass, and wait for the threads that functions run in."""
    await clock.advance(seconds)
    while invocations._running:
        await next(iter(invocations._running))
    await clock.advance(0)


@pytest.mark.parametrize(
    ("policy", "end"),
    [
        (Policy(), ("RetriesExhausted", 3)),
        (Policy(retries=0), ("RetriesExhausted", 1)),
        (Policy(max_age=100.0), ("EventAgeExceeded", 2)),
    ],
)
async def test_failures_end_as_configured(policy: Policy, end: tuple[str, int]) -> None:
    clock, journal, told = VirtualClock(), Journal(), Told(policy)
    async with pool() as functions:
        invocations = Invocations(journal, clock, functions, told)
        invocations.start()
        await invocations.accept("fail", b"1", call=call())
        for seconds in (0, 59.9, 0.2, 119.7, 0.4):
            assert told.ends in ([], [end])
            await settle(clock, invocations, seconds)
        assert told.ends == [end]
        assert len(invocations) == 0
        await journal.committed()
        assert journal.documents("invocation") == []
        await invocations.stop()
    await journal.close()


async def test_the_same_event_is_accepted_once_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.engine.invocations.MAX_PENDING_BYTES", 10)
    clock, journal, told = VirtualClock(), Journal(), Told(Policy())
    async with pool() as functions:
        invocations = Invocations(journal, clock, functions, told)
        one = call()
        await invocations.accept("fail", b"123456", call=one)
        await invocations.accept("fail", b"123456", call=one)
        assert len(invocations) == 1
        with pytest.raises(TooManyRequests):
            await invocations.accept("fail", b"123456", call=call())
        with pytest.raises(UnknownFunction):
            await invocations.accept("absent", b"1", call=call())
        await invocations.stop()
    await journal.close()


async def test_nothing_is_accepted_that_cannot_be_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    async with pool() as functions:
        invocations = Invocations(journal, VirtualClock(), functions, Told(Policy()))
        journal.trouble = JournalFull("full")
        with pytest.raises(JournalFull):
            await invocations.accept("echo", b"1", call=call())
        assert len(invocations) == 0
        journal.trouble = None
        await invocations.stop()
    await journal.close()


async def test_an_event_waits_for_a_function_that_its_project_has_not_given_yet(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    async with pool() as functions:
        invocations = Invocations(journal, VirtualClock(), functions, Told(Policy()))
        await invocations.accept("echo", b"1", call=call())
        await invocations.stop()
    await journal.close()
    clock, journal, told = VirtualClock(), Journal(tmp_path), Told(Policy())
    async with FunctionPool() as functions:
        functions.expect("echo")
        invocations = Invocations(journal, clock, functions, told)
        invocations.start()
        await clock.advance(7 * 3600)
        assert told.ends == [], "however long that takes, it is run once"
        functions.register(FunctionSpec(name="echo", handler=echo, inline=True, typed=False))
        await settle(clock, invocations, 0)
        assert told.ends == [("Success", 1)]
        await invocations.stop()
    await journal.close()
