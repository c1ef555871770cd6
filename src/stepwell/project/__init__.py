"""What a project declares in stepwell.toml."""

from __future__ import annotations

from stepwell.project.errors import Mistake, ProjectError
from stepwell.project.loading import load_project
from stepwell.project.project import Environment, Machine, MachineSchedule, Project
from stepwell.project.schedules import Schedule, ScheduleError, ScheduleState, execution_name

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
