"""JSONata as AWS runs it: jlens, held so that an expression sees `$states` and the variables and nothing else."""

from collections.abc import Mapping
from typing import Any, Final

from stepwell.language.scope import Evaluator, RandomSource, Scope

__all__ = ["UNDEFINED", "Expression", "JsonataError", "JsonataSyntaxError", "Undefined", "compile_expression"]


class Undefined:
    """JSONata's "nothing", which is not null."""


UNDEFINED: Final = Undefined()


class JsonataSyntaxError(ValueError):
    """The expression does not compile. `code` (S0201) and `message` are JSONata's, `position` an offset."""

    def __init__(self, text: str, code: str, message: str, position: int | None) -> None:
        super().__init__(f"{code}: {message}")
        self.text = text
        self.code = code
        self.message = message
        self.position = position


class JsonataError(Exception):
    """An evaluation failed. `code` and `message` are JSONata's; `unsupported` when the result is a function."""

    def __init__(self, code: str, message: str, unsupported: bool = False) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.unsupported = unsupported


class Expression:
    """A compiled expression (the text between `{%` and `%}`)."""

    __slots__ = ("text", "variables")

    text: str
    variables: frozenset[str]

    def evaluate(self, states: Mapping[str, Any], variables: Mapping[str, Any], random: RandomSource | None) -> Any:
        """The value, or UNDEFINED. Raises JsonataError. `states` is the whole `$states`, `context` included."""
        raise NotImplementedError

    def evaluate_in(self, scope: Scope) -> Any:
        """The value in a scope, or UNDEFINED; the context object is built only if the expression mentions it."""
        raise NotImplementedError


def compile_expression(text: str) -> Expression:
    """Compile the text between `{%` and `%}`. Raises JsonataSyntaxError. Equal texts share one compiled expression."""
    raise NotImplementedError


def compile_field(text: str, field: str, expected: str | tuple[str, ...] | None = None) -> Evaluator:
    """An evaluator for a field written as `{% ... %}`, with AWS's error texts.

    `field` is the location in AWS's texts, such as `Output/total`, `TimeoutSeconds` or `Choices[0]/Condition`.
    `expected` is a JSON type the result must have: `array`, `object`, `string`, `number`, `boolean`, `integer`.
    Raises StatesError(States.QueryEvaluationError, ..., location=field) when evaluated, JsonataSyntaxError now.
    """
    raise NotImplementedError
