"""From the steps of a JSONPath to closures that make them.

A definite path walks straight down. Any other is a chain of visitors, each of which hands every value it reaches to
the next one, the last of which collects.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from stepwell.language.jsonpath_functions import FUNCTIONS, FunctionError
from stepwell.language.jsonpath_syntax import PathSyntaxError
from stepwell.language.jsonpath_tree import (
    Call,
    Comparison,
    Exists,
    Filter,
    Indices,
    Literal,
    Logical,
    Names,
    Not,
    Operand,
    Pattern,
    Scan,
    Slice,
    Step,
    SubPath,
    Test,
    Wildcard,
)
from stepwell.language.values import MISSING, is_number, java_text, json_equal

__all__ = ["Query", "compile_steps", "is_definite"]

Query = Callable[[Any, Any], Any]
"""Given the value a path starts from and the root of its document: the value found, or MISSING."""

Visit = Callable[[Any, Any, list[Any]], None]
"""Given a value, the root of the document and the list of results."""

Predicate = Callable[[Any, Any], bool]
"""Given a value and the root of the document."""


def is_definite(steps: tuple[Step, ...]) -> bool:
    """True when the path names at most one value; a call makes one value of whatever precedes it."""
    calls = [place for place, step in enumerate(steps) if isinstance(step, Call)]
    return all(isinstance(step, (str, int, Names)) for step in steps[calls[-1] + 1 if calls else 0 :])


def _definite_start(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    if is_definite(steps):
        return steps
    return tuple(itertools.takewhile(lambda step: isinstance(step, (str, int)), steps))


def compile_steps(steps: tuple[Step, ...]) -> Query:
    """Compile steps. Raises PathSyntaxError for a function that does not exist."""
    for place, step in enumerate(steps):
        if isinstance(step, Call):
            return _call(step, compile_steps(steps[:place]), compile_steps(steps[place + 1 :]))
    if is_definite(steps):
        return _definite(steps)
    visit: Visit = _collect
    for place in range(len(steps) - 1, -1, -1):
        step = steps[place]
        scanned = place > 0 and isinstance(steps[place - 1], Scan)
        if scanned and place < len(steps) - 1 and isinstance(step, (int, Indices, Slice)):
            step = _ARRAY_ELEMENTS
        visit = _visitor(step, visit, scanned)

    def query(value: Any, root: Any) -> Any:
        results: list[Any] = []
        visit(value, root, results)
        return results

    return query


def _definite(steps: tuple[Step, ...]) -> Query:
    if not steps:
        return lambda value, root: value

    def query(value: Any, root: Any) -> Any:
        for step in steps:
            kind = type(step)
            if kind is str:
                if type(value) is not dict or step not in value:
                    return MISSING
                value = value[step]
            elif kind is int:
                if type(value) is not list:
                    return MISSING
                try:
                    value = value[step]  # type: ignore[index]
                except IndexError:
                    return MISSING
            else:
                if type(value) is not dict or step is not steps[-1]:
                    return MISSING
                value = {name: value[name] for name in step.names if name in value}  # type: ignore[union-attr]
        return value

    return query


def _call(step: Call, before: Query, after: Query) -> Query:
    function = FUNCTIONS.get(step.name)
    if function is None:
        raise PathSyntaxError(step.name, 0, f"Unknown function {step.name}()")
    arguments = [_operand(argument) for argument in step.arguments]

    def query(value: Any, root: Any) -> Any:
        value = before(value, root)
        if value is MISSING:
            return MISSING
        try:
            value = function(value, [argument(root, root) for argument in arguments])
        except FunctionError:
            return MISSING
        return after(value, root)

    return query


# Visitors

_ARRAY_ELEMENTS = Slice(0, None)
"""What Jayway makes of `..[n].name`: the index behind `..` is not looked at unless it ends the path."""


def _collect(value: Any, root: Any, results: list[Any]) -> None:
    results.append(value)


def _visitor(step: Step, then: Visit, scanned: bool) -> Visit:
    """The visitor of one step. `scanned` when it follows `..`, which tries it on everything."""
    match step:
        case str():
            return _name(step, then)
        case int():
            return _indices((step,), then)
        case Names():
            return _names(step.names, then, scanned)
        case Indices():
            return _indices(step.indices, then)
        case Slice():
            return _slice(step, then)
        case Wildcard():
            return _wildcard(then)
        case Filter():
            return _filter(_test(step.test), then, scanned)
        case Scan():
            return _scan(then)
    raise AssertionError(step)


def _name(name: str, then: Visit) -> Visit:
    def visit(value: Any, root: Any, results: list[Any]) -> None:
        if type(value) is dict and name in value:
            then(value[name], root, results)

    return visit


def _names(names: tuple[str, ...], then: Visit, scanned: bool) -> Visit:
    def visit(value: Any, root: Any, results: list[Any]) -> None:
        if type(value) is dict and not (scanned and any(name not in value for name in names)):
            then({name: value[name] for name in names if name in value}, root, results)

    return visit


def _indices(indices: tuple[int, ...], then: Visit) -> Visit:
    def visit(value: Any, root: Any, results: list[Any]) -> None:
        if type(value) is list:
            for index in indices:
                if -len(value) <= index < len(value):
                    then(value[index], root, results)

    return visit


def _slice(step: Slice, then: Visit) -> Visit:
    """Jayway's slices: with both ends, the start may be negative and counts through to the end's side of zero."""
    start, stop = step.start, step.stop

    def chosen(length: int) -> range:
        if start is None:
            last = stop or 0
            return range(min(length, last + length if last < 0 else last))
        if stop is None:
            return range(max(0, start + length if start < 0 else start), length)
        return range(max(start, -length), min(length, stop))

    def visit(value: Any, root: Any, results: list[Any]) -> None:
        if type(value) is not list:
            return
        for index in chosen(len(value)):
            then(value[index], root, results)

    return visit


def _wildcard(then: Visit) -> Visit:
    def visit(value: Any, root: Any, results: list[Any]) -> None:
        if type(value) is dict:
            value = value.values()
        elif type(value) is not list:
            return
        for item in value:
            then(item, root, results)

    return visit


def _filter(accepts: Predicate, then: Visit, scanned: bool) -> Visit:
    def visit(value: Any, root: Any, results: list[Any]) -> None:
        if type(value) is dict:
            if accepts(value, root):
                then(value, root, results)
        elif type(value) is list and not scanned:
            for item in value:
                if accepts(item, root):
                    then(item, root, results)

    return visit


def _scan(then: Visit) -> Visit:
    def visit(value: Any, root: Any, results: list[Any]) -> None:
        pending = [value]
        while pending:
            value = pending.pop()
            if type(value) is dict:
                then(value, root, results)
                pending.extend(reversed(value.values()))
            elif type(value) is list:
                then(value, root, results)
                pending.extend(reversed(value))

    return visit


# Filters


def _test(test: Test) -> Predicate:
    match test:
        case Not():
            inner = _test(test.test)
            return lambda value, root: not inner(value, root)
        case Logical():
            parts = [_test(part) for part in test.tests]
            if test.every:
                return lambda value, root: all(part(value, root) for part in parts)
            return lambda value, root: any(part(value, root) for part in parts)
        case Exists():
            # An indefinite path exists wherever the part before its first indefinite step does: Jayway takes even an
            # empty list of matches for an answer.
            found = _operand(SubPath(test.path.relative, _definite_start(test.path.steps)))
            return lambda value, root: found(value, root) is not MISSING
        case Comparison():
            left, right = _operand(test.left), _operand(test.right)
            compare = _COMPARISONS[test.operator]
            return lambda value, root: compare(left(value, root), right(value, root))


def _operand(operand: Operand) -> Query:
    match operand:
        case Literal():
            literal = operand.value
            return lambda value, root: literal
        case Pattern():
            regex = operand.regex
            return lambda value, root: regex
        case SubPath():
            query = compile_steps(operand.steps)
            return query if operand.relative else lambda value, root: query(root, root)


def _equals(left: Any, right: Any) -> bool:
    """A number equals the string that writes it; nothing equals a missing value."""
    if left is MISSING or right is MISSING:
        return False
    if type(left) is str and is_number(right):
        return bool(left == java_text(right))
    if is_number(left) and type(right) is str:
        try:
            return bool(left == float(right))
        except ValueError:
            return False
    return json_equal(left, right)


def _same(left: Any, right: Any) -> bool:
    return left is not MISSING and right is not MISSING and json_equal(left, right)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Numbers with numbers, strings with strings; anything else is not comparable."""

    def test(left: Any, right: Any) -> bool:
        if (is_number(left) and is_number(right)) or (type(left) is str and type(right) is str):
            return compare(left, right)
        return False

    return test


def _within(left: Any, right: Any) -> bool:
    return type(right) is list and any(_equals(left, item) for item in right)


def _contains(left: Any, right: Any) -> bool:
    if type(left) is str:
        return type(right) is str and right in left
    return type(left) is list and any(_equals(right, item) for item in left)


def _matches(left: Any, right: Any) -> bool:
    text, pattern = (right, left) if hasattr(left, "fullmatch") else (left, right)
    if not hasattr(pattern, "fullmatch"):
        return False
    if type(text) is list:
        return any(_matches(item, pattern) for item in text)
    if type(text) not in (str, bool, int, float):
        return False
    return pattern.fullmatch(java_text(text)) is not None


def _lists(test: Callable[[list[Any], list[Any]], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: type(left) is list and type(right) is list and test(left, right)


_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": _equals,
    "!=": lambda left, right: not _equals(left, right),
    "===": _same,
    "!==": lambda left, right: not _same(left, right),
    "<": _ordered(lambda left, right: left < right),
    "<=": _ordered(lambda left, right: left <= right),
    ">": _ordered(lambda left, right: left > right),
    ">=": _ordered(lambda left, right: left >= right),
    "=~": _matches,
    "in": _within,
    "nin": lambda left, right: not _within(left, right),
    "contains": _contains,
    "all": _lists(lambda left, right: all(_within(item, left) for item in right)),
    "size": lambda left, right: type(left) in (list, dict, str) and is_number(right) and len(left) == right,
    "empty": lambda left, right: type(left) in (list, dict, str) and type(right) is bool and (not left) is right,
    "subsetof": _lists(lambda left, right: all(_within(item, right) for item in left)),
    "anyof": _lists(lambda left, right: any(_within(item, right) for item in left)),
    "noneof": _lists(lambda left, right: not any(_within(item, right) for item in left)),
}
