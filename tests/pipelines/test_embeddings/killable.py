"""One pipeline from submission to publication, in a process that a test kills: `python -m ... DATA URL KEY workers|inline [STATE ...]`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from stepwell.engine import Engine
from stepwell.engine.clock import VirtualClock
from stepwell.engine.errors import ApiError
from stepwell.project import load_project

PROJECT = Path(__file__).parents[3] / "pipelines" / "embeddings"
QUICK = {"RETRY_FIRST_S": "0.05", "BREAKER_RECOVERY_S": "0.1", "LOCK_TTL_S": "2", "LOCK_HEARTBEAT_S": "0.5", "LOCK_TRIES": "100"} | {
    "LOCK_FIRST_S": "0.1", "LOCK_MAX_S": "0.2", "LOCK_TOTAL_S": "20", "LOCK_LIVE_HEARTBEAT_S": "0.001", "CHUNK_SIZE": "1"
}  # fmt: skip
"""A killed holder's lock is free after 2 s: time in the engine is virtual here, in the lock it is not."""


def kill_once(data: Path, states: list[str]) -> Any:
    """An observer that kills this process tree when one of the states is entered for the first time."""

    def observe(identity: Any, events: list[dict[str, Any]]) -> None:
        for event in events:
            name = event.get("stateEnteredEventDetails", {}).get("name")
            marker = data / f"killed-in-{name}"
            if name in states and not marker.exists():
                marker.touch()
                os.killpg(0, signal.SIGKILL)

    return observe


async def main(data: Path, url: str, key: str, inline: bool, states: list[str]) -> None:
    project = load_project(PROJECT)
    variables = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": key, **QUICK}
    functions = {
        name: msgspec.structs.replace(spec, inline=inline, environment={**spec.environment, **variables})
        for name, spec in project.functions.items()
    }
    if inline:
        os.environ |= {**next(iter(functions.values())).environment, "STEPWELL_DATA": str(data)}
    async with Engine.open(data, clock=VirtualClock(int(time.time() * 1000))) as engine:
        machines = await engine.load_project(msgspec.structs.replace(project, functions=functions), schedules=False)
        engine.subscribe(kill_once(data, states))
        for purpose in ("submit", "ingest"):
            machine = machines[f"word-embedding-{purpose}"]
            arn = f"{machine.arn.replace(':stateMachine:', ':execution:')}:killed-{purpose}"
            try:
                execution = engine.execution(arn)
            except ApiError:
                execution = await machine.start({}, name=f"killed-{purpose}")
            record = await execution.wait()
            if record.status != "SUCCEEDED":
                raise SystemExit(f"{purpose}: {record.status} {record.error} {record.cause}")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "inline", sys.argv[5:]))
