"""One scraper for tests: the simulated world, a data directory, the engine with its API, and the pipeline's own HTTP API with the scraper.

Functions run in their worker processes, everything between the parts goes over loopback HTTP, objects and records lie on disk. Only the
engine's clock is virtual, and pauses inside functions are a hundredth of what they are.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
import uvicorn
from PIL import Image
from scraper.api import create_app
from scraper.cms import Cms
from scraper.executions import Executions
from scraper.service import Service
from scraper.settings import Settings
from travelsim import Cdn, Itinerary, PayloadCms, Portal, VisionModel
from travelsim.payloadcms import KEY

import stepwell
from stepwell.api.server import serve
from stepwell.engine.clock import VirtualClock
from stepwell.functions.logs import LogRecord, LogStore
from stepwell.project import load_project
from stepwell.toolkit.environment import Resources

from . import PROJECT

API_KEY = "caller-key-123"
DOMAIN = "media.example.test"


def url_of(portal_id: str, access: str = "acc") -> str:
    return f"https://itrvl.com/client/portal/{access}/{portal_id}"


class World:
    """A context manager. `variables` go to the functions' environment; `states` changes states of the machine by name."""

    def __init__(
        self,
        data: Path,
        *,
        clock: Any = None,
        states: Mapping[str, Mapping[str, Any]] | None = None,
        handlers: Mapping[str, str] | None = None,
        paths: tuple[Path, ...] = (),
        **variables: Any,
    ) -> None:
        self.data = data
        self.project = load_project(PROJECT)
        self.ports = Resources("embedded", data, self.project.resources)
        self.bucket = self.ports.bucket("media")
        self.portal = Portal()
        self.payload = PayloadCms(storage=lambda key, content, kind: self.bucket.put(key, content, content_type=kind))
        self.cdn = Cdn(lambda key: self.bucket.get(key))
        self.model = VisionModel()
        self.states, self.handlers, self.paths = dict(states or {}), dict(handlers or {}), paths
        self.variables = {name: str(value) for name, value in variables.items()}
        self._clock = clock
        self._before: dict[str, str | None] = {}

    def environment(self) -> dict[str, str]:
        """What an operator would set."""
        return {
            "STEPWELL_DATA": str(self.data.absolute()),
            "STEPWELL_RESOURCES": json.dumps(msgspec.to_builtins(self.project.resources)),
            "PAYLOAD_API_URL": self.payload.url,
            "PAYLOAD_API_KEY": KEY,
            "SCRAPER_API_KEY": API_KEY,
            "LAMBDA_SCRAPER_SECRET": "scraper-secret-1",
            "SCRAPER_SECRET": "scraper-secret-1",
            "S3_BUCKET": "media",
            "IMGIX_DOMAIN": DOMAIN,
            "IMGIX_ORIGIN": self.cdn.url,
            "SITE_URL": "https://www.example.test",
            "BRAND_NAME": "Example Journeys",
            "PAUSE_FACTOR": "0.01",
            "LOG_LEVEL": "WARN",
            **self.portal.environment,
            **self.model.environment,
            **self.variables,
        }

    def __enter__(self) -> World:
        for service in (self.portal, self.payload, self.cdn, self.model):
            service.__enter__()
        self._set(**self.environment())
        os.environ.pop("STEP_FUNCTION_ARN", None)
        self._site = uvicorn.Server(
            uvicorn.Config(lambda: None, host="127.0.0.1", port=0, log_level="error", lifespan="off", ws="none")
        )
        self._thread = threading.Thread(target=self._site.run, daemon=True)
        self._thread.start()
        while not self._site.started:
            time.sleep(0.005)
        port = self._site.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._set(LAMBDA_SCRAPER_URL=f"{self.url}/scraper")
        self.engine = stepwell.open(self.data, clock=self._clock or VirtualClock(int(time.time() * 1000)))
        self.engine.__enter__()
        self._serve_api()
        self.machines = self.engine.load_project(self._adapted(), schedules=False)
        self._set(STEP_FUNCTION_ARN=self.machines["import"].arn)
        self.settings = Settings.from_environment()
        self.cms = Cms.of(self.settings)
        self.executions = Executions(self.settings)
        self.service = Service(self.cms, self.executions, self.settings, self.ports.table("starts"))
        self._site.config.loaded_app = create_app(self.settings, self.service)
        self.http = httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {API_KEY}"}, timeout=60)
        self.tanzania = self._country("Tanzania")
        self._country("Botswana")
        return self

    def __exit__(self, *error: object) -> None:
        self.http.close()
        self.engine.read(self._until.set)
        self._api.result(20)
        self.engine.__exit__(None, None, None)
        self._site.should_exit = True
        self._thread.join(10)
        for service in (self.portal, self.payload, self.cdn, self.model):
            service.__exit__(None, None, None)
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def _country(self, name: str) -> int:
        return self.payload.add(
            "destinations", name=name, slug=name.lower(), type="country", description="-", _status="published"
        )

    def _serve_api(self) -> None:
        ready = threading.Event()
        self._until = self.engine.read(asyncio.Event)

        def told(server: Any) -> None:
            self.api_url = server.url
            ready.set()

        self._api = asyncio.run_coroutine_threadsafe(
            serve(self.engine.engine, "127.0.0.1", 0, until=self._until, ready=told), self.engine._loop
        )
        assert ready.wait(10)
        self._set(STEPWELL_API_URL=self.api_url)

    def _set(self, **values: str) -> None:
        for name, value in values.items():
            self._before.setdefault(name, os.environ.get(name))
            os.environ[name] = value

    def _adapted(self) -> Any:
        functions = {
            name: msgspec.structs.replace(
                spec, handler=self.handlers.get(name, spec.handler), paths=(*spec.paths, *self.paths)
            )
            for name, spec in self.project.functions.items()
        }
        machine = self.project.machines["import"]
        states = {name: {**state, **self.states.get(name, {})} for name, state in machine.definition["States"].items()}
        adapted = msgspec.structs.replace(machine, definition={**machine.definition, "States": states})
        machines = {**self.project.machines, "import": adapted}
        return msgspec.structs.replace(self.project, functions=functions, machines=machines)

    # -- acting

    def post(self, path: str, *, status: int | None = 200, **body: Any) -> Any:
        answer = self.http.post(path, json=body)
        assert status is None or answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()

    def get(self, path: str, *, status: int = 200, **query: Any) -> Any:
        answer = self.http.get(path, params=query)
        assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json()

    def start(self, url: str, **more: Any) -> int:
        return int(self.post("/api/scrape-itinerary", itrvlUrl=url, **more)["jobId"])

    def wait(self, job: int) -> Run:
        """Wait for the end of a job's execution."""
        document = self.job(job)
        execution = self.engine.execution(self.executions.arn(document["executionName"]))
        record = execution.wait()
        return Run(self, job, record.status, execution.history(), json.loads(record.output) if record.output else None)

    def run(self, url: str, **more: Any) -> Run:
        return self.wait(self.start(url, **more))

    def import_(self, itinerary: Itinerary, **more: Any) -> Run:
        """Show an itinerary on the portal and import it."""
        self.portal.add(itinerary)
        return self.run(url_of(itinerary.id), **more)

    # -- looking

    def job(self, id: int) -> dict[str, Any]:
        found = self.payload.document("itinerary-jobs", id)
        assert found is not None
        return found

    def rows(self, job: int, media_type: str = "image") -> list[dict[str, Any]]:
        return self.payload.documents("image-statuses", job=job, mediaType=media_type)

    def photos(self) -> list[dict[str, Any]]:
        return self.payload.documents("media", mediaType="image")

    def said(self, job: int, type: str) -> list[str]:
        return [found["message"] for found in self.payload.documents("notifications", job=job, type=type)]

    def image(self, key: str) -> Image.Image:
        image = Image.open(io.BytesIO(self.bucket.get(key)))
        image.load()
        return image

    def objects(self) -> list[str]:
        return [found.key for found in self.bucket.list()]

    def logs(self) -> list[LogRecord]:
        store = LogStore(self.data / "logs")
        try:
            return list(store.read())
        finally:
            store.close()


class Run:
    """A finished execution of a job."""

    def __init__(self, world: World, job_id: int, status: str, history: list[dict[str, Any]], output: Any) -> None:
        self.world, self.job_id, self.status, self.history, self.output = world, job_id, status, history, output
        self.job = world.job(job_id)

    @property
    def itinerary(self) -> dict[str, Any]:
        found = self.world.payload.document("itineraries", self.job["processedItinerary"])
        assert found is not None
        return found

    @property
    def states(self) -> list[str]:
        return [
            event["stateEnteredEventDetails"]["name"] for event in self.history if "stateEnteredEventDetails" in event
        ]

    def results(self, state: str) -> list[dict[str, Any]]:
        """What a state's task returned, each time it succeeded."""
        by_id = {event["id"]: event for event in self.history}
        found = []
        for event in self.history:
            if event["type"] == "LambdaFunctionSucceeded":
                origin = event
                while "stateEnteredEventDetails" not in origin:
                    origin = by_id[origin["previousEventId"]]
                if origin["stateEnteredEventDetails"]["name"] == state:
                    found.append(json.loads(event["lambdaFunctionSucceededEventDetails"]["output"]))
        return found

    def failures(self) -> list[tuple[str, str]]:
        """Type and error of every failed attempt."""
        return [
            (
                event["type"],
                next(iter(value for name, value in event.items() if name.endswith("EventDetails")))["error"],
            )
            for event in self.history
            if event["type"] in ("LambdaFunctionFailed", "LambdaFunctionTimedOut")
        ]

    def pauses(self) -> list[float]:
        """Seconds from every failed attempt to the next one."""
        failed = {event["id"]: event for event in self.history if event["type"] == "LambdaFunctionFailed"}
        return [
            round(event["timestamp"] - failed[event["previousEventId"]]["timestamp"], 1)
            for event in self.history
            if event["type"] == "LambdaFunctionScheduled" and event["previousEventId"] in failed
        ]

    def blocks(self) -> list[dict[str, Any]]:
        return [block for day in self.itinerary["days"] for block in day["segments"]]
