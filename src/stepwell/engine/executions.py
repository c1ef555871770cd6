"""Starting, reading, stopping and redriving executions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from stepwell.engine.records import (
    ExecutionListItem,
    ExecutionRecord,
    ExecutionStarted,
    Page,
    SyncExecutionRecord,
)

__all__ = ["Executions"]


class Executions:
    """`engine.executions`. What a coroutine acknowledges is on disk; reading methods are plain functions and see only that."""

    async def start(
        self,
        state_machine_arn: str,
        input: str | bytes = "{}",
        *,
        name: str | None = None,
        trace_header: str | None = None,
    ) -> ExecutionStarted:
        """StartExecution of a state machine, version or alias. Names are unique for 90 days.

        The same name and input while the execution runs gives the same answer; else ExecutionAlreadyExists. Raises InvalidArn,
        InvalidName, InvalidExecutionInput, StateMachineDoesNotExist, StateMachineDeleting.
        """
        raise NotImplementedError

    async def start_sync(
        self,
        state_machine_arn: str,
        input: str | bytes = "{}",
        *,
        name: str | None = None,
        trace_header: str | None = None,
    ) -> SyncExecutionRecord:
        """StartSyncExecution: EXPRESS only, returns when it ended."""
        raise NotImplementedError

    def describe(self, execution_arn: str, *, metadata_only: bool = False) -> ExecutionRecord:
        """DescribeExecution. Raises ExecutionDoesNotExist, InvalidArn."""
        raise NotImplementedError

    def list(
        self,
        *,
        state_machine_arn: str | None = None,
        map_run_arn: str | None = None,
        status: str | None = None,
        redrive_filter: str | None = None,
        max_results: int = 100,
        next_token: str | None = None,
    ) -> Page[ExecutionListItem]:
        """ListExecutions of a state machine, version, alias or map run, newest first. All there are when neither is given."""
        raise NotImplementedError

    def history(
        self,
        execution_arn: str,
        *,
        max_results: int = 1000,
        reverse: bool = False,
        next_token: str | None = None,
        include_data: bool = True,
    ) -> Page[dict[str, Any]]:
        """GetExecutionHistory: events in AWS's wire shape, `timestamp` in seconds as a float."""
        raise NotImplementedError

    def history_json(
        self,
        execution_arn: str,
        *,
        max_results: int = 100,
        reverse: bool = False,
        next_token: str | None = None,
        include_data: bool = True,
    ) -> tuple[bytes, str | None]:
        """The same as the JSON text of an array, mostly copied as it lies in the journal, and the next token."""
        raise NotImplementedError

    async def stop(self, execution_arn: str, *, error: str | None = None, cause: str | None = None) -> float:
        """StopExecution; gives the stop date. Stopping a closed execution changes nothing."""
        raise NotImplementedError

    async def redrive(self, execution_arn: str, *, client_token: str | None = None) -> float:
        """RedriveExecution; gives the redrive date. Raises ExecutionNotRedrivable."""
        raise NotImplementedError

    async def wait(self, execution_arn: str) -> ExecutionRecord:
        """Wait until the execution ended (and that is on disk), then describe it."""
        raise NotImplementedError

    def events(self, execution_arn: str, *, after: int = 0) -> AsyncIterator[dict[str, Any]]:
        """The history from event id `after` on, then every new event as it is committed, until the execution ended."""
        raise NotImplementedError
