"""Jobs while they run (statements 2, 3, 11 to 16, 20, 25 to 30, 34): chunks, batches, failures, control."""

from __future__ import annotations

import io
import re
import threading
import time

import pytest
from scraper.labelling import relabel
from travelsim import FX1_URL, fx1, journey
from travelsim.payloadcms import KEY, SESSION

from scraper import audit as auditing
from stepwell.engine.clock import SystemClock

from .world import World, url_of


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with World(tmp_path_factory.mktemp("running") / "data") as made:
        yield made


@pytest.fixture(autouse=True)
def healed(request):
    yield
    if "world" in request.fixturenames:
        made = request.getfixturevalue("world")
        for service in (made.payload, made.portal, made.cdn, made.model):
            service.heal()


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come so far"
        time.sleep(0.01)


def test_01_urls_over_http(world):
    for url in (
        "https://itrvl.com/client/portal/onlyone",
        "https://evil.test/client/portal/a/b",
        "http://itrvl.com/client/portal/a/b",
        None,
    ):
        assert world.post("/api/scrape-itinerary", status=400, itrvlUrl=url)["success"] is False
    assert world.post("/api/scrape-itinerary", status=400, itrvlUrl=FX1_URL, mode="replace")["success"] is False
    refused = world.http.post(
        "/scraper", json={"itrvlUrl": "https://evil.test/client/portal/a/b", "secret": "scraper-secret-1"}
    )
    assert refused.status_code == 400
    assert world.http.post("/scraper", json={"itrvlUrl": FX1_URL, "secret": "wrong"}).status_code == 401
    assert world.http.post("/scraper", content=b"{").status_code == 400


def test_02_one_at_a_time(world):
    world.portal.add(journey("once", 2))
    held, go = [], threading.Event()

    def hold(request):  # the portal answers when all starts have had their answers
        held.append(request)
        assert go.wait(60)

    world.portal.watchers.append(hold)
    answer = world.post("/api/scrape-itinerary", itrvlUrl=url_of("once"))
    job = world.job(answer["jobId"])
    assert job["status"] in ("pending", "processing")
    assert re.fullmatch(r"job-\d+-\d{13}", job["executionName"])
    for url in (url_of("once"), url_of("once", access="another-key")):
        refused = world.post("/api/scrape-itinerary", status=409, itrvlUrl=url)
        assert refused["existingJobId"] == job["id"] and refused["existingJobProgress"] == 0
    assert len(world.payload.documents("itinerary-jobs", itineraryId="once")) == 1
    go.set()
    assert world.wait(job["id"]).job["status"] == "completed"
    go.clear()
    # Ten at the same moment: one job.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(10) as pool:
        codes = list(
            pool.map(
                lambda _: world.http.post("/api/scrape-itinerary", json={"itrvlUrl": url_of("once")}).status_code,
                range(10),
            )
        )
    assert sorted(codes) == [200, *[409] * 9]
    go.set()
    world.portal.watchers.remove(hold)
    assert held
    world.wait(world.payload.documents("itinerary-jobs", itineraryId="once")[-1]["id"])


def test_03_no_machine(world):
    from scraper.executions import Executions
    from scraper.service import Problem, Service

    def service(arn):
        settings = world.settings.__class__.from_environment({**world.environment(), "STEP_FUNCTION_ARN": arn})
        return Service(world.cms, Executions(settings), settings, world.ports.table("starts"))

    before = len(world.payload.documents("itinerary-jobs"))
    with pytest.raises(Problem) as refused:
        service(" \n").start(url_of("nothing"))
    assert refused.value.status == 500
    assert len(world.payload.documents("itinerary-jobs")) == before
    missing = world.machines["import"].arn.replace("scraper-pipeline", "not-there")
    with pytest.raises(Problem) as failed:
        service(missing).start(url_of("nothing"))
    assert failed.value.status == 500
    job = world.payload.documents("itinerary-jobs")[-1]
    assert (job["status"], job["errorPhase"], job["executionName"]) == ("failed", "initialization", None)


def test_auth(world):
    import httpx

    with httpx.Client(base_url=world.url) as nobody:
        assert nobody.get("/api/scraper-health").status_code == 401
        assert (
            nobody.post("/api/scrape-itinerary", json={}, headers={"authorization": "Bearer wrong"}).status_code == 401
        )
        assert nobody.get("/api/scraper-health", headers={"authorization": f"users API-Key {KEY}"}).status_code == 200
        assert nobody.get("/api/job-status/1", headers={"authorization": f"users API-Key {KEY}"}).status_code == 401
        assert nobody.get("/api/notifications", headers={"cookie": f"payload-token={SESSION}"}).status_code == 200
        assert nobody.get("/api/notifications", headers={"cookie": "payload-token=guess"}).status_code == 401
    assert world.http.post("/api/job-control/1", content=b"[").status_code == 400
    assert world.get("/api/job-status/9999", status=404)["success"] is False


def test_11_duplicates_are_used_by_both(world):
    one, two = journey("dup1", 4), journey("dup2", 0)
    shared = [f"dup1/{name}" for name in sorted(key.split("/")[1] for key in one.photos)]
    two.content["itineraries"][0]["segments"][0]["images"] = shared
    first = world.import_(one)
    second = world.import_(two)
    ids = [first.itinerary["id"], second.itinerary["id"]]
    used = [media["usedInItineraries"] for media in world.photos() if media["sourceS3Key"] in shared]
    assert used == [ids] * 4
    three = journey("dup3", 0)
    three.content["itineraries"][0]["segments"][0]["images"] = shared[:1]
    world.payload.fail("PATCH", r"^/api/media/\d+$", times=3, when=lambda request: "usedInItineraries" in request.json)
    third = world.import_(three)
    assert [row["status"] for row in world.rows(third.job_id)] == ["skipped"] and third.job["status"] == "completed"


def test_12_labels_by_the_jobs_rows(world):
    one = journey("lab1", 3)
    world.import_(one)
    key = sorted(one.photos)[0]
    (media,) = world.payload.documents("media", sourceS3Key=key)
    world.payload.change("media", media["id"], labelingStatus="pending", usedInItineraries=[], scene=None)
    two = journey("lab2", 0)
    two.content["itineraries"][0]["segments"][0]["images"] = [key]
    world.payload.fail("PATCH", r"^/api/media/\d+$", times=3, when=lambda request: "usedInItineraries" in request.json)
    world.import_(two)
    after = world.payload.document("media", media["id"])
    assert after["usedInItineraries"] == [] and after["labelingStatus"] == "complete" and after["scene"]


def test_13_store_first_then_cdn(world):
    run = world.import_(journey("src1", 3))
    assert run.job["imagesLabeled"] == 3
    assert world.cdn.seen() == [], "the CDN is not asked while the store has the photo"
    # The store loses two originals; the CDN still has one of them, the other is gone there too.
    from scraper.labelling import label_batch

    photos = [media for media in world.photos() if media["sourceS3Key"].startswith("src1/")]
    kept = world.bucket.get(photos[0]["originalS3Key"])
    world.cdn._objects = lambda key: kept if key == photos[0]["originalS3Key"] else world.bucket.get(key)
    for media in photos[:2]:
        world.bucket.delete(media["originalS3Key"])
        world.payload.change("media", media["id"], labelingStatus="pending")
    world.cms.update("itinerary-jobs", run.job_id, {"labelingStartedAt": None})
    event = {"jobId": run.job_id, "itineraryId": run.itinerary["id"]}
    result = label_batch(world.cms, world.settings, event)
    assert (result["labeled"], result["failed"], result["remaining"]) == (1, 1, 0)
    assert len(world.cdn.seen("GET")) == 2
    first, second = (world.payload.document("media", media["id"]) for media in photos[:2])
    assert first["labelingStatus"] == "complete"
    assert second["labelingStatus"] == "failed" and "no source" in second["processingError"]


def test_13_cdn_down_is_no_matter(world):
    world.cdn.fail(status=402, times=1000)
    run = world.import_(journey("src2", 4))
    assert run.job["imagesLabeled"] == 4 and run.job["status"] == "completed"
    gone = journey("src3", 2)
    world.portal.add(gone)
    world.payload.watchers.append(lose := _loser(world, "src3"))
    try:
        run = world.run(url_of("src3"))
    finally:
        world.payload.watchers.remove(lose)
    assert run.job["status"] == "completed" and run.job["imagesLabeled"] == 0
    assert [media["labelingStatus"] for media in world.photos() if media["sourceS3Key"].startswith("src3/")] == [
        "failed"
    ] * 2


def _loser(world, prefix):
    """Loses the originals of an itinerary when labelling begins."""

    def lose(request):
        if b"labelingStartedAt" in request.body and request.method == "PATCH" and b"imagesToLabel" in request.body:
            for key in [key for key in world.objects() if f"/{prefix}_" in key and "originals" in key]:
                world.bucket.delete(key)

    return lose


def test_14_chunks_and_20_batches(world):
    progress = []

    def watch(request):
        if request.method == "PATCH" and "/itinerary-jobs/" in request.path:
            progress.append(request.json.get("progress"))
        elif request.method == "PATCH" and request.path == "/api/itinerary-jobs":
            progress.append(("last", request.json.get("progress")))

    world.payload.watchers.append(watch)
    world.model.peak, seen = 0, len(world.model.images)
    world.model.latency = 0.02
    try:
        run = world.import_(journey("chunks", 45))
    finally:
        world.payload.watchers.remove(watch)
        world.model.latency = 0.0
    chunks = run.results("ProcessImageChunk")
    assert [chunk["processed"] for chunk in chunks] == [20, 20, 5]
    assert [chunk["remaining"] for chunk in chunks] == [25, 5, 0]
    numbers = [value for value in progress if isinstance(value, int)]
    assert max(numbers) == 99 and numbers == sorted(numbers)
    assert ("last", 100) in progress and run.job["progress"] == 100
    assert run.states.count("ImageProcessingWait") == 2
    # 20: labels
    batches = run.results("LabelBatch")
    assert [batch["labeled"] for batch in batches] == [10, 10, 10, 10, 5]
    assert [batch["remaining"] for batch in batches] == [35, 25, 15, 5, 0]
    assert world.model.peak == 3
    assert len(world.model.images) - seen == 45
    assert (run.job["imagesToLabel"], run.job["imagesLabeled"]) == (45, 45)
    starts = [request for request in world.payload.seen("PATCH", "/itinerary-jobs/") if "imagesToLabel" in request.json]
    assert [request.json["imagesToLabel"] for request in starts if request.path.endswith(f"/{run.job_id}")] == [
        None,
        45,
    ]


def test_15_a_missing_photo(world):
    trip = journey("miss", 3)
    del trip.photos[sorted(trip.photos)[1]]
    run = world.import_(trip)
    assert run.job["status"] == "completed" and run.job["failedImages"] == 1
    (row,) = [row for row in world.rows(run.job_id) if row["status"] == "failed"]
    assert "404" in row["error"]
    assert {"error"} == {blocker["severity"] for blocker in run.itinerary["publishBlockers"]}
    assert run.output["finalResult"]["status"] == "needs_attention"
    assert run.itinerary["publishChecklist"]["noFailedImages"] is False
    status = world.get(f"/api/job-status/{run.job_id}")
    assert status["failedItems"] == [{"sourceS3Key": row["sourceS3Key"], "error": row["error"]}]
    assert any("1 failed" in text for text in world.said(run.job_id, "warning"))


def test_16_races_and_phantoms(world):
    trip = journey("race", 1)
    (key,) = trip.photos
    world.portal.add(trip)
    made = []

    def faster(request):  # between the look-up and the upload somebody else creates the media
        if request.method == "POST" and request.path == "/api/media" and not made:
            made.append(None)
            made[0] = world.payload.add("media", sourceS3Key=key, filename="theirs.jpg", labelingStatus="complete")

    world.payload.watchers.append(faster)
    try:
        run = world.run(url_of("race"))
    finally:
        world.payload.watchers.remove(faster)
    (row,) = world.rows(run.job_id)
    assert (row["status"], row["mediaId"]) == ("skipped", str(made[0]))
    assert world.payload.document("media", made[0])["usedInItineraries"] == [run.itinerary["id"]]
    world.payload.phantoms = 1
    run = world.import_(journey("phantom", 2))
    assert sorted(row["status"] for row in world.rows(run.job_id)) == ["complete", "failed"]
    assert run.job["status"] == "completed" and len(run.itinerary["images"]) == 1


def test_19_illegal_labels_count_as_failed(world):
    for change in ({"timeOfDay": "teatime"}, {"mood": ["wild", "grumpy"]}):
        world.model.script(change)
    run = world.import_(journey("ill", 3))
    states = [media["labelingStatus"] for media in world.photos() if media["sourceS3Key"].startswith("ill/")]
    assert sorted(states) == ["complete", "complete", "failed"]
    assert run.results("LabelBatch")[0]["failed"] == 1
    assert (run.job["imagesToLabel"], run.job["imagesLabeled"]) == (3, 2)
    (failed,) = world.payload.documents("media", labelingStatus="failed", usedInItineraries=[run.itinerary["id"]])
    assert "timeOfDay" in failed["processingError"]
    moods = [media["mood"] for media in world.photos() if media["sourceS3Key"].startswith("ill/") and media["mood"]]
    assert ["wild"] in moods
    assert relabel(world.cms, run.itinerary["id"]) == 1
    assert world.payload.document("media", failed["id"])["labelingStatus"] == "pending"
    again = world.run(url_of("ill"))
    assert (
        again.job["imagesLabeled"] == 1
        and world.payload.document("media", failed["id"])["labelingStatus"] == "complete"
    )


def test_25_films_never_stop_an_import(world):
    trip = journey("film", 1)
    trip.film = True
    world.portal.fail("GET", r"/hls/film", status=404, times=100)
    run = world.import_(trip)
    assert run.job["status"] == "completed" and "ffmpeg" in run.job["videoProcessingError"]
    (row,) = world.rows(run.job_id, "video")
    assert row["status"] == "failed" and run.itinerary["heroVideo"] is None


def test_26_two_failures_then_success(world):
    # The third request of the chunk for the job's rows fails for good, twice: three requests of the client each.
    def phase(id):
        return world.payload.documents("itinerary-jobs", itineraryId=id)[-1]["currentPhase"]

    world.portal.add(journey("twice", 3))
    world.payload.fail(
        "GET", r"^/api/image-statuses$", times=6,
        when=lambda request: phase("twice") == "Phase 2: Processing Images",
    )  # fmt: skip
    run = world.run(url_of("twice"))
    assert [error for _, error in run.failures()] == ["CmsError", "CmsError"]
    assert run.pauses() == [5.0, 10.0]
    assert run.status == "SUCCEEDED" and run.job["status"] == "completed"
    assert (run.job["processedImages"], run.job["failedImages"]) == (3, 0)
    assert (run.job["errorMessage"], run.job["errorPhase"], run.job["failedAt"]) == (None, None, None)


def test_27_timeout_of_labels(world_of):
    with world_of(clock=SystemClock(), states={"LabelBatch": {"TimeoutSeconds": 2}}) as world:
        world.model.latency = 60.0
        world.portal.add(journey("slow", 2))
        run = world.run(url_of("slow"))
        assert run.failures() == [("LambdaFunctionTimedOut", "States.Timeout")], "not retried"
        assert run.job["status"] == "failed" and "LabelBatch" in run.job["errorMessage"]
        assert run.states[-2:] == ["MarkJobFailed", "PipelineFailed"]
        assert len(world.said(run.job_id, "error")) == 1
        assert {media["labelingStatus"] for media in world.photos()} == {"pending"}
        again = world.start(url_of("slow"))
        assert again != run.job_id
        assert world.post(f"/api/job-control/{again}", action="cancel")["success"]
        world.wait(again)


def test_28_killed_execution(world_of):
    with world_of(clock=SystemClock(), STUCK_AFTER_MINUTES="0.005") as world:
        world.model.latency = 20.0
        job = _labelling(world, "killed", 3)
        world.engine.execution(world.executions.arn(world.job(job)["executionName"])).stop()
        world.payload.change("image-statuses", world.rows(job)[0]["id"], status="processing")
        until(lambda: world.get("/api/scraper-health")["stuckJobs"])
        health = world.get("/api/scraper-health")
        assert health["status"] == "degraded" and [stuck["jobId"] for stuck in health["stuckJobs"]] == [job]
        from scraper.reconciling import reconcile

        assert reconcile(world.cms, world.executions, world.settings, dry_run=True)[0]["jobId"] == job
        assert world.job(job)["status"] == "processing"
        assert [found["jobId"] for found in reconcile(world.cms, world.executions, world.settings)] == [job]
        after = world.job(job)
        assert after["status"] == "failed" and after["errorMessage"].startswith("Force-failed:")
        assert after["executionName"] is None and after["errorPhase"] == "Phase 3: Labeling Images"
        assert "processing" not in {row["status"] for row in world.rows(job)}
        assert "processing" not in {media["labelingStatus"] for media in world.photos()}
        before = (world.job(job), world.payload.documents("notifications"))
        assert reconcile(world.cms, world.executions, world.settings) == []
        assert (world.job(job), world.payload.documents("notifications")) == before
        # A job that is stuck does not refuse the next start: it is reconciled on the way.
        job = _labelling(world, "killed", 3)
        world.engine.execution(world.executions.arn(world.job(job)["executionName"])).stop()
        until(lambda: world.get("/api/scraper-health")["stuckJobs"])
        world.model.latency = 0.0
        assert world.run(url_of("killed")).job["status"] == "completed"
        assert world.job(job)["status"] == "failed"


def _labelling(world, id, count):
    """A job whose first labels are being made."""
    world.portal.add(journey(id, count))
    seen = len(world.model.requests)
    job = world.start(url_of(id))
    until(lambda: len(world.model.requests) >= seen + min(3, count))
    return job


def test_29_cancel(world_of):
    with world_of(clock=SystemClock()) as world:
        world.model.latency = 20.0
        job = _labelling(world, "stop", 4)
        assert world.post(f"/api/job-control/{job}", action="cancel")["success"]
        run = world.wait(job)
        assert run.status == "ABORTED"
        assert (run.job["status"], run.job["errorMessage"]) == ("failed", "Cancelled by user")
        assert run.job["errorPhase"] == "Phase 3: Labeling Images" and run.job["cancelRequestedAt"]
        assert len(world.said(job, "warning")) == 1
        assert "processing" not in {media["labelingStatus"] for media in world.photos()}
        world.post(f"/api/job-control/{job}", status=400, action="cancel")
        from scraper.errors import JobCancelled
        from scraper.finalizing import finalize

        event = {"jobId": job, "itineraryId": run.job["processedItinerary"], "executionName": run.job["executionName"]}
        with pytest.raises(JobCancelled):
            finalize(world.cms, world.settings, event)
        assert world.job(job)["status"] == "failed"
        assert "acc/" not in str(world.said(job, "warning")), "the access key is in no message"


def test_29_zombies_of_other_executions_stop(world):
    from scraper.errors import JobSuperseded
    from scraper.photos import process_chunk

    run = world.import_(journey("zombie", 1))
    before = world.job(run.job_id)
    with pytest.raises(JobSuperseded):
        process_chunk(world.cms, world.settings, {"jobId": run.job_id, "itineraryId": 1, "executionName": "job-0-1"})
    assert world.job(run.job_id) == before


def test_30_retry_failed(world):
    trip = journey("again", 5)
    lost = {key: trip.photos.pop(key) for key in sorted(trip.photos)[:2]}
    run = world.import_(trip)
    assert run.job["failedImages"] == 2 and run.itinerary["publishChecklist"]["allImagesProcessed"] is False
    world.portal.photos.update(lost)
    pages = len(world.portal.seen("GET", "/client/portal/"))
    answer = world.post(f"/api/job-control/{run.job_id}", action="retry-failed")
    assert answer["retryCount"] == 2
    again = world.wait(run.job_id)
    assert re.fullmatch(r"job-\d+-retry-failed-\d{13}", again.job["executionName"])
    assert "Orchestrate" not in again.states and "Finalize" in again.states
    assert len(world.portal.seen("GET", "/client/portal/")) == pages, "the scraper is not called"
    assert (again.job["processedImages"], again.job["failedImages"], again.job["status"]) == (5, 0, "completed")
    assert again.itinerary["publishChecklist"]["noFailedImages"] and again.itinerary["publishBlockers"] == []
    assert (again.job["imagesToLabel"], again.job["imagesLabeled"]) == (2, 2)
    world.post(f"/api/job-control/{run.job_id}", status=400, action="retry-failed")


def test_resolve_image_by_hand(world):
    from travelsim import photo

    trip = journey("hand", 4)
    lost = sorted(trip.photos)[:3]
    for key in lost:
        del trip.photos[key]
    run = world.import_(trip)
    other = world.photos()[0]["id"]
    body = {"jobId": run.job_id, "sourceS3Key": lost[0]}
    world.post("/api/resolve-image", status=404, **body, action="replace", mediaId=99999)
    assert world.post("/api/resolve-image", **body, action="replace", mediaId=other)["failedImages"] == 2
    assert (
        world.post("/api/resolve-image", jobId=run.job_id, sourceS3Key=lost[1], action="skip")["allResolved"] is False
    )
    answer = world.http.post(
        "/api/resolve-image",
        data={"jobId": str(run.job_id), "sourceS3Key": lost[2]},
        files={"file": ("../my photo.jpg", photo(5, 60, 40), "image/jpeg")},
    ).json()
    assert answer["allResolved"] is True and answer["processedImages"] == 3
    media = world.payload.document("media", answer["mediaId"])
    assert re.fullmatch(r"media/resolved/\d{13}-my_photo.jpg", media["originalS3Key"])
    assert world.bucket.get(media["originalS3Key"]) == photo(5, 60, 40)
    world.post("/api/resolve-image", status=404, jobId=run.job_id, sourceS3Key="nope", action="skip")
    world.post("/api/resolve-image", status=400, **body, action="burn")


def test_no_progress_ends_the_loop(world_of):
    with world_of() as world:
        world.portal.add(journey("loop", 2))
        world.payload.ignored_updates.add("image-statuses")
        run = world.run(url_of("loop"))
        assert [error for _, error in run.failures()] == ["NoProgress"]
        assert run.job["status"] == "failed"


def test_34_audit(world_of):
    with world_of() as world:
        for number in range(2):
            world.import_(journey(f"audit{number}", 2))
        assert auditing.audit(world.cms) == []
        command = _command(world, "audit")
        assert command.returncode == 0, command.stderr
        media = world.photos()[0]
        world.payload.change("media", media["id"], labelingStatus="pending")
        itinerary = world.payload.documents("itineraries")[1]
        for day in itinerary["days"]:
            for block in day["segments"]:
                block.pop("property", None)
        world.payload.change("itineraries", itinerary["id"], days=itinerary["days"])
        world.payload.add("itinerary-jobs", itrvlUrl="https://itrvl.com/client/portal/a/b", status="pending")
        command = _command(world, "audit")
        assert command.returncode == 1
        assert (
            "no label yet" in command.stdout and "has no property" in command.stdout and "is pending" in command.stdout
        )


def _command(world, *words):
    import os
    import subprocess
    import sys

    from . import PROJECT

    return subprocess.run(
        [sys.executable, "-m", "scraper", *words],
        cwd=PROJECT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_notifications(world):
    found = world.get("/api/notifications", unread="true", limit=3)
    assert len(found["notifications"]) == 3 and found["unreadCount"] == found["pagination"]["total"] > 3
    ids = [entry["id"] for entry in found["notifications"]]
    marked = world.post("/api/notifications", action="read", notificationIds=ids)
    assert marked["updated"] == 3 and marked["unreadCount"] == found["unreadCount"] - 3
    assert world.post("/api/notifications", action="delete", markAll=True)["deleted"] == 3
    assert world.post("/api/notifications", action="read", markAll=True)["unreadCount"] == 0


def test_film_of_another_itinerary_is_not_taken(world):
    from scraper.films import process_film

    world.portal.add(fx1())
    own = world.run(FX1_URL)
    (film,) = world.payload.documents("media", mediaType="video", sourceItinerary=str(own.itinerary["id"]))
    other = world.import_(journey("nofilm", 1))
    row = world.payload.add("image-statuses", job=other.job_id, sourceS3Key=film["sourceS3Key"], mediaType="video")
    event = {
        "jobId": other.job_id, "itineraryId": other.itinerary["id"], "hlsUrl": film["sourceS3Key"], "statusId": row, "videoContext": "hero",
    }  # fmt: skip
    assert process_film(world.cms, world.settings, event)["reason"] == "cross-itinerary"
    assert world.payload.document("itineraries", other.itinerary["id"])["heroVideo"] is None
    event["hlsUrl"] = "http://127.0.0.1:1/film.m3u8"
    refused = process_film(world.cms, world.settings, event)
    assert refused["success"] is False and "is not on" in refused["error"]


def test_of_a_large_film_the_cms_keeps_the_beginning(world, tmp_path, monkeypatch):
    import av

    from scraper import films

    film = tmp_path / "film.mp4"
    films.convert(f"{world.portal.url}/hls/film.m3u8", film)
    monkeypatch.setattr(films, "MAX_UPLOAD", film.stat().st_size - 10_000)
    run = world.import_(journey("large-film", 1))
    made = films._create_media(
        world.cms, world.settings, film, "media/originals/1/videos/x.mp4", "u", "hero", run.itinerary["id"]
    )
    stored = world.bucket.get(f"media/{made['filename']}")
    assert len(stored) <= films.MAX_UPLOAD and made["url"].endswith("/media/originals/1/videos/x.mp4")
    with av.open(io.BytesIO(stored)) as begun:
        assert 0 < sum(1 for _ in begun.decode(video=0)) < 24
