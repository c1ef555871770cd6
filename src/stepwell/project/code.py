"""Whether a handler exists, without importing its module: a pipeline's modules may be heavy, or need secrets."""

from __future__ import annotations

import ast
import importlib.machinery
import sys
from collections.abc import Iterator
from pathlib import Path

from stepwell.functions.handlers import RuntimeFault, split_handler
from stepwell.project.references import suggestion


def find_fault(handler: str, source: Path) -> str | None:
    """What is wrong with a handler of a project whose packages are in `source`, with the remedy; None if nothing is."""
    try:
        module, name = split_handler(handler)
    except RuntimeFault:
        return f'{handler!r} is not a handler; write "package.module:function"'
    file, problem = _locate(module, source)
    if problem:
        return problem
    if file is None or file.suffix != ".py":
        return None  # An extension module or a namespace: only importing tells.
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        return f"{file}:{error.lineno}: the module cannot be read: {error.msg}"
    names, certain = _names(tree.body)
    first = name.split(".")[0]
    if first in names or not certain:
        return None
    return f"module {module} ({file}) has no function {first!r}{suggestion(first, sorted(names))}"


def _locate(module: str, source: Path) -> tuple[Path | None, str | None]:
    """The file of a module; or what is missing."""
    search: list[str] | None = [str(source), *sys.path]
    parts = module.split(".")
    spec = None
    for depth, _ in enumerate(parts, 1):
        name = ".".join(parts[:depth])
        if depth == 1 and name in sys.builtin_module_names:
            return None, None
        spec = importlib.machinery.PathFinder.find_spec(name, search)
        if spec is None:
            where = f"in {source}" if depth == 1 else f"in the package {'.'.join(parts[: depth - 1])}"
            wanted = "/".join(parts[:depth])
            return None, f"there is no module {name!r} {where}; create {wanted}.py there, or correct the handler"
        search = None if spec.submodule_search_locations is None else list(spec.submodule_search_locations)
        if search is None and depth < len(parts):
            return None, f"{name!r} is a module, not a package: it has no {parts[depth]!r}"
    return (Path(spec.origin) if spec and spec.origin and spec.origin != "built-in" else None), None


def _names(body: list[ast.stmt]) -> tuple[set[str], bool]:
    """The names a module binds at its top level, and whether that is all of them."""
    names: set[str] = set()
    certain = True
    for node in _statements(body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            certain = certain and node.name != "__getattr__"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                certain = certain and alias.name != "*"
                names.add(alias.asname or alias.name.split(".")[0])
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            parts = [part for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
            names.update(part.id for part in parts if isinstance(part.ctx, ast.Store))
            certain = certain and all(part.id != "globals" for part in parts)
        elif isinstance(node, ast.Expr):
            # globals().update(...) and the like.
            certain = certain and not any(
                isinstance(part, ast.Name) and part.id in ("globals", "setattr", "exec") for part in ast.walk(node)
            )
    return names, certain


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run in the module's own scope, those inside if, try, with and loops too."""
    for node in body:
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While):
            for field in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(node, field, []))
            for handler in getattr(node, "handlers", []):
                yield from _statements(handler.body)
