"""One mediaselect for tests: the simulated models, a data directory, the engine with its API, and the pipeline's own HTTP API.

Functions run in their worker processes, everything between the parts goes over loopback HTTP, objects and records lie on disk. Only the
engine's clock is virtual: a retry after 5 s comes at once.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn
from geminisim import Gemini
from mediaselect.api import create_app
from mediaselect.orchestrator import Orchestrator
from mediaselect.service import Service
from mediaselect.sessions import SessionStore
from mediaselect.settings import Settings
from PIL import Image
from starlette.applications import Starlette
from starlette.routing import Mount

import stepwell
from mediaselect import identity
from stepwell.api.server import serve
from stepwell.engine.clock import VirtualClock
from stepwell.functions import Call
from stepwell.functions.logs import LogRecord, LogStore
from stepwell.project import load_project
from stepwell.toolkit.environment import Resources
from stepwell.toolkit.objects import server as objects_server

from . import PROJECT

ORIGIN, JWT = "origin-secret-123", "jwt-secret-456"
USER = "user-1"


class World:
    """A context manager. `variables` go to the functions' environment, `timeouts` and `concurrency` by function."""

    def __init__(
        self,
        data: Path,
        *,
        timeouts: Mapping[str, float] | None = None,
        handlers: Mapping[str, str] | None = None,
        paths: Iterable[Path] = (),
        clock: Any = None,
        gemini: Gemini | None = None,
        **variables: Any,
    ) -> None:
        self.data = data
        self.gemini = gemini or Gemini()
        self.project = load_project(PROJECT)
        self.ports = Resources("embedded", data, self.project.resources)
        self.bucket = self.ports.bucket("media")
        self.table = self.ports.table("media-selection-sessions")
        self.sessions = SessionStore(self.table)
        self.session = str(uuid.uuid4())
        self.timeouts, self.handlers, self.paths = dict(timeouts or {}), dict(handlers or {}), tuple(paths)
        self.variables = {name: str(value) for name, value in variables.items()}
        self._clock = clock
        self._before: dict[str, str | None] = {}

    def __enter__(self) -> World:
        self.gemini.__enter__()
        self._socket_server = uvicorn.Server(
            uvicorn.Config(Starlette(), host="127.0.0.1", port=0, log_level="error", lifespan="off", ws="none")
        )
        self._site = threading.Thread(target=self._socket_server.run, name="site", daemon=True)
        self._site.start()
        while not self._socket_server.started:
            time.sleep(0.005)
        port = self._socket_server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._set(
            STEPWELL_DATA=str(self.data.absolute()),
            STEPWELL_RESOURCES=json.dumps(msgspec.to_builtins(self.project.resources)),
            STEPWELL_OBJECTS_URL=f"{self.url}/objects",
            MEDIA_BUCKET_NAME="media",
            ORIGIN_VERIFY_SECRET=ORIGIN,
            JWT_SECRET=JWT,
            **self.gemini.environment,
        )
        self.engine = stepwell.open(self.data, clock=self._clock or VirtualClock(int(time.time() * 1000)))
        self.engine.__enter__()
        self.machines = self.engine.load_project(self._adapted(), schedules=False)
        ready: threading.Event = threading.Event()
        self._until = self.engine.read(asyncio.Event)

        def told(server: Any) -> None:
            self.api_url = server.url
            ready.set()

        self._api = asyncio.run_coroutine_threadsafe(
            serve(self.engine.engine, "127.0.0.1", 0, until=self._until, ready=told), self.engine._loop
        )
        assert ready.wait(10)
        self._set(
            STEPWELL_API_URL=self.api_url,
            SELECTION_STATE_MACHINE_ARN=self.machines["selection"].arn,
            ENHANCEMENT_STATE_MACHINE_ARN=self.machines["enhancement"].arn,
            FEEDBACK_STATE_MACHINE_ARN=self.machines["feedback"].arn,
        )
        settings = Settings.from_environment()
        self.service = Service(settings, self.bucket, self.sessions, Orchestrator())
        self._socket_server.config.loaded_app = Starlette(
            routes=[Mount("/objects", objects_server.application(self.data)), Mount("/", create_app(self.service))]
        )
        self.http = httpx.Client(base_url=self.url, headers=self.headers(USER), timeout=60)
        return self

    def __exit__(self, *error: object) -> None:
        self.http.close()
        self.engine.read(self._until.set)
        self._api.result(10)
        self.engine.__exit__(None, None, None)
        self._socket_server.should_exit = True
        self._site.join(10)
        self.gemini.__exit__(None, None, None)
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def _set(self, **values: str) -> None:
        for name, value in values.items():
            self._before.setdefault(name, os.environ.get(name))
            os.environ[name] = value

    def _adapted(self) -> Any:
        functions = {
            name: msgspec.structs.replace(
                spec,
                environment={**spec.environment, **self.variables},
                timeout=self.timeouts.get(name, spec.timeout),
                handler=self.handlers.get(name, spec.handler),
                paths=(*spec.paths, *self.paths),
            )
            for name, spec in self.project.functions.items()
        }
        return msgspec.structs.replace(self.project, functions=functions)

    # -- acting

    @staticmethod
    def headers(user: str) -> dict[str, str]:
        return {"x-origin-verify": ORIGIN, "authorization": f"Bearer {identity.sign(user, JWT)}"}

    def put(self, name: str, data: bytes, session: str | None = None) -> str:
        key = f"{session or self.session}/{name}"
        self.bucket.put(key, data)
        return key

    def post(self, path: str, *, status: int | None = None, **body: Any) -> Any:
        answer = self.http.post(path, json=body)
        assert status is None or answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()

    def get(self, path: str, *, status: int = 200, **query: Any) -> Any:
        answer = self.http.get(path, params=query)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()

    def select(self, context: str = "", session: str | None = None) -> dict[str, Any]:
        """Start a selection over HTTP and wait for its end."""
        session = session or self.session
        job = self.post("/api/selection/start", status=202, sessionId=session, tripContext=context)["id"]
        self.wait("selection", job)
        return self.get(f"/api/selection/{job}/results", sessionId=session)

    def enhance(self, keys: list[str], session: str | None = None) -> dict[str, Any]:
        session = session or self.session
        job = self.post("/api/enhance/start", status=202, sessionId=session, keys=keys)["id"]
        self.wait("enhancement", job)
        return self.get(f"/api/enhance/{job}/results", sessionId=session)

    def feedback(self, job: str, key: str, text: str) -> dict[str, Any]:
        """Send feedback and wait until it was worked on; the item."""
        self.post(f"/api/enhance/{job}/feedback", status=202, sessionId=self.session, key=key, feedback=text)
        machine = self.machines["feedback"].arn
        for row in self.engine.read(
            lambda: self.engine.engine.executions.list(state_machine_arn=machine, status="RUNNING").items
        ):
            self.engine.execution(row.execution_arn).wait()
        items = self.get(f"/api/enhance/{job}/results", sessionId=self.session)["items"]
        item = next(item for item in items if key in (item["originalKey"], item["enhancedKey"]))
        assert item["feedbackStatus"] != "processing"
        return item

    def invoke(self, function: str, event: Mapping[str, Any]) -> Any:
        """Call a function as the platform would, outside of a machine."""
        pool = self.engine.engine.functions
        call = Call(request_id=str(uuid.uuid4()))
        return json.loads(self.engine.call(pool.invoke(function, json.dumps(event).encode(), call=call)).payload)

    # -- looking

    def execution(self, machine: str, job: str) -> Any:
        arn = self.machines[machine].arn.replace(":stateMachine:", ":execution:")
        return self.engine.execution(f"{arn}:{job}")

    def wait(self, machine: str, job: str) -> Any:
        return self.execution(machine, job).wait()

    def history(self, machine: str, job: str) -> list[dict[str, Any]]:
        return self.execution(machine, job).history()

    def image(self, key: str) -> Image.Image:
        image = Image.open(io.BytesIO(self.bucket.get(key)))
        image.load()
        return image

    def objects(self, prefix: str = "") -> list[str]:
        return [found.key.partition("/")[2] for found in self.bucket.list(f"{self.session}/{prefix}")]

    def logs(self) -> list[LogRecord]:
        store = LogStore(self.data / "logs")
        try:
            return list(store.read())
        finally:
            store.close()
