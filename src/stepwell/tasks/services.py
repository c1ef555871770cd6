"""AWS services: every action through `aws-sdk:*`, and the optimised request-response integrations.

Source: https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html, the pages of the optimised integrations, and
AWS's recordings.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from stepwell.tasks.aws_clients import Answer, AwsClients, Caller, CallFailed
from stepwell.tasks.aws_models import Service, UnknownField, from_sdk, missing_members, to_sdk
from stepwell.tasks.ports import Executions, ServiceRefusal
from stepwell.tasks.requests import TaskError, TaskRequest
from stepwell.tasks.topics import Topics
from stepwell.tasks.wording import OPTIMISED, optimised_error, sdk_error, sdk_metadata

BOTO_NAMES = {"elasticmapreduce": "emr"}
"""Services whose ARN of the optimised integration has another name than botocore."""

_SNS_ENVELOPE = 258  # bytes of PublishResponse's XML around the message id


@dataclass(slots=True)
class Services:
    """Calls AWS services for Task states. `executions` answers for the Step Functions service, `topics` for a project's own topics."""

    aws: AwsClients | None
    executions: Executions | None
    topics: Topics = field(default_factory=Topics)

    async def sdk(
        self, task: TaskRequest, package: str, action: str, arguments: dict[str, Any], phase: str
    ) -> dict[str, Any]:
        """An `aws-sdk` action. Its result has no metadata."""
        service, operation = await self._operation(package, action)
        parameters = _parameters(service, operation, arguments, task)
        try:
            if service.name == "stepfunctions" and self.executions is not None:
                result = await _own(self.executions, task, operation, parameters)
            else:
                result = (await self.send(service, operation, parameters, task)).result
        except CallFailed as failure:
            raise sdk_error(service, failure, phase) from failure
        output = service.model.operation_model(operation).output_shape
        if self.aws is not None and self.aws.emulated:
            _complete(service.name, operation, result)
        return from_sdk(result, output) if output is not None else {}

    async def optimised(
        self, task: TaskRequest, name: str, action: str, arguments: dict[str, Any], phase: str
    ) -> dict[str, Any]:
        """The plain call of an optimised integration: its result with the SDK's metadata."""
        service, operation = await self._operation(BOTO_NAMES.get(name, name), action)
        if name == "sqs":
            await self._check_queue(arguments, phase)
        if name == "events" and action == "putEvents":
            return await self._put_events(task, service, arguments, phase)
        parameters = _parameters(service, operation, arguments, task)
        answer = await self.call_optimised(task, name, service, operation, parameters, phase)
        output = service.model.operation_model(operation).output_shape
        result = from_sdk(answer.result, output, epoch_milliseconds=True) if output is not None else {}
        if name == "sqs":
            result = {key: value for key, value in result.items() if not key.startswith("MD5OfMessageSystem")}
        length = (
            _SNS_ENVELOPE + len(str(answer.result.get("MessageId"))) if name == "sns" else _json_length(answer.result)
        )
        metadata = sdk_metadata(
            name,
            status=answer.status,
            request_id=answer.request_id,
            length=length,
            received=answer.headers if self.aws is not None and not self.aws.emulated else None,
        )
        if (name, action) == ("dynamodb", "getItem"):
            for headers in (metadata["SdkHttpMetadata"]["AllHttpHeaders"], metadata["SdkHttpMetadata"]["HttpHeaders"]):
                if "x-amzn-RequestId" in headers:  # in AWS's recordings only this answer has it in lower case
                    headers["x-amzn-requestid"] = headers.pop("x-amzn-RequestId")
        return dict(sorted({**result, **metadata}.items()))

    async def call_optimised(
        self, task: TaskRequest, name: str, service: Service, operation: str, parameters: dict[str, Any], phase: str
    ) -> Answer:
        """One call whose failure has the optimised integration's words."""
        try:
            return await self.send(service, operation, parameters, task)
        except CallFailed as failure:
            raise optimised_error(name, failure, service.errors, phase) from failure

    async def model(self, name: str) -> Service:
        """The model of an optimised integration's service."""
        return await (self.aws or AwsClients()).service(BOTO_NAMES.get(name, name))

    async def _operation(self, package: str, action: str) -> tuple[Service, str]:
        service = await (self.aws or AwsClients()).service(package)
        operation = service.operation(action)
        if operation is None:
            raise TaskError("States.Runtime", f"The AWS service '{package}' has no action '{action}'.", "schedule")
        return service, operation

    async def send(self, service: Service, operation: str, parameters: dict[str, Any], task: TaskRequest) -> Answer:
        """One call on the task's behalf. Raises CallFailed."""
        if self.topics.owns(service.name, operation, parameters):
            _check_required(service, operation, parameters)
            return await self.topics.publish(parameters)
        if self.aws is None:
            raise CallFailed("SdkClientException", "This Stepwell was started without access to AWS services.", 0)
        _check_required(service, operation, parameters)
        role = (task.credentials or {}).get("RoleArn")
        return await self.aws.call(
            service, operation, parameters, Caller(task.account, task.region, role, task.execution_name)
        )

    async def invoke_model(self, task: TaskRequest, arguments: dict[str, Any], phase: str) -> dict[str, Any]:
        """`bedrock:invokeModel`: the body goes in and comes out as JSON, or by way of S3 (`Input`, `Output` with `S3Uri`)."""
        source, target = (_s3_uri(arguments.get(name)) for name in ("Input", "Output"))
        parameters: dict[str, Any] = {
            "modelId": arguments.get("ModelId"),
            "contentType": arguments.get("ContentType", "application/json"),
            "accept": arguments.get("Accept", "application/json"),
        }
        for name in ("GuardrailIdentifier", "GuardrailVersion", "Trace"):
            if arguments.get(name) is not None:
                parameters[name[:1].lower() + name[1:]] = arguments[name]
        s3 = await self.model("s3")
        if source is not None:
            answer = await self.call_optimised(task, "bedrock", s3, "GetObject", source, phase)
            parameters["body"] = answer.result["Body"]
        else:
            body = arguments.get("Body")
            parameters["body"] = body.encode() if isinstance(body, str) else orjson.dumps(body)
        runtime = await self.model("bedrock-runtime")
        answer = await self.call_optimised(task, "bedrock", runtime, "InvokeModel", parameters, phase)
        content, kind = answer.result.get("body", b""), answer.result.get("contentType", "application/json")
        if target is not None:
            await self.call_optimised(
                task, "bedrock", s3, "PutObject", {**target, "Body": content, "ContentType": kind}, phase
            )
            return {"Body": f"s3://{target['Bucket']}/{target['Key']}", "ContentType": kind}
        try:
            value: Any = orjson.loads(content)
        except orjson.JSONDecodeError:
            value = content.decode(errors="replace")
        return {"Body": value, "ContentType": kind}

    async def _put_events(
        self, task: TaskRequest, service: Service, arguments: dict[str, Any], phase: str
    ) -> dict[str, Any]:
        """`events:putEvents`: entries get the execution's ARNs as resources, and one refused entry fails the task."""
        parameters = _parameters(service, "PutEvents", arguments, task)
        entries = parameters.get("Entries") or []
        for entry in entries:
            if isinstance(entry, dict):
                own = [task.state_machine_arn, task.execution_arn]
                entry["Resources"] = [*entry.get("Resources", []), *own]
        bad = {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
        good = [entry for entry in entries if _is_object(entry.get("Detail"))]
        sent: list[dict[str, Any]] = []
        if good or not entries:
            answer = await self.call_optimised(
                task, "events", service, "PutEvents", {**parameters, "Entries": good}, phase
            )
            sent = list(answer.result.get("Entries", []))
        results = [sent.pop(0) if _is_object(entry.get("Detail")) and sent else bad for entry in entries]
        failed = sum("ErrorCode" in result for result in results)
        document = {"Entries": results, "FailedEntryCount": failed}
        if failed:
            raise TaskError("EventBridge.FailedEntry", orjson.dumps(document).decode(), phase)
        return document

    async def _check_queue(self, arguments: dict[str, Any], phase: str) -> None:
        """The SDK sends to the queue's URL itself, so a host that does not exist is a fault of the client."""
        url = arguments.get("QueueUrl")
        host = urlsplit(url).hostname if isinstance(url, str) else None
        if host is None:
            return
        try:
            await asyncio.get_running_loop().getaddrinfo(host, None)
        except (socket.gaierror, UnicodeError) as error:
            text = f"Unable to execute HTTP request: {host}: Name or service not known"
            emulated = self.aws is not None and self.aws.emulated
            if not emulated or "." not in host:
                raise TaskError(f"{OPTIMISED['sqs'].prefix}.SdkClientException", text, phase) from error


async def _own(executions: Executions, task: TaskRequest, operation: str, parameters: dict[str, Any]) -> dict[str, Any]:
    try:
        return await executions.call(operation, parameters, account=task.account, region=task.region)
    except ServiceRefusal as refusal:
        raise CallFailed(refusal.code, refusal.message, refusal.status) from refusal


def _parameters(service: Service, operation: str, arguments: dict[str, Any], task: TaskRequest) -> dict[str, Any]:
    shape = service.model.operation_model(operation).input_shape
    if shape is None:
        return {}
    try:
        converted: dict[str, Any] = to_sdk(arguments, shape)
    except UnknownField as unknown:
        raise TaskError(
            "States.Runtime",
            f"The Parameters '{task.arguments.decode()}' could not be used to start the Task: [{unknown}]",
            "schedule",
        ) from unknown
    return converted


def _check_required(service: Service, operation: str, parameters: dict[str, Any]) -> None:
    """What the service would answer when a required parameter is missing or null, in its words."""
    shape = service.model.operation_model(operation).input_shape
    missing = missing_members(parameters, shape) if shape is not None else []
    if not missing:
        return
    if service.name == "sqs":
        raise CallFailed("MissingParameter", f"The request must contain the parameter {missing[0]}.", 400)
    if service.model.protocol == "json":
        faults = "; ".join(
            f"Value null at '{name[:1].lower() + name[1:]}' failed to satisfy constraint: Member must not be null"
            for name in missing
        )
        count = "1 validation error" if len(missing) == 1 else f"{len(missing)} validation errors"
        raise CallFailed("ValidationException", f"{count} detected: {faults}", 400)
    for name in missing:
        if shape.members[name].serialization.get("location") == "uri":
            text = f"Unable to marshall request: Parameter '{name}' must not be null"
            raise CallFailed("SdkClientException", text, 0)


def _s3_uri(place: Any) -> dict[str, Any] | None:
    uri = place.get("S3Uri") if isinstance(place, dict) else None
    if not isinstance(uri, str):
        return None
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def _complete(service: str, operation: str, result: dict[str, Any]) -> None:
    """What AWS answers for every bucket since 2023 and emulators leave out."""
    if service == "s3" and operation in ("PutObject", "GetObject", "HeadObject", "CopyObject"):
        result.setdefault("ServerSideEncryption", "AES256")
        if operation == "PutObject":
            result.setdefault("ChecksumType", "FULL_OBJECT")


def _is_object(detail: Any) -> bool:
    try:
        return isinstance(orjson.loads(detail), dict)
    except (orjson.JSONDecodeError, TypeError):
        return False


def _json_length(result: dict[str, Any]) -> int:
    """The size of the body AWS sends for a JSON result."""
    try:
        return len(orjson.dumps(result, default=str))
    except TypeError:
        return 0
