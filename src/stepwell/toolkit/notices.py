"""Notices: messages to people.

    toolkit.topic("alerts").publish("GoPro Sync: Cookies Expired", {"alert_type": "TOKEN_EXPIRATION", "severity": "HIGH"})

Embedded, a notice is a line of the log and of a durable outbox (`<data>/notices/<topic>.jsonl`), and a POST to each of the
topic's webhooks. On AWS it is an SNS message. Subject: 1 to 99 printable ASCII characters that do not begin with a space.
Body: a text or a JSON object, 1 to 262,144 bytes. Source: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
"""

from __future__ import annotations

import fcntl
import os
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from stepwell.toolkit import aws
from stepwell.toolkit.errors import NoticeRefused, StorageError
from stepwell.toolkit.logs import logger

MAX_SUBJECT, MAX_BODY_BYTES = 99, 262_144
WEBHOOK_SECONDS = 10.0
_NAME = re.compile(r"[A-Za-z0-9_-]{1,256}")

log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """A published notice as the outbox keeps it; `body` is the text that was sent, `timestamp` UTC with milliseconds."""

    message_id: str
    topic: str
    timestamp: str
    subject: str
    body: str


class Topic(ABC):
    """Where notices of one kind go."""

    name: str

    def publish(self, subject: str, body: str | Mapping[str, Any]) -> str:
        """Send a notice; returns its message id.

        Raises `NoticeRefused` for a subject or body that SNS would refuse or a topic that is not there, `StorageError` if it
        could not be handed over.
        """
        if (
            not 1 <= len(subject) <= MAX_SUBJECT
            or not subject.isascii()
            or not subject.isprintable()
            or subject[0] == " "
        ):
            raise NoticeRefused(
                f"a subject has 1 to {MAX_SUBJECT} printable ASCII characters and does not begin with a space: {subject!r}"
            )
        text = body if isinstance(body, str) else orjson.dumps(body).decode()
        if not 1 <= len(text.encode()) <= MAX_BODY_BYTES:
            raise NoticeRefused(
                f"a body has 1 to {MAX_BODY_BYTES} bytes, not {len(text.encode())} (subject {subject!r})"
            )
        return self._send(subject, text)

    @abstractmethod
    def _send(self, subject: str, body: str) -> str: ...


class LocalTopic(Topic):
    """Log, outbox and webhooks. A notice is published once it is in the outbox; a webhook that fails is logged.

    `logged` False leaves out the log line of each notice: for a host, whose standard output is not a function's log.
    """

    def __init__(self, data: Path, name: str, *, webhooks: Sequence[str] = (), logged: bool = True) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"topic name {name!r} must consist of letters, digits, '-' and '_'")
        self.name = name
        self.path = data / "notices" / f"{name}.jsonl"
        self._webhooks = tuple(webhooks)
        self._logged = logged

    def notices(self) -> Iterator[Notice]:
        """Everything published so far, oldest first. A line that a killed process left unfinished was never published."""
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                yield Notice(**orjson.loads(line))
            except (orjson.JSONDecodeError, TypeError):
                continue

    def _send(self, subject: str, body: str) -> str:
        timestamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        notice = Notice(str(uuid.uuid4()), self.name, timestamp, subject, body)
        try:
            self._append(orjson.dumps(asdict(notice)) + b"\n")
        except OSError as error:
            raise StorageError(f"a notice could not be written to {self.path}: {error.strerror}") from error
        if self._logged:
            log.info(
                "notice published", event_type="notice", topic=self.name, subject=subject, message_id=notice.message_id
            )
        for webhook in self._webhooks:
            self._post(webhook, notice)
        return notice.message_id

    def _append(self, line: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # what was torn stays alone on its line
            while line:
                line = line[os.write(descriptor, line) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _post(self, webhook: str, notice: Notice) -> None:
        import httpx

        from stepwell.toolkit import http

        rule = http.Retries(attempts=3, initial=0.5, longest=2.0, retry_after_cap=5.0, methods=frozenset({"POST"}))
        try:
            with http.client(timeout=WEBHOOK_SECONDS, retries=rule) as client:
                http.check(client.post(webhook, json=asdict(notice)))
        except (httpx.HTTPError, http.HttpFailure, ValueError) as error:
            log.error("webhook failed", event_type="webhook_failed", topic=self.name, error_message=str(error))


class SnsTopic(Topic):
    """An SNS topic, by its ARN."""

    def __init__(self, arn: str) -> None:
        self.name = arn.rpartition(":")[2]
        self.arn = arn

    def _send(self, subject: str, body: str) -> str:
        from botocore.exceptions import ClientError

        with aws.errors(f"publishing to topic {self.name!r}"):
            try:
                answer = aws.client("sns").publish(TopicArn=self.arn, Subject=subject, Message=body)
            except ClientError as error:
                if aws.code(error) in (
                    "NotFound",
                    "NotFoundException",
                    "InvalidParameter",
                    "InvalidParameterException",
                ):
                    raise NoticeRefused(f"topic {self.arn!r}: {error}") from error
                raise
        return str(answer["MessageId"])
