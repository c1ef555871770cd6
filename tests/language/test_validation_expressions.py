"""What AWS refuses in a JSONata expression before it ever runs. All of it measured with ValidateStateMachineDefinition."""

from typing import Any

import pytest

from stepwell.language.validation import validate

Json = dict[str, Any]

LAMBDA = "arn:aws:lambda:us-east-1:111122223333:function:f"


def jsonata(state: Json) -> Json:
    return {"QueryLanguage": "JSONata", "StartAt": "X", "States": {"X": {"End": True} | state}}


def found(definition: Json) -> list[tuple[str, str, str | None]]:
    return [(d.code, d.message, d.location) for d in validate(definition)]


TOP_LEVEL = [
    ("phone", ["phone"]),
    ("phone[0].number", ["phone"]),
    ("$states.input.a ? phone : 2", ["phone"]),
    ("phone(1)", ["phone"]),
    ("($x := phone; $x)", ["phone"]),
    ("$map($states.input.a, function($y){ phone })", ["phone"]),
    ("[bbb, aaa]", ["bbb", "aaa"]),
    ("aaa + aaa", ["aaa"]),
    ("$.phone", ["$"]),
    ("$[0]", ["$"]),
    ("$map($states.input.a, function($x){ $ })", ["$"]),
]
ANCHORED = [
    "$states.input.phone",
    "$states.input.items[phone > 3]",
    "$states.input.a^(phone)",
    "$states.input.a{'k': phone}",
    "$states.input.a.(phone)",
    "$states.input ~> |phone|{'b': 1}|",
    "**.phone",
    "{'k': 1}.phone",
    "$states.input.a[$ > 1]",
    "$map($states.input.a, function($x){ $x.phone })",
    "$phone",
    "'phone'",
    "$now()",
    "$states",
    "$states.input.errorOutput",
    "$partition($states.input, 2)[0]",
    "$uuid() & $hash('a', 'MD5')",
    "'costs $ 5' & $states.input.a",
    "$mine($states.input)",
]
BROKEN = [
    ("a[1,2)", 'Expected "]", got ","'),
    ('"unterminated', "String literal must be terminated by a matching quote"),
    ("1 +", "Unexpected end of expression"),
    ('{"a":}', 'The symbol "}" cannot be used as a unary operator'),
    ('$match("a", /abc', "No terminating / in regular expression"),
    ("phone %.other", 'The symbol "." cannot be used as a unary operator'),
    ("", "Unexpected end of expression"),
]


def output(expression: str) -> Json:
    return jsonata({"Type": "Pass", "Output": {"v": [f"{{% {expression} %}}"]}})


@pytest.mark.parametrize(("expression", "names"), TOP_LEVEL)
def test_an_expression_has_no_context(expression: str, names: list[str]) -> None:
    assert found(output(expression)) == [
        (
            "UNSUPPORTED_JSONATA_EXPRESSION",
            f"Reference to '{name}' at the top level is not supported.",
            "/States/X/Output/v[0]",
        )
        for name in names
    ]


@pytest.mark.parametrize("expression", ANCHORED)
def test_names_that_are_not_read_from_a_context(expression: str) -> None:
    assert found(output(expression)) == []


@pytest.mark.parametrize(("expression", "message"), BROKEN)
def test_an_expression_must_parse(expression: str, message: str) -> None:
    assert found(output(expression)) == [("INVALID_JSONATA_EXPRESSION", message, "/States/X/Output/v[0]")]


@pytest.mark.parametrize("expression", ["$$", "$$.a"])
def test_the_root_context_is_refused(expression: str) -> None:
    message = "Reference to '$$' is not supported."
    assert found(output(expression)) == [("UNSUPPORTED_JSONATA_EXPRESSION", message, "/States/X/Output/v[0]")]


@pytest.mark.parametrize("text", ["{% 1", "1 %}", "{%}"])
def test_an_expression_is_closed(text: str) -> None:
    assert found(jsonata({"Type": "Pass", "Output": text})) == [
        ("SCHEMA_VALIDATION_FAILED", "JSONata string must start with {% and end with %}", "/States/X/Output")
    ]


def test_parts_of_states_exist_in_their_fields_only() -> None:
    def refused(part: str, location: str) -> list[tuple[str, str, str]]:
        return [("UNSUPPORTED_JSONATA_EXPRESSION", f"Field '$states.{part}' does not exist.", location)]

    invoke = {"Type": "Task", "Resource": LAMBDA}
    assert found(jsonata(invoke | {"Output": "{% $states.result %}", "Assign": {"a": "{% $states.result.b %}"}})) == []
    assert found(jsonata(invoke | {"Arguments": "{% $states.result %}"})) == refused("result", "/States/X/Arguments")
    assert found(output("$states.result")) == refused("result", "/States/X/Output/v[0]")
    catcher = {"ErrorEquals": ["E"], "Next": "X", "Output": "{% $states.errorOutput %}"}
    assert found(jsonata(invoke | {"Catch": [catcher]})) == []
    assert found(jsonata(invoke | {"Output": "{% $states.errorOutput %}"})) == refused(
        "errorOutput", "/States/X/Output"
    )
