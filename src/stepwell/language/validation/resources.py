"""What a Task's Resource can name, and what the request of an integration must hold.

The optimized integrations and their patterns are those of AWS's page "Integrating optimized services with Step
Functions"; `aws-sdk` integrations are checked for their form only, since AWS adds services every week.
"""

from __future__ import annotations

import re
from typing import Any, Final

from stepwell.language.validation.visit import Path, Visit

__all__ = ["INTEGRATIONS", "REQUIRED_ARGUMENTS", "check_task", "item_reader_resource", "result_writer_resource"]

_RUN = ("", ".sync")
_CALLBACK = ("", ".waitForTaskToken")
_REQUEST = ("",)
_ALL = ("", ".sync", ".waitForTaskToken")

INTEGRATIONS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "apigateway": {"invoke": _CALLBACK},
    "athena": {
        "startQueryExecution": _RUN,
        "stopQueryExecution": _REQUEST,
        "getQueryExecution": _REQUEST,
        "getQueryResults": _REQUEST,
    },
    "batch": {"submitJob": _RUN},
    "bedrock": {"invokeModel": _CALLBACK, "createModelCustomizationJob": _RUN},
    "codebuild": {
        "startBuild": _RUN,
        "startBuildBatch": _RUN,
        "retryBuild": _RUN,
        "retryBuildBatch": _RUN,
        "stopBuild": _REQUEST,
        "stopBuildBatch": _REQUEST,
        "batchDeleteBuilds": _REQUEST,
        "batchGetReports": _REQUEST,
        "deleteBuildBatch": _REQUEST,
    },
    "databrew": {"startJobRun": _RUN},
    "dynamodb": {"getItem": _REQUEST, "putItem": _REQUEST, "deleteItem": _REQUEST, "updateItem": _REQUEST},
    "ecs": {"runTask": _ALL},
    "eks": {
        "call": _REQUEST,
        "runJob": _ALL,
        "createCluster": _ALL,
        "deleteCluster": _ALL,
        "createFargateProfile": _ALL,
        "deleteFargateProfile": _ALL,
        "createNodegroup": _ALL,
        "deleteNodegroup": _ALL,
    },
    "elasticmapreduce": {
        "createCluster": _RUN,
        "terminateCluster": _RUN,
        "addStep": _RUN,
        "cancelStep": _REQUEST,
        "setClusterTerminationProtection": _REQUEST,
        "modifyInstanceFleetByName": _REQUEST,
        "modifyInstanceGroupByName": _REQUEST,
    },
    "emr-containers": {"createVirtualCluster": _REQUEST, "deleteVirtualCluster": _RUN, "startJobRun": _RUN},
    "emr-serverless": {
        "createApplication": _RUN,
        "startApplication": _RUN,
        "stopApplication": _RUN,
        "deleteApplication": _RUN,
        "startJobRun": _RUN,
        "cancelJobRun": _RUN,
    },
    "events": {"putEvents": _CALLBACK},
    "glue": {"startJobRun": _RUN},
    "http": {"invoke": _REQUEST},
    "lambda": {"invoke": _CALLBACK},
    "mediaconvert": {"createJob": _RUN},
    "sagemaker": {
        "createTrainingJob": _RUN,
        "createTransformJob": _RUN,
        "createHyperParameterTuningJob": _RUN,
        "createLabelingJob": _RUN,
        "createProcessingJob": _RUN,
        "createEndpoint": _REQUEST,
        "createEndpointConfig": _REQUEST,
        "createModel": _REQUEST,
        "updateEndpoint": _REQUEST,
    },
    "sns": {"publish": _CALLBACK},
    "sqs": {"sendMessage": _CALLBACK},
    "states": {"startExecution": ("", ".sync", ".sync:2", ".waitForTaskToken")},
}
"""The optimized integrations: service, action, and the patterns it can be called in."""

REQUIRED_ARGUMENTS: Final[dict[str, tuple[str, ...]]] = {
    "apigateway:invoke": ("ApiEndpoint", "Method"),
    "batch:submitJob": ("JobDefinition", "JobName", "JobQueue"),
    "dynamodb:deleteItem": ("TableName", "Key"),
    "dynamodb:getItem": ("TableName", "Key"),
    "dynamodb:putItem": ("TableName", "Item"),
    "dynamodb:updateItem": ("TableName", "Key"),
    "ecs:runTask": ("TaskDefinition",),
    "events:putEvents": ("Entries",),
    "glue:startJobRun": ("JobName",),
    "http:invoke": ("ApiEndpoint", "Method"),
    "lambda:invoke": ("FunctionName",),
    "sns:publish": ("Message",),
    "sqs:sendMessage": ("QueueUrl", "MessageBody"),
    "states:startExecution": ("StateMachineArn",),
}
"""Fields that an integration's Parameters or Arguments must hold."""

_ARN = re.compile(
    r"arn:(?P<partition>[^:]+):(?P<service>[^:]+):(?P<region>[^:]*):(?P<account>[^:]*):(?P<rest>.+)", re.DOTALL
)
_ACTION = re.compile(r"(?P<name>[^.]+)(?P<pattern>\.[\w:]+)?")
_SDK_ACTION = re.compile(r"[a-z0-9]+:[a-z]\w*(\.waitForTaskToken)?")
_ITEM_SOURCES = frozenset({"s3:getObject", "s3:listObjectsV2"})
_PATTERNS = (".sync:2", ".sync", ".waitForTaskToken")


def check_task(visit: Visit, value: Any, path: Path) -> None:
    """Resource of a Task state, with what depends on it: its request, its Credentials, the workflow's type."""
    if not isinstance(value, str):
        visit.error(path, "Expected value of type [STRING]")
        return
    if visit.placeholders and "${" in value:
        return
    arn = _ARN.fullmatch(value)
    if arn is None:
        visit.error(path, "Value is not a valid resource ARN", hint=_RESOURCE_HINT)
        return
    service, rest = arn["service"], arn["rest"]
    if service == "lambda" and rest.startswith("function:"):
        return
    if service == "states" and rest.startswith("activity:"):
        if visit.kind == "EXPRESS":
            visit.error(path, "Express state machine does not support Activity ARN", hint=_EXPRESS_HINT)
        if "Credentials" in visit.state:
            visit.error((*path[:-1], "Credentials"), "The field 'Credentials' is not supported for activities")
        return
    if service == "states" and not arn["region"] and not arn["account"] and _is_integration(rest):
        _check_integration(visit, value, rest, path)
        return
    visit.error(
        path,
        f"The resource provided {value} is not recognized. The value is not a valid resource ARN, "
        "or the resource is not available in this region.",
        hint=_RESOURCE_HINT,
    )


_RESOURCE_HINT = (
    "Name a Lambda function (arn:aws:lambda:REGION:ACCOUNT:function:NAME), an activity, or an integration "
    "(arn:aws:states:::SERVICE:ACTION, with .sync or .waitForTaskToken where the service has it)."
)
_EXPRESS_HINT = "Make it a STANDARD state machine, or use the request-response form."


def _is_integration(rest: str) -> bool:
    service, _, action = rest.partition(":")
    if service == "aws-sdk":
        return _SDK_ACTION.fullmatch(action) is not None
    parts = _ACTION.fullmatch(action)
    patterns = INTEGRATIONS.get(service, {}).get(parts["name"], ()) if parts else ()
    return parts is not None and (parts["pattern"] or "") in patterns


def _check_integration(visit: Visit, arn: str, rest: str, path: Path) -> None:
    pattern = next((pattern for pattern in _PATTERNS if rest.endswith(pattern)), "")
    if pattern and visit.kind == "EXPRESS":
        visit.error(
            path,
            f"Express state machine does not support '{pattern.removesuffix(':2')}' service integration ",
            hint=_EXPRESS_HINT,
        )
    field = "Arguments" if visit.language == "JSONata" else "Parameters"
    if field not in visit.state:
        visit.error(path, f"{field} field is required for resource ARN: {arn}")
        return
    given = visit.state[field]
    if not isinstance(given, dict):
        return
    for name in REQUIRED_ARGUMENTS.get(rest.removesuffix(pattern), ()):
        if name not in given and not (visit.language == "JSONPath" and f"{name}.$" in given):
            visit.error((*path[:-1], field), f"The field '{name}' is required but was missing")


def item_reader_resource(visit: Visit, value: Any, path: Path) -> None:
    """Resource of an ItemReader."""
    _s3_resource(visit, value, path, _ITEM_SOURCES)


def result_writer_resource(visit: Visit, value: Any, path: Path) -> None:
    """Resource of a ResultWriter."""
    _s3_resource(visit, value, path, frozenset({"s3:putObject"}))


def _s3_resource(visit: Visit, value: Any, path: Path, allowed: frozenset[str]) -> None:
    arn = _ARN.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, str) and visit.placeholders and "${" in value:
        return
    if arn is None or arn["service"] != "states" or arn["region"] or arn["account"] or arn["rest"] not in allowed:
        visit.error(
            path,
            "The field 'Resource' does not match any of the allowed values",
            hint=f"Use {' or '.join(f'arn:aws:states:::{name}' for name in sorted(allowed))}.",
        )
