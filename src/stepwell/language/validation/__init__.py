"""AWS's checks of a definition, on the plain JSON, with AWS's texts.

`validate` looks first at the shape of everything (`states` holds the tables; `shapes`, `paths`, `expressions`, `rules`,
`resources` and `variables` the checks they are made of), then at how the states lead to each other (`graph`). Every rule
reports through a `Visit`, and none of them raises: a definition with ten faults has ten findings.

The rules are those of ValidateStateMachineDefinition as recorded and observed, and of the States Language's
specification where nothing was observed.
"""

from __future__ import annotations

from typing import Any

from stepwell.language.diagnostics import DefinitionError, Diagnostic
from stepwell.language.source import Source, parse
from stepwell.language.validation.graph import check_graph
from stepwell.language.validation.shapes import check_shape
from stepwell.language.validation.states import MACHINE, check_state
from stepwell.language.validation.visit import Language, Report, Visit

__all__ = ["validate", "validate_state"]


def validate(
    definition: dict[str, Any] | str | bytes | Source,
    *,
    kind: str = "STANDARD",
    placeholders: bool = False,
) -> list[Diagnostic]:
    """The findings about a definition, in AWS's order; none of severity ERROR when it is valid.

    `definition` is the JSON value, a JSON text, or a `Source` (whose findings come with line and column). `kind` is the
    state machine's type, STANDARD or EXPRESS. `placeholders` accepts `${name}` where a resource or a number must stand. Never raises.
    """
    return _checked(definition, kind, placeholders, _check_machine)


def validate_state(
    definition: dict[str, Any] | str | bytes | Source, *, kind: str = "STANDARD", placeholders: bool = False
) -> list[Diagnostic]:
    """The findings about a single state, as TestState takes one. Where it leads to is not looked at."""
    return _checked(definition, kind, placeholders, lambda visit, state: check_state(visit, state, ()))


def _check_machine(visit: Visit, definition: dict[str, Any]) -> None:
    check_shape(visit, definition, (), MACHINE)
    check_graph(visit, definition)


def _checked(definition: Any, kind: str, placeholders: bool, check: Any) -> list[Diagnostic]:
    try:
        if isinstance(definition, bytes):
            definition = definition.decode()
        if isinstance(definition, str):
            definition = parse(definition)
    except UnicodeDecodeError as error:
        return [Diagnostic("ERROR", "INVALID_JSON_DESCRIPTION", f"Invalid UTF-8 at byte {error.start}")]
    except DefinitionError as error:
        return list(error.diagnostics)
    value = definition.value if isinstance(definition, Source) else definition
    report = Report()
    if not isinstance(value, dict):
        report.add(None, "Definition must be a valid JSON object")
    else:
        named = value.get("QueryLanguage", "JSONPath")
        language: Language = "JSONPath" if named == "JSONPath" else "JSONata"
        try:
            check(Visit(report, "EXPRESS" if kind == "EXPRESS" else "STANDARD", language, placeholders), value)
        except RecursionError:
            report.add(None, "The states are too deeply nested.", "TOO_DEEPLY_NESTED")
    return definition.placed(report.diagnostics) if isinstance(definition, Source) else report.diagnostics
