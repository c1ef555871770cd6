"""Validation against AWS's recorded answers: what AWS accepted is accepted, what it refused is refused in its words."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepwell.language import compile_machine
from stepwell.language.diagnostics import errors_of, invalid_definition_message
from stepwell.language.validation import validate, validate_state

CASES = Path(__file__).parents[3] / "shared" / "conformance" / "cases"

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(not CASES.is_dir(), reason="needs the recorded cases in ../shared/conformance"),
]

OPERATIONS = {"create_state_machine", "update_state_machine", "validate_state_machine_definition", "test_state"}
PLACEHOLDERS = (
    (r"⟦r\d+\.activityArn⟧", "arn:aws:states:us-east-1:111111111111:activity:a"),
    (r"⟦r\d+\.arn⟧", "arn:aws:lambda:us-east-1:111111111111:function:f"),
    (r"⟦time:[^⟧]*Z⟧", "2030-01-01T00:00:00Z"),
    (r"⟦time:[^⟧]*⟧", "2030-01-01T00:00:00"),
    (r"⟦[^⟧]*⟧", "x"),
)


def requests() -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    """Every case, request and definition text that was sent to AWS to be checked."""
    for file in sorted(CASES.glob("**/*.json")):
        case = json.loads(file.read_text(encoding="utf-8"))
        for step in case["steps"]:
            definition = step.get("args", {}).get("definition") if step.get("op") in OPERATIONS else None
            if definition is None:
                continue
            if not isinstance(definition, str):
                definition = json.dumps(case["definitions"][definition["$definition"]])
            for pattern, text in PLACEHOLDERS:
                definition = re.sub(pattern, text, definition)
            yield case, step, definition


def check(step: dict[str, Any], definition: str) -> list[Any]:
    single = step["op"] == "test_state" and "stateName" not in step["args"] and "Type" in json.loads(definition)
    return (validate_state if single else validate)(definition, kind=step["args"].get("type", "STANDARD"))


def recorded_message(case: dict[str, Any]) -> str | None:
    """The message of the InvalidDefinition that a case expects; None if it expects none."""
    for expected in case["expected"].values():
        if not isinstance(expected, dict):
            continue
        if expected.get("Error", {}).get("Code") == "InvalidDefinition":
            return str(expected["message"])
        if expected.get("exception_typename") == "InvalidDefinition":
            return str(expected["exception_value"]).partition(" operation: ")[2]
    return None


def test_every_definition_gets_the_recorded_answer() -> None:
    accepted = refused = 0
    for case, step, definition in requests():
        diagnostics = check(step, definition)
        if step["op"] == "validate_state_machine_definition":
            (recorded,) = case["expected"].values()
            assert [d.as_wire() for d in diagnostics] == recorded["diagnostics"], case["id"]
        elif step.get("error") and (message := recorded_message(case)) is not None:
            answer = invalid_definition_message(diagnostics, definition)
            assert answer.replace("arn:aws:", "arn:<partition>:") == message, case["id"]
            refused += 1
        else:
            assert errors_of(diagnostics) == [], case["id"]
            accepted += 1
    assert accepted > 850
    assert refused > 90


def test_every_accepted_machine_compiles() -> None:
    for case, step, definition in requests():
        if step["op"] != "test_state" and not errors_of(check(step, definition)):
            try:
                compile_machine(json.loads(definition))
            except Exception as error:
                error.add_note(case["id"])
                raise
