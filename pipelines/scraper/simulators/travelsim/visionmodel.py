"""The vision model's gateway on loopback: an OpenAI-compatible chat that looks at the pixels it is sent.

    with VisionModel() as model:
        ... OPENROUTER_BASE_URL=model.base_url OPENROUTER_API_KEY=KEY ...
        model.script({"timeOfDay": "teatime"})             # changes of the next answer
        model.fail("POST", status=429, headers={"Retry-After": "7"})

Requests must have what strict structured output needs: the schema names every property as required and allows no other. What the answer
says follows from the image: bright and wide ones are heroes, green ones forest, the size tells the quality. `peak` is the most calls
there ever were at once, `images` what was sent.
"""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from dataclasses import dataclass
from typing import Any

from PIL import Image

from .loopback import Loopback, Reply, Request

KEY = "sk-or-simulated-0123456789"


@dataclass(frozen=True)
class Sent:
    """An image as it was sent, with the text beside it."""

    mime: str
    width: int
    height: int
    text: str


class VisionModel(Loopback):
    """`latency`: seconds an answer takes."""

    def __init__(self, latency: float = 0.0, port: int = 0) -> None:
        super().__init__(port)
        self.latency = latency
        self.images: list[Sent] = []
        self.peak = 0
        self._running = 0
        self._scripts: list[Any] = []
        self._counting = threading.Lock()

    @property
    def base_url(self) -> str:
        return f"{self.url}/api/v1"

    @property
    def environment(self) -> dict[str, str]:
        return {"OPENROUTER_BASE_URL": self.base_url, "OPENROUTER_API_KEY": KEY}

    def script(self, change: Any) -> None:
        """The next answer: a dict changes members (None removes one), a text is the whole content."""
        self._scripts.append(change)

    def answer(self, request: Request) -> Reply:
        with self._counting:
            self._running += 1
            self.peak = max(self.peak, self._running)
        try:
            time.sleep(self.latency)
            return self._answer(request)
        finally:
            with self._counting:
                self._running -= 1

    def _answer(self, request: Request) -> Reply:
        if request.path != "/api/v1/chat/completions" or request.method != "POST":
            return Reply.of({"error": {"message": "Not found", "code": 404}}, 404)
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return Reply.of({"error": {"message": "No auth credentials found", "code": 401}}, 401)
        body = request.json
        problem = _problem(body)
        if problem:
            return Reply.of({"error": {"message": problem, "code": 400}}, 400)
        parts = body["messages"][-1]["content"]
        url = next(part["image_url"]["url"] for part in parts if part["type"] == "image_url")
        text = next(part["text"] for part in parts if part["type"] == "text")
        head, _, encoded = url.partition(",")
        try:
            image = Image.open(io.BytesIO(base64.b64decode(encoded)))
            image.load()
        except OSError:
            return Reply.of({"error": {"message": "Could not process image", "code": 400}}, 400)
        mime = head.removeprefix("data:").removesuffix(";base64")
        self.images.append(Sent(mime, *image.size, text))
        content = json.dumps(look(image, text))
        finish = "stop"
        with self._counting:
            change = self._scripts.pop(0) if self._scripts else None
        if isinstance(change, dict):
            labels = {**json.loads(content), **change}
            content = json.dumps({name: value for name, value in labels.items() if value is not None})
        elif isinstance(change, str):
            content, finish = change, "length" if change else "stop"
        return Reply.of(
            {
                "id": f"gen-{len(self.images)}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": body["model"],
                "choices": [
                    {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}
                ],
                "usage": {"prompt_tokens": 900, "completion_tokens": 200, "total_tokens": 1100},
            }
        )


def _problem(body: Any) -> str | None:
    form = body.get("response_format") or {}
    inner = form.get("json_schema") or {}
    schema = inner.get("schema") or {}
    if form.get("type") != "json_schema" or inner.get("strict") is not True or not inner.get("name"):
        return "response_format must be a strict json_schema"
    if schema.get("additionalProperties") is not False or sorted(schema.get("required", [])) != sorted(
        schema.get("properties", {})
    ):
        return "Invalid schema for response_format: all properties must be required, no others allowed"
    if [message["role"] for message in body.get("messages", [])] != ["system", "user"]:
        return "messages must be a system and a user message"
    return None


def look(image: Image.Image, text: str) -> dict[str, Any]:
    """Labels that follow from the pixels and the given facts: the light of the sky, the colour of the land."""
    small = image.convert("RGB").resize((1, 4))
    sky, land = _rgb(small, 0), _rgb(small, 3)
    facts = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line and not line.startswith("-"))
    place, country = facts.get("Property"), facts.get("Country")
    bright = sum(sky) / 3
    light = "golden" if sky[0] > sky[2] + 15 else "pale blue" if sky[2] > sky[0] else "grey"
    ground = "red" if land[0] > 1.7 * land[1] else "green" if land[1] >= land[0] else "brown"
    wide = image.width >= image.height * 1.3
    scene = f"Layered {ground} hills and a single tree under a {light} sky"
    alt = f"{scene}, with a low sun" + (f", at {place}" if place else "") + (f" in {country}" if country else "")
    alt += ", seen from afar in clear light across the open land"
    setting = {"green": "forest", "red": "mountain", "brown": "savanna"}[ground]
    tags = [place, country, setting, ground, light, "sunset", "hills", "tree", "sky", "safari", "travel", "africa"]
    return {
        "scene": scene,
        "mood": ["serene", "dramatic"] if light == "golden" else ["peaceful"],
        "timeOfDay": {"golden": "golden-hour", "pale blue": "morning", "grey": "dusk"}[light],
        "setting": [setting],
        "composition": "hero" if wide and bright > 170 else "establishing",
        "animals": [],
        "altText": alt,
        "tags": [tag for tag in tags if tag][:12],
        "suitableFor": ["hero-banner", "gallery"] if wide else ["gallery"],
        "quality": "high" if image.width >= 500 else "medium" if image.width >= 200 else "low",
        "imageType": "landscape",
    }


def _rgb(image: Image.Image, row: int) -> tuple[int, int, int]:
    red, green, blue = image.getpixel((0, row))  # type: ignore[misc]
    return int(red), int(green), int(blue)
