"""Map runs: the visible side of distributed Map states."""

from __future__ import annotations

from stepwell.engine.records import MapRunListItem, MapRunRecord, Page

__all__ = ["MapRuns"]


class MapRuns:
    """`engine.map_runs`."""

    def describe(self, map_run_arn: str) -> MapRunRecord:
        """DescribeMapRun. Raises ResourceNotFound, InvalidArn."""
        raise NotImplementedError

    def list(
        self, execution_arn: str, *, max_results: int = 100, next_token: str | None = None
    ) -> Page[MapRunListItem]:
        """ListMapRuns of an execution."""
        raise NotImplementedError

    async def update(
        self,
        map_run_arn: str,
        *,
        max_concurrency: int | None = None,
        tolerated_failure_count: int | None = None,
        tolerated_failure_percentage: float | None = None,
    ) -> None:
        """UpdateMapRun of a running map run."""
        raise NotImplementedError
