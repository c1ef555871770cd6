"""Workflow variables: what Assign does to a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepwell.interpreter.failures import data_limit
from stepwell.interpreter.payload import Payload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stepwell.interpreter.execution import Execution
    from stepwell.interpreter.frames import Frame

__all__ = ["EXECUTION_LIMIT", "LIMIT", "assign"]

LIMIT = 262_144
"""Bytes of one variable, and of the variables of one Assign (a quota of AWS)."""

EXECUTION_LIMIT = 10_485_760
"""Bytes of all variables of an execution (a quota of AWS)."""


def assign(x: Execution, frame: Frame, values: Mapping[str, Any]) -> dict[str, str]:
    """Set variables of a thread; gives the texts that AWS records.

    The thread gets its own view of the variables; its parent's stays as it is. Raises StatesError over a limit.
    """
    own = frame.own
    fresh: dict[str, Payload] = {}
    assigned = 0
    total = x.variables_size
    for name, value in values.items():
        payload = fresh[name] = Payload(value)
        before = own.get(name)
        assigned += payload.size
        total += payload.size - (0 if before is None else before.size)
    if assigned > LIMIT or total > EXECUTION_LIMIT:
        raise data_limit(frame.state.name)
    own.update(fresh)
    x.variables_size = total
    frame.variables = {**frame.variables, **values}
    return {name: payload.text for name, payload in fresh.items()}
