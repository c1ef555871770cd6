"""The embedded host: journal, timers, dispatch, recovery, virtual clock."""

from stepwell.engine.engine import Engine
from stepwell.engine.handles import Execution, Machine

__all__ = ["Engine", "Execution", "Machine"]
