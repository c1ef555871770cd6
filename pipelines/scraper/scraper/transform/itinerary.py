"""The itinerary's own fields: title, meta data, overview, price, questions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scraper.transform import segments
from scraper.transform.days import days
from scraper.transform.richtext import Json, pair, rich
from scraper.transform.segments import Segment

DEFAULT_TITLE = "Tailor-made Safari"
DEFAULT_NIGHTS = 7
DEFAULT_INCLUDES = "Accommodation, meals and activities as described in the itinerary."
WHY_US = "Every journey is planned by people who know the camps, the guides and the seasons at first hand."
QUESTIONS = (
    (
        "What is the best time to visit {countries}?",
        "The dry months from June to October are the classic season for game viewing; the green season has its own charm.",
    ),
    (
        "What fitness level is required?",
        "Most activities ask for a moderate level of fitness; walks and treks can be adapted to you.",
    ),
    (
        "Is this safari suitable for children?",
        "Many camps welcome families; minimum ages differ from camp to camp and we advise on each of them.",
    ),
    (
        "What should I pack?",
        "Light layers in neutral colours, a warm jacket for the mornings, comfortable shoes, sun protection and binoculars.",
    ),
)
INCLUDED = (
    (("meal", "breakfast", "dinner", "full board"), "all meals"),
    (("drink", "beverage", "wine", "beer"), "premium beverages"),
    (("game drive", "safari"), "daily game drives"),
    (("transfer", "transport"), "all transfers"),
    (("park fee", "conservation"), "park fees"),
    (("laundry",), "laundry service"),
    (("wifi", "wi-fi"), "WiFi"),
)


@dataclass(frozen=True)
class Facts:
    """What an itinerary says, before it is put into the CMS's form. `price` is in cents."""

    source: Mapping[str, Any]
    segments: Sequence[Segment]
    portal_id: str
    title: str
    nights: int
    countries: list[str]
    stays: list[str]
    price: int

    @classmethod
    def of(cls, itinerary: Mapping[str, Any], price: Any = None) -> Facts:
        """Read the portal's itinerary; `price` is the scraper's, in cents."""
        found = [segment for segment in itinerary.get("segments") or [] if isinstance(segment, Mapping)]
        stays = [segment for segment in found if segments.is_stay(segment)]
        nights = _whole(itinerary.get("nights")) or sum(_whole(stay.get("nights")) for stay in stays) or DEFAULT_NIGHTS
        countries = [
            country
            for segment in found
            for country in (segments.text(segment.get("country")), segments.text(segment.get("countryName")))
            if country and "unknown" not in country.lower()
        ]
        cents = _whole(price) or _whole(itinerary.get("sellFinance"))
        return cls(
            source=itinerary,
            segments=found,
            portal_id=str(itinerary.get("id") or ""),
            title=segments.first(itinerary, "name", "itineraryName") or DEFAULT_TITLE,
            nights=nights,
            countries=list(dict.fromkeys(countries)),
            stays=list(dict.fromkeys(name for name in map(segments.name, stays) if name)),
            price=cents,
        )

    @property
    def default_country(self) -> str | None:
        """The first country the itinerary lists."""
        listed = self.source.get("countries") or []
        return segments.text(listed[0]) if listed else None

    @property
    def total(self) -> int:
        """The price in whole currency units."""
        return round(self.price / 100)


@dataclass(frozen=True)
class Wording:
    """What the brand says in its own words."""

    product_phrase: str = "Luxury Safari"
    why_us: str = WHY_US
    questions: Sequence[tuple[str, str]] = QUESTIONS


@dataclass(frozen=True)
class Relations:
    """Ids that linking found: the itinerary's destinations, and the property of each stay's name."""

    destinations: Sequence[int] = ()
    properties: Mapping[str, int] = field(default_factory=dict)


def transform(facts: Facts, url: str, now: str, wording: Wording, relations: Relations) -> Json:
    """The CMS's itinerary, as for a first import. `now` is an ISO time."""
    title, nights = facts.title, facts.nights
    places = " & ".join(facts.countries) or "Africa"
    summary = segments.first(facts.source, "summary", "description")
    meta_title = f"{title} | {nights}-Night {wording.product_phrase}"[:60].strip()
    meta_description = (
        f"Discover {places} on this {nights}-night journey: {title}. Hand-picked camps and lodges, expert guides, planned around you."
    )[:160].strip()
    return {
        "title": title,
        **pair("title", title),
        "slug": segments.slug(title) or segments.slug(f"itinerary-{facts.portal_id}"),
        "itineraryId": facts.portal_id,
        "metaTitle": meta_title,
        **pair("metaTitle", meta_title),
        "metaDescription": meta_description,
        **pair("metaDescription", meta_description),
        "overview": {
            **pair("summary", rich(summary or f"A {nights}-night journey through {places}.")),
            "nights": nights,
            "countries": [{"country": country} for country in facts.countries],
            "highlights": [{"highlight": stay} for stay in facts.stays[:8]],
        },
        "investmentLevel": {
            "fromPrice": facts.total,
            "currency": "USD",
            **pair("includes", rich(includes(facts))),
            **pair("callout", None),
        },
        "destinations": list(relations.destinations),
        "days": days(facts.segments, facts.source.get("startDate"), relations.properties),
        "faqItems": questions(facts, wording),
        **pair("whyUs", rich(wording.why_us)),
        "images": [],
        "source": {"itrvlUrl": url, "lastScrapedAt": now},
        "buildTimestamp": now,
        "_status": "draft",
    }


def includes(facts: Facts) -> str:
    """What the price includes, in two sentences."""
    found: dict[str, None] = {}
    for segment in facts.segments:
        if segments.is_stay(segment):
            said = (segments.inclusions(segment) or "").lower()
            for words, inclusion in INCLUDED:
                if any(word in said for word in words):
                    found.setdefault(inclusion)
    sentences = []
    if facts.stays:
        more = " and more" if len(facts.stays) > 3 else ""
        sentences.append(f"{facts.nights} nights at {', '.join(facts.stays[:3])}{more}")
    if found:
        sentences.append(", ".join(list(found)[:5]))
    return ". ".join(sentences) + "." if sentences else DEFAULT_INCLUDES


def questions(facts: Facts, wording: Wording) -> list[Json]:
    """What is included at the first three stays, then the brand's own questions."""
    asked: list[tuple[str, str]] = []
    seen: set[str] = set()
    for segment in facts.segments:
        name = segments.name(segment)
        if not segments.is_stay(segment) or not name or name in seen:
            continue
        seen.add(name)
        said = segments.first(segment, "clientIncludeExclude", "inclusions", "description")
        answer = said or f"Your stay at {name} includes accommodation and the services described in the itinerary."
        asked.append((f"What is included at {name}?", answer))
        if len(asked) == 3:
            break
    countries = " and ".join(facts.countries) or "Africa"
    asked += [(question.format(countries=countries), answer) for question, answer in wording.questions]
    return [
        {"question": question, **pair("question", question), **pair("answer", rich(answer)), "reviewed": False}
        for question, answer in asked
    ]


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return 0
    try:
        return max(0, round(float(value)))
    except (ValueError, OverflowError):
        return 0
