"""Every STANDARD execution that a test runs is replayed from its journal when its engine closes, and must give the same bytes."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from stepwell.engine import Engine
from stepwell.engine.launching import identity_of
from stepwell.engine.mapruns import pointer_of
from stepwell.engine.rows import ExecutionRow
from stepwell.interpreter import events, load, start
from stepwell.interpreter.effects import EmitHistory


def replayed(engine: Engine, row: ExecutionRow) -> None:
    """Start the execution of a row anew, give it its inputs, and compare history, snapshot and outcome with the journal's."""
    journal = engine.journal
    parent = None if row.parent is None else journal.execution(row.parent)
    execution, effects = start(
        engine.registry.compiled(row.revision, "" if row.map_run is None else pointer_of(journal, row.map_run)),
        row.input,
        identity_of(
            row, engine.registry, None if parent is None else engine.arns.execution(parent.resource, parent.name)
        ),
        at=row.start,
        seed=row.seed,
    )
    snapshot = journal.snapshot(row.id)
    for sequence, data in journal.inputs(row.id):
        effects += execution.handle(events.decode(data))
        if snapshot is not None and snapshot[0] == sequence:
            assert load(execution.machine, snapshot[1]).dump() == execution.dump(), f"{row.name}: another snapshot"
    again = [event for effect in effects if isinstance(effect, EmitHistory) for event in effect.events]
    kept: list[Any] = [
        event for _, _, data in journal.history(row.id, 1, len(again) + 1) for event in orjson.loads(data)
    ]
    assert orjson.dumps(again) == orjson.dumps(kept), f"{row.name}: another history"
    assert (execution.status, execution.output) == (row.status, row.output), f"{row.name}: another outcome"


@pytest.fixture(autouse=True)
def _replays(monkeypatch: pytest.MonkeyPatch) -> None:
    close = Engine.__aexit__

    async def replaying_close(engine: Engine, kind: Any, error: Any, trace: Any) -> None:
        problem: AssertionError | None = None
        if error is None and engine.mode != "read":
            engine.journal.flush()
            try:
                for row in engine.journal._read("SELECT * FROM executions WHERE resource NOT LIKE '%:express'"):
                    replayed(engine, ExecutionRow(*row))
            except AssertionError as found:
                problem = found
        await close(engine, kind, error, trace)
        if problem is not None:
            raise problem

    monkeypatch.setattr(Engine, "__aexit__", replaying_close)
