"""The grammar of intrinsic functions: `States.Format('{} of {}', $.n, States.ArrayLength($.items))`."""

import re
from dataclasses import dataclass

import orjson

__all__ = ["Argument", "Call", "IntrinsicSyntaxError", "Literal", "PathText", "parse_intrinsic"]

MAX_NESTING = 10
"""Calls within calls that AWS allows."""


class IntrinsicSyntaxError(ValueError):
    """The text is not a call of intrinsic functions. `position` is the offset of the fault in `text`."""

    def __init__(self, text: str, position: int, message: str) -> None:
        super().__init__(f"{message} (at character {position + 1} of {text!r})")
        self.text = text
        self.position = position
        self.message = message


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, number, boolean or null. `raw` is a string's text before its escapes are resolved."""

    value: str | int | float | bool | None
    raw: str | None = None


@dataclass(frozen=True, slots=True)
class PathText:
    """A path, not yet compiled; `position` is where it stands."""

    text: str
    position: int


@dataclass(frozen=True, slots=True)
class Call:
    """`States.Name(arguments)`; `text` as written, `name` without the prefix."""

    name: str
    arguments: tuple["Argument", ...]
    text: str
    position: int


Argument = Literal | PathText | Call

_CALL = re.compile(r"States\.([A-Za-z0-9]+)\s*\(")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_WORDS = {"true": True, "false": False, "null": None}
_ESCAPABLE = frozenset("'{}\\")


def parse_intrinsic(text: str) -> Call:
    """Parse one call, which must be the whole text. Raises IntrinsicSyntaxError."""
    parser = _Parser(text)
    parser.blanks()
    call = parser.argument(1)
    parser.blanks()
    if not isinstance(call, Call) or parser.at != len(text):
        raise parser.fail("Expected one call of an intrinsic function")
    return call


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def fail(self, message: str, position: int | None = None) -> IntrinsicSyntaxError:
        return IntrinsicSyntaxError(self.text, self.at if position is None else position, message)

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def blanks(self) -> str:
        while self.peek().isspace():
            self.at += 1
        return self.peek()

    def argument(self, depth: int) -> Argument:
        if depth > MAX_NESTING + 1:
            raise self.fail(f"Intrinsic functions can be nested {MAX_NESTING} deep at most")
        char = self.peek()
        if char == "'":
            return self.string()
        if char == "$":
            return self.path()
        match = _CALL.match(self.text, self.at)
        if match:
            return self.call(match, depth)
        for word, value in _WORDS.items():
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return Literal(value)
        match = _NUMBER.match(self.text, self.at)
        if match is None:
            raise self.fail(
                "Expected a string in single quotes, a number, true, false, null, a path or a function call"
            )
        self.at = match.end()
        try:
            return Literal(orjson.loads(match[0]))
        except orjson.JSONDecodeError:
            raise self.fail("Not a number", match.start()) from None

    def call(self, match: re.Match[str], depth: int) -> Call:
        start = self.at
        self.at = match.end()
        arguments: list[Argument] = []
        while self.blanks() != ")":
            if arguments:
                if self.peek() != ",":
                    raise self.fail("Expected ',' or ')'")
                self.at += 1
                self.blanks()
            arguments.append(self.argument(depth + 1))
        self.at += 1
        return Call(match[1], tuple(arguments), self.text[start : self.at], start)

    def string(self) -> Literal:
        """Single quotes; a backslash makes `'`, `{`, `}` and itself ordinary, and may stand before nothing else."""
        start = self.at
        self.at += 1
        parts: list[str] = []
        while self.peek() != "'":
            char = self.peek()
            if not char:
                raise self.fail("The string is not closed", start)
            self.at += 1
            if char == "\\":
                char = self.peek()
                if char not in _ESCAPABLE:
                    raise self.fail("A backslash in a string must stand before ', {, } or another backslash")
                self.at += 1
            parts.append(char)
        self.at += 1
        return Literal("".join(parts), self.text[start + 1 : self.at - 1])

    def path(self) -> PathText:
        """A path ends at a comma or a closing parenthesis that is not within brackets, parentheses or quotes."""
        start = self.at
        depth = 0
        while char := self.peek():
            if char in "'\"" and depth:
                self.quoted(char)
                continue
            if depth == 0 and (char in ",)" or char.isspace()):
                break
            depth += (char in "[(") - (char in "])")
            self.at += 1
        return PathText(self.text[start : self.at], start)

    def quoted(self, quote: str) -> None:
        start = self.at
        self.at += 1
        while self.peek() != quote:
            if not self.peek():
                raise self.fail("The string is not closed", start)
            self.at += 2 if self.peek() == "\\" else 1
        self.at += 1
