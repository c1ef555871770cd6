"""Invocations of the Lambda API: waited for, or asynchronous with retries and a destination for what failed.

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from stepwell.api.lambda_errors import LambdaError
from stepwell.api.lambda_functions import LambdaFunctions
from stepwell.functions import Call, InvokeResult, PoolClosed, TooManyRequests, UnknownFunction
from stepwell.functions.uploads import Uploaded
from stepwell.tasks.aws_clients import AwsClients, Caller, CallFailed
from stepwell.tasks.requests import TaskError

MAX_REQUEST = 6 * 1024 * 1024
MAX_EVENT = 1024 * 1024
RETRY_SECONDS = (60.0, 120.0)
MAX_AGE = 6 * 3600
MAX_WAITING = 10_000
"""Asynchronous events that wait or are being retried; more are refused as throttled."""

log = logging.getLogger("stepwell.lambda")


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
    """Invokes the functions of one account: uploaded ones and a project's own. `retry_seconds`: before each retry of an event."""

    functions: LambdaFunctions
    aws: AwsClients
    retry_seconds: tuple[float, float] = RETRY_SECONDS
    _running: set[asyncio.Task[None]] = field(default_factory=set)

    async def invoke(self, request: Invocation) -> Answer:
        """Raises LambdaError."""
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
        if request.kind == "Event":
            if len(self._running) >= MAX_WAITING:
                raise _throttled()
            work = self._event(key, version, uploaded, request.qualifier, payload, call)
            task = asyncio.create_task(work)
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            return Answer(202)
        reserved = uploaded is not None and uploaded.reserved_concurrency is not None
        try:
            result = await self.functions.pool.invoke(key, payload, call=call, wait=not reserved)
        except TooManyRequests as error:
            raise _throttled() from error
        except UnknownFunction as error:
            raise LambdaError("ResourceNotFoundException", str(error), 404) from error
        except PoolClosed as error:
            raise LambdaError("ServiceException", "The server is stopping.", 503) from error
        tail = base64.b64encode(result.log_tail).decode() if request.tail else None
        return Answer(200, result.payload, version, result.error is not None, tail)

    def close(self) -> None:
        for task in list(self._running):
            task.cancel()

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

    # -- asynchronous ----------------------------------------------------------------------------------------------------------

    async def _event(
        self, key: str, version: str, uploaded: Uploaded | None, qualifier: str | None, payload: bytes, call: Call
    ) -> None:
        config = (uploaded.event_invoke.get(qualifier or "$LATEST") if uploaded is not None else None) or {}
        attempts = 1 + int(config.get("MaximumRetryAttempts", 2))
        until = time.monotonic() + float(config.get("MaximumEventAgeInSeconds", MAX_AGE))
        result: InvokeResult | None = None
        made = 0
        condition = "RetriesExhausted"
        for attempt in range(attempts):
            if attempt:
                await asyncio.sleep(self.retry_seconds[min(attempt, len(self.retry_seconds)) - 1])
                if time.monotonic() > until:
                    condition = "EventAgeExceeded"
                    break
            try:
                result = await self.functions.pool.invoke(key, payload, call=call)
            except (UnknownFunction, PoolClosed):
                return  # deleted meanwhile, or the server stops
            made += 1
            if result.error is None:
                await self._deliver(uploaded, config, "OnSuccess", "Success", version, payload, result, made, call)
                return
            log.warning("asynchronous invocation %s of %s failed: %s", call.request_id, key, result.error.error_type)
        if result is not None:
            await self._dead_letter(uploaded, payload, result, call)
            await self._deliver(uploaded, config, "OnFailure", condition, version, payload, result, made, call)

    async def _deliver(
        self,
        uploaded: Uploaded | None,
        config: dict[str, Any],
        side: str,
        condition: str,
        version: str,
        payload: bytes,
        result: InvokeResult,
        made: int,
        call: Call,
    ) -> None:
        """Tell the destination of successes or failures, if one is configured."""
        target = ((config.get("DestinationConfig") or {}).get(side) or {}).get("Destination")
        if uploaded is None or not target:
            return
        record: dict[str, Any] = {
            "version": "1.0",
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
            "requestContext": {
                "requestId": call.request_id,
                "functionArn": f"{uploaded.arn}:{version}",
                "condition": condition,
                "approximateInvokeCount": made,
            },
            "requestPayload": orjson.loads(payload),
            "responseContext": {"statusCode": 200, "executedVersion": version},
            "responsePayload": orjson.loads(result.payload or b"null"),
        }
        if result.error is not None:
            record["responseContext"]["functionError"] = "Unhandled"
        await self._send(str(target), orjson.dumps(record), {})

    async def _dead_letter(self, uploaded: Uploaded | None, payload: bytes, result: InvokeResult, call: Call) -> None:
        target = (uploaded.latest.configuration.get("DeadLetterConfig") or {}).get("TargetArn") if uploaded else None
        if target and result.error is not None:
            attributes = {
                "RequestID": call.request_id,
                "ErrorCode": "200",
                "ErrorMessage": result.error.error_message[:1024],
            }
            await self._send(target, payload, attributes)

    async def _send(self, arn: str, body: bytes, attributes: dict[str, str]) -> None:
        """A message to a queue, topic, function or event bus."""
        parts = arn.split(":", 5)
        kind = parts[2] if len(parts) == 6 else ""
        caller = Caller(parts[4], parts[3]) if len(parts) == 6 else Caller("", "")
        values = {k: {"DataType": "String", "StringValue": v} for k, v in attributes.items() if v}
        try:
            if kind == "lambda":
                await self.invoke(Invocation(arn, None, body, "Event"))
            elif kind == "sqs":
                service = await self.aws.service("sqs")
                found = await self.aws.call(
                    service, "GetQueueUrl", {"QueueName": parts[5], "QueueOwnerAWSAccountId": parts[4]}, caller
                )
                message = {
                    "QueueUrl": found.result["QueueUrl"],
                    "MessageBody": body.decode(),
                    "MessageAttributes": values,
                }
                await self.aws.call(service, "SendMessage", message, caller)
            elif kind == "sns":
                message = {"TopicArn": arn, "Message": body.decode(), "MessageAttributes": values}
                await self.aws.call(await self.aws.service("sns"), "Publish", message, caller)
            elif kind == "events":
                entry = {
                    "Source": "lambda",
                    "DetailType": "Lambda Function Invocation Result",
                    "Detail": body.decode(),
                    "EventBusName": arn,
                }
                await self.aws.call(await self.aws.service("events"), "PutEvents", {"Entries": [entry]}, caller)
            else:
                log.error(
                    "an asynchronous invocation's destination is neither queue, topic, function nor event bus: %s", arn
                )
        except (CallFailed, LambdaError, TaskError) as error:
            log.error("the outcome of an asynchronous invocation could not be sent to %s: %s", arn, error)


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
