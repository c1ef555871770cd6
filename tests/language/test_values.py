"""Texts and equality of values, timestamps, error matching, scopes and Java's random numbers."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.language.errors import compile_error_matcher
from stepwell.language.javarandom import JavaRandom
from stepwell.language.scope import Scope
from stepwell.language.timestamps import format_timestamp, parse_timestamp
from stepwell.language.values import double_text, java_text, json_equal, json_type, to_json


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0.0"), (-0.0, "-0.0"), (1.0, "1.0"), (1.1, "1.1"), (100.0, "100.0"), (0.001, "0.001"), (9999999.0, "9999999.0"),
        (1e7, "1.0E7"), (12345678.9, "1.23456789E7"), (1e10, "1.0E10"), (1.5e22, "1.5E22"), (1e-5, "1.0E-5"),
        (0.00012345, "1.2345E-4"), (-2.5e-7, "-2.5E-7"), (1e21, "1.0E21"), (float("inf"), "Infinity"), (float("nan"), "NaN"),
    ],
)  # fmt: skip
def test_doubles_as_java_writes_them(number: float, text: str) -> None:
    assert double_text(number) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_the_text_of_a_double_reads_back(number: float) -> None:
    assert float(double_text(number)) == number


def test_java_text() -> None:
    assert java_text({"a": [1, None, True, "x", {}], "b": 1.5}) == "{a=[1, null, true, x, {}], b=1.5}"


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1, 1.0, True), (1, True, False), (0, False, False), ("1", 1, False), (None, None, True), (None, False, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True), ([1, 2], [2, 1], False), ({"a": 1}, {"a": True}, False), ([], {}, False),
    ],
)  # fmt: skip
def test_json_equal(left: Any, right: Any, equal: bool) -> None:
    assert json_equal(left, right) is equal
    assert json_equal(right, left) is equal


def test_json_equal_of_deep_values() -> None:
    left: Any = 1
    right: Any = 1.0
    for _ in range(5000):
        left, right = [{"a": left}], [{"a": right}]
    assert json_equal(left, right)
    assert not json_equal(left, [right])


def test_json_text() -> None:
    assert to_json({"b": [1, "é"], "a": None}) == '{"b":[1,"é"],"a":null}'
    assert to_json(2**70) == str(2**70)
    assert [json_type(value) for value in ({}, [], "", 1, 1.5, True, None)] == [
        "object", "array", "string", "number", "number", "boolean", "null",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2016-12-05T21:29:29Z", datetime(2016, 12, 5, 21, 29, 29, tzinfo=UTC)),
        ("2016-12-05T21:29:29.00Z", datetime(2016, 12, 5, 21, 29, 29, tzinfo=UTC)),
        ("2016-12-05T21:29:29.123456789Z", datetime(2016, 12, 5, 21, 29, 29, 123456, tzinfo=UTC)),
        ("2016-12-05T21:29:29+01:30", datetime(2016, 12, 5, 19, 59, 29, tzinfo=UTC)),
        ("2016-12-05T21:29Z", datetime(2016, 12, 5, 21, 29, tzinfo=UTC)),
        ("2016-12-05t21:29:29z", datetime(2016, 12, 5, 21, 29, 29, tzinfo=UTC)),
    ],
)
def test_timestamps(text: str, moment: datetime) -> None:
    assert parse_timestamp(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "", "05-12-2016T21:29:29Z", "2016-12-05 21:29:29Z", "2016-12-05T21:29:29", "2016-12-05T25:29:29Z", "2016-13-05T21:29:29Z",
        "2016-12-05", "2016-12-05T21:29:29+0100", "2016-12-05T21:29:29+19:00", "2016-12-05T21:29:29+01:60", "2023-02-29T00:00:00Z",
        "2016-12-05T24:00:00Z", "2016-12-05T21:29:60Z", " 2016-12-05T21:29:29Z", "2016-12-05T21:29:29Z\n", "٢٠١٦-12-05T21:29:29Z",
    ],
)  # fmt: skip
def test_not_timestamps(text: str) -> None:
    with pytest.raises(ValueError):
        parse_timestamp(text)


def test_format_timestamp() -> None:
    moment = datetime(2024, 1, 31, 10, 0, 0, 123999, tzinfo=timezone(timedelta(hours=1)))
    assert format_timestamp(moment) == "2024-01-31T09:00:00.123Z"


TIMEOUTS = ["States.Timeout", "States.HeartbeatTimeout"]
NEVER_BY_ALL = ["States.Runtime", "States.DataLimitExceeded"]


@pytest.mark.parametrize(
    ("error_equals", "matched", "not_matched"),
    [
        (["States.ALL"], ["MyError", "States.TaskFailed", *TIMEOUTS], NEVER_BY_ALL),
        (["States.TaskFailed"], ["MyError", "States.TaskFailed"], [*TIMEOUTS, *NEVER_BY_ALL]),
        (["States.Timeout"], ["States.Timeout", "States.HeartbeatTimeout"], ["MyError"]),
        (["States.HeartbeatTimeout"], ["States.HeartbeatTimeout"], ["States.Timeout"]),
        (["States.DataLimitExceeded"], ["States.DataLimitExceeded"], ["MyError"]),
        (["States.Runtime"], [], ["States.Runtime", "MyError"]),
        (["A", "B"], ["A", "B"], ["C", "States.TaskFailed"]),
    ],
)  # fmt: skip
def test_error_matching(error_equals: list[str], matched: list[str], not_matched: list[str]) -> None:
    matches = compile_error_matcher(error_equals)
    assert all(matches(error) for error in matched)
    assert not any(matches(error) for error in not_matched)


def test_scope() -> None:
    made = []

    def factory() -> dict[str, int]:
        made.append(1)
        return {"n": 1}

    scope = Scope({"a": 1}, context_factory=factory, variables={"v": 1}, states={"input": 1}, now=5)
    other = scope.with_document([2])
    assert not made
    assert scope.context is scope.context
    assert made == [1]
    assert (other.document, other.variables, other.states, other.now) == ([2], {"v": 1}, {"input": 1}, 5)
    assert other.context == {"n": 1}


def test_java_random() -> None:
    # In every Java, new Random(42).nextDouble() is 0.7275636800328681 and nextInt() is -1170105035.
    assert JavaRandom(42).next_double() == 0.7275636800328681
    first = (-1170105035 & 0xFFFFFFFF) >> 1
    assert [JavaRandom(42).next_int(bound) for bound in (10, 100, 998)] == [first % 10, first % 100, first % 998]
    assert JavaRandom(42).next_int(16) == 11
    assert all(0 <= JavaRandom(seed).next_int(7) < 7 for seed in range(-50, 50))
