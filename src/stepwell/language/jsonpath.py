"""JSONPath as AWS runs it (Jayway's dialect), compiled once into closures; and Reference Paths, which can be written to."""

from typing import Any

from stepwell.language.errors import StatesError
from stepwell.language.scope import Evaluator, Scope

__all__ = ["Path", "PathNotFound", "PathSyntaxError", "ReferencePath", "compile_path", "compile_reference_path"]


class PathSyntaxError(ValueError):
    """The text is not a path. `text` is the path, `position` the offset of the fault, the message says what is wrong."""

    def __init__(self, text: str, position: int, message: str) -> None:
        super().__init__(f"{message} (at character {position + 1} of {text!r})")
        self.text = text
        self.position = position
        self.message = message


class PathNotFound(StatesError):
    """A definite path points at nothing. As it stands it is AWS's States.Runtime of InputPath and OutputPath.

    `path` is the path's text, `detail` Jayway's words, such as `Missing property in path $['no']`.
    """

    def __init__(self, path: str, detail: str) -> None:
        super().__init__("States.Runtime", f"Invalid path '{path}' : {detail}")
        self.path = path
        self.detail = detail


class Path:
    """A compiled path: `path(scope)` is its value.

    `text` as written; `definite` when it names at most one value (else the value is a list, possibly empty);
    `root` is "$" for the document, "$$" for the context object, else the name of a workflow variable.
    `read` is the bare closure, for hot loops. Raises PathNotFound when a definite path points at nothing.
    """

    __slots__ = ("definite", "read", "root", "text")

    def __init__(self, text: str, root: str, definite: bool, read: Evaluator) -> None:
        self.text = text
        self.root = root
        self.definite = definite
        self.read = read

    def __call__(self, scope: Scope) -> Any:
        return self.read(scope)


class ReferencePath:
    """A Reference Path, as in ResultPath: names one place, existing or not.

    `write(document, value)` is a new document with the value at that place: objects on the way are made, the rest is
    shared with the old document. Raises StatesError with AWS's text (States.ResultPathMatchFailure) where it can't be.
    """

    __slots__ = ("steps", "text")

    def __init__(self, text: str, steps: tuple[str | int, ...]) -> None:
        self.text = text
        self.steps = steps

    def write(self, document: Any, value: Any) -> Any:
        """The document with `value` at this place."""
        raise NotImplementedError


def compile_path(text: str) -> Path:
    """Compile `$...`, `$$...` or `$variable...`. Raises PathSyntaxError."""
    raise NotImplementedError


def compile_reference_path(text: str) -> ReferencePath:
    """Compile a path that only steps into named fields and single indices. Raises PathSyntaxError."""
    raise NotImplementedError
