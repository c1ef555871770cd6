"""Statements 1, 35 and 36: a whole day, a job that is tried again, and what the logs say of it."""

import json

import pytest
from mangaworld import manga

from .world import World


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """Quota 2, two titles."""
    with World(
        tmp_path_factory.mktemp("day") / "data", [manga(1, "First Light", 1, 2), manga(2, "Second Wind", 2, 1)]
    ) as world:
        world.set(daily_quota=2)
        world.ports.secret("manga-pipeline/youtube-oauth").write(world.host.secret(project_id="kept"))
        run = world.run(name="schedule-manga-pipeline-20261122T170000Z")
        yield world, run


def test_01_a_day(day):
    world, run = day
    assert (run.status, run.last) == ("SUCCEEDED", "Done")
    assert len(world.uploaded()) == 2 and all(len(video) > 10_000 for video in world.uploaded())
    (counter,) = world.counters.scan()
    assert counter["count"] == 2
    assert counter["job_ids"] == [f"{run.name}-0", f"{run.name}-1"]
    assert [row["status"] for row in world.titles.scan()] == ["completed"] * 2
    rows = {row["job_id"]: row for row in world.jobs.scan()}
    assert {row["status"] for row in rows.values()} == {"completed"}
    assert {row["youtube_url"] for row in rows.values()} == {f"https://youtube.com/watch?v=vid{n}" for n in (1, 2)}
    titles = [session.body["snippet"]["title"] for session in world.host.videos.values()]
    assert titles == ["Review Manga First Light | Tóm Tắt Đầy Đủ", "Review Manga Second Wind | Tóm Tắt Đầy Đủ"]
    assert not list(world.bucket.list("jobs/")), "cleaned up"
    assert run.sizes() < 10_000
    assert run.visited.count("CheckQuota") == 2
    assert world.ports.secret("manga-pipeline/youtube-oauth").read().json()["project_id"] == "kept"


def test_every_machine_is_gone(day):
    """Statement 21, success: and each had a token of its own."""
    world, _ = day
    for role in ("renderer", "uploader"):
        for machine, _ in world.machines(role):
            world.ports.worker(role).wait(machine)
        states = world.machines(role)
        assert [state["exit_code"] for _, state in states] == [0, 0]
        assert not world.ports.worker(role).find()


def test_36_logs(day):
    world, run = day
    lines = [{**record.fields, "correlation_id": record.correlation_id} for record in world.logs() if record.fields]
    lines += world.worker_lines()
    assert len(lines) > 15
    assert {line["correlation_id"] for line in lines} == {run.name}
    kept = world.ports.secret("manga-pipeline/youtube-oauth").read().json()
    tokens = [payload["task_token"] for role in ("renderer", "uploader") for payload in run.payloads(f"start-{role}")]
    assert len(set(tokens)) == 4
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    for path in (world.data / "machines").glob("*/*/output.log"):
        text += path.read_text()
    text += "\n".join(record.message for record in world.logs())
    for secret in (*tokens, world.model.key, kept["access_token"], kept["refresh_token"], kept["client_secret"]):
        assert secret and secret not in text
    keys = {line["s3_key"] for line in lines if "s3_key" in line}
    assert {f"jobs/{run.name}-0/panel_manifest.json", f"jobs/{run.name}-1/video.mp4"} <= keys, "F23"
    stages = {line.get("stage") for line in lines}
    assert {"fetch", "script", "renderer", "uploader", "cleanup"} <= stages


def test_35_a_job_tried_again(make):
    world = make([manga(1, "First Light", 1, 1)])
    for function, more in (
        ("fetcher", {}),
        ("scriptgen", {"continuation_token": None}),
        ("ttsgen", {"continuation_token": None}),
    ):
        world.call(function, job_id="old-0", **more)
    world.jobs.mutate("old-0", lambda row: {**row, "status": "failed", "failed_state": "WaitForRender"})
    asked = len(world.catalogue.requests), len(world.model.requests), world.speech.connections
    world.counters.put({"date": "2000-01-01", "count": 1, "job_ids": ["x"]})
    run = world.run({"job_id": "old-0", "single_video_mode": True}, name="retry-old-0-1")
    assert run.visited[:6] == ["Init", "CheckQuota", "QuotaChoice", "AssignJob", "WaitForRender", "ReviewChoice"]
    assert run.last == "Done"
    assert (len(world.catalogue.requests), len(world.model.requests), world.speech.connections) == asked
    assert world.job("old-0")["status"] == "completed"
    assert world.counters.get(world.call("check-quota", job_id=None)["date"])["job_ids"] == ["old-0"]


@pytest.mark.parametrize(
    ("done", "stage"), [((), "FetchManga"), (("fetcher",), "GenerateScript"), (("fetcher", "scriptgen"), "GenerateTTS")]
)
def test_where_a_retried_job_goes_on(make, done, stage):
    """Section 4.6; and the title stays the job's own (F10)."""
    world = make([manga(1, "First Light", 1, 1), manga(2, "Second Wind", 1, 1)])
    for function in done:
        world.call(function, job_id="old-0", continuation_token=None)
    assert world.call("check-quota", job_id="old-0")["resume_stage"] == stage
    if stage == "GenerateTTS":
        world.host.units = 0
        run = world.run({"job_id": "old-0", "single_video_mode": True})
        assert run.visited[4:7] == ["ResumeTTS", "GenerateTTS", "CheckTTSContinuation"]
    if stage == "FetchManga":
        from mangavideo.jobs import Jobs

        Jobs(world.jobs).open("old-0", "m-2", "Second Wind", "e")
        assert world.call("fetcher", job_id="old-0")["manga_id"] == "m-2"
