"""Notices: messages to people.

    toolkit.topic("alerts").publish("GoPro Sync: Cookies Expired", {"alert_type": "TOKEN_EXPIRATION", ...})

Embedded, a notice is a line of the log and of a durable outbox (`<data>/notices/<topic>.jsonl`), and a POST to the topic's webhook if
it has one. On AWS it is an SNS message. Subject: 1 to 99 ASCII characters without control characters. Body: text or a JSON
object, at most 262,144 bytes. Source: https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Notice:
    """A published notice as the outbox keeps it; `body` is the text that was sent."""

    message_id: str
    topic: str
    timestamp: str
    subject: str
    body: str


class Topic(ABC):
    """Where notices of one kind go."""

    name: str

    @abstractmethod
    def publish(self, subject: str, body: str | Mapping[str, Any]) -> str:
        """Send a notice; returns its message id. Raises `NoticeRefused`, or `StorageError` if it could not be stored."""


class LocalTopic(Topic):
    """Log, outbox and webhook."""

    def __init__(self, data: Path, name: str, *, webhook: str | None = None) -> None:
        self.name = name

    def notices(self) -> Iterator[Notice]:
        """Everything published so far, oldest first."""
        raise NotImplementedError


class SnsTopic(Topic):
    """An SNS topic, by its ARN."""

    def __init__(self, arn: str) -> None:
        self.name = arn
