"""Real media for the simulator, made once by ffmpeg (from the imageio-ffmpeg wheel) and kept in a cache folder.

Nothing is fetched: the pictures are ffmpeg's test sources, each with its own pattern, pitch, length and size, so that every
file has its own bytes, plays, and shows in its picture which one it is.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg

PATTERNS = (
    "testsrc2=size={w}x{h}:rate={fps}",
    "mandelbrot=size={w}x{h}:rate={fps}:maxiter=100:end_scale=0.05",
    "life=size={w}x{h}:rate={fps}:mold=12:ratio=0.2:seed={seed}:death_color=#204060:life_color=#ffe080",
    "cellauto=size={w}x{h}:rate={fps}:rule=110:random_seed={seed}",
    "gradients=size={w}x{h}:rate={fps}:seed={seed}:speed=0.03",
    "zoneplate=size={w}x{h}:rate={fps}:ku=60:kv={seed}0:kt2=4",
)


@dataclass(frozen=True)
class Clip:
    """A clip to be made: picture size, whole seconds, frames a second; `number` picks its pattern, pitch and seed."""

    number: int
    width: int = 640
    height: int = 360
    seconds: int = 2
    fps: int = 24

    @property
    def source(self) -> str:
        pattern = PATTERNS[self.number % len(PATTERNS)]
        return pattern.format(w=self.width, h=self.height, fps=self.fps, seed=self.number + 1)


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/stepwell/cloudsync-media`, by default below `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "stepwell" / "cloudsync-media"


def video(clip: Clip, cache: Path | None = None) -> Path:
    """An MP4 file (H.264 and AAC, playable while it loads)."""
    arguments = [
        *("-f", "lavfi", "-t", str(clip.seconds), "-i", clip.source),
        *("-f", "lavfi", "-t", str(clip.seconds), "-i", f"sine=frequency={220 + 55 * clip.number}"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-crf", "26", "-pix_fmt", "yuv420p"),
        *("-c:a", "aac", "-b:a", "96k", "-movflags", "+faststart", "-fflags", "+bitexact", "-threads", "1"),
    ]
    return _made(arguments, ".mp4", cache)


def photo(clip: Clip, cache: Path | None = None) -> Path:
    """A JPEG file: the first frame of the clip's picture."""
    return _made(["-f", "lavfi", "-i", clip.source, "-frames:v", "1", "-q:v", "3", "-update", "1"], ".jpg", cache)


def _made(arguments: list[str], suffix: str, cache: Path | None) -> Path:
    folder = cache or default_cache()
    name = hashlib.sha256("\0".join(arguments).encode()).hexdigest()[:20] + suffix
    path = folder / name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / name
            command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", *arguments, str(made)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"ffmpeg could not make {name}: {done.stderr.strip()}")
            made.replace(path)
    return path
