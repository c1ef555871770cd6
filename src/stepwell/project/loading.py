"""From a folder to a Project."""

from __future__ import annotations

from pathlib import Path

from stepwell.project.project import Environment, Project


def load_project(path: str | Path, environment: Environment | str | None = None) -> Project:
    """Load a project folder (or its stepwell.toml) for an environment (or the name of one; default ``dev``).

    Raises ProjectError with every mistake found: in stepwell.toml, in references, in handlers that do not exist. Definitions are
    read and substituted, not validated (`stepwell.language.validation` does that). Handler modules are not imported.
    """
    raise NotImplementedError
