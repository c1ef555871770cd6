"""The interpreter beside a model of its host: whatever comes, in any order, late or twice, both agree on what is owed."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stepwell.interpreter import load, start
from stepwell.interpreter.effects import (
    AnyEffect,
    CancelTask,
    CancelTimer,
    EmitHistory,
    Finish,
    ReadItems,
    RedriveChild,
    RunTask,
    SetTimer,
    StartChild,
    StopChild,
    WriteResults,
)
from stepwell.interpreter.events import (
    AnyEvent,
    ChildFinished,
    ItemsRead,
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
from stepwell.language.compiler import compile_machine

from .machines import inputs, machines
from .memory_host import identity

WORK = (RunTask, ReadItems, StartChild, RedriveChild, WriteResults)
outputs = st.sampled_from([{"a": 1, "n": 2}, [1, 2], None, "x", {"items": [1, 2]}])
picks = st.integers(0, 1 << 20)
seeds = st.integers(0, (1 << 63) - 1)


class Interpreter(RuleBasedStateMachine):
    """An execution, and the host's books: work without an answer, timers, history."""

    @initialize(definition=machines(), input=inputs, seed=seeds)
    def begin(self, definition: Any, input: Any, seed: int) -> None:
        self.owed: dict[int, Any] = {}
        self.timers: dict[int, int] = {}
        self.history: list[dict[str, Any]] = []
        self.finish: Finish | None = None
        self.now = 1_700_000_000_000
        self.machine = compile_machine(definition)
        self.execution, effects = start(self.machine, json.dumps(input).encode(), identity(), at=self.now, seed=seed)
        self._carry_out(effects)

    def _carry_out(self, effects: list[AnyEffect]) -> None:
        for effect in effects:
            if isinstance(effect, EmitHistory):
                self.history += effect.events
            elif isinstance(effect, SetTimer):
                assert effect.due >= self.now
                self.timers[effect.timer] = effect.due
            elif isinstance(effect, CancelTimer):
                self.timers.pop(effect.timer, None)
            elif isinstance(effect, CancelTask | StopChild):
                self.owed.pop(effect.command, None)
            elif isinstance(effect, WORK):
                assert effect.command not in self.owed, "one command for two pieces of work"
                self.owed[effect.command] = effect
            elif isinstance(effect, Finish):
                assert self.finish is None, "ended twice"
                self.finish = effect
                self.owed.clear()
                self.timers.clear()

    def _handle(self, event: AnyEvent) -> list[AnyEffect]:
        effects = self.execution.handle(event)
        self._carry_out(effects)
        return effects

    def _event(self, kind: Any, seed: int, **fields: Any) -> Any:
        return kind(at=self.now, seed=seed, **fields)

    # -- what may come

    @precondition(lambda self: self.owed)
    @rule(pick=picks, seed=seeds, output=outputs, good=st.booleans(), error=st.sampled_from(["Boom", "Other", None]))
    def answer(self, pick: int, seed: int, output: Any, good: bool, error: str | None) -> None:
        command = sorted(self.owed)[pick % len(self.owed)]
        effect = self.owed[command]
        assert self.execution.awaits(command)
        event: Any
        if isinstance(effect, ReadItems) and good:
            cursor = None if effect.cursor == "2" or pick % 2 else "1" if effect.cursor is None else "2"
            event = self._event(ItemsRead, seed, command=command, items=b"[1,2]", cursor=cursor)
        elif isinstance(effect, StartChild | RedriveChild):
            status = "SUCCEEDED" if good else "FAILED"
            event = self._event(ChildFinished, seed, command=command, status=status, output=json.dumps(output).encode())
        elif isinstance(effect, WriteResults) and good:
            event = self._event(ResultsWritten, seed, command=command, output=b"{}")
        elif good:
            event = self._event(TaskSucceeded, seed, command=command, output=json.dumps(output).encode())
        else:
            event = self._event(TaskFailed, seed, command=command, error=error, cause="c")
        del self.owed[command]
        self._handle(event)
        # The same answer once more changes nothing, unless it is answered anew as another attempt.
        if command not in self.owed:
            assert not self.execution.awaits(command)
            assert self._handle(event) == []

    @precondition(lambda self: any(isinstance(effect, RunTask) for effect in self.owed.values()))
    @rule(pick=picks, seed=seeds, kind=st.sampled_from([TaskQueued, TaskStarted, TaskSubmitted, TaskHeartbeat]))
    def news(self, pick: int, seed: int, kind: Any) -> None:
        """A task's progress; what does not fit its kind is ignored."""
        tasks = sorted(command for command, effect in self.owed.items() if isinstance(effect, RunTask))
        fields = {"output": b'{"id":1}'} if kind is TaskSubmitted else {}
        effect = self.owed[tasks[pick % len(tasks)]]
        if kind is TaskSubmitted and (effect.kind == "activity" or effect.token is None):
            return
        if kind in (TaskQueued, TaskStarted) and effect.kind != "activity":
            return
        self._handle(self._event(kind, seed, command=effect.command, **fields))

    @rule(command=st.integers(0, 1 << 40), seed=seeds, nonce=st.none() | st.just("stolen"))
    def stale(self, command: int, seed: int, nonce: str | None) -> None:
        """Answers that nobody waits for, and one with a wrong token."""
        tokens = [number for number, effect in self.owed.items() if isinstance(effect, RunTask)]
        if nonce is not None and tokens:
            command = min(tokens)
        elif command in self.owed:
            return
        assert not self.execution.awaits(command, nonce)
        before = self.execution.dump()
        for kind, fields in ((TaskSucceeded, {"output": b"1"}), (TaskFailed, {}), (TaskHeartbeat, {})):
            assert self._handle(self._event(kind, seed, command=command, nonce=nonce, **fields)) == []
        assert self.execution.dump() == before

    @precondition(lambda self: self.timers)
    @rule(seed=seeds, late=st.integers(0, 5000))
    def ring(self, seed: int, late: int) -> None:
        timer = min(self.timers, key=lambda timer: (self.timers[timer], timer))
        self.now = max(self.now, self.timers.pop(timer)) + late
        self._handle(self._event(TimerFired, seed, timer=timer))
        if timer not in self.timers:
            assert self._handle(self._event(TimerFired, seed, timer=timer)) == [], "a timer fired twice"

    @precondition(lambda self: self.finish is None and len(self.history) > 15)
    @rule(seed=seeds)
    def stop(self, seed: int) -> None:
        self._handle(self._event(StopRequested, seed, error="Stopped"))
        assert self.execution.status == "ABORTED"

    @precondition(lambda self: self.finish is not None and self.finish.status != "SUCCEEDED")
    @rule(seed=seeds)
    def redrive(self, seed: int) -> None:
        self.finish = None
        self._handle(self._event(Redriven, seed))

    @rule()
    def reload(self) -> None:
        """What a crash does."""
        pending = self.execution.pending()
        self.execution = load(self.machine, self.execution.dump())
        assert self.execution.pending() == pending

    # -- what always holds

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "execution"):
            return
        pending = self.execution.pending()
        assert {effect.command for effect in pending if isinstance(effect, WORK)} == set(self.owed)
        assert {effect.timer: effect.due for effect in pending if isinstance(effect, SetTimer)} == self.timers
        assert (self.finish is None) == (self.execution.status == "RUNNING")
        assert self.finish is None or self.finish.status == self.execution.status
        assert self.finish is not None or pending, "the execution can never go on"

    @invariant()
    def history_is_whole(self) -> None:
        if hasattr(self, "execution"):
            assert [event["id"] for event in self.history] == list(range(1, len(self.history) + 1))
            assert all(0 <= event["previousEventId"] < event["id"] for event in self.history)
            assert self.history[0]["type"] == "ExecutionStarted"
            ended = [e["type"].removeprefix("Execution") for e in self.history if e["type"].startswith("Execution")][-1]
            assert (ended in ("Started", "Redriven")) == (self.execution.status == "RUNNING")


TestInterpreter = Interpreter.TestCase
TestInterpreter.settings = settings(
    max_examples=120, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
