"""One cloudsync for a test: a simulated cloud, a data directory, and runs of the real machine on the real engine.

Functions run in their worker processes, bytes go over HTTP, objects and records lie on disk. Only the engine's clock is virtual:
a retry after 120 s comes at once, and the history says 120 s.
"""

from __future__ import annotations

import importlib
import json
import os
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
from mediacloud import MediaCloud

from stepwell.engine import Engine, Machine
from stepwell.engine.clock import VirtualClock
from stepwell.engine.records import ExecutionRecord
from stepwell.functions.context import Context
from stepwell.functions.logs import LogRecord, LogStore
from stepwell.project import Environment, Project, load_project
from stepwell.toolkit.environment import Resources
from stepwell.toolkit.measurements import SpoolSink

from . import PROJECT

MACHINE = "gopro-sync-orchestrator"
INNER = {"DownloadVideo", "MarkVideoComplete", "MarkVideoFailed"}


@dataclass
class Run:
    """A finished execution."""

    name: str
    arn: str
    status: str
    error: str | None
    output: Any
    history: list[dict[str, Any]]

    @property
    def summary(self) -> dict[str, Any]:
        return self.output["summary"]

    @property
    def visited(self) -> list[str]:
        """The top-level states, in order."""
        return [name for name in self.entered() if name not in INNER]

    def entered(self) -> list[str]:
        return [
            event["stateEnteredEventDetails"]["name"] for event in self.history if "stateEnteredEventDetails" in event
        ]

    def results(self, state: str) -> list[dict[str, Any]]:
        """What the functions called by a state returned, attempt by attempt, as far as they succeeded."""
        return [
            json.loads(event["taskSucceededEventDetails"]["output"])["Payload"]
            for event in self._of(state, "TaskSucceeded")
            if event["taskSucceededEventDetails"]["resource"] == "invoke"
        ]

    def errors(self, state: str) -> list[str]:
        """The error names of a state's failed attempts."""
        return [event["taskFailedEventDetails"]["error"] for event in self._of(state, "TaskFailed")]

    def waits(self, state: str) -> list[float]:
        """Seconds from each failed attempt of a state to the next one."""
        failed = {event["id"]: event for event in self._of(state, "TaskFailed")}
        return [
            round(event["timestamp"] - failed[event["previousEventId"]]["timestamp"], 3)
            for event in self._of(state, "TaskScheduled")
            if event["previousEventId"] in failed
        ]

    def _of(self, state: str, *types: str) -> list[dict[str, Any]]:
        """Events of these types that belong to a state: followed back by previousEventId to where it was entered."""
        by_id = {event["id"]: event for event in self.history}

        def owner(event: dict[str, Any]) -> str | None:
            while event["previousEventId"]:
                event = by_id[event["previousEventId"]]
                if "stateEnteredEventDetails" in event:
                    return event["stateEnteredEventDetails"]["name"]
            return None

        return [event for event in self.history if event["type"] in types and owner(event) == state]


class Sync:
    """A project in an environment, over a data directory. `variables` go to the functions' environment."""

    def __init__(self, cloud: MediaCloud, data: Path, environment: Environment | str = "dev", **variables: Any) -> None:
        self.cloud = cloud
        self.data = data
        self.variables = {"PROVIDER_API_BASE": cloud.url, **{name: str(value) for name, value in variables.items()}}
        self.project: Project = load_project(PROJECT, environment)
        self.ports = Resources("embedded", data, self.project.resources)
        self.tracker = self.ports.table("gopro-sync-tracker")
        self.bucket = self.ports.bucket("archive")
        self.spool = SpoolSink(data / "metrics.sqlite3")
        self.timeouts: dict[str, float] = {}
        self.runs = 0
        self.write_secret()

    def write_secret(self, *, age: timedelta | None = timedelta(days=2), **changed: Any) -> None:
        document = {
            "gp-access-token": self.cloud.session.token,
            "cookies": self.cloud.session.cookies,
            "user-agent": "Mozilla/5.0 (Test)",
            **({} if age is None else {"last_updated": (datetime.now(UTC) - age).strftime("%Y-%m-%dT%H:%M:%SZ")}),
            **changed,
        }
        self.ports.secret("gopro/credentials").write(json.dumps(document))

    def remove_secret(self) -> None:
        (self.data / "secrets" / "gopro" / "credentials").unlink()

    def adapted(self, **definition: Any) -> Project:
        """The project with this test's variables and timeouts; `definition` replaces states by name."""
        functions = {
            name: msgspec.structs.replace(
                spec,
                environment={**spec.environment, **self.variables},
                timeout=self.timeouts.get(name, spec.timeout),
            )
            for name, spec in self.project.functions.items()
        }
        machines = {
            name: msgspec.structs.replace(
                machine,
                definition={**machine.definition, "States": {**machine.definition["States"], **definition}},
            )
            for name, machine in self.project.machines.items()
        }
        return msgspec.structs.replace(self.project, functions=functions, machines=machines)

    async def run(
        self, input: Mapping[str, Any] | None = None, *, name: str | None = None, runner: Any = None, **definition: Any
    ) -> Run:
        """One execution from start to end, on an engine of its own."""
        self.runs += 1
        async with self._engine(definition) as (engine, machine):
            if runner is not None:
                runner.attach(engine)
            execution = await machine.start(dict(input or {}), name=name or f"test-run-{self.runs}")
            return _ended(await execution.wait(), execution.history())

    async def run_together(self, *names: str) -> list[Run]:
        """Executions that run side by side."""
        async with self._engine({}) as (_, machine):
            executions = [await machine.start({}, name=name) for name in names]
            return [_ended(await execution.wait(), execution.history()) for execution in executions]

    async def finish(self, **definition: Any) -> None:
        """An engine on the same data, until nothing is open any more."""
        async with self._engine(definition) as (engine, _):
            while found := engine.executions.list(status="RUNNING").items:
                await engine.executions.wait(found[0].execution_arn)

    @asynccontextmanager
    async def _engine(self, definition: Mapping[str, Any]) -> AsyncIterator[tuple[Engine, Machine]]:
        async with Engine.open(self.data, clock=VirtualClock(int(time.time() * 1000))) as engine:
            machines = await engine.load_project(self.adapted(**definition), schedules=False)
            yield engine, machines[MACHINE]

    def call(self, function: str, event: Any, *, remaining: float = 900.0) -> Any:
        """A function's handler called in this process, with the environment it would have: milliseconds instead of a run."""
        spec = self.project.functions[function]
        module, _, name = str(spec.handler).partition(":")
        variables = {
            "LOG_LEVEL": "CRITICAL",
            "STEPWELL_DATA": str(self.data),
            **spec.environment,
            **self.variables,
        }
        context = Context(
            aws_request_id=str(uuid.uuid4()),
            function_name=function,
            function_version="$LATEST",
            invoked_function_arn=str(spec.arn),
            memory_limit_in_mb=str(spec.memory_mb),
            log_group_name="g",
            log_stream_name="s",
            deadline=time.monotonic() + remaining,
        )
        with mock.patch.dict(os.environ, variables):
            return getattr(importlib.import_module(module), name)(event, context)

    def download(self, media_id: str, *, remaining: float = 900.0, owner: str = "run", **event: Any) -> dict[str, Any]:
        """One call of the downloader for an item as the cloud lists it."""
        item = self.cloud.find(media_id)
        listed = {
            "media_id": media_id,
            "filename": item.filename if item else "GH1.MP4",
            "file_size": item.content.size if item and item.content else 0,
            "upload_date": item.created_at if item else "2025-11-10T14:23:45Z",
            "execution_id": owner,
            "correlation_id": "c",
        }
        return self.call("video-downloader", {**listed, **event}, remaining=remaining)

    def row(self, media_id: str) -> dict[str, Any] | None:
        return self.tracker.get(media_id)

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["media_id"]: row for row in self.tracker.scan()}

    def archived(self) -> list[str]:
        return [found.key for found in self.bucket.list()]

    def uploads(self) -> list[str]:
        return [found.key for found in self.bucket.list_uploads()]

    def notices(self) -> list[tuple[str, dict[str, Any]]]:
        """Subject and body of everything published so far."""
        topic = self.ports.topic("gopro-sync-alerts")
        return [(notice.subject, json.loads(notice.body)) for notice in topic.notices()]

    def alerts(self, alert_type: str) -> list[dict[str, Any]]:
        return [body for _, body in self.notices() if body.get("alert_type") == alert_type]

    def logs(self, **fields: Any) -> list[LogRecord]:
        """The functions' log lines whose fields are these."""
        store = LogStore(self.data / "logs")
        try:
            records = list(store.read())
        finally:
            store.close()
        return [record for record in records if all(record.fields.get(name) == value for name, value in fields.items())]

    def metric(self, namespace: str, name: str, **dimensions: str) -> float | None:
        """The sum of what was measured, None when nothing was. Provider and Environment are always dimensions."""
        wanted = {"Provider": "gopro", "Environment": self.project.environment.name, **dimensions}
        totals = [
            point.total
            for point in self.spool.points(namespace, name, since=time.time() - 3600)
            if dict(point.dimensions) == wanted
        ]
        return sum(totals) if totals else None


def _ended(record: ExecutionRecord, history: list[dict[str, Any]]) -> Run:
    return Run(
        name=record.name,
        arn=record.execution_arn,
        status=record.status,
        error=record.error,
        output=None if record.output is None else json.loads(record.output),
        history=history,
    )
