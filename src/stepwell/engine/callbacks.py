"""Answers by task token: from activity workers and from whoever got the token of a `.waitForTaskToken` task."""

from __future__ import annotations

__all__ = ["Callbacks"]


class Callbacks:
    """`engine.callbacks`. When a method returns, the answer is on disk and counts; tokens stay valid across restarts.

    All raise InvalidToken (not a token), TaskDoesNotExist (no such execution) and TaskTimedOut (answered, timed out, cancelled).
    """

    async def succeed(self, task_token: str, output: str | bytes) -> None:
        """SendTaskSuccess. Raises InvalidOutput too."""
        raise NotImplementedError

    async def fail(self, task_token: str, *, error: str | None = None, cause: str | None = None) -> None:
        """SendTaskFailure."""
        raise NotImplementedError

    async def heartbeat(self, task_token: str) -> None:
        """SendTaskHeartbeat."""
        raise NotImplementedError
