"""Chooses the best of a session's photos and videos, and enhances what was chosen. See README.md."""
