"""Names to classes: what kind of property, airport, activity or service a name speaks of. Pure tables."""

from __future__ import annotations

import re
from collections.abc import Mapping

from scraper.transform.richtext import Json

INTERNATIONAL = frozenset(["NBO", "JNB", "CPT", "DAR", "EBB", "KGL", "GBE", "LUN", "HRE", "WDH", "MPM"])

_PROPERTIES = (
    ("tented_camp", r"tented camp"),
    ("mobile_camp", r"mobile camp"),
    ("camp", r" camp|camp$"),
    ("lodge", r"lodge"),
    ("hotel", r"hotel|manor|house|retreat"),
    ("villa", r"villa|private"),
)
_AIRPORTS = (
    ("international", r"international"),
    ("domestic", r"domestic"),
    ("airstrip", r"airstrip|bush|strip|private"),
)
_ACTIVITIES = (
    ("gorilla_trek", r"gorilla"),
    ("chimpanzee_trek", r"chimp"),
    ("game_drive", r"game drive"),
    ("balloon_flight", r"balloon"),
    ("walking_safari", r"walking|bush walk"),
    ("boat_safari", r"boat"),
    ("canoe_safari", r"canoe"),
    ("horseback_safari", r"horse"),
    ("sundowner", r"sundowner"),
    ("bush_dinner", r"bush dinner|dinner.*bush|bush.*dinner"),
    ("fishing", r"fishing"),
    ("birding", r"bird"),
    ("helicopter_flight", r"helicopter"),
    ("photography", r"photo"),
    ("spa", r"\bspa\b|wellness"),
    ("conservation_experience", r"conservation"),
    ("community_visit", r"community|village"),
    ("cultural_visit", r"cultural"),
    ("snorkeling", r"snorkel"),
    ("diving", r"\bdiv(e|es|er|ers|ing)\b"),
)
_DEMAND = frozenset(
    [
        "boat_safari",
        "canoe_safari",
        "horseback_safari",
        "fishing",
        "spa",
        "photography",
        "community_visit",
        "cultural_visit",
        "snorkeling",
        "diving",
    ]
)
_BOOKED: Mapping[str, tuple[int, int | None, bool, str | None]] = {
    # lead days, largest group, in the tariff, extra cost
    "gorilla_trek": (90, 8, False, "800"),
    "chimpanzee_trek": (30, 8, False, None),
    "balloon_flight": (7, 16, False, None),
    "helicopter_flight": (1, 4, False, None),
    "conservation_experience": (7, None, True, None),
}
SERVICES: Mapping[str, Json] = {
    "international": {
        "hasInternationalFlights": True,
        "hasDomesticScheduledFlights": True,
        "charterOnly": False,
    },
    "domestic": {"hasInternationalFlights": False, "hasDomesticScheduledFlights": True, "charterOnly": False},
    "airstrip": {"hasInternationalFlights": False, "hasDomesticScheduledFlights": False, "charterOnly": False},
}


def property_type(name: str) -> str:
    """lodge, camp, tented_camp, mobile_camp, hotel or villa."""
    return _first(_PROPERTIES, name, "lodge")


def airport_type(name: str, code: str | None) -> str:
    """international, domestic or airstrip."""
    return "international" if code in INTERNATIONAL else _first(_AIRPORTS, name, "domestic")


def activity_type(name: str) -> str:
    """The class of an activity; `other` is a service, no activity."""
    return _first(_ACTIVITIES, name, "other")


def booking(kind: str) -> Json:
    """How an activity of that class is booked as a rule."""
    lead, group, tariff, cost = _BOOKED.get(kind, (0, None, True, None))
    availability = "scheduled" if kind in _BOOKED else "on_demand" if kind in _DEMAND else "always_included"
    return {
        "availability": availability,
        "requiresAdvanceBooking": kind in _BOOKED,
        "typicalLeadTimeDays": lead,
        "maxGroupSize": group,
        "isIncludedInTariff": tariff,
        "typicalAdditionalCost": cost,
    }


def service(name: str) -> Json:
    """Category, direction and level of a service."""
    text = name.lower()
    if ("meet" in text and "assist" in text) or ("vip" in text and "lounge" in text):
        direction = "arrival" if "arriv" in text else "departure" if "depart" in text else "both"
        level = "premium" if "meet" in text and "assist" in text else "ultra_premium"
        return {"category": "airport_service", "serviceDirection": direction, "serviceLevel": level}
    if re.search(r"(park|conservation|camping|concession) fee", text):
        return {"category": "park_fee", "serviceDirection": "na", "serviceLevel": "standard"}
    if re.search(r"supplement|single room|single use", text):
        return {"category": "accommodation_supplement", "serviceDirection": "na", "serviceLevel": "standard"}
    if re.search(r"departure tax|airport tax|departure levy", text):
        return {"category": "departure_tax", "serviceDirection": "departure", "serviceLevel": "standard"}
    return {"category": "other", "serviceDirection": "na", "serviceLevel": "standard"}


def price_tier(per_night: float | None) -> str | None:
    """By price a night."""
    if not per_night:
        return None
    for least, tier in ((3000, "ultra_premium"), (1500, "premium"), (800, "mid_luxury")):
        if per_night >= least:
            return tier
    return "accessible_luxury"


def pax_type(adults: int, children: int) -> str:
    """Who travels."""
    if children > 0:
        return "family"
    return {1: "solo", 2: "couple"}.get(adults, "group" if adults > 4 else "unknown")


def _first(table: tuple[tuple[str, str], ...], name: str, default: str) -> str:
    return next((kind for kind, words in table if re.search(words, name, re.IGNORECASE)), default)
