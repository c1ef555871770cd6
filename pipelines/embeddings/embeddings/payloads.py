"""Reading events: a JSON null arrives as None even where a default was given, and types are checked before they are used."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

from embeddings.config import STATE_BUDGET
from embeddings.errors import ContractViolation, ValidationError
from stepwell.toolkit import offload
from stepwell.toolkit.errors import ObjectNotFound
from stepwell.toolkit.objects import Bucket

T = TypeVar("T")
_RUN = re.compile(r"[A-Za-z0-9_-]{1,80}")
_NAMES: Mapping[type, str] = {
    str: "a text",
    int: "a whole number",
    list: "a list",
    dict: "an object",
    bool: "true or false",
}


def optional(event: Mapping[str, Any], name: str, kind: type[T], default: T | None = None) -> T | None:
    """A member of an event, or the default when it is absent or null. Raises ValidationError for another type."""
    value = event.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValidationError(f"{name} must be {_NAMES.get(kind, kind.__name__)}, not {type(value).__name__}")
    return value


def required(event: Mapping[str, Any], name: str, kind: type[T]) -> T:
    """A member of an event. Raises ValidationError when it is absent, null, empty or of another type."""
    value = optional(event, name, kind)
    if value is None or (isinstance(value, str) and not value):
        raise ValidationError(f"{name} is missing")
    return value


def run_id(event: Mapping[str, Any], name: str = "batch_id") -> str:
    """The run's id: any text of 1-80 letters, digits, _ and -; it need not be a UUID."""
    value = required(event, name, str)
    if not _RUN.fullmatch(value):
        raise ValidationError(f"{name} is {value[:100]!r}; a run id has 1-80 letters, digits, '_' and '-'")
    return value


def size(value: Any) -> int:
    """Bytes of the value's JSON."""
    return offload.size(value)


def checked(result: dict[str, Any]) -> dict[str, Any]:
    """The result itself; ContractViolation if it is beyond the budget of a state."""
    found = size(result)
    if found > STATE_BUDGET:
        raise ContractViolation(f"the result has {found} bytes of JSON; a state's budget is {STATE_BUDGET}")
    return result


def store(bucket: Bucket, key: str, value: Any) -> None:
    """Write JSON."""
    bucket.put(
        key, json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(), content_type="application/json"
    )


def load(bucket: Bucket, key: str, kind: type[T]) -> T:
    """Read JSON. Raises ContractViolation when the object is not there, is not JSON, or is of another type."""
    try:
        value = json.loads(bucket.get(key))
    except ObjectNotFound:
        raise ContractViolation(f"{key} is not in {bucket.name}") from None
    except ValueError as error:
        raise ContractViolation(f"{key} in {bucket.name} is not JSON: {error}") from None
    if not isinstance(value, kind):
        raise ContractViolation(f"{key} in {bucket.name} holds {type(value).__name__}, not {_NAMES[kind]}")
    return value
