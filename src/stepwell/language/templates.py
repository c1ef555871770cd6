"""Payload templates: Parameters, ResultSelector, ItemSelector, Assign, Arguments, Output and the like.

A template is compiled once into a closure that copies only what has something dynamic in it; the rest is shared, and
a template with nothing dynamic is its own value.
"""

from collections.abc import Callable
from typing import Any, Literal

from stepwell.language.errors import RUNTIME, StatesError
from stepwell.language.intrinsics import IntrinsicSyntaxError, compile_intrinsic
from stepwell.language.jsonata import JsonataSyntaxError, compile_field
from stepwell.language.jsonpath import NULL_DOCUMENT, PathNotFound, PathSyntaxError, compile_path
from stepwell.language.scope import Evaluator, Scope
from stepwell.language.values import to_json

__all__ = ["QueryLanguage", "TemplateError", "compile_path_value", "compile_template", "is_expression"]

QueryLanguage = Literal["JSONPath", "JSONata"]


class TemplateError(ValueError):
    """A value of the template does not compile. `pointer` is relative to the template: `/items/0/name.$`."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.pointer = pointer
        self.message = message


def is_expression(value: Any) -> bool:
    """True for a string written as `{% ... %}`."""
    return type(value) is str and value.startswith("{%") and value.endswith("%}") and len(value) >= 4


def compile_path_value(text: str, key: str) -> Evaluator:
    """What stands after a key ending in `.$` (and in ErrorPath and CausePath): a path, or an intrinsic function call.

    `key` is the key as written, for AWS's text when the path is not found (States.Runtime).
    Raises PathSyntaxError or IntrinsicSyntaxError.
    """
    if not text.startswith("$"):
        return compile_intrinsic(text)
    path = compile_path(text)
    read = path.read
    in_context = path.root == "$$"
    shown = text[1:] if in_context else text

    def evaluate(scope: Scope) -> Any:
        try:
            return read(scope)
        except PathNotFound:
            searched = to_json(scope.context if in_context else scope.document)
            cause = (
                f"The JSONPath '{shown}' specified for the field '{key}' could not be found in the input '{searched}'"
            )
            raise StatesError(RUNTIME, cause) from None

    def evaluate_document(scope: Scope) -> Any:
        if scope.document is None:
            raise StatesError(RUNTIME, NULL_DOCUMENT)
        return scope.document

    return evaluate_document if text == "$" else evaluate


def compile_template(value: Any, *, query_language: QueryLanguage, field: str) -> Evaluator:
    """Compile a template; `field` is the state's field, such as `Parameters` or `Output` (AWS names it in faults).

    JSONPath mode: keys ending in `.$`. JSONata mode: strings `{% ... %}` at any depth. Raises TemplateError, whose
    `__cause__` is the PathSyntaxError, IntrinsicSyntaxError or JsonataSyntaxError where there is one.
    """
    compiler = _compile_jsonata if query_language == "JSONata" else _compile_jsonpath
    return compiler(value, field, "") or _constant(value)


def _constant(value: Any) -> Evaluator:
    return lambda scope: value


def _compile_jsonpath(value: Any, field: str, pointer: str) -> Evaluator | None:
    """The evaluator, or None where nothing is dynamic."""
    if type(value) is list:
        return _compile_array(value, field, pointer, _compile_jsonpath)
    if type(value) is not dict:
        return None
    fixed: dict[str, Any] = {}
    dynamic: list[tuple[str, Evaluator]] = []
    for key, item in value.items():
        at = f"{pointer}/{_escape(key)}"
        evaluator: Evaluator | None
        if key.endswith(".$"):
            evaluator = _compile_value(key, item, at)
            key = key[:-2]
            if key in fixed:
                raise TemplateError(at, f"The field {key!r} is given twice, with and without '.$'")
        else:
            evaluator = _compile_jsonpath(item, field, at)
            if key in fixed:
                raise TemplateError(at, f"The field {key!r} is given twice, with and without '.$'")
        fixed[key] = item
        if evaluator is not None:
            dynamic.append((key, evaluator))
    return _object(fixed, dynamic) if dynamic else None


def _compile_value(key: str, text: Any, pointer: str) -> Evaluator:
    if type(text) is not str:
        raise TemplateError(pointer, f"The value of {key!r} must be a string: a path or an intrinsic function call")
    try:
        return compile_path_value(text, key)
    except (PathSyntaxError, IntrinsicSyntaxError) as error:
        raise TemplateError(pointer, str(error)) from error


def _compile_jsonata(value: Any, field: str, pointer: str) -> Evaluator | None:
    if is_expression(value):
        try:
            return compile_field(value, field)
        except JsonataSyntaxError as error:
            raise TemplateError(pointer, str(error)) from error
    if type(value) is list:
        return _compile_array(value, field, pointer, _compile_jsonata)
    if type(value) is not dict:
        return None
    dynamic = [
        (key, evaluator)
        for key, item in value.items()
        if (evaluator := _compile_jsonata(item, f"{field}/{key}", f"{pointer}/{_escape(key)}")) is not None
    ]
    return _object(value, dynamic) if dynamic else None


def _compile_array(
    items: list[Any], field: str, pointer: str, compiler: Callable[[Any, str, str], Evaluator | None]
) -> Evaluator | None:
    compiled = [compiler(item, f"{field}[{place}]", f"{pointer}/{place}") for place, item in enumerate(items)]
    dynamic = [(place, evaluator) for place, evaluator in enumerate(compiled) if evaluator is not None]
    if not dynamic:
        return None

    def evaluate(scope: Scope) -> list[Any]:
        result = items.copy()
        for place, evaluator in dynamic:
            result[place] = evaluator(scope)
        return result

    return evaluate


def _object(fixed: dict[str, Any], dynamic: list[tuple[str, Evaluator]]) -> Evaluator:
    def evaluate(scope: Scope) -> dict[str, Any]:
        result = fixed.copy()
        for key, evaluator in dynamic:
            result[key] = evaluator(scope)
        return result

    return evaluate


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
