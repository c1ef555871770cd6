"""Typed events and results: from annotations to decoding and encoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class InvalidEvent(ValueError):
    """The event does not fit the function's annotation. The message names the place by a JSON pointer."""


def lambda_handler(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Make a typed or async function one that AWS Lambda can call: takes and returns plain JSON values.

    A deployment by Stepwell needs no such line (its entry point `stepwell.functions.entry.handler` does it).
    """
    raise NotImplementedError
