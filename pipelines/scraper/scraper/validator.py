"""Checks structured data before a page shows it: what search engines refuse is an error, what they frown upon a warning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

from scraper.transform.richtext import Json

CONTEXT = "https://schema.org"


@dataclass
class Findings:
    """Errors and warnings, each with the place of its object in the array."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def status(self) -> str:
        """pass, warn or fail."""
        return "fail" if self.errors else "warn" if self.warnings else "pass"

    def document(self) -> Json:
        """As the specification has it: `{status, errors, warnings}`."""
        return {"status": self.status, "errors": self.errors, "warnings": self.warnings}


def validate(found: Any, today: date) -> Findings:
    """Look at an array of schema.org objects."""
    findings = Findings()
    if not isinstance(found, list):
        findings.errors.append("the structured data are no array")
        return findings
    if not found:
        findings.errors.append("the structured data are empty")
        return findings
    types = [member.get("@type") for member in found if isinstance(member, Mapping)]
    for index, member in enumerate(found):
        check = _Check(findings, index)
        if not isinstance(member, Mapping):
            check.error("is no object")
            continue
        if member.get("@context") != CONTEXT:
            check.error(f"@context must be {CONTEXT}")
        kind = member.get("@type")
        if kind == "Product":
            _product(check, member, today)
        elif kind == "FAQPage":
            _questions(check, member)
        elif kind == "BreadcrumbList":
            _breadcrumbs(check, member)
        else:
            check.warn(f"@type {kind!r} is not known")
    if "Product" not in types:
        findings.errors.append("there is no Product")
    if "BreadcrumbList" not in types:
        findings.warnings.append("there is no BreadcrumbList")
    return findings


class _Check:
    def __init__(self, findings: Findings, index: int) -> None:
        self._findings, self._index = findings, index

    def error(self, text: str) -> None:
        self._findings.errors.append(f"[{self._index}] {text}")

    def warn(self, text: str) -> None:
        self._findings.warnings.append(f"[{self._index}] {text}")


def _product(check: _Check, product: Mapping[str, Any], today: date) -> None:
    name = product.get("name")
    if not isinstance(name, str) or not name.strip():
        check.error("Product: name is missing or no text")
    else:
        if name != name.strip():
            check.warn("Product: name has spaces around it")
        if len(name) > 150:
            check.warn("Product: name has more than 150 characters")
    images = product.get("image")
    images = [images] if isinstance(images, str) else images
    if not isinstance(images, list) or not images:
        check.error("Product: image is missing")
    else:
        for url in images:
            if not is_url(url):
                check.error(f"Product: image {str(url)[:80]!r} is no http(s) URL")
        if len({str(url) for url in images}) < len(images):
            check.warn("Product: an image is there twice")
    if "url" in product and not is_url(product["url"]):
        check.error("Product: url is no http(s) URL")
    description = product.get("description")
    if not description:
        check.warn("Product: description is missing")
    elif len(str(description)) > 5000:
        check.warn("Product: description has more than 5000 characters")
    brand = product.get("brand")
    if isinstance(brand, Mapping) and not (brand.get("@type") and brand.get("name")):
        check.warn("Product: brand has no type or no name")
    _offers(check, product.get("offers"), today)


def _offers(check: _Check, offers: Any, today: date) -> None:
    if not offers:
        check.warn("Product: there are no offers")
        return
    if not isinstance(offers, Mapping) or offers.get("@type") != "Offer":
        check.error("Product: offers must be of type Offer")
        return
    price = offers.get("price")
    if isinstance(price, bool) or not isinstance(price, (int, float, str)):
        check.warn("Product: price is no number")
    if not offers.get("priceCurrency"):
        check.warn("Product: priceCurrency is missing")
    if not offers.get("availability"):
        check.warn("Product: availability is missing")
    if "priceValidUntil" in offers:
        try:
            until = datetime.fromisoformat(str(offers["priceValidUntil"]).replace("Z", "+00:00")).date()
        except ValueError:
            check.warn("Product: priceValidUntil is no date")
        else:
            if until < today:
                check.warn("Product: priceValidUntil is past")


def _questions(check: _Check, page: Mapping[str, Any]) -> None:
    entries = page.get("mainEntity")
    if not isinstance(entries, list):
        check.error("FAQPage: mainEntity is no array")
        return
    if not entries:
        check.warn("FAQPage: there are no questions")
    for number, entry in enumerate(entries, 1):
        entry = entry if isinstance(entry, Mapping) else {}
        answer = entry.get("acceptedAnswer")
        text = answer.get("text") if isinstance(answer, Mapping) else None
        if entry.get("@type") != "Question":
            check.error(f"FAQPage: entry {number} is no Question")
        if not entry.get("name"):
            check.error(f"FAQPage: entry {number} has no question")
        if not text:
            check.error(f"FAQPage: entry {number} has no answer")
        if "unknown" in f"{entry.get('name')} {text}".lower():
            check.warn(f'FAQPage: entry {number} says "unknown"')


def _breadcrumbs(check: _Check, crumbs: Mapping[str, Any]) -> None:
    entries = crumbs.get("itemListElement")
    if not isinstance(entries, list):
        check.error("BreadcrumbList: itemListElement is no array")
        return
    if not entries:
        check.warn("BreadcrumbList: the list is empty")
    for number, entry in enumerate(entries, 1):
        entry = entry if isinstance(entry, Mapping) else {}
        position = entry.get("position")
        if entry.get("@type") != "ListItem":
            check.error(f"BreadcrumbList: entry {number} is no ListItem")
        if isinstance(position, bool) or not isinstance(position, (int, float)):
            check.error(f"BreadcrumbList: position of entry {number} is no number")
        if not entry.get("name"):
            check.error(f"BreadcrumbList: entry {number} has no name")
        if "item" in entry and not is_url(entry["item"]):
            check.error(f"BreadcrumbList: entry {number} has no valid URL")


def is_url(value: Any) -> bool:
    """Whether it is an absolute http(s) URL."""
    if not isinstance(value, str) or any(character.isspace() for character in value):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
