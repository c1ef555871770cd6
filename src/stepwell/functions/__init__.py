"""Running a project's Python functions."""
