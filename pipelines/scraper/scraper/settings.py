"""Configuration, from the environment of a function or server. Values are trimmed: a stray newline in an ARN once broke a deployment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from scraper.errors import ConfigurationError

COUNTRY_CODES: Mapping[str, str] = {
    "TZ": "Tanzania",
    "KE": "Kenya",
    "BW": "Botswana",
    "RW": "Rwanda",
    "ZA": "South Africa",
    "ZW": "Zimbabwe",
    "ZM": "Zambia",
    "NA": "Namibia",
    "UG": "Uganda",
    "MZ": "Mozambique",
}
"""ISO 3166 codes of the portal, as the CMS names the countries."""


@dataclass(frozen=True)
class Settings:
    """Section 2 of the specification. Only what a part needs is required of it: see `require`."""

    payload_url: str = ""
    payload_key: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)
    machine_arn: str = ""
    scraper_url: str = ""
    scraper_secret: str = field(default="", repr=False)
    image_base: str = ""
    video_base: str = ""
    portal_hosts: tuple[str, ...] = ()
    portal_origin: str = ""
    """Where the portal is reached instead of at its own host; for tests and the demo."""
    portal_capture: str = "auto"
    bucket: str = "media"
    imgix_domain: str = ""
    imgix_origin: str = ""
    """Where the labeler fetches CDN URLs instead of at `https://{imgix_domain}`; for tests and the demo."""
    model_url: str = "https://openrouter.ai/api/v1"
    model_key: str = field(default="", repr=False)
    model: str = "openai/gpt-4o"
    model_seconds: float = 120.0
    video_processor: str = ""
    site_url: str = ""
    brand: str = ""
    listing_path: str = "/safaris"
    product_category: str = "Luxury Safari"
    product_phrase: str = "Luxury Safari"
    why_us: str = ""
    chunk_size: int = 20
    batch_size: int = 10
    label_concurrency: int = 3
    stuck_minutes: float = 30.0
    price_unit: str = "auto"
    update_keeps_status: bool = False
    pause: float = 1.0
    """Factor on every pause between attempts; 1 except in tests."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read everything, require nothing. Raises ConfigurationError for a value that cannot be understood."""
        env = os.environ if environ is None else environ

        def text(name: str, default: str = "") -> str:
            return env.get(name, "").strip() or default

        def number(name: str, default: float, least: float = 1) -> float:
            given = text(name, str(default))
            try:
                value = float(given)
            except ValueError:
                raise ConfigurationError(f"{name} is {given!r}; it must be a number") from None
            if value < least:
                raise ConfigurationError(f"{name} is {given}; it must be at least {least:g}")
            return value

        def choice(name: str, *values: str) -> str:
            given = text(name, values[0]).lower()
            if given not in values:
                raise ConfigurationError(f"{name} is {given!r}; it must be one of {', '.join(values)}")
            return given

        hosts = tuple(
            host.strip().lower() for host in text("PORTAL_ALLOWED_HOSTS", "itrvl.com").split(",") if host.strip()
        )
        return cls(
            payload_url=text("PAYLOAD_API_URL").rstrip("/"),
            payload_key=text("PAYLOAD_API_KEY"),
            api_key=text("SCRAPER_API_KEY"),
            machine_arn=text("STEP_FUNCTION_ARN"),
            scraper_url=text("LAMBDA_SCRAPER_URL"),
            scraper_secret=text("LAMBDA_SCRAPER_SECRET") or text("SCRAPER_SECRET"),
            image_base=text("ITRVL_IMAGE_CDN_BASE", "https://itrvl-production-media.imgix.net").rstrip("/"),
            video_base=text("ITRVL_VIDEO_CDN_BASE", "https://cdn-media.itrvl.com/video/hls").rstrip("/"),
            portal_hosts=hosts,
            portal_origin=text("PORTAL_ORIGIN").rstrip("/"),
            portal_capture=choice("PORTAL_CAPTURE", "auto", "http", "browser"),
            bucket=text("S3_BUCKET", "media"),
            imgix_domain=text("IMGIX_DOMAIN"),
            imgix_origin=text("IMGIX_ORIGIN").rstrip("/"),
            model_url=text("OPENROUTER_BASE_URL", cls.model_url),
            model_key=text("OPENROUTER_API_KEY"),
            model=text("VISION_MODEL", cls.model),
            model_seconds=number("VISION_TIMEOUT_SECONDS", 120, 0.1),
            video_processor=text("LAMBDA_VIDEO_PROCESSOR_ARN"),
            site_url=text("SITE_URL").rstrip("/"),
            brand=text("BRAND_NAME"),
            listing_path="/" + text("LISTING_PATH", "/safaris").strip("/"),
            product_category=text("PRODUCT_CATEGORY", cls.product_category),
            product_phrase=text("PRODUCT_PHRASE", cls.product_phrase),
            why_us=text("WHY_US"),
            chunk_size=int(number("CHUNK_SIZE", 20)),
            batch_size=int(number("BATCH_SIZE", 10)),
            label_concurrency=int(number("LABEL_CONCURRENCY", 3)),
            stuck_minutes=number("STUCK_AFTER_MINUTES", 30, 0.0001),
            price_unit=choice("SELLING_PRICE_UNIT", "auto", "major", "minor"),
            update_keeps_status=choice("UPDATE_KEEPS_STATUS", "false", "true") == "true",
            pause=number("PAUSE_FACTOR", 1.0, 0),
        )

    def require(self, **names: str) -> Settings:
        """Itself, when each of these attributes is set: `require(scraper_url="LAMBDA_SCRAPER_URL")`. Raises ConfigurationError."""
        missing = [variable for attribute, variable in names.items() if not getattr(self, attribute)]
        if missing:
            raise ConfigurationError(f"{', '.join(missing)} must be set")
        return self

    @property
    def video_host(self) -> str:
        """The only host films are fetched from, with its port."""
        return urlsplit(self.video_base).netloc.lower()
