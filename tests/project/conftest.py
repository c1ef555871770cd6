"""A small project in a folder, and its mistakes."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from stepwell.project import ProjectError, load_project

FUNCTIONS = """
def greet(event, context):
    return event

class Service:
    def handle(self, event, context):
        return event

service = Service()
"""

DEFINITION = {"StartAt": "A", "States": {"A": {"Type": "Task", "Resource": "${functions.greeter}", "End": True}}}

GOOD = """
[project]
name = "demo"

[machines.main]
definition = "machine.asl.json"

[functions.greeter]
handler = "demo.functions:greet"
"""


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Write a project: `toml` replaces the usual stepwell.toml, or is appended to it."""

    def write(toml: str = "", *, append: str = "", definition: object = DEFINITION) -> Path:
        (tmp_path / "stepwell.toml").write_text(textwrap.dedent(toml or GOOD).lstrip() + textwrap.dedent(append))
        (tmp_path / "machine.asl.json").write_text(json.dumps(definition, indent=1))
        package = tmp_path / "demo"
        package.mkdir(exist_ok=True)
        (package / "__init__.py").touch()
        (package / "functions.py").write_text(FUNCTIONS)
        return tmp_path

    return write


@pytest.fixture
def mistakes(make: Callable[..., Path]) -> Callable[..., list[str]]:
    """Load such a project, and give what is wrong with it, places relative to its folder."""

    def load(toml: str = "", *, append: str = "", environment: str | None = None, **fields: object) -> list[str]:
        folder = make(toml, append=append, **fields)
        with pytest.raises(ProjectError) as caught:
            load_project(folder, environment)
        return [str(mistake).replace(f"{folder}/", "") for mistake in caught.value.mistakes]

    return load
