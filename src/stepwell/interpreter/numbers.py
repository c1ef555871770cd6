"""Numbers in definitions: literal, by path or by expression, with AWS's texts when they are none."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

from stepwell.interpreter.payload import text_of
from stepwell.language.errors import QUERY_EVALUATION_ERROR, RUNTIME, StatesError

if TYPE_CHECKING:
    from stepwell.language.model import NumberField
    from stepwell.language.scope import Scope

__all__ = ["fraction", "integer", "whole"]


_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_LONG = 2**63


def integer(value: Any) -> int | None:
    """A value as an integer, as Java's Long.parseLong takes it; None when it is none. Booleans are not numbers."""
    number: int | None = None
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        number = value
    elif isinstance(value, float):
        number = int(value) if math.isfinite(value) and value == int(value) else None
    elif isinstance(value, str) and _WHOLE.fullmatch(value):
        number = int(value)
    return number if number is not None and -_LONG <= number < _LONG else None


def _real(value: Any) -> float | None:
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except ValueError:
            return None
        return number if math.isfinite(number) else None
    return None


def whole(field: NumberField | None, scope: Scope) -> int | None:
    """The integer of a field; None when the field is absent."""
    if field is None or field.evaluate is None:
        return None if field is None or field.value is None else int(field.value)
    value = field.evaluate(scope)
    number = integer(value)
    if number is None:
        raise _invalid(field, value, "integer")
    return number


def fraction(field: NumberField | None, scope: Scope) -> float | None:
    """The number of a field; None when the field is absent."""
    if field is None or field.evaluate is None:
        return None if field is None or field.value is None else float(field.value)
    value = field.evaluate(scope)
    number = _real(value)
    if number is None:
        raise _invalid(field, value, "float")
    return number


def _invalid(field: NumberField, value: Any, kind: str) -> StatesError:
    if field.jsonata:
        return StatesError(
            QUERY_EVALUATION_ERROR, f'The {field.name} field value "{text_of(value)}" is not a valid {kind}', field.name
        )
    return StatesError(
        RUNTIME, f'The {field.name} field refers to value "{text_of(value)}" which is not a valid {kind}: {field.text}'
    )
