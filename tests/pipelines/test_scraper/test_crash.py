"""kill -9 of the whole process tree at random moments, started again until it is done: the same result as without."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import uvicorn
from scraper.api import create_app
from scraper.settings import Settings
from travelsim import Cdn, PayloadCms, Portal, VisionModel, journey

from . import PROJECT
from .world import World, url_of

STEPWELL = str(Path(sys.executable).with_name("stepwell"))


class Outside:
    """The world without an engine: what is not killed. The engine is `stepwell run`, in processes of its own."""

    def __init__(self, data: Path) -> None:
        self.world = World(data, LOG_LEVEL="ERROR")
        for name, kind in (("portal", Portal), ("payload", PayloadCms), ("model", VisionModel)):
            assert isinstance(getattr(self.world, name), kind)
        assert isinstance(self.world.cdn, Cdn)

    def __enter__(self) -> Outside:
        world = self.world
        self.services = (world.portal, world.payload, world.cdn, world.model)
        for service in self.services:
            service.__enter__()
        self.environment = world.environment()
        settings = Settings.from_environment({**self.environment, "STEP_FUNCTION_ARN": "unused"})
        application = create_app(settings, service=object())  # type: ignore[arg-type]
        self.site = uvicorn.Server(
            uvicorn.Config(application, host="127.0.0.1", port=0, log_level="error", lifespan="off")
        )
        self.thread = threading.Thread(target=self.site.run, daemon=True)
        self.thread.start()
        while not self.site.started:
            time.sleep(0.005)
        port = self.site.servers[0].sockets[0].getsockname()[1]
        self.environment["LAMBDA_SCRAPER_URL"] = f"http://127.0.0.1:{port}/scraper"
        for country in ("Tanzania", "Botswana"):
            world.payload.add("destinations", name=country, slug=country.lower(), type="country", description="-")
        return self

    def __exit__(self, *error: object) -> None:
        self.site.should_exit = True
        self.thread.join(10)
        for service in self.services:
            service.__exit__(None, None, None)

    def job(self, portal_id: str) -> tuple[int, str, dict]:
        """A job as the start endpoint makes it, and the input of its execution."""
        name = "job-1-1780000000000"
        job = self.world.payload.add(
            "itinerary-jobs", itrvlUrl=url_of(portal_id), status="pending", currentPhase="Queued", executionName=name,
            startedAt="2026-06-01T00:00:00.000Z",
        )  # fmt: skip
        given = {
            "jobId": job,
            "itrvlUrl": url_of(portal_id),
            "itineraryId": portal_id,
            "mode": "create",
            "executionName": name,
        }
        return job, name, given

    def start(self, name: str, given: dict) -> subprocess.Popen:
        command = [STEPWELL, "run", str(PROJECT), "import", "--data", str(self.world.data), "--name", name]
        return subprocess.Popen(
            [*command, "--input", json.dumps(given), "--json"],
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def artefacts(outside: Outside, job: int) -> dict:
    """What is left of an import, without times and chance ids."""
    cms = outside.world.payload
    document = cms.document("itinerary-jobs", job)
    (itinerary,) = cms.documents("itineraries")
    key_of = {media["id"]: media["sourceS3Key"] for media in cms.documents("media")}
    counters = (
        "totalImages",
        "processedImages",
        "skippedImages",
        "failedImages",
        "imagesToLabel",
        "imagesLabeled",
        "totalVideos",
    )
    blocks = [block for day in itinerary["days"] for block in day["segments"]]
    return {
        "job": [document[name] for name in ("status", "progress", "currentPhase", "errorMessage", "notes", *counters)],
        "rows": sorted((row["sourceS3Key"].rsplit("/", 1)[1], row["status"]) for row in cms.documents("image-statuses")),
        "media": sorted(
            (media["sourceS3Key"].rsplit("/", 1)[1], media["labelingStatus"], media["scene"], len(media["usedInItineraries"]))
            for media in cms.documents("media")
        ),
        "itinerary": [itinerary[name] for name in ("version", "title", "slug", "schemaStatus", "publishBlockers")],
        "previous": len(itinerary["previousVersions"]),
        "images": [key_of[id] for id in itinerary["images"]],
        "hero": key_of[itinerary["heroImage"]],
        "film": [media["videoContext"] for media in cms.documents("media", id=itinerary["heroVideo"])],
        "segments": [[key_of[id] for id in block.get("images", [])] for block in blocks],
        "knowledge": [
            sorted(
                (found["slug"], found.get("observationCount") or found["accumulatedData"]["observationCount"])
                for found in cms.documents(name)
            )
            for name in ("activities", "transfer-routes", "airports", "service-items", "properties")
        ],
        "objects": len([key for key in outside.world.objects() if "originals" in key]),
        "told": sorted(found["message"] for found in cms.documents("notifications")),
    }  # fmt: skip


def imported(folder: Path, photos: int, kills: int = 0, seed: int = 0) -> dict:
    chance = random.Random(seed)
    trip = journey("crash", photos)
    trip.film = True
    with Outside(folder) as outside:
        outside.world.portal.add(trip)
        outside.world.model.latency = 0.05 if kills else 0.0
        job, name, given = outside.job("crash")
        process = outside.start(name, given)
        killed = 0
        while killed < kills:
            # A moment is a number of requests to the CMS from now: evenly spread over the work, however fast the machine is.
            goal = len(outside.world.payload.requests) + chance.randint(5, 45)
            end = time.monotonic() + 60
            while len(outside.world.payload.requests) < goal and process.poll() is None:
                assert time.monotonic() < end, "nothing happens any more"
                time.sleep(0.005)
            if process.poll() is not None:
                break
            kill_tree(process)
            killed += 1
            process = outside.start(name, given)
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, (out[-2000:], err[-2000:])
        assert killed == kills, f"only {killed} kills before it was done"
        return artefacts(outside, job)


def kill_tree(process: subprocess.Popen) -> None:
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


@pytest.mark.crash
def test_killed_twice(tmp_path):
    undisturbed = imported(tmp_path / "calm", 8)
    assert undisturbed["job"][0] == "completed" and len(undisturbed["images"]) == 8
    assert undisturbed["objects"] == 9 and undisturbed["film"] == ["hero"]
    assert imported(tmp_path / "data", 8, kills=2, seed=11) == undisturbed


@pytest.mark.crash
@pytest.mark.slow
def test_killed_ten_times(tmp_path):
    undisturbed = imported(tmp_path / "calm", 24)
    assert len(undisturbed["images"]) == 24
    assert imported(tmp_path / "data", 24, kills=10, seed=20260612) == undisturbed
