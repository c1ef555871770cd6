"""Still images: decoding, previews, EXIF (sections 9.1 and 9.2).

Everything that leaves here is upright, sRGB and RGB. What cannot be decoded is `UnsupportedMedia`, never passed through.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pillow_heif
from PIL import ExifTags, Image, ImageCms, ImageOps

from mediaselect.errors import UnsupportedMedia

pillow_heif.register_heif_opener()
Image.MAX_IMAGE_PIXELS = 250_000_000

THUMBNAIL_PIXELS = 400
PREVIEW_PIXELS = 1024
JPEG_QUALITY = 80
MAX_EDIT_PIXELS = 4096
MAX_EDIT_BYTES = 7_000_000

_SRGB = ImageCms.createProfile("sRGB")
_MIME = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif", "HEIF": "image/heif"}


@dataclass(frozen=True)
class Metadata:
    """What a source says of itself. `taken` is naive local time unless the camera wrote an offset; `gps` is (latitude, longitude)."""

    gps: tuple[float, float] | None = None
    taken: datetime | None = None
    camera: str = ""
    duration: float | None = None
    width: int = 0
    height: int = 0
    audio: bool = False
    extra: dict[str, Any] = field(default_factory=dict)


def sniff(data: bytes) -> str:
    """The MIME type by the bytes. Raises UnsupportedMedia."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _MIME[image.format or ""]
    except (OSError, KeyError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UnsupportedMedia("the file is not an image that can be read") from error


def decode(data: bytes, *, bound: int | None = None) -> Image.Image:
    """The first frame, upright, on white, as sRGB. `bound` shrinks it to fit a square of that many pixels (never enlarges).

    Raises UnsupportedMedia.
    """
    try:
        with Image.open(io.BytesIO(data)) as opened:
            if bound is not None and opened.format == "JPEG":
                opened.draft("RGB", (3 * bound // 2, 3 * bound // 2))  # lets libjpeg scale while it decodes
            opened.load()
            image: Image.Image = opened
            profile = image.info.get("icc_profile")
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            if bound is not None and image.mode not in ("RGB", "L"):
                image = flatten(image)
            if bound is not None:
                image.thumbnail((bound, bound), Image.Resampling.LANCZOS, reducing_gap=2.0)
            upright = ImageOps.exif_transpose(image) if orientation != 1 else image
            rgb = flatten(upright)
            return to_srgb(rgb, profile) if profile else (rgb if rgb is not image else rgb.copy())
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise UnsupportedMedia("the image cannot be decoded") from error


def flatten(image: Image.Image) -> Image.Image:
    """RGB, with transparency laid on white."""
    if image.mode == "RGB":
        return image
    if "A" in image.getbands() or "transparency" in image.info:
        layered = image.convert("RGBA")
        ground = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(ground, layered).convert("RGB")
    return image.convert("RGB")


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Converted from its profile; an unusable or foreign profile is ignored."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        return ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image


def jpeg(image: Image.Image, quality: int = JPEG_QUALITY, *, exif: bytes = b"") -> bytes:
    """The image as a JPEG file."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality, exif=exif)
    return out.getvalue()


def png(image: Image.Image) -> bytes:
    """The image as a PNG file, lossless."""
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def thumbnail(data: bytes, bound: int = THUMBNAIL_PIXELS) -> bytes:
    """A JPEG of quality 80 that fits a square of `bound` pixels, whatever the source's format. Raises UnsupportedMedia."""
    return jpeg(decode(data, bound=bound))


def for_editing(data: bytes) -> tuple[bytes, str, Image.Image]:
    """What is sent to an image model (bytes, MIME type) and the decoded picture: upright sRGB, at most 7 MB and 4,096 px.

    A plain JPEG or PNG within the limits goes as it is.
    """
    mime = sniff(data)
    picture = decode(data)
    with Image.open(io.BytesIO(data)) as raw:
        plain = (
            raw.mode == "RGB"
            and raw.getexif().get(ExifTags.Base.Orientation, 1) == 1
            and not raw.info.get("icc_profile")
        )
    if (
        mime in ("image/jpeg", "image/png")
        and plain
        and len(data) <= MAX_EDIT_BYTES
        and max(picture.size) <= MAX_EDIT_PIXELS
    ):
        return data, mime, picture
    if max(picture.size) > MAX_EDIT_PIXELS:
        picture.thumbnail((MAX_EDIT_PIXELS, MAX_EDIT_PIXELS), Image.Resampling.LANCZOS)
    for quality in (92, 85, 75):
        encoded = jpeg(picture, quality)
        if len(encoded) <= MAX_EDIT_BYTES:
            break
    return encoded, "image/jpeg", picture


def with_source_exif(result: bytes, source: bytes) -> bytes:
    """A JPEG with date, place and camera of its source, and orientation 1. Pixels are those of `result`, bit by bit."""
    try:
        with Image.open(io.BytesIO(source)) as image:
            old = image.getexif()
            kept = Image.Exif()
            for tag in (ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.DateTime):
                if tag in old:
                    kept[tag] = old[tag]
            details, place = dict(old.get_ifd(ExifTags.IFD.Exif)), dict(old.get_ifd(ExifTags.IFD.GPSInfo))
    except (OSError, ValueError, SyntaxError):
        return result
    if not (details or place or len(kept)):
        return result
    wanted = {
        ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized, ExifTags.Base.OffsetTimeOriginal,
        ExifTags.Base.OffsetTimeDigitized, ExifTags.Base.OffsetTime, ExifTags.Base.SubsecTimeOriginal,
    }  # fmt: skip
    kept[ExifTags.Base.Orientation] = 1
    kept.get_ifd(ExifTags.IFD.Exif).update({tag: value for tag, value in details.items() if tag in wanted})
    if place:
        kept.get_ifd(ExifTags.IFD.GPSInfo).update(place)
    return _put_exif(result, kept.tobytes())


def _put_exif(data: bytes, exif: bytes) -> bytes:
    """The JPEG with this APP1 segment in place of its own: no second compression."""
    if not exif.startswith(b"Exif\x00\x00"):
        exif = b"Exif\x00\x00" + exif
    if not data.startswith(b"\xff\xd8") or len(exif) > 65_000:
        return data
    position, segments = 2, []
    while data[position] == 0xFF and data[position + 1] not in (0xDA, 0xD9):
        length = int.from_bytes(data[position + 2 : position + 4], "big") + 2
        segment = data[position : position + length]
        if not (segment[1] == 0xE1 and segment[4:10] == b"Exif\x00\x00"):
            segments.append(segment)
        position += length
    app1 = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    first = 1 if segments and segments[0][1] == 0xE0 else 0  # JFIF stays in front
    return b"\xff\xd8" + b"".join(segments[:first]) + app1 + b"".join(segments[first:]) + data[position:]


def metadata(data: bytes) -> Metadata:
    """Date, place and camera from EXIF; what is missing or unreadable is left out."""
    with Image.open(io.BytesIO(data)) as image:
        exif = image.getexif()
        width, height = image.size
        if exif.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
            width, height = height, width
        details, place = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    make, model = (_text(exif.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    return Metadata(
        gps=_gps(place),
        taken=_taken(exif, details),
        camera=f"{make} {model}".strip(),
        width=width,
        height=height,
    )


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return str(value or "").strip().strip("\x00").strip()


def _taken(exif: Image.Exif, details: dict[int, Any]) -> datetime | None:
    for value in (
        details.get(ExifTags.Base.DateTimeOriginal),
        details.get(ExifTags.Base.DateTimeDigitized),
        exif.get(ExifTags.Base.DateTime),
    ):
        try:
            moment = datetime.strptime(_text(value), "%Y:%m:%d %H:%M:%S")
        except ValueError:
            continue
        offset = _text(details.get(ExifTags.Base.OffsetTimeOriginal))
        try:
            zone = datetime.strptime(offset, "%z").tzinfo if offset else None
        except ValueError:
            zone = None
        return moment.replace(tzinfo=zone)
    return None


def _gps(place: dict[int, Any]) -> tuple[float, float] | None:
    try:
        latitude = _degrees(place[ExifTags.GPS.GPSLatitude], _text(place[ExifTags.GPS.GPSLatitudeRef]), "S")
        longitude = _degrees(place[ExifTags.GPS.GPSLongitude], _text(place[ExifTags.GPS.GPSLongitudeRef]), "W")
    except (KeyError, TypeError, ValueError, ZeroDivisionError, IndexError):
        return None
    if (latitude, longitude) == (0.0, 0.0) or not (abs(latitude) <= 90 and abs(longitude) <= 180):
        return None
    return latitude, longitude


def _degrees(parts: Any, reference: str, negative: str) -> float:
    degrees, minutes, seconds = (float(part) for part in parts)
    value = degrees + minutes / 60 + seconds / 3600
    if value != value:
        raise ValueError("not a number")
    return -value if reference.upper() == negative else value
