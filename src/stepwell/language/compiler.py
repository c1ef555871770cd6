"""From a validated definition to a model: everything that can be parsed is parsed here, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stepwell.language.model import Machine

__all__ = ["CompileError", "compile_machine"]


class CompileError(ValueError):
    """The definition does not compile. `pointer` is the JSON pointer of the fault."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(f"{message} at {pointer or '/'}")
        self.pointer = pointer
        self.message = message


def compile_machine(definition: Mapping[str, Any], *, substitutions: Mapping[str, str] | None = None) -> Machine:
    """Compile a definition that passed validation; `${name}` in its strings is replaced from `substitutions`.

    Raises CompileError.
    """
    raise NotImplementedError
