"""Variables: the names Assign gives, and which scope they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from stepwell.language.validation.visit import Check, Json, Path, Visit

__all__ = ["MAX_NAME", "assigned_names", "assignments"]

MAX_NAME: Final = 80
"""Characters of a variable's name."""


def assignments(check_values: Check) -> Check:
    """An Assign object: the names it assigns to, then the values by `check_values`."""

    def check(visit: Visit, value: Any, path: Path) -> None:
        if isinstance(value, dict):
            for name in value:
                _check_name(visit, _variable(name, visit.language), (*path, name))
        check_values(visit, value, path)

    return check


def _variable(name: str, language: str) -> str:
    return name.removesuffix(".$") if language == "JSONPath" else name


def _check_name(visit: Visit, name: str, path: Path) -> None:
    if name == "states":
        visit.error(path, "Cannot assign to reserved variable '$states'.", "RESERVED_VARIABLE_NAME")
    elif not name.isidentifier() or name.startswith("_"):
        visit.error(
            path,
            f"Invalid variable name '{name}': the variable name contains invalid characters.",
            "INVALID_VARIABLE_NAME",
        )
    elif len(name) > MAX_NAME:
        visit.error(
            path,
            f"Invalid variable name '{name}': the variable name exceeds the {MAX_NAME}-character limit.",
            "INVALID_VARIABLE_NAME",
        )


def assigned_names(state: Json, path: Path, language: str) -> Iterator[tuple[str, Path]]:
    """The variables that a state assigns to, its catchers and rules included, and where."""
    for holder, place in _assigning(state, path):
        assign = holder.get("Assign")
        for name in assign if isinstance(assign, dict) else ():
            yield _variable(name, language), (*place, "Assign", name)


def _assigning(state: Json, path: Path) -> Iterator[tuple[Json, Path]]:
    yield state, path
    for field in ("Catch", "Choices"):
        entries = state.get(field)
        for index, entry in enumerate(entries if isinstance(entries, list) else ()):
            if isinstance(entry, dict):
                yield entry, (*path, field, index)
