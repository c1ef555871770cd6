"""`where` in bracket notation. Anything else in the query is no condition: a JSON text under `where` is ignored."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Test = Callable[[Mapping[str, Any]], bool]


class QueryError(Exception):
    """A field or an operator that cannot be queried."""


def parse(query: Mapping[str, str], known: set[str]) -> Test:
    """The condition that a query says; always true without one."""
    tree: dict[str, Any] = {}
    for name, value in query.items():
        if name.startswith("where["):
            place = tree
            *steps, last = re.findall(r"\[([^\]]*)\]", name)
            for step in steps:
                place = place.setdefault(step, {})
            place[last] = value
    return _all(tree, known)


def _all(tree: Mapping[str, Any], known: set[str]) -> Test:
    tests: list[Test] = []
    for name, inner in tree.items():
        if name in ("and", "or"):
            members = [_all(inner[key], known) for key in sorted(inner, key=int)]
            tests.append(_joined(members, all if name == "and" else any))
            continue
        if name.split(".")[0] not in known:
            raise QueryError(f"The following path cannot be queried: {name}")
        tests += [_test(name, operator, value) for operator, value in inner.items()]
    return _joined(tests, all)


def _joined(tests: list[Test], how: Callable[[Any], bool]) -> Test:
    return lambda document: how(test(document) for test in tests)


def _test(name: str, operator: str, value: str) -> Test:
    def values(document: Mapping[str, Any]) -> list[Any]:
        found: Any = document
        for step in name.split("."):
            found = found.get(step) if isinstance(found, Mapping) else None
        return found if isinstance(found, list) else [found]

    def same(member: Any, text: str) -> bool:
        if isinstance(member, bool):
            return text == ("true" if member else "false")
        return member is not None and str(member) == text

    if operator == "equals":
        return lambda document: any(same(member, value) for member in values(document))
    if operator == "not_equals":
        return lambda document: not any(same(member, value) for member in values(document))
    if operator == "in":
        wanted = value.split(",")
        return lambda document: any(same(member, text) for member in values(document) for text in wanted)
    if operator == "exists":
        there = value == "true"
        return lambda document: any(member is not None for member in values(document)) is there
    if operator == "less_than":
        return lambda document: any(_less(member, value) for member in values(document))
    raise QueryError(f"Invalid operator: {operator}")


def _less(member: Any, value: str) -> bool:
    if isinstance(member, (int, float)) and not isinstance(member, bool):
        return member < float(value)
    return isinstance(member, str) and member < value
