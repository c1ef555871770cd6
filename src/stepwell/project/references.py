"""``${functions.media-lister}`` and the like: what stands for a name, an ARN or a variable of the environment.

A text that is nothing but one ``${variables.x}`` becomes the variable's value, whatever its type; inside a longer text it is
written out. ``$${`` stands for a literal ``${``. What does not look like a reference (``${"a": 1}`` is valid JSONata) is left
alone.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from typing import Any

_REFERENCE = re.compile(r"\$?\$\{([A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_.@/+=-]+)?)\}")


class UnknownReference(LookupError):
    """A reference to something that is not declared."""


Lookup = Callable[[str], Any]
Path = tuple[str | int, ...]


def replace(value: Any, lookup: Lookup, report: Callable[[Path, str], None], path: Path = ()) -> Any:
    """The value with every reference in its texts replaced. `report` is told of each that `lookup` does not know."""
    if isinstance(value, str):
        return _replace_text(value, lookup, lambda message: report(path, message)) if "${" in value else value
    if isinstance(value, dict):
        return {key: replace(item, lookup, report, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [replace(item, lookup, report, (*path, index)) for index, item in enumerate(value)]
    return value


def find(value: Any) -> Iterator[str]:
    """The references in a value's texts."""
    if isinstance(value, str):
        for match in _REFERENCE.finditer(value):
            if not match[0].startswith("$$"):
                yield match[1]
    elif isinstance(value, dict):
        for item in value.values():
            yield from find(item)
    elif isinstance(value, list):
        for item in value:
            yield from find(item)


def _replace_text(text: str, lookup: Lookup, report: Callable[[str], None]) -> Any:
    whole = _REFERENCE.fullmatch(text)
    if whole and not text.startswith("$$"):
        try:
            return lookup(whole[1])
        except UnknownReference as error:
            report(str(error))
            return text

    def one(match: re.Match[str]) -> str:
        if match[0].startswith("$$"):
            return match[0][1:]
        try:
            found = lookup(match[1])
        except UnknownReference as error:
            report(str(error))
            return match[0]
        return _written(found)

    return _REFERENCE.sub(one, text)


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def suggestion(name: str, known: list[str]) -> str:
    """``; did you mean "x"?`` or the list of what there is."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; there is {', '.join(sorted(known))}" if known else "; there is none"
