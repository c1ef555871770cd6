"""The grammar of JSONPath in Jayway's dialect: from text to steps."""

import re

import orjson

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

__all__ = ["PathSyntaxError", "parse_path"]


class PathSyntaxError(ValueError):
    """The text is not a path. `text` is the path, `position` the offset of the fault, `message` says what is wrong."""

    def __init__(self, text: str, position: int, message: str) -> None:
        super().__init__(f"{message} (at character {position + 1} of {text!r})")
        self.text = text
        self.position = position
        self.message = message


OPERATORS = ("===", "!==", "==", "!=", "=~", "<=", ">=", "<", ">")
WORD_OPERATORS = ("in", "nin", "contains", "all", "size", "empty", "subsetof", "anyof", "noneof")
"""Jayway's operators. Its `matches` and `type` take Java objects and can't be written in a path's text."""

MAX_FILTER_DEPTH = 100
"""Parentheses and negations within each other. Jayway has no such limit but its stack."""

_REGEX_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE, "u": 0, "d": 0, "U": 0}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")
_CALL = re.compile(r"([A-Za-z]+)\(")
_INDEX_EXPRESSION = re.compile(r"[-0-9:,\s]+")
_SINGLE_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)


def parse_path(text: str) -> tuple[str, tuple[Step, ...]]:
    """The root (`$`, `$$` or a variable's name) and the steps of a path. Raises PathSyntaxError."""
    if not text.startswith("$"):
        raise PathSyntaxError(text, 0, "A path must start with '$'")
    if text.startswith("$$"):
        root, start = "$$", 2
    else:
        start = 1
        while start < len(text) and text[start] not in ".[":
            start += 1
        root = text[1:start] or "$"
        if root != "$" and not root.isidentifier():
            raise PathSyntaxError(text, 1, f"Expected '.', '[' or the name of a variable, found {root!r}")
    return root, _Parser(text, start, len(text)).steps()


class _Parser:
    """A recursive descent over `text[at:stop]`. Within a filter, names end at blanks and operators too."""

    def __init__(self, text: str, at: int, stop: int, name_ends: str = ".[") -> None:
        self.text = text
        self.at = at
        self.stop = stop
        self.name_ends = name_ends
        self.depth = 0

    def fail(self, message: str, position: int | None = None) -> PathSyntaxError:
        return PathSyntaxError(self.text, self.at if position is None else position, message)

    def peek(self) -> str:
        return self.text[self.at] if self.at < self.stop else ""

    def startswith(self, text: str) -> bool:
        return self.text.startswith(text, self.at, self.stop)

    def skip_blanks(self) -> str:
        while self.at < self.stop and self.text[self.at].isspace():
            self.at += 1
        return self.peek()

    # Steps

    def steps(self) -> tuple[Step, ...]:
        """All steps up to the end of the text (or, in a filter, up to where the path ends)."""
        found: list[Step] = []
        while self.at < self.stop:
            char = self.text[self.at]
            if char == "[":
                found.append(self.bracket())
            elif char == ".":
                self.at += 1
                if self.peek() == ".":
                    self.at += 1
                    found.append(Scan())
                if self.peek() == ".":
                    raise self.fail("Unexpected '.'")
                if not self.peek():
                    raise self.fail("A path must not end with a '.' or '..'")
                found.append(self.bracket() if self.peek() == "[" else self.name())
            elif self.name_ends != ".[":
                break
            else:
                raise self.fail("Expected '.' or '['")
        return tuple(found)

    def name(self) -> Step:
        """After a dot: `*`, a field's name, or a call."""
        if self.peek() == "*":
            self.at += 1
            return Wildcard()
        call = _CALL.match(self.text, self.at, self.stop)
        if call:
            return self.call(call)
        start = self.at
        while self.at < self.stop and self.text[self.at] not in self.name_ends:
            if self.text[self.at] == " ":
                raise self.fail("Use brackets, as in ['my prop'], for a name with blanks")
            self.at += 1
        if start == self.at:
            raise self.fail("Expected a name")
        return self.text[start : self.at]

    def call(self, match: re.Match[str]) -> Call:
        self.at = match.end()
        arguments: list[Operand] = []
        while self.skip_blanks() != ")":
            if arguments:
                if self.peek() != ",":
                    raise self.fail("Expected ',' or ')'")
                self.at += 1
                self.skip_blanks()
            arguments.append(self.operand())
        self.at += 1
        return Call(match[1], tuple(arguments))

    def bracket(self) -> Step:
        """Everything between `[` and `]`."""
        start = self.at
        self.at += 1
        char = self.skip_blanks()
        if char and char in "'\"":
            return self.quoted_names()
        if char == "*":
            self.at += 1
            self.close()
            return Wildcard()
        if char == "?":
            return self.filter()
        expression = _INDEX_EXPRESSION.match(self.text, self.at, self.stop)
        if expression is None:
            raise self.fail("Expected a quoted name, an index, a slice, '*' or '?(' between brackets", start)
        self.at = expression.end()
        self.close()
        return self.slice(expression[0], start) if ":" in expression[0] else self.indices(expression[0], start)

    def close(self) -> None:
        if self.skip_blanks() != "]":
            raise self.fail("Expected ']'")
        self.at += 1

    def quoted_names(self) -> Step:
        names = [self.quoted_name()]
        while self.skip_blanks() == ",":
            self.at += 1
            if not self.skip_blanks() or self.peek() not in "'\"":
                raise self.fail("Expected a quoted name")
            names.append(self.quoted_name())
        self.close()
        return names[0] if len(names) == 1 else Names(tuple(names))

    def quoted_name(self) -> str:
        r"""A field's name, which has no escapes: it ends at a quote that `]` or `,` follows.

        AWS reads `$['Test\""Name"']` as the field of exactly that name, backslash included.
        """
        start = self.at
        quote = self.text[start]
        at = start + 1
        while True:
            at = self.text.find(quote, at, self.stop)
            if at < 0:
                raise self.fail("The name is not closed", start)
            at += 1
            if self.text[at : self.stop].lstrip()[:1] in ("]", ","):
                self.at = at
                return self.text[start + 1 : at - 1]

    def quoted(self) -> str:
        """A string in single or double quotes, with backslash escapes."""
        start = self.at
        quote = self.text[start]
        self.at += 1
        parts: list[str] = []
        while (char := self.peek()) != quote:
            if not char:
                raise self.fail("The string is not closed", start)
            self.at += 1
            if char == "\\":
                char = self.peek()
                self.at += 1
                if char == "u":
                    try:
                        char = chr(int(self.text[self.at : self.at + 4], 16))
                    except ValueError:
                        raise self.fail("Expected four hexadecimal digits") from None
                    self.at += 4
                else:
                    char = _ESCAPES.get(char, char)
            parts.append(char)
        self.at += 1
        return "".join(parts)

    def slice(self, expression: str, start: int) -> Slice:
        """Steps are read and ignored, as Jayway does; a slice without both ends is refused, as Jayway does."""
        numbers = [part.strip() for part in expression.split(":")]
        try:
            ends = [int(part) if part else None for part in numbers[:3]]
        except ValueError:
            raise self.fail("Not a slice", start) from None
        if len(numbers) > 3 or (ends[0] is None and ends[1] is None):
            raise self.fail("A slice needs a start or an end", start)
        return Slice(ends[0], ends[1])

    def indices(self, expression: str, start: int) -> Step:
        try:
            indices = tuple(int(part) for part in expression.split(","))
        except ValueError:
            raise self.fail("Not an index", start) from None
        return indices[0] if len(indices) == 1 else Indices(indices)

    # Filters

    def filter(self) -> Filter:
        self.at += 1
        if self.skip_blanks() != "(":
            raise self.fail("Expected '(' after '?'")
        self.at += 1
        test = self.any_of()
        if self.skip_blanks() != ")":
            raise self.fail("Expected '&&', '||' or ')'")
        self.at += 1
        self.close()
        return Filter(test)

    def any_of(self) -> Test:
        tests = [self.all_of()]
        while self.skip_blanks() == "|" and self.startswith("||"):
            self.at += 2
            tests.append(self.all_of())
        return tests[0] if len(tests) == 1 else Logical(False, tuple(tests))

    def all_of(self) -> Test:
        tests = [self.negation()]
        while self.skip_blanks() == "&" and self.startswith("&&"):
            self.at += 2
            tests.append(self.negation())
        return tests[0] if len(tests) == 1 else Logical(True, tuple(tests))

    def negation(self) -> Test:
        self.depth += 1
        if self.depth > MAX_FILTER_DEPTH:
            raise self.fail(f"A filter can nest {MAX_FILTER_DEPTH} levels at most")
        test = self.simple()
        self.depth -= 1
        return test

    def simple(self) -> Test:
        char = self.skip_blanks()
        if char == "!":
            self.at += 1
            if self.skip_blanks() not in ("(", "@", "$"):
                raise self.fail("Expected a path or '(' after '!'")
            return Not(self.negation())
        if char == "(":
            self.at += 1
            test = self.any_of()
            if self.skip_blanks() != ")":
                raise self.fail("Expected ')'")
            self.at += 1
            return test
        return self.comparison()

    def comparison(self) -> Test:
        start = self.at
        left = self.operand()
        operator = self.operator()
        if operator:
            self.skip_blanks()
            return Comparison(left, operator, self.operand())
        if not isinstance(left, SubPath):
            raise self.fail("A literal must be compared with something", start)
        return Exists(left)

    def operator(self) -> str | None:
        self.skip_blanks()
        for operator in OPERATORS:
            if self.startswith(operator):
                self.at += len(operator)
                return operator
        end = self.at
        while end < self.stop and self.text[end].isalpha():
            end += 1
        word = self.text[self.at : end].lower()
        if word in WORD_OPERATORS:
            self.at = end
            return word
        if word:
            raise self.fail(f"Unknown operator {word!r}")
        return None

    def operand(self) -> Operand:
        char = self.peek()
        if char and char in "@$":
            self.at += 1
            path = _Parser(self.text, self.at, self.stop, _FILTER_NAME_ENDS)
            steps = path.steps()
            self.at = path.at
            return SubPath(char == "@", steps)
        if char and char in "'\"":
            return Literal(self.quoted())
        if char == "/":
            return self.pattern()
        if char and char in "[{":
            return self.json()
        for word, value in (("true", True), ("false", False), ("null", None)):
            if self.startswith(word):
                self.at += len(word)
                return Literal(value)
        number = _NUMBER.match(self.text, self.at, self.stop)
        if number is None:
            raise self.fail("Expected a path or a literal")
        self.at = number.end()
        return Literal(orjson.loads(number[0]) if _is_json_number(number[0]) else float(number[0]))

    def pattern(self) -> Pattern:
        start = self.at
        self.at += 1
        while self.peek() != "/":
            if not self.peek():
                raise self.fail("The pattern is not closed", start)
            self.at += 2 if self.peek() == "\\" else 1
        source = self.text[start + 1 : self.at]
        self.at += 1
        flags = 0
        while self.peek() and self.peek() in _REGEX_FLAGS:
            flags |= _REGEX_FLAGS[self.peek()]
            self.at += 1
        try:
            return Pattern(re.compile(source, flags))
        except re.error as error:
            raise self.fail(f"Not a regular expression: {error}", start) from None

    def json(self) -> Literal:
        """A JSON array or object; strings may be in single quotes."""
        start = self.at
        depth = 0
        while self.at < self.stop:
            char = self.text[self.at]
            if char in "'\"":
                self.quoted()
                continue
            self.at += 1
            depth += (char in "[{") - (char in "]}")
            if depth == 0:
                break
        source = _SINGLE_QUOTED.sub(_double_quoted, self.text[start : self.at])
        try:
            return Literal(orjson.loads(source))
        except orjson.JSONDecodeError as error:
            raise self.fail(f"Not JSON: {error}", start) from None


_FILTER_NAME_ENDS = ".[ \t\n\r=!<>~&|(),]"


def _is_json_number(text: str) -> bool:
    return not re.match(r"-?0\d", text)


def _double_quoted(match: re.Match[str]) -> str:
    if match[1] is None:
        return match[0]
    return '"' + match[1].replace("\\'", "'").replace('"', '\\"') + '"'
