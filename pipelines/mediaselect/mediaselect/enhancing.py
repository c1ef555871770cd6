"""The work of the Enhance and Video functions: one item of an enhancement job, and feedback on one (sections 8.3, 8.4 and 12)."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mediaselect import ffmpeg, images, keys
from mediaselect.ai import Deadline, Picture, Turn
from mediaselect.errors import (
    AiRefused,
    InvalidEvent,
    MediaTooLarge,
    MediaToolError,
    StoreError,
    UnsupportedMedia,
    storing,
)
from mediaselect.filters import PREVIEW
from mediaselect.retouching import Retoucher
from mediaselect.sessions import SUCCESS, SessionStore, recount
from mediaselect.settings import Settings
from mediaselect.videos import VideoEnhancer
from stepwell import toolkit
from stepwell.toolkit.errors import ObjectNotFound, ToolkitError
from stepwell.toolkit.logs import logger
from stepwell.toolkit.objects import Bucket

log = logger(__name__)

MAX_VIDEO_SECONDS = 300.0
MAX_VIDEO_BYTES = 4 * 1024**3


class Enhancement:
    """One item of one job."""

    def __init__(
        self, settings: Settings, bucket: Bucket, sessions: SessionStore, deadline: Deadline, event: Mapping[str, Any]
    ) -> None:
        self.settings = settings
        self.bucket = bucket
        self.sessions = sessions
        self.deadline = deadline
        self.session: str = event["sessionId"]
        self.job: str = event["jobId"]
        self.key: str = event["key"]
        self.event = event

    # -- the pipeline's call

    def photo(self, index: int) -> dict[str, Any]:
        """Enhance a photo and record it. Raises UnsupportedMedia, AiRefused, AiUnavailable, StoreError."""
        if done := self._done(index):
            return done
        source = self._read(self.key)
        data, mime, _ = images.for_editing(source)
        self._progress(index, "phase1", {})
        result = Retoucher(self.settings, self.deadline).enhance(
            Picture(data, mime), lambda phase, known: self._progress(index, phase, known)
        )
        written = self._write_photo(result.picture, source)
        fields = {
            **written,
            "phase": "complete",
            "phase1Text": result.text,
            "analysis": result.analysis,
            "imagenEdits": result.imagen_edits,
        }
        self._record(index, fields)
        return {
            "originalKey": self.key,
            "enhancedKey": written["enhancedKey"],
            "enhancedThumbKey": written["enhancedThumbKey"],
            "phase": "complete",
            "phase1Text": fields["phase1Text"],
            "imagenEdits": result.imagen_edits,
        }

    def video(self, index: int) -> dict[str, Any]:
        """Enhance a video and record it. Raises MediaTooLarge, UnsupportedMedia, AiRefused, AiUnavailable, MediaToolError, StoreError."""
        if done := self._done(index):
            return done
        self._progress(index, "phase1", {})
        written, summary, analysis = self._render_video(())
        fields: dict[str, Any] = {**written, "phase": "complete", "phase1Text": summary, "imagenEdits": 0}
        if analysis is not None:
            fields["analysis"] = analysis
        self._record(index, fields)
        return {
            "originalKey": self.key,
            "enhancedKey": written["enhancedKey"],
            "enhancedThumbKey": written["enhancedThumbKey"],
            "phase": "complete",
            "summary": summary,
        }

    # -- feedback

    def photo_feedback(self, feedback: str, request: str) -> dict[str, Any]:
        """Change an enhanced photo as its owner wishes; a wish that cannot be met is a result, not an error."""
        index, item = self._item()
        if item.get("lastRequest") == request:
            return {"feedbackStatus": item.get("feedbackStatus", "idle"), "version": item.get("version")}
        current = self._read(item.get("enhancedKey") or item["originalKey"])
        data, mime, _ = images.for_editing(current)
        history = [
            Turn(entry["userFeedback"], entry["modelResponse"])
            for entry in item.get("feedbackHistory", [])
            if entry.get("success")
        ]
        retoucher = Retoucher(self.settings, self.deadline)
        changed, said, method = retoucher.follow(Picture(data, mime), feedback, history)
        self.key = item["originalKey"]
        written: dict[str, Any] = {}
        if changed is not None:
            written = self._write_photo(changed, self._read(self.key))
        return self._remember(index, request, feedback, said, method, written)

    def video_feedback(self, feedback: str, request: str) -> dict[str, Any]:
        """Enhance the source again, with all wishes so far; a failure of the models is a result, not an error."""
        index, item = self._item()
        if item.get("lastRequest") == request:
            return {"feedbackStatus": item.get("feedbackStatus", "idle"), "version": item.get("version")}
        self.key = item["originalKey"]
        wishes = [entry["userFeedback"] for entry in item.get("feedbackHistory", []) if entry.get("success")]
        written: dict[str, Any] = {}
        try:
            written, said, _ = self._render_video((*wishes, feedback))
            written["phase1Text"] = said
        except (AiRefused, MediaToolError, MediaTooLarge, UnsupportedMedia) as error:
            said = f"the change could not be applied: {error}"
        return self._remember(index, request, feedback, said, "gemini", written)

    # -- within

    def _done(self, index: int) -> dict[str, Any] | None:
        """The result of an earlier attempt that got as far as its record: a repeated call neither asks nor counts again."""
        with storing("reading the job"):
            record = self.sessions.enhancement(self.session, self.job)
        if record is None:
            raise InvalidEvent("there is no such job")
        items = record["items"]
        if not 0 <= index < len(items) or items[index]["originalKey"] != self.key:
            raise InvalidEvent("itemIndex does not belong to this key")
        item = items[index]
        if item["phase"] not in SUCCESS:
            return None
        return {
            "originalKey": self.key,
            "enhancedKey": item["enhancedKey"],
            "enhancedThumbKey": item.get("enhancedThumbKey", ""),
            "phase": item["phase"],
            "phase1Text": item.get("phase1Text", ""),
            "summary": item.get("phase1Text", ""),
            "imagenEdits": item.get("imagenEdits", 0),
        }

    def _item(self) -> tuple[int, dict[str, Any]]:
        with storing("reading the job"):
            record = self.sessions.enhancement(self.session, self.job)
        for index, item in enumerate(record["items"] if record else []):
            if self.key in (item["originalKey"], item.get("enhancedKey")):
                return index, item
        raise InvalidEvent("there is no such item")

    def _read(self, key: str) -> bytes:
        try:
            with storing("reading the photo"):
                return self.bucket.get(key)
        except StoreError as error:
            if isinstance(error.__cause__, ObjectNotFound):
                raise UnsupportedMedia("the file is not there any more") from error
            raise

    def _progress(self, index: int, phase: str, known: Mapping[str, Any]) -> None:
        try:
            self.sessions.set_item_fields(self.session, self.job, index, {"phase": phase, **known})
        except (ToolkitError, LookupError) as error:
            log.warning("progress not written", event_type="progress_failed", error_message=str(error))

    def _record(self, index: int, fields: Mapping[str, Any]) -> None:
        with storing("writing the result"):
            done, total = self.sessions.set_item_result(self.session, self.job, index, fields)
            if done >= total:
                self.sessions.set_status_complete(self.session, self.job)

    def _names(self) -> dict[str, str]:
        """Which thumbnails of this job's items have other names than their sources."""
        with storing("reading the job"):
            record = self.sessions.enhancement(self.session, self.job) or {}
        return dict(record.get("thumbNames") or {})

    def _write_photo(self, picture: Picture, source: bytes) -> dict[str, Any]:
        mime = images.sniff(picture.data)
        data = images.with_source_exif(picture.data, source) if mime == "image/jpeg" else picture.data
        decoded = images.decode(data)
        target = keys.enhanced_key(self.session, self.key, mime)
        with storing("writing the enhanced photo"):
            self.bucket.put(target, data, content_type=mime, tags=keys.TAGS)
        thumb = self._write_thumbnail(lambda: images.thumbnail(data))
        return {
            "enhancedKey": target,
            "enhancedThumbKey": thumb,
            "outputWidth": decoded.width,
            "outputHeight": decoded.height,
        }

    def _write_thumbnail(self, make: Any) -> str:
        target = keys.enhanced_thumbnail_key(self.session, self.key, self._names())
        try:
            self.bucket.put(target, make(), content_type="image/jpeg", tags=keys.TAGS)
        except (UnsupportedMedia, MediaToolError, ToolkitError) as error:
            log.warning("no thumbnail of the result", event_type="thumbnail_failed", error_message=str(error))
            return ""
        return target

    def _render_video(self, wishes: tuple[str, ...]) -> tuple[dict[str, Any], str, dict[str, Any] | None]:
        try:
            with storing("reading the video"):
                info = self.bucket.head(self.key)
        except StoreError as error:
            if isinstance(error.__cause__, ObjectNotFound):
                raise UnsupportedMedia("the file is not there any more") from error
            raise
        if info.size > MAX_VIDEO_BYTES:
            raise MediaTooLarge("the video is larger than 4 GiB; shorten it or choose a smaller resolution")
        metrics = toolkit.metrics("MediaSelect", Operation="video")
        metrics.observe("MediaFileSizeBytes", info.size, unit="Bytes")
        with tempfile.TemporaryDirectory(prefix="mediaselect-") as name:
            folder = Path(name)
            source = folder / f"source{keys.extension(self.key)}"
            with storing("reading the video"):
                self.bucket.download_file(self.key, source)
            known: ffmpeg.Probe | None
            try:
                known = ffmpeg.probe(str(source))
            except UnsupportedMedia:
                known = None
            if known is not None and (known.duration or 0.0) > MAX_VIDEO_SECONDS:
                raise MediaTooLarge("the video is longer than 5 minutes; the recommended length is up to 2 minutes")
            result = VideoEnhancer(self.settings, self.deadline, folder).enhance(source, known, wishes)
            self._keep_preview(folder / PREVIEW)
            if result.path is None:
                target = keys.enhanced_key(self.session, self.key, keys.VIDEOS[keys.extension(self.key)])
                shown, mime = source, keys.VIDEOS[keys.extension(self.key)]
            else:
                target = keys.enhanced_key(self.session, self.key, "video/mp4")
                shown, mime = result.path, "video/mp4"
            with storing("writing the enhanced video"):
                self.bucket.upload_file(shown, target, content_type=mime, tags=keys.TAGS)
            thumb = self._write_thumbnail(
                lambda: ffmpeg.still(str(shown), folder / "thumbnail.jpg", images.THUMBNAIL_PIXELS)
            )
            fields: dict[str, Any] = {"enhancedKey": target, "enhancedThumbKey": thumb}
            if known is not None:
                cut = 1 if result.path is None else 2  # what is rendered has even measures
                fields |= {"outputWidth": known.width // cut * cut, "outputHeight": known.height // cut * cut}
        return fields, result.summary, result.analysis

    def _keep_preview(self, preview: Path) -> None:
        """The small film that the model was shown, for the UI; without it the UI takes the source."""
        if not preview.exists():
            return
        target = keys.compressed_key(self.session, self.key, self._names())
        try:
            self.bucket.upload_file(preview, target, content_type="video/webm", tags=keys.TAGS)
        except ToolkitError as error:
            log.warning("preview not kept", event_type="preview_not_kept", error_message=str(error))

    def _remember(
        self, index: int, request: str, feedback: str, said: str, method: str, written: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Append the exchange once for each request; success shows the new version, failure leaves the item as it was."""
        success = bool(written)

        def change(record: dict[str, Any]) -> dict[str, Any] | None:
            item = record["items"][index]
            if item.get("lastRequest") == request:
                return None
            entry = {"userFeedback": feedback, "modelResponse": said[:300], "method": method, "success": success}
            item["feedbackHistory"] = [*item.get("feedbackHistory", []), entry][-10:]
            item["feedbackStatus"] = "idle" if success else "error"
            item["lastRequest"] = request
            if success:
                item.update(written)
                item["version"] = int(item.get("version") or 0) + 1
                item["phase"] = "feedback"
                item.pop("error", None)
                record = recount(record)
                if record["status"] == "error":  # the last failed item was cured: the job succeeded in part
                    record["status"] = "complete"
                    record.pop("error", None)
            return record

        with storing("writing the feedback"):
            record = self.sessions.update_enhancement(self.session, self.job, change)
        item = record["items"][index]
        return {"feedbackStatus": item["feedbackStatus"], "version": item.get("version")}
