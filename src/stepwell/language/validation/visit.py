"""What a check knows while it looks at one state, and how it reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from stepwell.language.diagnostics import CODES, Diagnostic, Path, location_of, pointer_of

__all__ = ["Check", "Json", "Kind", "Language", "Path", "Report", "Visit"]

Kind = Literal["STANDARD", "EXPRESS"]
Language = Literal["JSONPath", "JSONata"]
Json = dict[str, Any]


class Report:
    """Collects findings in the order in which they are made."""

    def __init__(self) -> None:
        self.diagnostics: list[Diagnostic] = []

    def add(
        self,
        path: Path | None,
        message: str,
        code: str = "SCHEMA_VALIDATION_FAILED",
        *,
        hint: str | None = None,
    ) -> None:
        """A finding at a path; None for one about the definition as a whole, which AWS gives no location."""
        self.diagnostics.append(
            Diagnostic(
                CODES[code][0],
                code,
                message,
                pointer_of(path or ()),
                None if path is None else location_of(path),
                hint=hint,
            )
        )


class Visit:
    """The surroundings of a value: those of the whole definition, and those of the state it belongs to.

    `kind` is the type of the workflow the state runs in (inside of a distributed Map, that of its child executions).
    `placeholders` allows `${name}` where AWS wants a resource: a project replaces it later.
    """

    __slots__ = ("kind", "language", "machine_language", "placeholders", "report", "state", "state_type")

    def __init__(self, report: Report, kind: Kind, machine_language: Language, placeholders: bool) -> None:
        self.report = report
        self.kind: Kind = kind
        self.machine_language: Language = machine_language
        self.language: Language = machine_language
        self.placeholders = placeholders
        self.state: Json = {}
        self.state_type = ""

    def inside(self, state: Json, language: Language) -> Visit:
        """The surroundings of a state's fields."""
        visit = Visit(self.report, self.kind, self.machine_language, self.placeholders)
        visit.language = language
        visit.state = state
        visit.state_type = state["Type"]
        return visit

    def of_kind(self, kind: Kind) -> Visit:
        """The same surroundings in a workflow of another type."""
        return Visit(self.report, kind, self.machine_language, self.placeholders)

    def error(
        self, path: Path | None, message: str, code: str = "SCHEMA_VALIDATION_FAILED", *, hint: str | None = None
    ) -> None:
        """Report a finding."""
        self.report.add(path, message, code, hint=hint)


Check = Callable[[Visit, Any, Path], None]
"""Looks at a value that stands at a path, and reports what is wrong with it."""
