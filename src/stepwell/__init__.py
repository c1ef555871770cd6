"""Stepwell runs Amazon States Language state machines durably, anywhere."""

__version__ = "0.1.0"
