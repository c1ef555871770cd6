"""Numbers that are none, or too large: an error of the execution, never of its host."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell.interpreter.numbers import integer


@pytest.mark.parametrize("value", [0, -1, 2**63 - 1, -(2**63), "12", "+3", 1e3, "9223372036854775807"])
def test_an_integer_is_what_java_takes_for_a_long(value: Any) -> None:
    assert integer(value) == int(value)


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        -(2**63) - 1,
        10**20,
        1e300,
        float("inf"),
        float("nan"),
        1.5,
        True,
        None,
        "",
        "1.0",
        "9" * 19,
        "9" * 40,
        [1],
        {},
    ],
)
def test_what_is_no_integer(value: Any) -> None:
    assert integer(value) is None
