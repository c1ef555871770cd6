"""A new project: small, complete, its tests pass, and every part of it meant to be changed."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

_STEPWELL_TOML = """\
# What this project consists of. Reference: docs/reference/project.md of Stepwell.

[project]
name = "$name"

[machines.$name]
definition = "machine.asl.json"
timeout = "10m"
input = { name = "Ada" }
# schedule = "cron(0 1 * * ? *)"

[functions.greet]
handler = "$package.functions:greet"
memory = "256MB"
timeout = "30s"
"""

_MACHINE = """\
{
  "Comment": "Greets by name; a guest without one gets a general welcome.",
  "QueryLanguage": "JSONata",
  "StartAt": "HasName",
  "States": {
    "HasName": {
      "Type": "Choice",
      "Choices": [{"Condition": "{% $$exists($$states.input.name) %}", "Next": "Greet"}],
      "Default": "Welcome"
    },
    "Greet": {
      "Type": "Task",
      "Resource": "$${functions.greet}",
      "Arguments": {"name": "{% $$states.input.name %}"},
      "TimeoutSeconds": 60,
      "Retry": [
        {
          "ErrorEquals": ["Lambda.TooManyRequestsException", "Sandbox.Timedout"],
          "IntervalSeconds": 2,
          "MaxAttempts": 3,
          "BackoffRate": 2,
          "JitterStrategy": "FULL"
        }
      ],
      "Catch": [{"ErrorEquals": ["NameTooLong"], "Next": "Welcome"}],
      "End": true
    },
    "Welcome": {
      "Type": "Pass",
      "Output": {"text": "Welcome!"},
      "End": true
    }
  }
}
"""

_FUNCTIONS = '''\
"""The functions of $name. Each is a plain callable; its annotations check the event and write the result."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from stepwell.functions import Context

log = logging.getLogger(__name__)

LONGEST_NAME = 40


class NameTooLong(Exception):
    """The machine catches this by the name of the class."""


@dataclass
class Guest:
    name: str


@dataclass
class Greeting:
    text: str


def greet(event: Guest, context: Context) -> Greeting:
    if len(event.name) > LONGEST_NAME:
        raise NameTooLong(f"{len(event.name)} characters; {LONGEST_NAME} are possible")
    log.info("greeting", extra={"guest": event.name})
    return Greeting(text=f"Hello, {event.name}!")
'''

_TEST_FUNCTIONS = '''\
"""The functions alone: they are plain Python."""

import pytest
from $package.functions import Greeting, Guest, NameTooLong, greet


def test_a_greeting():
    assert greet(Guest(name="Ada"), None) == Greeting(text="Hello, Ada!")


def test_a_name_that_is_too_long():
    with pytest.raises(NameTooLong, match="41 characters"):
        greet(Guest(name="x" * 41), None)
'''

_TEST_MACHINE = '''\
"""The machine: its ways through, in virtual time. The fixture `stepwell` comes with the package."""

from pathlib import Path

import pytest
from stepwell.project import load_project
from stepwell.testing import Failure

PROJECT = load_project(Path(__file__).parents[1])


@pytest.fixture
def machine(stepwell):
    return stepwell.load_project(PROJECT)["$name"]


@pytest.mark.parametrize(
    ("input", "text"),
    [({"name": "Ada"}, "Hello, Ada!"), ({}, "Welcome!"), ({"name": "x" * 41}, "Welcome!")],
)
def test_every_way_through_the_machine_with_its_real_function(machine, input, text):
    machine.run(input).assert_succeeded({"text": text})


def test_a_busy_function_is_asked_again(stepwell, machine):
    greet = stepwell.mock("Greet", Failure("Lambda.TooManyRequestsException"), {"text": "Hello, Ada!"})
    run = machine.run({"name": "Ada"})
    run.assert_succeeded({"text": "Hello, Ada!"})
    assert run.visited == ["HasName", "Greet"]
    assert greet.calls == 2
'''

_PYPROJECT = """\
[project]
name = "$name"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["stepwell"]

[dependency-groups]
dev = ["pytest"]

[tool.pytest.ini_options]
pythonpath = ["."]
testpaths = ["tests"]
"""

_README = """\
# $name

    stepwell run .                  # run the state machine, with the input of stepwell.toml
    stepwell run . --input '{}'     # with another input
    stepwell validate .             # check stepwell.toml and the definition
    pytest                          # the tests

`machine.asl.json` is the state machine, `$package/functions.py` has its functions, `stepwell.toml` says what belongs
together. Executions are kept in `.stepwell/`.
"""

_FILES = {
    "stepwell.toml": _STEPWELL_TOML,
    "machine.asl.json": _MACHINE,
    "$package/__init__.py": "",
    "$package/functions.py": _FUNCTIONS,
    "tests/test_functions.py": _TEST_FUNCTIONS,
    "tests/test_machine.py": _TEST_MACHINE,
    "pyproject.toml": _PYPROJECT,
    "README.md": _README,
    ".gitignore": ".stepwell/\n__pycache__/\n",
}


class ScaffoldError(Exception):
    """No project can be made there; the message says why and what to do."""


def scaffold(directory: str | Path) -> list[Path]:
    """Create a project in a folder that is new or empty, named after it. Gives the files. Raises ScaffoldError."""
    folder = Path(directory).absolute()
    name = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name):
        raise ScaffoldError(
            f"{folder.name!r} gives no project name; use a folder name of 1-40 letters and digits, a letter first"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ScaffoldError(f"{folder} exists and is not an empty folder; choose another name")
    values = {"name": name, "package": name.replace("-", "_")}
    if values["package"] in ("stepwell", "tests"):
        raise ScaffoldError(f"a package named {values['package']!r} would hide another; choose another folder name")
    created = []
    try:
        for path, text in _FILES.items():
            file = folder / Template(path).substitute(values)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(Template(text).substitute(values))
            created.append(file)
    except OSError as error:
        raise ScaffoldError(f"{error.filename} cannot be written: {error.strerror}") from error
    return created
