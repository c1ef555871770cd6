"""JSONata as AWS runs it: jlens, held so that an expression sees `$states` and the variables and nothing else.

jlens reads a dictionary given as input lazily, but converts every binding whole. So the states and the variables go
in as one input, and the expression is wrapped:

    ($states := $$.s; $total := $$.v.total; $$ := $$.u; [null].{"r": EXPRESSION})

which names what the expression uses, hides the wrapper's own input behind an undefined `$$` and a null context, and
tells "nothing" (no `r`) from null. The expression compiles alone first, so it can't close the wrapper's brackets.

Limits are AWS's where it has shown them: 100 levels of depth (the wrapper takes 3 of its own), 873,782 elements, 2^22
characters to the power that fits 6,990,256 bytes. Time is bounded by evaluation steps, which replay, not by a clock.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import jlens

from stepwell.language.errors import QUERY_EVALUATION_ERROR, StatesError
from stepwell.language.jsonata_functions import MEMORY_LIMIT, PARSE_WRAPPER, PURE, JsonataError, random_functions
from stepwell.language.scope import EMPTY, Evaluator, RandomSource, Scope
from stepwell.language.values import MISSING, Missing, json_type, to_json

__all__ = ["UNDEFINED", "Expression", "JsonataError", "JsonataSyntaxError", "compile_expression", "compile_field"]

UNDEFINED: Final[Missing] = MISSING
"""JSONata's "nothing", which is not null."""

MAX_DEPTH = 100
MAX_ARRAY = 873_782
MAX_STRING = 6_990_256
MAX_STEPS = 10_000_000
"""About a second of evaluation, AWS's limit of time, in a unit that does not depend on the machine."""
_TIMEOUT = 30.0
"""Seconds. Only for what the steps do not count, such as a pathological regular expression."""

_WRAPPER_DEPTH = 3
_STACK_OVERFLOW = (
    "Stack overflow error: Check for non-terminating recursive function. Consider rewriting as tail-recursive"
)
_TIME_LIMIT = "Expression evaluation timeout: Check for infinite loop"
_LIMITS = {"D1011": _STACK_OVERFLOW, "D1012": _TIME_LIMIT, "U1001": MEMORY_LIMIT, "U1006": _TIME_LIMIT}

_BUILT_IN_NAMES = (
    "abs append assert average base64decode base64encode boolean ceil clone contains count decodeUrl "
    "decodeUrlComponent distinct each encodeUrl encodeUrlComponent error eval exists filter floor formatBase "
    "formatInteger formatNumber fromMillis hash join keys length lookup lowercase map match max merge millis "
    "min not now number pad parse parseInteger partition power random range reduce replace reverse round "
    "shuffle sift single sort split spread sqrt string substring substringAfter substringBefore sum toMillis "
    "trim type uppercase uuid zip "
)
_BUILT_IN = frozenset(_BUILT_IN_NAMES.split())
_OWN = frozenset({"partition", "range", "hash", "parse", "random", "uuid"})

_TOKEN = re.compile(
    r"""(?P<blank>\s+|/\*.*?\*/)
    | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)
    | (?P<variable>\$\$|\$[^\s.\[\]{}():,@\#;&|*+\-/%?=!<>~^"'`$]*)
    | (?P<name>[^\W\d]\w*)
    | (?P<number>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)
    | (?P<newer>\?\?|\?:)
    | (?P<regex>/(?:[^/\\\n]|\\.)+/[im]*)
    | (?P<operator>.)""",
    re.VERBOSE | re.DOTALL,
)
_SIMPLE_PATH = re.compile(r"\$([^\W\d]\w*)((?:\.[^\W\d]\w*)*)")


class JsonataSyntaxError(ValueError):
    """The expression does not compile. `code` (S0201) and `message` are JSONata's, `position` an offset or None."""

    def __init__(self, text: str, code: str, message: str, position: int | None) -> None:
        super().__init__(f"{code}: {message}")
        self.text = text
        self.code = code
        self.message = message
        self.position = position


class Expression:
    """A compiled expression (the text between `{%` and `%}`, trimmed).

    `variables` are the workflow variables it may read, `states` the fields of `$states`, or None for all of them.
    """

    __slots__ = ("_now", "_path", "_random", "_shadowable", "_variants", "states", "text", "variables")

    def __init__(self, text: str) -> None:
        self.text = text
        tokens = _tokens(text)
        bare = _compile(text, text)
        for name, function in PURE.items():
            bare.register_function(name, function)
        mentioned = {token[1:] for kind, token in tokens if kind == "variable" and len(token) > 1}
        reads = bare.reads(dict.fromkeys(_OWN, _unused))
        free = mentioned if reads.get("everyBinding") else set(reads["bindings"])
        self.variables = frozenset(free - _BUILT_IN - {"states", "$", ""})
        whole = reads["bindings"].get("states", {})
        self.states = None if whole is True else frozenset(whole)
        self._shadowable = mentioned & _BUILT_IN
        self._random = not mentioned.isdisjoint({"random", "uuid"})
        self._now = not mentioned.isdisjoint({"now", "millis"})
        self._path = _simple_path(text)
        self._variants: dict[frozenset[str], jlens.Expression] = {}
        self._variant(frozenset())

    def evaluate(
        self, states: Mapping[str, Any], variables: Mapping[str, Any] = EMPTY, random: RandomSource | None = None
    ) -> Any:
        """The value, or UNDEFINED. `states` is the whole `$states`, `context` included. Raises JsonataError."""
        return self.evaluate_in(Scope(states=states, variables=variables, random=random))

    def evaluate_in(self, scope: Scope) -> Any:
        """The value in a scope, or UNDEFINED; the context object is made only for an expression that reads it."""
        if self._path is not None:
            value = self._walk(scope)
            if value is not None:
                return value
        states = scope.states
        if "context" not in states and (self.states is None or "context" in self.states):
            states = {**states, "context": scope.context}
        shadowed = frozenset(self._shadowable.intersection(scope.variables)) if self._shadowable else frozenset()
        result = self._run(self._variant(shadowed), scope, states)
        if "r" in result:
            return result["r"]
        if self._run(self._variant(shadowed, "f"), scope, states).get("f") == "function":
            raise JsonataError(None, "", unsupported=True)
        return UNDEFINED

    def _run(self, compiled: jlens.Expression, scope: Scope, states: Mapping[str, Any]) -> Any:
        if self._now and scope.now is None:
            raise JsonataError(None, "The time is not known here")
        try:
            return compiled.evaluate(
                {"s": states, "v": scope.variables},
                random_functions(scope.random) if self._random else None,
                timeout=_TIMEOUT,
                max_depth=MAX_DEPTH + _WRAPPER_DEPTH,
                max_steps=MAX_STEPS,
                max_string_length=MAX_STRING,
                max_array_length=MAX_ARRAY,
                now=scope.now if self._now else None,
                seed=scope.random.randint(0, 2**53) if scope.random and "shuffle" in self._shadowable else None,
            )
        except jlens.JlensError as error:
            if error.code in _LIMITS:
                raise JsonataError(None, _LIMITS[error.code]) from None
            raise JsonataError(error.code, str(error)) from None

    def _variant(self, shadowed: frozenset[str], want: str = "r") -> jlens.Expression:
        """The wrapped expression, where the variables in `shadowed` hide the built-in functions of their names."""
        key = shadowed | {want}
        compiled = self._variants.get(key)
        if compiled is None:
            names = sorted(self.variables | shadowed)
            own = PARSE_WRAPPER if "parse" in self._shadowable else ""
            hidden = "$eval := $$.u;" if "eval" in self._shadowable else ""
            bound = "".join(f"${name} := $$.v.`{name}`;" for name in names)
            value = self.text if want == "r" else f"$type({self.text})"
            text = f'($states := $$.s;{own}{hidden}{bound}$$ := $$.u;[null].{{"{want}": {value}}})'
            compiled = self._variants[key] = _compile(text, self.text)
            for name, function in PURE.items():
                compiled.register_function(name, function)
        return compiled

    def _walk(self, scope: Scope) -> Any:
        """A path through objects only, walked here: exact for integers beyond 2^53, and the value itself, not a copy.

        None when it is for jlens to say: arrays on the way, and null or nothing at the end.
        """
        root, names = self._path  # type: ignore[misc]
        if root != "states":
            value = scope.variables.get(root)
        elif names[0] == "context" and "context" not in scope.states:
            value, names = scope.context, names[1:]
        else:
            value, names = scope.states.get(names[0]), names[1:]
        for name in names:
            if type(value) is not dict:
                return None
            value = value.get(name)
        return value


def _unused(*_: Any) -> None:
    """Stands for a function whose arguments alone matter."""


def _compile(text: str, source: str) -> jlens.Expression:
    try:
        return jlens.Expression(text)
    except jlens.JlensError as error:
        raise JsonataSyntaxError(source, error.code, str(error), error.position) from None
    except UnicodeEncodeError:
        raise JsonataSyntaxError(source, "S0101", "The text holds half of a surrogate pair", None) from None


def _tokens(text: str) -> list[tuple[str, str]]:
    """The tokens of an expression, blanks and comments left out. A slash opens a regex where a value may begin."""
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)  # always: the last alternative takes any character
        assert match is not None and match.lastgroup is not None
        kind, token = match.lastgroup, match[0]
        if kind == "regex" and found and (found[-1][0] not in ("operator", "newer") or found[-1][1] in ")]}"):
            kind, token = "operator", "/"
        at += len(token)
        if kind == "newer":
            raise JsonataSyntaxError(text, "S0211", f'The symbol "{token[-1]}" cannot be used as a unary operator', at)
        if kind != "blank":
            found.append((kind, token))
    return found


def _simple_path(text: str) -> tuple[str, tuple[str, ...]] | None:
    match = _SIMPLE_PATH.fullmatch(text)
    if match is None or match[1] in _BUILT_IN:
        return None
    names = tuple(match[2].split(".")[1:])
    if not names and match[1] == "states":
        return None
    return None if {"and", "or", "in", "true", "false", "null", "function"}.intersection(names) else (match[1], names)


@lru_cache(maxsize=4096)
def compile_expression(text: str) -> Expression:
    """Compile the text between `{%` and `%}`. Raises JsonataSyntaxError. Equal texts share one compiled expression."""
    return Expression(text.strip())


def compile_field(text: str, field: str, expected: str | None = None) -> Evaluator:
    """An evaluator for a field written as `{% ... %}`, with AWS's error texts.

    `text` is the whole string, delimiters included. `field` is its location in AWS's texts, such as `Output/total`,
    `TimeoutSeconds` or `Choices[0]/Condition`. `expected` is a JSON type the result must have (`array`, `object`,
    `string`, `number`, `boolean`). Raises JsonataSyntaxError now, and StatesError(States.QueryEvaluationError, ...,
    location=field) when evaluated.
    """
    expression = compile_expression(text[2:-2].strip())
    evaluate_in = expression.evaluate_in

    def evaluate(scope: Scope) -> Any:
        try:
            value = evaluate_in(scope)
        except JsonataError as error:
            if error.unsupported:
                raise _fault(expression, field, "returned an unsupported result type.") from None
            tail = f". {error.code}: {error.message}" if error.code else f": {error.message}"
            raise _fault(expression, field, f"threw an error during evaluation{tail}") from None
        if value is UNDEFINED:
            raise _fault(expression, field, "returned nothing (undefined).")
        if expected is not None and json_type(value) != expected:
            raise _fault(
                expression,
                field,
                f"returned an unexpected result type. Expected '{expected}', but was '{json_type(value)}'"
                f" for value: {to_json(value)}",
            )
        return value

    return evaluate


def _fault(expression: Expression, field: str, what: str) -> StatesError:
    cause = f"The JSONata expression '{expression.text}' specified for the field '{field}' {what}"
    return StatesError(QUERY_EVALUATION_ERROR, cause, location=field)
