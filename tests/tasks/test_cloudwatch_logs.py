"""Delivery to CloudWatch Logs: order, batches, retries, refusals."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stepwell.tasks import cloudwatch_logs
from stepwell.tasks.aws_clients import Answer, AwsClients, Caller, CallFailed
from stepwell.tasks.cloudwatch_logs import CloudWatchLogs

GROUP = "arn:aws:logs:eu-west-1:111122223333:log-group:/aws/vendedlogs/states/test:*"


class Service:
    """CloudWatch Logs' actions; `refusals` are raised first."""

    endpoint: str | None = "http://127.0.0.1:1"

    def __init__(self) -> None:
        self.groups = ["/aws/vendedlogs/states/test"]
        self.streams: dict[str, list[dict[str, Any]]] = {}
        self.calls: list[str] = []
        self.callers: set[tuple[str, str]] = set()
        self.refusals: list[CallFailed] = []
        self.changed = asyncio.Event()

    async def service(self, name: str) -> Any:
        assert name == "logs"
        return SimpleNamespace(name=name)

    async def call(self, service: Any, operation: str, parameters: dict[str, Any], caller: Caller) -> Answer:
        self.calls.append(operation)
        self.callers.add((caller.account, caller.region))
        await asyncio.sleep(0)
        self.changed.set()
        if self.refusals:
            raise self.refusals.pop(0)
        if operation == "DescribeLogGroups":
            names = [name for name in self.groups if name.startswith(parameters["logGroupNamePrefix"])]
            return Answer({"logGroups": [{"logGroupName": name} for name in names]}, 200, {}, "")
        assert parameters["logGroupName"] in self.groups
        name = parameters["logStreamName"]
        if operation == "CreateLogStream":
            self.streams[name] = []
        elif name not in self.streams:
            raise CallFailed("ResourceNotFoundException", "The specified log stream does not exist.", 400)
        else:
            self.streams[name] += parameters["logEvents"]
        return Answer({}, 200, {}, "")

    def messages(self) -> list[str]:
        return [event["message"] for events in self.streams.values() for event in events]


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def logs(service: Service, monkeypatch: pytest.MonkeyPatch) -> CloudWatchLogs:
    monkeypatch.setattr(cloudwatch_logs, "LINGER", 0)
    monkeypatch.setattr(cloudwatch_logs, "FIRST_PAUSE", 0.001)
    return CloudWatchLogs(cast(AwsClients, service))


def entries(first: int, count: int, size: int = 1) -> list[tuple[int, bytes]]:
    return [(1_700_000_000_000 + number, str(number).rjust(size).encode()) for number in range(first, first + count)]


def numbers(service: Service) -> list[int]:
    return [int(message) for message in service.messages()]


async def test_one_stream_a_machine_in_the_groups_account(service: Service, logs: CloudWatchLogs) -> None:
    logs.put(GROUP, "orders", entries(0, 2))
    logs.put(GROUP, "orders", entries(2, 2))
    logs.put(GROUP, "bills", entries(100, 1))
    await logs.close()
    assert service.callers == {("111122223333", "eu-west-1")}
    assert sorted(numbers(service)) == [0, 1, 2, 3, 100]
    names = sorted(service.streams)
    assert len(names) == 2
    assert re.fullmatch(r"states/bills/\d{4}-\d\d-\d\d-\d\d/[0-9a-f]{8}", names[0])
    assert [int(event["message"]) for event in service.streams[names[1]]] == [0, 1, 2, 3]


async def test_requests_keep_the_services_limits(service: Service, logs: CloudWatchLogs) -> None:
    logs.put(GROUP, "m", entries(0, 12_000))
    logs.put(GROUP, "m", entries(12_000, 12, size=200_000))
    await logs.close()
    assert numbers(service) == list(range(12_012))
    # 10,000; the rest of the small ones with as many large ones as make 1 MiB; five large ones at a time.
    assert service.calls.count("PutLogEvents") == 4


async def test_what_fails_in_passing_is_sent_again_in_order(service: Service, logs: CloudWatchLogs) -> None:
    service.refusals = [
        CallFailed("SdkClientException", "Unable to execute HTTP request", 0),
        CallFailed("ThrottlingException", "Rate exceeded", 400),
        CallFailed("ServiceUnavailableException", "", 503),
    ]
    logs.put(GROUP, "m", entries(0, 3))
    await service.changed.wait()
    logs.put(GROUP, "m", entries(3, 3))
    await logs.close()
    assert numbers(service) == [0, 1, 2, 3, 4, 5]


async def test_a_stream_that_was_deleted_is_made_anew(service: Service, logs: CloudWatchLogs) -> None:
    logs.put(GROUP, "m", entries(0, 1))
    while not service.messages():
        await asyncio.sleep(0)
    service.streams.clear()
    logs.put(GROUP, "m", entries(1, 1))
    await logs.close()
    assert numbers(service) == [1]


async def test_a_group_that_is_gone_is_told_once_and_left_alone(
    service: Service, logs: CloudWatchLogs, caplog: pytest.LogCaptureFixture
) -> None:
    service.refusals = [CallFailed("ResourceNotFoundException", "The specified log group does not exist.", 400)] * 9
    logs.put(GROUP, "m", entries(0, 3))
    while not caplog.messages:
        await asyncio.sleep(0)
    logs.put(GROUP, "m", entries(3, 3))
    await logs.close()
    assert service.calls == ["CreateLogStream"]
    (message,) = caplog.messages
    assert "3 execution events of m" in message
    assert "log group does not exist" in message


async def test_the_oldest_are_dropped_when_nothing_goes_out(
    service: Service, logs: CloudWatchLogs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cloudwatch_logs, "WAITING_BYTES", 10 * (1000 + cloudwatch_logs.ENTRY_OVERHEAD))
    logs.put(GROUP, "m", entries(0, 25, size=1000))
    await logs.close()
    assert numbers(service) == list(range(15, 25))
    assert "15 execution events were too many" in caplog.text


async def test_the_end_does_not_wait_for_ever(
    service: Service, logs: CloudWatchLogs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cloudwatch_logs, "CLOSE_SECONDS", 0.05)
    service.refusals = [CallFailed("SdkClientException", "Unable to execute HTTP request", 0)] * 100_000
    logs.put(GROUP, "m", entries(0, 2))
    await logs.close()
    assert "2 execution events were not delivered" in caplog.text


async def test_a_group_is_looked_for_where_an_endpoint_was_given(service: Service, logs: CloudWatchLogs) -> None:
    assert await logs.has_group(GROUP)
    service.groups = ["/aws/vendedlogs/states/test-other"]
    assert not await logs.has_group(GROUP)
    service.refusals = [CallFailed("SdkClientException", "Unable to execute HTTP request", 0)]
    assert await logs.has_group(GROUP)
    service.calls.clear()
    service.endpoint = None
    assert await logs.has_group(GROUP)
    assert service.calls == []
