"""Names of objects in the store, and URLs of the CDN in front of it."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import quote, urlencode

CACHE_CONTROL = "public, max-age=31536000, immutable"


def flat(source_key: str) -> str:
    """The whole source key as a file name: base names of different folders must not collide."""
    return source_key.strip("/").replace("/", "_")


def original_key(cms_id: int, source_key: str) -> str:
    """Where the untouched photo lies."""
    return f"media/originals/{cms_id}/{flat(source_key)}"


def film_key(cms_id: int, context: str, epoch_ms: int) -> str:
    """Where a converted film lies."""
    safe = re.sub(r"[^A-Za-z0-9]", "_", context)
    return f"media/originals/{cms_id}/videos/{safe}_video_{cms_id}_{epoch_ms}.mp4"


def resolved_key(filename: str, epoch_ms: int) -> str:
    """Where a photo lies that an editor uploaded in place of one that failed."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(filename.replace("\\", "/")).name).lstrip(".") or "file"
    return f"media/resolved/{epoch_ms}-{name}"


def cms_filename(source_key: str, converted: bool) -> str:
    """The CMS's file name; a photo that was made a JPEG is called one."""
    name = flat(source_key)
    if converted and not re.search(r"\.jpe?g$", name, re.IGNORECASE):
        return f"{name}.jpg"
    return name


def alt_text(source_key: str) -> str:
    """The file's name as words."""
    return re.sub(r"[-_]+", " ", PurePosixPath(source_key).stem).strip()


def imgix_url(domain: str, key: str, **overrides: str) -> str:
    """The CDN's URL of an image. Parameters keep their order."""
    parameters = {"auto": "format,compress", "q": "80", **overrides}
    return f"{plain_url(domain, key)}?{urlencode(parameters)}"


def plain_url(domain: str, key: str) -> str:
    """The CDN's URL of a file as it is."""
    return f"https://{domain}/{quote(key)}"


def photo_url(base: str, source_key: str) -> str:
    """The portal's URL of a photo."""
    return f"{base}/{quote(source_key.lstrip('/'))}"
