"""How states lead to each other: transitions, ends, and names that must be unique in the whole definition.

AWS calls a state reachable if anything leads to it; that need not begin at StartAt.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from stepwell.language.diagnostics import nearest
from stepwell.language.validation.states import workflows_of
from stepwell.language.validation.variables import assigned_names
from stepwell.language.validation.visit import Json, Path, Visit

__all__ = ["MAX_STATE_NAME", "check_graph"]

MAX_STATE_NAME: Final = 80
MAX_LABEL: Final = 40
_LABEL_FORBIDDEN: Final = frozenset(' \t\n\r\f\v?*<>{}[]:;,\\|^~$#%&`"/') | frozenset(
    chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))
)


def check_graph(visit: Visit, definition: Json) -> None:
    """Check a whole definition."""
    names = _Names(visit)
    _check_workflow(visit, definition, (), names, frozenset(), visit.machine_language)


class _Names:
    """State names and labels met so far."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.states: set[str] = set()
        self.labels: set[str] = set()

    def state(self, name: str, path: Path) -> None:
        if len(name) > MAX_STATE_NAME:
            self.visit.error(
                path,
                f"Invalid State name: '{name}' exceeds the {MAX_STATE_NAME}-character limit allowed by the service",
                "INVALID_STATE_NAME",
            )
        if name in self.states:
            self.visit.error(path, f"Duplicate State name: {name}", "DUPLICATE_STATE_NAME")
        self.states.add(name)

    def label(self, label: Any, path: Path) -> None:
        if not isinstance(label, str):
            return
        if fault := _label_fault(label):
            self.visit.error(path, fault, "INVALID_LABEL_NAME")
        elif label in self.labels:
            self.visit.error(path, f"Duplicate Label name: {label}", "DUPLICATE_LABEL_NAME")
        self.labels.add(label)


def _label_fault(label: str) -> str | None:
    if not label:
        return "Label cannot be empty"
    if len(label) > MAX_LABEL:
        return f"Label cannot exceed {MAX_LABEL} characters"
    for char in label:
        if char in _LABEL_FORBIDDEN:
            return f"Label contains invalid character: {char!r}"
    return None


def _check_workflow(
    visit: Visit, workflow: Json, path: Path, names: _Names, outer: frozenset[str], language: str
) -> None:
    states = workflow.get("States")
    if not isinstance(states, dict):
        return
    found = {name: state for name, state in states.items() if isinstance(state, dict)}
    _check_transitions(visit, workflow, states, found, path)
    own: set[str] = set()
    for name, state in found.items():
        place = (*path, "States", name)
        names.state(name, place)
        names.label(state.get("Label"), (*place, "Label"))
        for variable, where in assigned_names(state, place, state.get("QueryLanguage", language)):
            own.add(variable)
            if variable in outer:
                visit.error(
                    where,
                    f"The variable name '{variable}' was already defined in a parent scope.",
                    "DUPLICATE_VARIABLE_NAME",
                )
    for name, state in found.items():
        for inner, place, distributed in workflows_of(state, (*path, "States", name)):
            # Child executions see no variables of their parent, so that they may use the same names.
            visible = frozenset() if distributed else outer | own
            _check_workflow(visit, inner, place, names, visible, language)


def _check_transitions(visit: Visit, workflow: Json, states: Json, found: dict[str, Json], path: Path) -> None:
    reached: set[str] = set()
    for target, place in _transitions(workflow, found, path):
        if target in states:
            reached.add(target)
        else:
            visit.error(
                place, f"Missing 'Next' target: {target}", "MISSING_TRANSITION_TARGET", hint=_hint(target, states)
            )
    whole = not path
    ends = any(_ends(state) for state in found.values())
    if "StartAt" in workflow and (ends or not whole):
        for name in states:
            if name not in reached:
                visit.error((*path, "States", name), f'State "{name}" is not reachable.', "MISSING_TRANSITION_TARGET")
    if whole and not ends:
        visit.error(None, "Workflow has no terminal state", "MISSING_END_STATE")


def _transitions(workflow: Json, states: dict[str, Json], path: Path) -> Iterator[tuple[str, Path]]:
    """Every name that something leads to, and where it says so."""
    yield from _target(workflow, "StartAt", path)
    for name, state in states.items():
        place = (*path, "States", name)
        yield from _target(state, "Next", place)
        for field in ("Choices", "Catch"):
            entries = state.get(field)
            for index, entry in enumerate(entries if isinstance(entries, list) else ()):
                if isinstance(entry, dict):
                    yield from _target(entry, "Next", (*place, field, index))
        yield from _target(state, "Default", place)


def _target(holder: Json, field: str, path: Path) -> Iterator[tuple[str, Path]]:
    target = holder.get(field)
    if isinstance(target, str):
        yield target, (*path, field)


def _ends(state: Json) -> bool:
    return state.get("End") is True or state.get("Type") in ("Succeed", "Fail")


def _hint(name: str, states: Json) -> str | None:
    meant = nearest(name, states)
    return f'Did you mean "{meant}"?' if meant else None
