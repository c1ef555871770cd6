"""One file, one 400 px JPEG for the UI (section 8.1)."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from mediaselect import ffmpeg, images, keys
from mediaselect.errors import MediaToolError, UnsupportedMedia, storing
from stepwell.toolkit.logs import logger
from stepwell.toolkit.objects import Bucket

log = logger(__name__)
URL_SECONDS = 15 * 60


def make(bucket: Bucket, session: str, key: str, names: Mapping[str, str]) -> dict[str, object]:
    """Write the thumbnail of a source; `success` False when none can be made of it. Raises UnsupportedMedia (by type), StoreError."""
    kind = keys.kind_of(key)
    target = keys.thumbnail_key(session, key, names)
    try:
        if kind == "photo":
            with storing("reading the photo"):
                data = bucket.get(key)
            thumbnail = images.thumbnail(data)
        else:
            with storing("reading the video"):
                bucket.head(key)
                # By URL: a video of 5 GB does not fit the function's disk.
                url = bucket.presigned_url(key, expires=URL_SECONDS)
            with tempfile.TemporaryDirectory(prefix="mediaselect-") as folder:
                thumbnail = ffmpeg.still(url, Path(folder) / "frame.jpg", images.THUMBNAIL_PIXELS)
    except (UnsupportedMedia, MediaToolError) as error:
        log.warning("no thumbnail", event_type="thumbnail_failed", error_message=str(error))
        return {"thumbnailKey": "", "originalKey": key, "success": False, "error": str(error)}
    with storing("writing the thumbnail"):
        bucket.put(target, thumbnail, content_type="image/jpeg", tags=keys.TAGS)
    return {"thumbnailKey": target, "originalKey": key, "success": True}
