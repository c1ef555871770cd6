"""The functions of the generated machines. Each call leaves a line in a file: what happened, not what was acknowledged."""

from __future__ import annotations

import json
import os
import time
import uuid
from pathlib import Path
from typing import Any

PARENT = os.getppid()


class Flaky(Exception):
    """Fails the first attempts."""


class Boom(Exception):
    """Always fails."""


FOLDER = "@EFFECTS@"


def _leave(kind: str, server: int, event: dict[str, Any], context: Any, mark: str) -> None:
    line = json.dumps([kind, server, context.aws_request_id, event["x"], mark, time.time()]) + "\n"
    descriptor = os.open(f"{FOLDER}/{kind}-{server}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def work(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Adds; slow, flaky or failing as the event asks. In a worker process."""
    mark = uuid.uuid4().hex
    _leave("work", PARENT, event, context, mark)
    if event.get("boom"):
        raise Boom("as asked")
    if event["tries"] < event.get("fails", 0):
        raise Flaky("once more")
    time.sleep(event.get("ms", 0) / 1000)
    return {"n": event["n"] + event["add"], "x": event["x"], "call": context.aws_request_id, "mark": mark}


def quick(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Adds, in the server's process."""
    mark = uuid.uuid4().hex
    _leave("quick", os.getpid(), event, context, mark)
    return {"n": event["n"] + event["add"], "x": event["x"], "call": context.aws_request_id, "mark": mark}


def ask(event: dict[str, Any], _context: Any) -> None:
    """Hands a task token to the driver."""
    line = json.dumps([event["token"], event["x"], event["n"]]) + "\n"
    with Path(FOLDER, "tokens").open("a") as file:
        file.write(line)
