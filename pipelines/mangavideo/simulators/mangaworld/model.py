"""The language model: an OpenAI-compatible chat service that tells a chapter in Vietnamese, with the marks such models cannot leave out."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

from .web import Answer, Request, Simulator

_OPENINGS = (
    "Chào mừng các bạn đã quay trở lại với kênh của chúng ta.",
    "Câu chuyện hôm nay bắt đầu trong một đêm rất yên tĩnh.",
    "Không ai ngờ rằng mọi thứ lại thay đổi nhanh đến như vậy.",
)
_MIDDLES = (
    "Nhân vật chính bước vào căn phòng tối, nơi một bóng người đang chờ sẵn.",
    "Cậu siết chặt nắm tay, quyết không lùi bước dù chỉ một lần.",
    "Người bạn thân nhất của cậu hóa ra lại đang che giấu một bí mật.",
    "Trận chiến nổ ra, và những khung tranh dồn dập khiến ta nghẹt thở.",
    "Một ký ức cũ hiện về, giải thích vì sao cậu lại căm ghét nơi này.",
)
_ENDINGS = (
    "Liệu điều gì đang chờ đợi ở phía trước?",
    "Chúng ta sẽ cùng tìm câu trả lời trong phần tiếp theo.",
    "Và rồi cánh cửa khép lại, để lại một câu hỏi lớn.",
)


class Model(Simulator):
    """`tell` replaces the text: it gets the user's prompt."""

    def __init__(self, key: str = "sk-simulated-key-1", *, sentences: int = 3) -> None:
        super().__init__()
        self.key = key
        self.sentences = sentences
        self.tell: Callable[[str], str] | None = None

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1/openai"

    def respond(self, request: Request) -> Answer:
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return Answer(401, {"error": {"message": "invalid api key", "type": "invalid_request_error"}})
        if request.path != "/v1/openai/chat/completions" or request.method != "POST":
            return Answer(404, {"error": {"message": "unknown path"}})
        asked = request.json()
        prompt = next(message["content"] for message in asked["messages"] if message["role"] == "user")
        text = self.tell(prompt) if self.tell is not None else self._told(prompt)
        return Answer(200, completion(text, asked["model"]))

    def _told(self, prompt: str) -> str:
        chance = random.Random(prompt)
        chapter = re.search(r"^Chương ([^:]+):", prompt, re.MULTILINE)
        middles = [chance.choice(_MIDDLES) for _ in range(max(0, self.sentences - 2))]
        told = [chance.choice(_OPENINGS), *middles, chance.choice(_ENDINGS)][: self.sentences]
        return (
            f"## Chương {chapter.group(1) if chapter else '?'}\n\n[nhạc nền] **{told[0]}** "
            + " ".join(told[1:])
            + " ✨"
        )


def completion(text: str | None, model: str = "m", finish_reason: str = "stop") -> dict[str, Any]:
    """An answer of the service."""
    words = len((text or "").split())
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 250, "completion_tokens": words, "total_tokens": 250 + words},
    }
