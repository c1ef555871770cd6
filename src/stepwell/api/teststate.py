"""TestState: one state by itself, with mocks (the form of November 2025).

The state is visited by the interpreter (`stepwell.interpreter.teststate`); a Task without a mock is really carried out. Here are the
request's own rules, in AWS's words where it was seen to speak.
Source: https://docs.aws.amazon.com/step-functions/latest/apireference/API_TestState.html and AWS's recordings.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from typing import Any

import orjson

from stepwell.api.mock_results import check_mock
from stepwell.engine.engine import Engine
from stepwell.engine.errors import InvalidDefinition, InvalidExecutionInput, ValidationException
from stepwell.interpreter.identity import Identity
from stepwell.interpreter.teststate import Mock, Outcome, Situation, Trial, UnmockedError, find_state
from stepwell.language.compiler import compile_machine
from stepwell.language.diagnostics import errors_of, invalid_definition_message
from stepwell.language.model import FailState, MapState, ParallelState, PassState, State, SucceedState, TaskState
from stepwell.language.validation import validate, validate_state
from stepwell.tasks.endpoints import HttpTrace, http_trace
from stepwell.tasks.requests import TaskError, TaskRequest

Parameters = dict[str, Any]

SECONDS = 300.0
STATE_NAME = "StateName"
"""What AWS calls a state whose definition came alone."""

_CONTEXT: dict[str, dict[str, type | None]] = {
    "Execution": {
        "Id": str,
        "Input": None,
        "Name": str,
        "RoleArn": str,
        "StartTime": str,
        "RedriveCount": int,
        "RedriveTime": str,
    },
    "State": {"EnteredTime": str, "Name": str, "RetryCount": int},
    "StateMachine": {"Id": str, "Name": str},
    "Task": {"Token": str},
}
_KINDS = {str: "a string", int: "a number", dict: "an object"}


async def run_test(engine: Engine, p: Parameters) -> bytes:
    """The JSON text of TestState's answer. Raises ApiError."""
    state = _find(p)
    mock = _read_mock(p, state)
    situation = _read_situation(p, state, mock)
    given = p.get("input")
    text = "{}" if given is None else given
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidExecutionInput(text) from error
    if isinstance(state, TaskState) and mock is None:
        if p.get("roleArn") is None:
            raise ValidationException("RoleArn must be specified when testing a Task state")
        if state.kind == "activity" or state.pattern:
            raise InvalidDefinition(
                "TestState API does not support activities and the .sync and .waitForTaskToken integration patterns "
                "when a mock is not specified."
            )
    try:
        trial = Trial(
            state,
            text.encode(),
            _identity(engine, p),
            at=int(time.time() * 1000),
            seed=random.getrandbits(64),
            mock=mock,
            situation=situation,
        )
    except UnmockedError as error:
        raise InvalidDefinition(
            "TestState API does not support Map or Parallel states. Supported state types include: "
            "[Task, Wait, Pass, Succeed, Fail, Choice]"
        ) from error
    trace = HttpTrace(reveal=bool(p.get("revealSecrets")))
    if trial.task is not None:
        await _carry_out(engine, trial, trace)
    outcome = trial.outcome
    if outcome is None:
        raise InvalidDefinition("The state did not come to an end.")
    return _answer(p, outcome, trace)


# -- what is tested ------------------------------------------------------------------------------------------------------------


def _find(p: Parameters) -> State:
    """The compiled state. Raises InvalidDefinition, ValidationException."""
    text, name = p["definition"], p.get("stateName")
    findings = errors_of(validate_state(text) if name is None else validate(text))
    if findings:
        raise InvalidDefinition(invalid_definition_message(findings, text), tuple(findings))
    definition = orjson.loads(text)
    if name is None:
        name = STATE_NAME
        definition = {"StartAt": name, "States": {name: definition}}
    state = find_state(compile_machine(definition), name)
    if state is None:
        raise ValidationException(f"The state '{name}' is not in the definition")
    return state


def _identity(engine: Engine, p: Parameters) -> Identity:
    """A made-up express execution of a made-up state machine, as AWS makes one up."""
    arns = engine.arns
    machine, name = str(uuid.uuid4()), str(uuid.uuid4())
    return Identity(
        execution_arn=f"arn:{arns.partition}:states:{arns.region}:{arns.account}:express:{machine}:{name}",
        name=name,
        state_machine_arn=arns.machine(machine),
        state_machine_name=machine,
        role_arn=p.get("roleArn") or "",
        start_time=int(time.time() * 1000),
        type="EXPRESS",
        synchronous=True,
    )


# -- mocks ---------------------------------------------------------------------------------------------------------------------


def _read_mock(p: Parameters, state: State) -> Mock | None:
    given = p.get("mock")
    if given is None:
        return None
    if isinstance(state, (PassState, FailState, SucceedState)):
        raise ValidationException(f"State type '{state.TYPE}' is not supported when a mock is specified")
    if p.get("revealSecrets"):
        raise ValidationException("TestState does not support RevealSecrets when a mock is specified.")
    result, failure = given.get("result"), given.get("errorOutput")
    if result is not None and failure is not None:
        raise ValidationException("A test mock should have only one of the following fields: [result, errorOutput].")
    if failure is not None:
        return Mock(error=failure.get("error"), cause=failure.get("cause"))
    if result is None:
        raise ValidationException("A test mock should have one of the following fields: [result, errorOutput].")
    try:
        value = orjson.loads(result)
    except orjson.JSONDecodeError as error:
        raise ValidationException("Mocked result must be valid JSON") from error
    _check_result(state, value, given.get("fieldValidationMode") or "STRICT")
    return Mock(result=result.encode())


def _check_result(state: State, value: Any, mode: str) -> None:
    if isinstance(state, MapState):
        exported = state.writer is not None and state.writer.resource is not None
        if exported and not isinstance(value, dict):
            raise ValidationException("Mocked result must be a JSON object.")
        if not exported and not isinstance(value, list):
            raise ValidationException("Mocked result must be an array.")
    elif isinstance(state, ParallelState):
        if not isinstance(value, list):
            raise ValidationException("Mocked result must be an array.")
        if len(value) != len(state.branches):
            raise ValidationException(
                "Mocked result must contain the same number of items as number of Parallel branches."
            )
    elif isinstance(state, TaskState):
        check_mock(state, value, mode)


# -- the surroundings ----------------------------------------------------------------------------------------------------------


def _read_situation(p: Parameters, state: State, mock: Mock | None) -> Situation:
    configuration = p.get("stateConfiguration") or {}
    failures = configuration.get("mapIterationFailureCount")
    data = configuration.get("mapItemReaderData")
    for name in ("mapIterationFailureCount", "errorCausedByState", "mapItemReaderData", "retrierRetryCount"):
        if configuration.get(name) is not None and mock is None:
            shown = name[:1].upper() + name[1:]
            raise ValidationException(f"TestState does not support {shown} when a mock is not specified.")
    if failures is not None and not isinstance(state, MapState):
        raise ValidationException("MapIterationFailureCount is only supported for Map states.")
    if data is not None:
        if not isinstance(state, MapState) or state.reader is None:
            raise ValidationException("MapItemReaderData is only supported for Map states with an ItemReader.")
        if not isinstance(_json(data, "MapItemReaderData"), (list, dict)):
            raise ValidationException("MapItemReaderData must be a JSON array or object.")
    return Situation(
        variables=_read_variables(p),
        context=_read_context(p, state, mock),
        retrier_retry_count=configuration.get("retrierRetryCount") or 0,
        map_iteration_failure_count=failures,
        map_item_reader_data=None if data is None else data.encode(),
    )


def _read_variables(p: Parameters) -> dict[str, Any]:
    text = p.get("variables")
    if text is None:
        return {}
    variables = _json(text, "Variables")
    if not isinstance(variables, dict):
        raise ValidationException("Variables must be a JSON object.")
    return variables


def _read_context(p: Parameters, state: State, mock: Mock | None) -> dict[str, Any] | None:
    text = p.get("context")
    if text is None:
        return None
    if mock is None:
        raise ValidationException("TestState does not support Context when a mock is not specified.")
    context = _json(text, "Context")
    if not isinstance(context, dict):
        raise _bad_context("The Context object must be a JSON object")
    for name, value in context.items():
        if name == "Map":
            raise _bad_context("'Map' field is not supported when mocking a Context object")
        fields = _CONTEXT.get(name)
        if fields is None:
            raise _bad_context(f"Field '{name}' is not allowed")
        if not isinstance(value, dict):
            raise _bad_context(f"{name} must be an object")
        for field, inner in value.items():
            if field not in fields:
                raise _bad_context(f"Field '{field}' is not allowed")
            wanted = fields[field]
            if wanted is not None and (not isinstance(inner, wanted) or isinstance(inner, bool)):
                raise _bad_context(f"{name}.{field} must be {_KINDS[wanted]}")
    if "Task" in context and not (isinstance(state, TaskState) and state.pattern):
        raise _bad_context(
            "Context object contains 'Task' when state is not a Task state with a '.sync' or '.waitForTaskToken' service "
            "integration pattern"
        )
    return context


def _bad_context(message: str) -> ValidationException:
    return ValidationException(f"Invalid Context object provided: {message}")


def _json(text: str, name: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValidationException(f"{name} must be valid JSON") from error


# -- carrying out and answering ------------------------------------------------------------------------------------------------


async def _carry_out(engine: Engine, trial: Trial, trace: HttpTrace) -> None:
    effect = trial.task
    if effect is None:
        return
    seconds = min(SECONDS, effect.timeout_seconds or SECONDS)
    held = http_trace.set(trace)
    try:
        async with asyncio.timeout(seconds):
            output = await engine.dispatcher.run(TaskRequest.of(effect, trial.identity), _ignore)
        trial.succeed_task(output or b"null")
    except TimeoutError:
        trial.fail_task("States.Timeout", None)
    except TaskError as error:
        trial.fail_task(error.error, error.cause)
    finally:
        http_trace.reset(held)


async def _ignore(output: bytes) -> None:
    """A trial has no history to record a submission in."""


def _answer(p: Parameters, outcome: Outcome, trace: HttpTrace) -> bytes:
    answer: Parameters = {"status": outcome.status}
    for name, value in (
        ("output", outcome.output),
        ("error", outcome.error),
        ("cause", outcome.cause),
        ("nextState", outcome.next_state),
    ):
        if value is not None:
            answer[name] = value
    level = p.get("inspectionLevel") or "INFO"
    if level != "INFO":
        answer["inspectionData"] = dict(outcome.inspection)
        if level == "TRACE" and trace.request:
            answer["inspectionData"]["request"] = trace.request
            if trace.response:
                answer["inspectionData"]["response"] = trace.response
    return orjson.dumps(answer)
