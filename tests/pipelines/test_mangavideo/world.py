"""One mangavideo for tests: the four simulated services, a data directory, the engine with its API, and machines that are processes.

Everything between the parts goes over loopback HTTP, objects and records lie on disk, worker machines are real processes. The functions are
the real ones; they run in the test's process (the tests of killed processes run them in workers). Only the engine's clock is virtual,
and it stands still while a machine works.
"""

from __future__ import annotations

import asyncio
import fcntl
import importlib
import io
import json
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
from mangaworld import Catalogue, Manga, Model, ReadAloud, VideoHost, manga, silence

import stepwell
from stepwell.api.app import OBJECTS
from stepwell.api.server import serve
from stepwell.engine.clock import VirtualClock
from stepwell.functions.context import Context
from stepwell.functions.logs import LogRecord, LogStore
from stepwell.project import load_project
from stepwell.toolkit.environment import Resources

from . import PROJECT

QUICK = 0.01
"""What the pipeline's waits are multiplied by."""


class MachineClock(VirtualClock):
    """Virtual time that stands still while a machine of the data directory works; `lost` machines are not waited for."""

    def __init__(self, data: Path) -> None:
        super().__init__(int(time.time() * 1000))
        self._machines = data / "machines"
        self.lost: set[str] = set()

    def _look(self) -> None:
        if self._waiting and not self._running and self._working():
            self._quiet = 0
            asyncio.get_running_loop().call_later(0.02, self._look)
        else:
            super()._look()

    def _working(self) -> bool:
        for lock in self._machines.glob("*/*/lock"):
            if lock.parent.name in self.lost:
                continue
            with lock.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return True
        return False


@dataclass
class Run:
    """A finished execution."""

    name: str
    status: str
    error: str | None
    cause: str | None
    output: Any
    history: list[dict[str, Any]]

    @property
    def visited(self) -> list[str]:
        return [
            event["stateEnteredEventDetails"]["name"] for event in self.history if "stateEnteredEventDetails" in event
        ]

    @property
    def last(self) -> str:
        return self.visited[-1]

    def inputs(self, state: str) -> list[Any]:
        """What a state got, each time it was entered."""
        return [
            json.loads(event["stateEnteredEventDetails"]["input"])
            for event in self.history
            if event.get("stateEnteredEventDetails", {}).get("name") == state
        ]

    def sizes(self) -> int:
        """The largest input of a state, in bytes."""
        return max(
            len(event["stateEnteredEventDetails"]["input"].encode())
            for event in self.history
            if "stateEnteredEventDetails" in event
        )

    def payloads(self, function: str) -> list[dict[str, Any]]:
        """What a function was called with, attempt by attempt."""
        return [
            json.loads(event["taskScheduledEventDetails"]["parameters"])["Payload"]
            for event in self.history
            if event["type"] == "TaskScheduled" and function in event["taskScheduledEventDetails"]["parameters"]
        ]

    def failures(self) -> list[tuple[str, float]]:
        """Errors of attempts, and seconds until the next attempt was scheduled."""
        found = []
        for position, event in enumerate(self.history):
            details = event.get("taskFailedEventDetails") or event.get("taskTimedOutEventDetails")
            if details is None:
                continue
            later = [e for e in self.history[position:] if e["type"] == "TaskScheduled"]
            wait = later[0]["timestamp"] - event["timestamp"] if later else -1.0
            found.append((details["error"], round(wait, 1)))
        return found


class World:
    """A context manager. `variables` go to functions and machines; `definition` changes states by name."""

    def __init__(
        self,
        data: Path,
        library: list[Manga] | None = None,
        *,
        voice: Any = silence,
        virtual: bool = True,
        environment: str | None = None,
        functions: Mapping[str, Any] | None = None,
        **variables: Any,
    ) -> None:
        self.data = data
        self.project = load_project(PROJECT, environment)
        self.ports = Resources("embedded", data, self.project.resources)
        self.catalogue = Catalogue([manga(1, "First Light")] if library is None else library, rate=None)
        self.model, self.speech, self.host = Model(sentences=1), ReadAloud(voice), VideoHost()
        self.clock = MachineClock(data) if virtual else None
        self._variables = variables
        self._functions = {f"manga-pipeline-{name}": function for name, function in (functions or {}).items()}
        self._patch: Any = None
        self._runs = 0
        self.bucket = self.ports.bucket("assets")
        self.jobs = self.ports.table("manga_jobs")
        self.titles = self.ports.table("processed_manga")
        self.counters = self.ports.table("manga-pipeline-counters")
        self.settings = self.ports.table("settings")

    # -- the world's parts

    def environment(self) -> dict[str, str]:
        """All variables, as the functions have them."""
        declared: dict[str, str] = {}
        for spec in self.project.functions.values():
            declared |= spec.environment
        return {
            **declared,
            "STEPWELL_DATA": str(self.data.absolute()),
            "STEPWELL_BACKEND": "embedded",
            "MANGADEX_BASE_URL": self.catalogue.url,
            "DEEPINFRA_BASE_URL": self.model.base_url,
            "EDGE_TTS_URL": self.speech.url,
            "YOUTUBE_UPLOAD_BASE": self.host.upload_base,
            "MANGAVIDEO_WAIT_FACTOR": str(QUICK),
            "VIDEO_PRESET": "ultrafast",
            "RENDER_DIRECTORY": str(self.data / "render"),
            "PYTHONPATH": str(PROJECT),
            **{name: str(value) for name, value in self._variables.items()},
        }

    def __enter__(self) -> World:
        for simulator in (self.catalogue, self.model, self.speech, self.host):
            simulator.__enter__()
        self._patch = mock.patch.dict(os.environ, self.environment())
        self._patch.start()
        self.ports.secret("manga-pipeline/deepinfra-api-key").write({"api_key": self.model.key})
        self.ports.secret("manga-pipeline/youtube-oauth").write(self.host.secret())
        self.set(daily_quota=1)
        self.engine = stepwell.open(self.data, **({"clock": self.clock} if self.clock else {}))
        self.engine.__enter__()
        functions = {
            name: msgspec.structs.replace(spec, inline=True, handler=self._functions.get(name, spec.handler))
            for name, spec in self.project.functions.items()
        }
        project = msgspec.structs.replace(self.project, functions=functions)
        self.machine = self.engine.load_project(project, schedules=False)["manga-pipeline"]
        ready = threading.Event()
        self._until = self.engine.read(asyncio.Event)

        def told(server: Any) -> None:
            os.environ["STEPWELL_API_URL"] = server.url
            os.environ["STEPWELL_OBJECTS_URL"] = server.url + OBJECTS
            os.environ["STATE_MACHINE_ARN"] = self.machine.arn
            ready.set()

        self._api = asyncio.run_coroutine_threadsafe(
            serve(self.engine.engine, "127.0.0.1", 0, until=self._until, ready=told), self.engine._loop
        )
        assert ready.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        for role in ("renderer", "uploader"):
            machines = self.ports.worker(role)
            for machine in machines.find():
                machines.terminate(machine.id)
        self.engine.read(self._until.set)
        self._api.result(20)
        self.engine.__exit__(None, None, None)
        self._patch.stop()
        for simulator in (self.catalogue, self.model, self.speech, self.host):
            simulator.__exit__(None, None, None)

    # -- acting

    def set(self, **settings: Any) -> None:
        """Change what people set in the dashboard."""
        row = self.settings.get("pipeline_settings") or {"setting_key": "pipeline_settings"}
        self.settings.put({**row, **settings})

    def variable(self, **variables: Any) -> None:
        """Change variables from now on."""
        os.environ.update({name: str(value) for name, value in variables.items()})

    def start(self, input: Mapping[str, Any] | None = None, name: str | None = None) -> Any:
        self._runs += 1
        return self.machine.start(dict(input or {}), name=name or f"run-{self._runs}")

    def run(self, input: Mapping[str, Any] | None = None, name: str | None = None) -> Run:
        return self.ended(self.start(input, name))

    @staticmethod
    def ended(execution: Any) -> Run:
        record = execution.wait()
        output = None if record.output is None else json.loads(record.output)
        return Run(record.name, record.status, record.error, record.cause, output, execution.history())

    def call(self, function: str, remaining: float = 900.0, **event: Any) -> Any:
        """One call of a function of the pipeline, by itself."""
        spec = self.project.functions[f"manga-pipeline-{function}"]
        module, name = str(spec.handler).split(":")
        context = Context(
            aws_request_id="r",
            function_name=spec.name,
            function_version="$LATEST",
            invoked_function_arn="arn",
            memory_limit_in_mb="512",
            log_group_name="g",
            log_stream_name="s",
            deadline=time.monotonic() + remaining,
        )
        return getattr(importlib.import_module(module), name)({"correlation_id": "c", **event}, context)

    # -- looking

    def job(self, job_id: str) -> dict[str, Any]:
        return self.jobs.get(job_id) or {}

    def document(self, key: str) -> dict[str, Any]:
        return json.loads(self.bucket.get(key))

    def keys(self, job_id: str) -> list[str]:
        return [found.key.split("/", 2)[2] for found in self.bucket.list(f"jobs/{job_id}/")]

    def uploaded(self) -> list[bytes]:
        """The videos the host published, in order."""
        return [bytes(session.data) for session in self.host.videos.values()]

    def machines(self, role: str) -> list[tuple[str, dict[str, Any]]]:
        """Ids and states of all machines of a role, by the time they started."""
        found = []
        for folder in (self.data / "machines" / role).glob("*"):
            if (folder / "status.json").exists():
                found.append((folder.name, json.loads((folder / "status.json").read_text())))
        return sorted(found, key=lambda item: item[1]["started"])

    def worker_lines(self) -> list[dict[str, Any]]:
        """The log lines of all machines."""
        lines = []
        for path in (self.data / "machines").glob("*/*/output.log"):
            lines += [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]
        return lines

    def logs(self) -> list[LogRecord]:
        store = LogStore(self.data / "logs")
        try:
            return list(store.read())
        finally:
            store.close()


def decoded(data: bytes) -> tuple[list[Any], Any, int]:
    """The frames of a video (RGB arrays, each 1/10 of its size), its samples as one mono array, and their rate."""
    import av
    import numpy

    with av.open(io.BytesIO(data)) as container:
        frames = [frame.to_ndarray(format="rgb24")[::10, ::10] for frame in container.decode(video=0)]
    with av.open(io.BytesIO(data)) as container:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=24_000)
        pieces = [out.to_ndarray().ravel() for frame in container.decode(audio=0) for out in resampler.resample(frame)]
    return frames, numpy.concatenate(pieces), 24_000
