"""What the HTTP API does, without HTTP: start jobs, read them, overrides, feedback, invalidation (section 7).

Errors are `Problem`s with the status and the text of the answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mediaselect import keys, prompts
from mediaselect.choosing import LISTS
from mediaselect.errors import InvalidEvent
from mediaselect.orchestrator import TIMEOUTS, MachineName, NotConfigured, Orchestrator, OrchestratorError
from mediaselect.overrides import Overrides
from mediaselect.sessions import TERMINAL, NoSuchJob, SessionStore, UnknownStep, conclude, recount
from mediaselect.settings import Settings
from stepwell.toolkit.errors import ToolkitError
from stepwell.toolkit.logs import logger
from stepwell.toolkit.objects import Bucket

log = logger(__name__)

MAX_FILES = 900
MAX_STATE_BYTES = 230 * 1024
MAX_STATE = 250_000
"""Bytes of the machine's state with the thumbnails' results, below the engine's 262,144."""
MAX_ITEMS = 150
MAX_VIDEOS = 20
MAX_CONTEXT = 2000
MAX_FEEDBACK = 2000
START_SECONDS = 60
"""After which a job must have an execution."""
ENDED_BADLY = ("FAILED", "TIMED_OUT", "ABORTED")
_INTERNAL = ("lastRequest", "feedbackRequest", "feedbackAt")
"""Fields of an item that no client needs."""


class Problem(Exception):
    """An answer other than success. The text is for the user: no keys of others, no ARNs, no traces."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Service:
    """The API's work on one bucket and one table."""

    def __init__(
        self,
        settings: Settings,
        bucket: Bucket,
        sessions: SessionStore,
        orchestrator: Orchestrator,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.bucket = bucket
        self.sessions = sessions
        self.orchestrator = orchestrator
        self.overrides = Overrides(sessions, clock)
        self._clock = clock

    def owned(self, session: object, user: str) -> str:
        """The session id, which is this user's from now on if it was nobody's. Problem 400 or 403."""
        try:
            checked = keys.check_session(session)
        except InvalidEvent as error:
            raise Problem(400, str(error)) from error
        if not self.sessions.claim(checked, user):
            raise Problem(403, "this session belongs to somebody else")
        return checked

    # -- selection

    def start_selection(self, session: str, context: object, model: object) -> str:
        """The id of a new job over everything uploaded so far. Problem 400, 500, 503."""
        if not isinstance(context, str) or len(context) > MAX_CONTEXT:
            raise Problem(400, f"tripContext must be a text of at most {MAX_CONTEXT} characters")
        if model in (None, ""):
            model = self.settings.model_selection
        if model not in self.settings.models:
            raise Problem(400, f"unknown model; choose one of {', '.join(sorted(self.settings.models))}")
        self._require("selection")
        root = [found.key for found in self.bucket.list(f"{session}/") if keys.is_source(found.key)]
        media = sorted(key for key in root if keys.is_supported(key))
        skipped = [
            {"key": key, "reason": "this type of file is not supported", "by": "api"}
            for key in sorted(root)
            if not keys.is_supported(key)
        ]
        if not media:
            raise Problem(400, "the session has no photos or videos")
        if len(media) > MAX_FILES:
            raise Problem(400, f"the session has {len(media)} files; at most {MAX_FILES} can be compared at once")
        names = keys.thumbnail_names(media)
        job = keys.new_job("sel")
        document = {
            "sessionId": session,
            "jobId": job,
            "tripContext": context,
            "model": model,
            "mediaKeys": media,
            "thumbNames": names,
        }
        estimate = sum(2 * len(key.encode()) + 150 for key in media)
        if estimate > MAX_STATE_BYTES or _selection_state(session, document) > MAX_STATE:
            raise Problem(400, "the file names are too long together; rename or remove some files")
        record = {
            "status": "pending",
            "createdAt": int(self._clock()),
            "selected": [],
            "excluded": [],
            "sceneGroups": [],
            "skipped": skipped,
            "warnings": [],
            "model": model,
            "thumbNames": names,
        }
        self.sessions.describe(session, context, media)
        self.sessions.put_selection(session, job, record)
        self._launch(
            "selection", job, document, lambda failed: self.sessions.put_selection(session, job, {**record, **failed})
        )
        return job

    def selection(self, session: str, job: str) -> dict[str, Any]:
        """A selection job as the client sees it. Problem 404."""
        record = self._selection(session, job)
        if record["status"] not in ("complete", "error") and (lost := self._lost("selection", job, record)):

            def change(found: dict[str, Any]) -> dict[str, Any] | None:
                if found["status"] in ("complete", "error"):
                    return None
                return {**found, "status": "error", "error": lost}

            self.sessions.update_selection(session, job, change)
            record = self._selection(session, job)
        answer = {name: record.get(name) or [] for name in (*LISTS, "skipped", "warnings")}
        answer["skipped"] = [{"key": entry["key"], "reason": entry["reason"]} for entry in answer["skipped"]]
        return {"id": job, "status": record["status"], **answer, **_error(record)}

    def _selection(self, session: str, job: str) -> dict[str, Any]:
        record = self.sessions.selection(session, job)
        if record is None:
            raise Problem(404, "there is no such job")
        if where := record.get("resultKey"):
            record |= json.loads(self.bucket.get(where))
        return record

    def effective(self, session: str, job: str) -> dict[str, Any]:
        """The selection after the reviewer's overrides. Problem 404, 409."""
        record = self._selection(session, job)
        if record["status"] != "complete":
            raise Problem(409, "the selection is not complete")
        return self.overrides.effective(session, job, record)

    def override(self, session: str, user: str, body: Mapping[str, Any]) -> None:
        """One action of the reviewer. Problem 400."""
        job = self._override_job(session, body)
        action = body.get("action")
        if action not in ("added_back", "removed"):
            raise Problem(400, "action must be added_back or removed")
        self.overrides.act(session, job, user, action, self._media(session, body), body)

    def finalize_overrides(self, session: str, user: str, body: Mapping[str, Any]) -> None:
        """The reviewer's last word. Problem 400."""
        job = self._override_job(session, body)
        sets: dict[str, list[Mapping[str, Any]]] = {}
        for name in ("added", "removed"):
            entries = body.get(name)
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise Problem(400, f"{name} must be a list")
            for entry in entries:
                self._media(session, entry)
            sets[name] = entries
        self.overrides.finalize(session, job, user, sets["added"], sets["removed"])

    def _override_job(self, session: str, body: Mapping[str, Any]) -> str:
        given = body.get("jobId")
        job = keys.job_id(given, "sel") if isinstance(given, str) and given else ""
        if not job or self.sessions.selection(session, job) is None:
            raise Problem(400, "jobId does not name a selection of this session")
        return job

    def _media(self, session: str, body: Mapping[str, Any]) -> str:
        try:
            key = keys.check_key(body.get("mediaKey"), session)
        except InvalidEvent as error:
            raise Problem(400, str(error)) from error
        if not keys.is_source(key) or not keys.is_supported(key):
            raise Problem(400, "mediaKey does not name a photo or video")
        return key

    # -- enhancement

    def start_enhancement(self, session: str, wanted: object) -> str:
        """The id of a new job over these keys: photos first, then videos. Problem 400, 500, 503."""
        if not isinstance(wanted, list) or not wanted:
            raise Problem(400, "keys must be a list of at least one key")
        try:
            unique = list(dict.fromkeys(keys.check_key(key, session) for key in wanted))
        except InvalidEvent as error:
            raise Problem(400, str(error)) from error
        sources = [key for key in unique if keys.is_source(key) and keys.is_supported(key)]
        photos = [key for key in sources if keys.kind_of(key) == "photo"]
        videos = [key for key in sources if keys.kind_of(key) == "video"]
        if not sources:
            raise Problem(400, "none of the keys names a photo or video")
        if len(sources) > MAX_ITEMS or len(videos) > MAX_VIDEOS:
            raise Problem(400, f"at most {MAX_ITEMS} items and {MAX_VIDEOS} videos can be enhanced at once")
        self._require("enhancement")
        names = keys.thumbnail_names(
            found.key
            for found in self.bucket.list(f"{session}/")
            if keys.is_source(found.key) and keys.is_supported(found.key)
        )
        ordered = [*photos, *videos]
        job = keys.new_job("enh")
        record = {
            "status": "pending",
            "createdAt": int(self._clock()),
            "totalCount": len(ordered),
            "completedCount": 0,
            "failedCount": 0,
            "promptVersion": prompts.VERSION,
            "thumbNames": {key: name for key, name in names.items() if key in ordered},
            "items": [
                {
                    "key": key,
                    "originalKey": key,
                    "filename": keys.filename(key),
                    "kind": keys.kind_of(key),
                    "phase": "pending",
                    "originalThumbKey": keys.thumbnail_key(session, key, names),
                    "enhancedKey": "",
                    "enhancedThumbKey": "",
                    "feedbackHistory": [],
                    "feedbackStatus": "idle",
                }
                for key in ordered
            ],
        }
        self.sessions.put_enhancement(session, job, record)
        document = {
            "sessionId": session,
            "jobId": job,
            "photos": [{"key": key, "itemIndex": index} for index, key in enumerate(photos)],
            "videos": [{"key": key, "itemIndex": index} for index, key in enumerate(videos, start=len(photos))],
        }
        self._launch(
            "enhancement",
            job,
            document,
            lambda failed: self.sessions.put_enhancement(session, job, {**record, **failed}),
        )
        return job

    def enhancement(self, session: str, job: str) -> dict[str, Any]:
        """An enhancement job as the client sees it: counted, and never without an end. Problem 404."""
        record = self.sessions.enhancement(session, job)
        if record is None:
            raise Problem(404, "there is no such job")
        if record["status"] not in ("complete", "error"):
            if all(item["phase"] in TERMINAL for item in record["items"]):
                record = self.sessions.set_status_complete(session, job)
            elif lost := self._lost("enhancement", job, record):
                record = self.sessions.update_enhancement(session, job, lambda found: _abandoned(found, lost))
        record = self._feedback_ended(session, job, record)
        recount(record)
        items = [{name: value for name, value in item.items() if name not in _INTERNAL} for item in record["items"]]
        counts = {name: record[name] for name in ("totalCount", "completedCount", "failedCount")}
        return {"id": job, "status": record["status"], "items": items, **counts, **_error(record)}

    def feedback(self, session: str, job: str, key: object, feedback: object) -> None:
        """Accept a wish for one item. Problem 400, 404, 409, 500, 503."""
        if not isinstance(key, str) or not key:
            raise Problem(400, "key is missing")
        if not isinstance(feedback, str) or not len(feedback.strip()) >= 1 or len(feedback) > MAX_FEEDBACK:
            raise Problem(400, f"feedback must be a text of 1 to {MAX_FEEDBACK} characters")
        self._require("feedback")
        request = keys.new_job("fb")
        chosen: dict[str, Any] = {}

        def change(record: dict[str, Any]) -> dict[str, Any]:
            item = next(
                (item for item in record["items"] if key in (item["originalKey"], item.get("enhancedKey"))), None
            )
            if item is None:
                raise Problem(404, "there is no such item")
            if item["phase"] not in TERMINAL or item.get("feedbackStatus") == "processing":
                raise Problem(409, "the item is still being processed")
            item["feedbackStatus"] = "processing"
            item["feedbackRequest"], item["feedbackAt"] = request, int(self._clock())
            chosen.update(item)
            return record

        try:
            self.sessions.update_enhancement(session, job, change)
        except NoSuchJob as error:
            raise Problem(404, "there is no such job") from error
        document = {
            "type": "video-feedback" if chosen["kind"] == "video" else "enhancement-feedback",
            "sessionId": session,
            "jobId": job,
            "key": chosen["originalKey"],
            "feedback": feedback,
        }
        index = next(
            number
            for number, item in enumerate(self._items(session, job))
            if item["originalKey"] == chosen["originalKey"]
        )
        self._launch(
            "feedback", request, document,
            lambda failed: self.sessions.set_item_fields(session, job, index, {"feedbackStatus": "error"}),
        )  # fmt: skip

    def _feedback_ended(self, session: str, job: str, record: dict[str, Any]) -> dict[str, Any]:
        """The record with no feedback that is still being processed although its execution is gone."""
        lost = {
            item["feedbackRequest"]
            for item in record["items"]
            if item.get("feedbackStatus") == "processing"
            and item.get("feedbackRequest")
            and self._lost("feedback", item["feedbackRequest"], {"createdAt": item["feedbackAt"]})
        }
        if not lost:
            return record

        def change(found: dict[str, Any]) -> dict[str, Any]:
            for item in found["items"]:
                if item.get("feedbackStatus") == "processing" and item.get("feedbackRequest") in lost:
                    item["feedbackStatus"] = "error"
            return found

        return self.sessions.update_enhancement(session, job, change)

    def _items(self, session: str, job: str) -> Sequence[Mapping[str, Any]]:
        record = self.sessions.enhancement(session, job)
        return record["items"] if record else []

    # -- invalidation

    def invalidate(self, session: str, step: object) -> list[str]:
        """Delete what a step and all later ones left, records first. Problem 400."""
        try:
            deleted = self.sessions.invalidate(session, str(step))
        except UnknownStep as error:
            raise Problem(400, str(error)) from error
        if step == "enhancement":
            prefixes: tuple[str, ...] = ("enhanced/", "thumbnails/enhanced-")
        elif step in ("triage", "selection"):
            prefixes = ("enhanced/", "thumbnails/", "compressed/", "results/")
        else:
            prefixes = ()
        for prefix in prefixes:
            try:
                self.bucket.delete_many([found.key for found in self.bucket.list(f"{session}/{prefix}")])
            except ToolkitError as error:
                log.warning("objects not deleted", event_type="cleanup_failed", error_message=str(error))
        return deleted

    # -- executions

    def _require(self, machine: MachineName) -> None:
        try:
            self.orchestrator.require(machine)
        except NotConfigured as error:
            raise Problem(503, "this service is not configured completely") from error

    def _launch(
        self, machine: MachineName, name: str, document: Mapping[str, Any], failed: Callable[[dict[str, str]], None]
    ) -> None:
        try:
            self.orchestrator.start(machine, name, document)
        except OrchestratorError as error:
            log.error("execution not started", event_type="start_failed", exc_info=error)
            failed({"status": "error", "error": "processing could not be started"})
            raise Problem(500, "processing could not be started") from error

    def _lost(self, machine: MachineName, job: str, record: Mapping[str, Any]) -> str | None:
        """Why a job that is not over will never be, or None."""
        age = self._clock() - float(record.get("createdAt", 0))
        if age > TIMEOUTS[machine]:
            return "processing took too long"
        try:
            status = self.orchestrator.status(machine, job)
        except (NotConfigured, OrchestratorError):
            return None
        if status is None and age > START_SECONDS:  # the API died between its record and the start
            return "processing could not be started"
        return "processing ended unexpectedly" if status in ENDED_BADLY else None


def _selection_state(session: str, document: Mapping[str, Any]) -> int:
    """Bytes of the selection machine's state when every thumbnail has been made."""
    results = [
        {
            "thumbnailKey": keys.thumbnail_key(session, key, document["thumbNames"]),
            "originalKey": key,
            "success": True,
        }
        for key in document["mediaKeys"]
    ]
    return len(json.dumps({**document, "thumbnailKeys": results}, ensure_ascii=False).encode())


def _abandoned(record: dict[str, Any], reason: str) -> dict[str, Any]:
    for item in record["items"]:
        if item["phase"] not in TERMINAL:
            item["phase"], item["error"] = "error", "processing did not finish"
    record = conclude(recount(record))
    record["status"], record["error"] = "error", reason
    return record


def _error(record: Mapping[str, Any]) -> dict[str, str]:
    return {"error": str(record["error"])} if record.get("error") else {}
