"""What a definition becomes."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell.language.compiler import CompileError, compile_machine, substitute
from stepwell.language.model import MapState, ParallelState, TaskState, WaitState
from stepwell.language.scope import Scope

PASS = {"Type": "Pass", "End": True}


def machine(state: dict[str, Any], **fields: Any) -> Any:
    return compile_machine({"StartAt": "S", "States": {"S": state}, **fields})


@pytest.mark.parametrize(
    ("resource", "kind", "service", "action", "pattern"),
    [
        ("arn:aws:lambda:us-east-1:1:function:f", "lambda", "", "", ""),
        ("arn:aws:states:us-east-1:1:activity:a", "activity", "", "", ""),
        ("arn:aws:states:::lambda:invoke", "service", "lambda", "invoke", ""),
        (
            "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
            "service",
            "sqs",
            "sendMessage.waitForTaskToken",
            "waitForTaskToken",
        ),
        ("arn:aws:states:::states:startExecution.sync:2", "service", "states", "startExecution.sync:2", "sync"),
        ("arn:aws:states:::aws-sdk:s3:getObject", "service", "aws-sdk:s3", "getObject", ""),
        ("arn:aws-cn:states:::ecs:runTask.sync", "service", "ecs", "runTask.sync", "sync"),
    ],
)
def test_resources(resource: str, kind: str, service: str, action: str, pattern: str) -> None:
    state = machine({"Type": "Task", "Resource": resource, "End": True}).states["S"]
    assert isinstance(state, TaskState)
    assert (state.kind, state.service, state.action, state.pattern) == (kind, service, action, pattern)


def test_default_paths_cost_nothing() -> None:
    state = machine({**PASS, "InputPath": "$", "OutputPath": "$", "ResultPath": "$"}).states["S"]
    assert (state.input_path, state.output_path, state.result_path, state.discard_result) == (None, None, None, False)
    null = machine({**PASS, "InputPath": None, "ResultPath": None}).states["S"]
    assert null.input_path is not None
    assert null.input_path(Scope({"a": 1})) == {}
    assert null.discard_result


def test_workflows_are_found_by_their_pointers() -> None:
    inner = {"StartAt": "a/b~c", "States": {"a/b~c": PASS}}
    compiled = compile_machine(
        {
            "StartAt": "P",
            "States": {
                "P": {"Type": "Parallel", "Branches": [inner, inner], "Next": "M"},
                "M": {"Type": "Map", "Iterator": inner, "End": True},
            },
        }
    )
    assert set(compiled.workflows) == {"", "/States/P/Branches/0", "/States/P/Branches/1", "/States/M/Iterator"}
    assert isinstance(compiled.states["P"], ParallelState)
    found = compiled.state("/States/M/Iterator/States/a~1b~0c")
    assert found.name == "a/b~c"
    child = compiled.child("/States/M")
    assert (child.start_at, list(child.states)) == ("a/b~c", ["a/b~c"])
    for pointer in ("/States/P", "/States/Nope"):
        with pytest.raises(KeyError):
            compiled.child(pointer)


def test_query_language_is_the_machines_or_the_states_own() -> None:
    states = {"A": {"Type": "Pass", "Output": "{% 1 %}", "Next": "B"}, "B": {**PASS, "QueryLanguage": "JSONPath"}}
    compiled = compile_machine({"QueryLanguage": "JSONata", "StartAt": "A", "States": states})
    assert [state.jsonata for state in compiled.states.values()] == [True, False]


def test_wait_forms() -> None:
    forms = {"Seconds": 5, "Timestamp": "2030-01-01T00:00:00Z", "SecondsPath": "$.s", "TimestampPath": "$.t"}
    for name, value in forms.items():
        state = machine({"Type": "Wait", name: value, "End": True}).states["S"]
        assert isinstance(state, WaitState)
        assert state.field_name == name
        assert (state.evaluate is None) == (not name.endswith("Path"))


def test_map_fields() -> None:
    state = machine(
        {
            "Type": "Map",
            "ItemProcessor": {
                "StartAt": "P",
                "States": {"P": PASS},
                "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},
            },
            "ItemReader": {"Resource": "r", "ReaderConfig": {"InputType": "JSON", "MaxItems": 5}},
            "ItemBatcher": {"MaxItemsPerBatchPath": "$.n", "BatchInput": {"a.$": "$.a"}},
            "ResultWriter": {
                "Resource": "w",
                "Parameters": {"Bucket": "b"},
                "WriterConfig": {"Transformation": "NONE"},
            },
            "ToleratedFailurePercentage": 12.5,
            "Label": "label",
            "End": True,
        }
    ).states["S"]
    assert isinstance(state, MapState)
    assert (state.distributed, state.execution_type, state.label) == (True, "EXPRESS", "label")
    assert state.reader is not None and state.reader.max_items is not None and state.reader.max_items.value == 5
    assert state.reader.config is not None and state.reader.config(Scope({})) == {"InputType": "JSON"}
    assert state.batcher is not None and state.batcher.max_items is not None
    assert state.batcher.max_items.name == "MaxItemsPerBatchPath"
    assert state.writer is not None and state.writer.config == {"Transformation": "NONE"}
    assert state.tolerated_percentage is not None and state.tolerated_percentage.value == 12.5


@pytest.mark.parametrize(
    ("state", "pointer"),
    [
        ({**PASS, "InputPath": "$.["}, "/States/S/InputPath"),
        ({**PASS, "ResultPath": "$.a[*]"}, "/States/S/ResultPath"),
        ({**PASS, "Parameters": {"a": {"b.$": "States.Nope($)"}}}, "/States/S/Parameters/a/b.$"),
        (
            {"Type": "Choice", "Choices": [{"Variable": "$.[", "IsNull": True, "Next": "S"}]},
            "/States/S/Choices/0/Variable",
        ),
        ({"Type": "Magic"}, "/States/S/Type"),
    ],
)
def test_what_does_not_compile_is_named_by_its_pointer(state: dict[str, Any], pointer: str) -> None:
    with pytest.raises(CompileError) as caught:
        machine(state)
    assert caught.value.pointer == pointer
    assert pointer in str(caught.value)


def test_expressions_that_do_not_compile() -> None:
    with pytest.raises(CompileError) as caught:
        machine({**PASS, "Output": {"a": ["{% 1 + %}"]}}, QueryLanguage="JSONata")
    assert caught.value.pointer == "/States/S/Output/a/0"


def test_substitutions() -> None:
    source = {"Resource": "${functions.f}", "Parameters": ["${functions.f}/${unknown}", 5]}
    assert substitute(source, {"functions.f": "arn"}) == {"Resource": "arn", "Parameters": ["arn/${unknown}", 5]}
    compiled = compile_machine(
        {"StartAt": "S", "States": {"S": {"Type": "Task", "Resource": "${functions.f}", "End": True}}},
        substitutions={"functions.f": "arn:aws:lambda:us-east-1:1:function:f"},
    )
    state = compiled.states["S"]
    assert isinstance(state, TaskState) and state.kind == "lambda"
    assert compiled.definition["States"]["S"]["Resource"].startswith("arn:")
