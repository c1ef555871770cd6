"""Intrinsic functions. Results and refusals are AWS's, from its documentation and from answers it gave."""

import contextlib
import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.language.errors import StatesError
from stepwell.language.intrinsics import FUNCTIONS, IntrinsicSyntaxError, compile_intrinsic
from stepwell.language.scope import Scope

from .fakes import Draws

INPUT = {
    "n": 5,
    "half": 2.5,
    "name": "Ada",
    "null": None,
    "flag": True,
    "list": [1, 2, 3, 4, 5],
    "empty": [],
    "object": {"a": 1, "b": [True, None]},
    "big": "x" * 10_001,
    "tpl": "n={}",
    "json": '{"a": [1, 2]}',
    "bad": "{bad json}",
    "a (b), 'c'": {"d": 7},
}
CONTEXT = {"Execution": {"Id": "e-1", "Name": "run"}, "StateMachine": {"Id": "m-1", "Name": "machine"}}


def run(text: str, document: Any = INPUT) -> Any:
    return compile_intrinsic(text)(Scope(document, context=CONTEXT, variables={"v": {"w": 9}}, random=Draws()))


TABLE: list[tuple[str, Any]] = [
    ("States.Format('Hello {}, welcome to {}!', $.name, 'x')", "Hello Ada, welcome to x!"),
    ("States.Format('{} {} {} {} {}', $.n, $.half, $.null, $.flag, 1.0)", "5 2.5 null true 1.0"),
    ("States.Format('{} {}', $.object, $.list)", "{a=1, b=[true, null]} [1, 2, 3, 4, 5]"),
    ("States.Format('{}', $$.StateMachine)", "{Id=m-1, Name=machine}"),
    ("States.Format('{}', States.StringToJson($.json))", '{"a":[1,2]}'),
    ("States.Format('{}', States.JsonToString($.object))", '{"a":1,"b":[true,null]}'),
    ("States.Format('no placeholders')", "no placeholders"),
    ("States.Format($.tpl, $.n)", "n=5"),
    (r"States.Format('\{\} \'{}\' \\', $.n)", r"{} '5' \ "[:-1]),
    ("States.Format('{}', 12345678.9)", "1.23456789E7"),
    ("States.StringToJson('')", None),
    ("States.StringToJson(' ')", None),
    ("States.StringToJson('null')", None),
    ("States.StringToJson($.json)", {"a": [1, 2]}),
    ("States.StringToJson('\"x\"')", "x"),
    (r"""States.StringToJson('{"text":"it\'s"}')""", {"text": "it's"}),
    ("States.JsonToString($.object)", '{"a":1,"b":[true,null]}'),
    ("States.JsonToString($.null)", "null"),
    ("States.Array()", []),
    ("States.Array(1, 'a', null, true, $.object, States.Array(2))", [1, "a", None, True, INPUT["object"], [2]]),
    ("States.ArrayPartition($.list, 2)", [[1, 2], [3, 4], [5]]),
    ("States.ArrayPartition($.list, 2.9)", [[1, 2], [3, 4], [5]]),
    ("States.ArrayPartition($.empty, 2)", []),
    ("States.ArrayContains($.list, 5)", True),
    ("States.ArrayContains($.list, 6)", False),
    ("States.ArrayContains(States.Array('1'), 1)", True),
    ("States.ArrayContains(States.Array('true'), true)", True),
    ("States.ArrayContains(States.Array(0), false)", False),
    ("States.ArrayContains(States.Array($.null), null)", True),
    ("States.ArrayContains(States.Array($.object), $.object)", True),
    ("States.ArrayRange(1, 9, 2)", [1, 3, 5, 7, 9]),
    ("States.ArrayRange(5, 1, -2)", [5, 3, 1]),
    ("States.ArrayRange(1.6, 1.4, 1)", [1]),
    ("States.ArrayRange(5.4, -0.6, -2.4)", [5, 3, 1]),
    ("States.ArrayRange(5, 1, 1)", []),
    ("States.ArrayRange(3, 3, -1)", [3]),
    ("States.ArrayGetItem($.list, 4)", 5),
    ("States.ArrayGetItem($.list, 1.2)", 2),
    ("States.ArrayGetItem($.empty, 999)", None),
    ("States.ArrayLength($.list)", 5),
    ("States.ArrayLength($.list[*].nope)", 0),
    ("States.ArrayUnique(States.Array(1, 2, 3, 3, 3, 4))", [1, 2, 3, 4]),
    ("States.ArrayUnique(States.Array('a', 'b', 'a', 'c', 'b'))", ["a", "b", "c"]),
    ("States.ArrayUnique(States.Array(true, false, true))", [False, True]),
    ("States.ArrayUnique(States.Array(null, null, 1, null))", [None, 1]),
    ("States.ArrayUnique(States.Array(1, '1', 1, '01'))", [1, "1", "01"]),
    ("States.ArrayUnique(States.Array(States.Array(1, 2), States.Array(1, 2), States.Array(2, 1)))", [[2, 1], [1, 2]]),
    ("States.ArrayUnique(States.Array($.object, $.object))", [INPUT["object"]]),
    ("States.Base64Encode('Data to encode')", "RGF0YSB0byBlbmNvZGU="),
    ("States.Base64Encode('')", ""),
    ("States.Base64Decode('RGF0YSB0byBlbmNvZGU=')", "Data to encode"),
    ("States.Base64Decode('44GT44KT44Gr44Gh44Gv')", "こんにちは"),
    ("States.Base64Decode(' YWJjZA== ')", "abcd"),
    ("States.Base64Decode('YWJjZA')", "abcd"),
    ("States.Base64Decode('YWJj_-')", "abc\ufffd"),
    ("States.Hash('input data', 'SHA-1')", "aaff4a450a104cd177d28d18d74485e8cae074b7"),
    ("States.Hash('', 'MD5')", hashlib.md5(b"").hexdigest()),
    ("States.JsonMerge($.object, States.StringToJson('{\"a\": 2, \"c\": 3}'), false)", {"a": 2, "b": [True, None], "c": 3}),
    ("States.JsonMerge($.object, $.object, 'false')", INPUT["object"]),
    ("States.MathAdd($.n, -1)", 4),
    ("States.MathAdd(1.49, 1.5)", 3),
    ("States.MathAdd(-2.5, 0)", -2),
    ("States.MathAdd(2147483646, 1)", 2147483647),
    ("States.MathRandom(1, 999)", 1),
    ("States.MathRandom(1, 2)", 1),
    ("States.StringSplit('a,b,,c,', ',')", ["a", "b", "c"]),
    ("States.StringSplit('This.is+a,test=string', '.+,=')", ["This", "is", "a", "test", "string"]),
    ("States.StringSplit('', ',')", []),
    ("States.StringSplit('abc', '')", ["abc"]),
    ("States.UUID()", "00000000-0000-4000-8000-000000000001"),
    ("States.Array($v.w, $$.Execution.Id, $['a (b), \\'c\\''].d)".replace("\\'", "'"), [9, "e-1", 7]),
    ("States.ArrayLength($.list[?(@ > 2)])", 3),
    (" States.Array( 1 ,2 ) ", [1, 2]),
    ("States.ArrayGetItem(States.StringSplit(States.Format('{}-{}', $.n, $.name), '-'), States.MathAdd(0, 1))", "Ada"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), TABLE, ids=[row[0] for row in TABLE])
def test_value(text: str, value: Any) -> None:
    found = run(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("States.MathAdd('a', 1)", "arguments in States.MathAdd"),
        ("States.MathAdd(true, 1)", "arguments in States.MathAdd"),
        ("States.MathAdd(null, 1)", "arguments in States.MathAdd"),
        ("States.MathAdd(2147483647, 1)", "arguments in States.MathAdd"),
        ("States.MathAdd(3000000000, 1)", "arguments in States.MathAdd"),
        ("States.MathAdd(1)", "arguments in States.MathAdd"),
        ("States.MathAdd(1, 2, 3)", "arguments in States.MathAdd"),
        ("States.ArrayPartition($.list, 0.6)", "arguments in States.ArrayPartition"),
        ("States.ArrayPartition($.list, -1)", "arguments in States.ArrayPartition"),
        ("States.ArrayPartition($.name, 1)", "arguments in States.ArrayPartition"),
        ("States.ArrayRange(1, 10, 0.49)", "arguments in States.ArrayRange"),
        ("States.ArrayRange(1, 1001, 1)", "arguments in States.ArrayRange"),
        ("States.ArrayRange('a', 5, 1)", "arguments in States.ArrayRange"),
        ("States.ArrayGetItem($.list, 5)", "arguments in States.ArrayGetItem"),
        ("States.ArrayGetItem($.list, -1)", "arguments in States.ArrayGetItem"),
        ("States.ArrayGetItem($.list, '1')", "arguments in States.ArrayGetItem"),
        ("States.ArrayContains('not-array', 'x')", "arguments in States.ArrayContains"),
        ("States.ArrayLength($.object)", "arguments in States.ArrayLength"),
        ("States.ArrayUnique($.name)", "arguments in States.ArrayUnique"),
        ("States.StringToJson($.bad)", "arguments in States.StringToJson"),
        ("States.StringToJson($.n)", "arguments in States.StringToJson"),
        ("States.StringToJson()", "arguments in States.StringToJson"),
        ("States.Base64Encode($.big)", "arguments in States.Base64Encode"),
        ("States.Base64Decode($.big)", "arguments in States.Base64Decode"),
        ("States.Hash($.big, 'MD5')", "arguments in States.Hash"),
        ("States.Hash('x', 'sha-1')", "arguments in States.Hash"),
        ("States.JsonMerge($.object, $.object, true)", "arguments in States.JsonMerge"),
        ("States.JsonMerge($.list, $.object, false)", "arguments in States.JsonMerge"),
        ("States.MathRandom(1, 1)", "arguments in States.MathRandom"),
        ("States.MathRandom(1.4, 1.6)", "arguments in States.MathRandom"),
        ("States.MathRandom(1, 10, 'seed')", "arguments in States.MathRandom"),
        ("States.MathRandom(1, 10, null)", "arguments in States.MathRandom"),
        ("States.StringSplit($.n, ',')", "arguments in States.StringSplit"),
        ("States.UUID(1)", "arguments in States.UUID"),
        ("States.Format()", "arguments in States.Format"),
        ("States.Format($.n)", "arguments in States.Format"),
        (
            "States.Format('{} {}', $.n)",
            "arguments in States.Format: number of arguments do not match the occurrences of {}.",
        ),
        ("States.Format('Hello {', $.n)", "template in States.Format: matching '}' not found for '{'."),
        ("States.Format('}')", "template in States.Format: matching '{' not found for '}'."),
    ],
)
def test_refused_when_evaluated(text: str, what: str) -> None:
    with pytest.raises(StatesError) as caught:
        run(text)
    assert caught.value.error == "States.Runtime"
    assert caught.value.cause == f"There was an error while evaluating the intrinsic function: {text}. Invalid {what}"


def test_a_refusal_names_the_inner_call() -> None:
    with pytest.raises(StatesError, match=r"function: States.MathAdd\('a', 1\). Invalid arguments in States.MathAdd$"):
        run("States.Array(1, States.MathAdd('a', 1))")


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("States.Format('{}',$.nope)", "The JsonPath argument for the field '$.nope' could not be found in the input '{\"o\":1}'"),
        ("States.Array(1, States.Array($.a.b))", "The JsonPath argument for the field '$.a.b' could not be found in the input '{\"o\":1}'"),
        ("States.Array($$.Nope.X)", "The JsonPath argument for the field '$.Nope.X' could not be found in the input '{\"o\":1}'"),
        ("States.Array($.o[0])", "Filter: [0] can only be applied to arrays. Current context is: 1"),
    ],
)  # fmt: skip
def test_missing_argument(text: str, detail: str) -> None:
    with pytest.raises(StatesError) as caught:
        run(text, {"o": 1})
    assert caught.value.error == "States.Runtime"
    assert caught.value.cause == f"The function '{text}' had the following error: {detail}"


def test_an_index_past_the_end_is_a_missing_argument() -> None:
    with pytest.raises(StatesError, match="could not be found in the input"):
        run("States.Array($.items[5])", {"items": [1]})


def test_seeded_random_numbers_repeat() -> None:
    assert run("States.MathRandom(1, 999, 42)") == run("States.MathRandom(1, 999, 42)")
    assert run("States.MathRandom(5, 105, 42)") == 5 + 30
    assert -7 <= run("States.MathRandom(-7, -3, -10)") < -3
    assert run("States.MathRandom(-2147483648, 2147483647, 1)") >= -2147483648


@pytest.mark.parametrize(
    "text",
    [
        "", "$.a", "'x'", "States.", "States.Nope()", "States.Array", "States.Array(", "States.Array(1",
        "States.Array(1,)", "States.Array(,1)",
        "States.Array(1 2)", "States.Array(1) x", "States.Array('x)", "States.Array($.a[)", "States.Array(x)", "states.array()",
        r"States.Array('a\nb')", r"States.Array('\"')", 'States.Array("x")', "States.Array(01)", "States.Array($..)", "Sta.Array()",
        "States.Array(" * 12 + ")" * 12,
    ],
)  # fmt: skip
def test_not_a_call(text: str) -> None:
    with pytest.raises(IntrinsicSyntaxError) as caught:
        compile_intrinsic(text)
    assert caught.value.message


def test_nesting() -> None:
    assert run("States.Array(" * 11 + ")" * 11) == eval("[" * 11 + "]" * 11)


def test_a_value_nested_too_deep_is_refused() -> None:
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    with pytest.raises(StatesError, match=r"Invalid arguments in States\.Format"):
        run("States.Format('{}', $.deep)", {"deep": deep})


def test_there_are_eighteen() -> None:
    assert len(FUNCTIONS) == 18


@given(st.text(max_size=50))
def test_base64_round_trip(text: str) -> None:
    scope = Scope({"t": text.encode("utf-8", "replace").decode()})
    assert compile_intrinsic("States.Base64Decode(States.Base64Encode($.t))")(scope) == scope.document["t"]


@given(st.lists(st.integers() | st.text(max_size=3) | st.booleans() | st.none(), max_size=40))
def test_unique_keeps_one_of_each(items: list[Any]) -> None:
    unique = compile_intrinsic("States.ArrayUnique($.items)")(Scope({"items": items}))
    keys = [(type(item), item) for item in unique]
    assert len(keys) == len(set(keys))
    assert set(keys) == {(type(item), item) for item in items}


@given(st.text("States.Array(FormtUUID)'{}\\,$ 01", max_size=30))
def test_any_text_is_a_call_or_refused(text: str) -> None:
    try:
        evaluate = compile_intrinsic(text)
    except IntrinsicSyntaxError:
        return
    with contextlib.suppress(StatesError):
        evaluate(Scope({"a": 1}, random=Draws()))
