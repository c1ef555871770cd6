"""From the text of a stepwell.toml to declarations, with every mistake on the way."""

from __future__ import annotations

import copy
import re
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from stepwell.project.errors import Mistake, ProjectError
from stepwell.project.places import KeyPath, Places
from stepwell.project.references import suggestion
from stepwell.project.schema import SECTIONS, Declaration, Duration, ProjectDeclaration, Size

D = TypeVar("D", bound=Declaration)

_TOP_LEVEL = ("project", "variables", "env", *SECTIONS)
_TYPES = {
    "str": "a text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "null": "nothing",
    "datetime": "a date",
    "date": "a date",
}
_MOST_MISTAKES = 50


class Document:
    """A parsed stepwell.toml, its ``[env.NAME]`` laid over it."""

    def __init__(self, path: Path, text: str, environment: str, default: str) -> None:
        """Raises ProjectError if the text is not TOML or the environment is not declared."""
        self.path = path
        self.mistakes: list[Mistake] = []
        try:
            self.raw: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ProjectError([_syntax_mistake(path, error)]) from None
        self._places = Places(text)
        self._environment = environment
        self._overrides: dict[str, Any] = {}
        self.broken: set[tuple[str, str]] = set()
        """Section and key of declarations with mistakes."""
        environments = self.raw.pop("env", {})
        if not isinstance(environments, dict) or not all(isinstance(item, dict) for item in environments.values()):
            self.mistake(("env",), "the overrides of an environment are a table: [env.NAME]")
            environments = {}
        if environment not in environments and environment != default:
            hint = suggestion(environment, sorted({default, *environments}))
            message = f"there is no environment {environment!r}{hint}; an environment is declared by [env.NAME]"
            raise ProjectError([*self.mistakes, Mistake(path=path, key="env", message=message)])
        self._overrides = environments.get(environment, {})
        for name, overrides in environments.items():
            self._check_sections(overrides, ("env", name), [name for name in _TOP_LEVEL if name != "env"])
        self._check_sections(self.raw, (), list(_TOP_LEVEL))
        self.data: dict[str, Any] = _merged(self.raw, self._overrides)

    def mistake(self, path: KeyPath, message: str) -> None:
        """Note a mistake at a key path of the merged data."""
        overriding = ("env", self._environment, *path)
        if path and path[0] != "env" and self._overrides and _has(self._overrides, path):
            path = overriding
        self.mistakes.append(
            Mistake(path=self.path, key=_key_text(path), message=message, line=self._places.line(path))
        )

    def project(self) -> ProjectDeclaration | None:
        """``[project]``"""
        raw = self.data.get("project")
        if raw is None:
            self.mistake((), '[project] is missing; begin the file with [project] and name = "..."')
            return None
        return self.declaration(ProjectDeclaration, raw, ("project",))

    def section(self, name: str) -> dict[str, Any]:
        """The declarations of a section, the valid ones."""
        raw = self.data.get(name, {})
        if not isinstance(raw, dict):
            return {}
        found = {}
        for key, value in raw.items():
            declared = self.declaration(SECTIONS[name], value, (name, key))
            if declared is not None:
                found[key] = declared
            else:
                self.broken.add((name, key))
        return found

    def declaration(self, kind: type[D], value: Any, path: KeyPath) -> D | None:
        """One table as its declaration; its mistakes are noted, all of them, and None is given."""
        value = copy.deepcopy(value)
        wrong = False
        removed: set[str] = set()
        for _ in range(_MOST_MISTAKES):
            try:
                declared = msgspec.convert(value, kind, dec_hook=_read_special)
            except msgspec.ValidationError as error:
                message, place = _split(str(error))
                place = _exact(kind, value, place, message)
                missing = re.fullmatch(r"Object missing required field `(.*)`", message)
                if missing and missing[1] in removed:
                    return None
                unknown = re.fullmatch(r"Object contains unknown field `(.*)`", message)
                self.mistake(
                    path + place + ((unknown[1],) if unknown else ()), _explain(kind, value, place, message, unknown)
                )
                wrong = True
                if not _remove(value, place + ((unknown[1],) if unknown else ())):
                    return None
                if not unknown and place:
                    removed.add(str(place[-1]))
            else:
                return None if wrong else declared
        return None

    def _check_sections(self, raw: dict[str, Any], path: KeyPath, known: list[str]) -> None:
        for name, value in list(raw.items()):
            if name not in known:
                self.mistake((*path, name), f"there is no section [{name}]{suggestion(name, known)}")
                del raw[name]
            elif not isinstance(value, dict):
                self.mistake((*path, name), f"expected a table, got {value!r}; write [{name}...]")
                del raw[name]


def _read_special(kind: type, value: Any) -> Any:
    if kind in (Duration, Size):
        return kind.read(value)
    raise NotImplementedError(kind)


def _syntax_mistake(path: Path, error: tomllib.TOMLDecodeError) -> Mistake:
    text = str(error)
    match = re.search(r" \(at line (\d+), column (\d+)\)$", text)
    line, column = (int(match[1]), int(match[2])) if match else (None, None)
    message = text[: match.start()] if match else text.replace(" (at end of document)", " at the end of the file")
    return Mistake(path=path, key="", message=f"not valid TOML: {message}", line=line, column=column)


def _merged(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return {
            key: _merged(base[key], over[key]) if key in base and key in over else over.get(key, base.get(key))
            for key in {**base, **over}
        }
    return over


def _has(value: Any, path: KeyPath) -> bool:
    return _dig(value, path, _ABSENT) is not _ABSENT


_ABSENT = object()


def _dig(value: Any, path: KeyPath, default: Any = None) -> Any:
    for step in path:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return default
    return value


def _remove(value: Any, path: KeyPath) -> bool:
    if not path:
        return False
    parent = _dig(value, path[:-1], None)
    try:
        del parent[path[-1]]
    except (KeyError, IndexError, TypeError):
        return False
    return True


def _key_text(path: KeyPath) -> str:
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            plain = re.fullmatch(r"[A-Za-z0-9_-]+", step)
            text += ("." if text else "") + (step if plain else f'"{step}"')
    return text


def _split(message: str) -> tuple[str, KeyPath]:
    """A message of msgspec and the place it names. ``[...]``, the value of some key, comes as the step ``"..."``."""
    text, _, place = message.partition(" - at `")
    path: KeyPath = ()
    for step in re.findall(r"\[\.\.\.\]|\[\d+\]|[^.\[\]`$]+", place):
        path += ("...",) if step == "[...]" else (int(step[1:-1]),) if step[0] == "[" else (step,)
    return text, path


def _exact(kind: type, value: Any, path: KeyPath, message: str) -> KeyPath:
    """The path with each unnamed key found: the one that alone gives the same message."""
    while "..." in path:
        position = path.index("...")
        before = path[:position]
        for key in _dig(value, before, {}):
            alone = copy.deepcopy(value)
            container = _dig(alone, before)
            for other in list(container):
                if other != key:
                    del container[other]
            try:
                msgspec.convert(alone, kind, dec_hook=_read_special)
            except msgspec.ValidationError as error:
                if _split(str(error)) == (message, path):
                    path = (*before, key, *path[position + 1 :])
                    break
        else:
            return before
    return path


def _explain(kind: type, value: Any, place: KeyPath, message: str, unknown: re.Match[str] | None) -> str:
    if unknown:
        table = _type_at(kind, place)
        return f"there is no such key{suggestion(unknown[1], list(getattr(table, '__struct_fields__', ())))}"
    missing = re.fullmatch(r"Object missing required field `(.*)`", message)
    if missing:
        return f"the key {missing[1]!r} is missing"
    expected = re.fullmatch(r"Expected `(.*)`, got `(.*)`", message)
    if expected:
        wanted = [_TYPES.get(name, name) for name in expected[1].split(" | ") if name != "null"]
        found = _dig(value, place)
        return f"expected {' or '.join(wanted)}, got {_TYPES.get(expected[2], expected[2])}: {_shown(found)}"
    if message.startswith("Invalid enum value"):
        choices = [choice for part in _parts(_type_at(kind, place)) for choice in typing.get_args(part)]
        return f"{_dig(value, place)!r} is not possible; use {', '.join(map(repr, choices))}"
    return message


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _type_at(kind: Any, path: KeyPath) -> Any:
    for step in path:
        for part in _parts(kind):
            fields = getattr(part, "__struct_fields__", None)
            if fields is not None:
                if step in fields:
                    kind = typing.get_type_hints(part)[str(step)]
                    break
            else:
                arguments = typing.get_args(part)
                if arguments:
                    kind = arguments[0] if isinstance(step, int) else arguments[-1]
                    break
    structs = [part for part in _parts(kind) if hasattr(part, "__struct_fields__")]
    return structs[0] if structs else kind


def _parts(kind: Any) -> list[Any]:
    """The members of a union, else the type alone."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return [part for part in typing.get_args(kind) if part is not type(None)]
    return [kind]
