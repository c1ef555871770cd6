"""`stepwell init`: the project it makes is valid, and its own tests pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stepwell.project import load_project
from stepwell.project.scaffold import ScaffoldError, scaffold


def test_the_project_is_valid(tmp_path: Path):
    validation = pytest.importorskip("stepwell.language.validation")
    files = scaffold(tmp_path / "My Project")
    assert {str(file.relative_to(tmp_path / "My Project")) for file in files} >= {
        "stepwell.toml", "machine.asl.json", "my_project/functions.py", "tests/test_machine.py",
    }  # fmt: skip
    project = load_project(tmp_path / "My Project")
    assert project.name == "my-project"
    assert validation.validate(project.machines["my-project"].definition) == []


def test_its_tests_pass(tmp_path: Path):
    scaffold(tmp_path / "hello")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / "hello",
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "6 passed" in result.stdout


def test_nothing_is_overwritten(tmp_path: Path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(ScaffoldError, match="is not an empty folder"):
        scaffold(tmp_path / "taken")
    (tmp_path / "file").touch()
    with pytest.raises(ScaffoldError, match="is not an empty folder"):
        scaffold(tmp_path / "file")


@pytest.mark.parametrize("name", ["42", "---", "x" * 41, "stepwell", "Tests"])
def test_names_that_are_none(tmp_path: Path, name: str):
    with pytest.raises(ScaffoldError, match=r"no project name|would hide"):
        scaffold(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_place_that_cannot_be_written(tmp_path: Path):
    with pytest.raises(ScaffoldError, match="cannot be written: Not a directory"):
        (tmp_path / "file").touch()
        scaffold(tmp_path / "file" / "project")
