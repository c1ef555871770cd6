"""What a project declares in stepwell.toml.

Names are loaded on first use: an engine without a project needs the schedules only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stepwell.project.errors import Mistake, ProjectError
    from stepwell.project.loading import load_project
    from stepwell.project.project import Environment, Machine, MachineSchedule, Project
    from stepwell.project.schedules import Schedule, ScheduleError, ScheduleState, execution_name

_HOMES = {
    "Environment": "project",
    "Machine": "project",
    "MachineSchedule": "project",
    "Mistake": "errors",
    "Project": "project",
    "ProjectError": "errors",
    "Schedule": "schedules",
    "ScheduleError": "schedules",
    "ScheduleState": "schedules",
    "execution_name": "schedules",
    "load_project": "loading",
}

__all__ = [
    "Environment",
    "Machine",
    "MachineSchedule",
    "Mistake",
    "Project",
    "ProjectError",
    "Schedule",
    "ScheduleError",
    "ScheduleState",
    "execution_name",
    "load_project",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'stepwell.project' has no attribute {name!r}")
    value = getattr(import_module(f"stepwell.project.{home}"), name)
    globals()[name] = value
    return value
