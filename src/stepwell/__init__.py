"""Stepwell runs Amazon States Language state machines durably, anywhere.

import stepwell

result = stepwell.run("machine.asl.json", {"name": "Ada"})

async with stepwell.Engine.open("./data") as engine:
    machine = await engine.load("machine.asl.json", functions={"greet": greet})
    execution = await machine.start({"name": "Ada"}, name="first")
    result = await execution

Names are loaded on first use: `import stepwell` itself costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepwell.lazy import names_of

if TYPE_CHECKING:
    from stepwell.engine.blocking import BlockingEngine as BlockingEngine
    from stepwell.engine.blocking import open as open
    from stepwell.engine.blocking import run as run
    from stepwell.engine.clock import VirtualClock as VirtualClock
    from stepwell.engine.engine import Engine as Engine
    from stepwell.engine.errors import ApiError as ApiError
    from stepwell.engine.errors import EngineError as EngineError
    from stepwell.engine.errors import ExecutionFailed as ExecutionFailed
    from stepwell.engine.handles import Execution as Execution
    from stepwell.engine.handles import Machine as Machine
    from stepwell.language.diagnostics import DefinitionError as DefinitionError

__version__ = "0.1.0"

_HOMES = {
    "ApiError": "engine.errors",
    "BlockingEngine": "engine.blocking",
    "DefinitionError": "language.diagnostics",
    "Engine": "engine.engine",
    "EngineError": "engine.errors",
    "Execution": "engine.handles",
    "ExecutionFailed": "engine.errors",
    "Machine": "engine.handles",
    "VirtualClock": "engine.clock",
    "open": "engine.blocking",
    "run": "engine.blocking",
}

__all__ = [
    "ApiError",
    "BlockingEngine",
    "DefinitionError",
    "Engine",
    "EngineError",
    "Execution",
    "ExecutionFailed",
    "Machine",
    "VirtualClock",
    "__version__",
    "open",
    "run",
]


__getattr__ = names_of(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
