"""The numbers of a Map state: literal, by path or by expression, with AWS's texts when they are none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from stepwell.interpreter.states import text_of
from stepwell.language.errors import QUERY_EVALUATION_ERROR, RUNTIME, StatesError

if TYPE_CHECKING:
    from stepwell.language.model import NumberField
    from stepwell.language.scope import Scope

__all__ = ["fraction", "whole"]


def whole(field: NumberField | None, scope: Scope) -> int | None:
    """The integer of a field; None when the field is absent."""
    value = _number(field, scope, "integer")
    return None if value is None else int(value)


def fraction(field: NumberField | None, scope: Scope) -> float | None:
    """The number of a field; None when the field is absent."""
    value = _number(field, scope, "float")
    return None if value is None else float(value)


def _number(field: NumberField | None, scope: Scope, kind: str) -> int | float | None:
    if field is None:
        return None
    if field.evaluate is None:
        return field.value
    value: Any = field.evaluate(scope)
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if good and (kind == "float" or value == int(value)):
        return value  # type: ignore[no-any-return]
    if field.jsonata:
        raise StatesError(
            QUERY_EVALUATION_ERROR, f'The {field.name} field value "{text_of(value)}" is not a valid {kind}', field.name
        )
    raise StatesError(
        RUNTIME, f'The {field.name} field refers to value "{text_of(value)}" which is not a valid {kind}: {field.text}'
    )
