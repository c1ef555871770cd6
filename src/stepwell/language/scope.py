"""What an expression of a definition may look at while it is evaluated.

One `Scope` is made per state visit (or per phase of one) by the interpreter. Everything the language compiles,
a path, an intrinsic function, a template, a choice rule or a JSONata expression, is an `Evaluator`: a callable
that takes a scope and returns a JSON value. Evaluators never change what they read, and may return parts of it:
JSON values are treated as immutable everywhere.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

__all__ = ["EMPTY", "Evaluator", "RandomSource", "Scope"]


class RandomSource(Protocol):
    """Randomness that replays: seeded by the host's event, never by the process."""

    def random(self) -> float:
        """A float in [0, 1)."""

    def randint(self, a: int, b: int) -> int:
        """An integer in [a, b], both ends included."""

    def uuid4(self) -> str:
        """A version 4 UUID in its canonical lower-case text form."""


EMPTY: Mapping[str, Any] = {}


class Scope:
    """The values an expression can name.

    `document` is what `$` means in a JSONPath. `context` is what `$$` means and what `$states.context` holds; give
    `context_factory` to build it only when something asks for it. `variables` are the workflow variables visible in
    the state, outer scopes included. `states` is JSONata's `$states` *without* its `context`, which is taken from
    `context` when an expression mentions it: `input`, and `result` or `errorOutput` where the field has them.
    `now` is the time of the event being handled, in milliseconds since 1970, for JSONata's $now() and $millis().
    Several scopes of one state may share the same parts; making one costs an object.
    """

    __slots__ = ("_context", "_context_factory", "document", "now", "random", "states", "variables")

    def __init__(
        self,
        document: Any = None,
        *,
        context: Any = None,
        context_factory: Callable[[], Any] | None = None,
        variables: Mapping[str, Any] = EMPTY,
        random: RandomSource | None = None,
        states: Mapping[str, Any] = EMPTY,
        now: int | None = None,
    ) -> None:
        self.document = document
        self.variables = variables
        self.random = random
        self.states = states
        self.now = now
        self._context = context
        self._context_factory = context_factory

    @property
    def context(self) -> Any:
        """The context object, built on first use."""
        if self._context_factory is not None:
            self._context = self._context_factory()
            self._context_factory = None
        return self._context

    def with_document(self, document: Any) -> "Scope":
        """The same scope, where `$` means `document`."""
        other = Scope.__new__(Scope)
        other.document = document
        other.variables = self.variables
        other.random = self.random
        other.states = self.states
        other.now = self.now
        other._context = self._context
        other._context_factory = self._context_factory
        return other


Evaluator = Callable[[Scope], Any]
