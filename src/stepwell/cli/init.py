"""`stepwell init`: a new project whose tests pass."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stepwell.cli.output import Problem


def command(
    directory: Annotated[Path, typer.Argument(help="The folder to create; its name is the project's.")],
) -> None:
    """Create a project: stepwell.toml, a state machine, a function, and tests that pass."""
    from stepwell.project.scaffold import ScaffoldError, scaffold

    try:
        files = scaffold(directory)
    except ScaffoldError as error:
        raise Problem(str(error)) from error
    for path in files:
        print(f"created {path}")
    print(f"\nNext:\n  stepwell run {directory}\n  cd {directory} && pytest")
