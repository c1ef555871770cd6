"""Every value-level fact in AWS's recordings: Pass outputs, assigned variables, choices taken, causes of failures."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from stepwell.language.choices import compile_rule
from stepwell.language.errors import StatesError
from stepwell.language.jsonata import compile_field
from stepwell.language.jsonpath import compile_path, compile_reference_path
from stepwell.language.scope import Scope
from stepwell.language.templates import compile_template, is_expression
from stepwell.language.values import json_equal

from .recordings import AREAS, CASES, Visit, evaluable, files, payload, visits

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.skipif(not CASES.is_dir(), reason="AWS's recordings are not beside the repository"),
]

PREFIX = re.compile(r"An error occurred while executing the state '.*?' \(entered at the event id #\d+\)\. ")


def scope_of(visit: Visit, document: Any = None, **states: Any) -> Scope:
    context = {"Execution": {"Input": visit.execution_input}}
    return Scope(
        document if document is not None else visit.input,
        context=context,
        variables=visit.variables,
        states={"input": visit.input, **states},
    )


def pass_output(visit: Visit) -> tuple[Any, dict[str, Any]]:
    """Output and assigned variables of a Pass state."""
    state = visit.state
    if visit.query_language == "JSONata":
        scope = scope_of(visit)
        output = visit.input
        if "Output" in state:
            output = compile_template(state["Output"], query_language="JSONata", field="Output")(scope)
        assigned = compile_template(state.get("Assign", {}), query_language="JSONata", field="Assign")(scope)
        return output, assigned
    document = {} if state.get("InputPath", "$") is None else compile_path(state.get("InputPath", "$"))(scope_of(visit))
    result = state.get("Result", document)
    if "Parameters" in state:
        template = compile_template(state["Parameters"], query_language="JSONPath", field="Parameters")
        document = result = template(scope_of(visit, document))
        result = state.get("Result", result)
    assigned = compile_template(state.get("Assign", {}), query_language="JSONPath", field="Assign")(
        scope_of(visit, result)
    )
    output = visit.input
    if state.get("ResultPath", "$") is not None:
        output = compile_reference_path(state.get("ResultPath", "$")).write(visit.input, result)
    if "OutputPath" in state:
        output = {} if state["OutputPath"] is None else compile_path(state["OutputPath"])(scope_of(visit, output))
    return output, assigned


def choice_next(visit: Visit) -> str | None:
    for number, rule in enumerate(visit.state["Choices"]):
        compiled = compile_rule(rule, query_language=visit.query_language, field=f"Choices[{number}]")  # type: ignore[arg-type]
        if compiled(scope_of(visit)):
            return rule["Next"]
    return visit.state.get("Default")


def check(path: Path) -> int:
    """Check a case; gives the number of facts it held."""
    facts = 0
    for visit in visits(path):
        where = f"{visit.case}: {visit.name}"
        if visit.failure is not None and "JSONata expression" in visit.failure.get("cause", ""):
            check_failure(visit)
            facts += 1
        elif visit.state["Type"] == "Pass" and visit.output is not None and evaluable(visit):
            output, assigned = pass_output(visit)
            assert json_equal(output, visit.output), where
            assert json_equal(assigned, visit.assigned), where
            facts += 1
        elif visit.state["Type"] == "Choice" and visit.next is not None and evaluable(visit):
            assert choice_next(visit) == visit.next, where
            facts += 1
    return facts


def check_failure(visit: Visit) -> None:
    """The expression at the recorded location fails with the recorded cause."""
    assert visit.failure is not None
    value: Any = visit.state
    for key in re.findall(r"[^/\[\]]+", visit.failure["location"]):
        value = value[int(key)] if isinstance(value, list) else value[key]
    assert is_expression(value), visit.case
    expected = "array" if visit.failure["location"] == "Items" else None
    evaluate = compile_field(value, visit.failure["location"], expected)
    with pytest.raises(StatesError) as caught:
        evaluate(scope_of(visit))
    assert caught.value.cause == PREFIX.sub("", visit.failure["cause"], count=1)
    assert caught.value.error == visit.failure["error"]
    assert caught.value.location == visit.failure["location"]


@pytest.mark.parametrize("area", AREAS)
def test_area(area: str) -> None:
    for path in files((area,)):
        check(path)


def test_that_there_are_facts() -> None:
    assert sum(check(path) for path in files()) > 250


def test_choice_operators() -> None:
    """The comparison recordings list inputs and outcomes instead of histories."""
    count = 0
    for path in files(("choice_operators",)):
        case = json.loads(path.read_text())
        runs = [step["args"] for step in case["steps"] if step.get("op") == "start_execution"]
        machines = {
            step["id"]: step["args"]["definition"]["$definition"]
            for step in case["steps"]
            if step.get("op") == "create_state_machine"
        }
        for run, recorded in zip(runs, case["expected"]["cases"], strict=True):
            machine = machines[re.match(r"⟦(r\d+)", run["stateMachineArn"])[1]]  # type: ignore[index]
            (rule,) = case["definitions"][machine]["States"]["CheckValues"]["Choices"]
            outcome = compile_rule(rule, query_language="JSONPath")(Scope(payload(run["input"])))
            assert outcome is (recorded["output"] == {"TestResult.$": "ConditionTrue"}), (path.stem, rule, run)
            count += 1
    assert count > 200
