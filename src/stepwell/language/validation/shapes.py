"""Checks that tables are made of: types, ranges, enumerations, arrays, and objects with their fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stepwell.language.diagnostics import nearest
from stepwell.language.validation.expressions import expression
from stepwell.language.validation.visit import Check, Json, Language, Path, Visit

__all__ = [
    "Field",
    "Shape",
    "anything",
    "array",
    "boolean",
    "check_fields",
    "check_shape",
    "choice_of",
    "integer",
    "is_object",
    "number",
    "shaped",
    "text",
]

INTEGER_MAX = 2**63 - 1
"""The largest number of an integer field that has no limit of its own."""


def anything(visit: Visit, value: Any, path: Path) -> None:
    """Any JSON value will do."""


def text(visit: Visit, value: Any, path: Path) -> None:
    """A string that is not evaluated."""
    if not isinstance(value, str):
        visit.error(path, "Expected value of type [STRING]")


def boolean(visit: Visit, value: Any, path: Path) -> None:
    """True or false."""
    if not isinstance(value, bool):
        visit.error(path, "Expected value of type [BOOLEAN]")


def is_object(visit: Visit, value: Any, path: Path) -> bool:
    """Reports a value that is not an object."""
    if isinstance(value, dict):
        return True
    visit.error(path, "Expected value of type [OBJECT]")
    return False


def integer(minimum: int | None = None, maximum: int = INTEGER_MAX, *, evaluated: bool = True) -> Check:
    """A whole number in a range, both ends included; an expression too, in JSONata, unless `evaluated` is false."""

    def check(visit: Visit, value: Any, path: Path) -> None:
        if isinstance(value, int) and not isinstance(value, bool):
            _in_range(visit, value, path, minimum, maximum)
        elif not (_replaced_later(visit, value) or (evaluated and _evaluated(visit, value, path))):
            visit.error(path, "Expected value of type Integer")

    return check


def number(minimum: float | None = None, maximum: float | None = None, *, evaluated: bool = True) -> Check:
    """As `integer`, fractions included."""

    def check(visit: Visit, value: Any, path: Path) -> None:
        if isinstance(value, int | float) and not isinstance(value, bool):
            _in_range(visit, value, path, minimum, maximum)
        elif not (_replaced_later(visit, value) or (evaluated and _evaluated(visit, value, path))):
            visit.error(path, "Expected value of type Float")

    return check


def _in_range(visit: Visit, value: float, path: Path, minimum: float | None, maximum: float | None) -> None:
    if minimum is not None and value < minimum:
        visit.error(path, f"Minimum value is {minimum}")
    if maximum is not None and value > maximum:
        visit.error(path, f"Maximum value is {maximum}")


def _evaluated(visit: Visit, value: Any, path: Path) -> bool:
    return isinstance(value, str) and visit.language == "JSONata" and expression(visit, value, path)


def _replaced_later(visit: Visit, value: Any) -> bool:
    return visit.placeholders and isinstance(value, str) and "${" in value


def choice_of(*values: str) -> Check:
    """One of a few strings."""

    def check(visit: Visit, value: Any, path: Path) -> None:
        if not isinstance(value, str):
            visit.error(path, "Expected value of type [STRING]")
        elif value not in values:
            visit.error(
                path,
                f"Value should be one of the following: [{', '.join(values)}]",
                hint=_did_you_mean(value, values),
            )

    return check


def array(check_item: Check, *, empty: bool = False) -> Check:
    """An array of alike items."""

    def check(visit: Visit, value: Any, path: Path) -> None:
        if not isinstance(value, list):
            visit.error(path, "Expected value of type [ARRAY]")
        elif not value and not empty:
            visit.error(path, "Value cannot be empty")
        else:
            for index, item in enumerate(value):
                check_item(visit, item, (*path, index))

    return check


@dataclass(frozen=True, slots=True)
class Field:
    """A field's check, and the query language it belongs to (None: both)."""

    check: Check
    language: Language | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """What an object looks like.

    `required` fields must be there, in AWS's order of naming them. Of the fields of each tuple in `exactly_one` one must
    be there; of those in `at_most_one`, one may. Keys of `fields` are the only fields there are.
    """

    fields: Mapping[str, Field]
    required: tuple[str, ...] = ()
    exactly_one: tuple[tuple[str, ...], ...] = ()
    at_most_one: tuple[tuple[str, ...], ...] = field(default=())


def shaped(shape: Shape) -> Check:
    """An object of a shape."""

    def check(visit: Visit, value: Any, path: Path) -> None:
        if is_object(visit, value, path):
            check_shape(visit, value, path, shape)

    return check


def check_shape(visit: Visit, value: Json, path: Path, shape: Shape, *, other_language: bool = True) -> None:
    """Check an object, first as a whole, then field by field.

    `other_language` false passes over the fields of the other query language: AWS does so for a state that may not have
    the language it names.
    """
    for name in value:
        known = shape.fields.get(name)
        if known is None:
            hint = _did_you_mean(name, shape.fields) or f"What can stand here: {_names_in(shape, visit.language)}."
            visit.error(path, f"Field '{name}' is not supported", hint=hint)
        elif known.language is not None and known.language != visit.language and other_language:
            visit.error(
                path,
                f"The QueryLanguage is set to '{visit.language}', but field '{name}' is only supported "
                f"for the '{known.language}' QueryLanguage",
                hint=_LANGUAGE_HINTS[known.language],
            )
    missing = [name for name in shape.required if name not in value]
    if missing:
        visit.error(path, f"These fields are required: [{', '.join(missing)}]")
    for names in shape.exactly_one:
        _count(visit, value, path, shape, names, needed=True)
    for names in shape.at_most_one:
        _count(visit, value, path, shape, names, needed=False)
    check_fields(visit, value, path, shape)


_LANGUAGE_HINTS = {
    "JSONata": 'Remove it, or give the state "QueryLanguage": "JSONata".',
    "JSONPath": "A JSONata state reads its input as $states.input and shapes what it passes on by Output.",
}


def _names_in(shape: Shape, language: Language) -> str:
    return ", ".join(name for name, known in shape.fields.items() if known.language in (None, language))


def check_fields(visit: Visit, value: Json, path: Path, shape: Shape) -> None:
    """Check the values of those fields that may be there."""
    for name, item in value.items():
        known = shape.fields.get(name)
        if known is not None and known.language in (None, visit.language):
            known.check(visit, item, (*path, name))


def _count(visit: Visit, value: Json, path: Path, shape: Shape, names: tuple[str, ...], *, needed: bool) -> None:
    # "End": false says as much as no End.
    present = [name for name in names if name in value and not (name == "End" and value[name] is False)]
    listed = f"[{', '.join(name for name in names if shape.fields[name].language in (None, visit.language))}]"
    if len(present) > 1:
        visit.error(path, f"There should only be one of the following fields: {listed}")
    elif needed and not present:
        visit.error(path, f"This object should have only one of the following fields: {listed}")


def _did_you_mean(name: str, known: Iterable[str]) -> str | None:
    meant = nearest(name, known)
    return f"Did you mean {meant}?" if meant else None
