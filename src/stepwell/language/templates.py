"""Payload templates: Parameters, ResultSelector, ItemSelector, Assign, Arguments, Output and the like."""

from typing import Any, Literal

from stepwell.language.scope import Evaluator

__all__ = ["QueryLanguage", "compile_path_value", "compile_template", "is_expression"]

QueryLanguage = Literal["JSONPath", "JSONata"]


def is_expression(value: Any) -> bool:
    """True for a string written as `{% ... %}`."""
    raise NotImplementedError


def compile_path_value(text: str, key: str) -> Evaluator:
    """What stands after a key ending in `.$` (and in ErrorPath and CausePath): a path, or an intrinsic function call.

    `key` is the key as written, for AWS's text when the path is not found (States.ParameterPathFailure).
    Raises PathSyntaxError or IntrinsicSyntaxError.
    """
    raise NotImplementedError


def compile_template(value: Any, *, query_language: QueryLanguage, field: str) -> Evaluator:
    """Compile a template; `field` is the state's field, such as `Parameters` or `Output` (AWS names it in faults).

    JSONPath mode: keys ending in `.$`. JSONata mode: strings `{% ... %}` at any depth. A template with nothing
    dynamic gives the same object each time. Raises TemplateError with the JSON pointer of the fault within the
    template, whose `__cause__` is a PathSyntaxError, IntrinsicSyntaxError or JsonataSyntaxError.
    """
    raise NotImplementedError


class TemplateError(ValueError):
    """A value of the template does not compile. `pointer` is relative to the template: `/items/0/name.$`."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.pointer = pointer
        self.message = message
