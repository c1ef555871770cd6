"""Running a project's Python functions.

A function is a plain callable ``f(event, context)``. What function code itself imports from here is `Context`, `InvalidEvent`
and `lambda_handler`; hosts import `FunctionPool`, `FunctionSpec`, `Call`, `InvokeResult`, `FunctionError`, `LogStore`.

Names are loaded on first use, so that a worker process imports no more than it needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.lazy import names_of

if TYPE_CHECKING:
    from stepwell.functions.context import Context as Context
    from stepwell.functions.logs import LogRecord as LogRecord
    from stepwell.functions.logs import LogStore as LogStore
    from stepwell.functions.pool import FunctionPool as FunctionPool
    from stepwell.functions.spec import Call as Call
    from stepwell.functions.spec import FunctionError as FunctionError
    from stepwell.functions.spec import FunctionSpec as FunctionSpec
    from stepwell.functions.spec import InvokeResult as InvokeResult
    from stepwell.functions.spec import PoolClosed as PoolClosed
    from stepwell.functions.spec import TooManyRequests as TooManyRequests
    from stepwell.functions.spec import UnknownFunction as UnknownFunction
    from stepwell.functions.typed import InvalidEvent as InvalidEvent
    from stepwell.functions.typed import lambda_handler as lambda_handler

_HOMES = {
    "Call": "spec",
    "Context": "context",
    "FunctionError": "spec",
    "FunctionPool": "pool",
    "FunctionSpec": "spec",
    "InvalidEvent": "typed",
    "InvokeResult": "spec",
    "LogRecord": "logs",
    "LogStore": "logs",
    "PoolClosed": "spec",
    "TooManyRequests": "spec",
    "UnknownFunction": "spec",
    "lambda_handler": "typed",
}

__all__ = [  # noqa: RUF022
    "Context",
    "InvalidEvent",
    "lambda_handler",
    "Call",
    "FunctionError",
    "FunctionPool",
    "FunctionSpec",
    "InvokeResult",
    "LogRecord",
    "LogStore",
    "PoolClosed",
    "TooManyRequests",
    "UnknownFunction",
]


__getattr__ = names_of(__name__, _HOMES)
