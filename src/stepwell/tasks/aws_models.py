"""AWS services as Step Functions names them, from botocore's own models.

An `aws-sdk` resource names a service by the Java SDK's package (`cloudwatchlogs`), an action by its method (`listObjectsV2`), and
parameters and results by the model's member names with a capital first letter. Errors are the Java SDK's exception classes. The
rules here are those of the SDK's code generator, seen in AWS's recordings.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from stepwell.tasks.requests import TaskError

if TYPE_CHECKING:
    from botocore.loaders import Loader

PACKAGES = {
    "applicationdiscovery": "discovery",
    "cloudwatchlogs": "logs",
    "cognitoidentityprovider": "cognito-idp",
    "config": "config",
    "costandusagereport": "cur",
    "costexplorer": "ce",
    "databasemigration": "dms",
    "directory": "ds",
    "directoryservicedata": "ds-data",
    "elasticloadbalancing": "elb",
    "elasticloadbalancingv2": "elbv2",
    "elasticsearch": "es",
    "eventbridge": "events",
    "iotdataplane": "iot-data",
    "iotjobsdataplane": "iot-jobs-data",
    "lexmodelbuilding": "lex-models",
    "lexmodelsv2": "lexv2-models",
    "lexruntime": "lex-runtime",
    "lexruntimev2": "lexv2-runtime",
    "marketplaceentitlement": "marketplace-entitlement",
    "marketplacemetering": "meteringmarketplace",
    "migrationhub": "mgh",
    "pinpointsmsvoice": "sms-voice",
    "serverlessapplicationrepository": "serverlessrepo",
    "sfn": "stepfunctions",
    "simpledb": "sdb",
}
"""Java SDK packages whose botocore name is another; all others are botocore's name without its dashes."""


class MissingSdk(TaskError):
    """boto3 is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "States.Runtime",
            "Calling AWS services needs the AWS SDK, which is not installed: pip install 'stepwell[aws]'.",
            "schedule",
        )


@lru_cache(maxsize=1)
def _loader() -> Loader:
    try:
        from botocore.loaders import Loader
    except ImportError as error:
        raise MissingSdk from error
    loader: Loader = Loader()
    return loader


@lru_cache(maxsize=1)
def _services() -> dict[str, str]:
    """Every botocore service by its Java SDK package."""
    named = {name.replace("-", ""): name for name in _loader().list_available_services("service-2")}
    known = set(named.values())
    named |= {package: name for package, name in PACKAGES.items() if name in known}
    named |= {f"{package}service": name for package, name in PACKAGES.items() if name in known}
    return named


def java_name(text: str) -> str:
    """A service id or error shape as the Java SDK's class names write it: "DynamoDB" is DynamoDb, "SFN" is Sfn, "IoT" is Iot."""
    text = re.sub(r"[^A-Za-z0-9]+", " ", text)
    text = re.sub(r"([^a-z]{2,})v([0-9]+)", r"\1 v\2 ", text)
    text = re.sub(r"([^A-Z]{2,})V([0-9]+)", r"\1 V\2 ", text)
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-zA-Z0-9])", " ", text)
    text = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", text)
    text = re.sub(r"([0-9])([a-zA-Z])", r"\1 \2", text)
    return "".join(word[:1].upper() + word[1:].lower() for word in text.split())


def exception_name(shape: str) -> str:
    """The exception class the Java SDK makes of an error shape: NoSuchKey is NoSuchKeyException, ServerFault is ServerException."""
    if shape.endswith("Exception"):
        return shape[:1].upper() + shape[1:]
    stem = shape.removesuffix("Fault") if shape.endswith("Fault") else shape
    return stem[:1].upper() + stem[1:] + "Exception"


@dataclass(frozen=True, slots=True)
class Service:
    """A service's model. `name` is botocore's, `prefix` the Java SDK's (the first part of its error names)."""

    name: str
    prefix: str
    model: Any
    actions: Mapping[str, str]
    errors: Mapping[str, str]
    """Exception class by error code."""

    def operation(self, action: str) -> str | None:
        """The model's name of an action as a Resource writes it, or None."""
        return self.actions.get(action) or self.actions.get(action.lower())


@lru_cache(maxsize=64)
def load_service(package: str) -> Service:
    """The service of a Java SDK package name or a botocore name. Raises TaskError for an unknown one."""
    from botocore.model import ServiceModel  # after _loader() said that it is there

    name = _services().get(package.lower().replace("-", ""))
    if name is None:
        raise TaskError("States.Runtime", f"There is no AWS service '{package}' in the installed AWS SDK.", "schedule")
    model = ServiceModel(_loader().load_service_model(name, "service-2"), name)
    actions: dict[str, str] = {}
    for operation in model.operation_names:
        actions[operation[:1].lower() + operation[1:]] = operation
        actions.setdefault(operation.lower(), operation)
    errors = {}
    for shape in model.error_shapes:
        code = shape.metadata.get("error", {}).get("code", shape.name)
        errors[code] = errors[shape.name] = exception_name(shape.name)
    return Service(name, java_name(model.service_id), model, actions, errors)


# -- values --------------------------------------------------------------------------------------------------------------------


class UnknownField(ValueError):
    """A parameter the action does not have, or one of another type."""


def capital(name: str) -> str:
    return name[:1].upper() + name[1:]


@lru_cache(maxsize=8192)
def _members(shape: Any) -> dict[str, tuple[str, Any]]:
    """A structure's members by the name Step Functions gives them."""
    return {capital(name): (name, member) for name, member in shape.members.items()}


def _json_text(value: Any) -> str:
    return orjson.dumps(value).decode()


def to_sdk(value: Any, shape: Any, path: str = "") -> Any:
    """JSON parameters as botocore wants them.

    Members that are null are left out. Where the model wants text and the JSON is something else, its JSON text is taken; a blob in
    a payload position (S3's Body) is always the JSON text, strings with their quotes. Raises UnknownField.
    """
    kind = shape.type_name
    if kind == "structure":
        if getattr(shape, "is_document_type", False):
            return value
        if not isinstance(value, dict):
            raise _mistyped(path, "object")
        members = _members(shape)
        result = {}
        for key, item in value.items():
            found = members.get(key) or members.get(capital(key))
            if found is None:
                raise UnknownField(f'The field "{key}" is not supported by Step Functions')
            if item is not None:
                name, member = found
                if member.type_name == "blob" and shape.serialization.get("payload") == name:
                    result[name] = _json_text(item).encode()
                else:
                    result[name] = to_sdk(item, member, f"{path}/{key}")
        return result
    if kind == "list":
        if not isinstance(value, list):
            raise _mistyped(path, "array")
        return [to_sdk(item, shape.member, path) for item in value]
    if kind == "map":
        if not isinstance(value, dict):
            raise _mistyped(path, "object")
        return {key: to_sdk(item, shape.value, path) for key, item in value.items() if item is not None}
    if kind == "string":
        return value if isinstance(value, str) else _json_text(value)
    if kind == "blob":
        return (value if isinstance(value, str) else _json_text(value)).encode()
    return value


def _mistyped(path: str, kind: str) -> UnknownField:
    return UnknownField(f'The value of field "{path.rpartition("/")[2]}" must be a JSON {kind}')


def from_sdk(value: Any, shape: Any, *, epoch_milliseconds: bool = False) -> Any:
    """A botocore result as Step Functions' JSON: capital member names, timestamps as text, blobs as text.

    Timestamps are ISO 8601 in UTC, or milliseconds since the epoch where an optimised integration has them so.
    Blobs that are not UTF-8 are given in base64.
    """
    kind = shape.type_name
    if kind == "structure":
        if getattr(shape, "is_document_type", False) or not isinstance(value, dict):
            return value
        members = shape.members
        return {
            capital(name): from_sdk(item, members[name], epoch_milliseconds=epoch_milliseconds)
            for name, item in value.items()
            if name in members and item is not None
        }
    if kind == "list":
        return [from_sdk(item, shape.member, epoch_milliseconds=epoch_milliseconds) for item in value]
    if kind == "map":
        return {
            str(key): from_sdk(item, shape.value, epoch_milliseconds=epoch_milliseconds) for key, item in value.items()
        }
    if kind == "timestamp" and isinstance(value, (int, float)):
        value = datetime.fromtimestamp(value, UTC)
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000) if epoch_milliseconds else iso_time(value)
    if isinstance(value, (bytes, bytearray)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    return value


def iso_time(moment: datetime) -> str:
    """As Java prints an instant: no fraction when it is zero, else milliseconds."""
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if not moment.microsecond:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def missing_members(value: Mapping[str, Any], shape: Any) -> list[str]:
    """The required members of the top level that are not there, in the model's order."""
    return [name for name in shape.required_members if name not in value]
