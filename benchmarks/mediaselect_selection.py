"""mediaselect: what the engine costs in a selection over 200 photos.

    python -m benchmarks.mediaselect_selection [--photos 200] [--processes 2]

The whole SelectionPipeline on photos of 12 megapixels, against the simulated model in its own process. The time in functions is measured
by the worker pool, call by call; what is left of the wall time, when it is divided among the processes, is the engine's: starting, journal,
dispatch, waiting. The goal is below 5 %. The engine's own CPU time is printed beside it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.mediaselect_thumbnails import PROJECT, SESSION, photographs


def model(ready: Any, over: Any) -> None:
    """The simulated model, until `over`."""
    sys.path.insert(0, str(PROJECT / "simulators"))
    from geminisim import Gemini

    with Gemini() as gemini:
        ready.put(gemini.environment)
        over.wait()


def main() -> None:
    """Measure and print."""
    import stepwell
    from stepwell.project import load_project
    from stepwell.toolkit.environment import Resources

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    ready, over = spawn.Queue(), spawn.Event()
    process = spawn.Process(target=model, args=(ready, over))
    process.start()
    with tempfile.TemporaryDirectory(prefix="bench-mediaselect-") as name:
        data = Path(name)
        project = load_project(PROJECT)
        os.environ.update(ready.get(), STEPWELL_RESOURCES=json.dumps(msgspec.to_builtins(project.resources)))
        bucket = Resources("embedded", data, project.resources).bucket("media")
        keys = [f"{SESSION}/p{number:04}.jpg" for number in range(options.photos)]
        for key, photo in zip(keys, photographs(options.photos), strict=True):
            bucket.put(key, photo)
        functions = {
            key: msgspec.structs.replace(spec, concurrency=options.processes) for key, spec in project.functions.items()
        }
        spent: dict[str, float] = defaultdict(float)
        calls: dict[str, int] = defaultdict(int)
        with stepwell.open(data) as engine:
            machines = engine.load_project(msgspec.structs.replace(project, functions=functions), schedules=False)

            def select(chosen: list[str], job: str) -> Any:
                return machines["selection"].run(
                    {
                        "sessionId": SESSION,
                        "jobId": job,
                        "tripContext": "",
                        "model": "",
                        "mediaKeys": chosen,
                        "thumbNames": {},
                    }
                )

            select(keys[: 2 * options.processes], "sel-warm")

            def count(function: str, result: Any) -> None:
                spent[function] += result.duration_ms / 1000
                calls[function] += 1

            engine.engine.functions.on_call = count
            cpu, began = time.process_time(), time.perf_counter()
            result = select(keys, "sel-bench")
            wall, used = time.perf_counter() - began, time.process_time() - cpu
    over.set()
    process.join()
    assert calls["selection"] == 1 and calls["thumbnail"] == options.photos, calls
    assert result["selectedCount"] + result["excludedCount"] == options.photos
    working = spent["thumbnail"] / options.processes + spent["selection"]
    print(
        f"wall {wall:.2f} s: thumbnails {spent['thumbnail']:.2f} s in {options.processes} processes, selection {spent['selection']:.2f} s"
    )
    print(
        f"engine {max(0.0, wall - working):.2f} s = {max(0.0, 1 - working / wall):.1%} of the wall time   goal below 5 %"
    )
    print(f"the engine's process used {used:.2f} s of CPU")


if __name__ == "__main__":
    main()
