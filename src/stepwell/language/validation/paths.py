"""JSONPath in a definition: paths, reference paths, payload templates, and the warnings about forgotten dollars."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from stepwell.language.intrinsics import IntrinsicSyntaxError
from stepwell.language.jsonpath import PathSyntaxError, compile_path, compile_reference_path
from stepwell.language.templates import compile_path_value
from stepwell.language.validation.expressions import NOTHING, expression, jsonata_template
from stepwell.language.validation.shapes import is_object
from stepwell.language.validation.visit import Check, Path, Visit

__all__ = [
    "json_path",
    "looks_dynamic",
    "path_or_call",
    "path_or_null",
    "reading_path",
    "result_path",
    "static_result",
    "string_or_expression",
    "template",
]

_DYNAMIC = re.compile(r"\$\$?[.\[]|States\.\w+\(")
_NOT_A_PATH = "Value must be a valid JSONPath."


@lru_cache(maxsize=8192)
def _path_fault(text: str) -> str | None:
    """Why a text is not a path; None if it is one."""
    try:
        compile_path(text)
    except PathSyntaxError as error:
        return error.message
    return None


@lru_cache(maxsize=8192)
def _value_fault(text: str) -> str | None:
    """Why a text is neither a path nor a call; None if it is one of them."""
    try:
        compile_path_value(text, "")
    except (PathSyntaxError, IntrinsicSyntaxError) as error:
        return error.message
    return None


@lru_cache(maxsize=8192)
def _reference_fault(text: str) -> str | None:
    """Why a text is not a Reference Path into the document; None if it is one."""
    if not text.startswith("$"):
        return "Reference path didn't start with '$'"
    try:
        compile_reference_path(text)
    except PathSyntaxError as error:
        return error.message
    return None


@lru_cache(maxsize=8192)
def _reading_fault(text: str) -> str | None:
    """Why a text is not a path to one value, in the document, the context object or a variable."""
    if not text.startswith("$"):
        return "Reference path didn't start with '$'"
    try:
        found = compile_path(text)
    except PathSyntaxError as error:
        return error.message
    return None if found.definite else "The path must name a single value"


def json_path(visit: Visit, value: Any, path: Path) -> None:
    """A path."""
    if not isinstance(value, str):
        visit.error(path, "Expected value of type [STRING]")
    elif (fault := _path_fault(value)) is not None:
        visit.error(path, _NOT_A_PATH, hint=_explain(fault))


def path_or_null(visit: Visit, value: Any, path: Path) -> None:
    """InputPath and OutputPath."""
    if value is not None:
        json_path(visit, value, path)


def path_or_call(visit: Visit, value: Any, path: Path) -> None:
    """ErrorPath and CausePath: a path or an intrinsic function call."""
    if not isinstance(value, str):
        visit.error(path, "Expected value of type [STRING]")
    elif (fault := _value_fault(value)) is not None:
        visit.error(path, "Value must be a valid JSONPath or a valid intrinsic function call", hint=_explain(fault))


def result_path(visit: Visit, value: Any, path: Path) -> None:
    """ResultPath: null, or a Reference Path into the document."""
    if value is None:
        return
    if not isinstance(value, str):
        visit.error(path, "Expected value of type [STRING]")
    elif (fault := _reference_fault(value)) is not None:
        visit.error(path, f"Value is not a Reference Path: {fault}")


def reading_path(visit: Visit, value: Any, path: Path) -> None:
    """A Path field that is only read, such as SecondsPath: to one value, wherever it is."""
    if not isinstance(value, str):
        visit.error(path, "Expected value of type [STRING]")
    elif (fault := _reading_fault(value)) is not None:
        visit.error(path, f"Value is not a Reference Path: {fault}")


def string_or_expression(visit: Visit, value: Any, path: Path) -> None:
    """A string; in JSONata, an expression too."""
    if not isinstance(value, str):
        visit.error(path, "Expected value of type [STRING]")
    elif visit.language == "JSONata":
        expression(visit, value, path)
    elif looks_dynamic(value):
        visit.error(path, "Field value looks like a path, but field name does not end with 'Path'.", "NO_PATH")


def template(parts: frozenset[str] = NOTHING, *, object_only: bool = False) -> Check:
    """A payload template. `parts` are the fields of `$states`, beside input and context, that exist there."""

    def check(visit: Visit, value: Any, path: Path) -> None:
        if object_only and not is_object(visit, value, path):
            return
        if visit.language == "JSONata":
            jsonata_template(visit, value, path, parts)
        else:
            _jsonpath_template(visit, value, path)

    return check


def _jsonpath_template(visit: Visit, value: Any, path: Path) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            if name.endswith(".$"):
                _dynamic_field(visit, name, item, path)
                if name[:-2] in value:
                    visit.error(path, f"The field '{name[:-2]}' is given twice, with and without '.$'")
            elif isinstance(item, str):
                if looks_dynamic(item):
                    visit.error(
                        (*path, name),
                        "No .$ on a field that appears to be a JSONPath or Intrinsic Function.",
                        "NO_DOLLAR",
                    )
            else:
                _jsonpath_template(visit, item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _jsonpath_template(visit, item, (*path, index))


def _dynamic_field(visit: Visit, name: str, item: Any, path: Path) -> None:
    fault = _value_fault(item) if isinstance(item, str) else "it is not a string"
    if fault is not None:
        visit.error(
            path,
            f"The value for the field '{name}' must be a valid JSONPath or a valid intrinsic function call",
            hint=_explain(fault),
        )


def static_result(visit: Visit, value: Any, path: Path) -> None:
    """A Pass state's Result, which nothing evaluates."""
    if isinstance(value, str):
        if looks_dynamic(value):
            visit.error(path, "Attempt to use a path in the result of a pass state.", "PASS_RESULT_IS_STATIC")
    elif isinstance(value, dict):
        for name, item in value.items():
            static_result(visit, item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            static_result(visit, item, (*path, index))


def looks_dynamic(value: str) -> bool:
    """Whether a string looks like a path or an intrinsic function call."""
    return _DYNAMIC.match(value) is not None


def _explain(fault: str) -> str:
    return f"{fault[:1].upper()}{fault[1:]}." if not fault.endswith(".") else fault
