"""TestState's check of a mocked result against the service's own model.

STRICT (the default) wants every required field and the right types, PRESENT the right types of the fields that are there, NONE
nothing. Fields the model does not know are let through. The texts are AWS's.
"""

from __future__ import annotations

from typing import Any

from stepwell.engine.errors import ValidationException
from stepwell.language.model import TaskState
from stepwell.tasks.aws_models import capital, load_service
from stepwell.tasks.jobs import JOBS
from stepwell.tasks.requests import TaskError
from stepwell.tasks.resources import parse_integration
from stepwell.tasks.services import BOTO_NAMES

PREFIX = "Mock result schema validation error: "
_OWN = {"states": "stepfunctions", "http": None, "apigateway": None, "eks": None}
_RECORDED_MAXIMA = {"MemorySize": 10_240}
"""Where a newer model than the one TestState was recorded with allows more (Lambda: 32,768 MB on managed instances)."""
_SYNC = {"startExecution": "DescribeExecution"}


def check_mock(state: TaskState, result: Any, mode: str) -> None:
    """Raises ValidationException. Functions' and activities' results have no model: anything goes."""
    if mode == "NONE" or state.kind != "service":
        return
    shape = _output_shape(state)
    if shape is not None:
        if not isinstance(result, dict):
            raise ValidationException("Mocked result must be a JSON object.")
        _check(result, shape, "", strict=mode == "STRICT")


def _output_shape(state: TaskState) -> Any:
    """The shape of what the task's action answers; None where no model says."""
    try:
        service, action, pattern, sdk = parse_integration(state.resource)
        if pattern == "waitForTaskToken":
            return None
        package = service if sdk else _OWN.get(service, BOTO_NAMES.get(service, service))
        if package is None:
            return None
        model = load_service(package)
        operation = model.operation(action)
        if pattern.startswith("sync"):
            job = JOBS.get((service, action))
            if job is not None and (job.result or job.wrap):
                return None
            operation = _SYNC.get(action) if job is None else job.describe
        return None if operation is None else model.model.operation_model(operation).output_shape
    except TaskError:
        return None  # without the AWS SDK there is nothing to compare with


def _check(value: Any, shape: Any, name: str, *, strict: bool) -> None:
    kind = shape.type_name
    if kind == "structure":
        if getattr(shape, "is_document_type", False):
            return
        if not isinstance(value, dict):
            raise _fault(name, "must be an object")
        if strict:
            for member in shape.required_members:
                if capital(member) not in value:
                    raise ValidationException(f"{PREFIX}Required field '{capital(member)}' is missing")
        members = {capital(member): inner for member, inner in shape.members.items()}
        for key, item in value.items():
            if key in members:
                _check(item, members[key], key, strict=strict)
    elif kind == "list":
        if not isinstance(value, list):
            raise _fault(name, "must be an array")
        for item in value:
            _check(item, shape.member, name, strict=strict)
    elif kind == "map":
        if not isinstance(value, dict):
            raise _fault(name, "must be an object")
        for key, item in value.items():
            _check(item, shape.value, str(key), strict=strict)
    elif kind in ("string", "timestamp", "blob", "character"):
        _check_text(value, shape, name)
    elif kind == "boolean":
        if not isinstance(value, bool):
            raise _fault(name, "must be a boolean")
    else:
        _check_number(value, shape, name)


def _check_text(value: Any, shape: Any, name: str) -> None:
    if not isinstance(value, str):
        raise _fault(name, "must be a string")
    if shape.type_name == "string" and shape.enum and value not in shape.enum:
        raise _fault(name, "is not an expected value")
    limits = shape.metadata
    if shape.type_name != "timestamp":
        if len(value) < limits.get("min", 0):
            raise _fault(name, "is smaller than the minimum length")
        if len(value) > limits.get("max", len(value)):
            raise _fault(name, "exceeds the maximum length")


def _check_number(value: Any, shape: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _fault(name, "must be a number")
    if value < shape.metadata.get("min", value):
        raise _fault(name, "is less than the minimum value")
    if value > min(shape.metadata.get("max", value), _RECORDED_MAXIMA.get(shape.name, value)):
        raise _fault(name, "exceeds the maximum value")


def _fault(name: str, what: str) -> ValidationException:
    return ValidationException(f"{PREFIX}Field '{name}' {what}")
