import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.language.diagnostics import DefinitionError, Diagnostic
from stepwell.language.jsontext import MAX_DEPTH, positions
from stepwell.language.source import load, parse

MACHINE = """{
  "StartAt": "A",
  "States": {
    "A": {"Type": "Pass", "Next": "B/C"},
    "B/C": {
      "Type": "Choice",
      "Choices": [{"Next": "A"}, {"Next": "A"}]
    }
  }
}
"""

YAML = """# Übung
StartAt: A
States:
  A: {Type: Pass, Next: no}
  no:
    Type: Wait
    Timestamp: 2016-03-14T01:59:00Z
    Seconds: 0x10
    Numbers: [1, -2, 1.5, 1e3, ~, true, "5", 'x', on]
"""


def fault(text: str, format: str = "json") -> Diagnostic:
    with pytest.raises(DefinitionError) as caught:
        parse(text, format=format, file="m")  # type: ignore[arg-type]
    (diagnostic,) = caught.value.diagnostics
    return diagnostic


def test_places_are_those_of_keys_and_items() -> None:
    source = parse(MACHINE)
    assert source.value == json.loads(MACHINE)
    assert source.place("") == (1, 1)
    assert source.place("/States/A/Next") == (4, 27)
    assert source.place("/States/B~1C/Choices/1") == (7, 34)
    assert source.place("/States/B~1C/Choices/1/Next") == (7, 35)


def test_the_place_of_what_is_missing_is_that_of_what_surrounds_it() -> None:
    assert parse(MACHINE).place("/States/B~1C/Default/x") == (5, 5)


def test_yaml_has_places_and_the_types_of_json() -> None:
    source = parse(YAML, format="yaml")
    assert source.value["States"]["A"]["Next"] == "no"
    assert source.value["States"]["no"]["Timestamp"] == "2016-03-14T01:59:00Z"
    assert source.value["States"]["no"]["Seconds"] == "0x10"
    assert source.value["States"]["no"]["Numbers"] == [1, -2, 1.5, 1000.0, None, True, "5", "x", "on"]
    assert source.place("/States/A/Next") == (4, 19)
    assert source.place("/States/no/Numbers/2") == (9, 22)


def test_files_are_read_by_their_suffix(tmp_path: Path) -> None:
    (tmp_path / "m.asl.yaml").write_text(YAML, encoding="utf-8")
    (tmp_path / "m.asl.json").write_bytes(b"\xef\xbb\xbf" + MACHINE.encode())
    assert load(tmp_path / "m.asl.yaml").format == "yaml"
    assert load(tmp_path / "m.asl.json").value["StartAt"] == "A"
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(DefinitionError, match="not UTF-8: byte 7 is 0xe9"):
        load(tmp_path / "latin.json")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none.json")


JACKSON = [
    # Recorded from AWS.
    (
        "not a definition",
        "Unrecognized token 'not': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
        4,
    ),
    ("{not json", "Unexpected character ('n' (code 110)): was expecting double-quote to start field name", 3),
    ('{"a":1,}', "Unexpected character ('}' (code 125)): was expecting double-quote to start field name", 9),
    ('{"a":1 "b":2}', "Unexpected character ('\"' (code 34)): was expecting comma to separate Object entries", 9),
    ('["a" "b"]', "Unexpected character ('\"' (code 34)): was expecting comma to separate Array entries", 7),
    ('{"a" 1}', "Unexpected character ('1' (code 49)): was expecting a colon to separate field name and value", 7),
    ('{"a":1,"a":2}', "Duplicate field 'a'", 11),
    ('{"a":NaN}', "Non-standard token 'NaN': not allowed in JSON", 9),
    ('{"a":1e999}', "Number 1e999 is out of the range of a double", 11),
    ('{"a":"\\ud800"}', "Incomplete surrogate pair in a character escape sequence", 14),
    ('{"a":"\\q"}', "Unrecognized character escape 'q' (code 113)", 9),
]


@pytest.mark.parametrize(("text", "message", "column"), JACKSON)
def test_broken_json_is_explained_as_aws_does(text: str, message: str, column: int) -> None:
    diagnostic = fault(text)
    place = f'[Source: (String)"{text}"; line: 1, column: {column}]'
    assert diagnostic.code == "INVALID_JSON_DESCRIPTION"
    assert diagnostic.message == f"{message}\n at {place}"
    assert diagnostic.location == place
    assert (diagnostic.file, diagnostic.line) == ("m", 1)
    assert "[Source" not in str(diagnostic)


def test_an_end_that_comes_too_early_names_where_it_began() -> None:
    assert "expected close marker for Object (start marker at [Source" in fault('{"a": 1').message


def test_a_long_text_is_quoted_in_part() -> None:
    location = fault("x" * 600).location
    assert location is not None
    assert location.startswith(f'[Source: (String)"{"x" * 500}"[truncated 100 chars]; line: 1')


def test_nothing_is_not_an_object() -> None:
    assert fault(" \n").as_wire() == {
        "severity": "ERROR",
        "code": "SCHEMA_VALIDATION_FAILED",
        "message": "Definition must be a valid JSON object",
    }


def test_nesting_has_an_end() -> None:
    assert "nesting depth" in fault("[" * 5000).message
    assert "nesting depth" in fault("[" * 100_000 + "]" * 100_000).message
    assert parse("[" * MAX_DEPTH + "]" * MAX_DEPTH).place("/0/0") == (1, 3)


BROKEN_YAML = [
    ("a: [1", "flow sequence", 1, 6),
    ("a: 1\na: 2", "Duplicate field 'a'", 2, 1),
    ("a: !Sub x", "the tag !Sub has no meaning", 1, 4),
    ("a: *nowhere", "undefined alias", 1, 4),
    ("a: &x [*x]", "nesting", 1, 4),
    ("<<: {a: 1}", "merge keys", 1, 1),
    ("[1]: 2", "a field name must be a string", 1, 1),
    ("a: 1e999", "too large", 1, 4),
    ("a:\n\t- b", "", 2, 1),
]


@pytest.mark.parametrize(("text", "message", "line", "column"), BROKEN_YAML)
def test_broken_yaml_is_explained(text: str, message: str, line: int, column: int) -> None:
    diagnostic = fault(text, "yaml")
    assert diagnostic.code == "INVALID_JSON_DESCRIPTION"
    assert message in diagnostic.message
    assert (diagnostic.line, diagnostic.column) == (line, column)


def test_aliases_can_not_blow_up() -> None:
    laughs = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join(['*' + before] * 10)}]\n"
        for before, name in zip("abcdefg", "bcdefgh", strict=True)
    )
    assert "more than 100000 values" in fault(laughs, "yaml").message


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(values, st.sampled_from([None, 1]), st.booleans())
def test_the_position_reader_agrees_with_pythons(value: object, indent: int | None, ascii: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii)
    found = positions(text)

    def look(value: object, path: tuple[str | int, ...]) -> None:
        assert path in found
        if isinstance(value, dict):
            for name, item in value.items():
                assert text[found[(*path, name)]] == '"'
                look(item, (*path, name))
        if isinstance(value, list):
            for index, item in enumerate(value):
                look(item, (*path, index))

    look(value, ())


@given(st.text(max_size=30))
def test_any_text_parses_or_is_explained(text: str) -> None:
    for format in ("json", "yaml"):
        try:
            parse(text, format=format)  # type: ignore[arg-type]
        except DefinitionError as error:
            assert error.diagnostics[0].message
