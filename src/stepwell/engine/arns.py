"""Amazon Resource Names of Step Functions, with the texts AWS refuses others with."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from stepwell.engine.errors import InvalidArn, InvalidName, ValidationException

__all__ = ["Arn", "Arns", "check_alias_name", "check_name", "new_name", "new_uuid", "parse"]

NAME_LIMIT = 80
_FORBIDDEN = re.compile(r'[\s<>{}\[\]?*"#%\\^|~`$&,;:/\x00-\x1f\x7f-\x9f\ufffe\uffff\ud800-\udfff]')
_ALIAS_NAME = re.compile(r"^(?=.*[a-zA-Z_\-.])[a-zA-Z0-9_\-.]+\Z")


def new_uuid() -> str:
    """A random UUID, at a quarter of the cost of `uuid.uuid4`."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def new_name(now: int) -> str:
    """A random UUID that begins with the time (version 7; `now` in milliseconds): names that follow each other lie together in an index."""
    digits = os.urandom(10).hex()
    time = f"{now:012x}"
    return f"{time[:8]}-{time[8:]}-7{digits[1:4]}-a{digits[5:8]}-{digits[8:]}"


class Arn(NamedTuple):
    """`arn:PARTITION:SERVICE:REGION:ACCOUNT:KIND:PARTS...`."""

    text: str
    partition: str
    service: str
    region: str
    account: str
    kind: str
    parts: tuple[str, ...]


def parse(text: str, *kinds: str) -> Arn:
    """The ARN, which must be one of Step Functions and of one of `kinds` ("stateMachine", "execution", ...). Raises InvalidArn."""
    fields = text.split(":")
    if fields[0] != "arn" or len(fields) < 2:
        raise InvalidArn(f"Invalid ARN prefix: {text}")
    if len(fields) < 7 or not all(fields[1:6]) or not all(fields[6:]):
        raise InvalidArn(f"Invalid ARN: {text}")
    if fields[2] != "states":
        raise InvalidArn(f"Invalid ARN: the service must be 'states', not '{fields[2]}': {text}")
    if kinds and fields[5] not in kinds:
        raise InvalidArn(f"Resource type not valid in this context: {fields[5]}")
    partition, service, region, account, kind = fields[1:6]
    return Arn(text, partition, service, region, account, kind, tuple(fields[6:]))


def check_name(name: str) -> str:
    """A name of a state machine, execution or activity: 1 to 80 characters without those AWS excludes. Raises InvalidName.

    Source: the `name` parameter of CreateStateMachine, StartExecution and CreateActivity in the API reference.
    """
    if not 1 <= len(name) <= NAME_LIMIT or _FORBIDDEN.search(name):
        raise InvalidName(name)
    return name


def check_alias_name(name: str) -> str:
    """A name of an alias. Raises ValidationException with AWS's text."""
    problem = None
    if len(name) > NAME_LIMIT:
        problem = f"length less than or equal to {NAME_LIMIT}"
    elif not name:
        problem = "length greater than or equal to 1"
    if problem is None and not _ALIAS_NAME.match(name):
        raise ValidationException(
            f"1 validation error detected: Value '{name}' at 'name' failed to satisfy constraint: "
            r"Member must satisfy regular expression pattern: ^(?=.*[a-zA-Z_\-\.])[a-zA-Z0-9_\-\.]+$"
        )
    if problem is not None:
        raise ValidationException(
            f"1 validation error detected: Value '{name}' at 'name' failed to satisfy constraint: Member must have {problem}"
        )
    return name


class Arns:
    """Makes the ARNs of one account and region."""

    def __init__(self, partition: str, region: str, account: str) -> None:
        self.partition = partition
        self.region = region
        self.account = account
        self.prefix = f"arn:{partition}:states:{region}:{account}:"

    def machine(self, resource: str, qualifier: str | int | None = None) -> str:
        """A state machine (`name`, or `name/label` for a map state), or with `qualifier` one of its versions or aliases."""
        suffix = "" if qualifier is None else f":{qualifier}"
        return f"{self.prefix}stateMachine:{resource}{suffix}"

    def execution(self, resource: str, name: str) -> str:
        """A STANDARD execution."""
        return f"{self.prefix}execution:{resource}:{name}"

    def express(self, resource: str, name: str, unique: str) -> str:
        """An EXPRESS execution."""
        return f"{self.prefix}express:{resource}:{name}:{unique}"

    def activity(self, name: str) -> str:
        """An activity."""
        return f"{self.prefix}activity:{name}"

    def function(self, name: str) -> str:
        """A Lambda function."""
        return f"arn:{self.partition}:lambda:{self.region}:{self.account}:function:{name}"

    def role(self, name: str) -> str:
        """An IAM role."""
        return f"arn:{self.partition}:iam::{self.account}:role/{name}"
