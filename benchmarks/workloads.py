"""The state machines the benchmarks run, made here so that a reader sees what is measured."""

from __future__ import annotations

from typing import Any

Definition = dict[str, Any]


def chain(length: int, prefix: str = "S") -> Definition:
    """`length` Pass states in a row, each adding a field."""
    states: dict[str, Any] = {}
    for n in range(length):
        after = {"End": True} if n == length - 1 else {"Next": f"{prefix}{n + 1}"}
        states[f"{prefix}{n}"] = {"Type": "Pass", "Result": {"v": n}, "ResultPath": f"$.f{n}", **after}
    return {"StartAt": f"{prefix}0", "States": states}


def loop(turns: int) -> Definition:
    """A counter from 0 to `turns`: MathAdd and a Choice a turn; 4 events each."""
    return {
        "StartAt": "Init",
        "States": {
            "Init": {"Type": "Pass", "Result": {"i": 0}, "Next": "Add"},
            "Add": {"Type": "Pass", "Parameters": {"i.$": "States.MathAdd($.i, 1)"}, "Next": "Check"},
            "Check": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.i", "NumericLessThan": turns, "Next": "Add"}],
                "Default": "Done",
            },
            "Done": {"Type": "Succeed"},
        },
    }


def each(state: dict[str, Any], concurrency: int = 40) -> Definition:
    """An inline Map over `$.items`, one state an item."""
    processor = {"ProcessorConfig": {"Mode": "INLINE"}, "StartAt": "One", "States": {"One": {**state, "End": True}}}
    over = {
        "Type": "Map",
        "ItemsPath": "$.items",
        "MaxConcurrency": concurrency,
        "ItemProcessor": processor,
        "End": True,
    }
    return {"StartAt": "Each", "States": {"Each": over}}


def items(count: int) -> dict[str, Any]:
    """The input of `each`."""
    return {"items": [{"n": n} for n in range(count)]}


def parallel(branches: int, length: int) -> Definition:
    """`branches` chains side by side."""
    return {
        "StartAt": "All",
        "States": {
            "All": {"Type": "Parallel", "End": True, "Branches": [chain(length, f"B{n}S") for n in range(branches)]}
        },
    }
