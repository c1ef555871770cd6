"""What is wrong with a definition, where, and what to do about it.

The codes and the shape are those of ValidateStateMachineDefinition. Its documentation page lists the codes of the first
group below; the rest appear in AWS's answers without being listed there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

__all__ = [
    "CODES",
    "DefinitionError",
    "Diagnostic",
    "Path",
    "Severity",
    "errors_of",
    "invalid_definition_message",
    "location_of",
    "nearest",
    "pointer_of",
    "render",
]

Severity = Literal["ERROR", "WARNING"]

Path = tuple[str | int, ...]
"""The way from the definition's root to a value: field names and array indices."""

CODES: dict[str, tuple[Severity, str]] = {
    "INVALID_JSON_DESCRIPTION": (
        "ERROR",
        "Correct the syntax at the place named; the rest of the file was not looked at.",
    ),
    "SCHEMA_VALIDATION_FAILED": ("ERROR", "Give the field the value the States Language asks for there, or remove it."),
    "MISSING_END_STATE": (
        "ERROR",
        'Let one top-level state end the workflow: "End": true, or a Succeed or Fail state.',
    ),
    "MISSING_TRANSITION_TARGET": (
        "ERROR",
        "Name a state of the same States object; a branch can't reach states outside of itself. "
        "A state that nothing leads to must be connected or removed.",
    ),
    "DUPLICATE_STATE_NAME": (
        "ERROR",
        "Rename one of the states: names are unique in the whole definition, branches included.",
    ),
    "INVALID_STATE_NAME": ("ERROR", "Use a name of 1 to 80 characters."),
    "DUPLICATE_LABEL_NAME": ("ERROR", "Give each distributed Map a Label of its own."),
    "INVALID_LABEL_NAME": (
        "ERROR",
        'Use 1 to 40 characters, none of them white space, a control character or one of ?*<>{}[]:;,\\|^~$#%&`"/.',
    ),
    "TOO_DEEPLY_NESTED": ("ERROR", "Flatten the definition, or move inner workflows into state machines of their own."),
    "INVALID_JSONATA_EXPRESSION": ("ERROR", "Correct the JSONata between {% and %}."),
    "UNSUPPORTED_JSONATA_EXPRESSION": (
        "ERROR",
        "Read the state's input as $states.input and variables as $name: an expression has no context of its own.",
    ),
    "INVALID_VARIABLE_NAME": (
        "ERROR",
        "Start with a letter, go on with letters, digits and underscores; at most 80 characters.",
    ),
    "RESERVED_VARIABLE_NAME": ("ERROR", "Choose another name: $states belongs to Step Functions."),
    "DUPLICATE_VARIABLE_NAME": (
        "ERROR",
        "Choose another name: a branch or a Map can read outer variables, not assign them.",
    ),
    "NO_DOLLAR": ("WARNING", 'End the field name with ".$" if the value is meant to be evaluated.'),
    "NO_PATH": ("WARNING", 'Use the field that ends with "Path" if the value is meant to be a path.'),
    "PASS_RESULT_IS_STATIC": ("WARNING", "Use Parameters instead of Result if the value is meant to be evaluated."),
}
"""Every code, with its severity and the remedy."""


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding.

    `message` is AWS's text. `location` is the place as AWS writes it (`/States/A/Choices[0]/Next`; None where AWS gives
    none), `pointer` the same as an RFC 6901 JSON pointer. `line` and `column` count from 1 and are set when the definition
    came as text; `file` is its name. `hint` says more exactly what to do than the code's general remedy, if it can.
    """

    severity: Severity
    code: str
    message: str
    pointer: str = ""
    location: str | None = None
    line: int | None = None
    column: int | None = None
    file: str | None = None
    hint: str | None = None

    @property
    def remedy(self) -> str:
        """What to do."""
        return self.hint or CODES[self.code][1]

    def placed(self, line: int, column: int, file: str | None) -> Diagnostic:
        """The same finding with its place in a text."""
        return replace(self, line=line, column=column, file=file)

    def as_wire(self) -> dict[str, Any]:
        """The element of `diagnostics` in ValidateStateMachineDefinition's answer."""
        wire = {"severity": self.severity, "code": self.code, "message": self.message}
        if self.location is not None:
            wire["location"] = self.location
        return wire

    def render(self) -> str:
        """Two lines for a terminal: the finding as compilers write it, and the remedy."""
        return f"{self}\n    {self.remedy}"

    def __str__(self) -> str:
        place = "".join(f"{part}:" for part in (self.file, self.line, self.column) if part is not None)
        where = f" at {self.pointer or '/'}" if self.location is not None and self.location.startswith("/") else ""
        message = self.message.split("\n at [Source:", 1)[0]
        return f"{place}{' ' if place else ''}{self.severity.lower()} {self.code}{where}: {message.strip()}"


class DefinitionError(ValueError):
    """A definition is not valid. `diagnostics` are all findings, at least one of them an ERROR."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__(render(self.diagnostics))


def errors_of(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """The findings that make a definition invalid."""
    return [diagnostic for diagnostic in diagnostics if diagnostic.severity == "ERROR"]


def render(diagnostics: Iterable[Diagnostic]) -> str:
    """Text for a terminal, two lines for each finding."""
    return "\n".join(diagnostic.render() for diagnostic in diagnostics)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, whatever its case; None if none is near."""
    import difflib

    lower = {option.lower(): option for option in known}
    close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.7)
    return lower[close[0]] if close else None


def invalid_definition_message(diagnostics: Iterable[Diagnostic], definition: str) -> str:
    """The message of InvalidDefinition, as CreateStateMachine, UpdateStateMachine and TestState give it.

    `definition` is the text of the request. Recordings quote it for a bad Label, and only there, in a message of its own kind.
    """
    errors = errors_of(diagnostics)
    if errors and errors[0].code == "INVALID_LABEL_NAME":
        return f"Error=ValueError Args={[errors[0].message]!r} in definition '{definition}'."
    faults = ", ".join(f"{error.code}: {error.message} at {error.location or 'null'}" for error in errors)
    return f"Invalid State Machine Definition: '{faults}'"


def location_of(path: Path) -> str:
    """A path as AWS writes it: names are not escaped, indices stand in brackets."""
    return "".join(f"[{step}]" if isinstance(step, int) else f"/{step}" for step in path) or "/"


def pointer_of(path: Path) -> str:
    """A path as an RFC 6901 JSON pointer."""
    return "".join(
        f"/{step}" if isinstance(step, int) else "/" + step.replace("~", "~0").replace("/", "~1") for step in path
    )
