"""After a restart, tasks wait for what an earlier run was given: they neither fail nor go to AWS."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stepwell.engine import Engine
from stepwell.project import load_project

from .conftest import machine, task

FUNCTIONS = """
import json, os, time
from pathlib import Path
def slow(event, context):
    Path(event["file"]).open("a").write("x")
    while event["hold"] and not Path(event["file"] + ".go").exists():
        time.sleep(0.01)
    return "done"
"""
TOML = """
[project]
name = "orders"
[machines.orders]
definition = "orders.asl.json"
[functions.slow]
handler = "work:slow"
[topics.alerts]
"""
ASL = """{"StartAt": "A", "States": {
  "A": {"Type": "Task", "Resource": "${functions.slow}", "Next": "B"},
  "B": {"Type": "Task", "Resource": "arn:aws:states:::sns:publish", "End": true,
        "Parameters": {"TopicArn": "${topics.alerts}", "Message": "done"}, "ResultPath": null}}}"""


async def cut_off(engine: Engine) -> None:
    """End as a crash would: nothing is written, nothing is answered."""
    engine._host.stop()
    engine.schedules.stop()
    engine.journal._abandon()
    await engine.functions.close(grace=0)


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_task_waits_for_its_function(tmp_path: Path, at_once: bool, caplog: pytest.LogCaptureFixture) -> None:
    running = asyncio.Event()

    async def forever(_event: Any, _context: Any) -> None:
        running.set()
        await asyncio.Event().wait()

    def answer(event: Any, _context: Any) -> Any:
        return event

    engine = await Engine.open(tmp_path).__aenter__()
    one = await engine.load(machine(A=task("greet")), functions={"greet": forever})
    execution = await one.start({"n": 1}, name="first")
    await running.wait()
    await cut_off(engine)
    async with Engine.open(tmp_path) as engine:
        if not at_once:
            while "waits for the function" not in caplog.text:
                await asyncio.sleep(0.01)
        assert engine.executions.status(execution.arn) == "RUNNING"
        await engine.load(machine(A=task("greet")), functions={"greet": answer})
        assert await asyncio.wait_for(_result(engine, execution.arn), 10) == {"n": 1}


async def _result(engine: Engine, arn: str) -> Any:
    return await engine.execution(arn)


def project_at(folder: Path, toml: str = TOML) -> Any:
    folder.mkdir(exist_ok=True)
    (folder / "stepwell.toml").write_text(toml)
    (folder / "orders.asl.json").write_text(ASL)
    (folder / "work.py").write_text(FUNCTIONS)
    return load_project(folder)


async def test_a_projects_functions_and_topics_are_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    project = project_at(tmp_path / "project")
    file = tmp_path / "calls"
    engine = await Engine.open(tmp_path / "data").__aenter__()
    loaded = await engine.load_project(project)
    execution = await loaded["orders"].start({"file": str(file), "hold": True})
    while not file.exists():
        await asyncio.sleep(0.01)
    await cut_off(engine)
    Path(f"{file}.go").touch()
    async with Engine.open(tmp_path / "data") as engine:
        while "waits for the function" not in caplog.text:
            await asyncio.sleep(0.01)
        # The topic is there before anybody loads the project.
        publish = await engine.load(
            machine(
                B={
                    "Type": "Task",
                    "Resource": "arn:aws:states:::sns:publish",
                    "End": True,
                    "Parameters": {"TopicArn": next(iter(engine._belongings.topics)), "Message": "hello"},
                }
            ),
            name="publish",
        )
        assert "MessageId" in await publish.run({})
        await engine.load_project(project)
        await asyncio.wait_for(_result(engine, execution.arn), 20)
    assert file.read_text() == "xx"  # cut off, and run again


async def test_what_a_project_gives_no_more_is_not_waited_for(tmp_path: Path) -> None:
    project = project_at(tmp_path / "project")
    async with Engine.open(tmp_path / "data") as engine:
        await engine.load_project(project)
    without = TOML.replace("[functions.slow]\nhandler", "[functions.other]\nhandler")
    (tmp_path / "other").mkdir()
    other = project_at(tmp_path / "other", without.replace('[machines.orders]\ndefinition = "orders.asl.json"\n', ""))
    async with Engine.open(tmp_path / "data") as engine:
        assert [key for key, _ in engine.journal.documents("function")] == ["slow"]
        await engine.load_project(other)
        await asyncio.wait_for(engine.functions.arrival("slow"), 1)
        assert [key for key, _ in engine.journal.documents("function")] == ["other"]
