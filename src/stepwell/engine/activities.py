"""Activities: queues of tasks that workers outside of the engine take by long polling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stepwell.engine.records import ActivityRecord, ActivityTask, Page

__all__ = ["Activities"]


class Activities:
    """`engine.activities`."""

    async def create(
        self,
        name: str,
        *,
        tags: Sequence[Mapping[str, str]] = (),
        encryption_configuration: Mapping[str, Any] | None = None,
    ) -> ActivityRecord:
        """CreateActivity; again with the same name gives the same answer. Raises InvalidName."""
        raise NotImplementedError

    def describe(self, activity_arn: str) -> ActivityRecord:
        """DescribeActivity. Raises ActivityDoesNotExist, InvalidArn."""
        raise NotImplementedError

    def list(self, *, max_results: int = 100, next_token: str | None = None) -> Page[ActivityRecord]:
        """ListActivities."""
        raise NotImplementedError

    async def delete(self, activity_arn: str) -> None:
        """DeleteActivity. Deleting what is gone is no error."""
        raise NotImplementedError

    async def get_task(
        self, activity_arn: str, *, worker_name: str | None = None, wait_seconds: float = 60.0
    ) -> ActivityTask | None:
        """GetActivityTask: the oldest waiting task, or None after `wait_seconds` (AWS: 60). Pollers are served in turn."""
        raise NotImplementedError
