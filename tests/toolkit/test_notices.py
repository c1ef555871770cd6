"""Notices: refusals alike on both sides, a durable outbox, webhooks, SNS."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from stepwell.toolkit import aws
from stepwell.toolkit.environment import Resources
from stepwell.toolkit.errors import NoticeRefused, StorageError
from stepwell.toolkit.notices import LocalTopic, SnsTopic, Topic

from .conftest import MakeResources

SUBJECT = "GoPro Sync: Cookies Expired - Manual Refresh Required"


@pytest.fixture
def topic(make_resources: MakeResources) -> Topic:
    return make_resources({"topics": {"alerts": {}}}).topic("alerts")


def test_publish(topic: Topic) -> None:
    first = topic.publish(SUBJECT, {"alert_type": "TOKEN_EXPIRATION", "severity": "HIGH"})
    second = topic.publish("x" * 99, "plain text ünïcode")
    assert first != second


@pytest.mark.parametrize("subject", ["", "x" * 100, "ünïcode", "a\nb", " leading", "tab\t"])
def test_subjects_that_are_refused(topic: Topic, subject: str) -> None:
    with pytest.raises(NoticeRefused, match="subject"):
        topic.publish(subject, "x")


@pytest.mark.parametrize("body", ["", "x" * 262_145, "é" * 131_073])
def test_bodies_that_are_refused(topic: Topic, body: str) -> None:
    with pytest.raises(NoticeRefused, match="262144"):
        topic.publish("s", body)
    topic.publish("s", "x" * 262_144)


def test_outbox(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    topic = LocalTopic(tmp_path, "alerts")
    assert list(topic.notices()) == []
    message_id = topic.publish(SUBJECT, {"a": 1})
    topic.publish("second", "text\nwith lines")
    first, second = LocalTopic(tmp_path, "alerts").notices()
    assert (first.message_id, first.topic, first.subject) == (message_id, "alerts", SUBJECT)
    assert json.loads(first.body) == {"a": 1}
    assert second.body == "text\nwith lines"
    line = json.loads(capsys.readouterr().out.splitlines()[0])
    assert (line["event_type"], line["subject"], line["message_id"]) == ("notice", SUBJECT, message_id)


def test_a_torn_line_costs_nothing_else(tmp_path: Path) -> None:
    topic = LocalTopic(tmp_path, "alerts")
    topic.publish("one", "1")
    with topic.path.open("ab") as file:
        file.write(b'{"message_id": "torn", "top')
    topic.publish("two", "2")
    assert [notice.subject for notice in topic.notices()] == ["one", "two"]


def test_two_processes_and_threads_do_not_mix(tmp_path: Path) -> None:
    def work(n: int) -> None:
        topic = LocalTopic(tmp_path, "alerts")
        for _ in range(10):
            topic.publish(f"from {n}", "x" * 10_000)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(LocalTopic(tmp_path, "alerts").notices())) == 40


def test_names_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="topic name"):
        LocalTopic(tmp_path, "../alerts")


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notices").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="notice could not be written"):
        LocalTopic(tmp_path, "alerts").publish("s", "b")


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[dict[str, Any]], list[int]]]:
    received: list[dict[str, Any]] = []
    statuses: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(statuses.pop(0) if statuses else 200)
            self.send_header("retry-after", "0")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", received, statuses
    server.shutdown()
    thread.join()
    server.server_close()


def test_webhook(tmp_path: Path, webhook: Any) -> None:
    url, received, statuses = webhook
    statuses += [503]
    declared = {"topics": {"alerts": {"subscriptions": [url, "mailto:ops@example.org"]}}}
    message_id = Resources("embedded", tmp_path, declared).topic("alerts").publish("s", {"a": 1})
    assert [found["message_id"] for found in received] == [message_id, message_id]  # asked again after 503
    assert json.loads(received[0]["body"]) == {"a": 1}


def test_a_webhook_that_fails_loses_nothing(tmp_path: Path, webhook: Any, capsys: pytest.CaptureFixture[str]) -> None:
    url, _, statuses = webhook
    statuses += [400]
    topic = LocalTopic(tmp_path, "alerts", webhooks=[url + "?token=hidden-token", "http://127.0.0.1:1/"])
    topic.publish("s", "b")
    assert len(list(topic.notices())) == 1
    out = capsys.readouterr().out
    assert out.count('"webhook_failed"') == 2
    assert "hidden-token" not in out


def test_sns_delivers_subject_and_body(aws_backend: str) -> None:
    sns, sqs = aws.client("sns"), aws.client("sqs")
    arn = sns.create_topic(Name="alerts-delivery")["TopicArn"]
    queue = sqs.create_queue(QueueName="alerts-delivery")["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn)
    message_id = SnsTopic(arn).publish(SUBJECT, {"a": 1})
    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    body = json.loads(message["Body"])
    assert (body["Subject"], json.loads(body["Message"]), body["MessageId"]) == (SUBJECT, {"a": 1}, message_id)


def test_sns_topic_that_is_not_there(aws_backend: str) -> None:
    with pytest.raises(NoticeRefused, match="nowhere"):
        SnsTopic("arn:aws:sns:eu-west-1:123456789012:nowhere").publish("s", "b")
