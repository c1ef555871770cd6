"""Acceptance statements on whole runs: states, pages, retries, failures that cost others nothing."""

import pytest
from mediacloud import BytesContent, Media

from stepwell.tasks.requests import TaskError


def media(number, *, size=1000, name=None, **options):
    return Media(f"m{number}", name or f"GH{number:06}.MP4", BytesContent(bytes([number % 256]) * size), **options)


def listed_pages(cloud):
    """The pages that were listed; a probe of the session names none."""
    return [int(request.query["page"]) for request in cloud.requests("search") if "page" in request.query]


async def test_01_states_of_a_run_of_one_page(cloud, sync):
    cloud.add(media(1), media(2))
    run = await sync().run({})
    assert run.status == "SUCCEEDED"
    assert run.visited == [
        "GenerateCorrelationId", "ValidateTokens", "CheckTokenValidity", "ListMedia", "CheckNewVideos", "DownloadVideos",
        "TallyPage", "CheckMorePages", "GenerateSummary", "CheckForFailures", "SyncComplete",
    ]  # fmt: skip
    assert len(run.results("DownloadVideo")) == 2


async def test_02_the_correlation_id_is_everywhere(cloud, sync):
    cloud.add(media(1), media(2), media(3, listing={"file_size": None}))
    cloud.fail("cdn", media_id="m2", truncate_after=10)
    world = sync(COOKIE_MAX_AGE_DAYS=1)
    run = await world.run(name="sched-20251202-7f3c")
    assert run.output["context"]["correlation_id"] == run.name == "sched-20251202-7f3c"
    records = world.logs()
    assert {record.function for record in records} == {"token-validator", "media-lister", "video-downloader"}
    assert len(records) > 6
    assert {record.correlation_id for record in records} == {run.name}
    subjects = [subject for subject, _ in world.notices()]
    assert subjects == ["GoPro Sync: Cookies Are Ageing", "GoPro Sync Partial Failure"]
    assert {body["correlation_id"] for _, body in world.notices()} == {run.name}
    (probe,) = [request for request in cloud.requests("search") if "page" not in request.query]
    assert probe.headers["x-correlation-id"] == run.name
    assert not [request for request in cloud.requests("cdn") if "x-correlation-id" in request.headers]


async def test_03_every_page_is_listed_once(cloud, sync):
    cloud.add(*(media(number) for number in range(6)))
    world = sync(PAGE_SIZE=2)
    for number in range(4):
        world.tracker.put({"media_id": f"m{number}", "status": "COMPLETED", "s3_key": f"k{number}"})
    run = await world.run()
    assert run.output["media"]["pagination"]["total_pages"] == 3
    assert run.entered().count("ListMedia") == 3
    assert listed_pages(cloud) == [1, 2, 3]
    assert run.summary["total_synced"] == 2 and run.visited[-1] == "SyncComplete"

    again = await world.run()
    assert listed_pages(cloud) == [1, 2, 3] * 2
    assert again.visited[-1] == "NoNewVideos"


async def test_04_nothing_new(cloud, sync):
    cloud.add(*(media(number) for number in range(4)))
    world = sync(PAGE_SIZE=2)
    for number in range(4):
        world.tracker.put({"media_id": f"m{number}", "status": "COMPLETED", "s3_key": f"k{number}"})
    run = await world.run()
    assert (run.status, run.visited[-1]) == ("SUCCEEDED", "NoNewVideos")
    assert "DownloadVideo" not in run.entered()
    assert not [record for record in world.logs() if record.function == "video-downloader"]
    assert not cloud.requests("download") and not cloud.requests("cdn")
    assert run.summary["completion_reason"] == "No new videos found"
    assert (run.summary["total_found"], run.summary["already_synced"]) == (4, 4)


class LambdaDown:
    """Puts itself before the engine's tasks: the Lambda service fails whenever this function is called."""

    def __init__(self, function):
        self.function = function

    def attach(self, engine):
        dispatch = engine._host.outside
        self.inner, dispatch.runner = dispatch.runner, self

    async def run(self, task, submitted):
        if self.function.encode() in task.arguments:
            raise TaskError("Lambda.ServiceException", "Service is down (Service: Lambda, Status Code: 500)")
        return await self.inner.run(task, submitted)


async def test_09_the_lambda_service_fails(cloud, sync):
    world = sync()
    run = await world.run(runner=LambdaDown("token-validator"))
    assert run.errors("ValidateTokens") == ["Lambda.ServiceException"] * 4
    assert run.waits("ValidateTokens") == [2, 4, 8]
    assert run.visited[-2:] == ["NotifyCriticalFailure", "SyncFailed"]
    assert (run.status, run.error) == ("FAILED", "SyncExecutionFailed")
    ((subject, body),) = world.notices()
    assert subject == "GoPro Sync Critical Failure"
    assert body["error_cause"] == "Service is down (Service: Lambda, Status Code: 500)"
    assert body["error_details"] == "Lambda.ServiceException"
    assert set(body) == {"execution_id", "correlation_id", "error_cause", "error_details", "message"}


async def test_15_the_listing_is_rate_limited(cloud, sync):
    cloud.add(media(1))
    cloud.fail("search", page=1, status=429, headers={"Retry-After": "5"}, times=4)
    run = await sync().run()
    assert run.errors("ListMedia") == ["RateLimitError"] * 4
    assert run.waits("ListMedia") == [30, 60, 120]
    assert (run.visited[-2:], run.error) == (["NotifyCriticalFailure", "SyncFailed"], "SyncExecutionFailed")


async def test_15_a_limit_that_ends_is_survived(cloud, sync):
    cloud.add(media(1))
    cloud.fail("search", page=1, status=429, times=2)
    run = await sync().run()
    assert (run.waits("ListMedia"), run.visited[-1]) == ([30, 60], "SyncComplete")


@pytest.mark.parametrize(("environment", "most"), [("prod", 5), ("dev", 2)])
async def test_16_downloads_at_once(cloud, sync, environment, most):
    cloud.add(*(media(number) for number in range(3 * most)))
    cloud.fail("cdn", delay=0.3, times=100)
    run = await sync(environment).run()
    assert run.summary["total_synced"] == 3 * most
    running = peak = 0
    for event in run.history:
        running += {"MapIterationStarted": 1, "MapIterationSucceeded": -1}.get(event["type"], 0)
        peak = max(peak, running)
    assert peak == most
    assert cloud.peak_downloads == most, "they do run side by side, and never more of them"


async def test_27_one_failure_of_three_costs_the_others_nothing(cloud, sync):
    cloud.add(media(1), media(2), media(3))
    cloud.fail("cdn", media_id="m2", truncate_after=10)
    world = sync()
    run = await world.run()
    assert {name: row["status"] for name, row in world.rows().items()} == {
        "m1": "COMPLETED", "m2": "FAILED", "m3": "COMPLETED",
    }  # fmt: skip
    assert (run.summary["failed_count"], run.summary["total_synced"]) == (1, 2)
    assert run.summary["failed_media"] == [{"media_id": "m2", "error_type": "TransferError"}]
    assert (run.status, run.visited[-2:]) == ("SUCCEEDED", ["NotifyPartialFailure", "SyncComplete"])
    ((subject, body),) = world.notices()
    assert (subject, body["failed_count"], body["total_videos"]) == ("GoPro Sync Partial Failure", 1, 3)


async def test_29_a_session_that_ends_during_the_run(cloud, sync):
    cloud.add(*(media(number) for number in range(4)))
    cloud.fail("download", media_id="m1", status=401)
    world = sync(PAGE_SIZE=2)
    run = await world.run()
    assert world.row("m1")["status"] == "FAILED"
    assert world.row("m1")["error_type"] == "TokenExpiredError"
    assert world.row("m0")["status"] == "COMPLETED"
    assert run.errors("DownloadVideo") == ["TokenExpiredError"], "never retried"
    assert run.output["context"]["auth_lost"] is True
    assert listed_pages(cloud) == [1], "no further page is listed"
    assert run.summary["completion_reason"] == "Authentication lost"
    assert run.visited[-1] == "SyncComplete"


async def test_a_second_run_finds_nothing_new(cloud, sync):
    cloud.add(*(media(number) for number in range(5)))
    world = sync(PAGE_SIZE=2)
    first = await world.run()
    fetched = len(cloud.requests("cdn"))
    second = await world.run()
    assert first.summary["total_synced"] == fetched == 5
    assert (second.visited[-1], second.summary["already_synced"]) == ("NoNewVideos", 5)
    assert len(cloud.requests("cdn")) == fetched


async def test_continuation_in_a_new_execution(cloud, sync):
    cloud.add(*(media(number) for number in range(6)))
    world = sync(PAGE_SIZE=1)
    first = world.project.machines["gopro-sync-orchestrator"].definition["States"]["GenerateCorrelationId"]
    limited = {**first, "Assign": {**first["Assign"], "page_limit": 2, "download_limit": 100}}
    run = await world.run(GenerateCorrelationId=limited)
    assert run.summary["completion_reason"] == "Page limit reached"
    assert run.output["continuation"].endswith("-page-3")
    while len(cloud.requests("cdn")) < 6:
        # The continuations are executions of their own; an engine on the same data carries them to their end.
        await world.finish(GenerateCorrelationId=limited)
    assert listed_pages(cloud) == [1, 2, 3, 4, 5, 6]
    assert {row["status"] for row in world.rows().values()} == {"COMPLETED"} and len(world.rows()) == 6


async def test_f14_two_runs_at_once_download_nothing_twice(cloud, sync):
    cloud.add(*(media(number) for number in range(6)))
    cloud.fail("cdn", delay=0.2, times=100)
    world = sync("prod")
    first, second = await world.run_together("first", "second")
    assert (first.status, second.status) == ("SUCCEEDED", "SUCCEEDED")
    assert len(cloud.requests("cdn")) == 6, "each item once"
    assert {row["status"] for row in world.rows().values()} == {"COMPLETED"} and len(world.archived()) == 6
    answers = [answer["message"] for run in (first, second) for answer in run.results("DownloadVideo")]
    assert answers.count("Uploaded") == 6
    assert set(answers) <= {"Uploaded", "In progress elsewhere", "Already synced"}
