"""Narration: the script is spoken, segment by segment, and what was spoken is measured (section 6.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mangavideo import documents, keys, mp3, times, tokens
from mangavideo.errors import ConfigError, TTSError
from mangavideo.jobs import Jobs
from mangavideo.settings import PipelineSettings
from mangavideo.speech import SpeechError, Synthesiser
from mangavideo.spoken import split
from stepwell import toolkit
from stepwell.toolkit.objects import Bucket

ATTEMPTS = 3
MAX_MISSING = 0.1
RESERVE_SECONDS = 120.0

log = toolkit.logger(__name__)


class Narration:
    """`remaining` tells the seconds the function still has."""

    def __init__(
        self,
        bucket: Bucket,
        jobs: Jobs,
        speech: Synthesiser,
        settings: PipelineSettings,
        remaining: Callable[[], float],
    ) -> None:
        self._bucket = bucket
        self._jobs = jobs
        self._speech = speech
        self._settings = settings
        self._remaining = remaining

    def speak(self, job_id: str, continuation: str | None) -> dict[str, Any]:
        """Go on speaking the script. Raises TTSError, ConfigError, JobNotFound. One segment at a time: the service throttles more."""
        self._jobs.require(job_id)
        script = documents.load(self._bucket, keys.script(job_id))
        if script is None or not script.get("complete"):
            raise ConfigError(f"{keys.script(job_id)} is not there, or not complete")
        if continuation is not None:
            tokens.opened(continuation, job_id)
        segments = script["segments"]
        spoken = self._spoken(job_id)
        began = len(spoken)
        for index, segment in enumerate(segments):
            if index in spoken:
                continue
            if len(spoken) > began and self._remaining() < RESERVE_SECONDS:
                return self._result(job_id, spoken, len(segments), tokens.made(job_id, index))
            spoken[index] = self._segment(job_id, index, segment)
            self._save(job_id, spoken)
            self._jobs.advance(job_id, "tts", 40 + 20 * len(spoken) // len(segments))
        missing = sum(entry["missing"] for entry in spoken.values())
        if missing > MAX_MISSING * len(segments) or not any(entry["duration_seconds"] for entry in spoken.values()):
            # The next attempt speaks what is missing.
            self._save(job_id, {index: entry for index, entry in spoken.items() if not entry["missing"]})
            raise TTSError(f"{missing} of {len(segments)} segments could not be spoken")
        self._jobs.advance(job_id, "rendering", 60)
        return self._result(job_id, spoken, len(segments), None)

    def _spoken(self, job_id: str) -> dict[int, dict[str, Any]]:
        """Segments that are done, by index: those whose audio is there, and those known to have none."""
        manifest = documents.load(self._bucket, keys.audio_manifest(job_id)) or {"segments": []}
        return {
            entry["index"]: entry
            for entry in manifest["segments"]
            if entry["missing"] or self._bucket.exists(entry["s3_key"])
        }

    def _save(self, job_id: str, spoken: dict[int, dict[str, Any]]) -> None:
        ordered = [spoken[index] for index in sorted(spoken)]
        document = {"job_id": job_id, "segments": ordered, "total_duration_seconds": _total(spoken)}
        documents.save(self._bucket, keys.audio_manifest(job_id), document)

    def _segment(self, job_id: str, index: int, segment: dict[str, Any]) -> dict[str, Any]:
        entry = {
            "index": index,
            "s3_key": None,
            "duration_seconds": 0.0,
            "chapter": segment["chapter"],
            "panel_start": segment["panel_start"],
            "panel_end": segment["panel_end"],
            "missing": True,
        }
        if not segment["text"].strip():
            return entry
        try:
            audio = mp3.joined([self._piece(piece) for piece in split(segment["text"]) if piece.strip()])
        except SpeechError as error:
            log.warning("segment not spoken", event_type="segment_missing", index=index, error=str(error))
            return entry
        seconds = mp3.duration(audio)
        if not seconds:
            log.warning("segment is silent", event_type="segment_missing", index=index)
            return entry
        key = keys.audio(job_id, index)
        self._bucket.put(key, audio, content_type="audio/mpeg")
        return {**entry, "s3_key": key, "duration_seconds": round(seconds, 6), "missing": False}

    def _piece(self, text: str) -> bytes:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._speech.synthesise(text, self._settings.voice_id)
            except SpeechError as error:
                if attempt == ATTEMPTS:
                    raise
                log.warning("not spoken, again", event_type="speech_retry", attempt=attempt, error=str(error))
                times.wait(2.0**attempt)
        raise AssertionError("unreachable")

    @staticmethod
    def _result(job_id: str, spoken: dict[int, dict[str, Any]], total: int, continuation: str | None) -> dict[str, Any]:
        return {
            "job_id": job_id,
            "audio_generated": continuation is None,
            "audio_manifest_s3_key": keys.audio_manifest(job_id),
            "segment_count": len(spoken),
            "segments_processed": len(spoken),
            "total_segments": total,
            "total_duration_seconds": _total(spoken),
            "continuation_needed": continuation is not None,
            "next_segment_offset": None if continuation is None else tokens.opened(continuation, job_id),
            "continuation_token": continuation,
        }


def _total(spoken: dict[int, dict[str, Any]]) -> float:
    return round(sum(float(entry["duration_seconds"]) for entry in spoken.values()), 6)
