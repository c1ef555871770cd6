"""What a JSONPath consists of: its steps, and the tests of its filters."""

import re
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Call",
    "Comparison",
    "Exists",
    "Filter",
    "Indices",
    "Literal",
    "Logical",
    "Names",
    "Not",
    "Operand",
    "Pattern",
    "Scan",
    "Slice",
    "Step",
    "SubPath",
    "Test",
    "Wildcard",
]


@dataclass(frozen=True, slots=True)
class Names:
    """`['a','b']`: one object of those of the fields that exist."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Indices:
    """`[0,2,-1]`."""

    indices: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Slice:
    """`[start:stop]`; one of the two may be None."""

    start: int | None
    stop: int | None


@dataclass(frozen=True, slots=True)
class Wildcard:
    """`*` and `[*]`."""


@dataclass(frozen=True, slots=True)
class Scan:
    """`..`: the next step is tried on the value and on everything in it."""


@dataclass(frozen=True, slots=True)
class Filter:
    """`[?(...)]`."""

    test: "Test"


@dataclass(frozen=True, slots=True)
class Call:
    """`.length()` and the like, with literals and paths as arguments."""

    name: str
    arguments: tuple["Operand", ...]


Step = str | int | Names | Indices | Slice | Wildcard | Scan | Filter | Call
"""One step of a path. A plain string is a field's name, an integer a single index."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A JSON literal in a filter."""

    value: Any


@dataclass(frozen=True, slots=True)
class Pattern:
    """`/.../i` in a filter."""

    regex: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class SubPath:
    """A path in a filter or in an argument: from the element (`@`) or from the root (`$`)."""

    relative: bool
    steps: tuple[Step, ...]


Operand = Literal | Pattern | SubPath


@dataclass(frozen=True, slots=True)
class Comparison:
    """`left operator right`; the operator in lower case."""

    left: Operand
    operator: str
    right: Operand


@dataclass(frozen=True, slots=True)
class Exists:
    """A path alone."""

    path: SubPath


@dataclass(frozen=True, slots=True)
class Not:
    """`!test`."""

    test: "Test"


@dataclass(frozen=True, slots=True)
class Logical:
    """`&&` (every) or `||` (some)."""

    every: bool
    tests: tuple["Test", ...]


Test = Comparison | Exists | Not | Logical
