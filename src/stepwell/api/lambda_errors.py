"""The errors of the Lambda API, as it answers them: a JSON document, a status, and the type in a header."""

from __future__ import annotations

import orjson


class LambdaError(Exception):
    """A request Lambda refuses. `kind` is the exception's name on the wire."""

    def __init__(self, kind: str, message: str, status: int = 400, **more: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.more = more

    def body(self) -> bytes:
        return orjson.dumps({"Type": "User", **self.more, "Message": self.message, "message": self.message})


def not_found(arn: str) -> LambdaError:
    return LambdaError("ResourceNotFoundException", f"Function not found: {arn}", 404)


def invalid(message: str) -> LambdaError:
    return LambdaError("InvalidParameterValueException", message)


def conflict(message: str) -> LambdaError:
    return LambdaError("ResourceConflictException", message, 409)


def constraint(name: str, value: object, rule: str) -> LambdaError:
    return LambdaError(
        "ValidationException",
        f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: {rule}",
    )
