"""Numbers from an execution's data that no host could count to."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from stepwell.engine import Engine
from stepwell.tasks.requests import TaskError

from .conftest import ROLE, Runner, machine, task

ITERATION: dict[str, Any] = machine(B={"Type": "Pass", "End": True})
CHILD = {**ITERATION, "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}}


async def outcome(engine: Engine, state: dict[str, Any], number: Any) -> Any:
    await engine.machines.create("m", orjson.dumps(machine(A={**state, "End": True})).decode(), ROLE)
    input = orjson.dumps({"n": number, "list": [1, 2]})
    started = await engine.executions.start(engine.arns.machine("m"), input)
    return await engine.executions.wait(started.execution_arn)


@pytest.mark.parametrize("number", [2**63, 2**64 - 1, 1e20, 1e300])
@pytest.mark.parametrize("field", ["MaxConcurrencyPath", "ToleratedFailureCountPath"])
async def test_a_limit_beyond_a_long(engine: Engine, field: str, number: Any) -> None:
    record = await outcome(engine, {"Type": "Map", "ItemsPath": "$.list", field: "$.n", "ItemProcessor": CHILD}, number)
    assert record.error == "States.Runtime"
    assert f"The {field} field refers to value" in record.cause


@pytest.mark.parametrize("number", [0, -1, -(2**62)])
@pytest.mark.parametrize("field", ["MaxItemsPerBatch", "MaxInputBytesPerBatch"])
async def test_a_batch_of_nothing(engine: Engine, field: str, number: int) -> None:
    batcher = {f"{field}Path": "$.n"}
    state = {"Type": "Map", "ItemsPath": "$.list", "ItemBatcher": batcher, "ItemProcessor": CHILD}
    record = await outcome(engine, state, number)
    assert record.error == "States.Runtime"
    assert f"{field} must be positive." in record.cause


@pytest.mark.parametrize("jitter", ["NONE", "FULL"])
async def test_a_backoff_beyond_all_bounds(engine: Engine, runner: Runner, jitter: str) -> None:
    runner.answers["f"] = TaskError("E", "why")
    retry = {"ErrorEquals": ["States.ALL"], "BackoffRate": 1e300, "IntervalSeconds": 1, "MaxAttempts": 9}
    record = await outcome(engine, task("f", Retry=[{**retry, "JitterStrategy": jitter}]), 1)
    # The second pause is longer than a year, which no execution lasts.
    assert record.status in ("TIMED_OUT", "FAILED")
