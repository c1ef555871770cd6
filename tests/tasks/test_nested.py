"""Nested executions, on a host that answers from a script."""

import asyncio
import json

import pytest

from stepwell.tasks import Dispatcher, TaskError
from stepwell.tasks.ports import ServiceRefusal

from .conftest import Submissions, run

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:child"
CHILD = "arn:aws:states:us-east-1:123456789012:execution:child:one"


class Host:
    def __init__(self, **ending):
        self.calls = []
        self.ended = asyncio.Event()
        self.ending = ending or {"status": "SUCCEEDED", "output": '{"Arg1":"argument1"}'}
        self.refusal = None

    async def call(self, action, parameters, *, account, region):
        self.calls.append((action, parameters, account))
        if self.refusal is not None:
            raise self.refusal
        return {"executionArn": CHILD, "startDate": 1688136139.432}

    async def wait(self, arn):
        await self.ended.wait()
        return {
            "executionArn": arn,
            "stateMachineArn": MACHINE,
            "name": "one",
            "startDate": 1688136139.432,
            "stopDate": 1688136140.5,
            "input": "{}",
            **self.ending,
        }


ARGUMENTS = {"StateMachineArn": MACHINE, "Input": None, "Name": "one"}


async def test_start():
    host = Host()
    result = await run(Dispatcher(executions=host), "states:startExecution", ARGUMENTS)
    assert host.calls == [
        ("StartExecution", {"stateMachineArn": MACHINE, "input": "{}", "name": "one"}, "123456789012")
    ]
    assert (result["ExecutionArn"], result["StartDate"]) == (CHILD, 1688136139432)
    body = '{"executionArn":"' + CHILD + '","startDate":1.688136139432E9}'
    assert result["SdkHttpMetadata"]["HttpHeaders"]["Content-Length"] == str(len(body))


@pytest.mark.parametrize(("given", "sent"), [({"k": 1}, '{"k":1}'), ('"text"', '"text"'), (None, "{}"), ([1], "[1]")])
async def test_inputs(given, sent):
    host = Host()
    await run(Dispatcher(executions=host), "states:startExecution", {**ARGUMENTS, "Input": given})
    assert host.calls[0][1]["input"] == sent


async def test_without_a_name_the_attempt_gives_one():
    host = Host()
    arguments = {"StateMachineArn": MACHINE}
    for _ in range(2):
        await run(Dispatcher(executions=host), "states:startExecution", arguments)
    first, second = (parameters["name"] for _, parameters, _ in host.calls)
    assert first == second, "carried out twice, it starts one child"


@pytest.mark.parametrize(("pattern", "output"), [("sync", '{"Arg1":"argument1"}'), ("sync:2", {"Arg1": "argument1"})])
async def test_sync(pattern, output):
    host = Host()
    host.ended.set()
    submitted = Submissions()
    result = await run(Dispatcher(executions=host), f"states:startExecution.{pattern}", ARGUMENTS, submitted)
    assert submitted[0]["ExecutionArn"] == CHILD
    assert result == {
        "ExecutionArn": CHILD,
        "Input": "{}" if pattern == "sync" else {},
        "InputDetails": {"Included": True},
        "Name": "one",
        "Output": output,
        "OutputDetails": {"Included": True},
        "StartDate": 1688136139432,
        "StateMachineArn": MACHINE,
        "Status": "SUCCEEDED",
        "StopDate": 1688136140500,
    }


async def test_a_child_that_fails():
    host = Host(status="FAILED", error="SomeFailure", cause="why")
    host.ended.set()
    with pytest.raises(TaskError) as caught:
        await run(Dispatcher(executions=host), "states:startExecution.sync", ARGUMENTS)
    assert caught.value.error == "States.TaskFailed"
    cause = json.loads(caught.value.cause)
    assert list(cause) == sorted(cause)
    assert (cause["Error"], cause["Cause"], cause["Status"]) == ("SomeFailure", "why", "FAILED")
    assert "Output" not in cause


@pytest.mark.parametrize(("pattern", "phase"), [("", "run"), (".sync", "submit")])
async def test_a_machine_that_does_not_exist(pattern, phase):
    host = Host()
    host.refusal = ServiceRefusal("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{MACHINE}'")
    with pytest.raises(TaskError) as caught:
        await run(Dispatcher(executions=host), f"states:startExecution{pattern}", ARGUMENTS)
    assert caught.value.error == "StepFunctions.StateMachineDoesNotExistException"
    assert caught.value.cause.startswith(
        f"State Machine Does Not Exist: '{MACHINE}' (Service: AWSStepFunctions; Status Code: 400; "
        "Error Code: StateMachineDoesNotExist; Request ID: "
    )
    assert caught.value.phase == phase


@pytest.mark.parametrize(
    ("leaving", "calls"), [(False, ["StartExecution", "StopExecution"]), (True, ["StartExecution"])]
)
async def test_cancelling_stops_the_child_unless_the_host_goes_down(leaving, calls):
    host = Host()
    dispatcher = Dispatcher(executions=host)
    submitted = Submissions()
    task = asyncio.create_task(run(dispatcher, "states:startExecution.sync", ARGUMENTS, submitted))
    while not submitted:
        await asyncio.sleep(0)
    if leaving:
        dispatcher.detach()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [action for action, _, _ in host.calls] == calls


async def test_after_a_restart_the_child_is_only_waited_for():
    host = Host()
    host.ended.set()
    submitted = json.dumps({"ExecutionArn": CHILD}).encode()
    result = await run(Dispatcher(executions=host), "states:startExecution.sync:2", ARGUMENTS, submitted=submitted)
    assert result["Output"] == {"Arg1": "argument1"}
    assert host.calls == []


async def test_with_a_role_the_child_runs_in_the_roles_account():
    host = Host()
    host.ended.set()
    role = {"RoleArn": "arn:aws:iam::000000000002:role/r"}
    result = await run(Dispatcher(executions=host), "states:startExecution.sync", ARGUMENTS, credentials=role)
    assert host.calls[0][2] == "000000000002"
    assert result["RedriveStatusReason"] == "Execution is SUCCEEDED and cannot be redriven"


async def test_own_service_through_the_sdk():
    host = Host()
    result = await run(Dispatcher(executions=host), "aws-sdk:sfn:startExecution", {**ARGUMENTS, "Input": {"key": "v"}})
    assert host.calls[0][1]["input"] == '{"key":"v"}'
    assert result == {"ExecutionArn": CHILD, "StartDate": "2023-06-30T14:42:19.432Z"}
    host.refusal = ServiceRefusal("InvalidToken", "Invalid Token: 'Invalid token'")
    with pytest.raises(TaskError) as caught:
        await run(Dispatcher(executions=host), "aws-sdk:sfn:sendTaskSuccess", {"Output": "x", "TaskToken": "NoSuch"})
    assert caught.value.error == "Sfn.InvalidTokenException"
    assert caught.value.cause.startswith("Invalid Token: 'Invalid token' (Service: Sfn, Status Code: 400, Request ID: ")
    assert caught.value.cause.endswith(") (SDK Attempt Count: 1)")
