"""Typed events and results: from a function's annotations to decoding and encoding.

A function without annotations gets and gives plain JSON values, by the rules of Lambda's Python runtime. An annotated event
parameter (a dataclass, msgspec struct, TypedDict, pydantic model, or anything built of them) is decoded and checked before the
body runs; a result of such a type is encoded.

msgspec and pydantic are imported only when an annotation needs them: a worker's cold start pays for what it uses.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from decimal import Decimal
from functools import wraps
from typing import Any

from stepwell.functions.handlers import RuntimeFault

RESULT_LIMIT = 6 * 1024 * 1024 + 100
"""Bytes of a synchronous response, by Lambda's own error text: 6,291,556."""


class InvalidEvent(ValueError):
    """The event does not fit the function's annotation. The message names the place by a JSON pointer."""


class EventSyntaxError(RuntimeFault):
    """The event is not JSON."""

    def __init__(self, reason: object) -> None:
        super().__init__("Runtime.UnmarshalError", f"Unable to unmarshal input: {reason}")


class ResultError(RuntimeFault):
    """The result cannot be written as JSON."""

    def __init__(self, reason: object) -> None:
        super().__init__("Runtime.MarshalError", f"Unable to marshal response: {reason}")


Decode = Callable[[bytes], Any]
Convert = Callable[[Any], Any]
Encode = Callable[[Any], bytes]


class Codec:
    """How one function's events and results cross between JSON and Python."""

    __slots__ = ("convert", "decode", "encode", "plain")

    def __init__(self, decode: Decode, convert: Convert, encode: Encode, plain: Convert) -> None:
        self.decode = decode
        """JSON text to the function's argument. Raises EventSyntaxError, InvalidEvent."""
        self.convert = convert
        """A JSON value to the function's argument. Raises InvalidEvent."""
        self.encode = encode
        """The function's result to JSON text. Raises ResultError."""
        self.plain = plain
        """The function's result to a JSON value."""


def codec(function: Callable[..., Any], *, typed: bool = True) -> Codec:
    """The codec that a function's annotations ask for; the plain one with ``typed=False``."""
    if not typed:
        return Codec(_load, _same, _dump_strictly, _same)
    event, result = _annotations(function)
    decode, convert = _event_codec(event)
    encode, plain = _result_codec(result)
    return Codec(decode, convert, encode, plain)


def lambda_handler(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Make a typed or async function one that AWS Lambda can call: it takes and returns plain JSON values.

    A deployment by Stepwell needs no such line: its entry point `stepwell.functions.entry.handler` does this.
    """
    convert: Convert | None = None
    plain: Convert = _same

    @wraps(function)
    def handler(event: Any, context: Any) -> Any:
        nonlocal convert, plain
        if convert is None:
            made = codec(function)
            convert, plain = made.convert, made.plain
        result = function(convert(event), context)
        if hasattr(result, "__await__"):
            result = _runner().run(_await(result))
        try:
            return plain(result)
        except ResultError:
            return result  # Lambda's runtime says in its own words why it cannot be marshalled.

    return handler


async def _await(awaitable: Any) -> Any:
    return await awaitable


_loop: Any = None


def _runner() -> Any:
    """One event loop for the life of the process, so that clients made in one call serve the next."""
    global _loop
    if _loop is None:
        import asyncio

        _loop = asyncio.Runner()
    return _loop


run_awaitable: Callable[[Any], Any] = lambda awaitable: _runner().run(_await(awaitable))  # noqa: E731


# --- plain JSON, as Lambda's runtime has it


def _same(value: Any) -> Any:
    return value


def _load(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except ValueError as error:
        raise EventSyntaxError(error) from None


def _decimal(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _typed_default(value: Any) -> Any:
    """A dataclass, struct or model somewhere in the result of a function whose result is not annotated."""
    if hasattr(type(value), "__dataclass_fields__"):
        return {name: getattr(value, name) for name in type(value).__dataclass_fields__}
    if hasattr(type(value), "__struct_fields__"):
        import msgspec

        return msgspec.to_builtins(value, enc_hook=_model_hook)
    if hasattr(type(value), "model_dump"):
        return value.model_dump(mode="json")
    return _decimal(value)


def _dump(value: Any, default: Convert) -> bytes:
    if isinstance(value, bytes):
        return value  # Lambda's runtime passes bytes on as they are, whatever is in them
    try:
        return json.dumps(value, default=default, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultError(error) from None


def _dump_strictly(value: Any) -> bytes:
    return _dump(value, _decimal)


def _dump_typed(value: Any) -> bytes:
    return _dump(value, _typed_default)


# --- annotations


def _annotations(function: Callable[..., Any]) -> tuple[Any, Any]:
    """The annotations of the first parameter and of the result; Any where there is none."""
    target: Any = function
    while True:
        if hasattr(target, "__wrapped__"):
            target = target.__wrapped__
        elif hasattr(target, "func") and hasattr(target, "keywords"):  # functools.partial
            target = target.func
        else:
            break
    bound = 0
    if hasattr(target, "__func__"):
        target, bound = target.__func__, 1
    elif not hasattr(target, "__code__"):
        target, bound = vars(type(target)).get("__call__"), 1
    code = getattr(target, "__code__", None)
    hints = getattr(target, "__annotations__", None)
    if code is None or not hints:
        return Any, Any
    names = code.co_varnames[bound : code.co_argcount]
    first = hints.get(names[0], Any) if names else Any
    return _resolve(first, target), _resolve(hints.get("return", Any), target)


def _resolve(hint: Any, function: Any) -> Any:
    """A hint written as text (``from __future__ import annotations``) is looked up where the function was defined."""
    if not isinstance(hint, str):
        return hint
    try:
        return eval(hint, function.__globals__)  # noqa: S307  the function's own source text
    except Exception as error:
        raise InvalidAnnotation(
            f"the annotation {hint!r} of {function.__qualname__} cannot be resolved ({error}); "
            "import its names at the top of the module, outside TYPE_CHECKING"
        ) from None


class InvalidAnnotation(Exception):
    """An annotation that cannot be looked up, or a type that events cannot be decoded to."""


def _origin(hint: Any) -> Any:
    return types.UnionType if isinstance(hint, types.UnionType) else getattr(hint, "__origin__", hint)


def _is_plain(hint: Any) -> bool:
    if hint is Any or hint is None or hint is type(None) or hint is object:
        return True
    arguments = getattr(hint, "__args__", ())
    return _origin(hint) in (dict, list) and all(argument in (Any, str) for argument in arguments) and _free(hint)


def _free(hint: Any) -> bool:
    """``dict``, ``dict[str, Any]``, ``list``, ``list[Any]``: nothing to check inside."""
    arguments = getattr(hint, "__args__", ())
    return not arguments or arguments[-1] is Any


def _is_model(hint: Any) -> bool:
    return isinstance(hint, type) and hasattr(hint, "model_validate_json")


_NAMES = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "number",
    float: "number",
    type(None): "null",
}


def _event_codec(hint: Any) -> tuple[Decode, Convert]:
    if _is_plain(hint):
        kind = _origin(hint)
        if kind not in (dict, list):
            return _load, _same

        def check(value: Any) -> Any:
            if not isinstance(value, kind):
                expected, got = _NAMES[kind], _NAMES.get(type(value), type(value).__name__)
                raise InvalidEvent(f'the event does not fit: at "" (the whole event): expected {expected}, got {got}')
            return value

        return (lambda payload: check(_load(payload))), check
    if _is_model(hint):
        return _model_codec(hint)
    return _msgspec_codec(hint)


def _msgspec_codec(hint: Any) -> tuple[Decode, Convert]:
    import msgspec

    try:
        decoder = msgspec.json.Decoder(hint, dec_hook=_decode_hook)
    except TypeError as error:
        raise InvalidAnnotation(f"events cannot be decoded to {hint!r}: {error}") from None

    def decode(payload: bytes) -> Any:
        try:
            return decoder.decode(payload)
        except msgspec.ValidationError as error:
            raise InvalidEvent(_at_pointer(str(error))) from None
        except msgspec.DecodeError as error:
            raise EventSyntaxError(error) from None

    def convert(value: Any) -> Any:
        try:
            return msgspec.convert(value, hint, dec_hook=_decode_hook)
        except msgspec.ValidationError as error:
            raise InvalidEvent(_at_pointer(str(error))) from None

    return decode, convert


def _decode_hook(kind: type, value: Any) -> Any:
    """Pydantic models inside msgspec types."""
    if _is_model(kind):
        return kind.model_validate(value)  # type: ignore[attr-defined]
    raise InvalidAnnotation(f"events cannot be decoded to {kind!r}")


def _model_codec(model: Any) -> tuple[Decode, Convert]:
    def explain(error: Any) -> InvalidEvent:
        parts = [
            f'at "{_pointer(entry["loc"])}": {entry["msg"][:1].lower()}{entry["msg"][1:]}'
            for entry in error.errors(include_url=False, include_input=False)
        ]
        return InvalidEvent("the event does not fit: " + "; ".join(parts))

    def decode(payload: bytes) -> Any:
        # Loaded first: a syntax error is not a validation error.
        return convert(_load(payload))

    def convert(value: Any) -> Any:
        validation_error = sys.modules["pydantic"].ValidationError
        try:
            # As JSON, so that the strictness of pydantic's JSON mode applies (text for dates, lists for tuples).
            return model.model_validate_json(json.dumps(value))
        except validation_error as error:
            raise explain(error) from None

    return decode, convert


def _pointer(parts: Any) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _at_pointer(message: str) -> str:
    """Turn msgspec's ``Expected `int`, got `str` - at `$.items[0].page``` into a text with a JSON pointer."""
    text, _, path = message.partition(" - at `")
    path = path.rstrip("`")
    parts: list[str] = []
    for piece in path.removeprefix("$").replace("[", ".[").split("."):
        if piece.startswith("["):
            # `[...]` stands for a value of a dictionary whose key msgspec does not tell.
            inner = piece[1:-1]
            parts.append("*" if inner == "..." else inner)
        elif piece:
            parts.append(piece)
    place = f'"{_pointer(parts)}"' if parts else '"" (the whole event)'
    text = text[:1].lower() + text[1:]
    return f"the event does not fit: at {place}: {text}"


def _is_json(hint: Any) -> bool:
    """Whether a type is made of what JSON knows, all the way down."""
    if hint is Any or hint is None or hint in (str, int, float, bool, type(None), object, dict, list, tuple):
        return True
    arguments = getattr(hint, "__args__", ())
    return _origin(hint) in (dict, list, tuple, types.UnionType) and all(
        argument is Ellipsis or _is_json(argument) for argument in arguments
    )


def _result_codec(hint: Any) -> tuple[Encode, Convert]:
    if _is_json(hint) or _is_model(hint):
        return _dump_typed, _plain_value
    import msgspec

    encoder = msgspec.json.Encoder(enc_hook=_model_hook, decimal_format="number")

    def encode(value: Any) -> bytes:
        try:
            _complete(value)
            return encoder.encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ResultError(error) from None

    def plain(value: Any) -> Any:
        return json.loads(encode(value))

    return encode, plain


def _complete(value: Any) -> None:
    """Put defaults into decoded dataclasses: msgspec leaves them to the class, and then does not encode them."""
    if isinstance(value, list | tuple | set | frozenset):
        for item in value:
            _complete(item)
    elif isinstance(value, dict):
        for item in value.values():
            _complete(item)
    elif hasattr(type(value), "__dataclass_fields__"):
        members = getattr(value, "__dict__", None)
        for name in type(value).__dataclass_fields__:
            item = getattr(value, name, None)
            if members is not None:
                members.setdefault(name, item)
            _complete(item)
    elif hasattr(type(value), "__struct_fields__"):
        for name in type(value).__struct_fields__:
            _complete(getattr(value, name))


def _plain_value(value: Any) -> Any:
    return json.loads(_dump_typed(value))


def _model_hook(value: Any) -> Any:
    if hasattr(type(value), "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
