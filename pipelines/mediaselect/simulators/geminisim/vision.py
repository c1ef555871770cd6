"""What the simulated models see in pictures and films, and how they edit them. Plain image arithmetic; nothing is learned."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

import av
import numpy as np
import pillow_heif
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

pillow_heif.register_heif_opener()

IDEAL_MEAN, IDEAL_SPREAD, IDEAL_COLOUR = 118.0, 58.0, 42.0
NIGHT_MEAN = 60.0
UNUSABLE_SHARPNESS = 9.0
ALIKE = 0.93
MAX_OUTPUT_PIXELS = 1536


@dataclass
class Look:
    """Numbers of one picture: brightness 0 to 255, contrast (standard deviation), colourfulness, sharpness, noise."""

    mean: float
    spread: float
    colour: float
    cast: float
    sharpness: float
    noise: float
    night: bool
    """Dark but for small lights: it is meant to be dark."""
    shape: np.ndarray
    tint: np.ndarray

    def like(self, other: Look) -> float:
        """How alike two pictures are, -1 to 1: where it is light and dark, less the distance of their colours."""
        a, b = self.shape - self.shape.mean(), other.shape - other.shape.mean()
        below = float(np.sqrt((a * a).sum() * (b * b).sum()))
        structure = float((a * b).sum() / below) if below > 1e-9 else 1.0
        return structure - float(np.abs(self.tint - other.tint).mean()) / 128

    @property
    def ideal(self) -> float:
        """The brightness this picture should have."""
        return NIGHT_MEAN if self.night else IDEAL_MEAN

    @property
    def score(self) -> float:
        """From 1 to 10: how near exposure, contrast and colour are to what publishes well."""
        lost = 5.0 * max(0.0, abs(self.mean - self.ideal) - 14) / IDEAL_MEAN
        lost += 4.0 * max(0.0, IDEAL_SPREAD - 8 - self.spread) / IDEAL_SPREAD
        lost += 2.0 * max(0.0, IDEAL_COLOUR - 12 - self.colour) / IDEAL_COLOUR
        lost += 0.12 * max(0.0, self.noise - 4.0)
        return round(float(np.clip(9.3 - lost, 1.0, 10.0)), 1)


def look(image: Image.Image) -> Look:
    """The numbers of a picture."""
    small = image.convert("RGB").resize((384, max(1, round(384 * image.height / image.width))), Image.Resampling.BOX)
    pixels = np.asarray(small, dtype=np.float64)
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    laplacian = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    means = pixels.reshape(-1, 3).mean(axis=0)
    middle, lights = (float(value) for value in np.percentile(grey, (50, 99)))
    return Look(
        mean=float(grey.mean()),
        spread=float(grey.std()),
        colour=float((pixels.max(axis=2) - pixels.min(axis=2)).mean()),
        cast=float(means[0] - means[2]),
        sharpness=float(np.percentile(np.abs(laplacian), 99)),
        noise=float(np.median(np.abs(laplacian)) / 0.6745 / np.sqrt(20)),
        night=middle < 0.25 * lights,
        shape=np.asarray(image.convert("L").resize((24, 24), Image.Resampling.BOX), dtype=np.float64),
        tint=np.asarray(image.convert("RGB").resize((3, 3), Image.Resampling.BOX), dtype=np.float64),
    )


def open_image(data: bytes) -> Image.Image:
    """A picture as the service would decode it; ValueError when it is none."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except (OSError, SyntaxError) as error:
        raise ValueError("Unable to process input image") from error


def frames(source: bytes | str, most: int = 6) -> list[Image.Image]:
    """Some frames of a film, evenly spread; ValueError when it cannot be read."""
    try:
        with av.open(io.BytesIO(source) if isinstance(source, bytes) else source, "r") as film:
            every = [frame.to_image() for frame in film.decode(video=0)]  # type: ignore[no-untyped-call]
    except (av.FFmpegError, IndexError) as error:
        raise ValueError("Unable to process input video") from error
    step = max(1, len(every) // most)
    return every[::step][:most]


def temporal_noise(pictures: list[Image.Image]) -> float:
    """Flicker of single pixels against their surroundings."""
    return float(np.mean([look(picture).noise for picture in pictures])) if pictures else 0.0


def encode(image: Image.Image, form: str) -> bytes:
    """A file in the format JPEG or PNG."""
    out = io.BytesIO()
    image.save(out, form, **({"quality": 92} if form == "JPEG" else {}))
    return out.getvalue()


def enhance(image: Image.Image, wishes: str, *, detail: bool) -> tuple[Image.Image, str]:
    """A global edit towards good exposure, contrast and colour, and what the wishes say; with a list of the changes.

    Without `detail` only colours and light change, each pixel by its colour alone.
    """
    if max(image.size) > MAX_OUTPUT_PIXELS:
        image = image.copy()
        image.thumbnail((MAX_OUTPUT_PIXELS, MAX_OUTPUT_PIXELS), Image.Resampling.LANCZOS)
    before = look(image)
    pixels = np.asarray(image, dtype=np.float64) / 255
    said = []
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    low, high = np.percentile(grey, (0.5, 99.5))
    if high - low > 0.02 and (low > 0.06 or high < 0.94):
        pixels = np.clip((pixels - 0.75 * low) / max(0.05, (high - 0.75 * low) / 0.93), 0, 1)
        said.append("Stretched shadows and highlights")
    mean = float((pixels @ np.array([0.299, 0.587, 0.114])).mean())
    target = (before.ideal + 4) / 255
    if abs(mean - target) > 0.04 and 0.01 < mean < 0.99:
        gamma = float(np.clip(np.log(target) / np.log(mean), 0.6, 1.5))
        pixels = pixels**gamma
        said.append("Balanced the exposure")
    if before.colour < IDEAL_COLOUR:
        centre = (pixels @ np.array([0.299, 0.587, 0.114]))[..., None]
        pixels = np.clip(
            centre + (pixels - centre) * float(np.clip(IDEAL_COLOUR / max(before.colour, 8), 1.1, 1.6)), 0, 1
        )
        said.append("Added natural vibrance")
    lowered = wishes.lower()
    if re.search(r"\bwarm", lowered):
        pixels = np.clip(pixels * np.array([1.10, 1.02, 0.86]), 0, 1)
        said.append("Warmed the white balance")
    if re.search(r"\bcool", lowered):
        pixels = np.clip(pixels * np.array([0.88, 1.0, 1.10]), 0, 1)
        said.append("Cooled the white balance")
    if re.search(r"\bbright", lowered):
        pixels = pixels**0.8
        said.append("Brightened the picture")
    if re.search(r"\bdark", lowered):
        pixels = pixels**1.25
        said.append("Darkened the picture")
    if re.search(r"black.and.white|monochrome", lowered):
        pixels = np.repeat((pixels @ np.array([0.299, 0.587, 0.114]))[..., None], 3, axis=2)
        said.append("Turned it into black and white")
    edited = Image.fromarray(np.rint(pixels * 255).astype(np.uint8), "RGB")
    if detail:
        edited = edited.filter(ImageFilter.UnsharpMask(radius=1.6, percent=60, threshold=2))
        said.append("Refined sharpness")
    return edited, "\n".join(f"- {change}." for change in said or ["Left the picture nearly as it was"])


def repaint(image: Image.Image, mask: Image.Image, *, insertion: bool) -> Image.Image:
    """The white part painted over from its surroundings; the black part is the same, pixel by pixel."""
    radius = max(4, min(image.size) // 20)
    soft = image.filter(ImageFilter.GaussianBlur(radius))
    if insertion:
        soft = ImageEnhance.Brightness(soft).enhance(1.05)
    return Image.composite(soft, image, mask.convert("L").point(lambda value: 255 if value >= 128 else 0))
