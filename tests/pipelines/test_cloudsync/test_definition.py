"""The machine's own logic: counters, paging, limits, results. Acceptance on the real engine is in the other files."""

import json
from itertools import pairwise

import pytest

from .driving import ARN, Failure, definition, downloaded, drive, functions, library, valid


def sns(run):
    return [(call["Subject"], call["Message"]) for _, call in run.to("sns")]


def failing(*media_ids, error="TransferError"):
    def download(event):
        if event["media_id"] in media_ids:
            raise Failure(error)
        return downloaded(event)

    return download


def test_one_page():
    run = drive(functions(lister=library([2])), {"provider": "gopro", "manual_trigger": True})
    assert run.status == "SUCCEEDED"
    assert run.visited == [
        "GenerateCorrelationId", "ValidateTokens", "CheckTokenValidity", "ListMedia", "CheckNewVideos", "DownloadVideos",
        "TallyPage", "CheckMorePages", "GenerateSummary", "CheckForFailures", "SyncComplete",
    ]  # fmt: skip
    assert run.output["manual_trigger"] is True, "extra keys are carried"
    assert run.output["context"] == {
        "correlation_id": "sched-1",
        "execution_id": ARN,
        "start_time": "2025-12-02T01:00:00Z",
        "provider": "gopro",
        "current_page": 2,
        "total_listed": 30,
        "total_new": 2,
        "total_already_synced": 28,
        "total_synced": 2,
        "failed_count": 0,
        "auth_lost": False,
    } | {"start_time": run.output["context"]["start_time"]}
    summary = run.output["summary"]
    results = summary.pop("download_results")
    assert summary == {
        "execution_id": ARN,
        "correlation_id": "sched-1",
        "start_time": run.output["context"]["start_time"],
        "total_videos": 2,
        "total_found": 30,
        "already_synced": 28,
        "total_synced": 2,
        "failed_count": 0,
        "cookie_age_days": 1.5,
        "failed_media": [],
        "completion_reason": "Processed all pages",
    }
    assert [(result["status"], result["media_id"], result["bytes_transferred"]) for result in results] == [
        ("COMPLETED", "m1-0", 10),
        ("COMPLETED", "m1-1", 10),
    ]


def test_what_the_functions_are_sent():
    run = drive(functions())
    ((_, validator),) = run.to("token-validator")
    ((_, lister),) = run.to("media-lister")
    ((_, downloader),) = run.to("video-downloader")
    assert validator == {"correlation_id": "sched-1"}
    assert lister == {"provider": "gopro", "correlation_id": "sched-1", "page_number": 1}
    assert set(downloader) == {
        "provider", "media_id", "filename", "file_size", "upload_date", "duration", "correlation_id", "execution_id",
    }  # fmt: skip
    assert downloader["execution_id"] == ARN


@pytest.mark.parametrize("pages", [[0, 0, 0], [2, 0, 1], [0, 0, 4], [1, 1, 1]])
def test_f1_every_page_once(pages):
    run = drive(functions(lister=library(pages)))
    assert [event["page_number"] for _, event in run.to("media-lister")] == [1, 2, 3]
    assert run.output["summary"]["total_videos"] == sum(pages)
    assert run.output["summary"]["total_found"] == 90
    assert run.output["summary"]["already_synced"] == 90 - sum(pages)
    assert run.visited[-1] == ("SyncComplete" if sum(pages) else "NoNewVideos")


def test_only_the_last_page_s_results_are_kept():
    run = drive(functions(lister=library([2, 3])))
    assert [result["media_id"] for result in run.output["summary"]["download_results"]] == ["m2-0", "m2-1", "m2-2"]
    run = drive(functions(lister=library([2, 0])))
    assert run.output["summary"]["download_results"] == []


def test_f4_f5_failures_of_all_pages_are_counted_and_named():
    run = drive(functions(lister=library([3, 2, 1]), downloader=failing("m1-1", "m2-0", "m3-0")))
    summary = run.output["summary"]
    assert (run.status, run.visited[-2:]) == ("SUCCEEDED", ["NotifyPartialFailure", "SyncComplete"])
    assert (summary["total_synced"], summary["failed_count"], summary["total_videos"]) == (3, 3, 6)
    assert summary["failed_media"] == [
        {"media_id": name, "error_type": "TransferError"} for name in ("m1-1", "m2-0", "m3-0")
    ]
    ((subject, body),) = sns(run)
    assert subject == "GoPro Sync Partial Failure"
    assert set(body) == {
        "execution_id", "correlation_id", "total_videos", "failed_count", "start_time", "cookie_age_days", "message",
    }  # fmt: skip
    assert (body["failed_count"], body["total_videos"], body["correlation_id"]) == (3, 6, "sched-1")


def test_at_most_fifty_failed_items_are_named():
    run = drive(functions(lister=library([30, 30]), downloader=lambda event: failing(event["media_id"])(event)))
    assert run.output["summary"]["failed_count"] == 60
    assert len(run.output["summary"]["failed_media"]) == 50


def test_a_lost_session_ends_the_paging():
    run = drive(functions(lister=library([2, 2, 2]), downloader=failing("m1-1", error="TokenExpiredError")))
    assert len(run.to("media-lister")) == 1
    assert run.output["context"]["auth_lost"] is True
    assert run.output["summary"]["completion_reason"] == "Authentication lost"
    assert run.visited[-1] == "SyncComplete"


def test_invalid_cookies():
    run = drive(
        functions(validator=lambda event: valid() | {"statusCode": 401, "valid": False, "validation_method": None})
    )
    assert (run.status, run.error) == ("FAILED", "TokenValidationFailed")
    assert run.visited[-1] == "TokensInvalid" and not run.to("media-lister") and not run.to("sns")


@pytest.mark.parametrize("name", ["token-validator", "media-lister"])
@pytest.mark.parametrize("error", ["Lambda.ServiceException", "Lambda.AWSLambdaException", "Lambda.SdkClientException"])
def test_service_errors_wait_2_4_8_seconds(name, error):
    def fail(event):
        raise Failure(error, "the service")

    run = drive(functions() | {name: fail})
    times = [at for at, _ in run.to(name)]
    assert [later - earlier for earlier, later in pairwise(times)] == [2, 4, 8]
    assert (run.status, run.error) == ("FAILED", "SyncExecutionFailed")
    ((subject, body),) = sns(run)
    assert subject == "GoPro Sync Critical Failure"
    assert (body["error_details"], body["error_cause"], body["correlation_id"]) == (error, "the service", "sched-1")


def test_throttling_waits_with_full_jitter():
    def fail(event):
        raise Failure("Lambda.TooManyRequestsException")

    times = [at for at, _ in drive(functions(lister=fail)).to("media-lister")]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert len(waits) == 3
    assert all(0 <= wait <= most for wait, most in zip(waits, (2, 4, 8), strict=True))
    assert waits != [2, 4, 8]


@pytest.mark.parametrize("error", ["NetworkError", "TimeoutError", "RateLimitError"])
@pytest.mark.parametrize("name", ["media-lister", "video-downloader"])
def test_network_errors_wait_30_60_120_seconds(name, error):
    def fail(event):
        raise Failure(error)

    run = drive(functions() | {name: fail})
    times = [at for at, _ in run.to(name)]
    assert [later - earlier for earlier, later in pairwise(times)] == [30, 60, 120]


def test_other_errors_are_not_retried():
    run = drive(functions(downloader=failing("m1-0", error="TransferError")))
    assert len(run.to("video-downloader")) == 1
    assert run.output["summary"]["failed_count"] == 1


def test_a_failed_alert_does_not_change_the_outcome():
    def refuse(event):
        raise Failure("SNS.AmazonSNSException")

    run = drive(functions(downloader=failing("m1-0"), sns=refuse))
    assert (run.status, run.visited[-1], len(run.to("sns"))) == ("SUCCEEDED", "SyncComplete", 4)
    assert [at for at, _ in run.to("sns")] == [0, 2, 4, 6]

    def broken(event):
        raise Failure("APIStructureError")

    run = drive(functions(lister=broken, sns=refuse))
    assert (run.status, run.error, len(run.to("sns"))) == ("FAILED", "SyncExecutionFailed", 4)


def test_a_whole_page_of_long_failures_fits_a_state():
    cause = json.dumps(
        {
            "errorMessage": "é" * 300,
            "errorType": "TransferError",
            "requestId": "r",
            "stackTrace": ["  File x\n" * 40] * 10,
        },
        ensure_ascii=False,
    )

    def fail(event):
        raise Failure("TransferError", cause)

    run = drive(functions(lister=library([100, 1], found=100), downloader=fail))
    assert run.status == "SUCCEEDED"
    assert run.output["summary"]["failed_count"] == 101
    first = run.output["summary"]["download_results"][0]
    assert first["error"]["Error"] == "TransferError"
    assert json.loads(first["error"]["Cause"]) == {
        "errorMessage": "é" * 300, "errorType": "TransferError", "requestId": "r", "stackTrace": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    "cause", ["", "plain text " * 100, '{"errorMessage": "short", "errorType": "x", "stackTrace": []}']
)
def test_causes_of_any_form(cause):
    def fail(event):
        raise Failure("Odd", cause)

    run = drive(functions(downloader=fail))
    assert run.status == "SUCCEEDED"
    assert run.output["summary"]["download_results"][0]["error"] == {"Error": "Odd", "Cause": cause[:512]}


def limited(**limits):
    states = definition()
    states["States"]["GenerateCorrelationId"]["Assign"] |= limits
    return states


def test_the_limits_are_those_of_the_specification():
    assert {"page_limit": 400, "download_limit": 1500}.items() <= definition()["States"]["GenerateCorrelationId"][
        "Assign"
    ].items()


def test_page_limit_continues_in_a_new_execution():
    run = drive(functions(lister=library([0, 1, 0, 0, 0])), states=limited(page_limit=3))
    assert len(run.to("media-lister")) == 3
    ((_, request),) = run.to("states")
    assert request["StateMachineArn"].endswith(":stateMachine:gopro-sync-orchestrator")
    assert request["Input"]["resume_page"] == 4
    assert len(request["Name"]) <= 80
    assert run.output["summary"]["completion_reason"] == "Page limit reached"
    continued = drive(functions(lister=library([0, 1, 0, 0, 0])), {"resume_page": 4}, states=limited(page_limit=3))
    assert [event["page_number"] for _, event in continued.to("media-lister")] == [4, 5]
    assert not continued.to("states")


def test_download_limit_counts_attempts():
    failures = iter(["NetworkError", "NetworkError"])

    def flaky(event):
        if error := next(failures, None):
            raise Failure(error)
        return downloaded(event)

    run = drive(functions(lister=library([2, 2, 2]), downloader=flaky), states=limited(download_limit=4))
    assert [event["page_number"] for _, event in run.to("media-lister")] == [1], "two items, two retries: four attempts"
    assert run.to("states")[0][1]["Input"]["resume_page"] == 2
    assert [result["attempts"] for result in run.output["summary"]["download_results"]] == [2, 2]


def test_no_continuation_after_the_last_page():
    run = drive(functions(lister=library([2, 2])), states=limited(page_limit=2, download_limit=4))
    assert not run.to("states")
    assert run.output["summary"]["completion_reason"] == "Processed all pages"


def test_a_continuation_that_was_started_before_a_crash_is_no_failure():
    def exists(event):
        raise Failure("StepFunctions.ExecutionAlreadyExistsException")

    run = drive(functions(lister=library([0, 0]), states=exists), states=limited(page_limit=1))
    assert (run.status, len(run.to("states"))) == ("SUCCEEDED", 1)
    assert run.output["summary"]["completion_reason"] == "Page limit reached"


def test_a_continuation_that_cannot_start_is_critical():
    def refused(event):
        raise Failure("StepFunctions.SfnException", "no")

    run = drive(functions(lister=library([0, 0]), states=refused), states=limited(page_limit=1))
    assert (run.status, run.error, len(run.to("states"))) == ("FAILED", "SyncExecutionFailed", 4)
    assert sns(run)[0][1]["error_details"] == "StepFunctions.SfnException"


@pytest.mark.parametrize("start", [None, 0, -3, "2", True, {}])
def test_an_unusable_resume_page_is_ignored(start):
    run = drive(functions(), {"resume_page": start})
    assert [event["page_number"] for _, event in run.to("media-lister")] == [1]


@pytest.mark.parametrize("function", ["token-validator", "media-lister", "video-downloader"])
def test_f2_a_missing_key_would_end_the_execution_beyond_every_catch(function):
    scripted = functions()
    whole = scripted[function]
    run = drive(
        scripted | {function: lambda event: {key: value for key, value in whole(event).items() if key != "statusCode"}}
    )
    assert run.status == "FAILED" and run.error == "States.Runtime"
    assert not run.to("sns")
