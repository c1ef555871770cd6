"""Metrics of executions and functions, and the alarms that watch them, on a real project."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from stepwell.engine import Engine
from stepwell.project import load_project
from stepwell.toolkit.notices import LocalTopic

TOML = """\
[project]
name = "watched"

[machines.m]
definition = "m.asl.json"

[functions.f]
handler = "watched:fail"

[topics.pager]

[alarms.failed]
name = "Failed"
machine = "m"
metric = "ExecutionsFailed"
threshold = 1
topics = ["pager"]

[alarms.errors]
name = "Errors"
function = "f"
metric = "Errors"
comparison = ">"
threshold = 0

[alarms.timed-out]
name = "TimedOut"
machine = "m"
metric = "ExecutionsTimedOut"
threshold = 1
"""
MACHINE = {"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": "${functions.f}", "End": True}}}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "stepwell.toml").write_text(TOML)
    (folder / "m.asl.json").write_text(json.dumps(MACHINE))
    (folder / "watched.py").write_text("def fail(event, context):\n    raise ValueError('no')\n")
    return folder


async def test_a_failing_execution_sets_off_the_alarms_that_watch_it_once(project: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with Engine.open(data) as engine:
        machines = await engine.load_project(load_project(project))
        assert engine.monitoring is not None
        now = time.time()
        assert await engine.monitoring.evaluate(now) == {"Failed": "OK", "Errors": "OK", "TimedOut": "OK"}
        execution = await machines["m"].start({})
        assert (await execution.wait()).status == "FAILED"
        states = await engine.monitoring.evaluate(time.time())
        assert states == {"Failed": "ALARM", "Errors": "ALARM", "TimedOut": "OK"}
        await engine.monitoring.evaluate(time.time())
        (notice,) = LocalTopic(data, next(iter((data / "notices").glob("*.jsonl"))).stem).notices()
        assert notice.subject == 'ALARM: "Failed"'
        body = json.loads(notice.body)
        assert (body["OldStateValue"], body["NewStateValue"]) == ("OK", "ALARM")
        assert body["Trigger"]["Dimensions"] == [{"name": "StateMachineArn", "value": machines["m"].arn}]
        later = await engine.monitoring.evaluate(time.time() + 3600)
        assert later["Failed"] == "OK"


async def test_what_was_counted_is_written_when_the_engine_closes(project: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    loaded = load_project(project)
    async with Engine.open(data) as engine:
        machines = await engine.load_project(loaded)
        await (await machines["m"].start({})).wait()
    async with Engine.open(data) as engine:
        await engine.load_project(loaded)
        assert engine.monitoring is not None
        assert (await engine.monitoring.evaluate(time.time()))["Failed"] == "ALARM"
