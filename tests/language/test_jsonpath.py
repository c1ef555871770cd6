"""JSONPath in Jayway's dialect. The table of results is Jayway's own where the path is in the public comparison of
JSONPath implementations (com.jayway.jsonpath), and AWS's where AWS differs from it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.language.errors import StatesError
from stepwell.language.jsonpath import PathNotFound, PathSyntaxError, compile_path, compile_reference_path
from stepwell.language.scope import Scope
from stepwell.language.values import MISSING

FIVE = ["first", "second", "third", "forth", "fifth"]
NUMBERS = [{"key": number} for number in (0, 42, -1, 41, 43, 42.0001, 41.9999, 100)]
MIXED = [*NUMBERS, {"key": "42"}, {"key": None}, {"key": [42]}, {"some": "value"}]
LETTERS = [2, "a", 4, 5, 100, "nice"]


def read(path: str, document: Any) -> Any:
    return compile_path(path)(Scope(document))


TABLE: list[tuple[str, Any, Any]] = [
    ("$", {"key": "value"}, {"key": "value"}),
    ("$.key", {"key": ["first", "second"]}, ["first", "second"]),
    ("$.key", {"key": None}, None),
    ("$['key']", {"key": "value"}, "value"),
    ('$["key"]', {"key": "value"}, "value"),
    ("$.['key']", {"key": "value"}, "value"),
    ("$['']", {"": 42, "''": 123}, 42),
    ("$['0']", {"0": "value"}, "value"),
    ("$.2", {"a": "first", "2": "second"}, "second"),
    ("$['*']", {"*": "value", "another": 1}, "value"),
    ("$['special:\"chars']", {'special:"chars': "value"}, "value"),
    ("$['a'.'b']", {"a'.'b": 1}, 1),
    ("$['single'quote']", {"single'quote": "value"}, "value"),
    ("$['Test\\\"\"Name\"']", {'Test\\""Name"': 1}, 1),
    ("$.input-value", {"input-value": 1}, 1),
    ("$.名前", {"名前": "x"}, "x"),
    ("$.a.b[0].c", {"a": {"b": [{"c": 1}]}}, 1),
    ("$[2]", FIVE, "third"),
    ("$[-1]", FIVE, "fifth"),
    ("$[7]", FIVE, None),
    ("$[0,2]", FIVE, ["first", "third"]),
    ("$[1:3]", FIVE, ["second", "third"]),
    ("$[1:10]", FIVE, FIVE[1:]),
    ("$[:2]", FIVE, FIVE[:2]),
    ("$[1:]", FIVE, FIVE[1:]),
    ("$[-1:]", FIVE, ["fifth"]),
    ("$[:-2]", FIVE, FIVE[:3]),
    ("$[0:0]", FIVE, []),
    ("$[0:3:2]", FIVE, FIVE[:3]),
    ("$[0:3:0]", FIVE, FIVE[:3]),
    ("$[3:0:-2]", FIVE, []),
    ("$[0:3:-2]", FIVE, FIVE[:3]),
    ("$[-4:1]", LETTERS, [4, 5, 100, "nice", 2]),
    ("$[-4:3]", LETTERS, [4, 5, 100, "nice", 2, "a", 4]),
    ("$[3:-2]", LETTERS, []),
    ("$[*]", {"some": "string", "array": [0, 1]}, ["string", [0, 1]]),
    ("$.*", ["string", 42, {"key": "value"}], ["string", 42, {"key": "value"}]),
    ("$[*].bar[*].baz", [{"bar": [{"baz": "hello"}]}], ["hello"]),
    ("$['key','another']", {"key": "value", "another": "entry", "third": 1}, {"key": "value", "another": "entry"}),
    ("$['missing','key']", {"key": "value"}, {"key": "value"}),
    ("$['a','a']", {"a": 1}, {"a": 1}),
    ("$[0]['c','d']", [{"c": 1, "d": 2, "e": 3}], {"c": 1, "d": 2}),
    ("$.*['c','d']", [{"c": 1, "d": 2, "e": 3}, {"c": 4}], [{"c": 1, "d": 2}, {"c": 4}]),
    ("$..['c','d']", [{"c": 1, "d": 2}, {"c": 3}], [{"c": 1, "d": 2}]),
    ("$..key", {"object": {"key": 1, "array": [{"key": 2}, {"key": {"key": 3}}]}, "key": 4}, [4, 1, 2, {"key": 3}, 3]),
    ("$..*", {"key": "value", "other": {"n": [0, 1]}}, ["value", {"n": [0, 1]}, [0, 1], 0, 1]),
    ("$..*", 42, []),
    ("$..[0]", ["first", {"key": ["nested", [9]]}], ["first", "nested", 9]),
    ("$.store..price", {"store": {"book": [{"price": 1}, {"price": 2}], "bicycle": {"price": 3}}}, [1, 2, 3]),
    ("$[?(@.key)]", [{"some": 1}, {"key": None}], [{"key": None}]),
    ("$[?(!@.key)]", [{"some": 1}, {"key": None}], [{"some": 1}]),
    ("$[?(@)]", [0, None, ""], [0, None, ""]),
    ("$[?(@.key>42)]", NUMBERS, [{"key": 43}, {"key": 42.0001}, {"key": 100}]),
    ("$[?(@.key<=42)]", MIXED, [{"key": number} for number in (0, 42, -1, 41, 41.9999)]),
    ("$[?(@.key==42)]", MIXED, [{"key": 42}, {"key": "42"}]),
    ("$[?(@.key=='42')]", MIXED, [{"key": 42}, {"key": "42"}]),
    ("$[?(@.key===42)]", MIXED, [{"key": 42}]),
    ("$[?(@.key!=42)]", [{"key": 0}, {"key": 42}, {"some": "value"}], [{"key": 0}, {"some": "value"}]),
    ("$[?(!(@.key==42))]", [{"key": 0}, {"key": 42}, {"some": "value"}], [{"key": 0}, {"some": "value"}]),
    ("$[?(@.key==null)]", MIXED, [{"key": None}]),
    ("$[?(@.key==true)]", [{"key": True}, {"key": 1}, {"key": "true"}], [{"key": True}]),
    ("$[?(@.d==['v1','v2'])]", [{"d": ["v1", "v2"]}, {"d": ["v1"]}], [{"d": ["v1", "v2"]}]),
    ('$[?(@.d=={"k":"v"})]', [{"d": {"k": "v"}}, {"d": {}}], [{"d": {"k": "v"}}]),
    ("$[?(@['@key']==42)]", [{"@key": 42}, {"key": 42}], [{"@key": 42}]),
    ("$[?(@==42)]", [0, 42, "42", [42]], [42, "42"]),
    ("$.items[?(@.key==$.value)]", {"value": 42, "items": [{"key": 42}, {"key": 1}]}, [{"key": 42}]),
    ("$[?(@.id==2)]", {"id": 2}, [{"id": 2}]),
    ("$[?(@.key==42)]", {"a": {"key": 42}}, []),
    ("$[?(@.a && @.b || @.c)]", [{"a": 1, "b": 1}, {"a": 1}, {"c": 1}], [{"a": 1, "b": 1}, {"c": 1}]),
    ("$[?(@.a&&(@.b||@.c))]", [{"a": 1, "b": 1}, {"a": 1}, {"c": 1}], [{"a": 1, "b": 1}]),
    ("$[?(@.name=~/hello.*/)]", [{"name": "hello world"}, {"name": "yes hello"}], [{"name": "hello world"}]),
    ("$[?(@.name=~/HELLO.*/i)]", [{"name": "hello world"}], [{"name": "hello world"}]),
    ("$[?(@.d in ['v1', 'v2'])]", [{"d": "v1"}, {"d": "v3"}], [{"d": "v1"}]),
    ("$[?(@.d nin [1, 2])]", [{"d": 1}, {"d": 3}], [{"d": 3}]),
    ("$[?(@.d contains 'v')]", [{"d": "have"}, {"d": ["v"]}, {"d": "no"}], [{"d": "have"}, {"d": ["v"]}]),
    ("$[?(@.d all [1, 2])]", [{"d": [1, 2, 3]}, {"d": [1]}], [{"d": [1, 2, 3]}]),
    ("$[?(@.d size 2)]", [{"d": [1, 2]}, {"d": "ab"}, {"d": []}], [{"d": [1, 2]}, {"d": "ab"}]),
    ("$[?(@.d empty true)]", [{"d": []}, {"d": ""}, {"d": "x"}], [{"d": []}, {"d": ""}]),
    ("$[?(@.d subsetof [1, 2])]", [{"d": [1]}, {"d": [1, 3]}], [{"d": [1]}]),
    ("$[?(@.d anyof [1, 2])]", [{"d": [1, 9]}, {"d": [3]}], [{"d": [1, 9]}]),
    ("$[?(@.d noneof [1, 2])]", [{"d": [1, 9]}, {"d": [3]}], [{"d": [3]}]),
    ("$[?(@.length() == 4)]", [[1, 2, 3], [1, 2, 3, 4]], [[1, 2, 3, 4]]),
    ("$[?(@.a[?(@.price>10)])]", [{"a": [{"price": 1}]}, {"a": []}, {"b": 1}], [{"a": [{"price": 1}]}, {"a": []}]),
    ("$..[?(@.id==2)]", {"id": 2, "more": [{"id": 2}, [{"id": 2}]]}, [{"id": 2, "more": [{"id": 2}, [{"id": 2}]]}, {"id": 2}, {"id": 2}]),
    ("$..[?(@.id)].id", {"x": [{"id": 1}, {"y": {"id": 2}}]}, [1, 2]),
    ("$.data.sum()", {"data": [1, 2, 3, 4]}, 10.0),
    ("$.data.min()", {"data": [3, 1.5, "x"]}, 1.5),
    ("$.data.max()", {"data": [3, 1.5, "x"]}, 3.0),
    ("$.data.avg()", {"data": [1, 2]}, 1.5),
    ("$.data.stddev()", {"data": [1, 3]}, 1.0),
    ("$.data.length()", {"data": [1, 2]}, 2),
    ("$.data.length()", {"data": {"a": 1}}, 1),
    ("$.data.length()", {"data": "text"}, None),
    ("$..price.sum()", {"a": [{"price": 1}, {"price": 2}]}, 3.0),
    ("$.data[*].max()", {"data": [1, 7, 2]}, 7.0),
    ("$.data.first()", {"data": [5, 6]}, 5),
    ("$.data.last()", {"data": [5, 6]}, 6),
    ("$.data.index(-2)", {"data": [5, 6]}, 5),
    ("$.data.first().a", {"data": [{"a": 1}]}, 1),
    ("$.data.keys()", {"data": {"a": 1, "b": 2}}, ["a", "b"]),
    ("$.data.append(9)", {"data": [1]}, [1, 9]),
    ("$.concat($.a, '-', $.n)", {"a": "x", "n": 5}, "x-5"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "document", "value"), TABLE, ids=[f"{row[0]}#{n}" for n, row in enumerate(TABLE)])
def test_value(path: str, document: Any, value: Any) -> None:
    found = read(path, document)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "path",
    [
        "", "key", "$.", "$..", "$...a", "$a b", "$.a b", "$[", "$[]", "$['a'", "$[key]", "$[:]", "$[::]", "$[::2]",
        "$[1:2:3:4]", "$[1:a]", "$[(@.length-1)]", "$[?@.x]", "$[?()]", "$[?(true)]", "$[?(@.a && false)]", "$[?(@.key=42)]",
        "$[?(@.a == )]", "$[?(@.a ~~ 1)]", "$[?(@.a == 'x)]", "$[?(@.a =~ /x)]", "$[?(@.a =~ /(/)]", "$[?(@.a in [1)]",
        "$[?(@.a==1), ?(@.b==2)]", "$.a.nosuch()", "$[0:1,2]", "$1x", "$-", "$.a[?(@.b like 'x')]", "$[?" + "(" * 9999,
    ],
)  # fmt: skip
def test_refused(path: str) -> None:
    with pytest.raises(PathSyntaxError) as caught:
        compile_path(path)
    assert caught.value.text == path
    assert caught.value.message


@pytest.mark.parametrize(
    ("path", "document", "detail"),
    [
        ("$.no.such.result.path", {}, "Missing property in path $['no']"),
        ("$.a.b", {"a": {}}, "No results for path: $['a']['b']"),
        ("$.list.length", {"list": [1]}, "Property ['length'] not found in path $['list']"),
        ("$.a[0]", {"a": 1}, "Filter: [0] can only be applied to arrays. Current context is: 1"),
        ("$.a[0]", {"a": {"x": 1}}, 'Filter: [0] can only be applied to arrays. Current context is: {"x":1}'),
        ("$.a[3][1]", {"a": [1]}, "The path $['a'][3] is null"),
        (
            "$['a', 'b'].v",
            {"a": {"v": 1}, "b": {"v": 2}},
            "Multi properties can only be used as path leafs: $['a', 'b']",
        ),
        ("$nope.x", {}, "No results for path: $nope"),
    ],
)
def test_not_found(path: str, document: Any, detail: str) -> None:
    compiled = compile_path(path)
    with pytest.raises(PathNotFound) as caught:
        compiled(Scope(document))
    assert caught.value.cause == f"Invalid path '{path}' : {detail}"
    assert caught.value.error == "States.Runtime"
    assert compiled.find(Scope(document)) is MISSING


@pytest.mark.parametrize("path", ["$.items[1:].x", "$[*]", "$.item.items[*]", "$..x", "$.a[?(@.b)]", "$.a[0,1]"])
def test_an_indefinite_path_on_nothing_gives_an_empty_list(path: str) -> None:
    compiled = compile_path(path)
    assert not compiled.definite
    assert compiled(Scope({})) == []


def test_reading_a_null_document() -> None:
    with pytest.raises(StatesError, match="Unable to apply Path transformation to null or empty input"):
        read("$.a", None)
    assert read("$", None) is None


def test_an_index_past_the_end_reads_null_but_is_not_found() -> None:
    path = compile_path("$.items[5]")
    assert path(Scope({"items": [1]})) is None
    assert path.find(Scope({"items": [1]})) is MISSING
    assert path.find(Scope({"items": [None] * 6})) is None


def test_roots() -> None:
    made = []

    def context() -> Any:
        made.append(1)
        return {"Execution": {"Id": "e"}}

    scope = Scope({"a": 1}, context_factory=context, variables={"x": {"y": [7]}})
    assert compile_path("$.a")(scope) == 1
    assert compile_path("$x.y[0]")(scope) == 7
    assert compile_path("$x")(scope) == {"y": [7]}
    assert not made
    assert compile_path("$$.Execution.Id")(scope) == "e"
    assert compile_path("$$")(scope) == {"Execution": {"Id": "e"}}
    assert made == [1]
    assert [compile_path(text).root for text in ("$.a", "$$.b", "$x[0]")] == ["$", "$$", "x"]


def test_values_are_not_copied() -> None:
    document = {"a": {"b": [1]}}
    assert read("$.a.b", document) is document["a"]["b"]


WRITES: list[tuple[str, Any, Any, Any]] = [
    ("$", {"a": 1}, 2, 2),
    ("$.r", {"a": 1}, 2, {"a": 1, "r": 2}),
    ("$.r", {"r": 1}, None, {"r": None}),
    ("$.a.b.c", {}, 1, {"a": {"b": {"c": 1}}}),
    ("$.a.b", {"a": {"x": 1}}, 2, {"a": {"x": 1, "b": 2}}),
    ("$['a b']", {}, 1, {"a b": 1}),
    ("$.a[1].b", {"a": [0, {"c": 1}]}, 2, {"a": [0, {"c": 1, "b": 2}]}),
]


@pytest.mark.parametrize(("path", "document", "value", "written"), WRITES)
def test_write(path: str, document: Any, value: Any, written: Any) -> None:
    before = repr(document)
    assert compile_reference_path(path).write(document, value) == written
    assert repr(document) == before


@pytest.mark.parametrize(
    ("path", "document", "cause"),
    [
        ("$.someTaskResult", "input1", 'Unable to apply step "someTaskResult" to input "input1"'),
        ("$.aggregatedResult", [1, 2], 'Unable to apply step "aggregatedResult" to input [1,2]'),
        ("$.a.b", {"a": 5}, 'Unable to apply step "b" to input {"a":5}'),
        ("$.a[0]", {}, 'Unable to apply step "0" to input {}'),
        ("$.a[1]", {"a": [1]}, 'Unable to apply step "1" to input {"a":[1]}'),
        ("$.a", None, 'Unable to apply step "a" to input null'),
    ],
)
def test_write_conflict(path: str, document: Any, cause: str) -> None:
    with pytest.raises(StatesError) as caught:
        compile_reference_path(path).write(document, 1)
    assert (caught.value.error, caught.value.cause) == ("States.ReferencePathConflict", cause)


def test_reference_read() -> None:
    path = compile_reference_path("$.chunks[1]")
    assert path.read({"chunks": [1, 2]}) == 2
    for document in ({}, {"chunks": "ab"}, {"chunks": [1]}):
        with pytest.raises(StatesError, match="Unable to apply step"):
            path.read(document)


@pytest.mark.parametrize(
    "path", ["$.a[*]", "$..a", "$.a[1:2]", "$.a[?(@.b)]", "$['a','b']", "$.a[-1]", "$$.a", "$x.a", "a", "$.a.length()"]
)
def test_not_a_reference_path(path: str) -> None:
    with pytest.raises(PathSyntaxError):
        compile_reference_path(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
definite_steps = st.lists(st.sampled_from(["a", "b", "c", 0, 1, -1]), max_size=4)


@given(json_values, definite_steps)
def test_definite_paths_agree_with_walking(document: Any, steps: list[Any]) -> None:
    text = "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    value = document
    for step in steps:
        try:
            if type(value) is not (list if isinstance(step, int) else dict):
                raise KeyError
            value = value[step]
        except (KeyError, IndexError):
            value = MISSING
            break
    assert compile_path(text).find(Scope(document)) is value or compile_path(text).find(Scope(document)) == value


@given(json_values)
def test_scan_finds_every_value_once(document: Any) -> None:
    def below(value: Any) -> int:
        items = list(value.values()) if type(value) is dict else value if type(value) is list else []
        return len(items) + sum(map(below, items))

    assert len(compile_path("$..*")(Scope({"root": document}))) == below({"root": document})


@given(json_values, st.lists(st.sampled_from("abc"), max_size=3), json_values)
def test_what_was_written_is_read(document: Any, names: list[str], value: Any) -> None:
    text = "$" + "".join(f".{name}" for name in names)
    try:
        written = compile_reference_path(text).write(document, value)
    except StatesError:
        return
    assert compile_reference_path(text).read(written) == value


@given(st.text("$.[]()?@*'\"abc012,:<=>!&|~/ -", max_size=24))
def test_any_text_is_a_path_or_refused(text: str) -> None:
    try:
        path = compile_path("$" + text)
    except PathSyntaxError:
        return
    path.find(Scope({"a": [{"b": 1}, 2, "c"], "b": {"a": None}}))


def test_deep_documents() -> None:
    document: Any = 1
    for _ in range(5000):
        document = {"a": [document]}
    assert len(read("$..a", document)) == 5000
