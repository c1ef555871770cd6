"""The state machine alone, driven by the interpreter with scripted functions and its own clock: milliseconds a run."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stepwell.interpreter import Identity, start
from stepwell.interpreter.effects import EmitHistory, Finish, RunTask, SetTimer
from stepwell.interpreter.events import TaskFailed, TaskSucceeded, TimerFired
from stepwell.language import compile_machine, errors_of, validate

from . import PROJECT

BEGAN = 1_764_637_200_000
ARN = "arn:aws:states:eu-test-1:111111111111:execution:gopro-sync-orchestrator:sched-1"


class Failure(Exception):
    """A scripted function's failure: the error's name and its cause."""

    def __init__(
        self, error: str, cause: str = '{"errorMessage": "scripted", "errorType": "x", "stackTrace": []}'
    ) -> None:
        super().__init__(error, cause)
        self.error, self.cause = error, cause


@dataclass
class Drive:
    """What a run did."""

    status: str = "RUNNING"
    output: Any = None
    error: str | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    calls: list[tuple[float, str, Any]] = field(default_factory=list)
    """Seconds since the start, resource or function, arguments."""

    @property
    def visited(self) -> list[str]:
        """The top-level states, in order."""
        inner = {"DownloadVideo", "MarkVideoComplete", "MarkVideoFailed"}
        names = [
            event["stateEnteredEventDetails"]["name"]
            for event in self.history
            if event["type"].endswith("StateEntered")
        ]
        return [name for name in names if name not in inner]

    def to(self, name: str) -> list[tuple[float, Any]]:
        return [(at, arguments) for at, called, arguments in self.calls if called == name]


def definition(**substitutions: str) -> dict[str, Any]:
    """The definition as it stands in the file, with names for what the project fills in."""
    text = (PROJECT / "machine.asl.json").read_text()
    values = {
        "topics.gopro-sync-alerts": "arn:aws:sns:eu-test-1:111111111111:alerts",
        **substitutions,
    }
    for function in ("token-validator", "media-lister", "video-downloader"):
        values[f"functions.{function}"] = f"arn:aws:lambda:eu-test-1:111111111111:function:{function}"
    text = text.replace('"${variables.max_concurrency}"', "5")
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    return json.loads(text)


def drive(
    functions: dict[str, Callable[[Any], Any]], input: Any = None, *, states: dict[str, Any] | None = None
) -> Drive:
    """Run the machine. `functions` by function name, and by Resource for services (`sns`, `states`)."""
    document = states or definition()
    assert not errors_of(validate(document))
    identity = Identity(
        execution_arn=ARN,
        name="sched-1",
        state_machine_arn="arn:aws:states:eu-test-1:111111111111:stateMachine:gopro-sync-orchestrator",
        state_machine_name="gopro-sync-orchestrator",
        role_arn="arn:aws:iam::111111111111:role/r",
        start_time=BEGAN,
    )
    run, now, seed = Drive(), BEGAN, 1
    timers: list[tuple[int, int]] = []
    execution, effects = start(compile_machine(document), json.dumps(input or {}).encode(), identity, at=now, seed=seed)
    todo = list(effects)
    while todo or timers:
        if run.status != "RUNNING":
            break
        seed += 1
        if not todo:
            now, timer = heapq.heappop(timers)
            todo += execution.handle(TimerFired(now, seed, timer))
            continue
        effect = todo.pop(0)
        if isinstance(effect, EmitHistory):
            run.history += effect.events
        elif isinstance(effect, SetTimer):
            heapq.heappush(timers, (effect.due, effect.timer))
        elif isinstance(effect, Finish):
            run.status, run.error = effect.status, effect.error
            run.output = json.loads(effect.output) if effect.output is not None else None
        elif isinstance(effect, RunTask):
            arguments = json.loads(effect.arguments)
            name = effect.resource.split(":")[5]
            if name == "lambda":
                name, arguments = arguments["FunctionName"].split(":")[-1], arguments["Payload"]
            run.calls.append(((now - BEGAN) / 1000, name, arguments))
            try:
                result = functions[name](arguments) if name in functions else {}
            except Failure as failure:
                todo += execution.handle(TaskFailed(now, seed, effect.command, failure.error, failure.cause))
                continue
            if name not in ("sns", "states"):
                result = {"Payload": result, "StatusCode": 200, "ExecutedVersion": "$LATEST"}
            todo += execution.handle(TaskSucceeded(now, seed, effect.command, json.dumps(result).encode()))
    return run


def valid(_: Any = None) -> dict[str, Any]:
    return {
        "statusCode": 200,
        "valid": True,
        "cookie_age_days": 1.5,
        "validation_method": "minimal_cookies",
        "duration_seconds": 0.1,
    }


def library(pages: list[int], found: int = 30) -> Callable[[Any], dict[str, Any]]:
    """A lister of a library whose pages have that many new items each."""

    def lister(event: Any) -> dict[str, Any]:
        page, new = event["page_number"], pages[event["page_number"] - 1]
        return {
            "statusCode": 200,
            "provider": "gopro",
            "new_videos": [video(f"m{page}-{number}") for number in range(new)],
            "total_found": found,
            "new_count": new,
            "already_synced": found - new,
            "pagination": {
                "current_page": page,
                "per_page": 30,
                "total_items": 30 * len(pages),
                "total_pages": len(pages),
            },
        }

    return lister


def video(media_id: str) -> dict[str, Any]:
    return {
        "media_id": media_id,
        "filename": f"GH{media_id}.MP4",
        "file_size": 10,
        "upload_date": "2025-11-10T14:23:45Z",
        "duration": 3,
    }


def downloaded(event: Any) -> dict[str, Any]:
    return {
        "statusCode": 200,
        "media_id": event["media_id"],
        "s3_key": f"gopro-videos/2025/11/{event['filename']}",
        "bytes_transferred": 10,
        "transfer_duration_seconds": 0.5,
        "throughput_mbps": 1.0,
    }


def functions(**changed: Callable[[Any], Any]) -> dict[str, Callable[[Any], Any]]:
    """Functions that all succeed, with one new item on one page."""
    names = {"validator": "token-validator", "lister": "media-lister", "downloader": "video-downloader"}
    scripted = {"token-validator": valid, "media-lister": library([1]), "video-downloader": downloaded}
    return scripted | {names.get(name, name): function for name, function in changed.items()}
