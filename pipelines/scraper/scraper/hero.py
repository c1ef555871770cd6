"""Which photo and which film stand at the head of an itinerary."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scraper.cms import id_of

Media = Mapping[str, Any]

_RANKS: Sequence[Callable[[Media], bool]] = (
    lambda photo: bool(photo.get("isHero")) and photo.get("quality") == "high",
    lambda photo: bool(photo.get("isHero")),
    lambda photo: photo.get("quality") == "high" and photo.get("imageType") == "wildlife",
    lambda photo: photo.get("quality") == "high" and photo.get("imageType") == "landscape",
    lambda photo: photo.get("quality") == "high",
    lambda photo: photo.get("imageType") == "wildlife",
    lambda photo: photo.get("imageType") == "landscape",
    lambda photo: True,
)


def is_film(media: Media) -> bool:
    """Whether a media document is a film."""
    return media.get("mediaType") == "video" or str(media.get("mimeType") or "").startswith("video/")


def hero_image(media: Sequence[Media]) -> int | None:
    """The best photo, None without photos. Of equals the first."""
    photos = [found for found in media if not is_film(found)]
    for rank in _RANKS:
        for photo in photos:
            if rank(photo):
                return id_of(photo)
    return None


def hero_video(media: Sequence[Media], cms_id: int) -> int | None:
    """The itinerary's own film, one made for the head before others. Another itinerary's film never."""
    own = [film for film in media if is_film(film) and str(film.get("sourceItinerary")) == str(cms_id)]
    for film in own:
        if film.get("videoContext") == "hero":
            return id_of(film)
    return id_of(own[0]) if own else None
