"""The Amazon States Language: text in, model and diagnostics out. Pure.

From a file to a machine:

    source = load("machine.asl.json")           # or parse(text); DefinitionError when it is not JSON or YAML
    diagnostics = validate(source)              # AWS's findings, with line and column
    machine = compile_machine(source.value)     # what the interpreter runs; only for a definition without errors
"""

from stepwell.language.compiler import CompileError, compile_machine
from stepwell.language.diagnostics import (
    DefinitionError,
    Diagnostic,
    errors_of,
    invalid_definition_message,
    render,
)
from stepwell.language.source import Source, load, parse
from stepwell.language.validation import validate, validate_state

__all__ = [
    "CompileError",
    "DefinitionError",
    "Diagnostic",
    "Source",
    "compile_machine",
    "errors_of",
    "invalid_definition_message",
    "load",
    "parse",
    "render",
    "validate",
    "validate_state",
]
