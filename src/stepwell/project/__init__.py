"""What a project declares in stepwell.toml.

Names are loaded on first use: an engine without a project needs the schedules only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.lazy import names_of

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


__getattr__ = names_of(__name__, _HOMES)
