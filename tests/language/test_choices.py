"""Choice rules: every operator on every type, missing values, and what can't be compiled."""

from typing import Any

import pytest

from stepwell.language.choices import OPERATORS, RuleError, compile_rule
from stepwell.language.errors import StatesError
from stepwell.language.scope import Scope

VALUES: dict[str, Any] = {
    "null": None,
    "zero": 0,
    "float": 0.0,
    "one": 1,
    "true": True,
    "false": False,
    "empty": "",
    "text": "b",
    "time": "2024-01-01T00:00:00Z",
    "list": [],
    "object": {},
}


def matches(rule: dict[str, Any], document: Any = VALUES, **scope: Any) -> bool:
    return compile_rule(rule, query_language="JSONPath")(Scope(document, **scope))


def matching(operator: str, operand: Any) -> set[str]:
    """The names of the values an operator is true for."""
    return {name for name in VALUES if matches({"Variable": f"$.{name}", operator: operand})}


@pytest.mark.parametrize(
    ("operator", "operand", "names"),
    [
        ("BooleanEquals", True, {"true"}),
        ("BooleanEquals", False, {"false"}),
        ("NumericEquals", 0, {"zero", "float"}),
        ("NumericEquals", 1, {"one"}),
        ("NumericGreaterThan", 0, {"one"}),
        ("NumericGreaterThanEquals", 0, {"zero", "float", "one"}),
        ("NumericLessThan", 1, {"zero", "float"}),
        ("NumericLessThanEquals", 0.0, {"zero", "float"}),
        ("StringEquals", "b", {"text"}),
        ("StringGreaterThan", "a", {"text"}),
        ("StringGreaterThanEquals", "b", {"text"}),
        ("StringLessThan", "b", {"empty", "time"}),
        ("StringLessThanEquals", "", {"empty"}),
        ("StringMatches", "*", {"empty", "text", "time"}),
        ("TimestampEquals", "2024-01-01T01:00:00+01:00", {"time"}),
        ("TimestampGreaterThan", "2023-12-31T23:59:59.999Z", {"time"}),
        ("TimestampGreaterThanEquals", "2024-01-01T00:00:00Z", {"time"}),
        ("TimestampLessThan", "2024-01-01T00:00:00.001Z", {"time"}),
        ("TimestampLessThanEquals", "2024-01-01T00:00:00Z", {"time"}),
        ("IsNull", True, {"null"}),
        ("IsNull", False, set(VALUES) - {"null"}),
        ("IsNumeric", True, {"zero", "float", "one"}),
        ("IsString", True, {"empty", "text", "time"}),
        ("IsString", False, set(VALUES) - {"empty", "text", "time"}),
        ("IsBoolean", True, {"true", "false"}),
        ("IsTimestamp", True, {"time"}),
        ("IsPresent", True, set(VALUES)),
        ("IsPresent", False, set()),
    ],
)
def test_literal(operator: str, operand: Any, names: set[str]) -> None:
    assert matching(operator, operand) == names


@pytest.mark.parametrize("operator", sorted(name for name in OPERATORS if name.endswith("Path")))
def test_path_form_agrees_with_the_literal_form(operator: str) -> None:
    literal = operator.removesuffix("Path")
    for value in VALUES.values():
        for operand in VALUES.values():
            document = {"value": value, "operand": operand}
            found = matches({"Variable": "$.value", operator: "$.operand"}, document)
            try:
                wanted = matches({"Variable": "$.value", literal: operand}, document)
            except RuleError:  # an operand of another type can't be written, and never matches when found by a path
                wanted = False
            assert found is wanted


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("log-*.txt", "log-1.txt", True),
        ("log-*.txt", "log-.txt", True),
        ("log-*.txt", "log.txt", False),
        ("*a*b*", "xaxbx", True),
        ("*a*b*", "ba", False),
        ("ab*ab", "ab", False),
        ("a*", "a\nb", True),
        ("", "", True),
        ("", "x", False),
        (r"a\*b", "a*b", True),
        (r"a\*b", "axb", False),
        (r"a\\b", r"a\b", True),
        (r"\\*", r"\xyz", True),
        ("*.zip*", "x.zip", True),
        ("a.c", "abc", False),
    ],
)
def test_string_matches(pattern: str, text: str, expected: bool) -> None:
    assert matches({"Variable": "$.s", "StringMatches": pattern}, {"s": text}) is expected


def test_strings_are_ordered_as_java_does() -> None:
    # By UTF-16 units an emoji (a surrogate pair from D83D) comes before U+FF61.
    assert matches({"Variable": "$.s", "StringLessThan": "｡"}, {"s": "😀"})


def test_logic() -> None:
    one = {"Variable": "$.n", "NumericGreaterThan": 0}
    two = {"Variable": "$.n", "NumericLessThan": 10}
    assert matches({"And": [one, two]}, {"n": 5})
    assert not matches({"And": [one, two]}, {"n": 50})
    assert matches({"Or": [one, two]}, {"n": 50})
    assert not matches({"Or": [{"Not": one}, {"Not": two}]}, {"n": 5})
    assert matches({"Not": {"Not": one}}, {"n": 5})


def test_and_stops_at_the_first_that_fails() -> None:
    guard = {"Variable": "$.x", "IsPresent": True}
    assert matches({"And": [guard, {"Variable": "$.x", "NumericEquals": 1}]}, {}) is False


@pytest.mark.parametrize("operator", sorted(OPERATORS - {"IsPresent"}))
def test_a_missing_variable_is_an_error(operator: str) -> None:
    kind = operator.removesuffix("Path")
    operand: Any = {"B": True, "I": True, "N": 1, "S": "x", "T": "2024-01-01T00:00:00Z"}[kind[0]]
    if operator.endswith("Path"):
        operand = "$.there"
    with pytest.raises(StatesError) as caught:
        matches({"Variable": "$.gone.x", operator: operand}, {"there": 1})
    assert caught.value.error == "States.Runtime"
    assert caught.value.cause == (
        "Invalid path '$.gone.x': The choice state's condition path references an invalid value."
    )


def test_a_missing_operand_is_an_error() -> None:
    with pytest.raises(StatesError, match=r"Invalid path '\$.other'"):
        matches({"Variable": "$.a", "NumericEqualsPath": "$.other"}, {"a": 1})


@pytest.mark.parametrize(
    ("path", "present"),
    [
        ("$.a", True),
        ("$.b", False),
        ("$.a.b.c", False),
        ("$.list[0]", True),
        ("$.list[1]", False),
        ("$v", True),
        ("$w", False),
    ],
)
def test_is_present(path: str, present: bool) -> None:
    document = {"a": None, "list": [None]}
    for expected in (True, False):
        rule = {"Variable": path, "IsPresent": expected}
        assert matches(rule, document, variables={"v": 1}) is (present is expected)


def test_context_and_variables() -> None:
    rule = {"Variable": "$$.State.RetryCount", "NumericEqualsPath": "$limit"}
    assert matches(rule, {}, context={"State": {"RetryCount": 3}}, variables={"limit": 3})


@pytest.mark.parametrize(
    ("rule", "pointer"),
    [
        ({"Variable": "$.a"}, ""),
        ({"NumericEquals": 1}, ""),
        ({"Variable": "$.a", "NumericEquals": 1, "StringEquals": "x"}, ""),
        ({"Variable": "$.a", "NumericEquals": "1"}, "/NumericEquals"),
        ({"Variable": "$.a", "NumericEquals": True}, "/NumericEquals"),
        ({"Variable": "$.a", "StringEquals": 1}, "/StringEquals"),
        ({"Variable": "$.a", "TimestampEquals": "today"}, "/TimestampEquals"),
        ({"Variable": "$.a", "IsNull": "true"}, "/IsNull"),
        ({"Variable": "$.a", "StringEqualsPath": "x"}, "/StringEqualsPath"),
        ({"Variable": 5, "IsNull": True}, "/Variable"),
        ({"And": []}, "/And"),
        ({"And": [{"Variable": "$.a", "IsNull": True}, {"Or": [5]}]}, "/And/1/Or/0"),
        ({"Not": []}, "/Not"),
        ({"Not": {"Variable": "$.[", "IsNull": True}}, "/Not/Variable"),
    ],
)
def test_faults(rule: dict[str, Any], pointer: str) -> None:
    with pytest.raises(RuleError) as caught:
        compile_rule(rule, query_language="JSONPath")
    assert caught.value.pointer == pointer


def condition(text: Any, **scope: Any) -> bool:
    return compile_rule({"Condition": text}, query_language="JSONata", field="Choices[2]")(Scope(**scope))


def test_condition() -> None:
    assert condition("{% $states.input.n > 3 and $v = 'x' %}", states={"input": {"n": 4}}, variables={"v": "x"})
    assert condition("{% $exists($states.input.z) %}", states={"input": {}}) is False
    assert condition(True) is True


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("5", "returned an unexpected result type. Expected 'boolean', but was 'number' for value: 5"),
        ("[true]", "returned an unexpected result type. Expected 'boolean', but was 'array' for value: [true]"),
        ("$nope", "returned nothing (undefined)."),
        (
            "1 < 'a'",
            'threw an error during evaluation. T2009: The values 1 and "a" either side of operator "<" must be of the'
            " same data type",
        ),
    ],
)
def test_a_condition_must_be_boolean(text: str, what: str) -> None:
    with pytest.raises(StatesError) as caught:
        condition(f"{{% {text} %}}")
    assert (
        caught.value.cause == f"The JSONata expression '{text}' specified for the field 'Choices[2]/Condition' {what}"
    )
    assert caught.value.location == "Choices[2]/Condition"


@pytest.mark.parametrize("text", [None, "x", 1, "{% 1 + %}"])
def test_a_condition_that_does_not_compile(text: Any) -> None:
    with pytest.raises(RuleError) as caught:
        condition(text)
    assert caught.value.pointer == "/Condition"
