"""Functions: a function's ARN as Resource, and `lambda:invoke`.

A function of the host's pool runs here; any other is invoked in AWS Lambda (or an emulator), if there is one.
Source: https://docs.aws.amazon.com/step-functions/latest/dg/connect-lambda.html and AWS's recordings.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from stepwell.functions import Call, FunctionPool, TooManyRequests, UnknownFunction
from stepwell.tasks.aws_clients import AwsClients, Caller, CallFailed
from stepwell.tasks.ports import AsynchronousInvocations
from stepwell.tasks.requests import TaskError, TaskRequest
from stepwell.tasks.wording import optimised_error, sdk_metadata

PAYLOAD_LIMIT = 262_144

_ERRORS = {
    name: name
    for name in (
        "InvalidRequestContentException",
        "InvalidParameterValueException",
        "RequestTooLargeException",
        "ResourceConflictException",
        "ResourceNotFoundException",
        "ResourceNotReadyException",
        "ServiceException",
        "TooManyRequestsException",
    )
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an invocation gave back, wherever it ran."""

    payload: bytes
    failed: bool
    status: int = 200
    version: str | None = "$LATEST"
    log_result: str | None = None
    request_id: str = ""
    headers: dict[str, str] | None = None


class Functions(NamedTuple):
    """The functions of one account: who runs them, and who keeps what is to be run later."""

    pool: FunctionPool
    invocations: AsynchronousInvocations


FunctionsOf = Callable[[str], Functions | None]


@dataclass(slots=True)
class Lambdas:
    """Invokes functions for Task states."""

    functions: Functions | None
    aws: AwsClients | None
    others: FunctionsOf | None = None
    """Where the host has several accounts: the functions of another one; of the host's own for an empty id."""

    async def run_function(self, task: TaskRequest) -> bytes:
        """A Task whose Resource is a function's ARN: the arguments are the event, the result is the output."""
        outcome = await self._invoke(task, task.resource, task.arguments, {})
        if outcome.failed:
            raise _function_error(outcome.payload)
        try:
            orjson.loads(outcome.payload or b"null")
        except orjson.JSONDecodeError as error:
            text = outcome.payload.decode(errors="replace")
            if len(outcome.payload) > PAYLOAD_LIMIT:
                return orjson.dumps(text)  # which is refused for its size, as on AWS
            raise TaskError("States.Runtime", f"The function's result is not JSON: {text[:200]}") from error
        return outcome.payload or b"null"

    async def run_invoke(self, task: TaskRequest, arguments: dict[str, Any], phase: str) -> dict[str, Any]:
        """`lambda:invoke`: the result with `Payload` and the metadata around it."""
        function = arguments.get("FunctionName")
        if not isinstance(function, str) or not function:
            raise TaskError("States.Runtime", "lambda:invoke needs a FunctionName.", phase)
        if ":function:" in function and not function.startswith("arn:"):
            function = f"arn:{task.partition}:lambda:{task.region}:{function}"
        if qualifier := arguments.get("Qualifier"):
            function = f"{function}:{qualifier}"
        payload = arguments.get("Payload")
        if payload is None:
            event = b"{}"
        elif isinstance(payload, str):
            event = payload.encode()
        else:
            event = orjson.dumps(payload)
        try:
            outcome = await self._invoke(task, function, event, arguments)
        except TaskError as error:
            error.phase = phase
            raise
        if outcome.failed:
            raise _function_error(outcome.payload, phase)
        try:
            result: Any = orjson.loads(outcome.payload) if outcome.payload else ""
        except orjson.JSONDecodeError:
            result = outcome.payload.decode(errors="replace")
        answer: dict[str, Any] = {}
        extra = {}
        if outcome.version is not None:
            answer["ExecutedVersion"] = extra["X-Amz-Executed-Version"] = outcome.version
        if outcome.log_result is not None:
            answer["LogResult"] = extra["X-Amz-Log-Result"] = outcome.log_result
        answer["Payload"] = result
        answer |= sdk_metadata(
            "lambda",
            status=outcome.status,
            request_id=outcome.request_id,
            length=len(outcome.payload),
            received=outcome.headers,
            extra=extra,
        )
        answer["StatusCode"] = outcome.status
        return answer

    async def _invoke(self, task: TaskRequest, function: str, event: bytes, arguments: dict[str, Any]) -> Outcome:
        functions = await self._functions(task, function)
        if functions is not None:
            return await self._invoke_here(functions, task, function, event, arguments)
        if self.aws is not None:
            return await self._invoke_aws(self.aws, task, function, event, arguments)
        raise optimised_error(
            "lambda",
            CallFailed("ResourceNotFoundException", f"Function not found: {function_arn(task, function)}", 404),
            _ERRORS,
        )

    async def _functions(self, task: TaskRequest, function: str) -> Functions | None:
        """Those that have the function: of the account its ARN or the task's role names, else of the execution's own.

        Roles are not checked here: a name that is unknown in the role's account may also be the host's own function.
        """
        role = (task.credentials or {}).get("RoleArn")
        named = function if function.startswith("arn:") else role if isinstance(role, str) else ""
        account = named.split(":", 5)[4] if named.count(":") >= 5 else task.account
        for candidate in (account, "") if role else (account,):
            found = self.functions if candidate == task.account or self.others is None else self.others(candidate)
            if found is not None:
                await found.pool.arrival(function)
                try:
                    found.pool.resolve(function)
                    return found
                except UnknownFunction:
                    continue
        return None

    async def _invoke_here(
        self, functions: Functions, task: TaskRequest, function: str, event: bytes, arguments: dict[str, Any]
    ) -> Outcome:
        _check_event(event)
        # The same attempt has the same request id, also when it is run again after a restart.
        request_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{task.execution_arn}#{task.command}"))
        context = arguments.get("ClientContext")
        call = Call(
            request_id=request_id,
            execution=task.execution_arn,
            state=task.state,
            attempt=task.retry_count + 1,
            client_context=orjson.loads(base64.b64decode(context)) if isinstance(context, str) else context,
        )
        version = functions.pool.resolve(function).version
        kind = arguments.get("InvocationType", "RequestResponse")
        if kind == "DryRun":
            return Outcome(b"", False, 204, None, request_id=request_id)
        try:
            if kind == "Event":
                await functions.invocations.accept(function, event, call=call)
                return Outcome(b"", False, 202, None, request_id=request_id)
            result = await functions.pool.invoke(function, event, call=call)
        except TooManyRequests as error:
            raise optimised_error(
                "lambda", CallFailed("TooManyRequestsException", "Rate Exceeded.", 429, request_id), _ERRORS
            ) from error
        tail = base64.b64encode(result.log_tail).decode() if arguments.get("LogType") == "Tail" else None
        return Outcome(result.payload, result.error is not None, 200, version, tail, request_id)

    async def _invoke_aws(
        self, aws: AwsClients, task: TaskRequest, function: str, event: bytes, arguments: dict[str, Any]
    ) -> Outcome:
        role = (task.credentials or {}).get("RoleArn")
        parameters = {"FunctionName": function, "Payload": event}
        for name in ("ClientContext", "InvocationType", "LogType"):
            if arguments.get(name) is not None:
                parameters[name] = arguments[name]
        service = await aws.service("lambda")
        caller = Caller(task.account, task.region, role, task.execution_name)
        try:
            answer = await aws.call(service, "Invoke", parameters, caller)
        except CallFailed as failure:
            if failure.code == "ResourceNotFoundException" and aws.emulated:
                failure.message = f"Function not found: {function_arn(task, function)}"
            raise optimised_error("lambda", failure, _ERRORS) from failure
        result = answer.result
        return Outcome(
            result.get("Payload") or b"",
            bool(result.get("FunctionError")),
            result.get("StatusCode", 200),
            result.get("ExecutedVersion", "$LATEST"),
            result.get("LogResult"),
            answer.request_id,
            None if aws.emulated else answer.headers,
        )


def function_arn(task: TaskRequest, function: str) -> str:
    """The qualified ARN AWS names in "Function not found"."""
    if function.startswith("arn:"):
        return function if function.count(":") > 6 else f"{function}:$LATEST"
    head = f"arn:{task.partition}:lambda:{task.region}"
    return f"{head}:{task.account}:function:{function if ':' in function else function + ':$LATEST'}"


def _check_event(event: bytes) -> None:
    """Lambda refuses an event that is not JSON; a Payload given as a string is taken as the event's text."""
    try:
        orjson.loads(event)
    except orjson.JSONDecodeError as error:
        text = event.decode(errors="replace")
        failure = CallFailed(
            "InvalidRequestContentException",
            f"Could not parse request body into json: Unrecognized token '{text[:64]}': was expecting "
            "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
            400,
        )
        raise optimised_error("lambda", failure, _ERRORS) from error


def _function_error(payload: bytes, phase: str = "run") -> TaskError:
    """A function's own failure: its errorType is the error's name, the whole document its cause."""
    text = payload.decode(errors="replace")
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError:
        document = None
    name = document.get("errorType") if isinstance(document, dict) else None
    if name:
        return TaskError(str(name), text, phase)
    return TaskError(
        "Lambda.Unknown",
        "The cause could not be determined because Lambda did not return an error type. Returned payload: " + text,
        phase,
    )
