"""The intrinsic functions of JSONPath mode, such as `States.Format('{}', $.name)`.

Where AWS's documentation and its answers differ, the answers win: faults are States.Runtime, not
States.IntrinsicFailure; MathAdd rounds half up while the other functions cut towards zero; ArrayContains compares the
texts of values; ArrayUnique gives the order of a Java HashSet; Base64Decode skips what is not Base64.
"""

import base64
import hashlib
import math
import struct
from collections.abc import Callable
from typing import Any, NoReturn

import orjson

from stepwell.language.errors import RUNTIME, StatesError
from stepwell.language.intrinsics_syntax import Argument, Call, IntrinsicSyntaxError, Literal, PathText, parse_intrinsic
from stepwell.language.javarandom import JavaRandom
from stepwell.language.jsonata_functions import HASHES
from stepwell.language.jsonpath import Path, PathNotFound, PathSyntaxError, compile_path
from stepwell.language.scope import Evaluator, Scope
from stepwell.language.values import MISSING, is_number, java_text, to_json

__all__ = ["FUNCTIONS", "IntrinsicSyntaxError", "compile_intrinsic"]

MAX_TEXT = 10_000
"""Characters that Base64Encode, Base64Decode and Hash accept."""
MAX_RANGE = 1_000
"""Elements ArrayRange gives."""

_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1


class _Invalid(Exception):
    """The arguments do not fit. The text, if any, follows AWS's "Invalid ... in States.X" after a colon."""

    def __init__(self, detail: str = "", what: str = "arguments") -> None:
        super().__init__(detail)
        self.detail = detail
        self.what = what


def compile_intrinsic(text: str) -> Evaluator:
    """Compile a call. Raises IntrinsicSyntaxError; the evaluator raises StatesError(States.Runtime, ...)."""
    call = parse_intrinsic(text)
    return _compile_call(call, text)


def _compile_call(call: Call, text: str) -> Evaluator:
    full_name = f"States.{call.name}"
    if full_name not in FUNCTIONS:
        raise IntrinsicSyntaxError(text, call.position, f"{full_name} is not an intrinsic function")
    if call.name == "UUID":
        return _compile_uuid(call)
    if call.name == "MathRandom":
        return _compile_random(call, text)
    arguments = [_compile_argument(argument, text) for argument in call.arguments]
    if call.name == "Format":
        function = _format_function(call)
    else:
        least, most, function = _FUNCTIONS[call.name]
        if not least <= len(arguments) <= most:
            return lambda scope: _refuse(call, _Invalid())
    if len(arguments) == 1:
        (only,) = arguments

        def evaluate_one(scope: Scope) -> Any:
            value = only(scope)
            try:
                return function(value)
            except _Invalid as error:
                _refuse(call, error)
            except RecursionError:  # a value nested deeper than Python's stack
                _refuse(call, _Invalid())

        return evaluate_one

    def evaluate(scope: Scope) -> Any:
        values = [argument(scope) for argument in arguments]
        try:
            return function(*values)
        except _Invalid as error:
            _refuse(call, error)
        except RecursionError:
            _refuse(call, _Invalid())

    return evaluate


def _compile_argument(argument: Argument, text: str) -> Evaluator:
    if isinstance(argument, Call):
        return _compile_call(argument, text)
    if isinstance(argument, Literal):
        value = argument.value
        return lambda scope: value
    return _compile_path(argument, text)


def _compile_path(argument: PathText, text: str) -> Evaluator:
    try:
        path = compile_path(argument.text)
    except PathSyntaxError as error:
        raise IntrinsicSyntaxError(text, argument.position + error.position, error.message) from error
    find = path.find

    def evaluate(scope: Scope) -> Any:
        value = find(scope)
        return value if value is not MISSING else _missing(path, scope, text)

    return evaluate


def _missing(path: Path, scope: Scope, text: str) -> NoReturn:
    """AWS names the whole expression and the state's input, and writes a context path as if `$` were the context."""
    try:
        path.read(scope)
        leak = None
    except PathNotFound as error:
        leak = error.detail if error.detail.startswith("Filter:") else None
    except StatesError:
        leak = None
    shown = path.text[1:] if path.root == "$$" else path.text
    detail = leak or (
        f"The JsonPath argument for the field '{shown}' could not be found in the input '{to_json(scope.document)}'"
    )
    raise StatesError(RUNTIME, f"The function '{text}' had the following error: {detail}") from None


def _refuse(call: Call, error: _Invalid) -> NoReturn:
    detail = f": {error.detail}" if error.detail else ""
    raise StatesError(
        RUNTIME,
        f"There was an error while evaluating the intrinsic function: {call.text}."
        f" Invalid {error.what} in States.{call.name}{detail}",
    ) from None


# Checks of arguments


def _text(value: Any, limit: int | None = None) -> str:
    if type(value) is not str or (limit is not None and len(value) > limit):
        raise _Invalid
    return value


def _array(value: Any) -> list[Any]:
    if type(value) is not list:
        raise _Invalid
    return value


def _integer(value: Any) -> int:
    """A number cut towards zero, within 32 bits."""
    if not is_number(value) or not _INT_MIN <= value <= _INT_MAX:
        raise _Invalid
    return int(value)


# Functions


def _format_function(call: Call) -> Callable[..., str]:
    """Format; a literal template is split at its placeholders once."""
    json_results = [isinstance(argument, Call) and argument.name == "StringToJson" for argument in call.arguments[1:]]
    if not call.arguments:
        return _invalid_format
    template = call.arguments[0]
    fixed = _split_template(template.raw) if isinstance(template, Literal) and template.raw is not None else None

    def render(template: Any, *values: Any) -> str:
        pieces = fixed if fixed is not None else _split_template(_text(template))
        if isinstance(pieces, _Invalid):
            raise pieces
        if len(pieces) != len(values) + 1:
            raise _Invalid("number of arguments do not match the occurrences of {}.")
        parts = [pieces[0]]
        for value, piece, as_json in zip(values, pieces[1:], json_results, strict=True):
            parts.append(to_json(value) if as_json else java_text(value))
            parts.append(piece)
        return "".join(parts)

    return render


def _invalid_format(*_: Any) -> NoReturn:
    raise _Invalid


def _split_template(template: str) -> list[str] | _Invalid:
    """The texts around the placeholders `{}`, escapes resolved; or the fault, to be raised when it is used."""
    pieces: list[str] = []
    current: list[str] = []
    at = 0
    while at < len(template):
        char = template[at]
        if char == "\\" and template[at + 1 : at + 2] in ("'", "{", "}", "\\"):
            current.append(template[at + 1])
            at += 2
            continue
        if char == "{":
            if template[at + 1 : at + 2] != "}":
                return _Invalid("matching '}' not found for '{'.", "template")
            pieces.append("".join(current))
            current = []
            at += 2
            continue
        if char == "}":
            return _Invalid("matching '{' not found for '}'.", "template")
        current.append(char)
        at += 1
    return [*pieces, "".join(current)]


def _string_to_json(value: Any) -> Any:
    text = _text(value)
    if not text.strip():
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _Invalid from None


def _array_partition(array: Any, size: Any) -> list[list[Any]]:
    items, step = _array(array), _integer(size)
    if step < 1:
        raise _Invalid
    return [items[start : start + step] for start in range(0, len(items), step)]


def _array_contains(array: Any, wanted: Any) -> bool:
    text = java_text(wanted)
    return any(java_text(item) == text for item in _array(array))


def _array_range(first: Any, last: Any, step: Any) -> list[int]:
    start, end, by = _integer(first), _integer(last), _integer(step)
    if by == 0:
        raise _Invalid
    elements = range(start, end + (1 if by > 0 else -1), by)
    if len(elements) > MAX_RANGE:
        raise _Invalid
    return list(elements)


def _array_get_item(array: Any, index: Any) -> Any:
    items, place = _array(array), _integer(index)
    if place < 0 or (items and place >= len(items)):
        raise _Invalid
    return items[place] if items else None


def _array_unique(array: Any) -> list[Any]:
    """One of each value, in the order a Java HashSet filled from the array would have."""
    items = _array(array)
    capacity = 16
    while capacity < max(int(len(items) / 0.75) + 1, 16):
        capacity *= 2
    buckets: dict[int, dict[Any, Any]] = {}
    for item in items:
        code = _java_hash(item)
        place = (code ^ (code >> 16)) & (capacity - 1)
        buckets.setdefault(place, {}).setdefault(_identity(item), item)
    return [item for place in sorted(buckets) for item in buckets[place].values()]


def _identity(value: Any) -> Any:
    """What makes a value the same as another to Java's equals: 1 and 1.0 differ, the order of keys does not matter."""
    if type(value) is list:
        return ("list", tuple(map(_identity, value)))
    if type(value) is dict:
        return ("dict", frozenset((key, _identity(item)) for key, item in value.items()))
    return (type(value), value)


def _java_hash(value: Any) -> int:
    """Java's hashCode of a value, as an unsigned 32-bit integer."""
    match value:
        case None:
            return 0
        case bool():
            return 1231 if value else 1237
        case int():
            if _INT_MIN <= value <= _INT_MAX:
                return value & 0xFFFFFFFF
            bits = value & 0xFFFFFFFFFFFFFFFF
            return (bits ^ (bits >> 32)) & 0xFFFFFFFF
        case float():
            bits = int.from_bytes(struct.pack(">d", value), "big")
            return (bits ^ (bits >> 32)) & 0xFFFFFFFF
        case str():
            units = value.encode("utf-16-be", "surrogatepass")
            code = 0
            for at in range(0, len(units), 2):
                code = (31 * code + int.from_bytes(units[at : at + 2], "big")) & 0xFFFFFFFF
            return code
        case list():
            code = 1
            for item in value:
                code = (31 * code + _java_hash(item)) & 0xFFFFFFFF
            return code
    return sum(_java_hash(key) ^ _java_hash(item) for key, item in value.items()) & 0xFFFFFFFF


_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")


def _base64_encode(value: Any) -> str:
    return base64.b64encode(_text(value, MAX_TEXT).encode("utf-8", "replace")).decode()


def _base64_decode(value: Any) -> str:
    """Everything up to the padding that is Base64 or URL-safe Base64; a lone sixth of a byte at the end is dropped."""
    before, _, _ = _text(value, MAX_TEXT).partition("=")
    digits = "".join(char for char in before if char in _BASE64).replace("-", "+").replace("_", "/")
    if len(digits) % 4 == 1:
        digits = digits[:-1]
    return base64.b64decode(digits + "=" * (-len(digits) % 4)).decode("utf-8", "replace")


def _hash(value: Any, algorithm: Any) -> str:
    text = _text(value, MAX_TEXT)
    if _text(algorithm) not in HASHES:
        raise _Invalid
    return hashlib.new(HASHES[algorithm], text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def _json_merge(first: Any, second: Any, deep: Any) -> dict[str, Any]:
    if type(first) is not dict or type(second) is not dict or deep is True:
        raise _Invalid
    return {**first, **second}


def _math_add(first: Any, second: Any) -> int:
    total = _rounded(first) + _rounded(second)
    if not _INT_MIN <= total <= _INT_MAX:
        raise _Invalid
    return total


def _rounded(value: Any) -> int:
    """The nearest integer, halves upwards: 1.5 is 2, -2.5 is -2."""
    if not is_number(value) or not _INT_MIN <= value <= _INT_MAX:
        raise _Invalid
    rounded: int = math.floor(value + 0.5)
    return rounded


def _string_split(value: Any, separators: Any) -> list[str]:
    """Split at every one of the characters; empty parts are dropped."""
    text, characters = _text(value), _text(separators)
    if not characters:
        return [text] if text else []
    for separator in characters[1:]:
        text = text.replace(separator, characters[0])
    return [part for part in text.split(characters[0]) if part]


def _compile_random(call: Call, text: str) -> Evaluator:
    arguments = [_compile_argument(argument, text) for argument in call.arguments]

    def evaluate(scope: Scope) -> int:
        values = [argument(scope) for argument in arguments]
        try:
            if not 2 <= len(values) <= 3:
                raise _Invalid
            start, end = _integer(values[0]), _integer(values[1])
            if start >= end:
                raise _Invalid
            if len(values) == 3:
                if not is_number(values[2]):
                    raise _Invalid
                return start + JavaRandom(int(values[2])).next_int(min(end - start, _INT_MAX))
        except _Invalid as error:
            _refuse(call, error)
        if scope.random is None:
            raise StatesError(RUNTIME, "No source of random numbers was given")
        return scope.random.randint(start, end - 1)

    return evaluate


def _compile_uuid(call: Call) -> Evaluator:
    def evaluate(scope: Scope) -> str:
        if call.arguments:
            _refuse(call, _Invalid())
        if scope.random is None:
            raise StatesError(RUNTIME, "No source of random numbers was given")
        return scope.random.uuid4()

    return evaluate


_MANY = 1 << 30

_FUNCTIONS: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "Array": (0, _MANY, lambda *items: list(items)),
    "ArrayContains": (2, 2, _array_contains),
    "ArrayGetItem": (2, 2, _array_get_item),
    "ArrayLength": (1, 1, lambda array: len(_array(array))),
    "ArrayPartition": (2, 2, _array_partition),
    "ArrayRange": (3, 3, _array_range),
    "ArrayUnique": (1, 1, _array_unique),
    "Base64Decode": (1, 1, _base64_decode),
    "Base64Encode": (1, 1, _base64_encode),
    "Hash": (2, 2, _hash),
    "JsonMerge": (3, 3, _json_merge),
    "JsonToString": (1, 1, to_json),
    "MathAdd": (2, 2, _math_add),
    "StringSplit": (2, 2, _string_split),
    "StringToJson": (1, 1, _string_to_json),
}
"""The least and the most number of arguments, and the function. Format, MathRandom and UUID need more than values."""

FUNCTIONS = frozenset(f"States.{name}" for name in (*_FUNCTIONS, "Format", "MathRandom", "UUID"))
"""The full names, `States.Format` and so on."""
