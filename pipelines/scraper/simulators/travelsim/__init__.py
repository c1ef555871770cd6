"""The world around an import, on loopback: the travel portal, the CMS, the image CDN, the vision model, and journeys to import."""

from .journeys import FX1_CONTENT, FX1_ID, FX1_KEYS, FX1_PRICING, FX1_URL, fx1, journey, photo
from .loopback import Loopback, Reply, Request
from .payloadcms import PayloadCms
from .portal import Cdn, Itinerary, Portal
from .visionmodel import VisionModel

__all__ = [
    "FX1_CONTENT",
    "FX1_ID",
    "FX1_KEYS",
    "FX1_PRICING",
    "FX1_URL",
    "Cdn",
    "Itinerary",
    "Loopback",
    "PayloadCms",
    "Portal",
    "Reply",
    "Request",
    "VisionModel",
    "fx1",
    "journey",
    "photo",
]
