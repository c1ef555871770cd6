"""Structured data of an itinerary's page: Product, FAQPage and BreadcrumbList of schema.org."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from scraper.hero import is_film
from scraper.settings import Settings
from scraper.transform.richtext import Json, plain

CONTEXT = "https://schema.org"
MAX_IMAGES = 10


def structured_data(
    itinerary: Mapping[str, Any],
    media: Sequence[Mapping[str, Any]],
    hero: Mapping[str, Any] | None,
    settings: Settings,
    today: date,
) -> list[Json]:
    """The objects, each with its own context. `media` in their order; `hero` is the chosen photo."""
    found = [_product(itinerary, media, hero, settings, today)]
    questions = _questions(itinerary)
    if questions:
        found.append({"@context": CONTEXT, "@type": "FAQPage", "mainEntity": questions})
    found.append(_breadcrumbs(itinerary, settings))
    return found


def _product(
    itinerary: Mapping[str, Any],
    media: Sequence[Mapping[str, Any]],
    hero: Mapping[str, Any] | None,
    settings: Settings,
    today: date,
) -> Json:
    overview = itinerary.get("overview") or {}
    investment = itinerary.get("investmentLevel") or {}
    countries = [str(entry.get("country")) for entry in overview.get("countries") or [] if entry.get("country")]
    title = str(itinerary.get("title") or "").strip()
    nights = overview.get("nights")
    url = _url(itinerary, settings)
    photos = [photo for photo in media if not is_film(photo)][:MAX_IMAGES]
    urls = [photo.get("imgixUrl") or photo.get("url") for photo in ([hero] if hero else []) + photos]
    description = itinerary.get("metaDescription")
    try:
        until = today.replace(year=today.year + 1)
    except ValueError:  # 29 February
        until = today.replace(year=today.year + 1, day=28)
    return {
        "@context": CONTEXT,
        "@type": "Product",
        "name": title,
        "description": description or f"{title}: a {nights}-night journey through {', '.join(countries) or 'Africa'}.",
        "url": url,
        "brand": {"@type": "Brand", "name": settings.brand, "url": settings.site_url},
        "category": settings.product_category,
        "image": list(dict.fromkeys(url for url in urls if url)),
        "offers": {
            "@type": "Offer",
            "priceCurrency": investment.get("currency") or "USD",
            "price": investment.get("fromPrice"),
            "priceValidUntil": until.isoformat(),
            "availability": f"{CONTEXT}/InStock",
            "url": url,
            "seller": {"@type": "TravelAgency", "name": settings.brand, "url": settings.site_url},
        },
        "additionalProperty": [
            {"@type": "PropertyValue", "name": "Duration", "value": f"{nights} nights"},
            {"@type": "PropertyValue", "name": "Destinations", "value": ", ".join(countries) or "Africa"},
        ],
    }


def _questions(itinerary: Mapping[str, Any]) -> list[Json]:
    """Questions with an answer; an import gap that shows as "Unknown" leaves its question out."""
    found = []
    for item in itinerary.get("faqItems") or []:
        question = str(item.get("questionEnhanced") or item.get("questionItrvl") or item.get("question") or "").strip()
        answer = (plain(item.get("answerEnhanced")) or plain(item.get("answerItrvl"))).strip()
        if question and answer and "unknown" not in f"{question} {answer}".lower():
            found.append({"@type": "Question", "name": question, "acceptedAnswer": {"@type": "Answer", "text": answer}})
    return found


def _breadcrumbs(itinerary: Mapping[str, Any], settings: Settings) -> Json:
    site = settings.site_url
    steps = (
        ("Home", f"{site}/"),
        (settings.listing_path.strip("/").replace("-", " ").title(), f"{site}{settings.listing_path}"),
        (str(itinerary.get("title") or "").strip(), _url(itinerary, settings)),
    )
    return {
        "@context": CONTEXT,
        "@type": "BreadcrumbList",
        "itemListElement": [
            {"@type": "ListItem", "position": position, "name": name, "item": url}
            for position, (name, url) in enumerate(steps, 1)
        ],
    }


def _url(itinerary: Mapping[str, Any], settings: Settings) -> str:
    return f"{settings.site_url}{settings.listing_path}/{itinerary.get('slug')}"
