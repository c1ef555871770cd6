"""Choice rules: which fields stand together in one, and what their values must be."""

from __future__ import annotations

from typing import Any, Final

from stepwell.language.choices import OPERATORS
from stepwell.language.timestamps import parse_timestamp
from stepwell.language.validation.expressions import evaluated_template, expression
from stepwell.language.validation.paths import reading_path, template
from stepwell.language.validation.shapes import Field, boolean, is_object, number, text
from stepwell.language.validation.variables import assignments
from stepwell.language.validation.visit import Check, Json, Path, Visit

__all__ = ["choice_rule", "timestamp"]

_SELECTORS: Final = ("And", "Or", "Not", "Variable", "Condition")


def timestamp(visit: Visit, value: Any, path: Path) -> None:
    """A timestamp of AWS's profile of RFC 3339; in JSONata, an expression too."""
    if not isinstance(value, str):
        visit.error(path, "Expected value of type [STRING]")
        return
    if visit.language == "JSONata" and expression(visit, value, path):
        return
    try:
        parse_timestamp(value)
    except ValueError:
        visit.error(
            path,
            "String does not match RFC3339 timestamp",
            hint="Write it as 2030-01-31T09:00:00Z, with the T and the Z.",
        )


def condition(visit: Visit, value: Any, path: Path) -> None:
    """A JSONata condition."""
    if isinstance(value, bool):
        return
    if not isinstance(value, str):
        visit.error(path, "Expected value of type [STRING]")
    elif not expression(visit, value, path):
        visit.error(path, "JSONata string must start with {% and end with %}")


_OPERANDS: Final[dict[str, Check]] = {
    "String": text,
    "Numeric": number(evaluated=False),
    "Boolean": boolean,
    "Timestamp": timestamp,
    "Is": boolean,
}


def _operand(operator: str) -> Check:
    if operator.endswith("Path"):
        return reading_path
    return next(check for family, check in _OPERANDS.items() if operator.startswith(family))


_COMPARISONS: Final = {operator: _operand(operator) for operator in sorted(OPERATORS)}


def _nested(visit: Visit, value: Any, path: Path) -> None:
    _rule(visit, value, path, top=False)


def _list_of_rules(visit: Visit, value: Any, path: Path) -> None:
    if not isinstance(value, list):
        visit.error(path, "Expected value of type [ARRAY]")
    elif not value:
        visit.error(path, "Value cannot be empty")
    else:
        for index, item in enumerate(value):
            _nested(visit, item, (*path, index))


_FIELDS: Final[dict[str, Field]] = {
    "Comment": Field(text),
    "Variable": Field(reading_path, "JSONPath"),
    "And": Field(_list_of_rules, "JSONPath"),
    "Or": Field(_list_of_rules, "JSONPath"),
    "Not": Field(_nested, "JSONPath"),
    "Condition": Field(condition, "JSONata"),
} | {operator: Field(check, "JSONPath") for operator, check in _COMPARISONS.items()}

_TOP_FIELDS: Final[dict[str, Field]] = _FIELDS | {
    "Next": Field(text),
    "Assign": Field(assignments(template(object_only=True))),
    "Output": Field(evaluated_template(), "JSONata"),
}


def choice_rule(visit: Visit, value: Any, path: Path) -> None:
    """An entry of Choices."""
    _rule(visit, value, path, top=True)


def _rule(visit: Visit, value: Any, path: Path, *, top: bool) -> None:
    if not is_object(visit, value, path):
        return
    fields = _TOP_FIELDS if top else _FIELDS
    for name in value:
        known = fields.get(name)
        if known is None:
            visit.error(path, f"Field '{name}' is not supported")
        elif known.language not in (None, visit.language):
            visit.error(
                path,
                f"The QueryLanguage is set to '{visit.language}', but field '{name}' is only supported "
                f"for the '{known.language}' QueryLanguage",
            )
    if top and "Next" not in value:
        visit.error(path, "These fields are required: [Next]")
    _selectors(visit, value, path)
    for name, item in value.items():
        known = fields.get(name)
        if known is not None and known.language in (None, visit.language):
            known.check(visit, item, (*path, name))


def _selectors(visit: Visit, rule: Json, path: Path) -> None:
    comparisons = [name for name in rule if name in _COMPARISONS]
    if len([name for name in _SELECTORS if name in rule]) != 1:
        visit.error(path, f"The object must have only one of the following fields, [{', '.join(_SELECTORS)}]")
    elif "Variable" in rule and visit.language == "JSONPath" and len(comparisons) != 1:
        if comparisons:
            visit.error(path, f"There should only be one of the following fields: [{', '.join(comparisons)}]")
        else:
            visit.error(path, f"This object should have only one of the following fields: [{', '.join(_COMPARISONS)}]")
    elif comparisons and "Variable" not in rule and visit.language == "JSONPath":
        visit.error(path, f"Field '{comparisons[0]}' is not supported", hint="A comparison needs a Variable beside it.")
