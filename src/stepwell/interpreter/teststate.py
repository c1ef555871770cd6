"""One state by itself, with everything that happens to its data on the way: what the TestState API shows.

A trial is an execution of a machine that has only this state. It runs through the same code as any other state; the
trial notes intermediate values (`Execution.inspection`), puts a mocked answer in place of a task or of branches, and
ends when the state does.

    trial = Trial(find_state(machine, "State0"), b'{"a": 1}', identity, at=ms, seed=bits, ...)
    if trial.task is not None:                  # a Task without a mock: the host carries it out
        trial.succeed_task(b"{}")               # or trial.fail_task("Error", "cause")
    trial.outcome                               # status, output, error, cause, next state, inspection data
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stepwell.interpreter import maps
from stepwell.interpreter.effects import RunTask
from stepwell.interpreter.execution import Execution
from stepwell.interpreter.failures import Failure, fault, state_failed
from stepwell.interpreter.frames import ROOT, Frame, Phase
from stepwell.interpreter.identity import Identity
from stepwell.interpreter.mapfeed import evaluated, source_of
from stepwell.interpreter.maprecords import STATE_DATA
from stepwell.interpreter.numbers import fraction, whole
from stepwell.interpreter.payload import Payload, parse
from stepwell.interpreter.states import complete, effective_input, wait_over
from stepwell.interpreter.tasks import answer_failed, answer_succeeded
from stepwell.language.errors import EXCEED_TOLERATED_FAILURE_THRESHOLD, RUNTIME, StatesError
from stepwell.language.model import Machine, MapState, ParallelState, State, TaskState, WaitState
from stepwell.language.scope import EMPTY, Evaluator, Scope

__all__ = ["Mock", "Outcome", "Situation", "Trial", "UnmockedError", "find_state"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mock:
    """The answer that stands for the task, the branches or the iterations: a `result` (JSON text), or an error."""

    result: bytes | None = None
    error: str | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """TestState's `stateConfiguration` and the state's surroundings."""

    variables: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] | None = None
    """The whole context object, in place of the one that is made up."""
    retrier_retry_count: int = 0
    """How often each retrier was used before."""
    map_iteration_failure_count: int | None = None
    map_item_reader_data: bytes | None = None
    """What the ItemReader gives, as JSON text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What TestState answers. `status` is SUCCEEDED, FAILED, RETRIABLE or CAUGHT_ERROR; `output` is JSON text.

    `inspection` has the keys of InspectionData, with JSON text where the API has text. The API shows it at the levels
    DEBUG and TRACE.
    """

    status: str
    output: str | None
    error: str | None
    cause: str | None
    next_state: str | None
    inspection: dict[str, Any]


class UnmockedError(Exception):
    """A Parallel or Map state cannot be tried without a mock."""


def find_state(machine: Machine, name: str) -> State | None:
    """The state with this name, at any depth; names are unique within a machine."""
    for workflow in machine.workflows.values():
        if name in workflow.states:
            return workflow.states[name]
    return None


class Trial(Execution):
    """One visit of one state."""

    __slots__ = ("_following", "_mock", "_outcome", "_situation", "task")

    def __init__(
        self,
        state: State,
        input: bytes,
        identity: Identity,
        *,
        at: int,
        seed: int,
        mock: Mock | None = None,
        situation: Situation | None = None,
    ) -> None:
        alone = Machine(pointer="", start_at=state.name, states={state.name: state})
        super().__init__(alone, identity, Payload.of_text(input))
        self._mock = mock
        self._situation = situation or Situation()
        self._following: str | None = None
        self._outcome: Outcome | None = None
        self.task: RunTask | None = None
        """A task that the host has to carry out, and answer by `succeed_task` or `fail_task`."""
        self.inspection = {"input": self.input}
        self.begin(at, seed)
        frame = self.spawn(None, 0, alone, self.input, 0)
        frame.variables = dict(self._situation.variables)
        if state.retriers:
            frame.retries = [self._situation.retrier_retry_count] * len(state.retriers)
        frame.retry_count = self._situation.retrier_retry_count
        self._visit(frame, state)

    # -- the interface

    @property
    def outcome(self) -> Outcome | None:
        """What came out; None while a task is under way."""
        if self.task is not None:
            return None
        if self._outcome is None:
            self._outcome = self._conclude()
        return self._outcome

    def succeed_task(self, output: bytes) -> None:
        """The task has this result."""
        self.task = None
        answer_succeeded(self, self.frames[ROOT], output)

    def fail_task(self, error: str | None, cause: str | None) -> None:
        """The task failed."""
        self.task = None
        answer_failed(self, self.frames[ROOT], Failure(error, cause))

    # -- the visit

    def _visit(self, frame: Frame, state: State) -> None:
        frame.phase = Phase.STUCK
        if not isinstance(state, (TaskState, ParallelState, MapState, WaitState)):
            self.go(frame)
            self.run()
            return
        try:
            if isinstance(state, TaskState):
                self._visit_task(frame)
                return
            self.enter(frame, state)
            if isinstance(state, WaitState):
                effective_input(self, frame, state)
                wait_over(self, frame, state)
            elif isinstance(state, ParallelState):
                self._visit_parallel(frame, state)
            else:
                self._visit_map(frame, state)
        except StatesError as error:
            fault(self, frame, error)

    def _visit_task(self, frame: Frame) -> None:
        self.go(frame)
        self.run()
        for effect in self.effects:
            if isinstance(effect, RunTask):
                self.task = effect
        if self.task is not None and self._mock is not None:
            if self._mock.result is not None:
                self.succeed_task(self._mock.result)
            else:
                self.fail_task(self._mock.error, self._mock.cause)

    def _visit_parallel(self, frame: Frame, state: ParallelState) -> None:
        scope = effective_input(self, frame, state)[1]
        if state.parameters is not None:
            arguments = Payload(state.parameters(scope))
            if not state.jsonata:
                self._note("afterParameters", arguments)
        elif not state.jsonata:
            self._note("afterParameters", Payload(scope.document))
        self._answer(frame, state)

    def _visit_map(self, frame: Frame, state: MapState) -> None:
        payload, scope = effective_input(self, frame, state)
        data = self._situation.map_item_reader_data
        items: Any = [] if state.reader is not None else maps.items_of(state, scope, payload)
        if data is not None:
            items = parse(data)
        if not isinstance(items, list) and not (state.distributed and isinstance(items, dict)):
            raise maps.not_an_array(state)
        inner = items if isinstance(items, list) else list(items.values())
        if not state.jsonata:
            self._note("afterItemsPath", Payload(items))
        if state.item_selector is not None and inner:
            states = {"input": frame.input.value} if state.jsonata else EMPTY
            source = STATE_DATA if state.reader is None else source_of(evaluated(state.reader, scope))
            selected = []
            for index, value in enumerate(inner):
                item = {"Index": index, "Value": value, "Source": source}
                selected.append(state.item_selector(self.scope(frame, payload.value, states=states, item=item)))
            self._note("afterItemSelector", Payload(selected))
        self._note("maxConcurrency", whole(state.max_concurrency, scope) or 0)
        count = whole(state.tolerated_count, scope)
        percentage = fraction(state.tolerated_percentage, scope)
        if percentage is not None and not 0 <= percentage <= 100:
            raise StatesError(RUNTIME, "ToleratedFailurePercentage must be between 0 and 100.")
        if count is not None:
            self._note("toleratedFailureCount", count)
        if percentage is not None:
            self._note("toleratedFailurePercentage", percentage)
        failed = self._situation.map_iteration_failure_count or 0
        exceeded = (count is not None and failed > count) or (
            percentage is not None and len(inner) > 0 and failed * 100 > percentage * len(inner)
        )
        if exceeded and self._mock is not None and self._mock.result is not None:
            state_failed(
                self,
                frame,
                Failure(EXCEED_TOLERATED_FAILURE_THRESHOLD, "The specified tolerated failure threshold was exceeded"),
            )
            return
        self._answer(frame, state)

    def _answer(self, frame: Frame, state: State) -> None:
        mock = self._mock
        if mock is None:
            raise UnmockedError(state.TYPE)
        if mock.result is None:
            state_failed(self, frame, Failure(mock.error, mock.cause))
            return
        complete(self, frame, state, Payload.of_text(mock.result))

    # -- what an execution would do next

    def leave(
        self, frame: Frame, output: Payload, assign: Evaluator | None, scope: Scope | None, following: str | None
    ) -> bool:
        """The state is done, and with it the trial."""
        self._following = following
        super().leave(frame, output, assign, scope, None)
        if assign is not None:
            self._note("variables", Payload(frame.variables))
        return False

    def scope(
        self,
        frame: Frame,
        document: Any,
        *,
        states: Mapping[str, Any] = EMPTY,
        token: str | None = None,
        item: dict[str, Any] | None = None,
    ) -> Scope:
        """What expressions see; a context object that was given is shown as it is."""
        given = self._situation.context
        if given is None:
            return super().scope(frame, document, states=states, token=token, item=item)
        context = dict(given) if item is None else {**given, "Map": {"Item": item}}
        return Scope(document, context=context, variables=frame.variables, random=self.random, states=states)

    def _note(self, key: str, value: Any) -> None:
        if self.inspection is not None:
            self.inspection[key] = value

    def _conclude(self) -> Outcome:
        noted = dict(self.inspection or {})
        failure: Failure | None = noted.pop("failure", None)
        frame = self.frames.get(ROOT)
        if frame is not None and frame.phase == Phase.RETRY:
            status = "RETRIABLE"
        elif self.status == "SUCCEEDED":
            status = "SUCCEEDED" if failure is None else "CAUGHT_ERROR"
        else:
            status = "FAILED"
        error, cause = self.error, self.cause
        if failure is not None and status != "FAILED":
            error, cause = failure.error, failure.cause
        return Outcome(
            status=status,
            output=None if self.output is None else self.output.decode(),
            error=error,
            cause=cause,
            next_state=self._following if status in ("SUCCEEDED", "CAUGHT_ERROR") else None,
            inspection={key: value.text if isinstance(value, Payload) else value for key, value in noted.items()},
        )
