"""Definitions in YAML: the subset that has a meaning in JSON, with the place of every value.

Scalars follow YAML 1.2's core schema (as JSON does), not YAML 1.1: `no`, `on` and `2016-03-14T01:59:00Z` are strings.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from stepwell.language.diagnostics import Path
from stepwell.language.jsontext import MAX_DEPTH

__all__ = ["MAX_VALUES", "YamlTextError", "read_yaml"]

MAX_VALUES: Final = 100_000
"""Values in a definition, those that aliases repeat included: a few lines of nested aliases can name billions."""

_LOADER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq"))
_INTEGER = re.compile(r"[-+]?[0-9]{1,300}\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_WORDS: dict[str, Any] = {"": None, "~": None} | {
    spelling: value
    for word, value in (("null", None), ("true", True), ("false", False))
    for spelling in (word, word.capitalize(), word.upper())
}


class YamlTextError(ValueError):
    """The text is not YAML, or holds what JSON has no word for."""

    def __init__(self, message: str, offset: int, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.hint = hint


def read_yaml(text: str) -> tuple[Any, dict[Path, int]]:
    """The JSON value of a YAML text, and the offset of every value by its path. Raises YamlTextError."""
    try:
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        parts = [part for part in (error.context, error.problem) if part]
        raise YamlTextError(", ".join(parts) or "not YAML", mark.index if mark else 0) from None
    except yaml.YAMLError as error:
        raise YamlTextError(str(error).splitlines()[0], getattr(error, "position", 0) or 0) from None
    except RecursionError:
        raise YamlTextError(f"nesting exceeds the maximum allowed ({MAX_DEPTH})", 0) from None
    found: dict[Path, int] = {}
    return (_value(node, (), found) if node is not None else None), found


def _value(node: yaml.Node, path: Path, found: dict[Path, int]) -> Any:
    offset = node.start_mark.index
    found.setdefault(path, offset)
    if len(found) > MAX_VALUES:
        raise YamlTextError(f"more than {MAX_VALUES} values", offset, "Write less, or repeat less by aliases.")
    if len(path) > MAX_DEPTH:
        raise YamlTextError(
            f"nesting exceeds the maximum allowed ({MAX_DEPTH})", offset, "An alias may contain itself."
        )
    if node.tag not in _TAGS:
        raise YamlTextError(
            f"the tag {node.tag} has no meaning in a definition",
            offset,
            "Write a plain value; ${name} is replaced by a project.",
        )
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, found)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, index), found) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.ScalarNode) and not node.style:
        return _scalar(node.value, offset)
    return node.value


def _mapping(node: yaml.MappingNode, path: Path, found: dict[Path, int]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, value in node.value:
        offset = key.start_mark.index
        if not isinstance(key, yaml.ScalarNode):
            raise YamlTextError("a field name must be a string", offset)
        if key.value in fields:
            raise YamlTextError(f"Duplicate field '{key.value}'", offset, "Keep one of the two fields.")
        if key.value == "<<" and not key.style:
            raise YamlTextError("merge keys (<<) are not supported", offset, "Write the fields out.")
        found[(*path, key.value)] = offset
        fields[key.value] = _value(value, (*path, key.value), found)
    return fields


def _scalar(text: str, offset: int) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        return int(text)
    if _FLOAT.match(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise YamlTextError(f"{text} is too large for a number", offset)
        return number
    return text
