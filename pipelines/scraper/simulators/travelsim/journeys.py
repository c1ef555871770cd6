"""Itineraries for the portal: the fixture FX-1 of the specification, made-up ones of any size, and their photos as real files."""

from __future__ import annotations

import copy
import io
import random
from functools import lru_cache
from typing import Any

from PIL import Image, ImageDraw

from .portal import Itinerary, Shape

FX1_ID = "65a1f0c4d2b3e4000f1a2b3c"
FX1_URL = f"https://itrvl.com/client/portal/access-fx1/{FX1_ID}"
FX1_PRICING = [
    {"id": FX1_ID, "name": "Northern Circuit & Coast ", "finance": {"sellingPrice": 18450, "currency": "USD"}}
]
FX1_CONTENT: dict[str, Any] = {
    "agency": {"logo": {"s3Key": "branding/logo.png"}},
    "itineraries": [
        {
            "id": FX1_ID,
            "name": "Northern Circuit & Coast ",
            "summary": "Highlands, plains and a reef island.",
            "startDate": "2026-06-14T00:00:00.000Z",
            "nights": 8,
            "adults": 2,
            "children": 0,
            "countries": ["Tanzania"],
            "segments": [
                {
                    "type": "entry", "title": "Kilimanjaro Intl Airport", "locationCode": "JRO", "travelHubCode": "JRO",
                    "countryCode": "TZ", "location": "Kilimanjaro", "startDate": "2026-06-14",
                },
                {
                    "type": "service", "name": None, "title": "Meet and Assist - Arrival", "country": "Tanzania",
                    "startDate": "2026-06-14",
                },
                {
                    "type": "road", "title": "Transfer to Coffee Hill Lodge", "from": "Kilimanjaro Intl Airport",
                    "to": "Coffee Hill Lodge", "country": "Tanzania", "startDate": "2026-06-14",
                },
                {
                    "type": "stay", "name": None, "title": "Coffee Hill Lodge", "supplierName": "Coffee Hill Lodge",
                    "supplierCode": "CHL01", "nights": 2, "location": "Arusha", "country": "Tanzania",
                    "startDate": "2026-06-14", "roomType": "Garden Suite", "description": "A farm house among coffee rows.",
                    "clientIncludeExclude": "Full board, house wines, laundry",
                    "notes": {"contactEmail": "stay@example.test", "contactNumber": "+000"}, "latitude": -3.4,
                    "longitude": 36.7, "images": ["0b6c1d/1.jpg", "0b6c1d/2.jpg"],
                },
                {
                    "type": "flight", "title": "Flight to Serengeti", "from": "Arusha Airport", "to": "Kogatende Airstrip",
                    "airline": "Example Air", "departureTime": "09:30", "arrivalTime": "10:45", "country": "Tanzania",
                    "startDate": "2026-06-16",
                },
                {
                    "type": "stay", "title": "Plains Tented Camp", "supplierCode": "PTC07", "nights": 3,
                    "location": "Serengeti", "country": "Tanzania", "startDate": "2026-06-16",
                    "clientIncludeExclude": "All meals, game drives, park fees", "images": ["7f20aa/1.jpg", "7f20aa/2.jpg"],
                },
                {
                    "type": "activity", "title": "Balloon safari at dawn", "location": "Serengeti", "country": "Tanzania",
                    "startDate": "2026-06-17", "images": ["7f20aa/2.jpg", "91be3c/1.png"],
                },
                {
                    "type": "stay", "title": "Coral Bay Villas", "nights": 3, "location": "Zanzibar", "country": "Tanzania",
                    "startDate": "2026-06-19", "images": [{"s3Key": "c4d9e1/1.jpg"}],
                },
                {
                    "type": "exit", "title": "Zanzibar Airport", "travelHubCode": "ZNZ", "locationCode": "ZNZ",
                    "countryCode": "TZ", "location": "Zanzibar", "startDate": "2026-06-22",
                },
            ],
        }
    ],
}  # fmt: skip
FX1_KEYS = ("0b6c1d/1.jpg", "0b6c1d/2.jpg", "7f20aa/1.jpg", "7f20aa/2.jpg", "91be3c/1.png", "c4d9e1/1.jpg")


def fx1(*, film: bool = True, shape: Shape = "embedded") -> Itinerary:
    """FX-1 with photos of 900x600 pixels."""
    photos = {key: photo(number, 900, 600, key.rsplit(".", 1)[1]) for number, key in enumerate(FX1_KEYS)}
    return Itinerary(copy.deepcopy(FX1_PRICING), copy.deepcopy(FX1_CONTENT), photos, film, shape)


def journey(
    id: str, count: int, *, name: str | None = None, price: int = 9000, size: tuple[int, int] = (96, 64)
) -> Itinerary:
    """A made-up itinerary with `count` photos at two camps and a walk; keys begin with the id."""
    chosen = random.Random(id)
    keys = [f"{id}/{number:03}.{chosen.choice(('jpg', 'jpg', 'png', 'webp'))}" for number in range(count)]
    stays = [
        {
            "type": "stay", "title": f"{name or id} River Camp", "nights": 3, "location": "Okavango", "country": "Botswana",
            "startDate": "2026-07-01", "clientIncludeExclude": "Full board, game drives", "images": keys[0::2],
        },
        {
            "type": "activity", "title": "Walking safari", "location": "Okavango", "country": "Botswana",
            "startDate": "2026-07-02", "images": keys[:3],
        },
        {
            "type": "stay", "title": f"{name or id} Hill Lodge", "nights": 2, "location": "Chobe", "country": "Botswana",
            "startDate": "2026-07-04", "images": keys[1::2],
        },
    ]  # fmt: skip
    content = {
        "itineraries": [
            {
                "id": id,
                "name": name or f"Journey {id}",
                "startDate": "2026-07-01",
                "countries": ["Botswana"],
                "adults": 2,
                "segments": stays,
            }
        ]
    }
    photos = {key: photo(number, *size, key.rsplit(".", 1)[1]) for number, key in enumerate(keys)}
    return Itinerary([{"itineraryId": id, "finance": {"sellingPrice": price}}], content, photos)


@lru_cache(maxsize=512)
def photo(seed: int, width: int, height: int, kind: str = "jpg") -> bytes:
    """A landscape: sky, sun, hills and a tree, other ones for every seed. Real JPEG, PNG or WebP bytes."""
    chosen = random.Random(seed)
    image = Image.new(
        "RGB", (width, height), (chosen.randint(150, 250), chosen.randint(140, 200), chosen.randint(90, 220))
    )
    draw = ImageDraw.Draw(image)
    x, y, r = chosen.randint(width // 5, width * 4 // 5), height // 3, max(2, height // 9)
    draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 240, chosen.randint(140, 220)))
    for layer in range(3):
        top = height * (5 + layer) // 9
        points = [(0, height)] + [
            (width * step // 8, top + chosen.randint(-height // 12, height // 12)) for step in range(9)
        ]
        shade = 110 - 30 * layer
        draw.polygon([*points, (width, height)], fill=(shade + chosen.randint(0, 80), shade + 10, shade // 2))
    trunk = chosen.randint(width // 6, width * 5 // 6)
    draw.rectangle((trunk, height * 5 // 9, trunk + max(1, width // 90), height * 8 // 9), fill=(50, 35, 25))
    draw.ellipse(
        (trunk - width // 9, height // 2 - height // 14, trunk + width // 8, height // 2 + height // 12),
        fill=(60, 80, 30),
    )
    out = io.BytesIO()
    image.save(out, {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[kind])
    return out.getvalue()
