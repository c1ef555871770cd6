"""After a batch of imports: is everything as it should be?"""

from __future__ import annotations

from scraper.cms import Cms, ids_of
from scraper.jobs import ACTIVE


def audit(cms: Cms) -> list[str]:
    """What is wrong, a line each; nothing when all is well."""
    found = [
        f"job {job['id']} is {job['status']} ({job.get('currentPhase')})"
        for job in cms.list("itinerary-jobs", ("status", "in", ACTIVE))
    ]
    itineraries = cms.list("itineraries", draft=True)
    for itinerary in itineraries:
        found += [
            f"itinerary {itinerary['id']}, day {day.get('dayNumber')}: {block.get('accommodationName')} has no property"
            for day in itinerary.get("days") or []
            for block in day.get("segments") or []
            if block.get("blockType") == "stay" and not block.get("property")
        ]
    photos = cms.list("media", ("mediaType", "not_equals", "video"))
    found += [f"photo {photo['id']} has no label yet" for photo in photos if photo.get("labelingStatus") == "pending"]
    used = {id for photo in photos for id in ids_of(photo.get("usedInItineraries"))}
    found += [f"itinerary {entry['id']} is used by no photo" for entry in itineraries if entry["id"] not in used]
    return found
