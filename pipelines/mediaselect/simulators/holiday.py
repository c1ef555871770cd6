"""Photos and films of a trip that never was: drawn, not fetched, with known scenes, dates, places, duplicates and faults.

Every function is seeded: the same call gives the same bytes. Used by the demo, the tests and the benchmarks.
"""

from __future__ import annotations

import io
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageDraw, ImageEnhance, ImageFilter

pillow_heif.register_heif_opener()

NICE, VENCE = (43.6951, 7.2847), (43.7226, 7.1116)
MORNING = datetime(2026, 6, 13, 10, 5)


@dataclass(frozen=True)
class File:
    """One file of a session."""

    name: str
    data: bytes
    content_type: str


def scene(kind: str, size: tuple[int, int] = (1200, 900), seed: int = 0) -> Image.Image:
    """A drawn picture of `harbour`, `mountain`, `market`, `church`, `beach` or `street`; the seed moves its details."""
    width, height = size
    random = np.random.default_rng([seed, sum(map(ord, kind))])
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    skies = {
        "harbour": ((70, 130, 200), (190, 215, 235)), "mountain": ((90, 150, 220), (225, 235, 245)),
        "market": ((120, 90, 70), (200, 160, 120)),
        "church": ((235, 170, 110), (250, 220, 180)), "beach": ((60, 170, 220), (200, 240, 250)), "street": ((25, 25, 60), (60, 50, 90)),
    }  # fmt: skip
    top, bottom = skies[kind]
    ramp = np.linspace(0, 1, height)[:, None, None]
    image.paste(
        Image.fromarray(
            np.broadcast_to(np.array(top) * (1 - ramp) + np.array(bottom) * ramp, (height, width, 3)).astype(np.uint8)
        )
    )
    unit = width / 100

    def box(x: float, y: float, w: float, h: float, colour: tuple[int, ...]) -> None:
        draw.rectangle((x * unit, y * height / 100, (x + w) * unit, (y + h) * height / 100), fill=colour)

    if kind == "harbour":
        box(0, 55, 100, 45, (20, 80, 120))
        for index in range(7):
            x, colour = (
                5 + index * 13 + random.uniform(-1, 1),
                [(230, 230, 230), (200, 60, 50), (240, 200, 80)][index % 3],
            )
            draw.polygon(
                [
                    (x * unit, height * 0.62),
                    ((x + 10) * unit, height * 0.62),
                    ((x + 8) * unit, height * 0.68),
                    ((x + 2) * unit, height * 0.68),
                ],
                fill=colour,
            )
            draw.polygon(
                [((x + 5) * unit, height * 0.35), ((x + 5) * unit, height * 0.6), ((x + 9) * unit, height * 0.6)],
                fill=(250, 250, 245),
            )
    elif kind == "mountain":
        for step in range(4):
            peaks = [
                (x, height * (0.35 + 0.14 * step) + random.uniform(-1, 1) * height * 0.10)
                for x in np.linspace(0, width, 9)
            ]
            draw.polygon(
                [(0, height), *peaks, (width, height)], fill=(150 - 35 * step, 165 - 25 * step, 175 - 40 * step)
            )
    elif kind == "market":
        for row in range(5):
            for column in range(9):
                x, y, r = (5 + column * 11) * unit, height * (0.32 + row * 0.15), 4.6 * unit
                colour = [(220, 40, 30), (240, 160, 20), (90, 160, 40), (150, 40, 110), (250, 220, 60)][
                    int(random.integers(5))
                ]
                draw.ellipse((x - r, y - r, x + r, y + r), fill=colour, outline=(60, 30, 20), width=3)
    elif kind == "church":
        box(30, 30, 40, 70, (190, 150, 110))
        draw.polygon(
            [(width * 0.28, height * 0.3), (width * 0.5, height * 0.05), (width * 0.72, height * 0.3)],
            fill=(120, 60, 50),
        )
        for row in range(4):
            for column in range(4):
                box(34 + column * 9, 38 + row * 13, 4, 8, (60, 60, 90))
        draw.ellipse((width * 0.46, height * 0.17, width * 0.54, height * 0.26), fill=(250, 240, 200))
    elif kind == "beach":
        box(0, 45, 100, 20, (20, 130, 170))
        box(0, 65, 100, 35, (235, 210, 160))
        for index in range(9):
            x, y, r = (6 + index * 11 + random.uniform(-2, 2)) * unit, height * (0.7 + 0.2 * random.random()), 5 * unit
            draw.pieslice(
                (x - r, y - r, x + r, y + r), 180, 360, fill=[(230, 50, 60), (40, 90, 200), (250, 250, 250)][index % 3]
            )
    else:
        for index in range(9):
            tall = 30 + 40 * random.random()
            box(index * 11.5, 100 - tall, 10, tall, (30 + index * 8, 30, 50))
            for floor in range(int(tall // 9)):
                for column in range(3):
                    if random.random() < 0.6:
                        box(index * 11.5 + 1 + column * 3, 100 - tall + 3 + floor * 9, 1.8, 4, (250, 220, 130))
    texture = random.normal(0, 3.0, (height // 3 + 1, width // 3 + 1, 1)).repeat(3, 0).repeat(3, 1)[:height, :width]
    grained = np.asarray(image, dtype=np.float64) + texture
    return Image.fromarray(np.clip(grained, 0, 255).astype(np.uint8))


def dim(image: Image.Image, brightness: float = 0.5, contrast: float = 0.7) -> Image.Image:
    """Underexposed and flat."""
    return ImageEnhance.Brightness(ImageEnhance.Contrast(image).enhance(contrast)).enhance(brightness)


def blurred(image: Image.Image, radius: float = 14) -> Image.Image:
    """Shaken beyond use."""
    return image.filter(ImageFilter.GaussianBlur(radius))


def nudged(image: Image.Image, pixels: int = 8) -> Image.Image:
    """The same moment, the camera a little moved and a little softer."""
    moved = image.crop((pixels, pixels // 2, *image.size)).resize(image.size, Image.Resampling.LANCZOS)
    return moved.filter(ImageFilter.GaussianBlur(1.2))


def exif(
    taken: datetime | None = None,
    gps: tuple[float, float] | None = None,
    camera: tuple[str, str] | None = ("Stepwell", "Obscura 1"),
    orientation: int = 1,
    offset: str = "+02:00",
) -> bytes:
    """An EXIF block."""
    block = Image.Exif()
    block[ExifTags.Base.Orientation] = orientation
    if camera:
        block[ExifTags.Base.Make], block[ExifTags.Base.Model] = camera
    if taken:
        details = block.get_ifd(ExifTags.IFD.Exif)
        details[ExifTags.Base.DateTimeOriginal] = taken.strftime("%Y:%m:%d %H:%M:%S")
        if offset:
            details[ExifTags.Base.OffsetTimeOriginal] = offset
    if gps:
        place = block.get_ifd(ExifTags.IFD.GPSInfo)
        for value, names, reference in (
            (gps[0], (ExifTags.GPS.GPSLatitude, ExifTags.GPS.GPSLatitudeRef), "NS"),
            (gps[1], (ExifTags.GPS.GPSLongitude, ExifTags.GPS.GPSLongitudeRef), "EW"),
        ):
            degrees = abs(value)
            minutes = (degrees % 1) * 60
            place[names[0]] = (float(int(degrees)), float(int(minutes)), round((minutes % 1) * 60, 4))
            place[names[1]] = reference[0] if value >= 0 else reference[1]
    return block.tobytes()


def photo(image: Image.Image, form: str = "JPEG", **facts: object) -> bytes:
    """A file in the format JPEG, PNG, WEBP, GIF or HEIF; `facts` go to `exif`."""
    out = io.BytesIO()
    options: dict[str, object] = {"quality": 90} if form in ("JPEG", "WEBP", "HEIF") else {}
    if facts and form != "GIF":
        options["exif"] = exif(**facts)  # type: ignore[arg-type]
    image.save(out, form, **options)
    return out.getvalue()


def film(
    pictures: list[Image.Image],
    *,
    seconds: float = 3.0,
    fps: float = 30.0,
    suffix: str = ".mp4",
    audio: bool = True,
    noise: float = 0.0,
    size: tuple[int, int] | None = None,
    taken: datetime | None = None,
    gps: tuple[float, float] | None = None,
    preset: str = "ultrafast",
) -> bytes:
    """A film that shows each picture for an equal time, slowly panned, with a tone if there is `audio`. Real H.264 (VP8 in WebM)."""
    width, height = size or (pictures[0].width // 2 * 2, pictures[0].height // 2 * 2)
    count = max(1, round(seconds * fps))
    random = np.random.default_rng(7)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"film{suffix}"
        video = (
            ["-c:v", "libvpx", "-b:v", "2M", "-deadline", "realtime"]
            if suffix == ".webm"
            else ["-c:v", "libx264", "-preset", preset, "-crf", "20"]
        )
        sound = (
            ["-f", "lavfi", "-t", f"{count / fps:.4f}", "-i", "sine=frequency=440:sample_rate=44100"] if audio else []
        )
        tags = []
        if taken:
            tags += ["-metadata", f"creation_time={taken.isoformat()}Z"]
        if gps:
            tags += ["-metadata", f"location={gps[0]:+08.4f}{gps[1]:+09.4f}/", "-movflags", "use_metadata_tags"]
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24",
            "-s", f"{width}x{height}", "-r", f"{fps:g}", "-i", "-", *sound, *video, "-pix_fmt", "yuv420p",
            *((["-c:a", "libopus"] if suffix == ".webm" else ["-c:a", "aac"]) if audio else []), *tags, str(out),
        ]  # fmt: skip
        wide = [picture.resize((round(width * 1.06), round(height * 1.06))) for picture in pictures]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            for index in range(count):
                frame = wide[min(len(wide) - 1, index * len(wide) // count)]
                left = round((frame.width - width) * index / count)
                pixels = np.asarray(frame.crop((left, 0, left + width, height)))
                if noise:
                    pixels = np.clip(pixels + random.normal(0, noise, pixels.shape), 0, 255).astype(np.uint8)
                process.stdin.write(pixels.tobytes())
            process.stdin.close()
        assert process.returncode == 0, "ffmpeg could not make the film"
        return out.read_bytes()


def trip(size: tuple[int, int] = (1600, 1200)) -> list[File]:
    """A session as it comes from a phone: six scenes, duplicates, a blurred and a corrupt photo, HEIC, PNG and WebP, two films."""
    files: list[File] = []

    def add(name: str, data: bytes) -> None:
        kinds = {
            "jpg": "image/jpeg",
            "png": "image/png",
            "heic": "image/heic",
            "webp": "image/webp",
            "mp4": "video/mp4",
            "mov": "video/quicktime",
        }
        files.append(File(name, data, kinds[name.rsplit(".", 1)[-1]]))

    def at(minutes: int) -> datetime:
        return MORNING + timedelta(minutes=minutes)

    harbour, market, beach = scene("harbour", size), scene("market", size), scene("beach", size)
    church, mountain, street = scene("church", size), scene("mountain", size), scene("street", size)
    add("IMG_0001.jpg", photo(dim(harbour, 0.7, 0.75), taken=at(0), gps=NICE))
    add("IMG_0002.jpg", photo(nudged(dim(harbour, 0.7, 0.75)), taken=at(1), gps=NICE))
    add("IMG_0003.jpg", photo(blurred(dim(harbour, 0.7, 0.75), 26), taken=at(1), gps=NICE))
    add("IMG_0004.heic", photo(dim(market, 0.6, 0.8), "HEIF", taken=at(40), gps=NICE))
    add("IMG_0005.jpg", photo(nudged(dim(market, 0.6, 0.8)), taken=at(41), gps=NICE))
    turned = dim(church, 0.85, 0.7).transpose(Image.Transpose.ROTATE_90)
    add("IMG_0006.jpg", photo(turned, taken=at(240), gps=VENCE, orientation=6))
    add("IMG_0007.png", photo(mountain, "PNG"))
    add("IMG_0008.webp", photo(dim(street, 1.2, 1.0), "WEBP", taken=at(660), gps=VENCE))
    add("IMG_0009.jpg", photo(dim(beach, 0.45, 0.6), taken=at(70), gps=NICE))
    add("IMG_0010.jpg", photo(beach, taken=at(71), gps=NICE)[:2000] + b"\x00" * 500)
    clip: dict[str, Any] = {"size": (480, 360), "fps": 25.0}
    add(
        "IMG_0001.mov",
        film(
            [dim(scene("harbour", (640, 480), 5), 0.6, 0.7)], seconds=2.0, suffix=".mov", taken=at(2), gps=NICE, **clip
        ),
    )
    add(
        "MVI_0011.mp4",
        film([dim(scene("beach", (640, 480), 3), 0.5, 0.6)], seconds=2.0, noise=6.0, taken=at(75), gps=NICE, **clip),
    )
    return files
