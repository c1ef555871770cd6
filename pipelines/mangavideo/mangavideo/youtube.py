"""The video host, YouTube's Data API v3: access tokens and resumable uploads (sections 6.7 and 9.4).

Source: https://developers.google.com/youtube/v3/guides/using_resumable_upload_protocol
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

import httpx

from mangavideo import times
from mangavideo.errors import ConfigError, UploadError, YouTubeQuotaError
from stepwell import toolkit
from stepwell.toolkit import http, redaction
from stepwell.toolkit.errors import ToolkitError
from stepwell.toolkit.secrets import SecretHandle

CHUNK_BYTES = 10_485_760
"""A multiple of 262,144, as the protocol wants."""
RETRIES = 5
EARLY = timedelta(minutes=5)
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 (an address)
UPLOAD_BASE = "https://www.googleapis.com/upload"
_QUOTA = {"quotaExceeded", "dailyLimitExceeded", "uploadLimitExceeded"}
_RATE = {"rateLimitExceeded", "userRateLimitExceeded"}
_TRANSIENT = {429, 500, 502, 503, 504}

Reader = Callable[[int, int], bytes]
"""Bytes of the video: start and length."""

log = toolkit.logger(__name__)


class SessionLost(Exception):
    """The upload session is not known any more."""


class Access:
    """The access token, renewed five minutes before it ends, and written back so that others need not renew it."""

    def __init__(self, secret: SecretHandle) -> None:
        self._secret = secret
        self._client = http.client(
            timeout=30.0, retries=http.Retries(initial=times.scale(), jitter=0, methods=frozenset({"POST"}))
        )

    def token(self, *, fresh: bool = False) -> str:
        """A token that is good for a while. `fresh` renews it in any case. Raises UploadError, ConfigError."""
        document = self._secret.read().json()
        if not fresh and document.get("access_token") and _good(document.get("expiry")):
            return str(document["access_token"])
        missing = [name for name in ("client_id", "client_secret", "refresh_token") if not document.get(name)]
        if missing:
            raise ConfigError(f"secret {self._secret.name!r} lacks {', '.join(missing)}")
        form = {name: document[name] for name in ("client_id", "client_secret", "refresh_token")}
        try:
            answer = self._client.post(
                document.get("token_uri") or TOKEN_URL, data={"grant_type": "refresh_token", **form}
            )
            given = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise UploadError(f"no access token: {error}") from error
        if not answer.is_success or not given.get("access_token"):
            reason = given.get("error", answer.status_code)
            advice = ": the account must give its consent again" if reason == "invalid_grant" else ""
            raise UploadError(f"no access token: {reason}{advice}")
        redaction.register(given["access_token"])
        expiry = times.iso(times.now() + timedelta(seconds=float(given.get("expires_in", 3600))))
        try:
            self._secret.write({**document, "access_token": given["access_token"], "expiry": expiry})
        except ToolkitError as error:
            log.warning("the access token could not be kept", event_type="token_not_kept", error=str(error))
        return str(given["access_token"])


def _good(expiry: Any) -> bool:
    try:
        return isinstance(expiry, str) and times.parsed(expiry) - times.now() >= EARLY
    except (ValueError, TypeError):
        return False


class YouTube:
    """A client. `check` is called before every request: an exception from it ends the upload."""

    def __init__(self, access: Access, base: str = UPLOAD_BASE, check: Callable[[], None] = lambda: None) -> None:
        self._access = access
        self._base = base.rstrip("/")
        self._check = check
        self._client = http.client(timeout=120.0)
        self._token = ""

    def open(self, body: dict[str, Any], size: int) -> str:
        """Open a session for a video of that many bytes; its URI. Raises UploadError, YouTubeQuotaError."""
        url = f"{self._base}/youtube/v3/videos?uploadType=resumable&part=snippet,status"
        headers = {"x-upload-content-length": str(size), "x-upload-content-type": "video/*"}
        answer = self._insist(lambda: self._send("POST", url, headers, json=body))
        location = answer.headers.get("location")
        if answer.status_code != httpx.codes.OK or not location:
            raise UploadError(f"no upload session: status {answer.status_code}")
        return str(location)

    def offset(self, session: str, size: int) -> int | str:
        """How many bytes the host has, or the video's id when it has them all. Raises SessionLost, UploadError."""
        return self._state(self._insist(lambda: self._query(session, size)), asked=True)

    def upload(self, session: str, read: Reader, size: int, start: int = 0) -> str:
        """Send the video from a byte on; its id. Raises SessionLost, UploadError, YouTubeQuotaError."""
        position, failures = start, 0
        while True:
            try:
                answer = self._put(session, read(position, CHUNK_BYTES), position, size)
                state = self._state(answer)
            except _Transient as error:
                failures += 1
                if failures > RETRIES:
                    raise UploadError(f"the upload broke off at byte {position}: {error}") from error
                self._pause(failures, error)
                # Only the host knows how much of the piece arrived.
                try:
                    state = self._state(self._query(session, size), asked=True)
                except _Transient:
                    continue
                if isinstance(state, int):
                    position = state
                    continue
            if isinstance(state, str):
                return state
            if state > position:
                failures = 0
            position = state
            log.info("piece accepted", event_type="upload_progress", sent=position, size=size)

    def _put(self, session: str, data: bytes, position: int, size: int) -> httpx.Response:
        last = position + len(data) - 1
        return self._send("PUT", session, {"content-range": f"bytes {position}-{last}/{size}"}, content=data)

    def _query(self, session: str, size: int) -> httpx.Response:
        return self._send("PUT", session, {"content-range": f"bytes */{size}"}, content=b"")

    def _state(self, answer: httpx.Response, *, asked: bool = False) -> int | str:
        if answer.status_code == httpx.codes.PERMANENT_REDIRECT:  # 308 means here: go on
            received = answer.headers.get("range", "")
            return int(received.rpartition("-")[2]) + 1 if received else 0
        if answer.status_code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
            raise SessionLost(f"status {answer.status_code}")
        if answer.is_success:
            try:
                return str(answer.json()["id"])
            except (ValueError, KeyError, TypeError):
                raise UploadError("the host took the video and named no id") from None
        raise UploadError(f"the host answered {answer.status_code}" + (" to a question" if asked else ""))

    def _insist(self, send: Callable[[], httpx.Response]) -> httpx.Response:
        for attempt in range(1, RETRIES + 2):
            try:
                return send()
            except _Transient as error:
                if attempt > RETRIES:
                    raise UploadError(str(error)) from error
                self._pause(attempt, error)
        raise AssertionError("unreachable")

    def _pause(self, failures: int, error: Exception) -> None:
        seconds = 2.0 ** (failures - 1) + random.uniform(0, 0.5)
        log.warning("again after a wait", event_type="upload_retry", wait_seconds=round(seconds, 2), error=str(error))
        times.wait(seconds)

    def _send(self, method: Literal["POST", "PUT"], url: str, headers: dict[str, str], **body: Any) -> httpx.Response:
        """One request; the access token is renewed once when it is refused."""
        for attempt in (1, 2):
            self._check()
            self._token = self._token or self._access.token()
            try:
                answer = self._client.request(
                    method, url, headers={**headers, "authorization": f"Bearer {self._token}"}, **body
                )
            except httpx.TransportError as error:
                raise _Transient(f"{type(error).__name__}: {error}") from error
            if answer.status_code == httpx.codes.UNAUTHORIZED and attempt == 1:
                self._token = self._access.token(fresh=True)
                continue
            break
        reason = _reason(answer)
        if reason in _QUOTA:
            raise YouTubeQuotaError(f"the video host's quota is used: {reason}")
        if answer.status_code in _TRANSIENT or reason in _RATE:
            raise _Transient(f"status {answer.status_code} {reason}".strip())
        return answer


class _Transient(Exception):
    pass


def _reason(answer: httpx.Response) -> str:
    if answer.status_code not in (400, 403):
        return ""
    try:
        return str(answer.json()["error"]["errors"][0]["reason"])
    except (ValueError, KeyError, IndexError, TypeError):
        return ""
