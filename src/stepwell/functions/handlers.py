"""Finding a function's code, and telling what it raised, in Lambda's words."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any


class RuntimeFault(Exception):
    """A failure around the function, not of it. `error_type` and the message are those of Lambda's Python runtime."""

    def __init__(self, error_type: str, message: str, trace: list[str] | None = None) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.trace = trace or []


def split_handler(handler: str) -> tuple[str, str]:
    """``"package.module:function"``, ``"package/module.function"`` or ``"module.function"`` -> module and function names."""
    module, colon, name = handler.partition(":")
    if not colon:
        module, _, name = handler.rpartition(".")
    module = module.replace("/", ".")
    if not module or not name:
        raise RuntimeFault(
            "Runtime.MalformedHandlerName",
            f"Bad handler '{handler}': not enough values to unpack (expected 2, got 1)",
        )
    return module, name


def load_handler(handler: str) -> Callable[[Any, Any], Any]:
    """Import a handler. Raises RuntimeFault; whatever else the module raises while it is imported passes through."""
    module_name, name = split_handler(handler)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise RuntimeFault("Runtime.ImportModuleError", f"Unable to import module '{module_name}': {error}") from error
    except SyntaxError as error:
        trace = [f'  File "{error.filename}" Line {error.lineno}\n    {(error.text or "").rstrip()}']
        raise RuntimeFault(
            "Runtime.UserCodeSyntaxError", f"Syntax error in module '{module_name}': {error}", trace
        ) from error
    target: Any = module
    for part in name.split("."):
        target = getattr(target, part, None)
        if target is None:
            raise RuntimeFault("Runtime.HandlerNotFound", f"Handler '{name}' missing on module '{module_name}'")
    if not callable(target):
        raise RuntimeFault("Runtime.HandlerNotFound", f"Handler '{name}' on module '{module_name}' is not a function")
    result: Callable[[Any, Any], Any] = target
    return result


def stack_trace(trace: TracebackType | None, skip: frozenset[str], code: str | None, root: str | None) -> list[str]:
    """Lambda's stackTrace: one text a frame, the runtime's own frames (files in `skip`) left out from the top.

    File names below `code` are shown below `root` when both are given.
    """
    frames = [(entry.filename, entry.lineno or 0, entry.name, entry.line) for entry in traceback.extract_tb(trace)]
    start = 0
    while start < len(frames) and (frames[start][0] in skip or frames[start][0].startswith("<frozen importlib")):
        start += 1
    # An async function runs below asyncio's own frames.
    if start < len(frames) and "/asyncio/" in frames[start][0]:
        inner = [index for index, entry in enumerate(frames) if "/asyncio/" not in entry[0] and entry[0] not in skip]
        start = inner[0] if inner else start
    shown = frames[start:]
    if code and root:
        prefix = code.rstrip("/") + "/"
        shown = [
            (f"{root}/{name[len(prefix) :]}" if name.startswith(prefix) else name, line, where, text)
            for name, line, where, text in shown
        ]
    return traceback.format_list(shown)


def describe(error: BaseException, skip: frozenset[str], code: str | None, root: str | None) -> dict[str, Any]:
    """An exception as ``{"errorType", "errorMessage", "stackTrace"}``."""
    if isinstance(error, RuntimeFault):
        return {"errorType": error.error_type, "errorMessage": str(error), "stackTrace": error.trace}
    try:
        message = str(error)
    except Exception:
        message = ""
    return {
        "errorType": type(error).__name__,
        "errorMessage": message,
        "stackTrace": stack_trace(error.__traceback__, skip, code, root),
    }


def put_on_path(folders: list[str]) -> None:
    """Put folders first on ``sys.path``, in order, each once."""
    for folder in reversed(folders):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)
