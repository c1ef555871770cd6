"""The functions of Jayway's JSONPath, such as `$.items.length()`."""

import math
from collections.abc import Callable
from typing import Any

from stepwell.language.values import is_number, java_text

__all__ = ["FUNCTIONS", "FunctionError"]


class FunctionError(ValueError):
    """The function can't be applied to what it was given; the text is Jayway's where Jayway has one."""


def _numbers(value: Any, arguments: list[Any]) -> list[float]:
    """The numbers of the array and of the arguments. Aggregates of nothing are refused."""
    given = [*(value if type(value) is list else ()), *arguments]
    flat = [item for entry in given for item in (entry if type(entry) is list else [entry])]
    numbers = [float(item) for item in flat if is_number(item)]
    if not numbers:
        raise FunctionError("Aggregation function attempted to calculate value using empty array")
    return numbers


def _deviation(value: Any, arguments: list[Any]) -> float:
    numbers = _numbers(value, arguments)
    mean = sum(numbers) / len(numbers)
    return math.sqrt(sum((number - mean) ** 2 for number in numbers) / len(numbers))


def _length(value: Any, arguments: list[Any]) -> int | None:
    """Of an array its items, of an object its fields; null for anything else."""
    return len(value) if type(value) in (list, dict) else None


def _concat(value: Any, arguments: list[Any]) -> str:
    parts = [item for item in value if type(item) is str] if type(value) is list else []
    return "".join(parts) + "".join(java_text(argument) for argument in arguments)


def _append(value: Any, arguments: list[Any]) -> Any:
    return [*value, *arguments] if type(value) is list else value


def _keys(value: Any, arguments: list[Any]) -> list[str] | None:
    return list(value) if type(value) is dict else None


def _at(value: Any, index: int) -> Any:
    if type(value) is not list or not -len(value) <= index < len(value):
        raise FunctionError("Aggregation function attempted to calculate value using empty array")
    return value[index]


def _index(value: Any, arguments: list[Any]) -> Any:
    if len(arguments) != 1 or type(arguments[0]) is not int:
        raise FunctionError("index() takes one integer")
    return _at(value, arguments[0])


FUNCTIONS: dict[str, Callable[[Any, list[Any]], Any]] = {
    "append": _append,
    "avg": lambda value, arguments: sum(numbers := _numbers(value, arguments)) / len(numbers),
    "concat": _concat,
    "first": lambda value, arguments: _at(value, 0),
    "index": _index,
    "keys": _keys,
    "last": lambda value, arguments: _at(value, -1),
    "length": _length,
    "max": lambda value, arguments: max(_numbers(value, arguments)),
    "min": lambda value, arguments: min(_numbers(value, arguments)),
    "size": _length,
    "stddev": _deviation,
    "sum": lambda value, arguments: sum(_numbers(value, arguments)),
}
"""Each is given the value before the dot and the list of its arguments. Sums and the like are doubles, as in Jayway."""
