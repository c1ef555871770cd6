"""mediaselect: thumbnails by the state machine against a bare loop over the same imaging library in the same number of processes.

    python -m benchmarks.mediaselect_thumbnails [--photos 120] [--processes 2] [--rounds 3]

Both read photos of 12 megapixels and write JPEGs of 400 px that are equal byte by byte; both have warm processes; the order alternates. The
bare side reads and writes plain files. The machine does all that ThumbnailMap does: executions with a durable journal, one task a photo,
objects with metadata. A figure is the median over the rounds; the goal is 0.85 of the bare loop.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import msgspec

PROJECT = Path(__file__).parent.parent / "pipelines" / "mediaselect"
sys.path[:0] = [str(PROJECT), str(PROJECT / "simulators")]
SESSION = "11111111-2222-4333-8444-555555555555"


def photographs(count: int, size: tuple[int, int] = (4000, 3000)) -> list[bytes]:
    """Photos of a trip: six scenes, repeated."""
    import holiday

    scenes = ("harbour", "mountain", "market", "church", "beach", "street")
    made = [holiday.photo(holiday.dim(holiday.scene(kind, size), 0.7, 0.8)) for kind in scenes]
    return [made[number % len(made)] for number in range(count)]


def bare(source: str, target: str) -> None:
    """One photo in a bare loop: the library's calls and two files."""
    from mediaselect import images

    Path(target).write_bytes(images.thumbnail(Path(source).read_bytes()))


def main() -> None:
    """Measure and print."""
    import stepwell
    from stepwell.project import load_project
    from stepwell.toolkit.environment import Resources

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=120)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-mediaselect-") as name:
        folder = Path(name)
        project = load_project(PROJECT)
        bucket = Resources("embedded", folder / "data", project.resources).bucket("media")
        (folder / "out").mkdir()
        files = []
        for number, data in enumerate(photographs(options.photos)):
            path = folder / f"p{number:04}.jpg"
            path.write_bytes(data)
            bucket.put(f"{SESSION}/{path.name}", data)
            files.append(path)
        keys = [f"{SESSION}/{path.name}" for path in files]
        functions = {
            key: msgspec.structs.replace(spec, concurrency=options.processes) for key, spec in project.functions.items()
        }
        os.environ["STEPWELL_RESOURCES"] = json.dumps(msgspec.to_builtins(project.resources))
        thumbnail_map = project.machines["selection"].definition["States"]["ThumbnailMap"]
        alone = {key: value for key, value in thumbnail_map.items() if key != "Next"} | {"End": True}
        definition = {"StartAt": "ThumbnailMap", "States": {"ThumbnailMap": alone}}
        machine = msgspec.structs.replace(project.machines["selection"], definition=definition)
        adapted = msgspec.structs.replace(project, functions=functions, machines={"selection": machine})
        ratios, rates = [], {"machine": [], "bare": []}  # type: ignore[var-annotated]
        with (
            stepwell.open(folder / "data") as engine,
            ProcessPoolExecutor(options.processes, mp_context=multiprocessing.get_context("spawn")) as pool,
        ):
            machines = engine.load_project(adapted, schedules=False)

            def by_machine(chosen: list[str]) -> None:
                done = machines["selection"].run({"sessionId": SESSION, "mediaKeys": chosen, "thumbNames": {}})
                assert all(entry["success"] for entry in done["thumbnailKeys"])

            def by_loop(chosen: list[Path]) -> None:
                list(pool.map(bare, map(str, chosen), [str(folder / "out" / path.name) for path in chosen]))

            by_machine(keys[: 2 * options.processes])
            by_loop(files[: 2 * options.processes])
            for number in range(options.rounds):
                took = {}
                for side in ("machine", "bare") if number % 2 else ("bare", "machine"):
                    began = time.perf_counter()
                    by_machine(keys) if side == "machine" else by_loop(files)
                    took[side] = time.perf_counter() - began
                    rates[side].append(options.photos / took[side])
                ratios.append(took["bare"] / took["machine"])
        for path in files:
            made = bucket.get(f"{SESSION}/thumbnails/{path.stem}.jpg")
            assert made == (folder / "out" / path.name).read_bytes()
    for side, found in rates.items():
        print(f"{side:8} {statistics.median(found):6.1f} thumbnails/s   ({', '.join(f'{rate:.1f}' for rate in found)})")
    print(f"ratio    {statistics.median(ratios):6.2f}   ({', '.join(f'{ratio:.2f}' for ratio in ratios)})   goal 0.85")


if __name__ == "__main__":
    main()
