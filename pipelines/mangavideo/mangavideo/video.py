"""Pictures and sound become a video: ffmpeg's commands, and what is checked afterwards (section 7).

Every chunk is encoded with the same settings, so that chunks are put together without encoding them again.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import imageio_ffmpeg
from PIL import Image, ImageOps

from mangavideo.errors import RenderError
from mangavideo.scenes import FRAME_RATE, Scene

WIDTH, HEIGHT = 1920, 1080
BIT_RATE, AUDIO_BIT_RATE = "2000k", "192k"
GROUP = 48
DRIFT = 0.5
POLL = 0.05

Image.MAX_IMAGE_PIXELS = 200_000_000
"""A long strip is no attack; what is larger than this is."""


class UnreadablePanel(Exception):
    """A file that is no picture."""


@dataclass
class Ffmpeg:
    """Runs ffmpeg. `check` is called while it works: an exception from it ends the command and is passed on."""

    preset: str = "medium"
    check: Callable[[], None] = lambda: None
    commands: list[list[str]] = field(default_factory=list)
    """What was run."""

    def chunk(self, scenes: Sequence[Scene], pictures: Sequence[Path], target: Path) -> None:
        """A silent video: each picture (a full frame) for its scene's frames."""
        frames = sum(scene.frames for scene in scenes)
        lines = ["ffconcat version 1.0"]
        for scene, picture in zip(scenes, pictures, strict=True):
            lines += [f"file '{picture.name}'", f"duration {scene.frames / FRAME_RATE:.9f}"]
        # The demuxer honours the last duration only if something follows.
        lines.append(f"file '{pictures[-1].name}'")
        listing = pictures[0].parent / f"{target.stem}.ffconcat"
        listing.write_text("\n".join(lines) + "\n")
        colours = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
        self.run(
            ["-f", "concat", "-safe", "0", "-i", str(listing)],
            ["-vf", f"fps={FRAME_RATE}:round=near,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"],
            ["-frames:v", str(frames), "-c:v", "libx264", "-preset", self.preset, "-b:v", BIT_RATE],
            ["-g", str(GROUP), "-flags", "+cgop", *colours, "-an", str(target)],
        )

    def merge(self, pieces: Sequence[Path], target: Path) -> None:
        """Audio files one after another: copied, encoded again only if that fails."""
        listing = _listing(target.with_suffix(".ffconcat"), pieces)
        source = ["-f", "concat", "-safe", "0", "-i", str(listing)]
        try:
            self.run(source, ["-c:a", "copy", "-write_xing", "0", "-id3v2_version", "0", str(target)])
        except RenderError:
            self.run(source, ["-c:a", "libmp3lame", "-b:a", "48k", "-write_xing", "0", str(target)])

    def assemble(self, chunks: Sequence[Path], audio: Path, target: Path) -> None:
        """Chunks and sound in one MP4 that can be played while it loads; ends with the shorter of both.

        The sound is given two frames of silence: it may be shorter than the pictures by what the frame grid rounds up, and the last frame
        is not to be lost to that.
        """
        listing = _listing(target.with_suffix(".ffconcat"), chunks)
        self.run(
            ["-f", "concat", "-safe", "0", "-i", str(listing), "-i", str(audio)],
            ["-map", "0:v:0", "-map", "1:a:0", "-c:v", "copy", "-c:a", "aac", "-b:a", AUDIO_BIT_RATE, "-ar", "48000"],
            ["-ac", "2", "-af", f"apad=pad_dur={2 / FRAME_RATE:.4f}", "-shortest"],
            ["-movflags", "+faststart", str(target)],
        )

    def run(self, *arguments: Sequence[str]) -> None:
        """One command. Raises RenderError with what ffmpeg said."""
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(),
            "-v",
            "error",
            "-nostdin",
            "-y",
            *(word for part in arguments for word in part),
        ]
        self.commands.append(command)
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            try:
                while True:
                    try:
                        process.wait(POLL)
                        break
                    except subprocess.TimeoutExpired:
                        self.check()
            except BaseException:
                process.kill()
                process.wait()
                raise
            if process.returncode != 0:
                # An interruption reaches ffmpeg as well, perhaps before it is known here: then it is no failure.
                time.sleep(2 * POLL)
                self.check()
                said.seek(0)
                raise RenderError(f"ffmpeg: {said.read().decode(errors='replace').strip()[-1000:]}")


def compose(source: Path | None, target: Path) -> None:
    """A full frame: the picture as large as it fits, centred on black; black alone without one. Raises UnreadablePanel."""
    frame = Image.new("RGB", (WIDTH, HEIGHT))
    if source is not None:
        try:
            with Image.open(source) as opened:
                opened.seek(0)  # an animation shows its first frame
                if opened.format == "JPEG":
                    opened.draft("RGB", _fitted(opened.size))
                ImageOps.exif_transpose(opened, in_place=True)
                opened.load()
                picture = _flattened(opened)
        except (OSError, ValueError, EOFError, SyntaxError, Image.DecompressionBombError) as error:
            raise UnreadablePanel(f"{source.name}: {error}") from error
        size = _fitted(picture.size)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
        frame.paste(picture, ((WIDTH - size[0]) // 2, (HEIGHT - size[1]) // 2))
    frame.save(target, "BMP")


def _fitted(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(WIDTH / size[0], HEIGHT / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _flattened(picture: Image.Image) -> Image.Image:
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, picture).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _listing(path: Path, files: Sequence[Path]) -> Path:
    path.write_text("ffconcat version 1.0\n" + "".join(f"file '{file.absolute()}'\n" for file in files))
    return path


@dataclass(frozen=True)
class Probe:
    """What is in a video file. Durations in seconds."""

    width: int
    height: int
    frame_rate: float
    video_codec: str
    audio_codec: str
    video_seconds: float
    audio_seconds: float
    frames: int
    size: int


def probe(path: Path) -> Probe:
    """Read the headers. Raises RenderError unless there is exactly one video and one audio stream."""
    try:
        with av.open(str(path)) as container:
            videos, audios = container.streams.video, container.streams.audio
            if len(videos) != 1 or len(audios) != 1:
                raise RenderError(f"{path.name} has {len(videos)} video and {len(audios)} audio streams")
            video, audio = videos[0], audios[0]
            if video.duration is None or audio.duration is None or video.time_base is None or audio.time_base is None:
                raise RenderError(f"{path.name} does not say how long it is")
            return Probe(
                width=video.width,
                height=video.height,
                frame_rate=float(video.average_rate or 0),
                video_codec=video.codec_context.name,
                audio_codec=audio.codec_context.name,
                video_seconds=float(video.duration * video.time_base),
                audio_seconds=float(audio.duration * audio.time_base),
                frames=video.frames,
                size=path.stat().st_size,
            )
    except av.error.FFmpegError as error:
        raise RenderError(f"{path.name} cannot be read: {error}") from error


def verified(path: Path) -> Probe:
    """What is in the finished video. Raises RenderError unless it is what it should be."""
    found = probe(path)
    if (found.width, found.height) != (WIDTH, HEIGHT):
        raise RenderError(f"the video is {found.width}x{found.height}")
    if abs(found.video_seconds - found.audio_seconds) > DRIFT:
        raise RenderError(f"{found.video_seconds:.2f} s of pictures, {found.audio_seconds:.2f} s of sound")
    return found


def stopwatch() -> Callable[[], float]:
    """Seconds since this call."""
    began = time.monotonic()
    return lambda: round(time.monotonic() - began, 3)
