"""The smallest host there can be: no I/O, virtual time, answers from a function. For tests of the interpreter."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from typing import Any

from stepwell.interpreter import Execution, Identity, child_identity, load, start
from stepwell.interpreter.effects import (
    CancelTask,
    CancelTimer,
    EmitHistory,
    Finish,
    ReadItems,
    RunTask,
    SetTimer,
    StartChild,
    StopChild,
    WriteResults,
)
from stepwell.interpreter.events import AnyEvent, ChildFinished, StopRequested, TimerFired
from stepwell.language.model import Machine

ARN = "arn:aws:states:us-east-1:000000000000"

Answer = Callable[["Run", Any], list[AnyEvent]]
"""Given the run and an effect (RunTask, ReadItems, WriteResults), the events that answer it now."""


def identity(name: str = "run", machine: str = "machine", type: str = "STANDARD", **fields: Any) -> Identity:
    values: dict[str, Any] = {
        "execution_arn": f"{ARN}:execution:{machine}:{name}",
        "name": name,
        "state_machine_arn": f"{ARN}:stateMachine:{machine}",
        "state_machine_name": machine,
        "role_arn": "arn:aws:iam::000000000000:role/role",
        "start_time": 1_700_000_000_000,
        "type": type,
    }
    values.update(fields)
    return Identity(**values)


class Run:
    """One execution and what it waits for. `swap` is applied after each step (dump and load, say)."""

    def __init__(
        self,
        machine: Machine,
        input: bytes,
        who: Identity,
        answer: Answer,
        *,
        seeds: Callable[[], int] | None = None,
        swap: Callable[[Execution], Execution] | None = None,
    ) -> None:
        counter = itertools.count(1)
        self.machine = machine
        self.answer = answer
        self.seed = seeds or (lambda: next(counter) * 0x9E3779B97F4A7C15 % 2**64)
        self.swap = swap
        self.now = who.start_time
        self.history: list[dict[str, Any]] = []
        self.effects: list[Any] = []
        self.finish: Finish | None = None
        self.timers: dict[int, int] = {}
        self.heap: list[tuple[int, int]] = []
        self.queue: deque[AnyEvent] = deque()
        self.children: dict[int, Run] = {}
        self.log: list[AnyEvent] = []
        self.execution, effects = start(machine, input, who, at=self.now, seed=self.seed())
        self._carry_out(effects)

    # -- moving

    def step(self) -> bool:
        """Handle one more event: an answer if there is one, else the next timer. False when there is neither."""
        if self.finish is not None:
            return False
        if self.queue:
            self.handle(self.queue.popleft())
            return True
        while self.heap:
            due, timer = heapq.heappop(self.heap)
            if self.timers.get(timer) == due:
                del self.timers[timer]
                self.now = max(self.now, due)
                self.handle(TimerFired(at=self.now, seed=self.seed(), timer=timer))
                return True
        return False

    def run(self, until: Callable[[], bool] = lambda: False, limit: int = 100_000) -> Run:
        """Go on until the execution ends, nothing more can happen, or `until` says so."""
        for _ in range(limit):
            if until() or not self.step():
                return self
        raise AssertionError("the execution does not come to an end")

    def handle(self, event: AnyEvent) -> None:
        self.log.append(event)
        effects = self.execution.handle(event)
        if self.swap is not None:
            self.execution = self.swap(self.execution)
        self._carry_out(effects)

    def event(self, kind: type[Any], **fields: Any) -> Any:
        return kind(at=self.now, seed=self.seed(), **fields)

    def stop(self, **fields: Any) -> None:
        self.handle(self.event(StopRequested, **fields))

    # -- effects

    def _carry_out(self, effects: list[Any]) -> None:
        self.effects.extend(effects)
        for effect in effects:
            match effect:
                case EmitHistory():
                    self.history.extend(effect.events)
                case SetTimer():
                    self.timers[effect.timer] = effect.due
                    heapq.heappush(self.heap, (effect.due, effect.timer))
                case CancelTimer():
                    self.timers.pop(effect.timer, None)
                case RunTask() | ReadItems() | WriteResults():
                    self.queue.extend(self.answer(self, effect))
                case CancelTask():
                    self.queue = deque(e for e in self.queue if getattr(e, "command", None) != effect.command)
                case StartChild():
                    self._start_child(effect)
                case StopChild():
                    self.children.pop(effect.command, None)
                case Finish():
                    self.finish = effect
                    self.timers.clear()

    def _start_child(self, effect: StartChild) -> None:
        who = child_identity(self.execution.identity, effect.map_run_arn, effect.name, effect.execution_type, self.now)
        child = Run(self.machine.child(effect.state), effect.input, who, self.answer, seeds=self.seed, swap=self.swap)
        self.children[effect.command] = child
        child.run()
        if child.finish is not None:
            done = child.finish
            self.queue.append(
                self.event(
                    ChildFinished,
                    command=effect.command,
                    status=done.status,
                    output=done.output,
                    error=done.error,
                    cause=done.cause,
                )
            )

    # -- looking

    @property
    def types(self) -> list[str]:
        return [event["type"] for event in self.history]

    def reload(self) -> None:
        """Continue from a dump."""
        self.execution = load(self.execution.machine, self.execution.dump())
