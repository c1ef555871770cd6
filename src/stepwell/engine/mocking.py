"""Executions of test cases: `StartExecution` of `arn#TestCase` answers the tasks of mocked states from the mock configuration file.

An execution's test case and the invocations of its mocked states are journaled with it, so that after a restart a mocked state does not
suddenly call the real service, and an attempt that is carried out again gets the same answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from stepwell.engine.errors import ValidationException
from stepwell.engine.journal import Journal
from stepwell.engine.live import Live
from stepwell.engine.mockfile import MockedResponse, MockFile, MockFileError, Throw, read_mock_file
from stepwell.interpreter.effects import RunTask
from stepwell.tasks.requests import Submitted, TaskError

__all__ = ["MockedTask", "Mocks"]

_INVOKE_RESULT = frozenset({"StatusCode", "Payload", "ExecutedVersion", "LogResult", "FunctionError", "SdkHttpMetadata",
                            "SdkResponseMetadata"})  # fmt: skip


_KIND = "mocked"
"""Of the journal's documents."""


class _Case(msgspec.Struct):
    """The test case of an execution, as journaled. `invocations` has the commands of a state in their order, with their execution."""

    machine: str
    name: str
    journaled: bool
    invocations: dict[str, list[str]] = {}


@dataclass(frozen=True, slots=True)
class MockedTask:
    """The answer to one attempt."""

    response: MockedResponse
    number: int

    async def run(self, effect: RunTask, submitted: Submitted) -> bytes:
        """The result's JSON text. Raises TaskError."""
        answer = self.response.answer(self.number)
        if answer is None:
            raise TaskError(
                "States.Runtime",
                f"The mocked response '{self.response.name}' has no answer to invocation {self.number} of the state "
                f"'{effect.state}'.",
                "schedule",
            )
        if effect.resource.endswith((".sync", ".sync:2", ".waitForTaskToken")) and effect.submitted is None:
            await submitted(b"{}")
        if isinstance(answer, Throw):
            raise TaskError(answer.error, answer.cause)
        value = answer.value
        if (
            effect.kind == "lambda"
            and isinstance(value, dict)
            and "Payload" in value
            and _INVOKE_RESULT.issuperset(value)
        ):
            # A mock may serve `lambda:invoke` and a function's ARN alike: the latter's result is the payload alone.
            value = value["Payload"]
        return msgspec.json.encode(value)


@dataclass(slots=True)
class Mocks:
    """The test cases of one mock configuration file. It is read again when it has changed. Raises MockFileError."""

    path: Path
    journal: Journal
    _cases: dict[str, _Case] = field(default_factory=dict)
    """Test cases of executions that run, by ARN."""
    _file: MockFile = field(init=False)
    _stamp: Any = None

    def __post_init__(self) -> None:
        self._stamp = _stamp(self.path)
        self._file = read_mock_file(self.path)

    def split(self, arn: str) -> tuple[str, str]:
        """(ARN, test case) of `ARN#TestCase`. Raises ValidationException for an unknown test case."""
        arn, _, case = arn.partition("#")
        self._refresh()
        machine = arn.split(":")[6] if arn.count(":") >= 6 else ""
        cases = self._file.machines.get(machine, {})
        if case not in cases:
            known = ", ".join(sorted(cases)) or "none"
            raise ValidationException(
                f"The mock configuration file {self.path} has no test case '{case}' of the state machine '{machine}' (known: {known})"
            )
        return arn, case

    def begin(self, live: Live, case: str) -> None:
        """An execution was started as a test case."""
        self._put(live.identity.execution_arn, _Case(live.identity.state_machine_name, case, not live.express))

    def of(self, live: Live, effect: RunTask) -> MockedTask | None:
        """The answer to an attempt of an execution, or of a child execution of a map run; None if it is not mocked."""
        arn = live.identity.execution_arn
        case = self._case(arn)
        if case is None and live.identity.parent_execution_arn is not None:
            arn = live.identity.parent_execution_arn
            case = self._case(arn)
        if case is None:
            return None
        response = self._file.machines.get(case.machine, {}).get(case.name, {}).get(effect.state)
        if response is None:
            return None
        attempts = case.invocations.setdefault(effect.state, [])
        attempt = f"{live.identity.name}#{effect.command}"
        if attempt not in attempts:
            attempts.append(attempt)
            self._put(arn, case)
        return MockedTask(response, attempts.index(attempt))

    def ended(self, live: Live) -> None:
        """An execution ended."""
        self._cases.pop(live.identity.execution_arn, None)

    def _case(self, arn: str) -> _Case | None:
        case = self._cases.get(arn)
        if case is None:
            data = self.journal.document(_KIND, arn)
            if data is not None:
                case = self._cases[arn] = msgspec.msgpack.decode(data, type=_Case)
        return case

    def _put(self, arn: str, case: _Case) -> None:
        self._cases[arn] = case
        if case.journaled:
            self.journal.put(_KIND, arn, msgspec.msgpack.encode(case))

    def _refresh(self) -> None:
        stamp = _stamp(self.path)
        if stamp != self._stamp:
            try:
                self._file = read_mock_file(self.path)
            except MockFileError as error:
                raise ValidationException(str(error)) from error
            self._stamp = stamp


def _stamp(path: Path) -> Any:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size
