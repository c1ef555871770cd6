"""Acceptance statements on what operators see: logs without secrets, alarms that fire, records that can be found."""

import dataclasses
import json
import time
from datetime import timedelta

import pytest
from cloudsync.config import ENVIRONMENTS
from mediacloud import BLOCK, BytesContent, Media, MediaCloud, SyntheticContent

from cloudsync import errors
from stepwell.project import load_project
from stepwell.toolkit.alarms import Alarm, evaluate, evaluate_spool
from stepwell.toolkit.measurements import Point

from . import PROJECT
from .syncing import Sync


def media(number, **options):
    return Media(f"m{number}", f"GH{number:06}.MP4", BytesContent(b"x" * 100), **options)


async def test_28_no_credentials_leave_the_api_and_none_are_logged(cloud, sync):
    cloud.session.token = "eyJ.a-long-and-very-secret-token.0123456789"
    cloud.add(media(1), media(2), media(3))
    cloud.fail("cdn", media_id="m2", truncate_after=10)
    cloud.fail("download", media_id="m3", status=401)
    world = sync(LOG_LEVEL="DEBUG")
    run = await world.run()
    requests = cloud.requests("cdn")
    assert len(requests) == 2
    for request in requests:
        assert not {"cookie", "authorization"} & set(request.headers)
    # Everything that was written anywhere but the secret itself: logs, journal, records, notices, metrics.
    written = b"".join(
        path.read_bytes() for path in world.data.rglob("*") if path.is_file() and "secrets" not in path.parts
    )
    assert run.name.encode() in written and b"video_download_failed" in written
    secrets = [cloud.session.token, cloud.session.cookies, cloud.session.user_id, "session=abc", "tok-m1"]
    secrets += [request.query["Signature"] for request in requests]
    for secret in secrets:
        assert secret.encode() not in written, secret


async def test_f19_events_are_not_logged_whole(cloud, sync):
    cloud.add(media(1))
    world = sync(LOG_LEVEL="DEBUG")
    run = await world.run()
    assert all("token" not in item and "download_url" not in item for item in run.results("ListMedia")[0]["new_videos"])


async def test_f21_log_lines_are_flat(cloud, sync):
    cloud.add(media(1), media(2))
    cloud.fail("cdn", media_id="m2", truncate_after=10)
    world = sync()
    await world.run()
    kinds = {record.fields["event_type"] for record in world.logs()}
    assert kinds == {
        "validation_ok", "listing_page", "video_download_start", "video_download_complete", "video_download_failed",
    }  # fmt: skip
    (done,) = world.logs(event_type="video_download_complete")
    assert set(done.fields) == {
        "event_type", "media_id", "filename", "file_size_bytes", "bytes_transferred", "transfer_duration_seconds",
        "throughput_mbps", "s3_key",
    }  # fmt: skip
    (failed,) = world.logs(event_type="video_download_failed")
    assert failed.level == "ERROR"
    assert set(failed.fields) == {"event_type", "media_id", "filename", "error_type", "error_message", "exception"}
    assert "Traceback" in failed.fields["exception"]


async def test_31_failed_records_by_the_time_they_failed(cloud, sync):
    cloud.add(*(media(number) for number in (3, 1, 2)), media(4))
    for name in ("m1", "m2", "m3"):
        cloud.fail("cdn", media_id=name, truncate_after=10)
    world = sync()
    await world.run()
    rows = list(world.tracker.query("FAILED", index="status-sync_timestamp-index"))
    assert {row["media_id"] for row in rows} == {"m1", "m2", "m3"}
    times = [row["sync_timestamp"] for row in rows]
    assert times == sorted(times) and len(set(times)) == 3
    backwards = world.tracker.query("FAILED", index="status-sync_timestamp-index", descending=True)
    assert [row["sync_timestamp"] for row in backwards] == times[::-1]
    assert [row["media_id"] for row in world.tracker.query("COMPLETED", index="status-sync_timestamp-index")] == ["m4"]


# --- 30: every alarm of section 10.2


def declared(project, suffix):
    """An alarm of stepwell.toml as the toolkit evaluates it."""
    (found,) = [alarm for alarm in project.alarms.values() if alarm.name.endswith(suffix)]
    known = {name: getattr(found, name) for name in Alarm.__slots__ if hasattr(found, name)}
    return Alarm(**known | {"period": int(found.period)})


def state(world, suffix, *, later=0.0):
    return evaluate_spool(declared(world.project, suffix), world.spool, now=time.time() + later).state


def fail_downloads(world, times):
    world.cloud.add(media(1))
    for _ in range(times):
        world.cloud.fail("cdn", truncate_after=10)
        with pytest.raises(errors.TransferError):
            world.download("m1")


def refuse_session(world):
    world.cloud.session.refusal = 401
    world.call("token-validator", {})


def remove_secret(world):
    world.remove_secret()
    world.call("token-validator", {})


def age_cookies(world):
    world.write_secret(age=timedelta(days=61))
    world.call("token-validator", {})


def change_structure(world):
    world.cloud.fail("search", page=1, body={})
    with pytest.raises(errors.APIStructureError):
        world.call("media-lister", {"page_number": 1})


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize(
    ("suffix", "provoke", "harmless"),
    [
        ("Sync-HighFailureRate", lambda world: fail_downloads(world, 4), lambda world: fail_downloads(world, 3)),
        ("Token-Expired", refuse_session, remove_secret),
        ("Token-Validation-Failure", remove_secret, age_cookies),
        ("Cookie-Age", age_cookies, remove_secret),
        ("API-Structure-Failure", change_structure, age_cookies),
    ],
)
def test_30_alarms_of_the_pipeline_s_own_metrics(cloud, sync, environment, suffix, provoke, harmless, tmp_path):
    world = sync(environment)
    assert state(world, suffix) == "OK", "missing data do not breach"
    provoke(world)
    assert state(world, suffix) == "ALARM"
    with MediaCloud() as other:
        calm = Sync(other, tmp_path / "calm", environment)
        harmless(calm)
        assert state(calm, suffix) == "OK"


def test_30_low_throughput(cloud, sync):
    cloud.add(*(Media(f"m{number}", f"GH{number}.MP4", SyntheticContent(BLOCK)) for number in range(2)))
    cloud.fail("cdn", fragment=BLOCK // 4, pause=0.15, times=2)
    world = sync()
    alarm = declared(world.project, "Low-Throughput")
    world.download("m0")
    points = world.spool.points(alarm.namespace, alarm.metric, since=time.time() - 600)
    assert points and all(point.maximum < 20 for point in points)
    assert state(world, "Low-Throughput") == "OK", "one slow period is none yet"
    earlier = [dataclasses.replace(point, at=point.at - alarm.period) for point in points]
    assert evaluate(alarm, [*points, *earlier], now=time.time()).state == "ALARM"


FUNCTIONS = ("token-validator", "media-lister", "video-downloader")
MACHINE = "arn:aws:states:us-east-1:000000000000:stateMachine:gopro-sync-orchestrator"


@pytest.mark.parametrize(
    ("suffix", "namespace", "dimension", "above"),
    [
        *((f"Lambda-Errors-{name}", "AWS/Lambda", ("FunctionName", name), 6) for name in FUNCTIONS),
        *((f"Lambda-Throttles-{name}", "AWS/Lambda", ("FunctionName", name), 1) for name in FUNCTIONS),
        *((f"DLQ-Messages-{name}", "AWS/SQS", ("QueueName", f"prod-{name}-dlq"), 1) for name in FUNCTIONS),
        ("StepFunction-Failed", "AWS/States", ("StateMachineArn", MACHINE), 1),
        ("StepFunction-TimedOut", "AWS/States", ("StateMachineArn", MACHINE), 1),
    ],
)  # fmt: skip
def test_30_alarms_of_aws_s_own_metrics(suffix, namespace, dimension, above):
    """What AWS publishes of a function, a machine and a queue, by its documented names and dimensions."""
    alarm = declared(load_project(PROJECT, "prod"), suffix)
    now = time.time()
    minutes = [int(now) // 60 * 60 - alarm.period * number for number in range(alarm.periods)]
    names = {"Errors": "Errors", "Throttles": "Throttles", "Messages": "ApproximateNumberOfMessagesVisible"}
    names |= {"Failed": "ExecutionsFailed", "TimedOut": "ExecutionsTimedOut"}
    metric = (
        names.get(suffix.split("-")[1])
        or {"Failed": "ExecutionsFailed", "TimedOut": "ExecutionsTimedOut"}[suffix.split("-")[1]]
    )

    def points(value):
        return [Point(namespace, metric, dict([dimension]), minute, 1, value, value, value) for minute in minutes]

    assert evaluate(alarm, points(above), now=now).state == "ALARM"
    assert evaluate(alarm, points(above - 1), now=now).state == "OK"
    assert evaluate(alarm, [], now=now).state == "OK"


def test_30_every_alarm_of_the_table_is_declared_and_tells_the_topic():
    project = load_project(PROJECT, "prod")
    expected = {
        f"prod-GoPro-{name}"
        for name in (
            "Sync-HighFailureRate", "Token-Expired", "Token-Validation-Failure", "Cookie-Age", "API-Structure-Failure",
            "StepFunction-Failed", "StepFunction-TimedOut", "Low-Throughput",
            *(f"Lambda-Errors-{name}" for name in FUNCTIONS), *(f"Lambda-Throttles-{name}" for name in FUNCTIONS),
            *(f"DLQ-Messages-{name}" for name in FUNCTIONS),
        )
    }  # fmt: skip
    assert {alarm.name for alarm in project.alarms.values()} == expected
    assert all(alarm.topics == ("gopro-sync-alerts",) for alarm in project.alarms.values())


def test_f21_every_raw_line_has_its_fields(cloud, sync, capsys):
    cloud.add(media(1), media(2))
    cloud.fail("cdn", media_id="m2", truncate_after=10)
    world = sync(LOG_LEVEL="DEBUG")
    world.call("token-validator", {"correlation_id": "c"})
    world.call("media-lister", {"correlation_id": "c"})
    world.download("m1")
    world.download("m1")
    with pytest.raises(errors.TransferError):
        world.download("m2")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["event_type"] for line in lines} == {
        "validation_ok", "listing_page", "video_download_start", "video_download_complete", "video_skipped",
        "video_download_failed",
    }  # fmt: skip
    for line in lines:
        assert line["correlation_id"] == "c" and line["message"] and line["timestamp"].endswith("Z")
        assert line["function_name"] in FUNCTIONS and line["level"] in {"DEBUG", "INFO", "WARN", "ERROR", "CRITICAL"}
        assert not {"extra", "context"} & set(line)
