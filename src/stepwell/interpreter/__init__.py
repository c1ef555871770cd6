"""One execution as a pure state machine: event in, effects out. No I/O, no clock, no randomness of its own."""

from stepwell.interpreter.execution import Execution, load, load_records, start
from stepwell.interpreter.identity import Identity
from stepwell.interpreter.maprecords import child_identity

__all__ = ["Execution", "Identity", "child_identity", "load", "load_records", "start"]
