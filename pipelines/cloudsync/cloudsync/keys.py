"""Where an item lies in the archive (section 3.2)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from cloudsync.errors import StorageError, storing
from stepwell.toolkit.errors import ObjectNotFound
from stepwell.toolkit.objects import Bucket, ObjectInfo
from stepwell.toolkit.records import Item, Table

SOURCE_MEDIA_ID = "sourcemediaid"
MAX_NAME_BYTES = 900
_UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f]")


def prefix(provider: str) -> str:
    """The folder of everything a provider's library gave."""
    return f"{provider}-videos/"


def safe_name(filename: str) -> str:
    """The file's own name with everything that is no part of a name replaced by `_`."""
    name = _UNSAFE.sub("_", filename)
    if name in ("", ".", ".."):
        name = name.replace(".", "_") or "_"
    stem, extension = split_name(name)
    while len((stem + extension).encode()) > MAX_NAME_BYTES:
        stem = stem[:-1]
    return stem + extension


def split_name(name: str) -> tuple[str, str]:
    """Stem and extension (with its dot); a name that begins with its only dot has no extension."""
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension) if stem and len(extension) <= 16 else (name, "")


def upload_month(upload_date: str, first_seen_at: str) -> tuple[int, int]:
    """Year and month in UTC of the listed date, or of the day the item was first seen: never of "today", which changes."""
    for text in (upload_date, first_seen_at):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            continue
        if moment.tzinfo is not None:
            moment = moment.astimezone(UTC)
        return moment.year, moment.month
    raise ValueError(f"neither {upload_date!r} nor {first_seen_at!r} is a date")


def archive_key(provider: str, filename: str, upload_date: str, first_seen_at: str) -> str:
    """The key an item has by its name and date alone."""
    year, month = upload_month(upload_date, first_seen_at)
    return f"{prefix(provider)}{year:04d}/{month:02d}/{safe_name(filename)}"


def alternative_key(key: str, media_id: str) -> str:
    """The key for an item whose own key belongs to another item of the same name and month."""
    folder, _, name = key.rpartition("/")
    stem, extension = split_name(name)
    return f"{folder}/{stem}_{media_id}{extension}"


class Shelf:
    """Gives each item a key of its own, also when two of the same name are archived at the same moment.

    Who asked first for a key owns it for good (a record under the key); objects that were archived before there were such
    records are known by their metadata.
    """

    def __init__(self, bucket: Bucket, owners: Table) -> None:
        self._bucket = bucket
        self._owners = owners

    def place(self, wanted: str, media_id: str, now: str) -> tuple[str, ObjectInfo | None]:
        """The key to use, and what is stored there already (always this item's own). Raises StorageError."""
        with storing("archive"):
            for key in (wanted, alternative_key(wanted, media_id)):
                stored = self.stored(key)
                others = stored is not None and stored.metadata.get(SOURCE_MEDIA_ID) != media_id
                if not others and self._claim(key, media_id, now) == media_id:
                    return key, stored
        raise StorageError(f"{wanted} and its alternative for {media_id} both hold other items")

    def stored(self, key: str) -> ObjectInfo | None:
        """The object under a key, or None."""
        try:
            return self._bucket.head(key)
        except ObjectNotFound:
            return None

    def _claim(self, key: str, media_id: str, now: str) -> str:
        def claim(item: Item | None) -> Item:
            return item if item is not None else {"media_id": media_id, "claimed_at": now}

        claimed = self._owners.mutate(key, claim) or {}
        return str(claimed.get("media_id"))
