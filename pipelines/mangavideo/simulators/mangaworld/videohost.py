"""The video host: YouTube's token endpoint and resumable uploads (section 9.4), with its quota."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from .web import Answer, Request, Simulator

GRAIN = 262_144
UNITS_A_DAY, UNITS_AN_INSERT = 10_000, 1_600
_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+)")


@dataclass
class Session:
    """A resumable upload."""

    id: str
    body: dict[str, Any]
    size: int
    data: bytearray = field(default_factory=bytearray)
    video_id: str | None = None


class VideoHost(Simulator):
    """`videos` is what was published: id to Session. A token is good until `expire_tokens`."""

    def __init__(self, *, units: int = UNITS_A_DAY) -> None:
        super().__init__()
        self.units = units
        self.refresh_token = "1//simulated-refresh"
        self.client_secret = "simulated-client-secret"
        self.videos: dict[str, Session] = {}
        self.sessions: dict[str, Session] = {}
        self.cuts: list[int] = []
        """For each of the next pieces: break the connection after so many bytes arrived."""
        self._tokens: set[str] = set()

    @property
    def upload_base(self) -> str:
        return f"{self.url}/upload"

    def secret(self, **changed: Any) -> dict[str, Any]:
        """What the pipeline's secret holds."""
        return {
            "client_id": "simulated-client",
            "client_secret": self.client_secret,
            "refresh_token": self.refresh_token,
            "access_token": "",
            "token_uri": f"{self.url}/token",
            "expiry": None,
            **changed,
        }

    def expire_tokens(self) -> None:
        self._tokens.clear()

    def lose_sessions(self) -> None:
        """Sessions that are not finished are forgotten."""
        with self._lock:
            self.sessions = {key: session for key, session in self.sessions.items() if session.video_id}

    def pieces(self) -> list[Request]:
        """PUT requests that carried bytes."""
        return [request for request in self.asked("/upload/session/", "PUT") if request.body]

    def respond(self, request: Request) -> Answer:
        if request.path == "/token":
            return self._token(request)
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self._tokens:
            return Answer(401, {"error": {"code": 401, "errors": [{"reason": "authError"}]}})
        if request.path == "/upload/youtube/v3/videos" and request.method == "POST":
            return self._open(request)
        session = self.sessions.get(request.path.rpartition("/")[2])
        if request.method != "PUT" or session is None:
            return Answer(404, {"error": {"code": 404, "errors": [{"reason": "notFound"}]}})
        return self._piece(session, request)

    def _token(self, request: Request) -> Answer:
        form = parse_qs(request.body.decode())
        if form.get("refresh_token") != [self.refresh_token] or form.get("client_secret") != [self.client_secret]:
            return Answer(400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."})
        token = f"ya29.{secrets.token_hex(12)}"
        self._tokens.add(token)
        return Answer(200, {"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    def _open(self, request: Request) -> Answer:
        body = request.json()
        snippet = body["snippet"]
        if not snippet["title"] or len(snippet["title"]) > 100 or "<" in snippet["title"]:
            return _refused(400, "invalidTitle")
        if len(snippet["description"].encode()) > 5000:
            return _refused(400, "invalidDescription")
        if self.units < UNITS_AN_INSERT:
            return quota_exceeded()
        self.units -= UNITS_AN_INSERT
        session = Session(secrets.token_hex(8), body, int(request.headers["x-upload-content-length"]))
        with self._lock:
            self.sessions[session.id] = session
        return Answer(200, b"", {"location": f"{self.url}/upload/session/{session.id}"})

    def _piece(self, session: Session, request: Request) -> Answer:
        match = _RANGE.fullmatch(request.headers.get("content-range", ""))
        if match is None or int(match.group(3)) != session.size:
            return _refused(400, "badContentRange")
        with self._lock:
            if match.group(1) is not None and session.video_id is None:
                first, last = int(match.group(1)), int(match.group(2))
                if first != len(session.data) or last - first + 1 != len(request.body):
                    return _refused(400, "badContentRange")
                if last + 1 != session.size and len(request.body) % GRAIN:
                    return _refused(400, "badChunkSize")
                if self.cuts:
                    arrived = self.cuts.pop(0) // GRAIN * GRAIN
                    session.data += request.body[:arrived]
                    return Answer(reset=True)
                session.data += request.body
                if len(session.data) == session.size:
                    session.video_id = f"vid{len(self.videos) + 1}"
                    self.videos[session.video_id] = session
            if session.video_id is not None:
                return Answer(201, {"kind": "youtube#video", "id": session.video_id, **session.body})
        received = {"range": f"bytes=0-{len(session.data) - 1}"} if session.data else {}
        return Answer(308, b"", received)


def quota_exceeded(reason: str = "quotaExceeded") -> Answer:
    """The answer when the day's units are used."""
    error = {"code": 403, "message": "quota", "errors": [{"domain": "youtube.quota", "reason": reason}]}
    return Answer(403, {"error": error})


def _refused(status: int, reason: str) -> Answer:
    return Answer(status, {"error": {"code": status, "errors": [{"domain": "global", "reason": reason}]}})
