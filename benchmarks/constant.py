"""A server that runs nothing: every execution has succeeded as soon as it is asked for, with the output a real one would have.

What a client reaches against it is the limit of the client, the kernel's loopback and the least a Python process can do for a request.
`endpoints` shows it beside the servers. Answers have the headers and the size of Stepwell's.

    python benchmarks/constant.py PORT
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import orjson

from benchmarks import workloads
from stepwell.engine.blocking import new_loop
from stepwell.interpreter import start
from stepwell.interpreter.effects import EmitHistory, Finish, SetTimer
from stepwell.interpreter.events import TimerFired
from stepwell.interpreter.identity import Identity
from stepwell.language import compile_machine

ARN = "arn:aws:states:us-east-1:000000000000"
AT = 1_700_000_000_000
PAGE = 1_000


def execute(definition: workloads.Definition, input: Any) -> tuple[str, list[dict[str, Any]]]:
    """The output and the history of an execution of pure states."""
    identity = Identity(
        execution_arn=f"{ARN}:execution:m:e",
        name="e",
        state_machine_arn=f"{ARN}:stateMachine:m",
        state_machine_name="m",
        role_arn="arn:aws:iam::000000000000:role/r",
        start_time=AT,
    )
    execution, effects = start(compile_machine(definition), orjson.dumps(input), identity, at=AT, seed=1)
    history: list[dict[str, Any]] = []
    while True:
        due = None
        for effect in effects:
            if isinstance(effect, EmitHistory):
                history += effect.events
            elif isinstance(effect, SetTimer) and effect.due <= AT:
                due = effect.timer
            elif isinstance(effect, Finish):
                return (effect.output or b"").decode(), history
        if due is None:
            raise RuntimeError("the definition waits for something")
        effects = execution.handle(TimerFired(AT, 1, due))


class Answers:
    """What each action answers."""

    def __init__(self) -> None:
        self._inputs: dict[str, str] = {}
        self._outputs = {
            "w1": execute(workloads.chain(100), {})[0],
            "w2": execute(workloads.chain(1), {})[0],
            "w2x": execute(workloads.chain(1), {})[0],
            "w4": execute(workloads.each({"Type": "Pass"}), workloads.items(1000))[0],
            "w5": execute(workloads.parallel(20, 10), {})[0],
            "w6": execute(workloads.each({"Type": "Pass"}), workloads.items(200))[0],
            "w8": execute(workloads.chain(5), {})[0],
        }
        self._outputs["w3"], history = execute(workloads.loop(2000), {})
        pages = [history[first : first + PAGE] for first in range(0, len(history), PAGE)]
        self._pages = [
            orjson.dumps({"events": page} | ({"nextToken": str(number)} if number < len(pages) else {}))
            for number, page in enumerate(pages, 1)
        ]
        self._table: dict[bytes, Callable[[dict[str, Any]], bytes]] = {
            b"CreateStateMachine": self._create,
            b"StartExecution": self._start,
            b"DescribeExecution": self._describe,
            b"StartSyncExecution": self._run,
            b"GetExecutionHistory": lambda p: self._pages[int(p.get("nextToken", 0))],
            b"ListActivities": lambda p: b'{"activities":[]}',
            b"ListStateMachines": lambda p: b'{"stateMachines":[]}',
        }

    def of(self, target: bytes, body: bytes) -> bytes:
        """The JSON text for an action."""
        return self._table[target](orjson.loads(body))

    def _create(self, p: dict[str, Any]) -> bytes:
        return orjson.dumps({"stateMachineArn": f"{ARN}:stateMachine:{p['name']}", "creationDate": AT / 1000})

    def _start(self, p: dict[str, Any]) -> bytes:
        machine = p["stateMachineArn"].rpartition(":")[2]
        self._inputs[machine] = p["input"]
        return orjson.dumps({"executionArn": f"{ARN}:execution:{machine}:{p['name']}", "startDate": AT / 1000})

    def _describe(self, p: dict[str, Any]) -> bytes:
        arn = p["executionArn"]
        machine, _, name = arn.partition(":execution:")[2].partition(":")
        return orjson.dumps(
            {
                "executionArn": arn,
                "stateMachineArn": f"{ARN}:stateMachine:{machine}",
                "name": name,
                "status": "SUCCEEDED",
                "startDate": AT / 1000,
                "stopDate": AT / 1000,
                "input": self._inputs[machine],
                "inputDetails": {"included": True},
                "output": self._outputs[machine.partition("-")[0]],
                "outputDetails": {"included": True},
                "redriveCount": 0,
                "redriveStatus": "NOT_REDRIVABLE",
                "redriveStatusReason": "Execution is SUCCEEDED and cannot be redriven",
            }
        )

    def _run(self, p: dict[str, Any]) -> bytes:
        machine = p["stateMachineArn"].rpartition(":")[2]
        return orjson.dumps(
            {
                "executionArn": f"{ARN}:express:{machine}:e:e",
                "stateMachineArn": p["stateMachineArn"],
                "name": "e",
                "startDate": AT / 1000,
                "stopDate": AT / 1000,
                "status": "SUCCEEDED",
                "input": p["input"],
                "inputDetails": {"included": True},
                "output": self._outputs[machine.partition("-")[0]],
                "outputDetails": {"included": True},
                "billingDetails": {"billedMemoryUsedInMB": 64, "billedDurationInMilliseconds": 100},
            }
        )


class Connection(asyncio.Protocol):
    """Just enough HTTP for a client that sends a Content-Length."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end].lower()
            length = int(_value(head, b"\r\ncontent-length:") or b"0")
            if len(self._data) < end + 4 + length:
                return
            body = self._data[end + 4 : end + 4 + length]
            target = _value(self._data[:end], b"\r\nX-Amz-Target:").rpartition(b".")[2]
            if target:
                answer = self._answers.of(target, body)
            else:  # Lambda: the function of W6 is there and active
                configuration = {"FunctionArn": f"{ARN}:function:echo", "State": "Active"}
                configuration["LastUpdateStatus"] = "Successful"
                answer = orjson.dumps({**configuration, "Configuration": configuration})
            self._data = self._data[end + 4 + length :]
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ndate: Tue, 14 Nov 2023 22:13:20 GMT\r\n"
                b"x-amzn-requestid: 00000000-0000-4000-8000-000000000000\r\ncontent-type: application/x-amz-json-1.0\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(answer), answer)
            )


def _value(head: bytes, name: bytes) -> bytes:
    start = head.find(name)
    return b"" if start < 0 else head[start + len(name) :].partition(b"\r\n")[0].strip()


async def serve(port: int) -> None:
    answers = Answers()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(answers), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serve(int(sys.argv[1])))
