"""Rendering a video against the same ffmpeg commands run by hand: the pipeline's worker may cost at most 5 % more wall time.

    python -m benchmarks.mangavideo [--rounds 5]

The worker's part begins with the job's objects and ends with the video in the bucket: it downloads, composes frames,
runs ffmpeg, verifies and uploads.
By hand, the commands the worker ran are run again on the files it left, by a shell script. A round is one of each, in turn the
worker first and last; a first run that nobody measures makes the files. Run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest import mock

PIPELINE = Path(__file__).parents[1] / "pipelines" / "mangavideo"
sys.path[:0] = [str(PIPELINE), str(PIPELINE / "simulators")]
PAGES, SECONDS = 12, 40.0


class Cost(NamedTuple):
    """Seconds: of the wall's clock, of this process's processor time, and of that of the commands it ran."""

    wall: float
    own: float
    commands: float


def main() -> int:
    """Print each round's times, their medians and the ratios; 1 when the median ratio of wall times is above 1.05."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    walls, shares = [], []
    with tempfile.TemporaryDirectory() as folder, Bench(Path(folder)) as bench:
        for number in range(rounds):
            parts = [bench.worker, bench.by_hand]
            first, second = parts if number % 2 == 0 else reversed(parts)
            found = {first: first(), second: second()}
            worker, by_hand = found[bench.worker], found[bench.by_hand]
            walls.append(worker.wall / by_hand.wall)
            shares.append(1 + worker.own / worker.commands)
            print(f"round {number + 1}: worker {worker.wall:.2f} s, by hand {by_hand.wall:.2f} s", end="; ")
            print(f"processor: ffmpeg {worker.commands:.2f} s, the worker itself {worker.own:.2f} s", flush=True)
    median = statistics.median(walls)
    print(f"{SECONDS:.0f} s of video from {PAGES} pages, preset medium, {rounds} rounds, load {os.getloadavg()[0]:.1f}")
    for what, ratios in (("wall time", walls), ("processor time beside ffmpeg's", shares)):
        low, middle, high = (100 * (ratio - 1) for ratio in (min(ratios), statistics.median(ratios), max(ratios)))
        print(f"{what}: {middle:+.1f} % (median; {low:+.1f} to {high:+.1f} %)")
    return 0 if median <= 1.05 else 1


class Always:
    """A task nobody ends, on a machine nobody takes away."""

    def check(self) -> None:
        """Nothing is the matter."""

    def is_set(self) -> bool:
        return False


class Bench:
    """One job, rendered again and again."""

    def __init__(self, folder: Path) -> None:
        from mangaworld import draw, tone

        from mangavideo import keys, mp3, times
        from stepwell.project import load_project
        from stepwell.toolkit.environment import Resources

        self._folder = folder
        project = load_project(PIPELINE)
        self._variables = {**project.functions["manga-pipeline-start-renderer"].environment}
        self._variables |= {"STEPWELL_DATA": str(folder / "data"), "RENDER_DIRECTORY": str(folder / "render")}
        ports = Resources("embedded", folder / "data", project.resources)
        self._bucket, self._video = ports.bucket("assets"), keys.video("j")
        panels = [keys.panel("j", 0, page, "jpg") for page in range(PAGES)]
        for page, key in enumerate(panels):
            self._bucket.put(key, draw("Bench", "1", page))
        sound = tone(440, SECONDS)
        self._bucket.put(keys.audio("j", 0), sound)
        length = mp3.duration(sound)
        segment = {"index": 0, "s3_key": keys.audio("j", 0), "duration_seconds": length, "chapter": "1"}
        segment |= {"panel_start": 0, "panel_end": PAGES - 1, "missing": False}
        manifest = {"chapters": [{"panel_keys": panels}], "cover_url": None}
        audio = {"segments": [segment], "total_duration_seconds": length}
        self._bucket.put(keys.panel_manifest("j"), json.dumps(manifest).encode())
        self._bucket.put(keys.audio_manifest("j"), json.dumps(audio).encode())
        job = {"job_id": "j", "manga_id": "m", "created_at": times.iso(), "status": "rendering"}
        ports.table("manga_jobs").put(job)

    def __enter__(self) -> Bench:
        """Render once, and keep what ffmpeg was given."""
        kept = self._folder / "kept"
        with (
            mock.patch("shutil.rmtree", lambda path, **_: Path(path).rename(kept)),
            mock.patch("mangavideo.renderer.Pictures.forget"),
        ):
            commands = self._render()
        own = str(self._folder / "render" / f"j.{os.getpid()}")
        for listing in kept.glob("*.ffconcat"):
            listing.write_text(listing.read_text().replace(own, str(kept)))
        lines = [shlex.join(word.replace(own, str(kept)) for word in command) for command in commands]
        self._script = "set -e\n" + "\n".join(lines)
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def worker(self) -> Cost:
        """What a machine does."""
        self._bucket.delete(self._video)
        return measured(self._render)

    def by_hand(self) -> Cost:
        """What a person would do."""
        return measured(lambda: subprocess.run(["sh", "-c", self._script], check=True))

    def _render(self) -> list[list[str]]:
        from mangavideo.renderer import Renderer
        from mangavideo.settings import Environment
        from mangavideo.work import Work

        with mock.patch.dict(os.environ, self._variables), contextlib.redirect_stdout(io.StringIO()):
            always = Always()
            renderer = Renderer(Environment(), Work("j", always, always))  # type: ignore[arg-type]
            renderer.render()
        return renderer._ffmpeg.commands


def measured(work: Callable[[], object]) -> Cost:
    """What a piece of work costs."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    before, began = [resource.getrusage(one) for one in who], time.perf_counter()
    work()
    wall, after = time.perf_counter() - began, [resource.getrusage(one) for one in who]
    own, commands = (
        end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime for end, start in zip(after, before, strict=True)
    )
    return Cost(wall, own, commands)


if __name__ == "__main__":
    raise SystemExit(main())
