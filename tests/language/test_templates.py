"""Payload templates in both query languages."""

from typing import Any

import pytest

from stepwell.language.errors import StatesError
from stepwell.language.intrinsics import IntrinsicSyntaxError
from stepwell.language.jsonata import JsonataSyntaxError
from stepwell.language.jsonpath import PathSyntaxError
from stepwell.language.scope import Scope
from stepwell.language.templates import TemplateError, compile_path_value, compile_template, is_expression

SCOPE = Scope(
    {"a": {"b": 5}, "list": [1, {"x": 2}], "null": None},
    context={"State": {"Name": "S"}},
    variables={"v": 7},
    states={"input": {"a": {"b": 5}, "nil": None}},
)


def jsonpath(value: Any, scope: Scope = SCOPE) -> Any:
    return compile_template(value, query_language="JSONPath", field="Parameters")(scope)


def jsonata(value: Any, scope: Scope = SCOPE) -> Any:
    return compile_template(value, query_language="JSONata", field="Output")(scope)


def test_jsonpath() -> None:
    template = {
        "fixed": "$.a.b",
        "path.$": "$.a.b",
        "context.$": "$$.State.Name",
        "variable.$": "$v",
        "call.$": "States.Format('{}', $.a.b)",
        "missing.$": "$.list[9]",
        "none.$": "$.list[*].nope",
        "nested": {"list": [{"x.$": "$.list[1].x"}, "{% 1 %}"]},
    }
    assert jsonpath(template) == {
        "fixed": "$.a.b",
        "path": 5,
        "context": "S",
        "variable": 7,
        "call": "5",
        "missing": None,
        "none": [],
        "nested": {"list": [{"x": 2}, "{% 1 %}"]},
    }
    assert list(jsonpath(template)) == [key.removesuffix(".$") for key in template]


def test_jsonata() -> None:
    template = {
        "fixed": "$v",
        "sum": "{% $v + $states.input.a.b %}",
        "null": "{% $states.input.nil %}",
        "nested": [{"x.$": "{%$v%}"}, 1],
        "name": "{% $states.context.State.Name %}",
    }
    assert jsonata(template) == {"fixed": "$v", "sum": 12, "null": None, "nested": [{"x.$": 7}, 1], "name": "S"}
    assert jsonata("{% [1, 2] %}") == [1, 2]
    assert jsonata(True) is True


@pytest.mark.parametrize("language", [jsonpath, jsonata])
def test_a_template_without_anything_dynamic_is_its_own_value(language: Any) -> None:
    value = {"a": [1, {"b": None}]}
    assert language(value) is value


def test_only_what_is_dynamic_is_copied() -> None:
    template = {"kept": {"big": [1, 2]}, "x.$": "$.a"}
    first, second = jsonpath(template), jsonpath(template)
    assert first["kept"] is template["kept"] is second["kept"]
    assert first is not second
    assert first["x"] is SCOPE.document["a"]
    assert template == {"kept": {"big": [1, 2]}, "x.$": "$.a"}


def test_a_path_that_is_not_found() -> None:
    with pytest.raises(StatesError) as caught:
        jsonpath({"deep": [{"missing.$": "$.nope.deep"}]}, Scope({"other": 1}))
    assert caught.value.error == "States.Runtime"
    assert caught.value.cause == (
        "The JSONPath '$.nope.deep' specified for the field 'missing.$' could not be found in the input '{\"other\":1}'"
    )


def test_a_context_path_that_is_not_found_names_the_context() -> None:
    with pytest.raises(
        StatesError, match=r"JSONPath '\$.Map.Item' .* 'x.\$' .* in the input '{\"State\":{\"Name\":\"S\"}}'"
    ):
        jsonpath({"x.$": "$$.Map.Item"})


@pytest.mark.parametrize("path", ["$", "$.a", "$[*]"])
def test_a_null_document(path: str) -> None:
    with pytest.raises(StatesError, match="Unable to apply Path transformation to null or empty input"):
        jsonpath({"x.$": path}, Scope(None))


@pytest.mark.parametrize(
    ("template", "location"),
    [
        ("{% $nope %}", "Output"),
        ({"a": {"b c": "{% $nope %}"}}, "Output/a/b c"),
        ({"a": [1, ["{% $nope %}"]]}, "Output/a[1][0]"),
    ],
)
def test_jsonata_names_the_place(template: Any, location: str) -> None:
    with pytest.raises(StatesError) as caught:
        jsonata(template)
    assert caught.value.error == "States.QueryEvaluationError"
    assert caught.value.location == location
    assert caught.value.cause == (
        f"The JSONata expression '$nope' specified for the field '{location}' returned nothing (undefined)."
    )


@pytest.mark.parametrize(
    ("template", "pointer", "cause"),
    [
        ({"a": [{"b.$": "$.["}]}, "/a/0/b.$", PathSyntaxError),
        ({"b.$": "States.Nope()"}, "/b.$", IntrinsicSyntaxError),
        ({"b.$": "plain"}, "/b.$", IntrinsicSyntaxError),
        ({"x/y~z": {"b.$": 5}}, "/x~1y~0z/b.$", type(None)),
        ({"b": 1, "b.$": "$.a"}, "/b.$", type(None)),
        ({"b.$": "$.a", "b": 1}, "/b", type(None)),
    ],
)
def test_faults_of_a_jsonpath_template(template: Any, pointer: str, cause: type) -> None:
    with pytest.raises(TemplateError) as caught:
        compile_template(template, query_language="JSONPath", field="Parameters")
    assert caught.value.pointer == pointer
    assert type(caught.value.__cause__) is cause


def test_faults_of_a_jsonata_template() -> None:
    with pytest.raises(TemplateError) as caught:
        compile_template({"a": [0, "{% 1 + %}"]}, query_language="JSONata", field="Output")
    assert caught.value.pointer == "/a/1"
    assert type(caught.value.__cause__) is JsonataSyntaxError


def test_path_value() -> None:
    assert compile_path_value("$.a.b", "ErrorPath")(SCOPE) == 5
    assert compile_path_value("States.Format('x{}', $.a.b)", "CausePath")(SCOPE) == "x5"
    with pytest.raises(StatesError, match="specified for the field 'ErrorPath' could not be found"):
        compile_path_value("$.e", "ErrorPath")(SCOPE)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{% 1 %}", True),
        ("{%1%}", True),
        (" {% 1 %}", False),
        ("{% 1 %} ", False),
        ("{%}", False),
        ("x", False),
        (5, False),
    ],
)
def test_is_expression(value: Any, expected: bool) -> None:
    assert is_expression(value) is expected
