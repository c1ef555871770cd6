"""The script: a model tells each chapter, in Vietnamese, to be spoken over its pages (section 6.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mangavideo import documents, keys, tokens
from mangavideo.errors import ConfigError, LLMError
from mangavideo.jobs import Jobs
from mangavideo.llm import Narrator, Prompt
from mangavideo.settings import PipelineSettings
from mangavideo.spoken import sanitised
from stepwell import toolkit
from stepwell.toolkit.objects import Bucket

PLACEHOLDER = "[Chương này không có sẵn]"
MIN_CHARACTERS = 20
MAX_PLACEHOLDERS = 0.3
WORDS_A_MINUTE = 250
RESERVE_SECONDS = 180.0

_STYLES = {
    "detailed_review": "Bình luận kỹ từng diễn biến, nhân vật và nét vẽ.",
    "summary": "Tóm tắt gọn, chỉ giữ các diễn biến chính.",
    "chapter_walkthrough": "Kể lần lượt mọi diễn biến của chương theo đúng thứ tự trang.",
}

log = toolkit.logger(__name__)


class ScriptWriter:
    """`remaining` tells the seconds the function still has."""

    def __init__(
        self, bucket: Bucket, jobs: Jobs, narrator: Narrator, settings: PipelineSettings, remaining: Callable[[], float]
    ) -> None:
        self._bucket = bucket
        self._jobs = jobs
        self._narrator = narrator
        self._settings = settings
        self._remaining = remaining

    def write(self, job_id: str, continuation: str | None) -> dict[str, Any]:
        """Go on with the script where it ends. Raises LLMAuthError, LLMError, ConfigError, JobNotFound."""
        self._jobs.require(job_id)
        manifest = documents.load(self._bucket, keys.panel_manifest(job_id))
        if manifest is None:
            raise ConfigError(f"{keys.panel_manifest(job_id)} is not there")
        if continuation is not None:
            tokens.opened(continuation, job_id)
        chapters = [chapter for chapter in manifest["chapters"] if chapter["panel_keys"]]
        script = documents.load(self._bucket, keys.script(job_id)) or {
            "job_id": job_id,
            "manga_title": manifest["manga_title"],
            "complete": False,
            "segments": [],
        }
        # What is stored is the truth; a token only says that there is more to do. So nothing is told twice.
        for index in range(len(script["segments"]), len(chapters)):
            if index and self._remaining() < RESERVE_SECONDS:
                return self._result(script, tokens.made(job_id, index))
            start = sum(len(chapter["panel_keys"]) for chapter in chapters[:index])
            script["segments"].append(self._segment(manifest, chapters, index, start))
            documents.save(self._bucket, keys.script(job_id), script)
        self._check(script)
        if not script["complete"]:
            script["complete"] = True
            documents.save(self._bucket, keys.script(job_id), script)
        self._jobs.advance(job_id, "tts", 40)
        return self._result(script, None)

    def _segment(
        self, manifest: dict[str, Any], chapters: list[dict[str, Any]], index: int, start: int
    ) -> dict[str, Any]:
        chapter = chapters[index]
        try:
            text = sanitised(self._narrator.write(prompt(manifest, chapters, index, self._settings)))
        except LLMError as error:
            log.warning(
                "chapter not told", event_type="chapter_failed", chapter=chapter["chapter_number"], error=str(error)
            )
            text = ""
        missing = len(text) < MIN_CHARACTERS
        return {
            "chapter": chapter["chapter_number"],
            "text": PLACEHOLDER if missing else text,
            "panel_start": start,
            "panel_end": start + len(chapter["panel_keys"]) - 1,
            "placeholder": missing,
        }

    def _check(self, script: dict[str, Any]) -> None:
        segments = script["segments"]
        missing = sum(segment["placeholder"] for segment in segments)
        if not segments or missing > MAX_PLACEHOLDERS * len(segments):
            # Told chapters are kept for the next attempt, which asks again for the others.
            self._forget_placeholders(script)
            raise LLMError(f"{missing} of {len(segments)} chapters have no text")

    def _forget_placeholders(self, script: dict[str, Any]) -> None:
        first = next((i for i, segment in enumerate(script["segments"]) if segment["placeholder"]), 0)
        script["segments"] = script["segments"][:first]
        documents.save(self._bucket, keys.script(script["job_id"]), script)

    def _result(self, script: dict[str, Any], continuation: str | None) -> dict[str, Any]:
        words = sum(len(segment["text"].split()) for segment in script["segments"])
        return {
            "job_id": script["job_id"],
            "script_generated": continuation is None,
            "script_s3_key": keys.script(script["job_id"]),
            "segment_count": len(script["segments"]),
            "estimated_duration_minutes": round(words / WORDS_A_MINUTE, 2),
            "continuation_needed": continuation is not None,
            "continuation_token": continuation,
        }


def prompt(manifest: dict[str, Any], chapters: list[dict[str, Any]], index: int, settings: PipelineSettings) -> Prompt:
    """What the model is told about a chapter."""
    chapter = chapters[index]
    number = chapter["chapter_number"] or "đặc biệt"
    genres = ", ".join(manifest["genres"]) or "N/A"
    system = (
        "Bạn là người kể chuyện cho một kênh video review truyện tranh bằng tiếng Việt. "
        f"Chỉ trả lời bằng tiếng Việt. Giọng điệu: {settings.tone}. {_STYLES[settings.script_style]} "
        "Viết văn xuôi để đọc thành tiếng: không tiêu đề, không gạch đầu dòng, không chỉ dẫn sân khấu, không biểu tượng."
    )
    user = (
        f"Truyện: {manifest['manga_title']}\nThể loại: {genres}\nGiới thiệu: {manifest['description'] or 'N/A'}\n"
        f"Chương {number}: {chapter['title']} ({len(chapter['panel_keys'])} trang)\n"
        f"Đây là phần {index + 1} trên {len(chapters)}.\n"
        "Hãy viết lời thuyết minh liền mạch cho chương này, gộp các trang liên quan lại với nhau và giữ sự hồi hộp cho phần sau."
    )
    return Prompt(system, user)
