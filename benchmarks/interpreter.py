"""How much CPU a state transition costs in the interpreter alone: no journal, no I/O.

    python benchmarks/interpreter.py [--seconds 2]

A transition is one state entered and left, history events included. Figures are CPU time of this process.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from stepwell.interpreter import Identity, start
from stepwell.interpreter.effects import EmitHistory, Finish, RunTask, SetTimer, StartChild
from stepwell.interpreter.events import ChildFinished, TaskSucceeded, TimerFired
from stepwell.language.compiler import compile_machine

ARN = "arn:aws:states:us-east-1:000000000000"


def identity(type: str) -> Identity:
    return Identity(
        execution_arn=f"{ARN}:execution:m:e",
        name="e",
        state_machine_arn=f"{ARN}:stateMachine:m",
        state_machine_name="m",
        role_arn="arn:aws:iam::000000000000:role/r",
        start_time=1_700_000_000_000,
        type=type,  # type: ignore[arg-type]
    )


def run(machine: Any, input: bytes, type: str = "STANDARD", task: bytes = b"{}") -> tuple[int, str]:
    """Run to the end: how many events, and the status."""
    at = 1_700_000_000_000
    execution, effects = start(machine, input, identity(type), at=at, seed=1)
    events = 0
    todo = []
    while True:
        for effect in effects:
            match effect:
                case EmitHistory():
                    events += len(effect.events)
                case RunTask():
                    todo.append(TaskSucceeded(at=at, seed=2, command=effect.command, output=task))
                case StartChild():
                    todo.append(
                        ChildFinished(at=at, seed=2, command=effect.command, status="SUCCEEDED", output=effect.input)
                    )
                case SetTimer() if effect.due <= at:
                    todo.append(TimerFired(at=at, seed=2, timer=effect.timer))
                case Finish():
                    return events, effect.status
        effects = execution.handle(todo.pop())


def chain(length: int) -> dict[str, Any]:
    states: dict[str, Any] = {f"S{n}": {"Type": "Pass", "Next": f"S{n + 1}"} for n in range(length)}
    states[f"S{length}"] = {"Type": "Succeed"}
    return {"StartAt": "S0", "States": states}


def choices(length: int) -> dict[str, Any]:
    states: dict[str, Any] = {}
    for n in range(length):
        states[f"P{n}"] = {"Type": "Pass", "Result": n, "ResultPath": "$.n", "Next": f"C{n}"}
        states[f"C{n}"] = {
            "Type": "Choice",
            "Choices": [{"Variable": "$.n", "NumericEquals": n, "Next": f"P{n + 1}"}],
            "Default": "Lost",
        }
    states[f"P{length}"] = {"Type": "Succeed"}
    states["Lost"] = {"Type": "Fail"}
    return {"StartAt": "P0", "States": states}


def loop(times: int) -> dict[str, Any]:
    return {
        "StartAt": "Init",
        "States": {
            "Init": {"Type": "Pass", "Result": {"i": 0}, "Next": "More"},
            "Add": {"Type": "Pass", "Parameters": {"i.$": "States.MathAdd($.i, 1)"}, "Next": "More"},
            "More": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.i", "NumericLessThan": times, "Next": "Add"}],
                "Default": "Done",
            },
            "Done": {"Type": "Succeed"},
        },
    }


def jsonata_loop(times: int) -> dict[str, Any]:
    return {
        "QueryLanguage": "JSONata",
        "StartAt": "Init",
        "States": {
            "Init": {"Type": "Pass", "Assign": {"i": 0}, "Next": "More"},
            "Add": {"Type": "Pass", "Assign": {"i": "{% $i + 1 %}"}, "Next": "More"},
            "More": {
                "Type": "Choice",
                "Choices": [{"Condition": f"{{% $i < {times} %}}", "Next": "Add"}],
                "Default": "Done",
            },
            "Done": {"Type": "Succeed"},
        },
    }


def tasks(length: int) -> dict[str, Any]:
    arn = "arn:aws:lambda:us-east-1:000000000000:function:f"
    states: dict[str, Any] = {f"S{n}": {"Type": "Task", "Resource": arn, "Next": f"S{n + 1}"} for n in range(length)}
    states[f"S{length}"] = {"Type": "Succeed"}
    return {"StartAt": "S0", "States": states}


def inline_map() -> dict[str, Any]:
    processor = {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}
    return {"StartAt": "M", "States": {"M": {"Type": "Map", "ItemProcessor": processor, "End": True}}}


def map_run() -> dict[str, Any]:
    processor = {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},
        "StartAt": "P",
        "States": {"P": {"Type": "Pass", "End": True}},
    }
    return {
        "StartAt": "M",
        "States": {"M": {"Type": "Map", "ItemProcessor": processor, "ResultPath": None, "End": True}},
    }


def measure(name: str, definition: Any, input: Any, transitions: int, seconds: float, **options: Any) -> None:
    machine = compile_machine(definition)
    data = json.dumps(input).encode()
    events, status = run(machine, data, **options)
    assert status == "SUCCEEDED", status
    runs, began = 0, time.process_time()
    while time.process_time() - began < seconds:
        run(machine, data, **options)
        runs += 1
    cpu = (time.process_time() - began) / runs / transitions
    print(f"{name:44} {transitions:7,} transitions {events:7,} events {cpu * 1e6:8.2f} us each {1 / cpu:10,.0f}/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0)
    seconds = parser.parse_args().seconds
    small = {"order": {"id": 7, "lines": [{"sku": "a", "n": 1}, {"sku": "b", "n": 2}]}}
    large = {"text": "x" * 100_000, "n": 0}
    measure("chain of Pass", chain(10_000), small, 10_001, seconds)
    measure("chain of Pass, 100 KB payload", chain(10_000), large, 10_001, seconds)
    measure("Pass with ResultPath, Choice", choices(5_000), small, 10_001, seconds)
    measure("loop of MathAdd and Choice", loop(2_000), {}, 4_003, seconds)
    measure("loop of MathAdd and Choice, EXPRESS", loop(2_000), {}, 4_003, seconds, type="EXPRESS")
    measure("loop of JSONata Assign and Choice", jsonata_loop(2_000), {}, 4_003, seconds)
    measure("chain of function tasks", tasks(2_000), small, 2_001, seconds)
    measure("inline Map of 1,000 items", inline_map(), list(range(1_000)), 1_001, seconds)
    measure("inline Map of 4,000 items, per item", inline_map(), list(range(4_000)), 4_001, seconds)
    measure("map run of 4,000 items, per item", map_run(), list(range(4_000)), 4_001, seconds)


if __name__ == "__main__":
    main()
