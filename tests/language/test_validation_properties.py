"""Whatever a definition is, validation answers; and what it accepts compiles."""

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.language import compile_machine, errors_of, validate, validate_state

LAMBDA = "arn:aws:lambda:us-east-1:111122223333:function:f"

JSONPATH: dict[str, Any] = {
    "StartAt": "Work",
    "TimeoutSeconds": 60,
    "States": {
        "Work": {
            "Type": "Task",
            "Resource": LAMBDA,
            "InputPath": "$.a",
            "Parameters": {"x.$": "$.b[0]", "y": [{"z.$": "States.Format('{}', $.c)"}]},
            "ResultSelector": {"r.$": "$.d"},
            "ResultPath": "$.e.f",
            "OutputPath": None,
            "TimeoutSecondsPath": "$.t",
            "HeartbeatSeconds": 5,
            "Credentials": {"RoleArn.$": "$.role"},
            "Assign": {"v.$": "$.g"},
            "Retry": [{"ErrorEquals": ["E"], "MaxAttempts": 2, "BackoffRate": 1.5}, {"ErrorEquals": ["States.ALL"]}],
            "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.error", "Next": "Choose"}],
            "Next": "Choose",
        },
        "Choose": {
            "Type": "Choice",
            "Choices": [
                {"Variable": "$.a", "NumericGreaterThan": 1, "Next": "Each"},
                {"And": [{"Not": {"Variable": "$v", "IsPresent": True}}], "Assign": {"w": 1}, "Next": "Wait"},
                {"Variable": "$.t", "TimestampLessThanPath": "$$.State.EnteredTime", "Next": "Both"},
            ],
            "Default": "Fail",
        },
        "Each": {
            "Type": "Map",
            "ItemsPath": "$.items",
            "ItemSelector": {"i.$": "$$.Map.Item.Value"},
            "MaxConcurrency": 3,
            "ToleratedFailurePercentagePath": "$.p",
            "Label": "each",
            "ItemReader": {
                "Resource": "arn:aws:states:::s3:getObject",
                "Parameters": {"Bucket": "b", "Key.$": "$.k"},
                "ReaderConfig": {"InputType": "CSV", "CSVHeaderLocation": "GIVEN", "CSVHeaders": ["a"], "MaxItems": 5},
            },
            "ItemBatcher": {"MaxItemsPerBatch": 2, "BatchInput": {"q.$": "$.r"}},
            "ResultWriter": {"Resource": "arn:aws:states:::s3:putObject", "Parameters": {"Bucket": "b"}},
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},
                "StartAt": "Item",
                "States": {"Item": {"Type": "Pass", "Result": {"a": 1}, "End": True}},
            },
            "Next": "Wait",
        },
        "Wait": {"Type": "Wait", "TimestampPath": "$.when", "Next": "Both"},
        "Both": {
            "Type": "Parallel",
            "Branches": [{"StartAt": "L", "States": {"L": {"Type": "Succeed"}}}],
            "Parameters": {"a.$": "$$.Execution.Id"},
            "End": True,
        },
        "Fail": {"Type": "Fail", "ErrorPath": "$.e", "CausePath": "States.JsonToString($.c)"},
    },
}

JSONATA: dict[str, Any] = {
    "QueryLanguage": "JSONata",
    "StartAt": "Work",
    "States": {
        "Work": {
            "Type": "Task",
            "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
            "Arguments": {
                "QueueUrl": "{% $states.input.q %}",
                "MessageBody": {"a": ["{% $states.context.Task.Token %}"]},
            },
            "TimeoutSeconds": "{% 5 %}",
            "Output": "{% $states.result %}",
            "Assign": {"v": "{% $states.result.x %}"},
            "Catch": [{"ErrorEquals": ["E"], "Output": "{% $states.errorOutput %}", "Next": "Choose"}],
            "Next": "Choose",
        },
        "Choose": {
            "Type": "Choice",
            "Choices": [{"Condition": "{% $v > 1 %}", "Output": {"a": 1}, "Next": "Each"}],
            "Default": "Wait",
        },
        "Each": {
            "Type": "Map",
            "Items": "{% $states.input.items %}",
            "MaxConcurrency": "{% 2 %}",
            "ItemSelector": {"i": "{% $states.context.Map.Item.Index %}"},
            "ItemProcessor": {"StartAt": "Item", "States": {"Item": {"Type": "Succeed", "Output": "{% $v %}"}}},
            "Next": "Wait",
        },
        "Wait": {"Type": "Wait", "Timestamp": "{% $now() %}", "Next": "Fail"},
        "Fail": {"Type": "Fail", "Error": "{% $v %}", "Cause": "c"},
    },
}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-2, 10**9)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(
        [
            "$",
            "$.a",
            "$$",
            "$.a[*]",
            "$v.x",
            "$..b",
            "States.UUID()",
            "{% 1 %}",
            "{% a",
            "",
            "JSONata",
            "JSONPath",
            "Wait",
            "DISTRIBUTED",
            "States.ALL",
            "arn:aws:states:::sqs:sendMessage",
            "2030-01-01T00:00:00Z",
            "Map",
            "Pass",
            "Task",
        ]
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)

FIELDS = sorted(
    {name for machine in (JSONPATH, JSONATA) for state in machine["States"].values() for name in state}
    | {"Next", "End", "QueryLanguage", "Iterator", "Items", "Output", "x.$", "Seconds", "SecondsPath", "Variable"}
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a value."""
    found = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found.append((value, key))
        found.extend(places(item))
    return found


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """A valid definition with a few things changed, removed, added or put elsewhere."""
    definition = copy.deepcopy(draw(st.sampled_from([JSONPATH, JSONATA])))
    for _ in range(draw(st.integers(1, 3))):
        all_places = places(definition)
        container, key = draw(st.sampled_from(all_places))
        match draw(st.sampled_from(["replace", "remove", "add", "graft"])):
            case "replace":
                container[key] = draw(values)
            case "remove" if isinstance(container, dict):
                del container[key]
            case "add" if isinstance(container[key], dict):
                container[key][draw(st.sampled_from(FIELDS))] = draw(values)
            case "graft":
                other, name = draw(st.sampled_from(all_places))
                container[key] = copy.deepcopy(other[name])
    return definition


def test_the_samples_are_valid() -> None:
    for definition in (JSONPATH, JSONATA):
        assert validate(definition) == []
        compile_machine(definition)


@given(values)
def test_any_value_gets_an_answer(value: Any) -> None:
    for diagnostic in [*validate({"StartAt": "A", "States": {"A": value}}), *validate_state(value)]:
        assert diagnostic.message
    if not isinstance(value, str):
        validate(value)


@settings(max_examples=400)
@given(mutated())
def test_what_is_accepted_compiles_and_what_is_not_says_where(definition: Any) -> None:
    diagnostics = validate(definition)
    for diagnostic in diagnostics:
        assert str(diagnostic)
        assert diagnostic.remedy
    if not errors_of(diagnostics):
        compile_machine(definition)
    text = json.dumps(definition)
    assert [d.as_wire() for d in validate(text)] == [d.as_wire() for d in diagnostics] or "Infinity" in text
