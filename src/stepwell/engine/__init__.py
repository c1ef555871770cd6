"""The embedded host: journal, timers, dispatch, recovery, virtual clock."""

from stepwell.engine.clock import SystemClock, VirtualClock
from stepwell.engine.engine import Engine
from stepwell.engine.errors import EngineError, ExecutionFailed
from stepwell.engine.handles import Execution, Machine
from stepwell.engine.records import ExecutionRecord

__all__ = [
    "Engine",
    "EngineError",
    "Execution",
    "ExecutionFailed",
    "ExecutionRecord",
    "Machine",
    "SystemClock",
    "VirtualClock",
]
