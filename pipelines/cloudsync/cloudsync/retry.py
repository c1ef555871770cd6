"""Trying again inside one process, for what is over in seconds. Longer waits belong to the state machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import stamina

Result = TypeVar("Result")


def retry(
    function: Callable[[], Result],
    *,
    on: type[Exception] | tuple[type[Exception], ...],
    max_attempts: int = 3,
    initial: float = 2.0,
    rate: float = 2.0,
    max_delay: float = 60.0,
) -> Result:
    """Call `function` until it returns: at most `max_attempts` calls in all, waits of `initial` seconds growing by `rate`.

    Raises the last error.
    """
    for attempt in stamina.retry_context(
        on=on,
        attempts=max_attempts,
        timeout=None,
        wait_initial=initial,
        wait_max=max_delay,
        wait_jitter=0.0,
        wait_exp_base=rate,
    ):
        with attempt:
            return function()
    raise AssertionError("unreachable")
