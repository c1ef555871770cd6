"""The HTTP API (section 7): a Starlette application. JSON in and out; errors are `{"error": "..."}`.

Around every route, in this order: metrics, the origin's secret (`x-origin-verify`), the token's `sub`. `ORIGIN_VERIFY_SECRET` and
`JWT_SECRET` come from the environment; without the first every request is refused, without the second every route that needs a user.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mediaselect import identity, images, keys
from mediaselect.errors import InvalidEvent, UnsupportedMedia
from mediaselect.orchestrator import Orchestrator
from mediaselect.service import Problem, Service
from mediaselect.settings import Settings
from stepwell import toolkit
from stepwell.toolkit.errors import ObjectNotFound, StorageError, ToolkitError, UploadNotFound
from stepwell.toolkit.logs import logger
from stepwell.toolkit.objects import Part

log = logger(__name__)

VERSION = "1"
PUT_SECONDS, PART_SECONDS, GET_SECONDS = 15 * 60, 60 * 60, 60 * 60
MIN_PART, MAX_PART, MAX_PARTS = 5 * 1024**2, 100 * 1024**2, 10_000
PLACEHOLDER = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="400" height="300"><rect width="400" height="300" fill="#d8d8d8"/>'
    b'<path d="M170 110v80l70-40z" fill="#8a8a8a"/></svg>'
)
Handler = Callable[["Call"], Any]


class Call:
    """One request as handlers see it: who asks, what the path, the query and the body say."""

    def __init__(self, request: Request, user: str, body: Mapping[str, Any]) -> None:
        self.user = user
        self.path = request.path_params
        self.query = request.query_params
        self.body = body


def create_app(service: Service | None = None, environ: Mapping[str, str] | None = None) -> Starlette:
    """The application over the ports that the environment names."""
    env = os.environ if environ is None else environ
    if service is None:
        settings = Settings.from_environment(env)
        service = Service(settings, settings.media(), settings.sessions(), Orchestrator(env))
    api = _Api(service)
    secret = env.get("JWT_SECRET", "")

    def route(path: str, handler: Handler, method: str = "GET", *, user: bool = True, status: int = 200) -> Route:
        async def endpoint(request: Request) -> Response:
            try:
                who = identity.subject(request.headers.get("authorization"), secret) if user else ""
            except identity.BadToken as error:
                return _problem(401, str(error))
            body: Any = {}
            if method == "POST":
                try:
                    body = await request.json()
                except ValueError:
                    return _problem(400, "the body is not JSON")
                if not isinstance(body, dict):
                    return _problem(400, "the body must be a JSON object")
            return await run_in_threadpool(_answer, handler, Call(request, who, body), status)

        return Route(path, endpoint, methods=[method])

    application = Starlette(
        routes=[
            route("/api/health", lambda call: {"status": "ok", "version": VERSION}, user=False),
            route("/api/upload-url", api.upload_url),
            route("/api/upload-multipart/init", api.begin_upload, "POST"),
            route("/api/upload-multipart/complete", api.complete_upload, "POST"),
            route("/api/upload-multipart/abort", api.abort_upload, "POST"),
            route("/api/selection/start", api.start_selection, "POST", status=202),
            route("/api/selection/{id}/results", api.selection),
            route("/api/selection/{id}/effective", api.effective),
            route("/api/overrides/{session}", api.override, "POST"),
            route("/api/overrides/{session}/finalize", api.finalize, "POST"),
            route("/api/enhance/start", api.start_enhancement, "POST", status=202),
            route("/api/enhance/{id}/results", api.enhancement),
            route("/api/enhance/{id}/feedback", api.feedback, "POST", status=202),
            route("/api/session/invalidate", api.invalidate, "POST"),
            route("/api/media/thumbnail", api.thumbnail, user=False),
            route("/api/media/full", api.full),
            route("/api/media/compressed", api.compressed),
        ],
        exception_handlers={HTTPException: _http_error, Exception: _http_error},
    )
    application.add_middleware(_Origin, secret=env.get("ORIGIN_VERIFY_SECRET", ""))
    application.add_middleware(_Measured)
    return application


class _Api:
    """The handlers, each a function of a `Call`."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.bucket = service.bucket

    def upload_url(self, call: Call) -> Any:
        key, content_type = self._upload(call, call.query)
        url = self.bucket.presigned_url(key, method="PUT", expires=PUT_SECONDS, content_type=content_type)
        return {"uploadUrl": url, "key": key}

    def begin_upload(self, call: Call) -> Any:
        key, content_type = self._upload(call, call.body)
        size, chunk = _count(call.body, "fileSize"), _count(call.body, "chunkSize")
        limit = keys.MAX_VIDEO_BYTES if keys.kind_of(key) == "video" else keys.MAX_PHOTO_BYTES
        if size > limit:
            raise Problem(400, f"the file is larger than {limit // 1024**2} MiB")
        if not MIN_PART <= chunk <= MAX_PART:
            raise Problem(400, "chunkSize must be from 5 to 100 MiB")
        count = -(-size // chunk)
        if count > MAX_PARTS:
            raise Problem(400, f"the file would have {count} parts; at most {MAX_PARTS} are allowed")
        upload = self.bucket.begin_upload(key, content_type=content_type)
        urls = [
            {"partNumber": number, "url": upload.presigned_part_url(number, expires=PART_SECONDS)}
            for number in range(1, count + 1)
        ]
        return {"uploadId": upload.upload_id, "key": key, "partUrls": urls}

    def complete_upload(self, call: Call) -> Any:
        key, upload_id = self._unfinished(call)
        given = call.body.get("parts")
        if not isinstance(given, list) or not given:
            raise Problem(400, "parts must be a list")
        try:
            upload = self.bucket.resume_upload(key, upload_id)
            sizes = {part.number: part.size for part in upload.parts()}
            parts = [
                Part(int(entry["partNumber"]), str(entry["etag"]).strip('"'), sizes.get(int(entry["partNumber"]), 0))
                for entry in given
            ]
            upload.complete(sorted(parts, key=lambda part: part.number))
        except UploadNotFound as error:
            raise Problem(400, "there is no such upload") from error
        except (KeyError, TypeError, ValueError, StorageError) as error:
            raise Problem(400, "the parts do not make up the upload") from error
        return {"key": key}

    def abort_upload(self, call: Call) -> Any:
        key, upload_id = self._unfinished(call)
        with contextlib.suppress(UploadNotFound):  # it is gone: that is what was asked for
            self.bucket.resume_upload(key, upload_id).abort()
        return {"key": key}

    def start_selection(self, call: Call) -> Any:
        session = self.service.owned(call.body.get("sessionId"), call.user)
        return {"id": self.service.start_selection(session, call.body.get("tripContext", ""), call.body.get("model"))}

    def selection(self, call: Call) -> Any:
        return self.service.selection(self._asked(call), keys.job_id(call.path["id"], "sel"))

    def effective(self, call: Call) -> Any:
        return self.service.effective(self._asked(call), keys.job_id(call.path["id"], "sel"))

    def override(self, call: Call) -> Any:
        self.service.override(self.service.owned(call.path["session"], call.user), call.user, call.body)
        return {"ok": True}

    def finalize(self, call: Call) -> Any:
        self.service.finalize_overrides(self.service.owned(call.path["session"], call.user), call.user, call.body)
        return {"ok": True}

    def start_enhancement(self, call: Call) -> Any:
        session = self.service.owned(call.body.get("sessionId"), call.user)
        return {"id": self.service.start_enhancement(session, call.body.get("keys"))}

    def enhancement(self, call: Call) -> Any:
        return self.service.enhancement(self._asked(call), keys.job_id(call.path["id"], "enh"))

    def feedback(self, call: Call) -> Any:
        session = self.service.owned(call.body.get("sessionId"), call.user)
        job = keys.job_id(call.path["id"], "enh")
        self.service.feedback(session, job, call.body.get("key"), call.body.get("feedback"))
        return {"status": "processing"}

    def invalidate(self, call: Call) -> Any:
        session = self.service.owned(call.body.get("sessionId"), call.user)
        return {"invalidated": self.service.invalidate(session, call.body.get("fromStep"))}

    def thumbnail(self, call: Call) -> Any:
        key = _key(call.query.get("key"))
        headers = {"Cache-Control": "public, max-age=3600"}
        if key.split("/")[1] == "thumbnails":
            return Response(self._bytes(key), headers=headers, media_type="image/jpeg")
        try:
            kind = keys.kind_of(key)
        except UnsupportedMedia as error:
            raise Problem(400, str(error)) from error
        if kind == "video":
            self._head(key)
            return Response(PLACEHOLDER, headers=headers, media_type="image/svg+xml")
        try:
            return Response(images.thumbnail(self._bytes(key)), headers=headers, media_type="image/jpeg")
        except UnsupportedMedia as error:
            raise Problem(404, "there is no thumbnail of this file") from error

    def full(self, call: Call) -> Any:
        key = self._owned_key(call)
        return {"url": self.bucket.presigned_url(key, expires=GET_SECONDS)}

    def compressed(self, call: Call) -> Any:
        key = self._owned_key(call)
        session = key.partition("/")[0]
        names = keys.thumbnail_names(
            found.key
            for found in self.bucket.list(f"{session}/")
            if keys.is_source(found.key) and keys.is_supported(found.key)
        )
        small = keys.compressed_key(session, key, names)
        return {"url": self.bucket.presigned_url(small if self.bucket.exists(small) else key, expires=GET_SECONDS)}

    # -- within

    def _asked(self, call: Call) -> str:
        session = call.query.get("sessionId")
        if not session or not keys.SESSION_ID.fullmatch(session):
            raise Problem(404, "there is no such job")
        return self.service.owned(session, call.user)

    def _owned_key(self, call: Call) -> str:
        key = _key(call.query.get("key"))
        self.service.owned(key.partition("/")[0], call.user)
        return key

    def _upload(self, call: Call, given: Mapping[str, Any]) -> tuple[str, str]:
        session = self.service.owned(given.get("sessionId"), call.user)
        try:
            name = keys.check_filename(given.get("filename"))
            keys.kind_of(name)
        except (InvalidEvent, UnsupportedMedia) as error:
            raise Problem(400, str(error)) from error
        content_type = keys.TYPES[keys.extension(name)]
        if given.get("contentType") != content_type:
            raise Problem(400, f"contentType of this file must be {content_type}")
        return f"{session}/{name}", content_type

    def _unfinished(self, call: Call) -> tuple[str, str]:
        session = self.service.owned(call.body.get("sessionId"), call.user)
        upload_id = call.body.get("uploadId")
        if not isinstance(upload_id, str) or not upload_id:
            raise Problem(400, "uploadId is missing")
        return _key(call.body.get("key"), session), upload_id

    def _bytes(self, key: str) -> bytes:
        try:
            return self.bucket.get(key)
        except ObjectNotFound as error:
            raise Problem(404, "there is no such file") from error

    def _head(self, key: str) -> None:
        if not self.bucket.exists(key):
            raise Problem(404, "there is no such file")


class _Measured:
    """Outermost: how long each route took and how it ended."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watch)
        finally:
            metrics = toolkit.metrics("MediaSelect", Operation="api")
            metrics.observe("RequestMs", (time.monotonic() - began) * 1000, unit="Milliseconds")
            if status >= 500:
                metrics.count("RequestErrors")


class _Origin:
    """Refuses what did not come through the site's own front; an empty secret refuses everything."""

    def __init__(self, app: ASGIApp, secret: str) -> None:
        self.app = app
        self.secret = secret.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            given = dict(scope["headers"]).get(b"x-origin-verify", b"")
            if not self.secret or not hmac.compare_digest(given, self.secret):
                await _problem(403, "forbidden")(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _answer(handler: Handler, call: Call, status: int) -> Response:
    try:
        result = handler(call)
    except Problem as problem:
        return _problem(problem.status, str(problem))
    except ToolkitError as error:
        log.error("storage failed", event_type="api_storage_failed", exc_info=error)
        return _problem(500, "the storage is not available at the moment")
    return result if isinstance(result, Response) else JSONResponse(result, status)


def _key(given: object, session: str | None = None) -> str:
    try:
        return keys.check_key(given, session)
    except InvalidEvent as error:
        raise Problem(400, str(error)) from error


def _count(body: Mapping[str, Any], name: str) -> int:
    value = body.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Problem(400, f"{name} must be a number of bytes")
    return value


def _problem(status: int, text: str) -> JSONResponse:
    return JSONResponse({"error": text}, status)


async def _http_error(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        texts = {404: "not found", 405: "method not allowed"}
        return JSONResponse(
            {"error": texts.get(error.status_code, "request refused")}, error.status_code, error.headers
        )
    log.error("request failed", event_type="api_failed", exc_info=error)
    return _problem(500, "internal error")
