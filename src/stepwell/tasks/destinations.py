"""Where the outcome of an asynchronous invocation goes: a function's destinations and its dead-letter queue.

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from stepwell.functions import TooManyRequests, UnknownFunction
from stepwell.functions.spec import LATEST, Call
from stepwell.functions.uploads import Uploaded, Uploads
from stepwell.tasks.aws_clients import AwsClients, Caller, CallFailed
from stepwell.tasks.ports import Failure, Invocation, Policy
from stepwell.tasks.requests import TaskError

log = logging.getLogger("stepwell.lambda")


@dataclass(frozen=True, slots=True)
class Destinations:
    """`stepwell.engine.invocations.Outcomes` of uploaded functions; a project's own have AWS's defaults and no destinations.

    `invoke` accepts an event for another function of this host.
    """

    uploads: Uploads
    aws: AwsClients
    invoke: Callable[[str, bytes, Call], Awaitable[None]]

    def policy(self, invocation: Invocation) -> Policy:
        _, config = self._config(invocation)
        policy = Policy()
        return Policy(
            int(config.get("MaximumRetryAttempts", policy.retries)),
            float(config.get("MaximumEventAgeInSeconds", policy.max_age)),
        )

    async def succeeded(self, invocation: Invocation, payload: bytes) -> None:
        await self._deliver(invocation, "OnSuccess", "Success", payload, failed=False)

    async def failed(self, invocation: Invocation, failure: Failure, condition: str) -> None:
        uploaded, _ = self._config(invocation)
        dead = (uploaded.latest.configuration.get("DeadLetterConfig") or {}).get("TargetArn") if uploaded else None
        if dead:
            attributes = {
                "RequestID": invocation.call.request_id,
                "ErrorCode": "200",
                "ErrorMessage": failure.message[:1024],
            }
            await self._send(dead, invocation.payload, attributes)
        await self._deliver(invocation, "OnFailure", condition, failure.payload, failed=True)

    def _config(self, invocation: Invocation) -> tuple[Uploaded | None, dict[str, Any]]:
        uploaded = self.uploads.functions.get(invocation.function.partition(":")[0])
        if uploaded is None:
            return None, {}
        return uploaded, uploaded.event_invoke.get(invocation.qualifier or LATEST) or {}

    async def _deliver(
        self, invocation: Invocation, side: str, condition: str, payload: bytes, *, failed: bool
    ) -> None:
        uploaded, config = self._config(invocation)
        target = ((config.get("DestinationConfig") or {}).get(side) or {}).get("Destination")
        if uploaded is None or not target:
            return
        record: dict[str, Any] = {
            "version": "1.0",
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z",
            "requestContext": {
                "requestId": invocation.call.request_id,
                "functionArn": f"{uploaded.arn}:{invocation.version}",
                "condition": condition,
                "approximateInvokeCount": invocation.attempts,
            },
            "requestPayload": orjson.loads(invocation.payload),
            "responseContext": {"statusCode": 200, "executedVersion": invocation.version},
            "responsePayload": orjson.loads(payload or b"null"),
        }
        if failed:
            record["responseContext"]["functionError"] = "Unhandled"
        await self._send(str(target), orjson.dumps(record), {})

    async def _send(self, arn: str, body: bytes, attributes: dict[str, str]) -> None:
        """A message to a queue, topic, function or event bus; one that cannot be sent is logged, as nobody waits for it."""
        parts = arn.split(":", 5)
        kind = parts[2] if len(parts) == 6 else ""
        caller = Caller(parts[4], parts[3]) if len(parts) == 6 else Caller("", "")
        values = {k: {"DataType": "String", "StringValue": v} for k, v in attributes.items() if v}
        try:
            if kind == "lambda":
                await self.invoke(arn, body, Call(request_id=str(uuid.uuid4())))
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
        except (CallFailed, TaskError, UnknownFunction, TooManyRequests) as error:
            log.error("the outcome of an asynchronous invocation could not be sent to %s: %s", arn, error)
