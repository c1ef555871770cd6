"""ffmpeg, as the static program that the imageio-ffmpeg wheel brings, and the probe (sections 9.1 to 9.3).

The wheel has no ffprobe; the same libraries are asked through PyAV, which reads the same fields. Programs are started with a list of
arguments, no shell, no standard input, a timeout; what they write goes to the log, cut, and never to a user.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import av
import imageio_ffmpeg

from mediaselect.errors import MediaToolError, UnsupportedMedia
from mediaselect.images import Metadata
from stepwell.toolkit.logs import logger

log = logger(__name__)

PREVIEW_SECONDS = 8 * 60
"""Wall limit of making one AI preview."""
PREVIEW_PIXELS = 768
PREVIEW_FPS = 5.0
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


@dataclass(frozen=True)
class Probe:
    """A video as its container describes it. Unknown numbers are None; `width` and `height` are as shown (rotation applied)."""

    duration: float | None
    bit_rate: int | None
    width: int
    height: int
    codec: str
    colour_space: str
    fps: float | None
    rotation: int
    audio_codec: str | None
    audio_rate: int | None
    taken: datetime | None
    gps: tuple[float, float] | None
    device: str
    frames: int

    def metadata(self) -> Metadata:
        """As the selection uses it."""
        return Metadata(
            gps=self.gps, taken=self.taken, camera=self.device, duration=self.duration,
            width=self.width, height=self.height, audio=self.audio_codec is not None,
        )  # fmt: skip


def run(arguments: Sequence[str], *, timeout: float, what: str) -> str:
    """Run ffmpeg; gives its standard error. Raises MediaToolError, also when it takes longer than `timeout` seconds."""
    command = [program(), "-hide_banner", "-nostdin", "-y", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired as error:
        raise MediaToolError(f"{what} took longer than {timeout:.0f} s") from error
    text = done.stderr.decode("utf-8", "replace")
    if done.returncode != 0:
        log.error(what, event_type="ffmpeg_failed", code=done.returncode, stderr=text[-2000:])
        raise MediaToolError(f"{what} failed")
    return text


@lru_cache(maxsize=1)
def program() -> str:
    """The path of ffmpeg; IMAGEIO_FFMPEG_EXE names another one."""
    return str(imageio_ffmpeg.get_ffmpeg_exe())


@lru_cache(maxsize=1)
def filters() -> frozenset[str]:
    """The names of the filters this ffmpeg has."""
    done = subprocess.run([program(), "-hide_banner", "-filters"], capture_output=True, timeout=30, check=True)
    return frozenset(re.findall(r"^ [A-Z.]{2,3} (\S+)", done.stdout.decode(), re.MULTILINE))


def probe(source: str) -> Probe:
    """What a file or URL holds. Raises UnsupportedMedia when it cannot be opened or has no video."""
    try:
        with av.open(source, timeout=30.0) as container:
            if not container.streams.video:
                raise UnsupportedMedia("the file holds no video")
            stream = container.streams.video[0]
            tags = {name.lower(): value for name, value in {**stream.metadata, **container.metadata}.items()}
            rate = stream.base_rate or stream.average_rate
            audio = container.streams.audio[0] if container.streams.audio else None
            rotation = 0
            for frame in container.decode(stream):
                rotation = round(getattr(frame, "rotation", 0) or 0) % 360
                break
            width, height = stream.codec_context.width, stream.codec_context.height
            if rotation in (90, 270):
                width, height = height, width
            return Probe(
                duration=None if container.duration is None else container.duration / av.time_base,
                bit_rate=container.bit_rate or None,
                width=width,
                height=height,
                codec=stream.codec_context.name,
                colour_space=str(getattr(stream.codec_context, "colorspace", "") or ""),
                fps=float(rate) if rate else None,
                rotation=rotation,
                audio_codec=None if audio is None else audio.codec_context.name,
                audio_rate=None if audio is None else audio.codec_context.sample_rate,
                taken=_moment(tags.get("creation_time")),
                gps=_place(tags),
                device=_device(tags),
                frames=stream.frames,
            )
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise UnsupportedMedia("the video cannot be opened") from error


def still(source: str, out: Path, bound: int, *, at: float = 1.0) -> bytes:
    """One frame as a JPEG that fits a square of `bound` pixels; the first when the clip is shorter than `at` seconds.

    Raises MediaToolError.
    """
    scale = f"scale='if(gte(iw,ih),min({bound},iw),-2)':'if(gte(iw,ih),-2,min({bound},ih))'"
    tail = ["-i", source, "-frames:v", "1", "-vf", scale, "-q:v", "3", "-f", "image2", "-update", "1", str(out)]
    out.unlink(missing_ok=True)
    for seek in (["-ss", f"{at:g}"], []):
        try:
            run([*seek, *tail], timeout=100, what="taking a frame of the video")
        except MediaToolError:
            if not seek:
                raise
        # Some versions end well and write nothing when the clip is too short.
        if out.exists() and out.stat().st_size:
            return out.read_bytes()
    raise MediaToolError("no frame of the video could be taken")


def preview(source: str, out: Path, known: Probe | None, *, timeout: float = PREVIEW_SECONDS) -> None:
    """The small WebM that models are shown: AV1 at 5 frames a second, Opus. Removed again on failure. Raises MediaToolError."""
    duration = (known.duration if known else None) or 0.0
    minutes = duration / 60
    speed = 4 if minutes <= 10 else 6 if minutes <= 60 else 8 if minutes <= 180 else 10
    fps = min(PREVIEW_FPS, known.fps) if known and known.fps else PREVIEW_FPS
    rate = known.audio_rate if known else None
    opus = next((candidate for candidate in OPUS_RATES if rate and candidate >= rate), 48000)
    bound = PREVIEW_PIXELS
    scale = f"scale='if(gte(iw,ih),trunc(min({bound},iw)/2)*2,-2)':'if(gte(iw,ih),-2,trunc(min({bound},ih)/2)*2)'"
    try:
        run(
            [
                "-i", source, "-map", "0:v:0", "-map", "0:a?", "-vf", f"fps={fps:g},{scale}",
                "-c:v", "libsvtav1", "-crf", "35", "-preset", str(speed), "-pix_fmt", "yuv420p",
                "-c:a", "libopus", "-b:a", "24k", "-vbr", "on", "-ac", "1",
                "-ar", str(opus), "-fflags", "+bitexact", "-f", "webm", str(out),
            ],
            timeout=max(1.0, min(timeout, PREVIEW_SECONDS)),
            what="compressing the video",
        )  # fmt: skip
    except MediaToolError:
        out.unlink(missing_ok=True)
        raise


def encode(source: Path, out: Path, chain: str, known: Probe | None, *, timeout: float) -> None:
    """The full-resolution render: H.264 in MP4 with the source's frame rate, duration and audio. Raises MediaToolError.

    H.264 in 4:2:0 has even measures only: an odd row or column is cut off.
    """
    if known is None or known.width % 2 or known.height % 2:
        chain += ",crop=trunc(iw/2)*2:trunc(ih/2)*2:0:0"
    video = ["-c:v", "libx264", "-crf", "18", "-preset", "slow", "-movflags", "+faststart", "-f", "mp4", str(out)]
    head = ["-i", str(source), "-vf", chain, "-map", "0:v:0", "-map", "0:a?"]
    copies = known is None or known.audio_codec in (None, "aac", "mp3", "alac", "ac3", "eac3", "mp3float", "opus")
    if copies:
        try:
            run([*head, "-c:a", "copy", *video], timeout=timeout, what="rendering the video")
        except MediaToolError:
            if known is None or known.audio_codec is None:
                raise
        else:
            return
    run([*head, "-c:a", "aac", "-b:a", "192k", *video], timeout=timeout, what="rendering the video")


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None
    except ValueError:
        return None


_ISO6709 = re.compile(r"([+-]\d+(?:\.\d+)?)([+-]\d+(?:\.\d+)?)(?:[+-]\d+(?:\.\d+)?)?/?")


def _place(tags: Mapping[str, str]) -> tuple[float, float] | None:
    for name in ("location", "location-eng", "com.apple.quicktime.location.iso6709"):
        found = _ISO6709.match(tags.get(name, ""))
        if found:
            return _valid(float(found[1]), float(found[2]))
    try:
        return _valid(float(tags["com.android.gps_latitude"]), float(tags["com.android.gps_longitude"]))
    except (KeyError, ValueError):
        return None


def _valid(latitude: float, longitude: float) -> tuple[float, float] | None:
    if (latitude, longitude) == (0.0, 0.0) or abs(latitude) > 90 or abs(longitude) > 180:
        return None
    return latitude, longitude


def _device(tags: Mapping[str, str]) -> str:
    def first(*names: str) -> str:
        return next((tags[name].strip() for name in names if tags.get(name, "").strip()), "")

    make = first("make", "com.apple.quicktime.make", "com.android.manufacturer")
    model = first("model", "com.apple.quicktime.model", "com.android.model")
    return f"{make} {model}".strip()
