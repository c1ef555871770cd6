"""Several jobs over the same photos at the same time: each label is made once, and the counters of every job are exact."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from scraper.claims import Claims
from scraper.jobs import release
from scraper.labelling import label_batch
from travelsim import journey

from stepwell.toolkit.environment import Resources

from . import PROJECT
from .world import World, url_of


def sharing(name, photos):
    """An itinerary that shows another one's photos."""
    trip = journey(name, 0)
    trip.content["itineraries"][0]["segments"][0]["images"] = sorted(photos)
    trip.photos.update(photos)
    return trip


class Held:
    """The model's answers wait until they are let go."""

    def __init__(self, world):
        self.asked, self.go = threading.Semaphore(0), threading.Event()
        self._world = world

    def _watch(self, request):
        self.asked.release()
        assert self.go.wait(60)

    def __enter__(self):
        self._world.model.watchers.append(self._watch)
        return self

    def __exit__(self, *error):
        self.go.set()
        self._world.model.watchers.remove(self._watch)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two imported itineraries with the same three photos."""
    with World(tmp_path_factory.mktemp("sharing") / "data") as made:
        one = journey("one", 3)
        made.runs = [made.import_(one), made.import_(sharing("two", one.photos))]
        yield made


@pytest.fixture
def pair(world):
    """All photos wait for labels again; each job's event for the labeler."""
    for media in world.photos():
        world.payload.change("media", media["id"], labelingStatus="pending", scene=None)
    for run in world.runs:
        world.cms.update("itinerary-jobs", run.job_id, {"labelingStartedAt": None, "imagesLabeled": 0})
    world.model.images.clear()
    return [{"jobId": run.job_id, "itineraryId": run.itinerary["id"]} for run in world.runs]


def counts(world, event):
    job = world.job(event["jobId"])
    return job["imagesToLabel"], job["imagesLabeled"], job["currentPhase"]


def test_a_photo_another_job_is_labelling(world, pair):
    one, two = pair
    with ThreadPoolExecutor(1) as beside, Held(world) as held:
        first = beside.submit(label_batch, world.cms, world.settings, one)
        assert all(held.asked.acquire(timeout=30) for _ in range(3)), "all three are being labelled"
        waited = label_batch(world.cms, world.settings, two)
        assert (waited["remaining"], waited["waits"]) == (3, 1), "it is not done before its photos are"
        assert counts(world, two) == (3, 0, "Phase 3: Labeling Images")
        # Neither its failure nor its end may take the photos from the job that is at them.
        release(world.cms, two["jobId"])
        held.go.set()
        assert first.result(60)["labeled"] == 3
    assert label_batch(world.cms, world.settings, {**two, "labelResult": waited})["remaining"] == 0
    assert [counts(world, event) for event in pair] == [(3, 3, "Phase 4: Finalizing")] * 2
    assert len(world.model.images) == 3, "each label was made once"
    assert {media["labelingStatus"] for media in world.photos()} == {"complete"}
    assert not [item for item in world.ports.table("claims").scan() if item["name"].startswith("label:")]


def test_labelled_by_two_jobs_at_once(world, pair):
    """Both find the photos waiting; whoever comes second leaves them to the first, and waits."""
    ready, asked = threading.Barrier(2, timeout=30), []

    def both(request):  # both have looked before any of them takes a photo
        if request.method == "PATCH" and "imagesToLabel" in request.json and len(asked) < 2:
            asked.append(request.path)
            ready.wait()

    def run(event):
        while True:
            result = label_batch(world.cms, world.settings, event)
            if not result["remaining"]:
                return result
            event = {**event, "labelResult": result}

    world.payload.watchers.append(both)
    world.model.latency = 0.05
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(run, pair))
    finally:
        world.payload.watchers.remove(both)
        world.model.latency = 0.0
    assert len(asked) == 2
    assert [counts(world, event) for event in pair] == [(3, 3, "Phase 4: Finalizing")] * 2
    assert len(world.model.images) == 3


def test_a_label_that_fails_fails_for_both(world, pair):
    one, two = pair
    world.model.script({"timeOfDay": "teatime"})
    assert label_batch(world.cms, world.settings, one)["failed"] == 1
    world.cms.update("itinerary-jobs", two["jobId"], {"labelingStartedAt": None})
    assert label_batch(world.cms, world.settings, two)["remaining"] == 0
    assert counts(world, one)[:2] == (3, 2)
    assert counts(world, two)[:2] == (0, 0)


def test_an_attempt_that_died_goes_on_at_once(world, pair):
    one, two = pair
    ids = [media["id"] for media in world.photos()]
    for id in ids[:2]:
        assert Claims(one["jobId"]).take(id)
        world.payload.change("media", id, labelingStatus="processing")
    waited = label_batch(world.cms, world.settings, two)
    assert (waited["labeled"], waited["remaining"]) == (1, 2)
    assert label_batch(world.cms, world.settings, one)["labeled"] == 2
    assert label_batch(world.cms, world.settings, {**two, "labelResult": waited})["remaining"] == 0
    assert counts(world, two)[:2] == (3, 3)


def test_two_imports_at_once(world_of):
    """New photos of two itineraries that share 12 of them, and five others each."""
    with world_of() as world:
        shared = journey("both", 12).photos
        trips = [sharing(name, shared) for name in ("left", "right")]
        for trip in trips:
            own = journey(trip.id, 5)
            trip.photos.update(own.photos)
            trip.content["itineraries"][0]["segments"][0]["images"] += sorted(own.photos)
            world.portal.add(trip)
        world.model.latency = 0.05
        runs = [world.wait(job) for job in [world.start(url_of(trip.id)) for trip in trips]]
        for run in runs:
            job = run.job
            assert job["status"] == "completed"
            assert (job["totalImages"], job["failedImages"]) == (17, 0)
            assert job["processedImages"] + job["skippedImages"] == 17
            assert job["imagesToLabel"] == job["imagesLabeled"]
            assert len(run.itinerary["images"]) == 17
        assert sum(run.job["processedImages"] for run in runs) == 22, "each photo was taken over once"
        assert len(world.photos()) == len(world.model.images) == 22
        both = sorted(run.itinerary["id"] for run in runs)
        for media in world.photos():
            used = sorted(media["usedInItineraries"])
            assert used == both if media["sourceS3Key"] in shared else len(used) == 1


def test_claims(tmp_path):
    from stepwell.project import load_project

    table = Resources("embedded", tmp_path, load_project(PROJECT).resources).table("claims")
    now = [time.time()]
    one, two = (Claims(job, table, clock=lambda: now[0]) for job in (1, 2))
    assert one.take(7) and one.take(7)
    assert not two.take(7)
    assert one.owners([7, 8]) == {7: True} and two.owners([7, 8]) == {7: False}
    two.drop(7)
    assert not two.take(7), "what is another job's is not given back"
    now[0] += 15 * 60
    assert two.take(7), "it has been silent for too long"
    assert not one.take(7)
    two.drop(7)
    assert one.owners([7]) == {} and one.take(7)
    with ThreadPoolExecutor(8) as pool:
        winners = list(pool.map(lambda job: Claims(job, table).take(9), range(8)))
    assert winners.count(True) == 1
