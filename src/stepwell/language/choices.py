"""Choice rules: the comparison operators, And, Or, Not, and JSONata conditions."""

from collections.abc import Callable, Mapping
from typing import Any

from stepwell.language.scope import Scope
from stepwell.language.templates import QueryLanguage

__all__ = ["OPERATORS", "Rule", "RuleError", "compile_rule"]

Rule = Callable[[Scope], bool]

OPERATORS: frozenset[str] = frozenset()
"""Every data-test operator, Path forms and Is* included, such as `StringEquals` and `StringEqualsPath`."""


class RuleError(ValueError):
    """A rule does not compile. `pointer` is relative to the rule: `/And/0/NumericEquals`."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.pointer = pointer
        self.message = message


def compile_rule(rule: Mapping[str, Any], *, query_language: QueryLanguage, field: str = "Choices[0]") -> Rule:
    """Compile one entry of `Choices` (Next, Comment, Assign and Output are ignored here).

    `field` is the entry's location in AWS's texts. Raises RuleError; the rule raises StatesError when evaluated.
    """
    raise NotImplementedError
