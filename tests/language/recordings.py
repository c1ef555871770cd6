"""AWS's recorded answers, read as facts about values: what a Pass gives, which rule of a Choice matches, why it fails.

The cases lie beside the repository (`../shared/conformance/cases`); without them there are no facts.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CASES = Path(__file__).resolve().parents[3] / "shared" / "conformance" / "cases"
_AREAS = (
    "arguments assign base choice_operators context_object error_handling evaluate_jsonata intrinsic_functions"
    " outputdecl query_language scenarios states_variables"
)
AREAS = tuple(_AREAS.split())

_REFERENCE = re.compile(r"⟦(r\d+)\.")


@dataclass
class Visit:
    """One visit of a state: what went in and what AWS says came out."""

    case: str
    name: str
    state: dict[str, Any]
    query_language: str
    input: Any
    execution_input: Any
    variables: dict[str, Any]
    output: Any = None
    assigned: dict[str, Any] = field(default_factory=dict)
    next: str | None = None
    failure: dict[str, Any] | None = None
    """The details of an EvaluationFailed event."""


def payload(value: Any) -> Any:
    """A payload of a recorded event: objects are recorded as JSON, everything else as JSON text."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def files(areas: tuple[str, ...] = AREAS) -> list[Path]:
    return [path for area in areas for path in sorted((CASES / area).glob("*.json"))]


def histories(case: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The definition and the events of every recorded history of a case."""
    steps = {step["id"]: step for step in case["steps"] if "id" in step}
    for step in case["steps"]:
        recorded = case["expected"].get(step.get("match", ""))
        if not isinstance(recorded, dict) or "events" not in recorded:
            continue
        definition = _definition(case, steps, step)
        if definition is not None:
            yield definition, recorded["events"]


def _definition(case: dict[str, Any], steps: dict[str, Any], match: dict[str, Any]) -> dict[str, Any] | None:
    if len(case["definitions"]) == 1:
        return case["definitions"][0]
    reference = match["value"].get("$ref") if isinstance(match["value"], dict) else None
    for key in ("executionArn", "stateMachineArn"):
        args = steps.get(reference, {}).get("args", {})
        found = _REFERENCE.match(args.get(key, ""))
        reference = found[1] if found else None
    definition = steps.get(reference, {}).get("args", {}).get("definition")
    return case["definitions"][definition["$definition"]] if isinstance(definition, dict) else None


def visits(path: Path) -> Iterator[Visit]:
    case = json.loads(path.read_text())
    for definition, events in histories(case):
        states = dict(_states(definition, definition.get("QueryLanguage", "JSONPath")))
        execution_input = payload(events[0].get("executionStartedEventDetails", {}).get("input"))
        by_previous: dict[int, list[dict[str, Any]]] = {}
        for event in events:
            if type(event["id"]) is type(event["previousEventId"]) is int:  # else several, recorded as one
                by_previous.setdefault(event["previousEventId"], []).append(event)
        variables: dict[str, Any] = {}
        for event in events:
            for name, value in event.get("stateExitedEventDetails", {}).get("assignedVariables", {}).items():
                variables[name] = payload(value)
            entered = event.get("stateEnteredEventDetails")
            if entered is None or entered["name"] not in states or "input" not in entered or type(event["id"]) is list:
                continue
            state, query_language = states[entered["name"]]
            visit = Visit(
                case=f"{path.parent.name}/{path.stem}",
                name=entered["name"],
                state=state,
                query_language=query_language,
                input=payload(entered["input"]),
                execution_input=execution_input,
                variables=dict(variables),
            )
            for after in by_previous.get(event["id"], []):
                exited = after.get("stateExitedEventDetails")
                if exited is not None and exited["name"] == visit.name and "output" in exited:
                    visit.output = payload(exited["output"])
                    visit.assigned = {
                        name: payload(value) for name, value in exited.get("assignedVariables", {}).items()
                    }
                    for later in by_previous.get(after["id"], []):
                        visit.next = later.get("stateEnteredEventDetails", {}).get("name")
            failures = [
                later["evaluationFailedEventDetails"]
                for later in events
                if later.get("evaluationFailedEventDetails", {}).get("state") == visit.name
                and later["id"] > event["id"]
            ]
            visit.failure = failures[0] if failures else None
            yield visit


def _states(workflow: dict[str, Any], query_language: str) -> Iterator[tuple[str, tuple[dict[str, Any], str]]]:
    for name, state in workflow.get("States", {}).items():
        yield name, (state, state.get("QueryLanguage", query_language))
        for inner in (*state.get("Branches", ()), state.get("ItemProcessor", {}), state.get("Iterator", {})):
            yield from _states(inner, query_language)


def evaluable(visit: Visit) -> bool:
    """Whether the state's values follow from what the recording shows."""
    text = json.dumps(visit.state)
    if any(word in text for word in ("States.UUID", "MathRandom", "$uuid", "$random", "$now", "$millis", "⟦")):
        return False
    return not re.search(r"\$\$(?!\.Execution\.Input)|\$states\.context(?!\.Execution\.Input)", text)
