"""A JSON value together with its text, so that neither is made twice.

Payloads are immutable and shared: a state that passes its input on shares one payload between the frame, its
successor and the history.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import orjson

__all__ = ["LIMIT", "Payload", "join", "parse", "render", "text_of"]

LIMIT = 262_144
"""Bytes of UTF-8 that the input or the result of a state, task or execution may have (a quota of AWS)."""


def parse(data: bytes | str) -> Any:
    """The value of a JSON text. Raises ValueError. Big integers and lone surrogates, which orjson refuses, are read too."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data, parse_constant=_refuse)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def render(value: Any) -> str:
    """The compact JSON text of a value. RecursionError when it is nested too deeply to be written."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return json.dumps(value, separators=(",", ":"))


class Payload:
    """`value`, with its JSON `text` made on first use."""

    __slots__ = ("_compact", "_text", "value")

    def __init__(self, value: Any, text: str | None = None) -> None:
        self.value = value
        self._text = text
        self._compact = False
        """Whether the text is what orjson makes of the value: then a part of it is what orjson makes of the part."""

    @classmethod
    def of_text(cls, data: bytes | str) -> Payload:
        """The payload of a JSON text. Raises ValueError when it is not JSON."""
        return cls(parse(data), data if isinstance(data, str) else data.decode())

    def with_member(self, name: str, member: Payload) -> Payload:
        """This object with a member it does not have yet; only the member's text is made anew, where that gives the same text."""
        extended = Payload({**self.value, name: member.value})
        text = self._text or self.text
        last = member._text or member.text
        if self._compact and member._compact and name.isascii():
            extended._text = f"{text[:-1]}{_member(name) if len(text) > 2 else _member(name)[1:]}{last}}}"
            extended._compact = True
        return extended

    @property
    def text(self) -> str:
        """The JSON text: as it came, or compact."""
        text = self._text
        if text is None:
            try:
                text = orjson.dumps(self.value).decode()
                self._compact = True
            except TypeError:
                text = render(self.value)
            self._text = text
        return text

    @property
    def size(self) -> int:
        """Bytes of the text in UTF-8."""
        text = self.text
        return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

    def encode(self) -> bytes:
        """The text as bytes, as it crosses the border to a host."""
        return self.text.encode("utf-8", "surrogatepass")


def join(payloads: list[Payload]) -> Payload:
    """The array of some payloads."""
    return Payload([payload.value for payload in payloads], f"[{','.join([payload.text for payload in payloads])}]")


@lru_cache(4096)
def _member(name: str) -> str:
    """What stands before a further member's value."""
    return f",{orjson.dumps(name).decode()}:"


def text_of(value: Any) -> str:
    """A value as AWS's texts show it: a string bare, anything else as JSON."""
    return value if isinstance(value, str) else render(value)
