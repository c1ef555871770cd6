"""The AWS JSON 1.0 protocol: `POST /` with `X-Amz-Target: AWSStepFunctions.Action` and a JSON body.

This is the hot path, so it is plain ASGI without a framework: one pass over the headers, one JSON parse, one handler, two sends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

import orjson

from stepwell.api.actions import EMPTY, Actions, UnknownOperationException
from stepwell.api.auth import Authenticator, AuthError
from stepwell.api.guard import Guard
from stepwell.api.metrics import Metrics
from stepwell.api.shapes import SerializationException
from stepwell.engine.arns import new_uuid
from stepwell.engine.errors import ApiError, EngineError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

TARGET = b"AWSStepFunctions."
CONTENT_TYPE = b"application/x-amz-json-1.0"
ERROR_NAMESPACE = "com.amazonaws.swf.service.v2.model#"
CORAL_NAMESPACE = "com.amazon.coral.service#"
CORAL = frozenset(
    {"SerializationException", "UnknownOperationException", "InternalFailure", "ServiceUnavailableException"}
)
MAX_BODY = 2 * 1024 * 1024
"""A definition of 1 MB grows when it is put into JSON text."""
BODY_SECONDS = 30.0
MAX_IN_FLIGHT = 2_000
LONG_POLLS = frozenset({"GetActivityTask"})
GONE = 499
"""The status in the access log when the client did not wait for its answer."""

_WATCHED = frozenset(TARGET + action.encode() for action in LONG_POLLS)

log = logging.getLogger("stepwell.api")
access = logging.getLogger("stepwell.access")


class RequestEntityTooLarge(ApiError):
    """The body is over the limit."""


class ThrottlingException(ApiError):
    """More requests at once than the server takes."""


class RequestTimeout(ApiError):
    """The body did not arrive in time."""


class Forbidden(ApiError):
    """A request of a web page, or to a name that is not this server's."""

    @property
    def code(self) -> str:
        return "AccessDeniedException"


class Headers(NamedTuple):
    """The headers that matter."""

    target: bytes
    host: bytes
    authorization: bytes
    origin: bytes | None
    fetch_site: bytes | None
    length: int


class Response(NamedTuple):
    """What goes back."""

    status: int
    body: bytes
    request_id: str


def read_headers(raw: list[tuple[bytes, bytes]]) -> Headers:
    target = host = authorization = b""
    origin = fetch_site = None
    length = -1
    for name, value in raw:
        if name == b"x-amz-target":
            target = value
        elif name == b"host":
            host = value
        elif name == b"authorization":
            authorization = value
        elif name == b"origin":
            origin = value
        elif name == b"sec-fetch-site":
            fetch_site = value
        elif name == b"content-length":
            length = int(value) if value.isdigit() else -1
    return Headers(target, host, authorization, origin, fetch_site, length)


def access_key_of(authorization: bytes) -> str:
    """The access key of a SigV4 Authorization header; empty when there is none."""
    start = authorization.find(b"Credential=")
    if start < 0:
        return ""
    return authorization[start + 11 :].partition(b"/")[0].decode("latin-1")


async def read_body(receive: Receive, limit: int = MAX_BODY, seconds: float = BODY_SECONDS) -> bytes:
    """The whole body. Raises RequestEntityTooLarge, RequestTimeout, and ConnectionError when the client went away."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if message["type"] == "http.disconnect":
            raise ConnectionError
        if len(body) > limit:
            raise RequestEntityTooLarge(f"The request body is over {limit} bytes.")
        return body
    parts, size = [body], len(body)
    try:
        async with asyncio.timeout(seconds):
            while message.get("more_body"):
                if size > limit:
                    raise RequestEntityTooLarge(f"The request body is over {limit} bytes.")
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionError
                part = message.get("body", b"")
                parts.append(part)
                size += len(part)
    except TimeoutError as error:
        raise RequestTimeout(f"The request body did not arrive within {seconds:g} seconds.") from error
    if size > limit:
        raise RequestEntityTooLarge(f"The request body is over {limit} bytes.")
    return b"".join(parts)


def error_body(error: ApiError) -> bytes:
    code = error.code
    document: dict[str, Any] = {
        "__type": (CORAL_NAMESPACE if code in CORAL else ERROR_NAMESPACE) + code,
        "message": str(error),
    }
    reason = getattr(error, "reason", None)
    if reason is not None:
        document["reason"] = reason
    return orjson.dumps(document)


def status_of(error: ApiError) -> int:
    if isinstance(error, RequestEntityTooLarge):
        return 413
    if isinstance(error, RequestTimeout):
        return 408
    if isinstance(error, (Forbidden, AuthError)):
        return 403
    return 400


async def answer(send: Send, status: int, body: bytes, request_id: str, content_type: bytes = CONTENT_TYPE) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"x-amzn-requestid", request_id.encode()),
                (b"content-type", content_type),
                (b"content-length", str(len(body)).encode()),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


class StepFunctionsProtocol:
    """Answers requests of the Step Functions API."""

    def __init__(
        self, actions: Actions, guard: Guard | None, authenticator: Authenticator | None, metrics: Metrics
    ) -> None:
        self.actions = actions
        self._guard = guard
        self._authenticator = authenticator
        self._metrics = metrics
        self._in_flight = 0
        self._polling: set[asyncio.Task[bytes]] = set()

    def release_polls(self) -> None:
        """Answer all long polls with "nothing", because the server stops."""
        for poll in list(self._polling):
            poll.cancel()

    def takes_whole(self, target: bytes) -> bool:
        """Whether requests with this X-Amz-Target need nothing but their headers and body (a long poll watches its client)."""
        return target.startswith(TARGET) and target not in _WATCHED

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.respond(scope, read_headers(scope["headers"]), receive)
        if response.status != GONE:
            await answer(send, *response)

    async def respond(self, scope: Scope, headers: Headers, source: bytes | Receive) -> Response:
        """The response to a request, whatever happens; `source` is the body or where it comes from."""
        began = time.perf_counter()
        request_id = new_uuid()
        action = "-"
        status = 200
        outcome = "ok"
        self._in_flight += 1
        try:
            name = headers.target.removeprefix(TARGET).decode("latin-1")
            self._admit(headers)
            body = source if isinstance(source, bytes) else await read_body(source)
            key = access_key_of(headers.authorization)
            if self._authenticator is not None:
                key = self._authenticator.check(scope, body, "states")
            if not headers.target.startswith(TARGET) or not self.actions.knows(name):
                raise UnknownOperationException("")
            action = name
            parameters = parse(body)
            if action in LONG_POLLS and not isinstance(source, bytes):
                result = await self._poll(action, parameters, key, source)
            else:
                result = await self.actions.run(action, parameters, key)
        except ApiError as error:
            status, outcome = status_of(error), error.code
            result = error_body(error)
        except EngineError as error:
            status, outcome = 503, "ServiceUnavailableException"
            log.error("request %s (%s): %s", request_id, action, error)
            result = orjson.dumps({"__type": CORAL_NAMESPACE + outcome, "message": str(error)})
        except ConnectionError:
            status, outcome = GONE, "ClientDisconnected"
            result = b""
        except Exception:
            status, outcome = 500, "InternalFailure"
            log.exception("request %s (%s) failed", request_id, action)
            document = {"__type": CORAL_NAMESPACE + outcome, "message": f"Internal failure, see the log: {request_id}"}
            result = orjson.dumps(document)
        finally:
            self._in_flight -= 1
            seconds = time.perf_counter() - began
            self._metrics.observe(action, outcome, seconds)
            if access.isEnabledFor(logging.INFO):
                client = scope.get("client")
                access.info(
                    "%s %s %d %s %.1fms %s",
                    client[0] if client else "-",
                    action,
                    status,
                    outcome,
                    seconds * 1000,
                    request_id,
                )
        return Response(status, result, request_id)

    def refuse(self, error: ApiError) -> Response:
        """The response to a request that never came to be one."""
        self._metrics.observe("-", error.code, 0.0)
        return Response(status_of(error), error_body(error), new_uuid())

    def _admit(self, headers: Headers) -> None:
        if headers.length > MAX_BODY:
            raise RequestEntityTooLarge(f"The request body is over {MAX_BODY} bytes.")
        if self._guard is not None:
            refusal = self._guard.refusal(headers.host, headers.origin, headers.fetch_site)
            if refusal is not None:
                raise Forbidden(refusal)
        if self._in_flight - len(self._polling) > MAX_IN_FLIGHT:
            raise ThrottlingException("Rate exceeded")

    async def _poll(self, action: str, parameters: dict[str, Any], key: str, receive: Receive) -> bytes:
        """A long poll ends when its client goes away: a task must not be handed to nobody."""
        poll = asyncio.create_task(self.actions.run(action, parameters, key))
        gone = asyncio.create_task(_disconnected(receive))
        self._polling.add(poll)
        try:
            await asyncio.wait((poll, gone), return_when=asyncio.FIRST_COMPLETED)
            if not poll.done():
                poll.cancel()
                await asyncio.wait((poll,))
                if poll.cancelled():
                    raise ConnectionError
            return EMPTY if poll.cancelled() else poll.result()
        finally:
            self._polling.discard(poll)
            gone.cancel()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def parse(body: bytes) -> dict[str, Any]:
    """The request's JSON object. Raises SerializationException."""
    if not body:
        return {}
    try:
        parameters = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise SerializationException(f"The request body is not JSON: {error}") from error
    if type(parameters) is not dict:
        raise SerializationException("The request body must be a JSON object.")
    return parameters
