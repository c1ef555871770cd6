"""The fixture `stepwell`: mocks, virtual time, assertions."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from stepwell.engine.errors import ExecutionFailed
from stepwell.testing import BlockingHarness, Failure, Harness, Later, Never
from stepwell.testing.mocks import Unmocked

LAMBDA = "arn:aws:lambda:us-east-1:000000000000:function:"


def machine(**states: Any) -> dict[str, Any]:
    return {"StartAt": next(iter(states)), "States": states}


def task(resource: str, **fields: Any) -> dict[str, Any]:
    return {"Type": "Task", "Resource": resource, **({} if "Next" in fields else {"End": True}), **fields}


RETRYING = machine(
    Check={"Type": "Pass", "Next": "Charge"},
    Charge=task(
        LAMBDA + "charge",
        Retry=[{"ErrorEquals": ["Busy"], "IntervalSeconds": 10, "BackoffRate": 2, "MaxAttempts": 2}],
        Catch=[{"ErrorEquals": ["States.ALL"], "Next": "Refund"}],
        Next="Done",
    ),
    Refund={"Type": "Pass", "Result": "refunded", "End": True},
    Done={"Type": "Succeed"},
)


def test_a_sequence_of_answers_for_retries(stepwell: BlockingHarness) -> None:
    order = stepwell.load(RETRYING)
    charge = stepwell.mock("Charge", Failure("Busy"), Failure("Busy", "still"), {"charged": True})
    run = order.run({"amount": 3})
    run.assert_succeeded({"charged": True})
    assert run.visited == ["Check", "Charge", "Done"]
    assert charge.calls == 3
    assert charge.inputs == [{"amount": 3}] * 3
    assert run.elapsed == 30
    assert [visit.output for visit in run.visits("Charge")] == [{"charged": True}]


@pytest.mark.parametrize(
    ("answers", "visited"),
    [
        (({"ok": 1},), ["Check", "Charge", "Done"]),
        ((Failure("Broken"),), ["Check", "Charge", "Refund"]),
        ((Failure("Busy"),), ["Check", "Charge", "Refund"]),
        ((ValueError("no"),), ["Check", "Charge", "Refund"]),
    ],
)
def test_parametrised(stepwell: BlockingHarness, answers: tuple[Any, ...], visited: list[str]) -> None:
    order = stepwell.load(RETRYING)
    stepwell.mock("Charge", *answers)
    run = order.run()
    run.assert_succeeded()
    run.assert_visited("Check", visited[-1])
    assert run.visited == visited


def test_mocks_by_resource_and_callables(stepwell: BlockingHarness) -> None:
    definition = machine(
        A=task(LAMBDA + "one", Next="B"),
        B=task("arn:aws:states:::sqs:sendMessage", Parameters={"QueueUrl": "q", "MessageBody.$": "$"}),
    )
    stepwell.mock("one", lambda given: given["n"] + 1)
    queue = stepwell.mock("sqs:sendMessage", {"MessageId": "m"})
    run = stepwell.load(definition).run({"n": 1})
    run.assert_succeeded({"MessageId": "m"})
    assert queue.inputs == [{"QueueUrl": "q", "MessageBody": 2}]


def test_timeouts_take_no_time(stepwell: BlockingHarness) -> None:
    stepwell.mock("Slow", Never())
    began = time.monotonic()
    run = stepwell.load(machine(Slow=task(LAMBDA + "slow", TimeoutSeconds=86_400))).run()
    run.assert_failed("States.Timeout")
    assert run.elapsed == 86_400
    assert time.monotonic() - began < 2


def test_answers_that_take_virtual_time(stepwell: BlockingHarness) -> None:
    stepwell.mock("Slow", Later(3600, "late"))
    run = stepwell.load(machine(Slow=task(LAMBDA + "slow"))).run()
    run.assert_succeeded("late")
    assert run.elapsed == 3600


def test_task_tokens_are_answered(stepwell: BlockingHarness) -> None:
    parameters = {"QueueUrl": "q", "MessageBody": {"token.$": "$$.Task.Token"}}
    asking = stepwell.load(
        machine(Ask=task("arn:aws:states:::sqs:sendMessage.waitForTaskToken", Parameters=parameters))
    )
    ask = stepwell.mock("Ask", Later(50, {"approved": True}))
    run = asking.run()
    run.assert_succeeded({"approved": True})
    assert run.counts["TaskSubmitted"] == 1
    assert ask.requests[0].token == ask.inputs[0]["MessageBody"]["token"]
    stepwell.mock("Ask", Failure("Denied", "by her"))
    asking.run().assert_failed("Denied", "her")


def test_activities_are_answered(stepwell: BlockingHarness) -> None:
    activity = "arn:aws:states:us-east-1:000000000000:activity:sort"
    sorting = stepwell.load(machine(Sort=task(activity)))
    work = stepwell.mock("Sort", sorted)
    sorting.run([3, 1, 2]).assert_succeeded([1, 2, 3])
    assert work.calls == 1


def test_functions_really_run(stepwell: BlockingHarness) -> None:
    class Nope(Exception):
        pass

    def check(event: dict[str, int], _context: Any) -> int:
        if event["n"] < 0:
            raise Nope("negative")
        return event["n"] * 2

    checking = stepwell.load(machine(Check=task("${check}")), functions={"check": check})
    checking.run({"n": 4}).assert_succeeded(8)
    checking.run({"n": -4}).assert_failed("Nope", "negative")


def test_nested_executions_run_when_their_machine_is_loaded(stepwell: BlockingHarness) -> None:
    stepwell.load(machine(Nap={"Type": "Wait", "Seconds": 60, "End": True}), name="child")
    parameters = {"StateMachineArn": "arn:aws:states:us-east-1:000000000000:stateMachine:child", "Input": {"x": 1}}
    parent = machine(Start=task("arn:aws:states:::states:startExecution.sync:2", Parameters=parameters))
    run = stepwell.load(parent, name="parent").run()
    run.assert_succeeded()
    assert run.output["Output"] == {"x": 1}
    assert run.elapsed == 60


def test_express_machines(stepwell: BlockingHarness) -> None:
    stepwell.mock("Fast", 1)
    run = stepwell.load(machine(Fast=task(LAMBDA + "fast")), type="EXPRESS").run()
    run.assert_succeeded(1)
    assert run.visited == ["Fast"]


def test_parallel_visits_have_their_own_outputs(stepwell: BlockingHarness) -> None:
    stepwell.mock("Square", lambda n: n * n)
    definition = machine(Each={"Type": "Map", "ItemProcessor": machine(Square=task(LAMBDA + "sq")), "End": True})
    run = stepwell.load(definition).run([1, 2, 3])
    assert sorted((visit.input, visit.output) for visit in run.visits("Square")) == [(1, 1), (2, 4), (3, 9)]


def test_time_moves_by_hand_too(stepwell: BlockingHarness) -> None:
    execution = stepwell.load(machine(Nap={"Type": "Wait", "Seconds": 100, "End": True})).start()
    stepwell.advance(99)
    assert execution.status == "RUNNING"
    stepwell.advance(1)
    assert execution.status == "SUCCEEDED"


def test_definition_files_with_placeholders(stepwell: BlockingHarness, tmp_path: Path) -> None:
    file = tmp_path / "m.asl.json"
    file.write_text(orjson.dumps(machine(A=task("${functions.lister}"))).decode())
    stepwell.mock("lister", ["a"])
    stepwell.load(file).run().assert_succeeded(["a"])


async def test_in_coroutines() -> None:
    async with Harness() as stepwell:
        stepwell.mock("A", 7)
        run = await (await stepwell.load(machine(A=task(LAMBDA + "a")))).run()
        run.assert_succeeded(7)


def test_what_is_not_mocked_is_named() -> None:
    with (
        pytest.raises(Unmocked, match=r"'Charge' called arn:.*:charge, which this test does not mock"),
        BlockingHarness() as stepwell,
    ):
        stepwell.load(RETRYING).run()


def test_more_calls_than_answers_are_an_error() -> None:
    with pytest.raises(Unmocked, match="has 2 answers and was called once more"), BlockingHarness() as stepwell:
        stepwell.mock("Charge", Failure("Busy"), Failure("Busy"))
        stepwell.load(RETRYING).run()


def test_a_failed_assertion_tells_the_story(stepwell: BlockingHarness) -> None:
    stepwell.mock("Charge", Failure("Broken", "why"))
    run = stepwell.load(RETRYING).run()
    with pytest.raises(AssertionError, match=r"(?s)SUCCEEDED.*TaskStateEntered name=Charge.*LambdaFunctionFailed"):
        run.assert_failed()
    with pytest.raises(AssertionError, match=r"not visited in this order: \['Done'\]"):
        run.assert_visited("Done")


def test_an_execution_handle_raises(stepwell: BlockingHarness) -> None:
    execution = stepwell.load(machine(No={"Type": "Fail", "Error": "E"})).start()

    async def wait() -> Any:
        return await execution

    with pytest.raises(ExecutionFailed):
        stepwell.call(wait())
