"""Short ways to build machines and run them."""

from __future__ import annotations

import json
from typing import Any

from stepwell.interpreter.effects import ReadItems, RunTask, WriteResults
from stepwell.interpreter.events import AnyEvent, TaskFailed, TaskSucceeded
from stepwell.language.compiler import compile_machine

from .memory_host import Answer, Run, identity

FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
ACTIVITY = "arn:aws:states:us-east-1:000000000000:activity:a"
CALLBACK = "arn:aws:states:::sqs:sendMessage.waitForTaskToken"


def machine(states: dict[str, Any], start: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"StartAt": start or next(iter(states)), "States": states, **fields}


def task(**fields: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": FUNCTION, **({} if "Next" in fields else {"End": True}), **fields}


def passing(**fields: Any) -> dict[str, Any]:
    return {"Type": "Pass", **({} if "Next" in fields else {"End": True}), **fields}


def silent(run: Run, effect: Any) -> list[AnyEvent]:
    """Nobody answers."""
    return []


def scripted(*outcomes: Any) -> Answer:
    """Answers tasks in turn: a value is a result, an exception's arguments are error and cause, None is silence."""
    left = list(outcomes)

    def answer(run: Run, effect: Any) -> list[AnyEvent]:
        assert isinstance(effect, (RunTask, ReadItems, WriteResults))
        outcome = left.pop(0) if left else None
        if isinstance(outcome, Exception):
            error, cause = (*outcome.args, None, None)[:2]
            return [run.event(TaskFailed, command=effect.command, error=error, cause=cause)]
        if callable(outcome):
            return [outcome(run, effect)]
        if outcome is None:
            return []
        return [run.event(TaskSucceeded, command=effect.command, output=json.dumps(outcome).encode())]

    return answer


def begin(definition: Any, input: Any = None, answer: Answer = silent, **fields: Any) -> Run:
    data = json.dumps({} if input is None else input).encode()
    return Run(compile_machine(definition), data, identity(**fields), answer)


def run(definition: Any, input: Any = None, answer: Answer = silent, **fields: Any) -> Run:
    return begin(definition, input, answer, **fields).run()


def output(run: Run) -> Any:
    assert run.finish is not None and run.finish.status == "SUCCEEDED", (run.finish, run.types)
    assert run.finish.output is not None
    return json.loads(run.finish.output)


def details(event: dict[str, Any]) -> dict[str, Any]:
    return next((value for key, value in event.items() if key.endswith("EventDetails")), {})


def of(run: Run, kind: type[Any]) -> list[Any]:
    return [effect for effect in run.effects if isinstance(effect, kind)]


def chain(run: Run) -> list[tuple[str, int]]:
    return [(event["type"], event["previousEventId"]) for event in run.history]
