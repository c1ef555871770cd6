"""Pass, Choice, Wait, Succeed and Fail; and the processing of results that all states share."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from stepwell.interpreter.effects import SetTimer
from stepwell.interpreter.failures import Failure, InvalidValue
from stepwell.interpreter.frames import Phase
from stepwell.interpreter.numbers import integer
from stepwell.interpreter.payload import Payload, text_of
from stepwell.language.errors import QUERY_EVALUATION_ERROR, RUNTIME, StatesError
from stepwell.language.jsonpath import PathNotFound
from stepwell.language.scope import Scope
from stepwell.language.timestamps import parse_timestamp

if TYPE_CHECKING:
    from stepwell.interpreter.execution import Execution
    from stepwell.interpreter.frames import Frame
    from stepwell.language.model import ChoiceState, FailState, PassState, State, SucceedState, WaitState

__all__ = [
    "complete",
    "effective_input",
    "enter_choice",
    "enter_fail",
    "enter_pass",
    "enter_succeed",
    "enter_wait",
    "wait_over",
]

LONGEST_WAIT = 24_855 * 86_400 + 86_399
"""Seconds. AWS accepts a Wait of 24,855 days and refuses one of 24,856 (observed); 2**31 - 1 seconds is in between."""


def effective_input(x: Execution, frame: Frame, state: State) -> tuple[Payload, Scope]:
    """The input after InputPath, and a scope whose `$` it is."""
    payload = frame.input
    if state.jsonata:
        return payload, x.scope(frame, payload.value, states={"input": payload.value})
    scope = x.scope(frame, payload.value)
    if state.input_path is not None:
        value = state.input_path(scope)
        if value is not payload.value:
            payload = Payload(value)
            scope = scope.with_document(value)
    if x.inspection is not None:
        x.inspection["afterInputPath"] = payload
    return payload, scope


def complete(x: Execution, frame: Frame, state: State, result: Payload, *, token: str | None = None) -> bool:
    """A Task, Parallel or Map has its result: shape it, assign, and leave the state."""
    raw = frame.input
    if x.inspection is not None and state.TYPE == "Task":
        x.inspection["result"] = result
    if state.jsonata:
        if state.output is None and state.assign is None:
            return x.leave(frame, result, None, None, state.next)
        scope = x.scope(frame, None, states={"input": raw.value, "result": result.value}, token=token)
        output = result if state.output is None else Payload(state.output(scope))
        return x.leave(frame, output, state.assign, scope, state.next)
    scope = x.scope(frame, result.value, token=token)
    if state.result_selector is not None:
        result = Payload(state.result_selector(scope))
    output = _placed(x, state, raw, result)
    return x.leave(frame, _selected(state, output, scope), state.assign, scope, state.next)


def _placed(x: Execution, state: State, raw: Payload, result: Payload) -> Payload:
    """ResultPath: where the result goes in the raw input."""
    if state.discard_result:
        output = raw
    elif state.result_path is not None:
        steps = state.result_path.steps
        value = raw.value
        if (
            len(steps) == 1
            and type(steps[0]) is str
            and type(value) is dict
            and steps[0] not in value
            and not state.output_path
        ):
            output = raw.with_member(steps[0], result)
        else:
            output = Payload(state.result_path.write(value, result.value))
    else:
        output = result
    if x.inspection is not None:
        x.inspection["afterResultSelector"] = result
        x.inspection["afterResultPath"] = output
    return output


def _selected(state: State, output: Payload, scope: Scope) -> Payload:
    """OutputPath: what of it is passed on."""
    if state.output_path is None:
        return output
    value = state.output_path(scope.with_document(output.value))
    return output if value is output.value else Payload(value)


def enter_pass(x: Execution, frame: Frame, state: PassState, again: bool) -> bool:
    """Pass: the input, the Result or the Parameters, placed and selected."""
    x.enter(frame, state)
    raw = frame.input
    if state.jsonata:
        if state.output is None and state.assign is None:
            return x.leave(frame, raw, None, None, state.next)
        scope = x.scope(frame, None, states={"input": raw.value})
        output = raw if state.output is None else Payload(state.output(scope))
        return x.leave(frame, output, state.assign, scope, state.next)
    result = raw
    if state.input_path is None and state.parameters is None and state.output_path is None and state.assign is None:
        if state.has_result:
            result = _literal(state)
        if x.inspection is not None:
            _inspect_pass(x.inspection, state, raw, result)
        return x.leave(frame, _placed(x, state, raw, result), None, None, state.next)
    result, scope = effective_input(x, frame, state)
    if state.has_result:
        result = _literal(state)
    elif state.parameters is not None:
        result = Payload(state.parameters(scope))
    if x.inspection is not None:
        _inspect_pass(x.inspection, state, x.inspection["afterInputPath"], result)
    if state.assign is not None and result.value is not scope.document:
        scope = scope.with_document(result.value)
    return x.leave(frame, _selected(state, _placed(x, state, raw, result), scope), state.assign, scope, state.next)


def _literal(state: PassState) -> Payload:
    """The payload of a literal Result, shared by all executions."""
    payload: Payload | None = state.payload
    if payload is None:
        payload = state.payload = Payload(state.result)
    return payload


def _inspect_pass(inspection: dict[str, Any], state: PassState, effective: Payload, result: Payload) -> None:
    """What TestState shows of a Pass: a literal Result hides the input processing."""
    if state.has_result:
        inspection.pop("afterInputPath", None)
        inspection["result"] = result
    else:
        inspection["afterInputPath"] = effective
        inspection["afterParameters"] = result


def enter_choice(x: Execution, frame: Frame, state: ChoiceState, again: bool) -> bool:
    """Choice: the first rule that matches says where to go; the state's own Assign and Output go with Default."""
    x.enter(frame, state)
    payload, scope = effective_input(x, frame, state)
    for rule in state.rules:
        if rule.matches(scope):
            following, assign, template = rule.next, rule.assign, rule.output
            break
    else:
        if state.default is None:
            # The States Language calls this States.NoChoiceMatched; AWS fails with States.Runtime (observed).
            raise StatesError(
                RUNTIME, "Failed to transition out of the state. The state does not point to a next state."
            )
        following, assign, template = state.default, state.assign, state.output
    if template is not None:
        payload = Payload(template(scope))
    elif state.output_path is not None:
        payload = _selected(state, payload, scope)
    return x.leave(frame, payload, assign, scope, following)


def enter_succeed(x: Execution, frame: Frame, state: SucceedState, again: bool) -> bool:
    """Succeed: ends its workflow."""
    x.enter(frame, state)
    return _pass_on(x, frame, state)


def _pass_on(x: Execution, frame: Frame, state: State) -> bool:
    """Leave a state whose output is its input, as far as InputPath, OutputPath or Output do not say otherwise."""
    if (
        state.input_path is None
        and state.output_path is None
        and state.output is None
        and state.assign is None
        and x.inspection is None
    ):
        return x.leave(frame, frame.input, None, None, state.next)
    payload, scope = effective_input(x, frame, state)
    if state.output is not None:
        payload = Payload(state.output(scope))
    return x.leave(frame, _selected(state, payload, scope), state.assign, scope, state.next)


def enter_fail(x: Execution, frame: Frame, state: FailState, again: bool) -> bool:
    """Fail: ends its workflow with an error."""
    x.enter(frame, state)
    scope = effective_input(x, frame, state)[1]
    error = cause = None
    if state.error is not None:
        error = _string(state.error(scope), state.error_field)
    if state.cause is not None:
        cause = _string(state.cause(scope), state.cause_field)
    x.frame_failed(frame, Failure(error, cause))
    return False


def _string(value: Any, field: str) -> str:
    if isinstance(value, str):
        return value
    raise StatesError(RUNTIME, f"The {field} field must refer to a string value, but was: {text_of(value)}")


def enter_wait(x: Execution, frame: Frame, state: WaitState, again: bool) -> bool:
    """Wait: until a moment, or for a number of seconds."""
    if not again:
        x.enter(frame, state)
    scope = effective_input(x, frame, state)[1]
    due = _due(x, state, scope)
    if due <= x.at:
        return wait_over(x, frame, state)
    frame.phase = Phase.WAIT
    frame.timer = x.allot(frame)
    frame.timer_due = due
    x.effects.append(SetTimer(frame.timer, due))
    return False


def wait_over(x: Execution, frame: Frame, state: WaitState) -> bool:
    """The wait is over: leave the state."""
    return _pass_on(x, frame, state)


def _due(x: Execution, state: WaitState, scope: Scope) -> int:
    """When the wait is over, milliseconds since the epoch."""
    name = state.field_name
    if state.seconds is not None:
        seconds: int = state.seconds
    elif state.timestamp is not None:
        return _moment(x, state, state.timestamp)
    else:
        assert state.evaluate is not None
        try:
            value = state.evaluate(scope)
        except PathNotFound as error:
            raise StatesError(
                RUNTIME, f"The {name} parameter does not reference an input value: {state.text}"
            ) from error
        if name.startswith("Timestamp"):
            return _moment(x, state, value)
        seconds = _seconds(state, value)
    if seconds > LONGEST_WAIT:
        raise StatesError(RUNTIME, "Wait state delay is too long.")
    return x.at + seconds * 1000


def _seconds(state: WaitState, value: Any) -> int:
    name, text = state.field_name, state.text
    number = integer(value)
    if number is None:
        if state.jsonata:
            raise InvalidValue(
                QUERY_EVALUATION_ERROR, f"The {name} field cannot be parsed as a long value: {text_of(value)}", name
            )
        raise StatesError(RUNTIME, f"The {name} parameter cannot be parsed as a long value: {text} == {text_of(value)}")
    if number < 0:
        if state.jsonata:
            raise InvalidValue(QUERY_EVALUATION_ERROR, f"The {name} field has a negative value: {text_of(value)}", name)
        raise StatesError(RUNTIME, f"The {name} parameter references a negative value: {text} == {text_of(value)}")
    return number


def _moment(x: Execution, state: WaitState, value: Any) -> int:
    name = state.field_name
    try:
        moment: datetime = parse_timestamp(value)
    except (ValueError, TypeError, AttributeError) as error:
        what = "an ISO-8601 extended offset date-time format string"
        if state.jsonata:
            raise InvalidValue(
                QUERY_EVALUATION_ERROR, f"The {name} field cannot be parsed as {what}: {text_of(value)}", name
            ) from error
        raise StatesError(
            RUNTIME,
            f"The {name} parameter does not reference a valid ISO-8601 extended offset date-time format string: "
            f"{state.text} == {text_of(value)}",
        ) from error
    due = round(moment.timestamp() * 1000)
    if due - x.at > LONGEST_WAIT * 1000:
        raise StatesError(RUNTIME, "Wait state delay is too long.")
    return due
