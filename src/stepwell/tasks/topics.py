"""`sns:publish` to the topics of a project that runs here: the notice goes to the toolkit's local topic, not to AWS."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

from stepwell.tasks.aws_clients import Answer, CallFailed
from stepwell.toolkit.errors import NoticeRefused, StorageError
from stepwell.toolkit.notices import Topic

DEFAULT_SUBJECT = "AWS Notification Message"
"""What SNS writes into an e-mail that was published without a subject."""


class Topics:
    """Local topics by their ARN."""

    def __init__(self) -> None:
        self._topics: dict[str, Topic] = {}

    def add(self, topics: Mapping[str, Topic]) -> None:
        """From now on these ARNs are answered here."""
        self._topics.update(topics)

    def owns(self, service: str, operation: str, parameters: Mapping[str, Any]) -> bool:
        """Whether a call is one of these topics' to answer."""
        arn = parameters.get("TopicArn") or parameters.get("TargetArn")
        return service == "sns" and operation == "Publish" and arn in self._topics

    async def publish(self, parameters: Mapping[str, Any]) -> Answer:
        """Publish as SNS does. Raises CallFailed with SNS's codes."""
        topic = self._topics[parameters.get("TopicArn") or parameters["TargetArn"]]
        subject = parameters.get("Subject") or DEFAULT_SUBJECT
        try:
            message_id = await asyncio.to_thread(topic.publish, subject, parameters["Message"])
        except NoticeRefused as error:
            raise CallFailed("InvalidParameter", f"Invalid parameter: {error}", 400) from error
        except StorageError as error:
            raise CallFailed("InternalError", str(error), 500) from error
        return Answer({"MessageId": message_id}, 200, {}, str(uuid.uuid4()))
