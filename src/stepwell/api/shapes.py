"""The requests of the Step Functions API: their fields and limits, and what AWS says about a value that breaks one.

A shape is turned once into a checker, a closure that walks a JSON value; nothing interprets the table while serving. The
table is AWS's service model (https://docs.aws.amazon.com/step-functions/latest/apireference/), the texts are those of its recordings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stepwell.engine.errors import ApiError, ValidationException

Checker = Callable[[Any, str, list[str]], None]
"""Takes a value, its place as AWS writes it (`tags.1.member.key`) and the faults found so far. Raises SerializationException."""


class SerializationException(ApiError):
    """A JSON value of the wrong type."""


_TYPES: dict[type, str] = {
    str: "STRING_VALUE",
    bool: "",
    int: "NUMBER_VALUE",
    float: "DECIMAL_VALUE",
    dict: "START_OBJECT",
    list: "START_ARRAY",
}


def _wrong(value: Any, wanted: str) -> SerializationException:
    token = ("TRUE_VALUE" if value else "FALSE_VALUE") if isinstance(value, bool) else _TYPES.get(type(value), "NULL")
    return SerializationException(f"{token} can not be converted to {wanted}")


def _fault(place: str, shown: str, rule: str) -> str:
    return f"Value {shown}at '{place}' failed to satisfy constraint: {rule}"


def string(
    least: int = 0,
    most: int | None = None,
    *,
    pattern: str | None = None,
    enum: tuple[str, ...] | None = None,
    sensitive: bool = False,
) -> Checker:
    """Text of `least` to `most` characters. The value of a sensitive field is not repeated in the message."""
    matches = re.compile(pattern).fullmatch if pattern is not None else None

    def check(value: Any, place: str, faults: list[str]) -> None:
        if type(value) is not str:
            raise _wrong(value, "a String")
        size = len(value)
        rule = None
        if enum is not None:
            if value not in enum:
                rule = f"Member must satisfy enum value set: [{', '.join(enum)}]"
        elif most is not None and size > most:
            rule = f"Member must have length less than or equal to {most}"
        elif size < least:
            rule = f"Member must have length greater than or equal to {least}"
        elif matches is not None and matches(value) is None:
            rule = f"Member must satisfy regular expression pattern: {pattern}"
        if rule is not None:
            faults.append(_fault(place, "" if sensitive else f"'{value}' ", rule))

    return check


def integer(least: int | None = None, most: int | None = None) -> Checker:
    """A whole number from `least` to `most`."""

    def check(value: Any, place: str, faults: list[str]) -> None:
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int:
            raise _wrong(value, "an Integer")
        if not -(2**63) <= value < 2**63:
            raise _wrong(value, "an Integer")
        if most is not None and value > most:
            faults.append(_fault(place, f"'{value}' ", f"Member must have value less than or equal to {most}"))
        elif least is not None and value < least:
            faults.append(_fault(place, f"'{value}' ", f"Member must have value greater than or equal to {least}"))

    return check


def number(least: float, most: float) -> Checker:
    """A number from `least` to `most`."""

    def check(value: Any, place: str, faults: list[str]) -> None:
        if type(value) not in (int, float):
            raise _wrong(value, "a Float")
        if value > most:
            faults.append(_fault(place, f"'{float(value)}' ", f"Member must have value less than or equal to {most:g}"))
        elif value < least:
            faults.append(
                _fault(place, f"'{float(value)}' ", f"Member must have value greater than or equal to {least:g}")
            )

    return check


def boolean() -> Checker:
    def check(value: Any, place: str, faults: list[str]) -> None:
        if type(value) is not bool:
            raise _wrong(value, "a Boolean")

    return check


def array(item: Checker, least: int = 0, most: int | None = None) -> Checker:
    """A list of `least` to `most` items; AWS counts places from 1."""

    def check(value: Any, place: str, faults: list[str]) -> None:
        if type(value) is not list:
            raise _wrong(value, "a List")
        rule = None
        if most is not None and len(value) > most:
            rule = f"Member must have length less than or equal to {most}"
        elif len(value) < least:
            rule = f"Member must have length greater than or equal to {least}"
        if rule is not None:
            faults.append(_fault(place, f"'{value}' ", rule))
        for number_, entry in enumerate(value, 1):
            if entry is None:
                faults.append(_fault(f"{place}.{number_}.member", "null ", "Member must not be null"))
            else:
                item(entry, f"{place}.{number_}.member", faults)

    return check


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a structure."""

    check: Checker
    required: bool = False


def required(check: Checker) -> Field:
    return Field(check, True)


def structure(**members: Checker | Field) -> Checker:
    """An object. Unknown members are ignored, as AWS does; null is the same as absent."""
    fields = {name: member if isinstance(member, Field) else Field(member) for name, member in members.items()}
    checks = [(name, field.check, field.required) for name, field in fields.items()]

    def check(value: Any, place: str, faults: list[str]) -> None:
        if type(value) is not dict:
            raise _wrong(value, "an Object")
        prefix = f"{place}." if place else ""
        for name, checker, needed in checks:
            entry = value.get(name)
            if entry is not None:
                checker(entry, prefix + name, faults)
            elif needed:
                faults.append(_fault(prefix + name, "null ", "Member must not be null"))

    return check


def request(**members: Checker | Field) -> Callable[[dict[str, Any]], None]:
    """The checker of a whole request: raises ValidationException with all faults."""
    inner = structure(**members)

    def check(value: dict[str, Any]) -> None:
        faults: list[str] = []
        inner(value, "", faults)
        if faults:
            count = "1 validation error" if len(faults) == 1 else f"{len(faults)} validation errors"
            raise ValidationException(f"{count} detected: {'; '.join(faults)}")

    return check


# -- the table -----------------------------------------------------------------------------------------------------------------

ARN = string(1, 256)
LONG_ARN = string(1, 2000)
NAME = string(1, 80)
PAYLOAD = string(0, 262144, sensitive=True)
DEFINITION = string(1, 1048576, sensitive=True)
DESCRIPTION = string(0, 256, sensitive=True)
ERROR = string(0, 256, sensitive=True)
CAUSE = string(0, 32768, sensitive=True)
TASK_TOKEN = string(1, 2048)
PAGE_SIZE = integer(0, 1000)
PAGE_TOKEN = string(1, 1024)
INCLUDED = string(enum=("ALL_DATA", "METADATA_ONLY"))
TYPE = string(enum=("STANDARD", "EXPRESS"))
TRACE = string(0, 256, pattern=r"[\x00-\x7f]*")
TAGS = array(structure(key=string(1, 128), value=string(0, 256)))
ENCRYPTION = structure(
    kmsKeyId=string(1, 2048),
    kmsDataKeyReusePeriodSeconds=integer(60, 900),
    type=required(string(enum=("AWS_OWNED_KEY", "CUSTOMER_MANAGED_KMS_KEY"))),
)
LOGGING = structure(
    level=string(enum=("ALL", "ERROR", "FATAL", "OFF")),
    includeExecutionData=boolean(),
    destinations=array(structure(cloudWatchLogsLogGroup=structure(logGroupArn=string(1, 256)))),
)
TRACING = structure(enabled=boolean())
ROUTING = array(structure(stateMachineVersionArn=required(ARN), weight=required(integer(0, 100))), 1, 2)
MOCK = structure(
    result=PAYLOAD,
    errorOutput=structure(error=ERROR, cause=CAUSE),
    fieldValidationMode=string(enum=("STRICT", "PRESENT", "NONE")),
)
STATE_CONFIGURATION = structure(
    retrierRetryCount=integer(0),
    errorCausedByState=string(1, 80, sensitive=True),
    mapIterationFailureCount=integer(0),
    mapItemReaderData=PAYLOAD,
)

REQUESTS: Mapping[str, Callable[[dict[str, Any]], None]] = {
    "CreateActivity": request(name=required(NAME), tags=TAGS, encryptionConfiguration=ENCRYPTION),
    "CreateStateMachine": request(
        name=required(NAME),
        definition=required(DEFINITION),
        roleArn=required(ARN),
        type=TYPE,
        loggingConfiguration=LOGGING,
        tags=TAGS,
        tracingConfiguration=TRACING,
        publish=boolean(),
        versionDescription=DESCRIPTION,
        encryptionConfiguration=ENCRYPTION,
    ),
    "CreateStateMachineAlias": request(
        description=DESCRIPTION,
        name=required(string(1, 80, pattern=r"^(?=.*[a-zA-Z_\-\.])[a-zA-Z0-9_\-\.]+$")),
        routingConfiguration=required(ROUTING),
    ),
    "DeleteActivity": request(activityArn=required(ARN)),
    "DeleteStateMachine": request(stateMachineArn=required(ARN)),
    "DeleteStateMachineAlias": request(stateMachineAliasArn=required(ARN)),
    "DeleteStateMachineVersion": request(stateMachineVersionArn=required(LONG_ARN)),
    "DescribeActivity": request(activityArn=required(ARN)),
    "DescribeExecution": request(executionArn=required(ARN), includedData=INCLUDED),
    "DescribeMapRun": request(mapRunArn=required(LONG_ARN)),
    "DescribeStateMachine": request(stateMachineArn=required(ARN), includedData=INCLUDED),
    "DescribeStateMachineAlias": request(stateMachineAliasArn=required(ARN)),
    "DescribeStateMachineForExecution": request(executionArn=required(ARN), includedData=INCLUDED),
    "GetActivityTask": request(activityArn=required(ARN), workerName=NAME),
    "GetExecutionHistory": request(
        executionArn=required(ARN),
        maxResults=PAGE_SIZE,
        reverseOrder=boolean(),
        nextToken=PAGE_TOKEN,
        includeExecutionData=boolean(),
    ),
    "ListActivities": request(maxResults=PAGE_SIZE, nextToken=PAGE_TOKEN),
    "ListExecutions": request(
        stateMachineArn=ARN,
        statusFilter=string(enum=("RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", "PENDING_REDRIVE")),
        maxResults=PAGE_SIZE,
        nextToken=string(1, 3096),
        mapRunArn=LONG_ARN,
        redriveFilter=string(enum=("REDRIVEN", "NOT_REDRIVEN")),
    ),
    "ListMapRuns": request(executionArn=required(ARN), maxResults=PAGE_SIZE, nextToken=PAGE_TOKEN),
    "ListStateMachineAliases": request(stateMachineArn=required(ARN), nextToken=PAGE_TOKEN, maxResults=PAGE_SIZE),
    "ListStateMachineVersions": request(stateMachineArn=required(ARN), nextToken=PAGE_TOKEN, maxResults=PAGE_SIZE),
    "ListStateMachines": request(maxResults=PAGE_SIZE, nextToken=PAGE_TOKEN),
    "ListTagsForResource": request(resourceArn=required(ARN)),
    "PublishStateMachineVersion": request(stateMachineArn=required(ARN), revisionId=string(), description=DESCRIPTION),
    "RedriveExecution": request(executionArn=required(ARN), clientToken=string(1, 64, pattern="[!-~]+")),
    "SendTaskFailure": request(taskToken=required(TASK_TOKEN), error=ERROR, cause=CAUSE),
    "SendTaskHeartbeat": request(taskToken=required(TASK_TOKEN)),
    "SendTaskSuccess": request(taskToken=required(TASK_TOKEN), output=required(PAYLOAD)),
    "StartExecution": request(stateMachineArn=required(ARN), name=NAME, input=PAYLOAD, traceHeader=TRACE),
    "StartSyncExecution": request(
        stateMachineArn=required(ARN), name=NAME, input=PAYLOAD, traceHeader=TRACE, includedData=INCLUDED
    ),
    "StopExecution": request(executionArn=required(ARN), error=ERROR, cause=CAUSE),
    "TagResource": request(resourceArn=required(ARN), tags=required(TAGS)),
    "TestState": request(
        definition=required(DEFINITION),
        roleArn=ARN,
        input=PAYLOAD,
        inspectionLevel=string(enum=("INFO", "DEBUG", "TRACE")),
        revealSecrets=boolean(),
        variables=PAYLOAD,
        stateName=string(1, 80, sensitive=True),
        mock=MOCK,
        context=PAYLOAD,
        stateConfiguration=STATE_CONFIGURATION,
    ),
    "UntagResource": request(resourceArn=required(ARN), tagKeys=required(array(string(1, 128)))),
    "UpdateMapRun": request(
        mapRunArn=required(LONG_ARN),
        maxConcurrency=integer(0),
        toleratedFailurePercentage=number(0, 100),
        toleratedFailureCount=integer(0),
    ),
    "UpdateStateMachine": request(
        stateMachineArn=required(ARN),
        definition=DEFINITION,
        roleArn=ARN,
        loggingConfiguration=LOGGING,
        tracingConfiguration=TRACING,
        publish=boolean(),
        versionDescription=DESCRIPTION,
        encryptionConfiguration=ENCRYPTION,
    ),
    "UpdateStateMachineAlias": request(
        stateMachineAliasArn=required(ARN), description=DESCRIPTION, routingConfiguration=ROUTING
    ),
    "ValidateStateMachineDefinition": request(
        definition=required(DEFINITION),
        type=TYPE,
        severity=string(enum=("ERROR", "WARNING")),
        maxResults=integer(0, 100),
    ),
}
