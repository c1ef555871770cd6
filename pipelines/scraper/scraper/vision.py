"""The vision model: one photo and what is known about it in, labels out, by an OpenAI-compatible chat with a strict JSON schema."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from scraper.errors import LabelError
from scraper.images import Copy
from scraper.settings import Settings
from scraper.transform.richtext import Json
from stepwell.toolkit import http
from stepwell.toolkit.logs import logger

if TYPE_CHECKING:
    import openai

log = logger(__name__)

ATTEMPTS = 5
PAUSE = 3.0
TOKENS, MORE_TOKENS = 800, 1600
FINAL = frozenset({400, 401, 402, 403})
APP = "Itinerary import"

MOODS = ["serene", "adventurous", "romantic", "dramatic", "intimate", "luxurious", "wild", "peaceful"]
TIMES = ["dawn", "morning", "midday", "afternoon", "golden-hour", "dusk", "night"]
SETTINGS = [
    "lodge-interior", "lodge-exterior", "pool-deck", "bedroom", "dining", "savanna", "river-water", "forest", "mountain", "bush-dinner",
    "game-drive", "walking-safari", "aerial", "spa",
]  # fmt: skip
COMPOSITIONS = ["hero", "establishing", "detail", "portrait", "action", "panoramic"]
SUITED = ["hero-banner", "article-feature", "gallery", "thumbnail", "social", "print"]
QUALITIES = ["high", "medium", "low"]
TYPES = ["wildlife", "landscape", "accommodation", "activity", "people", "food", "aerial", "detail"]
SCALARS: Mapping[str, list[str]] = {
    "timeOfDay": TIMES,
    "composition": COMPOSITIONS,
    "quality": QUALITIES,
    "imageType": TYPES,
}
LISTS: Mapping[str, tuple[list[str] | None, int | None]] = {
    "mood": (MOODS, 3),
    "setting": (SETTINGS, 3),
    "suitableFor": (SUITED, None),
    "animals": (None, None),
    "tags": (None, 12),
}
TEXTS = ("scene", "altText")
KEYS = (
    "scene",
    "mood",
    "timeOfDay",
    "setting",
    "composition",
    "animals",
    "altText",
    "tags",
    "suitableFor",
    "quality",
    "imageType",
)

SYSTEM = (
    "You are an image analyst for a luxury safari company. You produce searchable metadata that trip designers use to find photos. "
    "Describe only what is visible; take the given facts as true."
)
TASK = """Give for this image:
- scene: what is shown, 5 to 15 words
- mood: 1 to 3
- timeOfDay
- setting: 1 to 3
- composition
- animals: the species visible, empty if none
- altText: 15 to 25 words
- tags: 8 to 12 search terms
- suitableFor
- quality
- imageType"""


def schema() -> Json:
    """The answer's JSON schema: every key required, no other key."""

    def of(name: str) -> Json:
        if name in SCALARS:
            return {"type": "string", "enum": SCALARS[name]}
        if name in LISTS:
            options = LISTS[name][0]
            return {"type": "array", "items": {"type": "string", **({"enum": options} if options else {})}}
        return {"type": "string"}

    properties = {name: of(name) for name in KEYS}
    return {"type": "object", "properties": properties, "required": list(KEYS), "additionalProperties": False}


def prompt(context: Mapping[str, Any]) -> str:
    """The text beside the image. `context`: propertyName, country, segmentType, dayIndex, as far as known."""
    facts = [
        f"{label}: {context[name]}"
        for name, label in (
            ("propertyName", "Property"),
            ("country", "Country"),
            ("segmentType", "Segment type"),
            ("dayIndex", "Day"),
        )
        if context.get(name)
    ]
    parts = ["Known facts:\n" + "\n".join(facts)] if facts else []
    parts.append(TASK)
    if context.get("propertyName"):
        parts.append("Put the property's name into altText and tags.")
    if context.get("country"):
        parts.append("Put the country into tags.")
    return "\n\n".join(parts)


def checked(text: str | None) -> Json:
    """The answer as labels. Illegal members of lists are dropped, too long lists cut. Raises LabelError for anything else."""
    try:
        answer = json.loads(text or "")
    except ValueError:
        raise LabelError("the model's answer is no JSON") from None
    if not isinstance(answer, dict):
        raise LabelError("the model's answer is no object")
    labels: Json = {}
    for name in KEYS:
        if name not in answer:
            raise LabelError(f"the model's answer lacks {name}")
        value = answer[name]
        if name in LISTS:
            options, most = LISTS[name]
            if not isinstance(value, list):
                raise LabelError(f"{name} is no list")
            kept = [member for member in value if isinstance(member, str) and (options is None or member in options)]
            labels[name] = list(dict.fromkeys(kept))[:most]
        elif not isinstance(value, str):
            raise LabelError(f"{name} is no text")
        elif name in SCALARS and value not in SCALARS[name]:
            raise LabelError(f"{name} is {value[:40]!r}; it must be one of {', '.join(SCALARS[name])}")
        else:
            labels[name] = value.strip()
            if not labels[name]:
                raise LabelError(f"{name} is empty")
    return labels


class Vision:
    """The model. Safe for several threads."""

    def __init__(self, settings: Settings, *, sleep: Callable[[float], None] = time.sleep) -> None:
        import openai

        settings.require(model_key="OPENROUTER_API_KEY")
        self._settings = settings
        self._sleep = sleep
        self._errors = openai
        self._client: openai.OpenAI = openai.OpenAI(
            api_key=settings.model_key,
            base_url=settings.model_url,
            max_retries=0,
            timeout=settings.model_seconds,
            default_headers={"HTTP-Referer": settings.site_url or "http://localhost", "X-Title": settings.brand or APP},
        )

    def label(self, image: Copy, context: Mapping[str, Any]) -> Json:
        """The labels of a photo. Raises LabelError."""
        text, cut = self._ask(image, context, TOKENS)
        if not text or cut:
            text, _ = self._ask(image, context, MORE_TOKENS)
        try:
            return checked(text)
        except LabelError:
            log.info("the model's answer is refused", event_type="label_refused", answer=(text or "")[:200])
            raise

    def _ask(self, image: Copy, context: Mapping[str, Any], tokens: int) -> tuple[str | None, bool]:
        """The answer's text, and whether it was cut off."""
        answer = self._call(
            {
                "model": self._settings.model,
                "max_tokens": tokens,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "image_enrichment", "strict": True, "schema": schema()},
                },
                "messages": [
                    {"role": "system", "content": SYSTEM},
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "image_url",
                                "image_url": {
                                    "url": f"data:{image.mime};base64,{base64.b64encode(image.data).decode()}"
                                },
                            },
                            {"type": "text", "text": prompt(context)},
                        ],
                    },
                ],
            }
        )
        if not answer.choices:
            return None, False
        choice = answer.choices[0]
        text = choice.message.content
        return text, choice.finish_reason == "length" or _truncated(text)

    def _call(self, request: Json) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._client.chat.completions.create(**request)
            except self._errors.APIStatusError as error:
                status, wait = error.status_code, PAUSE * attempt
                if status in FINAL or attempt == ATTEMPTS:
                    raise LabelError(f"the model answered {status}: {error.message[:200]}") from error
                if status == 429:
                    response: Any = error.response  # of the client's own HTTP library, with the same headers
                    asked = http.retry_after(response) or 0.0
                    wait = max(asked, PAUSE * 2 ** (attempt - 1))
                problem = f"status {status}"
            except self._errors.APIError as error:
                wait, problem = PAUSE * attempt, type(error).__name__
                if attempt == ATTEMPTS:
                    raise LabelError(f"the model cannot be reached: {problem}") from error
            log.warning("model asked again", event_type="model_retry", problem=problem, attempt=attempt)
            self._sleep(wait * self._settings.pause)
        raise AssertionError("unreachable")


def _truncated(text: str | None) -> bool:
    """Whether a text began as JSON and did not end."""
    stripped = (text or "").strip()
    return stripped.startswith("{") and not stripped.endswith("}")
