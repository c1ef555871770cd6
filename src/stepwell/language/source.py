"""A definition as text, JSON or YAML, with the place of everything in it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any, Literal

from stepwell.language.diagnostics import DefinitionError, Diagnostic, pointer_of
from stepwell.language.jsontext import MAX_DEPTH, JsonTextError, line_and_column, positions, source_description

__all__ = ["Format", "Source", "load", "parse"]

Format = Literal["json", "yaml"]

_YAML_SUFFIXES = (".yaml", ".yml")


class Source:
    """The text of a definition and the JSON value it holds.

    `value` is any JSON value: that it is an object, and what is in it, is validation's business. Places are looked for
    only when asked for, so that a valid definition costs a parse and no more.
    """

    def __init__(self, text: str, value: Any, *, format: Format = "json", file: str | None = None) -> None:
        self.text = text
        self.value = value
        self.format: Format = format
        self.file = file

    def place(self, pointer: str) -> tuple[int, int]:
        """Line and column, from 1, of what a JSON pointer names; of the nearest thing around it if that is not there."""
        while pointer and pointer not in self._places:
            pointer = pointer.rpartition("/")[0]
        return self._places.get(pointer, (1, 1))

    def placed(self, diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
        """The same findings, each with its line, column and file."""
        return [diagnostic.placed(*self.place(diagnostic.pointer), self.file) for diagnostic in diagnostics]

    @cached_property
    def _places(self) -> dict[str, tuple[int, int]]:
        if self.format == "yaml":
            from stepwell.language.yamltext import read_yaml

            found = read_yaml(self.text)[1]
        else:
            found = positions(self.text)
        return {pointer_of(path): line_and_column(self.text, offset) for path, offset in found.items()}


def load(path: str | FilePath) -> Source:
    """Read a definition from a file: YAML if its name ends in .yaml or .yml, else JSON.

    Raises DefinitionError when the text is broken, OSError when the file can't be read.
    """
    file = FilePath(path)
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _broken(
            f"The file is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}", str(path)
        ) from None
    return parse(text, format="yaml" if file.suffix.lower() in _YAML_SUFFIXES else "json", file=str(path))


def parse(text: str, *, format: Format = "json", file: str | None = None) -> Source:
    """Parse a text. Raises DefinitionError with AWS's message, and the line and column, when it is broken.

    A field that stands twice in an object is an error, and so is what Python's parser would let pass: NaN, Infinity,
    lone surrogates.
    """
    if not text.strip():
        raise _broken("Definition must be a valid JSON object", file, code="SCHEMA_VALIDATION_FAILED")
    if format == "yaml":
        from stepwell.language.yamltext import YamlTextError, read_yaml

        try:
            return Source(text, read_yaml(text)[0], format="yaml", file=file)
        except YamlTextError as error:
            raise _broken(error.message, file, place=line_and_column(text, error.offset), hint=error.hint) from None
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse, parse_float=_finite)
        if "\\" in text or not text.isascii():
            json.dumps(value, ensure_ascii=False).encode()
        return Source(text, value, file=file)
    except (ValueError, RecursionError) as error:
        raise _explained(text, file, error) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("duplicate field")
    return fields


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"Number {text} is out of the range of a double")
    return number


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _explained(text: str, file: str | None, error: Exception) -> DefinitionError:
    try:
        positions(text)
    except JsonTextError as fault:
        place = source_description(text, fault.offset)
        line, column = line_and_column(text, fault.offset)
        message = f"{fault.message}\n at {place}"
        return _broken(message, file, location=place, place=(line, max(1, column - 1)))
    if isinstance(error, RecursionError):
        return _broken(f"Document nesting depth exceeds the maximum allowed ({MAX_DEPTH})", file)
    return _broken(str(error), file)


def _broken(
    message: str,
    file: str | None,
    *,
    code: str = "INVALID_JSON_DESCRIPTION",
    location: str | None = None,
    place: tuple[int, int] | None = None,
    hint: str | None = None,
) -> DefinitionError:
    line, column = place or (None, None)
    return DefinitionError([Diagnostic("ERROR", code, message, "", location, line, column, file, hint)])
