"""The state machines of the crash tests, and what each must give for its input."""

from __future__ import annotations

from typing import Any

LAMBDA = "arn:aws:lambda:us-east-1:000000000000:function:"


def _task(name: str, **fields: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": LAMBDA + name, **fields}


def _machine(start: str, **states: Any) -> dict[str, Any]:
    return {"StartAt": start, "States": states}


CHAIN = _machine(
    "P0",
    P0={"Type": "Pass", "Next": "T1"},
    T1=_task("double", ResultPath="$.n", InputPath="$.n", Next="C"),
    C={"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericLessThan": 100, "Next": "T1"}], "Default": "End"},
    End={"Type": "Pass", "End": True},
)
WAIT = _machine("W", W={"Type": "Wait", "Seconds": 1, "Next": "T"}, T=_task("double", InputPath="$.n", End=True))
RETRY = _machine(
    "T",
    T=_task(
        "flaky",
        Parameters={"n.$": "$.n", "tries.$": "$$.State.RetryCount"},
        Retry=[{"ErrorEquals": ["Flaky"], "IntervalSeconds": 1, "MaxAttempts": 3}],
        End=True,
    ),
)
MAP = _machine(
    "M",
    M={
        "Type": "Map",
        "ItemsPath": "$.items",
        "MaxConcurrency": 4,
        "ItemProcessor": _machine(
            "B",
            B={
                "Type": "Parallel",
                "Branches": [_machine("T", T=_task("double", End=True)), _machine("S", S=_task("slow", End=True))],
                "End": True,
            },
        ),
        "End": True,
    },
)
TOKEN = _machine(
    "T",
    T={
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Parameters": {
            "FunctionName": LAMBDA + "ask",
            "Payload": {"token.$": "$$.Task.Token", "n.$": "$.n", "name.$": "$$.Execution.Name"},
        },
        "End": True,
    },
)
NESTED = _machine(
    "N",
    N={
        "Type": "Task",
        "Resource": "arn:aws:states:::states:startExecution.sync:2",
        "Parameters": {
            "StateMachineArn": "arn:aws:states:us-east-1:000000000000:stateMachine:wait",
            "Input": {"n.$": "$.n"},
        },
        "OutputPath": "$.Output",
        "End": True,
    },
)
DISTRIBUTED = _machine(
    "D",
    D={
        "Type": "Map",
        "ItemsPath": "$.items",
        "Label": "D",
        "MaxConcurrency": 5,
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
            **_machine("T", T=_task("double", End=True)),
        },
        "End": True,
    },
)

MACHINES = {
    "chain": CHAIN,
    "wait": WAIT,
    "retry": RETRY,
    "map": MAP,
    "token": TOKEN,
    "nested": NESTED,
    "distributed": DISTRIBUTED,
}
KINDS = tuple(MACHINES)


def input_of(kind: str, number: int) -> dict[str, Any]:
    """The input of an execution, made of its number."""
    if kind in ("map", "distributed"):
        return {"items": [number + i for i in range(number % 7)]}
    return {"n": number % 50 + 1}


def output_of(kind: str, number: int) -> Any:
    """What it must give."""
    given = input_of(kind, number)
    if kind == "map":
        return [[2 * item, item] for item in given["items"]]
    if kind == "distributed":
        return [2 * item for item in given["items"]]
    n = given["n"]
    if kind == "chain":
        while n < 100:
            n *= 2
        return {"n": n}
    return {"wait": 2 * n, "retry": n, "token": n + 1000, "nested": 2 * n}[kind]
