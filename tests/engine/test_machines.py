"""The registry: idempotency, revisions, versions, aliases, deletion, tags."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from stepwell.engine import Engine
from stepwell.engine.errors import (
    ConflictException,
    InvalidArn,
    InvalidDefinition,
    InvalidLoggingConfiguration,
    InvalidName,
    InvalidToken,
    MissingRequiredParameter,
    ResourceNotFound,
    StateMachineAlreadyExists,
    StateMachineDeleting,
    StateMachineDoesNotExist,
    TooManyTags,
    ValidationException,
)
from stepwell.language import DefinitionError

from .conftest import ROLE, Runner, machine, task


def passing(result: Any = 0) -> str:
    return orjson.dumps(machine(A={"Type": "Pass", "Result": result, "End": True})).decode()


async def test_creating_twice_is_once(engine: Engine) -> None:
    first = await engine.machines.create("m", passing(), ROLE)
    again = await engine.machines.create("m", passing(), ROLE.replace("test", "other"))
    assert again == first
    assert engine.machines.describe(first.state_machine_arn).role_arn == ROLE
    for definition in (passing(1), passing() + " "):
        with pytest.raises(StateMachineAlreadyExists, match=r"^State Machine Already Exists: 'arn:.*:m'$"):
            await engine.machines.create("m", definition, ROLE)
    with pytest.raises(StateMachineAlreadyExists):
        await engine.machines.create("m", passing(), ROLE, type="EXPRESS")
    with pytest.raises(StateMachineAlreadyExists):
        await engine.machines.create("m", passing(), ROLE, publish=True)


async def test_bad_requests(engine: Engine) -> None:
    with pytest.raises(InvalidName, match=r"^Invalid Name: 'a b'$"):
        await engine.machines.create("a b", passing(), ROLE)
    with pytest.raises(InvalidArn):
        await engine.machines.create("m", passing(), "nobody")
    message = "Invalid State Machine Definition: 'SCHEMA_VALIDATION_FAILED: These fields are required: [States] at /'"
    with pytest.raises(InvalidDefinition) as caught:
        await engine.machines.create("m", '{"StartAt":"A"}', ROLE)
    assert message in str(caught.value)
    with pytest.raises(ValidationException, match=r"^Version description can only be set when publish is true$"):
        await engine.machines.create("m", passing(), ROLE, version_description="x")
    with pytest.raises(
        InvalidLoggingConfiguration, match=r"^Invalid Logging Configuration: Must specify exactly one Log Destination.$"
    ):
        await engine.machines.create("m", passing(), ROLE, logging_configuration={"level": "ALL"})
    assert engine.machines.list().items == []


async def test_updates_make_revisions(engine: Engine) -> None:
    arn = (await engine.machines.create("m", passing(), ROLE)).state_machine_arn
    assert engine.machines.describe(arn).revision_id is None
    with pytest.raises(MissingRequiredParameter, match=r"^Either the definition, the role ARN"):
        await engine.machines.update(arn)
    changed = await engine.machines.update(arn, definition=passing(1))
    assert changed.revision_id is not None
    described = engine.machines.describe(arn)
    assert (described.revision_id, described.definition) == (changed.revision_id, passing(1))
    same = await engine.machines.update(arn, definition=passing(1), role_arn=ROLE)
    assert same.revision_id == changed.revision_id
    with pytest.raises(StateMachineDoesNotExist):
        await engine.machines.update(arn + ":1", definition=passing(2))


async def test_running_executions_keep_their_definition(engine: Engine, runner: Runner) -> None:
    old = orjson.dumps(machine(A=task("work", Next="B"), B={"Type": "Pass", "Result": "old", "End": True})).decode()
    arn = (await engine.machines.create("m", old, ROLE)).state_machine_arn
    running = await engine.machine("m").start()
    await runner.wait_for_call()
    await engine.machines.update(arn, definition=passing("new"))
    assert await engine.machine("m").run() == "new"
    await running.stop()
    await running.redrive()
    runner.answers["work"] = 1
    assert engine.machines.describe_for_execution(running.arn).definition == old
    await running.stop()


async def test_versions(engine: Engine) -> None:
    created = await engine.machines.create("m", passing(0), ROLE, publish=True)
    arn, first = created.state_machine_arn, created.state_machine_version_arn
    assert first == arn + ":1"
    again = await engine.machines.update(arn, definition=passing(0), publish=True)
    assert again.state_machine_version_arn == first
    await engine.machines.update(arn, definition=passing(1))
    second = await engine.machines.publish_version(arn, description="two")
    assert second.state_machine_version_arn == arn + ":2"
    assert (await engine.machines.publish_version(arn)).state_machine_version_arn == arn + ":2"
    assert [item.state_machine_version_arn for item in engine.machines.list_versions(arn).items] == [
        arn + ":2",
        arn + ":1",
    ]
    described = engine.machines.describe(arn + ":2")
    assert (described.description, described.definition) == ("two", passing(1))
    current = engine.machines.describe(arn).revision_id
    with pytest.raises(ConflictException) as caught:
        await engine.machines.publish_version(arn, revision_id="other")
    assert str(caught.value) == (
        "Failed to publish the State Machine version for revision other. "
        f"The current State Machine revision is {current}."
    )
    for qualifier, result in (("1", 0), ("2", 1)):
        started = await engine.executions.start(f"{arn}:{qualifier}")
        record = await engine.executions.wait(started.execution_arn)
        assert (record.output, record.state_machine_version_arn) == (str(result), f"{arn}:{qualifier}")
    assert len(engine.executions.list(state_machine_arn=arn + ":1").items) == 1
    assert len(engine.executions.list(state_machine_arn=arn).items) == 2
    await engine.machines.delete_version(arn + ":2")
    await engine.machines.delete_version(arn + ":2")
    with pytest.raises(StateMachineDoesNotExist):
        await engine.executions.start(arn + ":2")
    await engine.machines.update(arn, definition=passing(2))
    assert (await engine.machines.publish_version(arn)).state_machine_version_arn == arn + ":3", "never used again"


async def test_aliases_route_by_weight(engine: Engine) -> None:
    arn = (await engine.machines.create("m", passing(0), ROLE, publish=True)).state_machine_arn
    await engine.machines.update(arn, definition=passing(1), publish=True)
    routing = [
        {"stateMachineVersionArn": arn + ":1", "weight": 80},
        {"stateMachineVersionArn": arn + ":2", "weight": 20},
    ]
    alias = await engine.machines.create_alias("live", routing, description="d")
    assert (await engine.machines.create_alias("live", routing, description="d")).creation_date == alias.creation_date
    with pytest.raises(ConflictException):
        await engine.machines.create_alias("live", routing, description="other")
    assert alias.state_machine_alias_arn == arn + ":live"
    seen: Counter[str] = Counter()
    for _ in range(300):
        started = await engine.executions.start(arn + ":live")
        record = engine.executions.describe(started.execution_arn)
        assert record.state_machine_alias_arn == arn + ":live"
        seen[record.state_machine_version_arn or ""] += 1
    assert 200 < seen[arn + ":1"] < 280
    with pytest.raises(ConflictException, match=r"Current list of aliases referencing this version: \[live\]$"):
        await engine.machines.delete_version(arn + ":1")
    await engine.machines.update_alias(
        arn + ":live", routing_configuration=[{"stateMachineVersionArn": arn + ":2", "weight": 100}]
    )
    await engine.machines.delete_version(arn + ":1")
    assert [item.name for item in engine.machines.list_aliases(arn).items] == ["live"]
    await engine.machines.delete_alias(arn + ":live")
    await engine.machines.delete_alias(arn + ":live")
    with pytest.raises(ResourceNotFound, match=r"^Request references a resource that does not exist\.$"):
        await engine.machines.update_alias(arn + ":live", description="x")
    with pytest.raises(InvalidToken):
        engine.machines.list_aliases(arn, next_token="x")


@pytest.mark.parametrize("weights", [[50, 49], [100, 100], [101, -1], []])
async def test_bad_routing(engine: Engine, weights: list[int]) -> None:
    arn = (await engine.machines.create("m", passing(0), ROLE, publish=True)).state_machine_arn
    await engine.machines.update(arn, definition=passing(1), publish=True)
    routing = [{"stateMachineVersionArn": f"{arn}:{n + 1}", "weight": weight} for n, weight in enumerate(weights)]
    with pytest.raises(ValidationException):
        await engine.machines.create_alias("live", routing)


async def test_deleting_waits_for_running_executions(engine: Engine, runner: Runner) -> None:
    work = await engine.load(machine(Work=task("work")))
    execution = await work.start()
    await runner.wait_for_call()
    await engine.machines.delete(work.arn)
    assert engine.machines.describe(work.arn).status == "DELETING"
    with pytest.raises(StateMachineDeleting):
        await work.start()
    await execution.stop()
    await execution.wait()
    with pytest.raises(StateMachineDoesNotExist):
        engine.machines.describe(work.arn)
    assert execution.describe().status == "ABORTED"
    await engine.machines.delete(work.arn)


async def test_tags(engine: Engine) -> None:
    arn = (await engine.machines.create("m", passing(), ROLE, tags=[{"key": "a", "value": "1"}])).state_machine_arn
    await engine.machines.tag(arn, [{"key": "a", "value": "2"}, {"key": "b", "value": ""}])
    assert engine.machines.tags(arn) == [{"key": "a", "value": "2"}, {"key": "b", "value": ""}]
    await engine.machines.untag(arn, ["a", "c"])
    assert engine.machines.tags(arn) == [{"key": "b", "value": ""}]
    with pytest.raises(TooManyTags):
        await engine.machines.tag(arn, [{"key": str(n), "value": ""} for n in range(50)])
    with pytest.raises(ResourceNotFound):
        engine.machines.tags(arn + "x")


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async with Engine.open(tmp_path) as engine:
        arn = (await engine.machines.create("m", passing(0), ROLE, publish=True)).state_machine_arn
        await engine.machines.update(
            arn,
            definition=passing(1),
            publish=True,
            tracing_configuration={"enabled": True},
        )
        await engine.machines.create_alias("live", [{"stateMachineVersionArn": arn + ":2", "weight": 100}])
        await engine.machines.tag(arn, [{"key": "a", "value": "1"}])
        await engine.activities.create("work")
        before = engine.machines.describe(arn), engine.machines.describe_alias(arn + ":live")
    async with Engine.open(tmp_path) as engine:
        assert (engine.machines.describe(arn), engine.machines.describe_alias(arn + ":live")) == before
        assert before[0].tracing_configuration == {"enabled": True}
        assert engine.machines.tags(arn) == [{"key": "a", "value": "1"}]
        assert [activity.name for activity in engine.activities.list().items] == ["work"]
        assert await engine.machine("m").run() == 1
        assert (await engine.machines.update(arn, definition=passing(2), publish=True)).state_machine_version_arn == (
            arn + ":3"
        )


async def test_loading_a_bad_file_names_the_place(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "bad.asl.json"
    file.write_text('{\n  "StartAt": "A",\n  "States": {\n    "A": {"Type": "Pass", "Next": "B"}\n  }\n}')
    with pytest.raises(DefinitionError, match=r"bad\.asl\.json:4:\d+: error MISSING_TRANSITION_TARGET"):
        await engine.load(file)


async def test_loading_yaml_with_substitutions_and_functions(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "greeting.asl.yaml"
    file.write_text("StartAt: A\nStates:\n  A:\n    Type: Pass\n    Result: ${word}\n    End: true\n")
    greeting = await engine.load(file, substitutions={"word": "hello"})
    assert greeting.name == "greeting"
    assert await greeting.run() == "hello"
    again = await engine.load(file, substitutions={"word": "bye"})
    assert again.arn == greeting.arn
    assert await again.run() == "bye"
