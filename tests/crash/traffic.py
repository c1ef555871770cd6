"""What users do meanwhile, by boto3: start, ask, answer task tokens, work for an activity, stop.

Every acknowledgement is noted; an answer that did not come leaves the outcome open, and the request is made again.
"""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from .generation import ACTIVITY, ACTIVITY_ADDS, PREFIX, TOKEN_ADDS, Suite


def client(port: int) -> Any:
    """A Step Functions client that never repeats a request by itself."""
    config = Config(
        region_name="us-east-1",
        retries={"total_max_attempts": 1},
        read_timeout=8,
        connect_timeout=2,
        inject_host_prefix=False,
    )
    return boto3.client(
        "stepfunctions",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=config,
    )


@dataclass
class Facts:
    """What the server has acknowledged, and what may have happened besides."""

    started: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Name -> (machine, n) of acknowledged starts."""
    stopped: set[str] = field(default_factory=set)
    """Names whose StopExecution was acknowledged."""
    marks: dict[str, str] = field(default_factory=dict)
    """Mark -> name: answers by token that were acknowledged."""
    open_marks: set[str] = field(default_factory=set)
    """Answers whose acknowledgement did not come."""
    answered_tokens: dict[str, str] = field(default_factory=dict)
    """Token -> its acknowledged mark."""
    synchronous: int = 0
    refusals: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    """What must never be."""


class Traffic:
    """The clients of one campaign, each a thread. They wait while the server is down (`up`)."""

    def __init__(self, suite: Suite, port: int, effects: Path, seed: str) -> None:
        self.suite = suite
        self.port = port
        self.effects = effects
        self.facts = Facts()
        self.up = threading.Event()
        self.ending = threading.Event()
        self.quota = 0
        """Executions that may still be started in this round."""
        self.lock = threading.Lock()
        self.number = 0
        self.trying: dict[str, tuple[str, int]] = {}
        """Starts not acknowledged yet: they are made again."""
        self.to_stop: list[str] = []
        self.seed = seed
        workers: list[Callable[[Any, random.Random], None]] = [
            self.start_some,
            self.start_some,
            self.answer_tokens,
            self.work_for_activity,
            self.stop_some,
            self.start_sync,
        ]
        self.tokens: list[tuple[str, str, int]] = []
        self.position = 0
        self.threads = [
            threading.Thread(target=self._loop, args=(work, number), daemon=True) for number, work in enumerate(workers)
        ]

    def begin(self) -> None:
        for thread in self.threads:
            thread.start()

    def end(self) -> None:
        self.ending.set()
        self.up.set()
        for thread in self.threads:
            if thread.is_alive():
                thread.join(20)

    def _loop(self, work: Callable[[Any, random.Random], None], number: int) -> None:
        api = client(self.port)
        rng = random.Random(f"{self.seed}/{number}")
        while not self.ending.is_set():
            self.up.wait()
            try:
                work(api, rng)
            except ClientError as error:
                # What has its own answer is dealt with below; this is a journal that cannot write, or a server that leaves.
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                code = error.response["Error"]["Code"]
                if status < 500:
                    self.facts.wrong.append(f"{work.__name__}: {error}")
                with self.lock:
                    self.facts.refusals[code] = self.facts.refusals.get(code, 0) + 1
                time.sleep(0.05)
            except BotoCoreError:
                time.sleep(0.02)
            except Exception as error:
                self.facts.wrong.append(f"{work.__name__}: {error!r}")
                raise

    # -- the users

    def start_some(self, api: Any, rng: random.Random) -> None:
        with self.lock:
            if self.trying and (self.quota <= 0 or rng.random() < 0.5):
                name = rng.choice(list(self.trying))
            elif self.quota > 0:
                self.quota -= 1
                self.number += 1
                machine = rng.choice(self.suite.startable)
                name = f"{machine}-{self.number}"
                self.trying[name] = (machine, rng.randrange(1, 400))
            else:
                name = ""
        if not name:
            time.sleep(0.01)
            return
        machine, n = self.trying.get(name, ("", 0))
        if not machine:
            return
        with suppress(api.exceptions.ExecutionAlreadyExists):  # it was started, and has ended already
            api.start_execution(
                stateMachineArn=f"{PREFIX}stateMachine:{machine}", name=name, input=json.dumps({"n": n, "x": name})
            )
        with self.lock:
            if self.trying.pop(name, None) is not None:
                self.facts.started[name] = (machine, n)
                if machine == "stopped":
                    self.to_stop.append(name)
        time.sleep(rng.uniform(0, 0.03))

    def start_sync(self, api: Any, rng: random.Random) -> None:
        n = rng.randrange(1, 400)
        name = f"sync-{uuid.uuid4().hex[:8]}"
        try:
            answer = api.start_sync_execution(
                stateMachineArn=f"{PREFIX}stateMachine:express", name=name, input=json.dumps({"n": n, "x": name})
            )
        except api.exceptions.ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                raise
            time.sleep(0.1)
            return
        expected = {"n": self.suite.express(n), "x": name}
        # A server that ends in order may abort it: EXPRESS executions are not kept.
        if answer["status"] != "ABORTED" and (
            answer["status"] != "SUCCEEDED" or json.loads(answer["output"]) != expected
        ):
            self.facts.wrong.append(f"StartSyncExecution gave {answer['status']} {answer.get('output')} not {expected}")
        self.facts.synchronous += 1
        time.sleep(rng.uniform(0.1, 0.4))

    def _answer(self, api: Any, token: str, name: str, output: dict[str, Any]) -> bool:
        """Answer by token; whether it is settled."""
        mark = output["mark"]
        facts = self.facts
        facts.open_marks.add(mark)
        try:
            api.send_task_success(taskToken=token, output=json.dumps(output))
        except (api.exceptions.TaskTimedOut, api.exceptions.TaskDoesNotExist):
            facts.open_marks.discard(mark)
            if mark not in facts.marks:
                facts.refusals["stale token"] = facts.refusals.get("stale token", 0) + 1
            return True
        facts.open_marks.discard(mark)
        if token in facts.answered_tokens:
            facts.wrong.append(f"two answers to one token of {name} were acknowledged")
        facts.answered_tokens[token] = mark
        facts.marks[mark] = name
        return True

    def answer_tokens(self, api: Any, rng: random.Random) -> None:
        path = self.effects / "tokens"
        if path.exists():
            with path.open() as file:
                file.seek(self.position)
                for line in file:
                    if not line.endswith("\n"):
                        break
                    self.position += len(line)
                    try:
                        token, name, n = json.loads(line)
                    except ValueError:
                        continue  # a full disk cut it off
                    self.tokens.append((token, name, n))
        if not self.tokens:
            time.sleep(0.02)
            return
        token, name, n = self.tokens[0]
        if rng.random() < 0.3:
            try:
                api.send_task_heartbeat(taskToken=token)
            except (api.exceptions.TaskTimedOut, api.exceptions.TaskDoesNotExist):
                self.tokens.pop(0)
                return
        self._answer(api, token, name, {"n": n + TOKEN_ADDS, "x": name, "mark": uuid.uuid4().hex})
        self.tokens.pop(0)

    def work_for_activity(self, api: Any, rng: random.Random) -> None:
        task = api.get_activity_task(activityArn=ACTIVITY, workerName="driver")
        token = task.get("taskToken")
        if not token:
            time.sleep(0.05)
            return
        event = json.loads(task["input"])
        time.sleep(rng.uniform(0, 0.05))
        output = {"n": event["n"] + ACTIVITY_ADDS, "x": event["x"], "mark": uuid.uuid4().hex}
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not self.ending.is_set():
            self.up.wait()
            try:
                self._answer(api, token, event["x"], output)
                return
            except (BotoCoreError, ClientError) as error:
                if isinstance(error, ClientError) and error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                    raise
                output = {**output, "mark": uuid.uuid4().hex}
                time.sleep(0.05)

    def stop_some(self, api: Any, rng: random.Random) -> None:
        if not self.to_stop:
            time.sleep(0.05)
            return
        name = self.to_stop[0]
        time.sleep(rng.uniform(0, 0.2))
        api.stop_execution(executionArn=f"{PREFIX}execution:stopped:{name}")
        self.to_stop.pop(0)
        self.facts.stopped.add(name)
