"""What a person sees of a run: rows and lines made from history events."""

from __future__ import annotations

from typing import Any

from stepwell.cli.progress import Progress


def event(number: int, previous: int, kind: str, at: float = 0.0, **details: Any) -> dict[str, Any]:
    body: dict[str, Any] = {"id": number, "previousEventId": previous, "type": kind, "timestamp": 1000.0 + at}
    if details:
        key = (
            "stateEntered" if kind.endswith("StateEntered") else "stateExited" if kind.endswith("StateExited") else kind
        )
        body[f"{key[0].lower()}{key[1:]}EventDetails"] = details
    return body


def feed(*events: dict[str, Any]) -> tuple[Progress, list[str | None]]:
    progress = Progress()
    return progress, [progress.feed(item) for item in events]


def test_a_retried_task_counts_its_retries_and_ends_done() -> None:
    progress, lines = feed(
        event(1, 0, "ExecutionStarted"),
        event(2, 0, "TaskStateEntered", name="Fetch"),
        event(3, 2, "LambdaFunctionScheduled"),
        event(4, 3, "LambdaFunctionStarted"),
        event(5, 4, "LambdaFunctionFailed", error="NetworkError", cause="reset"),
        event(6, 5, "LambdaFunctionScheduled", at=2.0),
        event(7, 6, "LambdaFunctionStarted", at=2.0),
        event(8, 7, "LambdaFunctionSucceeded", at=3.0),
        event(9, 8, "TaskStateExited", at=3.0, name="Fetch"),
        event(10, 9, "ExecutionSucceeded", at=3.0),
    )
    fetch = progress.states["Fetch"]
    assert (fetch.entered, fetch.left, fetch.retries, fetch.running) == (1, 1, 1, False)
    assert "Fetch attempt failed (NetworkError: reset)" in lines
    assert "Fetch retried" in lines
    assert progress.status == "SUCCEEDED"


def test_a_map_counts_items_whose_last_event_belongs_to_an_inner_state() -> None:
    progress, _ = feed(
        event(1, 0, "ExecutionStarted"),
        event(2, 0, "MapStateEntered", name="Each"),
        event(3, 2, "MapStateStarted", length=2),
        event(4, 3, "MapIterationStarted", name="Each", index=0),
        event(5, 4, "PassStateEntered", name="Inner"),
        event(6, 5, "PassStateExited", name="Inner"),
        event(7, 6, "MapIterationSucceeded", name="Each", index=0),
        event(8, 3, "MapIterationStarted", name="Each", index=1),
        event(9, 8, "PassStateEntered", name="Inner"),
        event(10, 9, "PassStateExited", name="Inner"),
        event(11, 10, "MapIterationFailed", name="Each", index=1),
    )
    each = progress.states["Each"]
    assert (each.items, each.items_done, each.items_failed) == (2, 1, 1)
    assert each.running
    assert each.describe() == "1/2 items, 1 failed"
    assert progress.states["Inner"].describe() == "2 times"


def test_a_map_that_is_entered_again_says_how_many_items_are_new() -> None:
    progress, lines = feed(
        event(1, 0, "ExecutionStarted"),
        event(2, 0, "MapStateEntered", name="Each"),
        event(3, 2, "MapStateStarted", length=5),
        event(4, 3, "MapStateExited", name="Each"),
        event(5, 4, "MapStateEntered", name="Each"),
        event(6, 5, "MapStateStarted", length=3),
    )
    assert [line for line in lines if "items" in line] == ["Each has 5 items", "Each has 3 more items, 8 in all"]
    assert progress.states["Each"].items == 8


def test_a_failed_execution_says_why() -> None:
    progress, lines = feed(
        event(1, 0, "ExecutionStarted"),
        event(2, 0, "FailStateEntered", name="Stop"),
        event(3, 2, "ExecutionFailed", error="E", cause="because"),
    )
    assert progress.status == "FAILED"
    assert lines[-1] == "execution failed (E: because)"


def test_the_table_has_a_row_for_each_state_in_order_of_entry() -> None:
    progress, _ = feed(
        event(1, 0, "ExecutionStarted"),
        event(2, 0, "PassStateEntered", name="B"),
        event(3, 2, "PassStateExited", name="B"),
        event(4, 3, "PassStateEntered", name="A"),
    )
    table = progress.table()
    assert list(table.columns[1].cells) == ["B", "A"]
