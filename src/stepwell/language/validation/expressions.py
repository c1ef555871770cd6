"""JSONata in a definition: how expressions are written, whether they parse, and what they may name.

AWS refuses an expression that does not parse, one that reads a context (there is none: the input is `$states.input`),
and one that reads a part of `$states` which does not exist where it stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jlens

from stepwell.language.validation.visit import Path, Visit

__all__ = ["Names", "analyze", "evaluated_template", "expression", "jsonata_template"]

_LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|/\*.*?\*/', re.DOTALL)
_CALLED = re.compile(r"\$(\w+)\s*\(")
_ROOT = re.compile(r"\$\$(?!\w)")
_CONTEXT = re.compile(r"(?<![\w$])\$(?![\w$])")

RESULT = frozenset({"result"})
"""Where `$states.result` exists: in Output and Assign of states that have a result."""
ERROR_OUTPUT = frozenset({"errorOutput"})
"""Where `$states.errorOutput` exists: in Output and Assign of a catcher."""
NOTHING: frozenset[str] = frozenset()

_PARTS = RESULT | ERROR_OUTPUT


@dataclass(frozen=True, slots=True)
class Names:
    """What an expression names. `error` is the parser's message if it does not parse.

    `top_level` holds the names it reads from a context, in the order of writing (`$` and `$$` stand for the context
    itself), and `states` the fields of `$states` it reads.
    """

    error: str | None = None
    top_level: tuple[str, ...] = ()
    states: frozenset[str] = NOTHING


@lru_cache(maxsize=8192)
def analyze(text: str) -> Names:
    """Parse an expression (the text between `{%` and `%}`)."""
    try:
        parsed = jlens.Expression(text)
    except jlens.JlensError as error:
        return Names(error=str(error.args[0]))
    # A function that jlens does not know might read its context: say that Step Functions' and the user's own do not.
    bindings = dict.fromkeys(_CALLED.findall(text), _function)
    try:
        reads = parsed.reads(bindings)
    except jlens.JlensError as error:
        return Names(error=str(error.args[0]))
    states = reads["bindings"].get("states")
    fields = frozenset(states) if isinstance(states, dict) else NOTHING
    context = reads.get("input")
    top_level = _context_names(text, context) if context else ()
    return Names(top_level=top_level, states=fields)


def _function(*_: Any) -> None:
    """Stands for a function whose code is not known when a definition is checked."""


def _context_names(text: str, context: Any) -> tuple[str, ...]:
    """The top-level names of an expression that reads its context, from what jlens says it reads of it."""
    plain = _LITERAL.sub('""', text)
    found: dict[str, int] = {}
    for name in context if isinstance(context, dict) else ():
        bare = re.search(rf"(?<![\w.$`]){re.escape(name)}(?!\w)|(?<!\.)`{re.escape(name)}`", plain)
        if bare:
            found[name] = bare.start()
    root = _ROOT.search(plain)
    item = _CONTEXT.search(plain)
    if root:
        found["$$"] = root.start()
    elif item and len(found) < (len(context) if isinstance(context, dict) else 1):
        found["$"] = item.start()
    return tuple(sorted(found, key=found.__getitem__))


def expression(visit: Visit, value: str, path: Path, parts: frozenset[str] = NOTHING) -> bool:
    """Check a string that may be an expression; true if it is meant to be one (right or wrong)."""
    opens, closes = value.startswith("{%"), value.endswith("%}")
    if not (opens or closes):
        return False
    if not (opens and closes) or len(value) < 4:
        visit.error(path, "JSONata string must start with {% and end with %}")
        return True
    names = analyze(value[2:-2].strip())
    if names.error is not None:
        visit.error(path, names.error, "INVALID_JSONATA_EXPRESSION")
        return True
    for name in names.top_level:
        message = (
            "Reference to '$$' is not supported."
            if name == "$$"
            else f"Reference to '{name}' at the top level is not supported."
        )
        hint = (
            None
            if name.startswith("$")
            else f"Write $states.input.{name} for a field of the input, ${name} for a variable."
        )
        visit.error(path, message, "UNSUPPORTED_JSONATA_EXPRESSION", hint=hint)
    for field in sorted((names.states & _PARTS) - parts):
        visit.error(
            path,
            f"Field '$states.{field}' does not exist.",
            "UNSUPPORTED_JSONATA_EXPRESSION",
            hint=_HINTS[field],
        )
    return True


_HINTS = {
    "result": "$states.result exists in Output and Assign of Task, Parallel and Map states only.",
    "errorOutput": "$states.errorOutput exists in Output and Assign of a catcher only.",
}


def jsonata_template(visit: Visit, value: Any, path: Path, parts: frozenset[str]) -> None:
    """Check every string of a value that JSONata evaluates."""
    if isinstance(value, str):
        expression(visit, value, path, parts)
    elif isinstance(value, dict):
        for name, item in value.items():
            jsonata_template(visit, item, (*path, name), parts)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            jsonata_template(visit, item, (*path, index), parts)


def evaluated_template(parts: frozenset[str] = NOTHING) -> Any:
    """A check for a field that only JSONata has, such as Output: any value, its strings evaluated."""

    def check(visit: Visit, value: Any, path: Path) -> None:
        jsonata_template(visit, value, path, parts)

    return check
