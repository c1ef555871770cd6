"""The JobState function: what the machines write when a function could not write it itself (sections 5, 6)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from mediaselect.errors import InvalidEvent, storing, user_text
from mediaselect.sessions import TERMINAL, NoSuchJob, SessionStore, conclude, recount
from stepwell import toolkit


def selection_failed(sessions: SessionStore, event: Mapping[str, Any]) -> dict[str, Any]:
    """The selection job ends in `error`; one that is complete stays so."""
    message = user_text(event.get("error"))

    def change(record: dict[str, Any]) -> dict[str, Any] | None:
        if record.get("status") == "complete":
            return None
        return {**record, "status": "error", "error": message, "finishedAt": int(time.time())}

    with storing("writing the job"):
        try:
            record = sessions.update_selection(event["sessionId"], event["jobId"], change)
        except NoSuchJob:  # invalidated while it ran
            return {"status": "error", "error": message}
    return {"status": record["status"], "error": message}


def item_failed(sessions: SessionStore, event: Mapping[str, Any]) -> dict[str, Any]:
    """The item ends in `error`, unless it succeeded after all."""
    message = user_text(event.get("error"))
    with storing("writing the item"), contextlib.suppress(NoSuchJob):
        sessions.set_item_result(
            event["sessionId"], event["jobId"], int(event["itemIndex"]), {"phase": "error", "error": message}
        )
    toolkit.metrics("MediaSelect").count("ItemsFailed", Operation="enhancement")
    return {"originalKey": event["key"], "phase": "error", "error": message}


def enhancement_over(sessions: SessionStore, event: Mapping[str, Any]) -> dict[str, Any]:
    """Every item gets a terminal phase, the counters are counted, the job gets its final status."""

    def change(record: dict[str, Any]) -> dict[str, Any]:
        for item in record["items"]:
            if item.get("phase") not in TERMINAL:
                item["phase"], item["error"] = "error", "processing did not finish"
        return conclude(recount(record))

    with storing("writing the job"):
        try:
            record = sessions.update_enhancement(event["sessionId"], event["jobId"], change)
        except NoSuchJob:
            return {"status": "error", "totalCount": 0, "completedCount": 0, "failedCount": 0}
    return {name: record[name] for name in ("status", "totalCount", "completedCount", "failedCount")}


def feedback_failed(sessions: SessionStore, event: Mapping[str, Any]) -> dict[str, Any]:
    """A feedback that could not be worked on: the item keeps its picture and phase, and says why."""
    message, request, key = user_text(event.get("error")), event["requestId"], event["key"]

    def change(record: dict[str, Any]) -> dict[str, Any] | None:
        for item in record["items"]:
            if key in (item["originalKey"], item.get("enhancedKey")):
                if item.get("lastRequest") == request:
                    return None
                entry = {
                    "userFeedback": event["feedback"],
                    "modelResponse": message[:300],
                    "method": "gemini",
                    "success": False,
                }
                item["feedbackHistory"] = [*item.get("feedbackHistory", []), entry][-10:]
                item["feedbackStatus"], item["lastRequest"] = "error", request
                return record
        return None

    with storing("writing the feedback"), contextlib.suppress(NoSuchJob):
        sessions.update_enhancement(event["sessionId"], event["jobId"], change)
    return {"feedbackStatus": "error", "error": message}


OPERATIONS = {
    "mark-selection-failed": selection_failed,
    "mark-item-failed": item_failed,
    "finalize-enhancement": enhancement_over,
    "mark-feedback-failed": feedback_failed,
}


def carry_out(sessions: SessionStore, event: Mapping[str, Any]) -> dict[str, Any]:
    """The operation that the event names. Raises InvalidEvent, StoreError."""
    operation = OPERATIONS.get(str(event.get("operation")))
    if operation is None:
        raise InvalidEvent(f"operation must be one of {', '.join(OPERATIONS)}")
    return operation(sessions, event)
