"""JSON values: their text, their equality and their type names, as AWS's (Java) implementation sees them."""

import json
from math import isinf, isnan
from typing import Any, Final

import orjson

__all__ = ["MISSING", "Missing", "double_text", "is_number", "java_text", "json_equal", "json_type", "to_json"]


class Missing:
    """The type of MISSING: no value, as opposed to null."""

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing()


def to_json(value: Any) -> str:
    """Compact JSON text, keys in their order."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # an integer beyond 64 bits, or a lone surrogate
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def is_number(value: Any) -> bool:
    """True for a JSON number; booleans are not numbers."""
    kind = type(value)
    return kind is int or kind is float


def json_type(value: Any) -> str:
    """The name AWS's texts give a value's type: `object`, `array`, `string`, `number`, `boolean`, `null`."""
    if value is None:
        return "null"
    return _TYPE_NAMES.get(type(value), "unknown")


_TYPE_NAMES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "number", float: "number"}


def json_equal(left: Any, right: Any) -> bool:
    """Equality of JSON values: 1 equals 1.0, true does not equal 1, the order of keys does not matter."""
    pending = [(left, right)]
    while pending:  # not recursive: a payload may nest deeper than Python's stack
        left, right = pending.pop()
        kind = type(left)
        if kind is not type(right):
            if not (is_number(left) and is_number(right) and left == right):
                return False
        elif kind is list:
            if len(left) != len(right):
                return False
            pending.extend(zip(left, right, strict=True))
        elif kind is dict:
            if left.keys() != right.keys():
                return False
            pending.extend((item, right[key]) for key, item in left.items())
        elif left != right:
            return False
    return True


def double_text(number: float) -> str:
    """A double as Java's `Double.toString` writes it: `1.0`, `1.1`, `1.0E10`."""
    if isnan(number):
        return "NaN"
    if isinf(number):
        return "Infinity" if number > 0 else "-Infinity"
    magnitude = abs(number)
    if magnitude == 0 or 1e-3 <= magnitude < 1e7:
        return repr(number)  # no exponent in this range: repr switches below 1e-4 and from 1e16
    sign, digits, exponent = _decimal_parts(number)
    return f"{sign}{digits[0]}.{digits[1:] or '0'}E{exponent}"


def _decimal_parts(number: float) -> tuple[str, str, int]:
    """Sign, significant digits (the fewest that round-trip) and the exponent of the first one."""
    text = repr(number)
    sign = "-" if text.startswith("-") else ""
    mantissa, _, power = text.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    exponent = int(power or 0) + len(whole) - 1
    if whole == "0":  # 0.000123: the first digit stands behind the point
        exponent = int(power or 0) - (len(fraction) - len(fraction.lstrip("0"))) - 1
    return sign, digits.rstrip("0") or "0", exponent


def java_text(value: Any) -> str:
    """A value as Java's `String.valueOf` writes it: strings bare, objects `{a=1, b=[x, y]}`, null `null`."""
    kind = type(value)
    if kind is str:
        return str(value)
    if value is None:
        return "null"
    if kind is bool:
        return "true" if value else "false"
    if kind is float:
        return double_text(value)
    if kind is dict:
        return "{" + ", ".join(f"{key}={java_text(item)}" for key, item in value.items()) + "}"
    if kind is list:
        return "[" + ", ".join(map(java_text, value)) + "]"
    return str(value)
