"""The routes. Every POST and PUT needs a CSRF token; everything but the login needs the session cookie.

python -m mangavideo.dashboard --port 8000
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mangavideo import counters, keys, times
from mangavideo.dashboard.tokens import COOKIE, SESSION, Tokens, TooManyGuesses
from mangavideo.errors import JobNotFound
from mangavideo.jobs import STATUSES, Jobs
from mangavideo.quota import effective_quota
from mangavideo.settings import SETTING_KEY, STYLES, VOICES, Environment, PipelineSettings
from mangavideo.titles import Titles
from mangavideo.workflow import Workflow, WorkflowError
from stepwell import toolkit
from stepwell.toolkit.records import Item

MAX_PAGE, MAX_TITLES = 100, 500
MAX_BODY = 65_536
WATCHABLE = ("awaiting_review", "uploading", "completed")
URL_SECONDS = 3600
ACTIVE = ("pending", "fetching", "scripting", "tts", "rendering", "awaiting_review", "uploading")
UPLOADER = "manga-pipeline-uploader"

Handler = Callable[["Dashboard", Request, Mapping[str, Any]], Response]

log = toolkit.logger(__name__)


class Refused(Exception):
    """An answer other than success."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


class Dashboard:
    """What the routes work on."""

    def __init__(self, environment: Environment, tokens: Tokens) -> None:
        self.environment = environment
        self.tokens = tokens
        self.bucket = environment.assets
        self.jobs = Jobs(environment.jobs)
        self.titles_table = environment.titles
        self.titles = Titles(environment.titles, self.jobs)

    # -- session

    def csrf(self, request: Request, sent: Mapping[str, Any]) -> Response:
        return JSONResponse({"csrf_token": self.tokens.csrf()})

    def login(self, request: Request, sent: Mapping[str, Any]) -> Response:
        address = request.client.host if request.client else "unknown"
        try:
            token = self.tokens.login(str(sent.get("username", "")), str(sent.get("password", "")), address)
        except TooManyGuesses as error:
            raise Refused(429, str(error), {"retry-after": str(error.wait)}) from error
        if token is None:
            raise Refused(401, "wrong name or password")
        response = JSONResponse({"username": sent["username"]})
        secure = request.url.scheme == "https" or request.headers.get("x-forwarded-proto") == "https"
        age = int(SESSION.total_seconds())
        response.set_cookie(COOKIE, token, max_age=age, httponly=True, samesite="strict", secure=secure)
        return response

    def logout(self, request: Request, sent: Mapping[str, Any]) -> Response:
        response = JSONResponse({"status": "logged out"})
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    # -- looking

    def stats(self, request: Request, sent: Mapping[str, Any]) -> Response:
        rows = list(self.jobs.all())
        by_status = Counter(str(row["status"]) for row in rows)
        minutes = [
            (times.parsed(row["completed_at"]) - times.parsed(row["created_at"])) / timedelta(minutes=1)
            for row in rows
            if row.get("completed_at")
        ]
        today, quota = counters.count(self.environment.counters), effective_quota(self.environment)
        return JSONResponse(
            {
                "videos_today": today,
                "total": len(rows),
                "failed": by_status["failed"],
                "pending": sum(by_status[status] for status in ACTIVE),
                "avg_minutes": round(sum(minutes) / len(minutes), 1) if minutes else None,
                "daily_quota": quota,
                "quota_remaining": max(0, quota - today),
            }
        )

    def queue(self, request: Request, sent: Mapping[str, Any]) -> Response:
        status = request.query_params.get("status_filter")
        if status is not None and status not in STATUSES:
            raise Refused(400, f"status_filter must be one of {', '.join(STATUSES)}")
        page, size = _number(request, "page", 1, 1_000_000), _number(request, "page_size", 20, MAX_PAGE)
        rows = list(self.jobs.all() if status is None else self.jobs.of_status(status))
        rows.sort(key=lambda row: str(row["updated_at"]), reverse=True)
        shown = rows[(page - 1) * size : page * size]
        return JSONResponse(
            {"items": [_plain(row) for row in shown], "total": len(rows), "page": page, "page_size": size}
        )

    def job(self, request: Request, sent: Mapping[str, Any]) -> Response:
        return JSONResponse(_plain(self._job(request)))

    def video_url(self, request: Request, sent: Mapping[str, Any]) -> Response:
        job = self._job(request)
        key = keys.video(str(job["job_id"]))
        if job["status"] not in WATCHABLE:
            raise Refused(400, f"a job that is {job['status']} has no video to watch")
        if not self.bucket.exists(key):
            raise Refused(404, "the video was cleaned up")
        return JSONResponse({"url": self.bucket.presigned_url(key, expires=URL_SECONDS), "expires_in": URL_SECONDS})

    def voices(self, request: Request, sent: Mapping[str, Any]) -> Response:
        return JSONResponse({"voices": list(VOICES), "script_styles": list(STYLES)})

    def settings(self, request: Request, sent: Mapping[str, Any]) -> Response:
        return JSONResponse(_plain(PipelineSettings.load(self.environment.settings).document()))

    def processed(self, request: Request, sent: Mapping[str, Any]) -> Response:
        limit = _number(request, "limit", 50, MAX_TITLES)
        rows = [row for row in self.titles_table.scan() if row.get("processed_at")]
        rows.sort(key=lambda row: str(row["processed_at"]), reverse=True)
        return JSONResponse({"items": [_plain(row) for row in rows[:limit]], "total": len(rows)})

    # -- acting

    def trigger(self, request: Request, sent: Mapping[str, Any]) -> Response:
        name = f"manual-{secrets.token_hex(4)}-{int(times.now().timestamp())}"
        arn = Workflow().start(name, {"single_video_mode": True})
        return JSONResponse({"execution_name": name, "execution_arn": arn}, 202)

    def retry(self, request: Request, sent: Mapping[str, Any]) -> Response:
        job_id = str(self._job(request)["job_id"])
        row = self.jobs.reopen(job_id, lambda row: row["status"] == "failed")
        if row is None:
            raise Refused(400, "only a failed job can be tried again")
        self.titles.take_again(str(row.get("manga_id", "")), job_id)
        name = f"retry-{job_id}"[:70] + f"-{row['retries']}"
        try:
            Workflow().start(name, {"job_id": job_id, "single_video_mode": True})
        except WorkflowError:
            # Nothing runs: the job must not look as if something did.
            self.jobs.update(job_id, status="failed", error_message="the retry could not be started")
            raise
        return JSONResponse({"execution_name": name, "status": "pending"}, 202)

    def upload(self, request: Request, sent: Mapping[str, Any]) -> Response:
        job_id = self._reviewed(request)
        Workflow().invoke_later(UPLOADER, {"job_id": job_id})
        return JSONResponse({"job_id": job_id, "status": "upload started"}, 202)

    def skip_upload(self, request: Request, sent: Mapping[str, Any]) -> Response:
        job_id = self._reviewed(request)
        row = self.jobs.advance(job_id, "completed", 100, completed_at=times.iso())
        self.titles.complete(str(row["manga_id"]), str(row["manga_title"]), "")
        return JSONResponse({"job_id": job_id, "status": "completed"})

    def change_settings(self, request: Request, sent: Mapping[str, Any]) -> Response:
        given = {name: value for name, value in sent.items() if name != "csrf_token"}
        current = PipelineSettings.load(self.environment.settings).document()
        try:
            changed = PipelineSettings.checked({**current, **given})
        except ValueError as error:
            raise Refused(400, str(error)) from error
        self.environment.settings.put({"setting_key": SETTING_KEY, **changed.document()})
        return JSONResponse(_plain(changed.document()))

    def _job(self, request: Request) -> Item:
        try:
            return self.jobs.require(request.path_params["id"])
        except JobNotFound as error:
            raise Refused(404, str(error)) from error

    def _reviewed(self, request: Request) -> str:
        job = self._job(request)
        if job["status"] != "awaiting_review":
            raise Refused(400, f"the job is {job['status']}, not awaiting_review")
        return str(job["job_id"])


def create_app(environment: Environment | None = None) -> Starlette:
    """The application. Raises ConfigError when variables are missing."""
    env = environment or Environment(
        "S3_BUCKET",
        "DYNAMODB_JOBS_TABLE",
        "DYNAMODB_MANGA_TABLE",
        "DYNAMODB_SETTINGS_TABLE",
        "DYNAMODB_COUNTER_TABLE",
        "STATE_MACHINE_ARN",
    )
    tokens = Tokens(
        toolkit.table("dashboard-tokens"),
        toolkit.secret(env.text("ADMIN_SECRET_NAME", "manga-pipeline/admin-credentials")),
        toolkit.secret(env.text("JWT_SECRET_NAME", "manga-video-pipeline/jwt-secret")),
    )
    dashboard = Dashboard(env, tokens)

    def route(path: str, method: str, handler: Handler, *, public: bool = False) -> Route:
        async def answer(request: Request) -> Response:
            try:
                sent = await _sent(request)
                return await run_in_threadpool(guarded, request, sent)
            except Refused as error:
                return JSONResponse({"error": str(error)}, error.status, headers=error.headers)
            except WorkflowError as error:
                log.error("the workflow service failed", event_type="workflow_failed", error_message=str(error))
                return JSONResponse({"error": "the workflow service could not be reached"}, 502)

        def guarded(request: Request, sent: Mapping[str, Any]) -> Response:
            if not public and tokens.user(request.cookies.get(COOKIE)) is None:
                raise Refused(401, "log in first")
            if method != "GET" and not tokens.spend(request.headers.get("x-csrf-token") or sent.get("csrf_token")):
                raise Refused(403, "the CSRF token is missing, used or too old")
            return handler(dashboard, request, sent)

        return Route(f"/api{path}", answer, methods=[method])

    return Starlette(
        routes=[
            route("/auth/csrf", "GET", Dashboard.csrf, public=True),
            route("/auth/login", "POST", Dashboard.login, public=True),
            route("/auth/logout", "POST", Dashboard.logout),
            route("/stats", "GET", Dashboard.stats),
            route("/trigger-pipeline", "POST", Dashboard.trigger),
            route("/queue", "GET", Dashboard.queue),
            route("/queue/{id}", "GET", Dashboard.job),
            route("/queue/{id}/retry", "POST", Dashboard.retry),
            route("/queue/{id}/video-url", "GET", Dashboard.video_url),
            route("/queue/{id}/upload", "POST", Dashboard.upload),
            route("/queue/{id}/skip-upload", "POST", Dashboard.skip_upload),
            route("/voices", "GET", Dashboard.voices),
            route("/settings", "GET", Dashboard.settings),
            route("/settings", "PUT", Dashboard.change_settings),
            route("/processed-manga", "GET", Dashboard.processed),
        ]
    )


async def _sent(request: Request) -> Mapping[str, Any]:
    """The fields of a form or of a JSON object."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise Refused(413, f"a request has at most {MAX_BODY} bytes")
    if not body:
        return {}
    try:
        if request.headers.get("content-type", "").startswith("application/json"):
            document = json.loads(body)
            if not isinstance(document, dict):
                raise Refused(400, "the body must be a JSON object")
            return document
        return dict(parse_qsl(body.decode()))
    except ValueError as error:
        raise Refused(400, f"the body cannot be read: {error}") from error


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise Refused(400, f"{name} must be 1 to {most}")
    return int(text)


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, str | int | bool | None) else float(value) for name, value in row.items()}
