"""The mock configuration file of Step Functions Local: what tasks answer in the test cases of state machines.

    {"StateMachines": {"orders": {"TestCases": {"RetryPath": {"Charge": "ChargeLater"}}}},
     "MockedResponses": {"ChargeLater": {"0-1": {"Throw": {"Error": "Busy", "Cause": "..."}}, "2": {"Return": {"ok": true}}}}}

Source: https://docs.aws.amazon.com/step-functions/latest/dg/sfn-local-mock-cfg-file.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepwell.engine.errors import EngineError
from stepwell.language.diagnostics import DefinitionError, pointer_of
from stepwell.language.source import Source, load

__all__ = ["MockFile", "MockFileError", "MockedResponse", "Return", "Throw", "read_mock_file"]

_NUMBERS = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")


class MockFileError(EngineError):
    """The mock configuration file cannot be used; the message has every mistake with its place."""


@dataclass(frozen=True, slots=True)
class Return:
    """The task's result, any JSON value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Throw:
    """The task's failure."""

    error: str
    cause: str | None


@dataclass(frozen=True, slots=True)
class MockedResponse:
    """What a mocked state answers, by the number of its invocation."""

    name: str
    answers: tuple[tuple[int, int, Return | Throw], ...]
    """(first, last, answer)."""

    def answer(self, number: int) -> Return | Throw | None:
        """The answer to an invocation, counted from 0."""
        for first, last, answer in self.answers:
            if first <= number <= last:
                return answer
        return None


@dataclass(frozen=True, slots=True)
class MockFile:
    """Responses by state machine, test case and state."""

    path: Path
    machines: dict[str, dict[str, dict[str, MockedResponse]]]


def read_mock_file(path: Path) -> MockFile:
    """Read and check the file. Raises MockFileError."""
    try:
        source = load(path)
    except OSError as error:
        raise MockFileError(f"{path}: the mock configuration file cannot be read: {error.strerror or error}") from error
    except DefinitionError as error:
        raise MockFileError(f"the mock configuration file is not JSON: {error}") from error
    reader = _Reader(source, path)
    file = reader.read()
    if reader.mistakes:
        raise MockFileError("\n".join(["the mock configuration file cannot be used:", *reader.mistakes]))
    return file


class _Reader:
    def __init__(self, source: Source, path: Path) -> None:
        self.source = source
        self.path = path
        self.mistakes: list[str] = []

    def read(self) -> MockFile:
        root = self._object(self.source.value, (), "the file")
        self._only(root, (), ("StateMachines", "MockedResponses"))
        responses = {
            name: self._response(name, value)
            for name, value in self._object(root.get("MockedResponses", {}), ("MockedResponses",)).items()
        }
        machines = {}
        for name, machine in self._object(root.get("StateMachines", {}), ("StateMachines",)).items():
            place = ("StateMachines", name)
            self._only(self._object(machine, place), place, ("TestCases",))
            cases = self._object(
                machine.get("TestCases", {}) if isinstance(machine, dict) else {}, (*place, "TestCases")
            )
            machines[name] = {
                case: self._case(states, (*place, "TestCases", case), responses) for case, states in cases.items()
            }
        return MockFile(self.path, machines)

    def _case(
        self, states: Any, place: tuple[str, ...], responses: dict[str, MockedResponse]
    ) -> dict[str, MockedResponse]:
        found = {}
        for state, name in self._object(states, place).items():
            if isinstance(name, str) and name in responses:
                found[state] = responses[name]
            else:
                self._mistake((*place, state), f"{name!r} is not the name of one of MockedResponses")
        return found

    def _response(self, name: str, value: Any) -> MockedResponse:
        place = ("MockedResponses", name)
        answers: list[tuple[int, int, Return | Throw]] = []
        for numbers, answer in self._object(value, place).items():
            parsed = _NUMBERS.fullmatch(numbers)
            first = int(parsed[1]) if parsed else 0
            last = int(parsed[2] or parsed[1]) if parsed else 0
            if parsed is None or last < first:
                self._mistake((*place, numbers), 'the key must be the number of an invocation, "0", or a range, "1-2"')
            elif any(first <= other_last and other_first <= last for other_first, other_last, _ in answers):
                self._mistake((*place, numbers), "the invocation is mocked twice")
            found = self._answer(answer, (*place, numbers))
            if found is not None:
                answers.append((first, last, found))
        if not answers:
            self._mistake(place, 'it must answer at least invocation "0"')
        return MockedResponse(name, tuple(answers))

    def _answer(self, answer: Any, place: tuple[str, ...]) -> Return | Throw | None:
        fields = self._object(answer, place)
        if set(fields) == {"Return"}:
            return Return(fields["Return"])
        if set(fields) != {"Throw"}:
            if isinstance(answer, dict):
                self._mistake(place, "it must have one field, Return or Throw")
            return None
        thrown = self._object(fields["Throw"], (*place, "Throw"))
        self._only(thrown, (*place, "Throw"), ("Error", "Cause"))
        error, cause = thrown.get("Error"), thrown.get("Cause")
        if isinstance(error, str) and (cause is None or isinstance(cause, str)):
            return Throw(error, cause)
        self._mistake((*place, "Throw"), "Error and Cause must be strings")
        return None

    def _object(self, value: Any, place: tuple[str, ...], what: str = "it") -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self._mistake(place, f"{what} must be an object")
        return {}

    def _only(self, fields: dict[str, Any], place: tuple[str, ...], known: tuple[str, ...]) -> None:
        for name in fields:
            if name not in known:
                self._mistake((*place, name), f"the field is unknown here; known: {', '.join(known)}")

    def _mistake(self, place: tuple[str, ...], text: str) -> None:
        pointer = pointer_of(place)
        line, column = self.source.place(pointer)
        self.mistakes.append(f"{self.path}:{line}:{column}: {pointer or '/'}: {text}")
