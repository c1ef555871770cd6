"""`stepwell validate`: definitions and projects, checked as AWS checks them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stepwell.cli.output import Problem, print_json
from stepwell.cli.target import JsonOption

if TYPE_CHECKING:
    from stepwell.language import Diagnostic


def command(
    sources: Annotated[list[Path], typer.Argument(help="Definitions (*.asl.json, *.asl.yaml) and project folders.")],
    type: Annotated[
        str, typer.Option("--type", help="STANDARD or EXPRESS, for definitions outside a project.")
    ] = "STANDARD",
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    json: JsonOption = False,
) -> None:
    """Check definitions and projects; every finding has its file, line, column and JSON pointer.

    Exit codes: 0 valid, 1 not valid, 2 a file cannot be read.
    """
    findings: list[Diagnostic] = []
    for source in sources:
        if not source.exists():
            raise Problem(f"{source} does not exist")
        findings += _project(source) if source.is_dir() or source.name == "stepwell.toml" else _definition(source, type)
    errors = sum(1 for finding in findings if finding.severity == "ERROR")
    if json:
        import msgspec

        print_json({"result": "FAIL" if errors else "OK", "diagnostics": msgspec.to_builtins(findings)})
    else:
        for finding in findings:
            print(finding.render())
        names = ", ".join(str(source) for source in sources)
        count = f"{errors} error{'' if errors == 1 else 's'}, {len(findings) - errors} warnings"
        print(f"{names}: {count}" if findings else f"{names}: valid")
    raise typer.Exit(1 if errors or (strict and findings) else 0)


def _definition(path: Path, kind: str) -> list[Diagnostic]:
    from stepwell.language import DefinitionError, load, validate

    try:
        source = load(path)
    except DefinitionError as error:
        return list(error.diagnostics)
    # Resources may still be ${functions.name}: a project fills them in for each environment.
    return validate(source, kind=kind.upper(), placeholders=True)


def _project(path: Path) -> list[Diagnostic]:
    from stepwell.project import ProjectError, load_project

    try:
        project = load_project(path)
    except ProjectError as error:
        raise Problem(str(error)) from error
    return [finding for machine in project.machines.values() for finding in _definition(machine.path, machine.type)]
