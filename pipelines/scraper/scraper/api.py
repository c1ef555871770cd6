"""The HTTP API (section 7), and the scraper at `/scraper`: a Starlette application. JSON in and out.

Callers have a key (`Authorization: Bearer ...`) or are logged in to the CMS; the scraper has a secret of its own.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scraper import scraping
from scraper.cms import Cms
from scraper.errors import CmsError, ConfigurationError
from scraper.executions import Executions
from scraper.service import Problem, Service
from scraper.settings import Settings
from stepwell.toolkit import http
from stepwell.toolkit.errors import ToolkitError
from stepwell.toolkit.logs import logger

log = logger(__name__)

MAX_BODY = 25 * 1024**2


def create_app(settings: Settings | None = None, service: Service | None = None) -> Starlette:
    """The application. Raises ConfigurationError when the CMS is not configured."""
    chosen = settings or Settings.from_environment()
    worker = service or Service(Cms.of(chosen), Executions(chosen), chosen)
    guard = _Guard(chosen)

    def route(path: str, work: Callable[[Request, Any], Any], method: str = "GET", *, keys: bool = False) -> Route:
        async def endpoint(request: Request) -> Response:
            if not await run_in_threadpool(guard.admits, request, keys):
                return _problem(401, "a key or a login is needed")
            try:
                body = await _body(request) if method == "POST" else None
                return JSONResponse(await run_in_threadpool(work, request, body))
            except Problem as problem:
                return _problem(problem.status, str(problem), **problem.more)
            except (CmsError, ConfigurationError, ToolkitError) as error:
                log.error("request failed", event_type="api_failed", exc_info=error)
                return _problem(
                    502 if isinstance(error, CmsError) else 500, "the CMS or the storage failed; see the log"
                )

        return Route(path, endpoint, methods=[method])

    def resolve(request: Request, body: Any) -> Any:
        if isinstance(body, _Upload):
            return worker.upload(body.job, body.key, body.filename, body.data, body.mime)
        return worker.resolve(body.get("jobId"), body.get("sourceS3Key"), body.get("action"), body.get("mediaId"))

    async def scrape(request: Request) -> Response:
        status, document = await run_in_threadpool(scraping.answer, await request.body(), chosen)
        return JSONResponse(document, status)

    return Starlette(
        routes=[
            route(
                "/api/scrape-itinerary", lambda _, body: worker.start(body.get("itrvlUrl"), body.get("mode")), "POST"
            ),
            route("/api/job-status/{id}", lambda request, _: worker.status(request.path_params["id"])),
            route(
                "/api/job-control/{id}",
                lambda request, body: worker.control(request.path_params["id"], body.get("action")),
                "POST",
            ),
            route("/api/resolve-image", resolve, "POST"),
            route("/api/scraper-health", lambda _request, _body: worker.health(), keys=True),
            route("/api/notifications", lambda request, _: worker.notifications(request.query_params)),
            route("/api/notifications", lambda _, body: worker.mark(body), "POST"),
            Route("/scraper", scrape, methods=["POST"]),
        ],
    )


class _Guard:
    """Who may call."""

    def __init__(self, settings: Settings) -> None:
        self._keys = [key.encode() for key in (settings.api_key, settings.payload_key) if key]
        self._client = http.client(settings.payload_url, timeout=10)

    def admits(self, request: Request, keys: bool) -> bool:
        """`keys`: the form `users API-Key ...` is accepted too."""
        given = request.headers.get("authorization", "")
        schemes = ("Bearer ", "users API-Key ") if keys else ("Bearer ",)
        for scheme in schemes:
            if given.startswith(scheme):
                token = given.removeprefix(scheme).strip().encode()
                return sum(hmac.compare_digest(token, key) for key in self._keys) > 0
        return self._logged_in(request.headers.get("cookie"))

    def _logged_in(self, cookie: str | None) -> bool:
        if not cookie:
            return False
        try:
            answer = self._client.get("/api/users/me", headers={"cookie": cookie})
            return bool(answer.is_success and answer.json().get("user"))
        except (httpx.HTTPError, ValueError):
            return False


class _Upload:
    def __init__(self, job: Any, key: Any, filename: str, data: bytes, mime: str) -> None:
        self.job, self.key, self.filename, self.data, self.mime = job, key, filename, data, mime


async def _body(request: Request) -> Any:
    if int(request.headers.get("content-length") or 0) > MAX_BODY:
        raise Problem(413, f"the body has more than {MAX_BODY} bytes")
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        if request.url.path != "/api/resolve-image":
            raise Problem(400, "the body must be JSON")
        return await _form(request)
    try:
        body = await request.json()
    except ValueError:
        raise Problem(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise Problem(400, "the body must be a JSON object")
    return body


async def _form(request: Request) -> _Upload:
    """A form with a file. Parsed by the standard library: the only form of this API is not worth a dependency."""
    import email.parser
    import email.policy

    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode("latin-1")
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + await request.body())
    fields: dict[str, Any] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        content = data if isinstance(data, bytes) else b""
        if name == "file":
            fields["file"] = (part.get_filename() or "file", content, part.get_content_type())
        elif name:
            fields[str(name)] = content.decode(errors="replace")
    if "file" not in fields:
        raise Problem(400, "file is missing")
    filename, content, mime = fields["file"]
    return _Upload(fields.get("jobId"), fields.get("sourceS3Key"), filename, content, mime)


def _problem(status: int, message: str, /, **more: Any) -> JSONResponse:
    return JSONResponse({"success": False, "error": message, **more}, status)
