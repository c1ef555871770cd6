"""A person's changes to the model's choice (section 7): two sets of keys for each job, and what is effective after them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from mediaselect import keys
from mediaselect.sessions import SessionStore
from stepwell import toolkit
from stepwell.toolkit.logs import logger

log = logger(__name__)

Action = Literal["added_back", "removed"]
TOPIC = "content-feedback"
REMOVED = {"reason": "removed by reviewer", "category": "user-override"}


class Overrides:
    """Overrides of all sessions."""

    def __init__(self, sessions: SessionStore, clock: Callable[[], float]) -> None:
        self._sessions = sessions
        self._clock = clock

    def act(self, session: str, job: str, user: str, action: Action, key: str, body: Mapping[str, Any]) -> None:
        """Record one action. One that cancels an earlier one just deletes that."""
        mine, other = ("added", "removed") if action == "added_back" else ("removed", "added")

        def change(record: dict[str, Any]) -> dict[str, Any]:
            if key in record[other]:
                record[other].remove(key)
            elif key not in record[mine]:
                record[mine].append(key)
            return {**record, **self._stamp(user)}

        self._sessions.update_override(session, job, change)
        self._tell("selection.override.action", session, job, user, action, [{**body, "mediaKey": key}])

    def finalize(
        self,
        session: str,
        job: str,
        user: str,
        added: Sequence[Mapping[str, Any]],
        removed: Sequence[Mapping[str, Any]],
    ) -> None:
        """Replace both sets."""

        def change(record: dict[str, Any]) -> dict[str, Any]:
            return {
                "added": list(dict.fromkeys(entry["mediaKey"] for entry in added)),
                "removed": list(dict.fromkeys(entry["mediaKey"] for entry in removed)),
                "finalized": True,
                **self._stamp(user),
            }

        self._sessions.update_override(session, job, change)
        self._tell("selection.overrides.finalized", session, job, user, "added_back", added)
        self._tell("selection.overrides.finalized", session, job, user, "removed", removed)

    def effective(self, session: str, job: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """`selected`, `excluded` and `finalized` of a complete selection."""
        override = self._sessions.override(session, job)
        removed, added = set(override["removed"]), list(override["added"])
        kept = [entry for entry in record["selected"] if entry["key"] not in removed]
        dropped = [entry for entry in record["selected"] if entry["key"] in removed]
        present = {entry["key"] for entry in kept}
        known = {entry["key"]: entry for entry in record["excluded"]}
        back = [key for key in added if key not in present]
        selected = [*kept, *(_added(key, known.get(key)) for key in back)]
        return {
            "selected": [{**entry, "rank": rank} for rank, entry in enumerate(selected, start=1)],
            "excluded": [
                *(entry for entry in record["excluded"] if entry["key"] not in set(back)),
                *(
                    {**{name: entry[name] for name in ("media", "filename", "key", "thumbnailUrl")}, **REMOVED}
                    for entry in dropped
                ),
            ],
            "finalized": bool(override["finalized"]),
        }

    def _stamp(self, user: str) -> dict[str, Any]:
        return {"updatedAt": int(self._clock()), "actor": user}

    def _tell(
        self, kind: str, session: str, job: str, user: str, action: Action, entries: Sequence[Mapping[str, Any]]
    ) -> None:
        """Publish the feedback events; a failure is logged and changes nothing."""
        try:
            topic = toolkit.topic(TOPIC)
            for entry in entries:
                topic.publish(
                    "ContentFeedback",
                    {
                        "eventType": kind,
                        "sessionId": session,
                        "jobId": job,
                        "timestamp": datetime.fromtimestamp(self._clock(), UTC).isoformat(),
                        "userId": user,
                        "mediaKey": entry["mediaKey"],
                        "mediaType": keys.label(entry["mediaKey"]),
                        "aiVerdict": "excluded" if action == "added_back" else "selected",
                        "userVerdict": "selected" if action == "added_back" else "excluded",
                        "isOverride": True,
                        "reason": str(entry.get("aiReason") or ""),
                        "metadata": {"filename": keys.filename(entry["mediaKey"])},
                    },
                )
        except Exception as error:  # whatever it is, the reviewer's action has been recorded
            log.warning(
                "feedback event not sent", event_type="content_feedback_failed", error_message=type(error).__name__
            )


def _added(key: str, excluded: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "media": (excluded or {}).get("media", 0),
        "filename": keys.filename(key),
        "key": key,
        "type": keys.label(key),
        "scene": "",
        "justification": "added by reviewer",
        "thumbnailUrl": (excluded or {}).get("thumbnailUrl") or f"/api/media/thumbnail?key={key}",
    }
