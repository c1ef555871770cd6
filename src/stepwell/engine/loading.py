"""From a definition as a program gives it (a file, a dict) to the text that is registered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import orjson

from stepwell.language.diagnostics import DefinitionError, errors_of
from stepwell.language.source import load
from stepwell.language.validation import validate

__all__ = ["activities_in", "check_file", "placeholders", "prepare"]

Kind = Literal["STANDARD", "EXPRESS"]

_PLACEHOLDER = re.compile(r"\$\{([A-Za-z0-9_.-]+)\}")
_ACTIVITY = re.compile(r'"Resource"\s*:\s*"(arn:[^"]+:states:[^"]*:activity:[^"]+)"')
_SUFFIX = re.compile(r"(\.asl)?\.(json|ya?ml)\Z")
_NAME_CHARACTERS = re.compile(r"[^A-Za-z0-9_-]")


def prepare(
    definition: str | Path | Mapping[str, Any], substitutions: Mapping[str, str], kind: Kind
) -> tuple[str, str]:
    """(definition text, name): substituted and validated. Raises DefinitionError, OSError."""
    if isinstance(definition, Mapping):
        value = substitute(dict(definition), substitutions)
        _check(value, kind)
        return orjson.dumps(value).decode(), "machine"
    path = Path(definition)
    source = load(path)
    value = substitute(source.value, substitutions)
    changed = source.format != "json" or value != source.value
    errors = errors_of(validate(value, kind=kind))
    if errors:
        raise DefinitionError(source.placed(errors))
    name = _NAME_CHARACTERS.sub("-", _SUFFIX.sub("", path.name))[:80]
    return (orjson.dumps(value).decode() if changed else source.text), name


def check_file(path: Path, value: Mapping[str, Any], kind: str) -> None:
    """Validate what a project made of a definition file; findings name their place in the file. Raises DefinitionError."""
    errors = errors_of(validate(dict(value), kind="EXPRESS" if kind == "EXPRESS" else "STANDARD"))
    if errors:
        raise DefinitionError(load(path).placed(errors))


def substitute(value: Any, substitutions: Mapping[str, str]) -> Any:
    """The value with `${name}` in its strings replaced; unknown names stay as they are."""
    if not substitutions:
        return value
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda match: substitutions.get(match[1], match[0]), value)
    if isinstance(value, dict):
        return {key: substitute(item, substitutions) for key, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, substitutions) for item in value]
    return value


def placeholders(definition: str | Path | Mapping[str, Any]) -> list[str]:
    """The names of all `${name}` in a definition (a file or a dict), each once."""
    value = definition if isinstance(definition, Mapping) else load(Path(definition)).value
    return list(dict.fromkeys(_PLACEHOLDER.findall(orjson.dumps(value).decode())))


def activities_in(definition: str) -> list[str]:
    """The ARNs of the activities a definition's tasks name."""
    return list(dict.fromkeys(_ACTIVITY.findall(definition)))


def _check(value: Any, kind: Kind) -> None:
    errors = errors_of(validate(value, kind=kind))
    if errors:
        raise DefinitionError(errors)
