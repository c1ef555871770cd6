"""Starting, reading, listing and stopping executions."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from stepwell.engine import Engine, ExecutionFailed, VirtualClock
from stepwell.engine.errors import (
    ExecutionAlreadyExists,
    ExecutionDoesNotExist,
    InvalidArn,
    InvalidExecutionInput,
    InvalidName,
    InvalidToken,
    StateMachineDoesNotExist,
    ValidationException,
)
from stepwell.tasks.requests import TaskError

from .conftest import Runner, machine, task, types

HELLO = machine(Hello={"Type": "Pass", "Result": {"hello": "world"}, "End": True})
NAP = machine(Nap={"Type": "Wait", "Seconds": 100, "End": True})


async def test_a_pass_state_runs_to_its_result(engine: Engine) -> None:
    hello = await engine.load(HELLO)
    execution = await hello.start({"x": 1}, name="first")
    assert await execution == {"hello": "world"}
    assert execution.status == "SUCCEEDED"
    assert types(execution.history()) == [
        "ExecutionStarted",
        "PassStateEntered",
        "PassStateExited",
        "ExecutionSucceeded",
    ]
    record = execution.describe()
    assert record.input == '{"x":1}'
    assert record.output == '{"hello":"world"}'
    assert record.redrive_status_reason == "Execution is SUCCEEDED and cannot be redriven"
    assert execution.arn == "arn:aws:states:us-east-1:000000000000:execution:machine:first"


async def test_failure_is_raised_with_error_and_cause(engine: Engine) -> None:
    failing = await engine.load(machine(No={"Type": "Fail", "Error": "Sorry", "Cause": "not today"}))
    with pytest.raises(ExecutionFailed) as caught:
        await failing.run()
    assert (caught.value.status, caught.value.error, caught.value.cause) == ("FAILED", "Sorry", "not today")


async def test_events_come_as_they_happen(engine: Engine, runner: Runner) -> None:
    gate = asyncio.Event()

    async def answer(_: object) -> str:
        await gate.wait()
        return "done"

    runner.answers["slow"] = answer
    slow = await engine.load(machine(Slow=task("slow")))
    execution = await slow.start()
    seen = []
    async for event in execution.events():
        seen.append(event["type"])
        if event["type"] == "LambdaFunctionStarted":
            assert "LambdaFunctionSucceeded" not in types(execution.history())
            gate.set()
    assert seen == types(execution.history())
    assert seen[-1] == "ExecutionSucceeded"


async def test_events_are_complete_when_something_just_happened(engine: Engine, runner: Runner) -> None:
    """Also one that was decided before anybody watched, and is on disk only after the stored history was read."""
    runner.answers["f"] = TaskError("Busy", None)
    flaky = await engine.load(machine(A=task("f", Retry=[{"ErrorEquals": ["Busy"], "MaxAttempts": 2}])))
    execution = await flaky.start({})
    seen = [event["id"] async for event in execution.events()]
    assert seen == [event["id"] for event in execution.history()]


async def test_events_of_an_ended_execution_end(engine: Engine) -> None:
    execution = await (await engine.load(HELLO)).start()
    await execution
    assert [event["id"] async for event in execution.events(after=2)] == [3, 4]


async def test_same_name_and_input_of_a_running_execution_is_the_same_execution(engine: Engine) -> None:
    nap = await engine.load(NAP)
    first = await engine.executions.start(nap.arn, '{"a": 1, "b": 2}', name="n")
    again = await engine.executions.start(nap.arn, '{"a":1,"b":2}', name="n")
    assert again == first
    with pytest.raises(ExecutionAlreadyExists, match=r"^Execution Already Exists: 'arn:.*:n'$"):
        await engine.executions.start(nap.arn, '{"a": 2}', name="n")
    await engine.executions.wait(first.execution_arn)
    with pytest.raises(ExecutionAlreadyExists):
        await engine.executions.start(nap.arn, '{"a": 1, "b": 2}', name="n")


async def test_same_name_in_one_batch_starts_once(engine: Engine) -> None:
    nap = await engine.load(NAP)
    started = await asyncio.gather(*(engine.executions.start(nap.arn, "{}", name="n") for _ in range(5)))
    assert len({one.execution_arn for one in started}) == 1
    assert len(engine.executions.list(state_machine_arn=nap.arn).items) == 1


async def test_a_name_is_free_again_after_ninety_days(engine: Engine, clock: VirtualClock) -> None:
    hello = await engine.load(HELLO)
    first = await hello.start(name="n")
    await first
    await clock.advance(90 * 86400 - 10)
    with pytest.raises(ExecutionAlreadyExists):
        await hello.start(name="n")
    await clock.advance(20)
    assert await (await hello.start({"new": 1}, name="n")) == {"hello": "world"}
    assert engine.executions.describe(first.arn).input == '{"new":1}'


@pytest.mark.parametrize("name", ["", "a" * 81, "a b", "a/b", "a:b", "a<b", "ü\x00", "a\\b"])
async def test_bad_names_are_refused(engine: Engine, name: str) -> None:
    hello = await engine.load(HELLO)
    with pytest.raises(InvalidName):
        await hello.start(name=name)


async def test_bad_input_is_refused(engine: Engine) -> None:
    hello = await engine.load(HELLO)
    for text in ("{", "", "nope", '"' + "x" * 262_144 + '"'):
        with pytest.raises(InvalidExecutionInput):
            await engine.executions.start(hello.arn, text)
    await engine.executions.start(hello.arn, '"' + "x" * 262_142 + '"')


async def test_unknown_things_have_aws_texts(engine: Engine) -> None:
    arn = "arn:aws:states:us-east-1:000000000000:stateMachine:nope"
    with pytest.raises(StateMachineDoesNotExist, match=r"^State Machine Does Not Exist: 'arn:.*nope'$"):
        await engine.executions.start(arn)
    with pytest.raises(InvalidArn, match=r"^Invalid Arn: 'Invalid ARN prefix: bad'$"):
        await engine.executions.start("bad")
    with pytest.raises(InvalidArn, match=r"^Invalid Arn: 'Invalid ARN prefix: bad'$"):
        engine.executions.describe("bad")
    with pytest.raises(ExecutionDoesNotExist, match=r"^Execution Does Not Exist: 'arn:.*:nope:x'$"):
        engine.executions.describe("arn:aws:states:us-east-1:000000000000:execution:nope:x")
    with pytest.raises(InvalidArn, match="Resource type not valid in this context: express"):
        engine.executions.describe("arn:aws:states:us-east-1:000000000000:express:m:x:y")


async def test_listing_is_paged_newest_first_and_filtered(engine: Engine) -> None:
    hello = await engine.load(HELLO, name="hello")
    nap = await engine.load(NAP, name="nap")
    for number in range(25):
        await hello.start(name=f"h{number}")
    waiting = await nap.start(name="w")
    seen: list[str] = []
    token = None
    while True:
        page = engine.executions.list(state_machine_arn=hello.arn, max_results=10, next_token=token)
        seen += [item.name for item in page.items]
        token = page.next_token
        if token is None:
            break
    assert seen == [f"h{number}" for number in reversed(range(25))]
    assert [item.name for item in engine.executions.list(status="RUNNING").items] == ["w"]
    assert len(engine.executions.list(status="SUCCEEDED", max_results=1000).items) == 25
    failing = await engine.load(machine(No={"Type": "Fail"}), name="failing")
    for number in range(3):
        await (await failing.start(name=f"f{number}")).wait()
    failed = engine.executions.list(state_machine_arn=failing.arn, status="FAILED", max_results=2)
    rest = engine.executions.list(
        state_machine_arn=failing.arn, status="FAILED", max_results=2, next_token=failed.next_token
    )
    assert [item.name for item in failed.items + rest.items] == ["f2", "f1", "f0"]
    assert engine.executions.list(state_machine_arn=failing.arn, status="ABORTED").items == []
    with pytest.raises(InvalidToken, match=r"^Invalid Token: 'Invalid token'$"):
        engine.executions.list(next_token="rubbish")
    with pytest.raises(ValidationException, match="less than or equal to 1000"):
        engine.executions.list(max_results=1001)
    await waiting.stop()


@pytest.fixture
async def long_execution(engine: Engine) -> str:
    states = {f"S{n}": {"Type": "Pass", "Result": n, "Next": f"S{n + 1}"} for n in range(300)}
    states["S300"] = {"Type": "Pass", "End": True}
    execution = await (await engine.load(machine(**states))).start()
    await execution
    return execution.arn


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", [7, 100, 250, 604, 1000])
async def test_history_pages_hold_every_event_once(
    engine: Engine, long_execution: str, size: int, reverse: bool
) -> None:
    ids: list[int] = []
    token = None
    while True:
        page = engine.executions.history(long_execution, max_results=size, reverse=reverse, next_token=token)
        ids += [event["id"] for event in page.items]
        token = page.next_token
        if token is None:
            break
        assert len(page.items) == size
    expected = list(range(1, 605))
    assert ids == (expected[::-1] if reverse else expected)


async def test_history_without_execution_data(engine: Engine) -> None:
    execution = await (await engine.load(HELLO)).start({"secret": "s3cret"})
    await execution
    data, _ = engine.executions.history_json(execution.arn, include_data=False)
    assert b"s3cret" not in data
    assert orjson.loads(data)[0]["executionStartedEventDetails"]["roleArn"]


async def test_stop_aborts_with_error_and_cause(engine: Engine, runner: Runner) -> None:
    stuck = await (await engine.load(machine(Stuck=task("stuck")))).start()
    await runner.wait_for_call()
    await stuck.stop(error="E", cause="C")
    record = await stuck.wait()
    assert (record.status, record.error, record.cause) == ("ABORTED", "E", "C")
    assert runner.cancelled
    history = stuck.history()
    assert types(history)[-1] == "ExecutionAborted"
    await stuck.stop()  # again: no error, no change
    assert stuck.history() == history


async def test_a_subscriber_sees_committed_events_in_order(engine: Engine) -> None:
    seen: list[tuple[str, int]] = []
    unsubscribe = engine.subscribe(lambda who, events: seen.extend((who.name, event["id"]) for event in events))
    await (await engine.load(HELLO)).run(name="a")
    assert seen == [("a", 1), ("a", 2), ("a", 3), ("a", 4)]
    unsubscribe()
    await (await engine.load(HELLO)).run(name="b")
    assert len(seen) == 4
    assert engine.metrics.executions_ended["STANDARD", "SUCCEEDED"] == 2
