"""The functions Step Functions adds to JSONata: $partition, $range, $hash and $parse, and a seed for $random.

Results, refusals and their texts are AWS's as observed: arguments are cut towards zero, several odd arguments give
nothing rather than an error, and a range of one element is that element.
https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html
"""

import hashlib
import math
from collections.abc import Callable
from typing import Any

import orjson

from stepwell.language.javarandom import JavaRandom
from stepwell.language.scope import RandomSource
from stepwell.language.values import is_number

__all__ = ["HASHES", "MEMORY_LIMIT", "PARSE_WRAPPER", "PURE", "JsonataError", "random_functions"]

MEMORY_LIMIT = "Expression evaluation memory limit exceeded: Check for excessive memory usage"
RANGE_LIMIT = 360_145
"""AWS returns a `$range` of this many elements and refuses one more."""

HASHES = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512"}


class JsonataError(Exception):
    """An evaluation failed. `code` is JSONata's, such as T1006, or None for AWS's limits; `message` says why.

    `unsupported` is True when the result is a function, which AWS reports apart.
    """

    def __init__(self, code: str | None, message: str, unsupported: bool = False) -> None:
        super().__init__(f"{code}: {message}" if code else message)
        self.code = code
        self.message = message
        self.unsupported = unsupported


def _mismatch(function: str, argument: int) -> JsonataError:
    return JsonataError("T0410", f'Argument {argument} of function "{function}" does not match function signature')


def _arguments(function: str, given: tuple[Any, ...], count: int) -> list[Any]:
    """The arguments, padded with None, which is also how nothing arrives. One too many is refused."""
    if len(given) > count and given[count] is not None:
        raise _mismatch(function, count + 1)
    return [*given[:count], *[None] * (count - len(given))]


def _towards_zero(value: Any, function: str, argument: int) -> int:
    if not is_number(value):
        raise _mismatch(function, argument)
    whole: int = math.trunc(value)
    return whole


def _partition(*given: Any) -> Any:
    array, size = _arguments("partition", given, 2)
    if array is None:
        return None
    if type(array) is not list:
        raise JsonataError("T0412", 'Argument 1 of function "partition" must be an array of undefined')
    if not array:
        return None
    if size is None:
        return [array]
    step = _towards_zero(size, "partition", 2)
    if step < 0:
        raise JsonataError("D3137", "Second argument must be zero or greater")
    if step == 0:
        return None
    return [array[start : start + step] for start in range(0, len(array), step)]


def _range(*given: Any) -> Any:
    first, last, step = _arguments("range", given, 3)
    start = _towards_zero(first, "range", 1)
    end = _towards_zero(last, "range", 2)
    if step is None:
        return None
    by = _towards_zero(step, "range", 3)
    if by == 0 or (by > 0 and start > end) or (by < 0 and start < end):
        return None
    elements = range(start, end + (1 if by > 0 else -1), by)
    if len(elements) > RANGE_LIMIT:
        raise JsonataError(None, MEMORY_LIMIT)
    return start if len(elements) == 1 else list(elements)


def _hash(*given: Any) -> Any:
    text, algorithm = _arguments("hash", given, 2)
    if type(text) is not str:
        raise _mismatch("hash", 1)
    if algorithm is None:
        return None
    if type(algorithm) is not str:
        raise _mismatch("hash", 2)
    if algorithm not in HASHES:
        raise JsonataError(
            "D3137", f"Hash algorithm '{algorithm}' must be one of SHA-1, SHA-384, SHA-256, SHA-512, MD5"
        )
    return hashlib.new(HASHES[algorithm], text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


def _parse(*given: Any) -> Any:
    """The value in a box, because a bare null would arrive in the expression as nothing."""
    (text,) = _arguments("parse", given, 1)
    if text is None:
        return None
    if type(text) is not str:
        raise _mismatch("parse", 1)
    try:
        return {"value": orjson.loads(text)}
    except orjson.JSONDecodeError:
        raise JsonataError("D3137", "Invalid JSON") from None


PURE: dict[str, Callable[..., Any]] = {"partition": _partition, "range": _range, "hash": _hash, "parseJson": _parse}
"""The functions that need no random numbers. `$parse` is PARSE_WRAPPER over `$parseJson`."""

PARSE_WRAPPER = "$parse := function($text) { $parseJson($text).value };"


def random_functions(source: RandomSource | None) -> dict[str, Callable[..., Any]]:
    """`$random` and `$uuid`, drawing from `source`. A seeded `$random` needs none."""

    def need() -> RandomSource:
        if source is None:
            raise JsonataError(None, "No source of random numbers was given")
        return source

    def random(*given: Any) -> float:
        (seed,) = _arguments("random", given, 1)
        return need().random() if seed is None else JavaRandom(_towards_zero(seed, "random", 1)).next_double()

    def uuid(*given: Any) -> str:
        _arguments("uuid", given, 0)
        return need().uuid4()

    return {"random": random, "uuid": uuid}
