"""Rendering a video against the same ffmpeg commands run by hand: the pipeline's worker may cost at most 5 % more wall time.

    python -m benchmarks.mangavideo [--rounds 3]

The worker's part begins with the job's objects and ends with the video in the bucket: it downloads, composes frames,
runs ffmpeg, verifies and uploads.
By hand, the commands the worker ran are run again on the files it left, by a shell script.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

PIPELINE = Path(__file__).parents[1] / "pipelines" / "mangavideo"
sys.path[:0] = [str(PIPELINE), str(PIPELINE / "simulators")]
PAGES, SECONDS = 12, 40.0


def main() -> int:
    """Print both times of each round and their ratio's median; 1 when it is above 1.05."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    ratios, costs = [], []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            worker, by_hand, cpu, cpu_by_hand = once(Path(folder))
        ratios.append(worker / by_hand)
        costs.append(cpu / cpu_by_hand)
        print(f"round {number + 1}: worker {worker:.2f} s, by hand {by_hand:.2f} s, ratio {ratios[-1]:.3f}", end="; ")
        print(f"processor {cpu:.2f} s, by hand {cpu_by_hand:.2f} s, ratio {costs[-1]:.3f}", flush=True)
    median = statistics.median(ratios)
    print(
        f"{SECONDS:.0f} s of video from {PAGES} pages, preset medium: {100 * (median - 1):+.1f} % (median of {rounds})"
    )
    return 0 if median <= 1.05 else 1


def spent() -> float:
    """Processor seconds of this process and its children so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def once(folder: Path) -> tuple[float, float, float, float]:
    """Seconds of the worker's render, and of its commands; then their processor seconds."""
    from mangavideo.renderer import Renderer
    from mangavideo.settings import Environment
    from mangavideo.work import Work
    from mangaworld import draw, tone

    from mangavideo import keys, mp3, times
    from stepwell.project import load_project
    from stepwell.toolkit.environment import Resources

    project = load_project(PIPELINE)
    variables = {**project.functions["manga-pipeline-start-renderer"].environment}
    variables |= {"STEPWELL_DATA": str(folder / "data"), "RENDER_DIRECTORY": str(folder / "render")}
    ports = Resources("embedded", folder / "data", project.resources)
    bucket = ports.bucket("assets")
    panels = [keys.panel("j", 0, page, "jpg") for page in range(PAGES)]
    for page, key in enumerate(panels):
        bucket.put(key, draw("Bench", "1", page))
    sound = tone(440, SECONDS)
    bucket.put(keys.audio("j", 0), sound)
    length = mp3.duration(sound)
    segment = {"index": 0, "s3_key": keys.audio("j", 0), "duration_seconds": length, "chapter": "1", "panel_start": 0}
    segment |= {"panel_end": PAGES - 1, "missing": False}
    manifest = {"chapters": [{"panel_keys": panels}], "cover_url": None}
    bucket.put(keys.panel_manifest("j"), json.dumps(manifest).encode())
    bucket.put(keys.audio_manifest("j"), json.dumps({"segments": [segment], "total_duration_seconds": length}).encode())
    ports.table("manga_jobs").put({"job_id": "j", "manga_id": "m", "created_at": times.iso(), "status": "rendering"})

    class Always:
        """A task nobody ends, on a machine nobody takes away."""

        def check(self) -> None:
            """Nothing is the matter."""

        def is_set(self) -> bool:
            return False

    kept = folder / "kept"
    with mock.patch.dict(os.environ, variables), mock.patch("shutil.rmtree", lambda path, **_: Path(path).rename(kept)):
        always = Always()
        renderer = Renderer(Environment(), Work("j", always, always))  # type: ignore[arg-type]
        with mock.patch("mangavideo.renderer.Pictures.forget"):
            began, before = time.perf_counter(), spent()
            renderer.render()
            worker, cpu = time.perf_counter() - began, spent() - before
    used = folder / "render" / f"j.{os.getpid()}"
    shutil.move(kept, used)
    script = "set -e\n" + "\n".join(shlex.join(command) for command in renderer._ffmpeg.commands)
    began, before = time.perf_counter(), spent()
    subprocess.run(["sh", "-c", script], check=True)
    return worker, time.perf_counter() - began, cpu, spent() - before


if __name__ == "__main__":
    raise SystemExit(main())
