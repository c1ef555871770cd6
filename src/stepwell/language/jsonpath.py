"""JSONPath as AWS runs it (Jayway's dialect), compiled once; and Reference Paths, which can be written to.

What is peculiar to the dialect:

* A *definite* path (names and single indices only) gives a value, or PathNotFound. Any other path gives a list, and
  an empty one where nothing matches, however early (AWS's answer to `$.items[1:].x` on `{}` is `[]`).
* A single index past the end of an array gives null where it ends the path. What a path reads and whether it points
  at something thus differ: `Path.read` gives None there, `Path.find` MISSING.
* `$['a','b']` is one object made of both fields, and can only end a path. Steps of slices are ignored, `[:]` is refused.
* A filter on an object tests the object itself, on an array its elements.
* Functions (`length()`, `sum()` ...) see the value before them, after an indefinite path the list of its matches.
"""

from typing import Any, NoReturn

from stepwell.language.errors import REFERENCE_PATH_CONFLICT, RUNTIME, StatesError
from stepwell.language.jsonpath_query import compile_steps, is_definite
from stepwell.language.jsonpath_syntax import PathSyntaxError, parse_path
from stepwell.language.jsonpath_tree import Names, Step
from stepwell.language.scope import Evaluator, Scope
from stepwell.language.values import MISSING, to_json

__all__ = ["Path", "PathNotFound", "PathSyntaxError", "ReferencePath", "compile_path", "compile_reference_path"]

NULL_DOCUMENT = "Unable to apply Path transformation to null or empty input."


class PathNotFound(StatesError):
    """A definite path points at nothing. As it stands it is AWS's States.Runtime of InputPath and OutputPath.

    `path` is the path's text, `detail` Jayway's words, such as `Missing property in path $['no']`.
    """

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(RUNTIME, f"Invalid path '{path}' : {detail}")
        self.path = path
        self.detail = detail


class Path:
    """A compiled path: `path(scope)` is its value.

    `text` as written; `definite` when it names at most one value (else the value is a list, possibly empty);
    `root` is "$" for the document, "$$" for the context object, else the name of a workflow variable.
    `read` is the bare closure behind the call, for hot loops: PathNotFound when a definite path points at nothing,
    StatesError when the document is null. `find` gives MISSING instead, also for an index past the end.
    """

    __slots__ = ("definite", "find", "read", "root", "text")

    def __init__(self, text: str, root: str, definite: bool, read: Evaluator, find: Evaluator) -> None:
        self.text = text
        self.root = root
        self.definite = definite
        self.read = read
        self.find = find

    def __call__(self, scope: Scope) -> Any:
        return self.read(scope)

    def __repr__(self) -> str:
        return f"Path({self.text!r})"


class ReferencePath:
    """A Reference Path, as in ResultPath: names one place, existing or not. `steps` are field names and indices.

    Both methods raise StatesError(States.ReferencePathConflict) with AWS's text where a step can't be made.
    """

    __slots__ = ("steps", "text")

    def __init__(self, text: str, steps: tuple[str | int, ...]) -> None:
        self.text = text
        self.steps = steps

    def read(self, document: Any) -> Any:
        """The value at this place."""
        value = document
        for step in self.steps:
            if type(value) is not (list if type(step) is int else dict):
                self._conflict(step, document)
            try:
                value = value[step]  # type: ignore[index]
            except (KeyError, IndexError):
                self._conflict(step, document)
        return value

    def write(self, document: Any, value: Any) -> Any:
        """A new document with `value` at this place; objects on the way are made, the rest is shared with the old one."""
        return self._put(document, 0, document, value)

    def _put(self, container: Any, depth: int, document: Any, value: Any) -> Any:
        if depth == len(self.steps):
            return value
        step = self.steps[depth]
        if type(step) is int:
            if type(container) is not list or step >= len(container):
                self._conflict(step, document)
            items = list(container)
            items[step] = self._put(items[step], depth + 1, document, value)
            return items
        if container is MISSING:
            container = {}
        elif type(container) is not dict:
            self._conflict(step, document)
        return {**container, step: self._put(container.get(step, MISSING), depth + 1, document, value)}

    def _conflict(self, step: str | int, document: Any) -> NoReturn:
        raise StatesError(REFERENCE_PATH_CONFLICT, f'Unable to apply step "{step}" to input {to_json(document)}')

    def __repr__(self) -> str:
        return f"ReferencePath({self.text!r})"


def compile_path(text: str) -> Path:
    """Compile `$...`, `$$...` or `$variable...`. Raises PathSyntaxError."""
    root, steps = parse_path(text)
    try:
        query = compile_steps(steps)
    except PathSyntaxError as error:
        raise PathSyntaxError(text, 0, error.message) from None
    fetch = _fetch(text, root)

    def read(scope: Scope) -> Any:
        document = fetch(scope)
        if document is None:
            raise StatesError(RUNTIME, NULL_DOCUMENT)
        value = query(document, document)
        return value if value is not MISSING else _explain(text, steps, document)

    def find(scope: Scope) -> Any:
        try:
            document = fetch(scope)
        except PathNotFound:
            return MISSING
        return query(document, document)

    if not steps:
        return Path(text, root, True, fetch, find)
    if root == "$" and len(steps) <= 3 and all(type(step) is str for step in steps):
        return Path(text, root, True, *_short(steps, read))
    return Path(text, root, is_definite(steps), read, find)


def compile_reference_path(text: str) -> ReferencePath:
    """Compile a path that only steps into named fields and single indices. Raises PathSyntaxError."""
    root, steps = parse_path(text)
    if root != "$":
        raise PathSyntaxError(text, 1, "A Reference Path starts from the document: '$', '$.' or '$['")
    plain = tuple(step for step in steps if type(step) is str or (type(step) is int and step >= 0))
    if len(plain) != len(steps):
        raise PathSyntaxError(text, 1, "A Reference Path can only name fields and single indices")
    return ReferencePath(text, plain)


def _fetch(text: str, root: str) -> Evaluator:
    if root == "$":
        return lambda scope: scope.document
    if root == "$$":
        return lambda scope: scope.context

    def variable(scope: Scope) -> Any:
        try:
            return scope.variables[root]
        except KeyError:
            raise PathNotFound(text, f"No results for path: ${root}") from None

    return variable


def _short(names: tuple[Any, ...], explain: Evaluator) -> tuple[Evaluator, Evaluator]:
    """Shorter closures, to read and to find, for up to three names below `$`, by far the most frequent paths.

    A step into anything but an object fails as a TypeError, since the names are strings.
    """
    get: Evaluator
    if len(names) == 1:
        (first,) = names
        get = lambda scope: scope.document[first]  # noqa: E731
    elif len(names) == 2:
        first, second = names
        get = lambda scope: scope.document[first][second]  # noqa: E731
    else:
        first, second, third = names
        get = lambda scope: scope.document[first][second][third]  # noqa: E731

    def read(scope: Scope) -> Any:
        try:
            return get(scope)
        except (KeyError, TypeError):
            return explain(scope)

    def find(scope: Scope) -> Any:
        try:
            return get(scope)
        except (KeyError, TypeError):
            return MISSING

    return read, find


def _explain(text: str, steps: tuple[Step, ...], document: Any) -> None:
    """None where the path ends in an index past the end, else PathNotFound with Jayway's words."""
    value = document
    location = "$"
    for place, step in enumerate(steps):
        last = place == len(steps) - 1
        if isinstance(step, str):
            if type(value) is not dict:
                raise PathNotFound(text, f"Property ['{step}'] not found in path {location}")
            location += f"['{step}']"
            if step not in value:
                found = "No results for path:" if last else "Missing property in path"
                raise PathNotFound(text, f"{found} {location}")
            value = value[step]
        elif isinstance(step, int):
            if value is MISSING:
                raise PathNotFound(text, f"The path {location} is null")
            if type(value) is not list:
                context = to_json(value)
                raise PathNotFound(
                    text, f"Filter: [{step}] can only be applied to arrays. Current context is: {context}"
                )
            location += f"[{step}]"
            value = value[step] if -len(value) <= step < len(value) else MISSING
        elif isinstance(step, Names) and not last:
            names = ", ".join(f"'{name}'" for name in step.names)
            raise PathNotFound(text, f"Multi properties can only be used as path leafs: {location}[{names}]")
        else:
            raise PathNotFound(text, f"No results for path: {text}")
    return
