"""Invocations of the Lambda API: waited for, or accepted as events, which the engine keeps and runs."""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass
from typing import Any

import orjson

from stepwell.api.lambda_errors import LambdaError
from stepwell.api.lambda_functions import LambdaFunctions
from stepwell.functions import Call, PoolClosed, TooManyRequests, UnknownFunction
from stepwell.functions.uploads import Uploaded

MAX_REQUEST = 6 * 1024 * 1024
MAX_EVENT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Invocation:
    """A request to invoke."""

    reference: str
    qualifier: str | None
    payload: bytes
    kind: str = "RequestResponse"
    tail: bool = False
    client_context: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    status: int
    payload: bytes = b""
    version: str | None = None
    failed: bool = False
    log_result: str | None = None


@dataclass(slots=True)
class LambdaInvocations:
    """Invokes the functions of one account: uploaded ones and a project's own."""

    functions: LambdaFunctions

    async def invoke(self, request: Invocation) -> Answer:
        """Raises LambdaError, and JournalError when an event cannot be kept."""
        key, version, uploaded = self._target(request)
        limit = MAX_EVENT if request.kind == "Event" else MAX_REQUEST
        if len(request.payload) > limit:
            raise LambdaError(
                "RequestTooLargeException",
                f"{len(request.payload)} byte payload is too large for the {request.kind} "
                f"invocation type (limit {limit} bytes)",
                413,
            )
        payload = request.payload or b"{}"
        _check_json(payload)
        context = _context(request.client_context)
        if uploaded is not None and uploaded.reserved_concurrency == 0:
            raise _throttled()
        if request.kind == "DryRun":
            return Answer(204)
        request_id = str(uuid.uuid4())
        call = Call(request_id=request_id, client_context=context)
        reserved = uploaded is not None and uploaded.reserved_concurrency is not None
        try:
            if request.kind == "Event":
                qualifier = self.functions.split(request.reference, request.qualifier)[1]
                await self.functions.engine.invocations.accept(key, payload, call=call, qualifier=qualifier)
                return Answer(202)
            result = await self.functions.pool.invoke(key, payload, call=call, wait=not reserved)
        except TooManyRequests as error:
            raise _throttled() from error
        except UnknownFunction as error:
            raise LambdaError("ResourceNotFoundException", str(error), 404) from error
        except PoolClosed as error:
            raise LambdaError("ServiceException", "The server is stopping.", 503) from error
        tail = base64.b64encode(result.log_tail).decode() if request.tail else None
        return Answer(200, result.payload, version, result.error is not None, tail)

    def _target(self, request: Invocation) -> tuple[str, str, Uploaded | None]:
        """The pool's name of the function, its version, and its record if it was uploaded."""
        name, qualifier = self.functions.split(request.reference, request.qualifier)
        if name not in self.functions.uploads.functions:
            try:
                key = name if qualifier in (None, "$LATEST") else f"{name}:{qualifier}"
                return key, self.functions.pool.resolve(key).version, None
            except UnknownFunction:
                pass  # find() says it in AWS's words
        uploaded, version, _ = self.functions.find(request.reference, request.qualifier)
        return name if version == "$LATEST" else f"{name}:{version}", version, uploaded


def _check_json(payload: bytes) -> None:
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        text = payload[:64].decode(errors="replace")
        raise LambdaError(
            "InvalidRequestContentException",
            f"Could not parse request body into json: Unrecognized token '{text}': was expecting "
            f"(JSON String, Number, Array, Object or token 'null', 'true' or 'false') ({error})",
        ) from error


def _context(text: str | None) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        context = orjson.loads(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise LambdaError(
            "InvalidRequestContentException", "Client context must be a valid Base64-encoded JSON object."
        ) from error
    if not isinstance(context, dict):
        raise LambdaError(
            "InvalidRequestContentException", "Client context must be a valid Base64-encoded JSON object."
        )
    return context


def _throttled() -> LambdaError:
    return LambdaError(
        "TooManyRequestsException", "Rate Exceeded.", 429, Reason="ReservedFunctionConcurrentInvocationLimitExceeded"
    )
