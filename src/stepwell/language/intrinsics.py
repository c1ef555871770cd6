"""The intrinsic functions of JSONPath mode, such as `States.Format('{}', $.name)`."""

from stepwell.language.scope import Evaluator

__all__ = ["FUNCTIONS", "IntrinsicSyntaxError", "compile_intrinsic"]

FUNCTIONS: frozenset[str] = frozenset()
"""The full names, `States.Format` and so on."""


class IntrinsicSyntaxError(ValueError):
    """The text is not a call of intrinsic functions. Shape as PathSyntaxError."""

    def __init__(self, text: str, position: int, message: str) -> None:
        super().__init__(f"{message} (at character {position + 1} of {text!r})")
        self.text = text
        self.position = position
        self.message = message


def compile_intrinsic(text: str) -> Evaluator:
    """Compile a call. Raises IntrinsicSyntaxError; the evaluator raises StatesError(States.IntrinsicFailure, ...)."""
    raise NotImplementedError
