"""Arguments that are no objects: a fault of the execution, never of its host."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from stepwell.engine import Engine

from .conftest import ROLE, machine, task

CHILD: dict[str, Any] = {
    **machine(B={"Type": "Pass", "End": True}),
    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
}
READER = {"ItemReader": {"Resource": "arn:aws:states:::s3:listObjectsV2", "Arguments": "{% $states.input.x %}"}}
WRITER = {"ResultWriter": {"Resource": "arn:aws:states:::s3:putObject", "Arguments": "{% $states.input.x %}"}}


@pytest.mark.parametrize("value", [[1], "text", 7, True])
@pytest.mark.parametrize(("fields", "name"), [(READER, "ItemReader"), ({**WRITER, "Items": [1]}, "ResultWriter")])
async def test_a_map_runs_reader_and_writer(engine: Engine, fields: dict[str, Any], name: str, value: Any) -> None:
    state = {"Type": "Map", "ItemProcessor": CHILD, "End": True, **fields}
    definition = {**machine(A=state), "QueryLanguage": "JSONata"}
    await engine.machines.create("m", orjson.dumps(definition).decode(), ROLE)
    started = await engine.executions.start(engine.arns.machine("m"), orjson.dumps({"x": value}))
    record = await engine.executions.wait(started.execution_arn)
    assert record.error == "States.Runtime"
    assert f"The {name} arguments must be a JSON object." in (record.cause or "")


@pytest.mark.parametrize("value", [[1], "text", 7, {"RoleArn": 1}])
async def test_credentials(engine: Engine, value: Any) -> None:
    state = {**task("f"), "QueryLanguage": "JSONata", "Credentials": "{% $states.input.x %}"}
    await engine.machines.create("m", orjson.dumps(machine(A=state)).decode(), ROLE)
    started = await engine.executions.start(engine.arns.machine("m"), orjson.dumps({"x": value}))
    record = await engine.executions.wait(started.execution_arn)
    assert record.error == "States.Runtime"
    assert "The Credentials field must be a JSON object" in (record.cause or "")
