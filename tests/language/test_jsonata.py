"""JSONata as AWS runs it: reference values, what an expression may see, limits, and the functions AWS adds."""

from typing import Any

import jlens
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepwell.language.errors import StatesError
from stepwell.language.jsonata import (
    MAX_ARRAY,
    UNDEFINED,
    JsonataError,
    JsonataSyntaxError,
    compile_expression,
    compile_field,
)
from stepwell.language.scope import Scope

from .fakes import Draws

INPUT: dict[str, Any] = {
    "n": 5,
    "nil": None,
    "big": 2**60,
    "name": "Ada",
    "list": [3, 1, 2],
    "one": [7],
    "empty": [],
    "nested": {"a": {"b": {"c": "deep"}}},
    "Account": {
        "Order": [
            {"ID": "o1", "Product": [{"Name": "Hat", "Price": 34.45, "Quantity": 2}, {"Name": "Cap", "Price": 21.67, "Quantity": 1}]},
            {"ID": "o2", "Product": [{"Name": "Hat", "Price": 34.45, "Quantity": 4}, {"Name": "Cloak", "Price": 107.99, "Quantity": 1}]},
        ]
    },
}  # fmt: skip
STATES = {"input": INPUT, "result": {"Payload": [1, {"x": None}]}}
VARIABLES = {"v": 7, "o": {"p": [1, 2]}, "ünïcode": 1}


def run(text: str, **scope: Any) -> Any:
    given: dict[str, Any] = {
        "states": STATES,
        "variables": VARIABLES,
        "context": {"Execution": {"Id": "e-1"}},
        "random": Draws(),
        "now": 0,
    }
    return compile_expression(text).evaluate_in(Scope(**{**given, **scope}))


I = "$states.input"  # noqa: E741

REFERENCE: list[tuple[str, Any]] = [
    # Values of the language itself, as its documentation and the reference implementation (jsonata 2.0) give them.
    (f"{I}.nested.a.b.c", "deep"),
    (f"{I}.Account.Order.Product.Name", ["Hat", "Cap", "Hat", "Cloak"]),
    (f"{I}.Account.Order[0].Product[1].Price", 21.67),
    (f"{I}.Account.Order[-1].ID", "o2"),
    (f"{I}.Account.Order.Product[Quantity>1].Name", ["Hat", "Hat"]),
    (f"{I}.Account.Order[ID='o2'].Product[Name='Cloak'].Price", 107.99),
    (f"$sum({I}.Account.Order.Product.(Price * Quantity))", 336.36),
    (f"{I}.Account.Order.Product^(>Price)[0].Name", "Cloak"),
    (f"{I}.Account.Order{{ID: $sum(Product.Quantity)}}", {"o1": 3, "o2": 5}),
    (f"{I}.Account.Order.Product{{Name: $count($)}}", {"Hat": 2, "Cap": 1, "Cloak": 1}),
    (f"{I}.Account.Order@$o.{{'id': $o.ID}}", [{"id": "o1"}, {"id": "o2"}]),
    (f"{I}.Account.Order.Product[0].Name", ["Hat", "Hat"]),
    (f"{I}.Account.Order.Product.Name[0]", ["Hat", "Cap", "Hat", "Cloak"]),
    (f"({I}.Account.Order.Product.Name)[0]", "Hat"),
    (f"{I}.one", [7]),
    (f"{I}.one[0]", 7),
    (f"{I}.one.($ + 1)", 8),
    (f"{I}.one.($ + 1)[]", [8]),
    (f"[{I}.one.($ + 1)]", [8]),
    (f"{I}.empty", []),
    (f"{I}.list[$ > 1]", [3, 2]),
    (f"{I}.list[$ > 2]", 3),
    (f"{I}.list[$ > 9]", UNDEFINED),
    (f"{I}.nothing", UNDEFINED),
    (f"{I}.nil", None),
    ("null", None),
    ("$states.result.Payload[1].x", None),
    (f"$exists({I}.nil)", True),
    (f"$exists({I}.nothing)", False),
    (f"$type({I}.nil)", "null"),
    (f"{I}.* ~> $count() > 5", True),
    (f"{I}.nested.**.c", "deep"),
    (f"$keys({I}.nested)", "a"),
    ("1 + 2 * 3 - 4 / 2", 5),
    ("7 % 4", 3),
    ("-5", -5),
    ("'a' & 1 & true & null & [1,2]", "a1truenull[1,2]"),
    ("'x' = 'x' and 1 != 2 or false", True),
    ("3 in [1, 2, 3]", True),
    ("5 > 3 ? 'yes' : 'no'", "yes"),
    ("[1..4]", [1, 2, 3, 4]),
    ("[1..4][$ % 2 = 0]", [2, 4]),
    ("{'a': 1, 'b': [1, {'c': 2}]}", {"a": 1, "b": [1, {"c": 2}]}),
    ("[1, [2, 3], []]", [1, [2, 3], []]),
    ("[[1]]", [[1]]),
    ("($x := 3; $f := function($n) { $n < 2 ? 1 : $n * $f($n - 1) }; $f($x))", 6),
    ("$map([1,2,3], function($x) { $x * 2 })", [2, 4, 6]),
    ("$filter([1,2,3], function($x) { $x > 2 })", 3),
    ("$reduce([1,2,3], function($a, $b) { $a + $b })", 6),
    ("$sort([3,1,2])", [1, 2, 3]),
    ("$sort([3,1,2], function($a, $b) { $a < $b })", [3, 2, 1]),
    ("$merge([{'a': 1}, {'b': 2}])", {"a": 1, "b": 2}),
    ("$spread({'a': 1, 'b': 2})", [{"a": 1}, {"b": 2}]),
    ("$distinct([1, 2, 1])", [1, 2]),
    ("$zip([1,2], ['a','b'])", [[1, "a"], [2, "b"]]),
    ("$split('a,b', ',')", ["a", "b"]),
    ("$join(['a', 'b'], '-')", "a-b"),
    ("$substringBefore('a.b', '.')", "a"),
    ("$replace('aXb', /x/i, '-')", "a-b"),
    ("$match('a1b22', /\\d+/).match", ["1", "22"]),
    ("$contains('abc', 'b')", True),
    ("$number('1.5')", 1.5),
    ("$string({'a': 1})", '{"a":1}'),
    ("$string(0.1 + 0.2)", "0.3"),
    ("$string(1e21)", "1e+21"),
    ("$uppercase('a')", "A"),
    ("$pad('a', -3, '0')", "00a"),
    ("$round(2.5)", 2),
    ("$power(2, 10)", 1024),
    ("$formatNumber(1234.5, '#,##0.00')", "1,234.50"),
    ("$formatBase(255, 16)", "ff"),
    ("$average([1,2,3])", 2),
    ("$base64encode('hi')", "aGk="),
    ("$boolean('')", False),
    ("$not(true)", False),
    ("$toMillis('1970-01-01T00:00:01Z')", 1000),
    ("$fromMillis(0)", "1970-01-01T00:00:00.000Z"),
    ("$each({'a': 1}, function($v, $k) { $k & $v })", "a1"),
    ("$sift({'a': 1, 'b': 2}, function($v) { $v > 1 })", {"b": 2}),
    ("$single([1,2], function($v) { $v = 2 })", 2),
    ("$lookup({'a': 1}, 'a')", 1),
    (f"{I}.nested ~> |a|{{'d': 1}}|", {"a": {"b": {"c": "deep"}, "d": 1}}),
    ("'abc' ~> $uppercase ~> $length", 3),
    ("/* a comment */ 1", 1),
    ("`a b`", UNDEFINED),
    # What Step Functions puts around it.
    ("$states.context.Execution.Id", "e-1"),
    ("$states.result.Payload[0]", 1),
    ("$v", 7),
    ("$o.p[1]", 2),
    ("$ünïcode + 1", 2),
    ("($v := 1; $v)", 1),
    ("$undeclared", UNDEFINED),
    (f"{I}.big", 2**60),
    ("$now()", "1970-01-01T00:00:00.000Z"),
    ("$millis()", 0),
    ("$partition([1,2,3,4], 2)", [[1, 2], [3, 4]]),
    ("$partition([1,2,3], 2.9)", [[1, 2], [3]]),
    ("$partition([1], 3)", [[1]]),
    ("$partition([1, 2])", [[1, 2]]),
    ("$partition([], 3)", UNDEFINED),
    ("$partition([1], 0)", UNDEFINED),
    ("$partition($undeclared, 1)", UNDEFINED),
    ("$range(0, 6, 2)", [0, 2, 4, 6]),
    ("$range(0, 7, 2)", [0, 2, 4, 6]),
    ("$range(-1.7, 2, 1)", [-1, 0, 1, 2]),
    ("$range(3, 1, -1)", [3, 2, 1]),
    ("$range(1, 9, 9)", 1),
    ("$range(1, 9)", UNDEFINED),
    ("$range(1, 9, -1)", UNDEFINED),
    ("$range(1, 9, 0)", UNDEFINED),
    ("$count($range(1, 360145, 1))", 360145),
    ("$hash('input', 'SHA-1')", "140f86aae51ab9e1cda9b4254fe98a74eb54c1a1"),
    ("$hash('input')", UNDEFINED),
    ("$random(42)", 0.7275636800328681),
    ("$random(42.9)", 0.7275636800328681),
    ("$random()", 0.25),
    ("$uuid()", "00000000-0000-4000-8000-000000000001"),
    ("$parse('{\"a\": [1]}').a", [1]),
    ("$parse('null')", None),
    ("$exists($parse('null'))", True),
    ("$parse('[]')", []),
    ("$parse('9007199254740991')", 9007199254740991),
    ("$parse($undeclared)", UNDEFINED),
    ("$map(['1', 'true'], $parse)", [1, True]),
    ("$map([1, 2], function($v) { $partition([$v], 1) })", [[[1]], [[2]]]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), REFERENCE, ids=[row[0] for row in REFERENCE])
def test_value(text: str, value: Any) -> None:
    found = run(text)
    assert found == value if value is not UNDEFINED else found is UNDEFINED
    assert type(found) is type(value) or {type(found), type(value)} == {int, float}


FAULTS: list[tuple[str, str]] = [
    ("$randomSeeded(1)", ". T1006: Attempted to invoke a non-function"),
    ("$eval('1+1')", ". T1006: Attempted to invoke a non-function"),
    ("$sum([1])", ". T1006: Attempted to invoke a non-function"),  # a variable of that name hides the function
    ("'a' + 1", '. T2001: The left side of the "+" operator must evaluate to a number'),
    ("$abs('x')", '. T0410: Argument 1 of function "abs" does not match function signature'),
    ("$max(['a'])", '. T0412: Argument 1 of function "max" must be an array of "numbers"'),
    ("$number('x')", '. D3030: Unable to cast value to a number: "x"'),
    ("$error('boom')", ". D3137: boom"),
    (
        "$formatNumber(1, 'x')",
        ". D3086: The sub-picture must not contain a passive character that is preceded by an active character and that"
        " is followed by another active character",
    ),
    ("$hash(1, 'MD5')", '. T0410: Argument 1 of function "hash" does not match function signature'),
    (
        "$hash('x', 'md5')",
        ". D3137: Hash algorithm 'md5' must be one of SHA-1, SHA-384, SHA-256, SHA-512, MD5",
    ),
    ("$hash('x', 'MD5', 1)", '. T0410: Argument 3 of function "hash" does not match function signature'),
    ("$parse('{')", ". D3137: Invalid JSON"),
    ("$parse('')", ". D3137: Invalid JSON"),
    ("$parse(1)", '. T0410: Argument 1 of function "parse" does not match function signature'),
    ("$partition([1], -2)", ". D3137: Second argument must be zero or greater"),
    ("$partition('x', 1)", '. T0412: Argument 1 of function "partition" must be an array of undefined'),
    ("$range('a', 1, 1)", '. T0410: Argument 1 of function "range" does not match function signature'),
    ("$uuid(1)", '. T0410: Argument 1 of function "uuid" does not match function signature'),
    ("$random('x')", '. T0410: Argument 1 of function "random" does not match function signature'),
    (
        "$range(1, 360146, 1)",
        ": Expression evaluation memory limit exceeded: Check for excessive memory usage",
    ),
    (
        f"$count([1..{MAX_ARRAY + 1}])",
        ": Expression evaluation memory limit exceeded: Check for excessive memory usage",
    ),
    (
        "($d := function($s, $n) { $n = 0 ? $s : $d($s & $s, $n - 1) }; $length($d('x', 23)))",
        ": Expression evaluation memory limit exceeded: Check for excessive memory usage",
    ),
    (
        "+".join("1" * 101),
        ": Stack overflow error: Check for non-terminating recursive function. Consider rewriting as tail-recursive",
    ),
    (
        "($f := function($n) { 1 + $f($n) }; $f(1))",
        ": Stack overflow error: Check for non-terminating recursive function. Consider rewriting as tail-recursive",
    ),
    ("($f := function($n) { $f($n + 1) }; $f(1))", ": Expression evaluation timeout: Check for infinite loop"),
]


@pytest.mark.parametrize(("text", "tail"), FAULTS, ids=[row[0][:60] for row in FAULTS])
def test_faults(text: str, tail: str) -> None:
    with pytest.raises(StatesError) as caught:
        compile_field(f"{{% {text} %}}", "Output/r")(Scope(variables={"sum": 9}, random=Draws()))
    assert caught.value.error == "States.QueryEvaluationError"
    assert caught.value.location == "Output/r"
    assert caught.value.cause == (
        f"The JSONata expression '{text}' specified for the field 'Output/r' threw an error during evaluation{tail}"
    )


@pytest.mark.parametrize("text", ["+".join("1" * 100), "(" * 99 + "1" + ")" * 99, "[" * 99 + "1" + "]" * 99])
def test_depth_within_the_limit(text: str) -> None:
    assert run(text) is not UNDEFINED


def test_a_recursion_of_31_is_within_the_limit_and_of_32_is_not() -> None:
    recursion = "($f := function($n) {{ $n <= 0 ? 0 : 1 + $f($n - 1) }}; $f({}))"
    assert run(recursion.format(31)) == 31
    with pytest.raises(JsonataError, match="Stack overflow"):
        run(recursion.format(32))


@pytest.mark.parametrize("text", ["function($x) { $x }", "$fn := function($x) { $x }", "$uppercase", "/a/"])
def test_functions_are_no_results(text: str) -> None:
    with pytest.raises(StatesError) as caught:
        compile_field(f"{{% {text} %}}", "Items", "array")(Scope())
    assert caught.value.cause == (
        f"The JSONata expression '{text}' specified for the field 'Items' returned an unsupported result type."
    )


@pytest.mark.parametrize(
    ("text", "expected", "was"),
    [
        ("1", "array", "'number' for value: 1"),
        ("'s'", "array", "'string' for value: \"s\""),
        ("{'foo': 'bar'}", "array", '\'object\' for value: {"foo":"bar"}'),
        ("null", "array", "'null' for value: null"),
        ("true", "number", "'boolean' for value: true"),
        ("[1]", "string", "'array' for value: [1]"),
    ],
)
def test_types_of_results(text: str, expected: str, was: str) -> None:
    with pytest.raises(StatesError) as caught:
        compile_field(f"{{% {text} %}}", "F", expected)(Scope())
    assert caught.value.cause == (
        f"The JSONata expression '{text}' specified for the field 'F' returned an unexpected result type."
        f" Expected '{expected}', but was {was}"
    )


@pytest.mark.parametrize(
    "text",
    [
        "1 +",
        "",
        "foo[",
        '"abc',
        "1) + (2",
        "a[1,2)",
        '{"a":}',
        "$x :=",
        "a ?? b",
        "a ?: b",
        "$match('a', /abc",
        "1 /* open",
        "\ud83d",
    ],
)
def test_syntax_errors(text: str) -> None:
    with pytest.raises(JsonataSyntaxError) as caught:
        compile_expression(text)
    assert caught.value.code.startswith("S")
    assert caught.value.message


def test_newer_operators_are_only_refused_as_operators() -> None:
    assert run("'a ?? b ?: c'") == "a ?? b ?: c"
    assert run("$replace('ab', /(?:a)/, '?:')") == "?:b"
    assert run("/* ?? */ 6 / 2 / 3") == 1


@pytest.mark.parametrize(
    "text", ["$$", "$$.s", "$$.v", "s", "v.v", "*", "$.s", "**", "$$.*", "$lookup($$, 's')", "function() { $$ }()"]
)
def test_an_expression_sees_nothing_of_the_wrapper(text: str) -> None:
    assert run(text) in (UNDEFINED, None)


def test_a_variable_hides_the_function_of_its_name() -> None:
    assert run("$sum", variables={"sum": 9}) == 9
    assert run("$sum([1, 2])", variables={"other": 9}) == 3
    with pytest.raises(JsonataError, match="T1006"):
        run("$sum([1, 2])", variables={"sum": 9})


def test_assignments_do_not_outlive_an_expression() -> None:
    assert run("($states := 1; $v := 2; $$ := 3; $states + $v + $$)") == 6
    assert run("$v") == 7
    assert run(f"{I}.n") == 5


def test_the_context_is_only_made_when_read() -> None:
    def forbidden() -> Any:
        raise AssertionError("the context was made")

    scope = Scope(context_factory=forbidden, states={"input": INPUT}, variables=VARIABLES)
    for text in (f"{I}.n", f"{I}.n + $v", "$count($states.input.list)", "1"):
        assert compile_expression(text).evaluate_in(scope) is not UNDEFINED
    for text in ("$states.context.Execution.Id", "$states", "$states.context", "$lookup($states, 'context')"):
        with pytest.raises(AssertionError, match="the context was made"):
            compile_expression(text).evaluate_in(scope)


@pytest.mark.parametrize("text", ["$now()", "$millis()", "$random()", "$uuid()"])
def test_no_clock_and_no_randomness_of_its_own(text: str) -> None:
    with pytest.raises(JsonataError):
        compile_expression(text).evaluate_in(Scope())


def test_what_an_expression_reads() -> None:
    expression = compile_expression(f"($x := $a; $map({I}.l, function($y) {{ $y + $x + $b + $sum([1]) }}))")
    assert expression.variables == {"a", "b"}
    assert expression.states == {"input"}
    assert compile_expression("$states").states is None


def test_simple_paths_are_not_copied() -> None:
    assert run(f"{I}.nested.a") is INPUT["nested"]["a"]
    assert run("$o") is VARIABLES["o"]
    assert run("$states.input") is INPUT


def test_evaluate() -> None:
    expression = compile_expression("$states.input.a + $b")
    assert expression.evaluate({"input": {"a": 1}}, {"b": 2}, None) == 3
    assert compile_expression("$states.nope").evaluate({"input": 1}) is UNDEFINED


def test_equal_texts_share_one_expression() -> None:
    assert compile_expression(" 1 + 1 ") is compile_expression(" 1 + 1 ")


# A fuzz: the wrapped expression gives what the bare one gives with the same bindings.

names = st.sampled_from(
    ["n", "name", "list", "one", "empty", "nil", "nested", "Account", "Order", "ID", "Product", "nothing"]
)
atoms = st.one_of(
    st.integers(-3, 9).map(str),
    st.sampled_from(
        ["'a'", "true", "null", "[]", "{}", I, "$v", "$o", "$undeclared", "$states.result", "$states.context"]
    ),
)


def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, names).map(lambda t: f"({t[0]}).{t[1]}"),
        st.tuples(inner, inner).map(lambda t: f"({t[0]})[{t[1]}]"),
        st.tuples(inner, st.sampled_from(["+", "-", "*", "&", "=", "!=", "<", "and", "or", "in"]), inner).map(
            lambda t: f"({t[0]} {t[1]} {t[2]})"
        ),
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.tuples(inner, inner).map(lambda t: f"{{'k': {t[0]}, 'l': {t[1]}}}"),
        st.tuples(inner, inner, inner).map(lambda t: f"({t[0]} ? {t[1]} : {t[2]})"),
        st.tuples(
            st.sampled_from(["count", "string", "exists", "keys", "type", "boolean", "distinct", "reverse", "sort"]),
            inner,
        ).map(lambda t: f"${t[0]}({t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"$map({t[0]}, function($x) {{ [$x, {t[1]}] }})"),
        st.tuples(inner, inner).map(lambda t: f"($y := {t[0]}; [$y, {t[1]}])"),
        inner.map(lambda t: f"({t}).$"),
        inner.map(lambda t: f"({t})[]"),
    )


@settings(max_examples=300, deadline=None)
@given(st.recursive(atoms, grow, max_leaves=8))
def test_wrapping_changes_nothing(text: str) -> None:
    context = {"Execution": {"Id": "e-1"}}
    bindings = {**VARIABLES, "states": {**STATES, "context": context}}
    try:
        expected = jlens.Expression(text).evaluate(None, bindings)
        kind = jlens.Expression(f"$type({text})").evaluate(None, bindings)
    except jlens.JlensError as error:
        expected, kind = error.code, "error"
    try:
        found = run(text, context=context)
    except JsonataSyntaxError as error:
        assert (error.code, "error") == (expected, kind)
    except JsonataError as error:
        assert (error.code, "error") == (expected, kind)
    else:
        assert found == (UNDEFINED if kind is None else expected)
