"""Errors and response metadata of service integrations, in AWS's words.

Optimised integrations speak as the AWS SDK for Java 1 does (`DynamoDB.AmazonDynamoDBException`, "(Service: AmazonDynamoDBv2; Status Code:
400; ...)"), `aws-sdk` integrations as version 2 (`DynamoDb.DynamoDbException`, "(Service: DynamoDb, Status Code: 400, ...)").
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from stepwell.tasks.aws_clients import CallFailed
from stepwell.tasks.aws_models import Service, exception_name
from stepwell.tasks.requests import TaskError


class Optimised(NamedTuple):
    """How an optimised integration names its service: the error prefix, the SDK's service name and its general exception."""

    prefix: str
    service: str
    general: str


OPTIMISED = {
    "apigateway": Optimised("ApiGateway", "AmazonApiGateway", "AmazonApiGatewayException"),
    "athena": Optimised("Athena", "AmazonAthena", "AmazonAthenaException"),
    "batch": Optimised("Batch", "AWSBatch", "AWSBatchException"),
    "bedrock": Optimised("Bedrock", "AmazonBedrock", "AmazonBedrockException"),
    "codebuild": Optimised("CodeBuild", "AWSCodeBuild", "AWSCodeBuildException"),
    "databrew": Optimised("GlueDataBrew", "AWSGlueDataBrew", "AWSGlueDataBrewException"),
    "dynamodb": Optimised("DynamoDB", "AmazonDynamoDBv2", "AmazonDynamoDBException"),
    "ecs": Optimised("ECS", "AmazonECS", "AmazonECSException"),
    "eks": Optimised("EKS", "AmazonEKS", "AmazonEKSException"),
    "elasticmapreduce": Optimised("ElasticMapReduce", "AmazonElasticMapReduce", "AmazonElasticMapReduceException"),
    "emr-containers": Optimised("EMRContainers", "AmazonEMRContainers", "AmazonEMRContainersException"),
    "emr-serverless": Optimised("EMRServerless", "AWSEMRServerless", "AWSEMRServerlessException"),
    "events": Optimised("EventBridge", "AmazonEventBridge", "AmazonEventBridgeException"),
    "glue": Optimised("Glue", "AWSGlue", "AWSGlueException"),
    "lambda": Optimised("Lambda", "AWSLambda", "AWSLambdaException"),
    "mediaconvert": Optimised("MediaConvert", "AWSMediaConvert", "AWSMediaConvertException"),
    "sagemaker": Optimised("SageMaker", "AmazonSageMaker", "AmazonSageMakerException"),
    "sns": Optimised("SNS", "AmazonSNS", "AmazonSNSException"),
    "sqs": Optimised("SQS", "AmazonSQS", "AmazonSQSException"),
    "states": Optimised("StepFunctions", "AWSStepFunctions", "AWSStepFunctionsException"),
}


def optimised_error(name: str, failure: CallFailed, errors: Mapping[str, str], phase: str = "run") -> TaskError:
    """The error of an optimised integration; `errors` are the service's own exceptions by code."""
    words = OPTIMISED[name]
    if failure.code == "SdkClientException":
        return TaskError(f"{words.prefix}.SdkClientException", failure.message, phase)
    exception = errors.get(failure.code, words.general)
    cause = (
        f"{failure.message} (Service: {words.service}; Status Code: {failure.status}; Error Code: {failure.code}; "
        f"Request ID: {failure.request_id or uuid.uuid4()}; Proxy: null)"
    )
    return TaskError(f"{words.prefix}.{exception}", cause, phase)


def sdk_error(service: Service, failure: CallFailed, phase: str = "run") -> TaskError:
    """The error of an `aws-sdk` integration."""
    prefix = service.prefix
    if failure.code == "SdkClientException":
        return TaskError(f"{prefix}.SdkClientException", f"{failure.message} (SDK Attempt Count: 1)", phase)
    exception = service.errors.get(failure.code, f"{prefix}Exception")
    where = f"Service: {prefix}, Status Code: {failure.status}, Request ID: {failure.request_id or uuid.uuid4()}"
    if service.name == "s3":
        where += f", Extended Request ID: {failure.host_id or uuid.uuid4().hex}"
    cause = f"{failure.message} ({where})"
    if service.name == "stepfunctions":
        # AWS's recordings have this only since 2025, and of the services recorded since only Step Functions had a failure.
        cause += " (SDK Attempt Count: 1)"
    return TaskError(f"{prefix}.{exception}", cause, phase)


def states_errors() -> dict[str, str]:
    """The exceptions of the Step Functions service by error code, without needing the AWS SDK."""
    return {code: exception_name(code) for code in _STATES_CODES}


_STATES_CODES = (
    "ActivityDoesNotExist",
    "ActivityLimitExceeded",
    "ActivityWorkerLimitExceeded",
    "ConflictException",
    "ExecutionAlreadyExists",
    "ExecutionDoesNotExist",
    "ExecutionLimitExceeded",
    "ExecutionNotRedrivable",
    "InvalidArn",
    "InvalidDefinition",
    "InvalidExecutionInput",
    "InvalidLoggingConfiguration",
    "InvalidName",
    "InvalidOutput",
    "InvalidToken",
    "InvalidTracingConfiguration",
    "MissingRequiredParameter",
    "ResourceNotFound",
    "ServiceQuotaExceededException",
    "StateMachineAlreadyExists",
    "StateMachineDeleting",
    "StateMachineDoesNotExist",
    "StateMachineLimitExceeded",
    "StateMachineTypeNotSupported",
    "TaskDoesNotExist",
    "TaskTimedOut",
    "TooManyTags",
    "ValidationException",
)

# -- metadata ------------------------------------------------------------------------------------------------------------------

_HEADERS: dict[str, tuple[tuple[str, str], ...]] = {
    "lambda": (
        ("X-Amz-Executed-Version", "$LATEST"),
        ("x-amzn-Remapped-Content-Length", "0"),
        ("Connection", "keep-alive"),
        ("x-amzn-RequestId", ""),
        ("Content-Length", ""),
        ("Date", ""),
        ("X-Amzn-Trace-Id", ""),
        ("Content-Type", "application/json"),
    ),
    "dynamodb": (
        ("Server", "Server"),
        ("Connection", "keep-alive"),
        ("x-amzn-RequestId", ""),
        ("x-amz-crc32", ""),
        ("Content-Length", ""),
        ("Date", ""),
        ("Content-Type", "application/x-amz-json-1.0"),
    ),
    "sns": (
        ("x-amzn-RequestId", ""),
        ("connection", "keep-alive"),
        ("Content-Length", ""),
        ("Date", ""),
        ("Content-Type", "text/xml"),
    ),
}
_OTHERS = (
    ("x-amzn-RequestId", ""),
    ("connection", "keep-alive"),
    ("Content-Length", ""),
    ("Date", ""),
    ("Content-Type", "application/x-amz-json-1.0"),
)


def sdk_metadata(
    service: str,
    *,
    status: int = 200,
    request_id: str = "",
    length: int = 0,
    received: Mapping[str, str] | None = None,
    extra: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """SdkHttpMetadata and SdkResponseMetadata of an optimised integration's result.

    `received` are AWS's own headers (lower case), given in AWS's spelling; without them (a local function, an emulator) they are those
    AWS sends for the service, `length` being the size of the body AWS would have sent.
    """
    request_id = request_id or str(uuid.uuid4())
    headers = dict(_HEADERS.get(service, _OTHERS))
    headers["x-amzn-RequestId"] = request_id
    if received is not None:
        spelling = {name.lower(): name for name in (*headers, *(extra or ()))}
        headers = {spelling.get(name, name): value for name, value in received.items()}
    else:
        headers["Content-Length"] = str(length)
        headers["Date"] = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        if "x-amz-crc32" in headers:
            headers["x-amz-crc32"] = "2745614147"
        if "X-Amzn-Trace-Id" in headers:
            headers["X-Amzn-Trace-Id"] = f"Root=1-{uuid.uuid4().hex[:8]}-{uuid.uuid4().hex[:24]};Sampled=0"
    headers.update(extra or {})
    return {
        "SdkHttpMetadata": {
            "AllHttpHeaders": {name: [value] for name, value in headers.items()},
            "HttpHeaders": dict(sorted(headers.items(), key=lambda item: item[0].lower())),
            "HttpStatusCode": status,
        },
        "SdkResponseMetadata": {"RequestId": request_id},
    }
