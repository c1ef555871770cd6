"""Names: media types, session ids, media keys, and where everything of a session lies in the bucket (sections 4, 7 and 9.1)."""

from __future__ import annotations

import re
import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Literal

from mediaselect.errors import InvalidEvent, UnsupportedMedia

Kind = Literal["photo", "video"]

IMAGES: Mapping[str, str] = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".heic": "image/heic",
    ".heif": "image/heif",
}
VIDEOS: Mapping[str, str] = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".avi": "video/x-msvideo",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
}
TYPES = {**IMAGES, **VIDEOS}
MAX_PHOTO_BYTES = 50 * 1024 * 1024
MAX_VIDEO_BYTES = 5 * 1024 * 1024 * 1024
TAGS = {"Project": "mediaselect"}
"""On every object that the pipeline writes."""

SESSION_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
FILENAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._ ()-]{0,254}")


def extension(name: str) -> str:
    """The last extension in lower case, with its dot."""
    return PurePosixPath(name).suffix.lower()


def kind_of(name: str) -> Kind:
    """`photo` or `video`, by the extension. Raises UnsupportedMedia."""
    found = extension(name)
    if found in IMAGES:
        return "photo"
    if found in VIDEOS:
        return "video"
    raise UnsupportedMedia(f"files of type {found or '(none)'} are not supported")


def is_supported(name: str) -> bool:
    """Whether the extension is in the table of media types."""
    return extension(name) in TYPES


def label(name: str) -> Literal["Photo", "Video"]:
    """The `type` of a result: by the extension, whatever the model says."""
    return "Video" if extension(name) in VIDEOS else "Photo"


def filename(key: str) -> str:
    """What follows the last slash."""
    return key.rsplit("/", 1)[-1]


def base_name(name: str) -> str:
    """The file name without its last extension."""
    return filename(name).rpartition(".")[0] or filename(name)


def is_source(key: str) -> bool:
    """Whether a key is uploaded media: exactly one slash. Thumbnails and enhanced files of earlier runs lie deeper."""
    return key.count("/") == 1 and not key.endswith("/")


def check_session(session: object) -> str:
    """The session id, or InvalidEvent."""
    if not isinstance(session, str) or not SESSION_ID.fullmatch(session):
        raise InvalidEvent("sessionId must be a lower-case UUID")
    return session


def check_filename(name: object) -> str:
    """A file name that may be uploaded, or InvalidEvent."""
    if not isinstance(name, str) or not FILENAME.fullmatch(name) or ".." in name:
        raise InvalidEvent(
            "filename must begin with a letter or digit and hold only letters, digits, spaces and . _ ( ) -"
        )
    return name


def check_key(key: object, session: str | None = None) -> str:
    """A key of the session (of any session without one), or InvalidEvent."""
    if not isinstance(key, str) or not key:
        raise InvalidEvent("key is missing")
    owner, slash, rest = key.partition("/")
    bad = ".." in key or "\\" in key or any(ord(character) < 32 for character in key)
    if bad or not slash or not rest or not SESSION_ID.fullmatch(owner) or (session is not None and owner != session):
        raise InvalidEvent("key does not belong to this session")
    return key


def new_job(prefix: Literal["sel", "enh", "fb"]) -> str:
    """A job id, which is also the execution's name: 16 random bytes."""
    return f"{prefix}-{secrets.token_hex(16)}"


def job_id(text: str, prefix: Literal["sel", "enh"]) -> str:
    """A job id as it stands in a path, with or without its prefix."""
    return text if text.startswith(f"{prefix}-") else f"{prefix}-{text}"


def thumbnail_names(keys: Iterable[str]) -> dict[str, str]:
    """Thumbnail file names of those keys whose plain `{baseName}.jpg` another key has: `IMG_1.mov` beside `IMG_1.jpg`.

    Names are compared without case and never given twice, also when `IMG_1-mov.jpg` was uploaded itself.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for key in sorted(keys):
        groups[base_name(key).lower()].append(key)
    taken = set(groups)
    names: dict[str, str] = {}
    for group in groups.values():
        for key in group[1:]:
            base = f"{base_name(key)}-{extension(key).lstrip('.')}"
            candidate, number = base, 2
            while candidate.lower() in taken:
                candidate, number = f"{base}-{number}", number + 1
            taken.add(candidate.lower())
            names[key] = f"{candidate}.jpg"
    return names


def thumbnail_key(session: str, key: str, names: Mapping[str, str] | None = None) -> str:
    """Where the 400 px JPEG of a source lies."""
    return f"{session}/thumbnails/{(names or {}).get(key) or base_name(key) + '.jpg'}"


def enhanced_thumbnail_key(session: str, key: str, names: Mapping[str, str] | None = None) -> str:
    """Where the 400 px JPEG of the enhanced version lies."""
    return f"{session}/thumbnails/enhanced-{(names or {}).get(key) or base_name(key) + '.jpg'}"


def compressed_key(session: str, key: str, names: Mapping[str, str] | None = None) -> str:
    """Where the small preview of a video lies. It shares the thumbnail's name, so two sources never share it."""
    return f"{session}/compressed/{(names or {}).get(key, base_name(key) + '.jpg').rpartition('.')[0]}.webm"


def enhanced_key(session: str, key: str, content_type: str) -> str:
    """Where the enhanced file lies: the source's name, with the true extension appended when the format differs."""
    name = filename(key)
    same = TYPES.get(extension(name)) == content_type
    return f"{session}/enhanced/{name}{'' if same else _SUFFIXES[content_type]}"


_SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/gif": ".gif", "video/mp4": ".mp4"}


def results_key(session: str, job: str) -> str:
    """Where a selection result lies that is too large for its record."""
    return f"{session}/results/{job}.json"
