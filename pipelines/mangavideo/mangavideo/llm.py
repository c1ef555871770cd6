"""The language model: an OpenAI-compatible chat service (section 9.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

import openai

from mangavideo import times
from mangavideo.errors import ConfigError, LLMAuthError, LLMError
from stepwell import toolkit
from stepwell.toolkit import http
from stepwell.toolkit.secrets import SecretHandle

API = "https://api.deepinfra.com/v1/openai"
MAX_TOKENS = 4096
TEMPERATURE = 0.7
TIMEOUT = 120.0
SECRET_SECONDS = 300.0
_REFUSED = (401, 402, 403)
_SENTENCE = re.compile(r"^.*[.!?…](?=\s|$|[\"”’])", re.DOTALL)

log = toolkit.logger(__name__)


@dataclass(frozen=True)
class Prompt:
    """What the model is told: who it is, and what to write."""

    system: str
    user: str


class Narrator:
    """Writes a text for a prompt. Three attempts, 2 and 4 s apart."""

    def __init__(self, base_url: str, api_key: str, model: str) -> None:
        rule = http.Retries(attempts=3, initial=2.0 * times.scale(), jitter=0.0, methods=frozenset({"POST"}))
        self._model = model
        self._client = openai.OpenAI(
            base_url=base_url,
            api_key=api_key,
            max_retries=0,  # the transport repeats
            http_client=http.client(timeout=TIMEOUT, retries=rule),  # type: ignore[arg-type]  # as httpx2's
        )

    def write(self, prompt: Prompt) -> str:
        """The text. Raises LLMAuthError when the key is refused, else LLMError."""
        try:
            answer = self._client.chat.completions.create(
                model=self._model,
                messages=[{"role": "system", "content": prompt.system}, {"role": "user", "content": prompt.user}],
                max_tokens=MAX_TOKENS,
                temperature=TEMPERATURE,
            )
        except openai.APIStatusError as error:
            if error.status_code in _REFUSED:
                raise LLMAuthError(f"the language model's service answered {error.status_code}") from error
            raise LLMError(f"the language model's service answered {error.status_code}") from error
        except openai.APIError as error:
            raise LLMError(f"the language model's service: {type(error).__name__}") from error
        if not answer.choices or not (answer.choices[0].message.content or "").strip():
            raise LLMError("the language model answered with no text")
        usage = answer.usage
        if usage is not None:
            log.info(
                "text written",
                event_type="llm_usage",
                prompt_tokens=usage.prompt_tokens,
                completion_tokens=usage.completion_tokens,
            )
        choice = answer.choices[0]
        text = choice.message.content or ""
        return whole_sentences(text) if choice.finish_reason == "length" else text


def whole_sentences(text: str) -> str:
    """A text that was cut off, up to its last complete sentence; unchanged when it has none."""
    match = _SENTENCE.match(text)
    return match.group(0) if match else text


def api_key(secret: SecretHandle) -> str:
    """The key in the secret. Raises ConfigError when it has none."""
    document = secret.read(max_age=SECRET_SECONDS).json()
    for name in ("api_key", "apiKey", "API_KEY"):
        if document.get(name):
            return str(document[name])
    raise ConfigError(f"secret {secret.name!r} has no api_key")
