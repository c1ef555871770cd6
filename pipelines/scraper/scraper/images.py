"""Copies of photos: for the CMS's web site, and for the vision model. Pillow, nothing enlarged, originals never touched."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image, ImageOps

from stepwell.toolkit.logs import logger

log = logger(__name__)

MIMES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif", "MPO": "image/jpeg"}
Image.MAX_IMAGE_PIXELS = 200_000_000


@dataclass(frozen=True)
class Copy:
    """A file: its bytes and what they are. `converted`: they are not the given ones."""

    data: bytes
    mime: str
    converted: bool


def web_copy(data: bytes, mime: str) -> Copy:
    """At most 2400x1600 pixels and 4 MiB: else a JPEG of quality 85. What cannot be read is passed on as it is."""
    return _copy(data, mime, (2400, 1600), 4 * 1024**2, 85, jpeg_only=False)


def model_copy(data: bytes, mime: str) -> Copy:
    """A JPEG of at most 1200x800 pixels and 10 MiB (quality 75)."""
    return _copy(data, mime, (1200, 800), 10 * 1024**2, 75, jpeg_only=True)


def _copy(data: bytes, mime: str, box: tuple[int, int], limit: int, quality: int, *, jpeg_only: bool) -> Copy:
    try:
        with Image.open(io.BytesIO(data)) as image:
            true = MIMES.get(image.format or "", mime)
            fits = image.width <= box[0] and image.height <= box[1] and len(data) <= limit
            if fits and (true == "image/jpeg" or not jpeg_only):
                return Copy(data, true, False)
            image.draft("RGB", box)
            upright = ImageOps.exif_transpose(image)
            upright.thumbnail(box)
            out = io.BytesIO()
            upright.convert("RGB").save(out, "JPEG", quality=quality)
            return Copy(out.getvalue(), "image/jpeg", True)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        log.warning("image not resized", event_type="resize_failed", problem=f"{type(error).__name__}: {error}")
        return Copy(data, mime, False)
