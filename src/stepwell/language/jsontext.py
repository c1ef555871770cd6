"""Where in a JSON text each value stands, and what is wrong with a text that is not JSON.

Python's own parser reads definitions; this slower reader runs only when a position or an explanation is asked for.
The explanations are worded and placed as AWS words them (its parser is Jackson): the column is the one after the
character or token that can't be.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from stepwell.language.diagnostics import Path

__all__ = ["MAX_DEPTH", "JsonTextError", "line_and_column", "positions", "source_description"]

MAX_DEPTH: Final = 200
"""Arrays and objects within each other, in a definition."""

_QUOTED_LIMIT: Final = 500
_LONGEST_NUMBER: Final = 1000

_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"((?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)"')
_SCALAR = re.compile(r"(?:-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null)(?![\w.+-])")
_TOKEN = re.compile(r"[\w$]+")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))")
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

_VALUE_EXPECTED = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"


class JsonTextError(ValueError):
    """The text is not JSON. `message` is Jackson's, without its " at [Source: ...]"; `offset` is where reading stopped."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset, from 1."""
    start = text.rfind("\n", 0, offset) + 1
    return text.count("\n", 0, offset) + 1, offset - start + 1


def source_description(text: str, offset: int) -> str:
    """Jackson's way to name a place in a text: `[Source: (String)"{"; line: 1, column: 2]`."""
    line, column = line_and_column(text, offset)
    cut = f"[truncated {len(text) - _QUOTED_LIMIT} chars]" if len(text) > _QUOTED_LIMIT else ""
    return f'[Source: (String)"{text[:_QUOTED_LIMIT]}"{cut}; line: {line}, column: {column}]'


def positions(text: str) -> dict[Path, int]:
    """The offset of every value by its path: of its key in an object, of itself in an array. Raises JsonTextError.

    Stricter than JSON: a field may stand in an object only once, and nesting ends at MAX_DEPTH.
    """
    return _Reader(text).read()


@dataclass(slots=True)
class _Open:
    """An array or object that is being read: where it began and how many items it has so far."""

    path: Path
    kind: str
    start: int
    count: int = 0


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.offset = 0
        self.open: list[_Open] = []
        self.found: dict[Path, int] = {}

    def read(self) -> dict[Path, int]:
        self._skip()
        self.found[()] = self.offset
        self._value(())
        while self.open:
            self._next_item(self.open[-1])
        self._skip()
        if self.offset < len(self.text):
            rest = self.text[self.offset : self.offset + 20]
            raise JsonTextError(f"Trailing text {rest!r} found after the value", self.offset + 1)
        return self.found

    def _next_item(self, parent: _Open) -> None:
        self._skip()
        char = self._peek()
        if char == ("}" if parent.kind == "Object" else "]"):
            self.offset += 1
            self.open.pop()
            return
        if parent.count:
            if char != ",":
                raise self._unexpected(char, f"was expecting comma to separate {parent.kind} entries")
            self.offset += 1
            self._skip()
            char = self._peek()
        if parent.kind == "Object":
            path = (*parent.path, self._key(char, parent.path))
        else:
            path = (*parent.path, parent.count)
            self.found[path] = self.offset
        parent.count += 1
        self._value(path)

    def _skip(self) -> None:
        match = _SPACE.match(self.text, self.offset)
        self.offset = match.end() if match else self.offset

    def _peek(self) -> str:
        if self.offset < len(self.text):
            return self.text[self.offset]
        if not self.open:
            raise JsonTextError("No content to map due to end-of-input", self.offset)
        marker = source_description(self.text, self.open[-1].start)
        raise JsonTextError(
            f"Unexpected end-of-input: expected close marker for {self.open[-1].kind} (start marker at {marker})",
            self.offset,
        )

    def _unexpected(self, char: str, wanted: str) -> JsonTextError:
        return JsonTextError(f"Unexpected character ('{char}' (code {ord(char)})): {wanted}", self.offset + 1)

    def _key(self, char: str, path: Path) -> str:
        start = self.offset
        if char != '"':
            raise self._unexpected(char, "was expecting double-quote to start field name")
        key = self._string()
        if (*path, key) in self.found:
            raise JsonTextError(f"Duplicate field '{key}'", self.offset)
        self.found[(*path, key)] = start
        self._skip()
        if (char := self._peek()) != ":":
            raise self._unexpected(char, "was expecting a colon to separate field name and value")
        self.offset += 1
        self._skip()
        return key

    def _string(self) -> str:
        match = _STRING.match(self.text, self.offset)
        if match is None:
            raise self._bad_string()
        self.offset = match.end()
        raw = match.group(1)
        if "\\" not in raw:
            return raw
        try:
            return _ESCAPE.sub(_unescape, raw).encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise JsonTextError("Incomplete surrogate pair in a character escape sequence", self.offset) from None

    def _bad_string(self) -> JsonTextError:
        index = self.offset + 1
        while index < len(self.text) and self.text[index] != '"':
            char = self.text[index]
            if char < " ":
                return JsonTextError(
                    f"Illegal unquoted character ((CTRL-CHAR, code {ord(char)})): has to be escaped using backslash "
                    "to be included in string value",
                    index + 1,
                )
            if char == "\\":
                index += 1
                escaped = self.text[index : index + 1]
                if escaped and escaped not in '"\\/bfnrtu':
                    return JsonTextError(f"Unrecognized character escape '{escaped}' (code {ord(escaped)})", index + 1)
                if escaped == "u" and not re.match(r"u[0-9a-fA-F]{4}", self.text[index : index + 5]):
                    return JsonTextError(
                        "Unexpected character: expected a hex-digit for character escape sequence", index + 2
                    )
            index += 1
        return JsonTextError("Unexpected end-of-input: was expecting closing quote for a string value", len(self.text))

    def _value(self, path: Path) -> None:
        char = self._peek()
        if char in "{[":
            if len(self.open) >= MAX_DEPTH:
                raise JsonTextError(
                    f"Document nesting depth ({MAX_DEPTH + 1}) exceeds the maximum allowed ({MAX_DEPTH})",
                    self.offset + 1,
                )
            self.open.append(_Open(path, "Object" if char == "{" else "Array", self.offset))
            self.offset += 1
        elif char == '"':
            self._string()
        elif match := _SCALAR.match(self.text, self.offset):
            self.offset = match.end()
            number = match.group()
            if number[-1].isdigit() and (len(number) > _LONGEST_NUMBER or math.isinf(float(number))):
                raise JsonTextError(f"Number {number[:40]} is out of the range of a double", self.offset)
        elif match := _TOKEN.match(self.text, self.offset):
            raise self._bad_token(match.group(), match.end())
        else:
            raise self._unexpected(char, f"expected a valid value {_VALUE_EXPECTED}")

    def _bad_token(self, token: str, end: int) -> JsonTextError:
        if token[0].isdigit():
            return JsonTextError(f"'{token}' is not a number of JSON", end)
        if token in ("NaN", "Infinity"):
            return JsonTextError(f"Non-standard token '{token}': not allowed in JSON", end)
        return JsonTextError(f"Unrecognized token '{token}': was expecting {_VALUE_EXPECTED}", end)


def _unescape(match: re.Match[str]) -> str:
    code, char = match.groups()
    return chr(int(code, 16)) if code else _ESCAPES.get(char, char)
