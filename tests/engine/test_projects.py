"""Loading a project: machines, functions, schedules, logging; again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell.engine import Engine, VirtualClock
from stepwell.language import DefinitionError
from stepwell.project import load_project

TOML = """
[project]
name = "shop"

[machines.order]
definition = "order.asl.json"
logging = "ALL"
schedule = "rate(1 hour)"
tracing = true

[functions.charge]
handler = "shop.functions:charge"
inline = true
"""
DEFINITION = """{
  "StartAt": "Charge",
  "States": {
    "Charge": {"Type": "Task", "Resource": "${functions.charge}", "End": true}
  }
}"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stepwell.toml").write_text(TOML)
    (tmp_path / "order.asl.json").write_text(DEFINITION)
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "functions.py").write_text("def charge(event, context):\n    return {'charged': event.get('n', 0)}\n")
    return tmp_path


async def test_a_project_runs_and_loading_it_again_changes_nothing(folder: Path) -> None:
    project = load_project(folder)
    clock = VirtualClock()
    for round in range(2):
        async with Engine.open(folder / "data", clock=clock) as engine:
            machines = await engine.load_project(project)
            order = machines["order"]
            assert await order.run({"n": round}) == {"charged": round}
            described = engine.machines.describe(order.arn)
            assert described.revision_id is None, "nothing changed, so there is no new revision"
            assert described.tracing_configuration == {"enabled": True}
            assert described.logging_configuration["level"] == "ALL"
            schedules = engine.schedules.list()
            assert len(schedules) == 1
            assert schedules[0].state_machine_arn == order.arn
            assert schedules[0].since.timestamp() * 1000 == clock.now() - round * 1_800_000
            await clock.advance(1800)
    logged = list((folder / "data" / "logs").glob("executions-*.jsonl"))
    assert logged
    assert '"TaskStateEntered"' in logged[0].read_text()


async def test_schedules_may_be_left_alone(folder: Path) -> None:
    async with Engine.open(folder / "data") as engine:
        await engine.load_project(load_project(folder), schedules=False)
        assert engine.schedules.list() == []


async def test_a_mistake_in_a_definition_names_file_and_line(folder: Path) -> None:
    (folder / "order.asl.json").write_text(DEFINITION.replace('"End": true', '"Next": "Nowhere"'))
    async with Engine.open(folder / "data") as engine:
        with pytest.raises(DefinitionError, match=r"order\.asl\.json:4:\d+: error MISSING_TRANSITION_TARGET"):
            await engine.load_project(load_project(folder))
