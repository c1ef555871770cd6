"""One URL for everything: what is neither Step Functions nor Lambda is passed on to the emulator at `--aws-endpoint`.

So a client, a test suite or Terraform needs one endpoint (`AWS_ENDPOINT_URL`), and state machines and functions run here while buckets,
queues and tables are the emulator's. Requests are passed on as they came, with their Host header: an emulator does not check signatures,
and makes the URLs it gives (of queues, of uploads) from the host it is asked by.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import orjson

from stepwell.api.guard import Guard
from stepwell.api.protocol import TARGET, Receive, Scope, Send, answer, read_headers

if TYPE_CHECKING:
    import httpx

__all__ = ["Forwarder"]

log = logging.getLogger("stepwell.api")
access = logging.getLogger("stepwell.access")

OWN_SERVICES = frozenset({"states", "lambda"})
MARK = b"x-stepwell-forwarded"
READ_SECONDS = 120.0
"""Longer than the longest poll of a queue."""
CONNECTIONS = 256

_SIGNED_SERVICE = re.compile(rb"Credential=[^/,]*/[0-9]{8}/[^/,]*/([^/,]+)/aws4_request")
_PRESIGNED_SERVICE = re.compile(
    rb"X-Amz-Credential=[^&]*?%2F[0-9]{8}%2F[^&]*?%2F([^&%]+)%2Faws4_request", re.IGNORECASE
)
# https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1; uvicorn has answered "expect" already.
_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect"}
)


class Forwarder:
    """Passes requests on to an emulator. Close with `close()`."""

    def __init__(self, endpoint: str, guard: Guard | None) -> None:
        self.endpoint = endpoint
        self._guard = guard
        self._client: httpx.AsyncClient | None = None

    def takes(self, scope: Scope) -> bool:
        """Whether a request is for another service: by the service it is signed for; unsigned ones unless they look like ours."""
        target = content_type = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                signed = _SIGNED_SERVICE.search(value)
                if signed is not None:
                    return signed[1].decode("latin-1") not in OWN_SERVICES
            elif name == b"x-amz-target":
                target = value
            elif name == b"content-type":
                content_type = value
        presigned = _PRESIGNED_SERVICE.search(scope.get("query_string", b""))
        if presigned is not None:
            return presigned[1].decode("latin-1") not in OWN_SERVICES
        if scope["method"] == "POST" and scope["path"] in ("/", ""):
            return not target.startswith(TARGET) and (
                bool(target) or content_type.startswith(b"application/x-www-form-urlencoded")
            )
        return False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        request_id = str(uuid.uuid4())
        status = await self._pass_on(scope, receive, send, request_id)
        if access.isEnabledFor(logging.INFO):
            client = scope.get("client")
            access.info(
                "%s forwarded %s %s %d %.1fms %s",
                client[0] if client else "-",
                scope["method"],
                scope["path"],
                status,
                (time.perf_counter() - began) * 1000,
                request_id,
            )

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> int:
        import httpx

        headers = read_headers(scope["headers"])
        if self._guard is not None:
            refusal = self._guard.refusal(headers.host, headers.origin, headers.fetch_site)
            if refusal is not None:
                return await _refuse(send, 403, "AccessDeniedException", refusal, request_id)
        if any(name == MARK for name, _ in scope["headers"]):
            reason = f"The AWS endpoint {self.endpoint} is this server itself."
            return await _refuse(send, 508, "LoopDetected", reason, request_id)
        try:
            request = self._request(scope, receive)
            response = await self._http().send(request, stream=True)
        except ConnectionError:
            return 499
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = f"The AWS endpoint {self.endpoint} does not answer: {type(error).__name__}: {error}"
            log.warning("%s", reason)
            return await _refuse(send, 502, "BadGateway", reason, request_id)
        try:
            await _relay(response, send)
        except httpx.HTTPError as error:
            # The status is out already: all that can be done is to cut the connection short.
            log.warning("the answer of %s broke off: %s", self.endpoint, error)
            raise
        finally:
            await response.aclose()
        return response.status_code

    def _request(self, scope: Scope, receive: Receive) -> httpx.Request:
        import httpx

        raw_path = scope.get("raw_path") or scope["path"].encode()
        query = scope.get("query_string", b"")
        url = httpx.URL(self.endpoint).copy_with(raw_path=raw_path + (b"?" + query if query else b""))
        has_body = False
        kept = [(MARK, b"1")]
        for name, value in scope["headers"]:
            has_body = has_body or name in (b"content-length", b"transfer-encoding")
            if name not in _HOP_BY_HOP:
                kept.append((name, value))
        return httpx.Request(scope["method"], url, headers=kept, content=_body(receive) if has_body else None)

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            import httpx

            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(READ_SECONDS, connect=5.0),
                limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
                follow_redirects=False,
                trust_env=False,
            )
        return self._client

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        part = message.get("body", b"")
        if part:
            yield part
        if not message.get("more_body"):
            return


async def _relay(response: httpx.Response, send: Send) -> None:
    headers = [(name.lower(), value) for name, value in response.headers.raw if name.lower() not in _HOP_BY_HOP]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    async for part in response.aiter_raw():
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(send: Send, status: int, code: str, message: str, request_id: str) -> int:
    document: dict[str, Any] = {"__type": code, "message": message}
    await answer(send, status, orjson.dumps(document), request_id, b"application/json")
    return status
