"""Generated state machines, and what each must give: a model beside every block.

A block takes `{"n": NUMBER, "x": NAME}` and gives the same shape with another number. `Block.value(n)` is what the definition
dictates, worked out without the engine.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ACCOUNT = "000000000000"
PREFIX = f"arn:aws:states:us-east-1:{ACCOUNT}:"
ACTIVITY = f"{PREFIX}activity:hands"
RETRY_DELAY = 1
KILLED = {
    # What a killed worker, a full disk seen by a function and an activity task nobody answers any more look like.
    "ErrorEquals": ["Runtime.ExitError", "Runtime.Unknown", "OSError", "States.Timeout"],
    "IntervalSeconds": RETRY_DELAY,
    "MaxAttempts": 500,
    "BackoffRate": 1,
}
TOKEN_ADDS = 1000
ACTIVITY_ADDS = 2000

_N = "{% $states.input.n %}"
_X = "{% $states.input.x %}"

State = dict[str, Any]


@dataclass
class Block:
    """A state, what follows it being left open, and its model."""

    name: str
    states: dict[str, State]
    exits: list[str]
    value: Callable[[int], int]


class Generator:
    """Makes machines from a random source. Names of states are unique in a machine."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.count = 0

    def machine(self, depth: int = 2, length: int = 4) -> tuple[dict[str, Any], Callable[[int], int]]:
        """(definition, model)."""
        self.count = 0
        return self.chain(depth, length)

    def chain(self, depth: int, length: int, *, light: bool = False) -> tuple[dict[str, Any], Callable[[int], int]]:
        """A chain of blocks. A `light` one may run in an EXPRESS execution: no token, no activity, no nested execution, no wait."""
        blocks = [self.block(depth, light) for _ in range(self.rng.randint(1, length))]
        states: dict[str, State] = {}
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            for name in block.exits:
                state = block.states[name]
                if following is None:
                    state["End"] = True
                else:
                    state["Next"] = following.name
            states |= block.states

        def value(n: int) -> int:
            for block in blocks:
                n = block.value(n)
            return n

        return {"StartAt": blocks[0].name, "States": states}, value

    def block(self, depth: int, light: bool) -> Block:
        makers = [self.passing, self.choice, self.task, self.quick, self.flaky, self.caught]
        if not light:
            makers += [self.waiting, self.token, self.activity, self.nested]
        if depth > 0:
            makers += [self.parallel, self.inline_map]
            if not light:
                makers += [self.distributed]
        return self.rng.choice(makers)(depth, light)

    def _name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def _single(self, kind: str, state: State, value: Callable[[int], int]) -> Block:
        name = self._name(kind)
        return Block(name, {name: state}, [name], value)

    # -- states without work

    def passing(self, _depth: int, _light: bool) -> Block:
        add = self.rng.randint(1, 9)
        if self.rng.random() < 0.5:
            expression = f"States.MathAdd($.n, {add})"
            return self._single("Pass", {"Type": "Pass", "Parameters": {"n.$": expression, "x.$": "$.x"}}, _adds(add))
        output = {"n": f"{{% $states.input.n + {add} %}}", "x": _X}
        return self._single("Pass", {"Type": "Pass", "QueryLanguage": "JSONata", "Output": output}, _adds(add))

    def choice(self, _depth: int, _light: bool) -> Block:
        name, small, large = self._name("Choice"), self._name("Small"), self._name("Large")
        limit = self.rng.randint(20, 300)

        def adding(add: int) -> State:
            return {"Type": "Pass", "Parameters": {"n.$": f"States.MathAdd($.n, {add})", "x.$": "$.x"}}

        states = {
            name: {
                "Type": "Choice",
                "Choices": [{"Variable": "$.n", "NumericLessThan": limit, "Next": small}],
                "Default": large,
            },
            small: adding(3),
            large: adding(-limit),
        }
        return Block(name, states, [small, large], lambda n: n + 3 if n < limit else n - limit)

    def waiting(self, _depth: int, _light: bool) -> Block:
        seconds = self.rng.choice([1, 1, 2])
        return self._single(f"Wait{seconds}s", {"Type": "Wait", "Seconds": seconds}, lambda n: n)

    # -- states with work

    def _call(self, function: str, **arguments: Any) -> State:
        return {
            "Type": "Task",
            "QueryLanguage": "JSONata",
            "Resource": f"${{functions.{function}}}",
            "Arguments": {
                "n": _N,
                "x": _X,
                "tries": "{% $states.context.State.RetryCount %}",
                **arguments,
            },
            "Output": {"n": "{% $states.result.n %}", "x": "{% $states.result.x %}"},
            "Retry": [KILLED],
        }

    def task(self, _depth: int, _light: bool) -> Block:
        add = self.rng.randint(1, 9)
        return self._single("Task", self._call("work", add=add, ms=self.rng.choice([0, 0, 20, 80])), _adds(add))

    def quick(self, _depth: int, _light: bool) -> Block:
        add = self.rng.randint(1, 9)
        return self._single("Quick", self._call("quick", add=add), _adds(add))

    def flaky(self, _depth: int, _light: bool) -> Block:
        state = self._call("work", add=5, fails=self.rng.randint(1, 2))
        flaky = {"ErrorEquals": ["Flaky"], "IntervalSeconds": RETRY_DELAY, "MaxAttempts": 5, "BackoffRate": 1}
        state["Retry"] = [flaky, KILLED]
        return self._single("Flaky", state, _adds(5))

    def caught(self, _depth: int, _light: bool) -> Block:
        name, after = self._name("Boom"), self._name("Caught")
        state = self._call("work", boom=True)
        state["Next"] = after
        state["Catch"] = [{"ErrorEquals": ["Boom"], "Next": after, "Output": "{% $states.input %}"}]
        caught = {"Type": "Pass", "Parameters": {"n.$": "States.MathAdd($.n, 11)", "x.$": "$.x"}}
        return Block(name, {name: state, after: caught}, [after], _adds(11))

    def token(self, _depth: int, _light: bool) -> Block:
        state = {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
            "Parameters": {
                "FunctionName": "${functions.ask}",
                "Payload": {"token.$": "$$.Task.Token", "n.$": "$.n", "x.$": "$.x"},
            },
            "ResultSelector": {"n.$": "$.n", "x.$": "$.x"},
            "Retry": [KILLED],
        }
        return self._single("Token", state, _adds(TOKEN_ADDS))

    def activity(self, _depth: int, _light: bool) -> Block:
        state = {
            "Type": "Task",
            "Resource": ACTIVITY,
            "Parameters": {"n.$": "$.n", "x.$": "$.x"},
            "ResultSelector": {"n.$": "$.n", "x.$": "$.x"},
            # A task taken by a worker whose connection broke in that moment is in nobody's hands.
            "TimeoutSeconds": 6,
            "Retry": [KILLED],
        }
        return self._single("Activity", state, _adds(ACTIVITY_ADDS))

    def nested(self, _depth: int, _light: bool) -> Block:
        state = {
            "Type": "Task",
            "Resource": "arn:aws:states:::states:startExecution.sync:2",
            "Parameters": {"StateMachineArn": f"{PREFIX}stateMachine:leaf", "Input": {"n.$": "$.n", "x.$": "$.x"}},
            "OutputPath": "$.Output",
        }
        return self._single("Nested", state, _adds(LEAF_ADDS))

    # -- states of states

    def parallel(self, depth: int, light: bool) -> Block:
        branches = [self.chain(depth - 1, 2, light=light) for _ in range(self.rng.randint(2, 3))]
        state = {
            "Type": "Parallel",
            "Branches": [definition for definition, _ in branches],
            "ResultSelector": {"all.$": "$"},
            "ResultPath": "$.r",
        }
        return self._summed("Parallel", state, lambda n: [value(n) for _, value in branches])

    def inline_map(self, depth: int, light: bool) -> Block:
        processor, value = self.chain(depth - 1, 2, light=light)
        size = self.rng.randint(0, 5)
        return self._summed(
            "Map", _map_of(processor, size, self.rng.choice([0, 2])), lambda n: [value(n) for _ in range(size)]
        )

    def distributed(self, depth: int, _light: bool) -> Block:
        kind = self.rng.choice(["STANDARD", "EXPRESS"])
        processor, value = self.chain(min(depth - 1, 1), 2, light=True)
        processor = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": kind}, **processor}
        size = self.rng.randint(1, 6)
        state = _map_of(processor, size, self.rng.choice([2, 4]))
        state["Label"] = f"L{self.count}"
        # Children of an EXPRESS map run that were cut off are run again whole.
        return self._summed("Distributed", state, lambda n: [value(n) for _ in range(size)])

    def _summed(self, kind: str, state: State, values: Callable[[int], list[int]]) -> Block:
        name, after = self._name(kind), self._name("Sum")
        state["Next"] = after
        total = {
            "Type": "Pass",
            "QueryLanguage": "JSONata",
            "Output": {"n": "{% $states.input.n + $sum([$states.input.r.all.n]) % 997 %}", "x": _X},
        }
        return Block(name, {name: state, after: total}, [after], lambda n: n + sum(values(n)) % 997)


def _adds(add: int) -> Callable[[int], int]:
    return lambda n: n + add


def _map_of(processor: dict[str, Any], size: int, concurrency: int) -> State:
    return {
        "Type": "Map",
        "QueryLanguage": "JSONata",
        "Items": f"{{% [1..{size}] %}}" if size else "{% [] %}",
        "ItemSelector": {"n": _N, "x": _X},
        "MaxConcurrency": concurrency,
        "ItemProcessor": processor,
        "Output": {"n": _N, "x": _X, "r": {"all": "{% $states.result %}"}},
    }


LEAF_ADDS = 4
FIXED: dict[str, dict[str, Any]] = {
    "leaf": {
        "StartAt": "Leaf",
        "States": {
            "Leaf": {"Type": "Wait", "Seconds": 1, "Next": "Four"},
            "Four": {"Type": "Pass", "Parameters": {"n.$": "States.MathAdd($.n, 4)", "x.$": "$.x"}, "End": True},
        },
    },
    "fails": {
        "StartAt": "A",
        "States": {
            "A": {"Type": "Wait", "Seconds": 1, "Next": "F"},
            "F": {"Type": "Fail", "Error": "Wanted", "CausePath": "$.x"},
        },
    },
    "late": {"StartAt": "W", "TimeoutSeconds": 2, "States": {"W": {"Type": "Wait", "Seconds": 86400, "End": True}}},
    "stopped": {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 86400, "End": True}}},
    "ticks": {"StartAt": "T", "States": {"T": {"Type": "Pass", "End": True}}},
}
"""Machines with ends other than success, the one that others nest, and the one that a schedule starts."""


@dataclass
class Expected:
    """How an execution must end."""

    status: str
    output: Any = None
    error: str | None = None


class Suite:
    """The machines of a campaign."""

    def __init__(self, rng: random.Random, count: int = 8) -> None:
        generator = Generator(rng)
        self.models: dict[str, Callable[[int], int]] = {}
        self.definitions = dict(FIXED)
        for number in range(count):
            definition, value = generator.machine()
            self.definitions[f"made{number}"] = definition
            self.models[f"made{number}"] = value
        generator.count = 0
        definition, value = generator.chain(1, 3, light=True)
        self.definitions["express"] = definition
        self.express = value
        self.startable = [*self.models] * 3 + ["fails", "late", "stopped"]

    def expected(self, machine: str, name: str, n: int) -> Expected:
        """How the execution of that name, started with that number, must end."""
        if machine == "fails":
            return Expected("FAILED", error="Wanted")
        if machine == "late":
            return Expected("TIMED_OUT")
        if machine == "stopped":
            return Expected("ABORTED")
        value = self.models[machine](n) if machine in self.models else n + LEAF_ADDS
        return Expected("SUCCEEDED", {"n": value, "x": name})

    def write(self, folder: Path, effects: Path) -> None:
        """The project that `stepwell serve` runs."""
        folder.mkdir()
        source = Path(__file__).with_name("work.py").read_text()
        (folder / "work.py").write_text(source.replace("@EFFECTS@", str(effects)))
        lines = ['[project]\nname = "crash"\n']
        for name, definition in self.definitions.items():
            (folder / f"{name}.asl.json").write_text(json.dumps(definition, indent=1))
            lines.append(f'[machines.{name}]\ndefinition = "{name}.asl.json"\n')
            if name == "express":
                lines.append('type = "EXPRESS"\n')
            if name == "ticks":
                lines.append('schedule = { expression = "rate(1 minute)", catch_up = "all", input = { n = 0 } }\n')
        for function, more in (("work", "concurrency = 2\n"), ("quick", "inline = true\n"), ("ask", "inline = true\n")):
            lines.append(f'[functions.{function}]\nhandler = "work:{function}"\n{more}')
        (folder / "stepwell.toml").write_text("\n".join(lines))
