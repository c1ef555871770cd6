"""Statements 2 to 5, 32 to 34: the quota, the counter, and the loop around them."""

import json

import pytest
from mangaworld import Answer, manga

from mangavideo import counters, settings, times


def test_02_quota_reached(world):
    world.counters.put({"date": times.business_date(), "count": 1, "job_ids": ["earlier"]})
    run = world.run()
    assert run.last == "QuotaReached"
    assert [
        json.loads(e["taskScheduledEventDetails"]["parameters"])["FunctionName"].split(":")[-1]
        for e in run.history
        if e["type"] == "TaskScheduled"
    ] == ["manga-pipeline-check-quota"]
    assert not world.catalogue.requests


def test_03_business_date(world):
    world.variable(MANGAVIDEO_NOW="2026-02-07T17:30:00+00:00")
    assert world.call("check-quota", job_id=None)["date"] == "2026-02-08"
    assert world.call("increment-counter", job_id="j", failures=0)["date"] == "2026-02-08"
    assert world.counters.get("2026-02-08")["job_ids"] == ["j"]
    world.variable(MANGAVIDEO_NOW="2026-02-07T16:59:59+00:00")
    assert times.business_date() == "2026-02-07"
    assert times.iso(times.next_quota_day()) == "2026-02-08T08:00:00.000Z", "midnight US Pacific in winter"


@pytest.mark.parametrize(("wanted", "allowed", "effective"), [(3, 10, 3), (10, 5, 5), (None, 10, 1)])
def test_04_effective_quota(world, wanted, allowed, effective):
    world.settings.put({"setting_key": "pipeline_settings", **({} if wanted is None else {"daily_quota": wanted})})
    world.variable(DAILY_QUOTA=allowed)
    assert world.call("check-quota", job_id=None)["daily_quota"] == effective


def test_05_counting_is_idempotent(world):
    counters.increment(world.counters, "another")
    answers = [world.call("increment-counter", job_id="j", failures=1) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["daily_count"] == 2
    assert answers[0]["failures"] == 1
    assert world.counters.get(times.business_date())["job_ids"] == ["another", "j"]


def test_other_running_executions_count(make):
    """F7: what another execution is about to finish is part of the day."""
    world = make([])
    world.catalogue.fail("/manga", Answer(200, {"result": "ok", "data": []}), times=3, delay=0.3)
    other = world.start(name="other")
    answer = world.call("check-quota", correlation_id="mine", job_id=None)
    assert (answer["daily_count"], answer["quota_reached"]) == (1, True)
    assert world.ended(other).last == "NoMangaAvailable"


def test_32_cleanup_failure(make):
    def broken(event, context):
        raise OSError("the disk is gone")

    world = make([manga(1, "First Light", 1, 1)], functions={"cleanup": broken})
    run = world.run({"single_video_mode": True})
    assert run.last == "Done"
    assert run.visited.count("Cleanup") == 1
    assert [name for name, _ in run.failures()] == ["OSError"] * 4, "tried again three times"
    assert [wait for _, wait in run.failures()][:3] == [30.0, 60.0, 120.0]
    assert run.inputs("CheckMoreVideos")[0]["counterResult"]["daily_count"] == 1
    assert world.job(f"{run.name}-0")["status"] == "completed"


def test_33_three_failures_end_the_run(make):
    world = make([manga(1, "First Light", 1, 1)])
    world.set(daily_quota=5)
    world.catalogue.fail("/manga", Answer(500), times=10_000)
    run = world.run()
    assert run.last == "Done"
    handled = run.inputs("HandleError")
    assert [(entry["failure"]["state"], entry["job_id"]) for entry in handled] == [
        ("FetchManga", f"{run.name}-{number}") for number in range(3)
    ]
    assert all(entry["error"]["Error"] == "FetchError" for entry in handled)
    assert [entry["counterResult"]["failures"] for entry in run.inputs("CheckMoreVideos")] == [1, 2, 3]
    assert [name for name, _ in run.failures()] == ["FetchError"] * 9, "each tried three times"
    notices = list(world.ports.topic("errors").notices())
    assert [notice.subject for notice in notices] == ["Manga pipeline: job failed"] * 3
    assert json.loads(notices[0].body)["state"] == "FetchManga"


def test_34_single_video(make):
    world = make([manga(n, f"Title {n}", 1, 1) for n in (1, 2)])
    world.set(daily_quota=5)
    run = world.run({"single_video_mode": True})
    assert run.last == "Done"
    assert len(list(world.jobs.scan())) == len(world.uploaded()) == 1
    assert run.inputs("CheckMoreVideos")[0]["run"]["single_video_mode"] is True, "F6: it survived every state"
    assert run.sizes() < 10_000


def test_every_missing_variable_is_named(world, monkeypatch):
    """F3."""
    monkeypatch.delenv("DYNAMODB_MANGA_TABLE")
    monkeypatch.delenv("S3_BUCKET")
    with pytest.raises(Exception, match="S3_BUCKET, DYNAMODB_MANGA_TABLE") as caught:
        world.call("fetcher", job_id="j")
    assert type(caught.value).__name__ == "ConfigError"


def test_settings_are_checked():
    with pytest.raises(
        ValueError, match=r"daily_quota must be 1 to 10; voice_id must be one of .*; unknown settings: x"
    ):
        settings.PipelineSettings.checked({"daily_quota": 11, "voice_id": "en", "x": 1})
