"""Pages of listings: a token says after which item the next page begins."""

from __future__ import annotations

import base64
import binascii
import itertools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from stepwell.engine.errors import InvalidToken, ValidationException

__all__ = ["PAGE_LIMIT", "decode_token", "encode_token", "limit_of", "page"]

PAGE_LIMIT = 1000
DEFAULT_PAGE = 100

T = TypeVar("T")


def limit_of(max_results: int) -> int:
    """The page size of a request: 0 means 100, at most 1,000. Raises ValidationException with AWS's text."""
    if max_results > PAGE_LIMIT:
        raise ValidationException(
            f"1 validation error detected: Value '{max_results}' at 'maxResults' failed to satisfy constraint: "
            f"Member must have value less than or equal to {PAGE_LIMIT}"
        )
    if max_results < 0:
        raise ValidationException(
            f"1 validation error detected: Value '{max_results}' at 'maxResults' failed to satisfy constraint: "
            "Member must have value greater than or equal to 0"
        )
    return max_results or DEFAULT_PAGE


def encode_token(kind: str, position: Any) -> str:
    """A token for the page after `position`."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode([kind, position])).decode()


def decode_token(kind: str, token: str) -> Any:
    """The position in a token of this kind of listing. Raises InvalidToken."""
    try:
        data = msgspec.msgpack.decode(base64.b64decode(token, altchars=b"-_", validate=True))
    except (binascii.Error, msgspec.DecodeError, ValueError):
        raise InvalidToken from None
    if not isinstance(data, list) or len(data) != 2 or data[0] != kind:
        raise InvalidToken
    return data[1]


def page(
    items: Iterable[T], key: Callable[[T], str], max_results: int, next_token: str | None
) -> tuple[list[T], str | None]:
    """A page of a listing that fits in memory; `key` names an item in the token."""
    limit = limit_of(max_results)
    rest: Iterable[T] = items
    if next_token is not None:
        last = decode_token("after", next_token)
        rest = itertools.islice(itertools.dropwhile(lambda item: key(item) != last, items), 1, None)
    taken = list(itertools.islice(rest, limit + 1))
    if len(taken) <= limit:
        return taken, None
    return taken[:limit], encode_token("after", key(taken[limit - 1]))
