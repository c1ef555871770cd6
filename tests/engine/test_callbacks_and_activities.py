"""Task tokens and activities."""

from __future__ import annotations

import asyncio

import pytest

from stepwell.engine import Engine, ExecutionFailed, VirtualClock
from stepwell.engine.errors import (
    ActivityDoesNotExist,
    InvalidArn,
    InvalidName,
    InvalidOutput,
    InvalidToken,
    TaskDoesNotExist,
    TaskTimedOut,
)
from stepwell.interpreter import tokens
from stepwell.tasks.requests import Submitted, TaskRequest

from .conftest import TOKEN_TASK, Runner, machine, types

ACTIVITY = "arn:aws:states:us-east-1:000000000000:activity:work"


async def token_of(engine: Engine, runner: Runner, **fields: object) -> tuple[str, str]:
    """(token, execution ARN) of a task that waits for its token."""
    asking = await engine.load(machine(Ask={**TOKEN_TASK, **fields}))
    execution = await asking.start()
    call = await runner.wait_for_call()
    await asyncio.sleep(0)
    return call.token or "", execution.arn


async def test_success_by_token(engine: Engine, runner: Runner) -> None:
    token, arn = await token_of(engine, runner)
    await engine.callbacks.succeed(token, '{"answer": 42}')
    assert await engine.execution(arn) == {"answer": 42}
    assert types(engine.execution(arn).history())[2:6] == [
        "TaskScheduled",
        "TaskStarted",
        "TaskSubmitted",
        "TaskSucceeded",
    ]


async def test_failure_by_token_without_error_and_cause(engine: Engine, runner: Runner) -> None:
    token, arn = await token_of(engine, runner)
    await engine.callbacks.fail(token)
    record = await engine.executions.wait(arn)
    assert (record.status, record.error, record.cause) == ("FAILED", None, None)


async def test_a_token_counts_once(engine: Engine, runner: Runner) -> None:
    token, _ = await token_of(engine, runner)
    results = await asyncio.gather(*(engine.callbacks.succeed(token, str(n)) for n in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), TaskTimedOut, TaskTimedOut]
    for answer in (engine.callbacks.heartbeat(token), engine.callbacks.fail(token)):
        with pytest.raises(TaskTimedOut, match=r"^Task Timed Out: 'Provided task does not exist anymore'$"):
            await answer


async def test_tokens_that_are_none(engine: Engine, runner: Runner) -> None:
    token, arn = await token_of(engine, runner)
    for text in ("", "x", "AAAA", "é", token[:-3]):
        with pytest.raises((InvalidToken, TaskTimedOut)):
            await engine.callbacks.succeed(text, "{}")
    with pytest.raises(InvalidToken, match=r"^Invalid Token: 'Invalid token'$"):
        await engine.callbacks.succeed("not a token!", "{}")
    known = tokens.decode(token)
    with pytest.raises(TaskTimedOut):
        await engine.callbacks.succeed(tokens.encode(arn, known.command, "guessed"), "{}")
    with pytest.raises(TaskDoesNotExist):
        await engine.callbacks.succeed(tokens.encode(arn + "x", known.command, known.nonce), "{}")
    assert engine.execution(arn).status == "RUNNING"


async def test_output_must_be_json_within_the_limit(engine: Engine, runner: Runner) -> None:
    token, _ = await token_of(engine, runner)
    for output in ("{", '"' + "x" * 262_144 + '"'):
        with pytest.raises(InvalidOutput):
            await engine.callbacks.succeed(token, output)
    await engine.callbacks.succeed(token, "{}")


async def test_heartbeats_keep_a_task_alive(engine: Engine, runner: Runner, clock: VirtualClock) -> None:
    token, arn = await token_of(engine, runner, HeartbeatSeconds=10)
    for _ in range(5):
        await clock.advance(9)
        await engine.callbacks.heartbeat(token)
    assert engine.execution(arn).status == "RUNNING"
    await clock.advance(11)
    with pytest.raises(ExecutionFailed, match=r"States\.(HeartbeatTimeout|Timeout)"):
        await engine.execution(arn)
    with pytest.raises(TaskTimedOut):
        await engine.callbacks.heartbeat(token)


async def test_an_answer_that_overtakes_the_acceptance_waits_for_it(engine: Engine, runner: Runner) -> None:
    accepted = asyncio.Event()

    async def slow(task: object, submitted: object) -> None:
        runner.calls.append(task)  # type: ignore[arg-type]
        runner.called.set()
        await accepted.wait()
        await submitted(b'{"MessageId":"1"}')  # type: ignore[operator]

    runner.run = slow  # type: ignore[method-assign, assignment]
    execution = await (await engine.load(machine(Ask=TOKEN_TASK))).start()
    call = await runner.wait_for_call()
    answering = asyncio.create_task(engine.callbacks.succeed(call.token or "", "7"))
    await asyncio.sleep(0.01)
    assert not answering.done()
    accepted.set()
    await answering
    assert await execution == 7
    assert types(execution.history())[4:6] == ["TaskSubmitted", "TaskSucceeded"]


async def test_a_task_that_answers_its_own_token_is_not_waited_for(engine: Engine, runner: Runner) -> None:
    answered = asyncio.Event()

    async def own(task: TaskRequest, submitted: Submitted) -> None:
        await engine.callbacks.heartbeat(task.token or "")
        await engine.callbacks.succeed(task.token or "", "7")
        answered.set()
        await submitted(b"{}")

    runner.run = own  # type: ignore[method-assign, assignment]
    execution = await (await engine.load(machine(Ask=TOKEN_TASK))).start()
    assert await execution == 7
    await asyncio.wait_for(answered.wait(), 1)
    assert types(execution.history())[2:5] == ["TaskScheduled", "TaskStarted", "TaskSucceeded"]


async def test_activity_names_and_listing(engine: Engine) -> None:
    first = await engine.activities.create("work")
    assert (await engine.activities.create("work")).creation_date == first.creation_date
    assert first.activity_arn == ACTIVITY
    await engine.activities.create("b")
    assert [activity.name for activity in engine.activities.list().items] == ["b", "work"]
    await engine.activities.delete(ACTIVITY)
    await engine.activities.delete(ACTIVITY)
    with pytest.raises(ActivityDoesNotExist, match=rf"^Activity Does Not Exist: '{ACTIVITY}'$"):
        engine.activities.describe(ACTIVITY)
    with pytest.raises(InvalidName, match=r"^Invalid Name: 'a b'$"):
        await engine.activities.create("a b")
    with pytest.raises(InvalidArn, match=r"^Invalid Arn: 'Invalid ARN prefix: nope'$"):
        await engine.activities.get_task("nope")


async def test_a_worker_takes_and_answers_an_activity_task(engine: Engine) -> None:
    await engine.activities.create("work")
    doing = await engine.load(machine(Do={"Type": "Task", "Resource": ACTIVITY, "End": True}))
    execution = await doing.start({"n": 1})
    job = await engine.activities.get_task(ACTIVITY, worker_name="me")
    assert job is not None
    assert job.input == '{"n":1}'
    await engine.callbacks.succeed(job.task_token, '"done"')
    assert await execution == "done"
    started = execution.history()[3]
    assert started["type"] == "ActivityStarted"
    assert started["activityStartedEventDetails"] == {"workerName": "me"}


async def test_a_missing_activity_fails_the_execution(engine: Engine) -> None:
    doing = await engine.load(machine(Do={"Type": "Task", "Resource": ACTIVITY, "End": True}))
    with pytest.raises(ExecutionFailed, match=rf"States\.Runtime.*The activity {ACTIVITY} does not exist\."):
        await doing.run()


async def test_workers_poll_in_turn_and_get_tasks_in_order(engine: Engine) -> None:
    await engine.activities.create("work")
    doing = await engine.load(machine(Do={"Type": "Task", "Resource": ACTIVITY, "End": True}))
    polls = [asyncio.create_task(engine.activities.get_task(ACTIVITY, worker_name=f"w{n}")) for n in range(3)]
    await asyncio.sleep(0)
    for n in range(5):
        await doing.start(n)
    taken = await asyncio.gather(*polls)
    assert [job.input for job in taken if job is not None] == ["0", "1", "2"]
    rest = [await engine.activities.get_task(ACTIVITY) for _ in range(2)]
    assert [job.input for job in rest if job is not None] == ["3", "4"]


async def test_a_poll_ends_empty_after_sixty_seconds(engine: Engine, clock: VirtualClock) -> None:
    await engine.activities.create("work")
    began = clock.now()
    assert await engine.activities.get_task(ACTIVITY) is None
    assert clock.now() - began == 60_000


async def test_a_worker_that_goes_away_takes_nothing(engine: Engine) -> None:
    await engine.activities.create("work")
    doing = await engine.load(machine(Do={"Type": "Task", "Resource": ACTIVITY, "End": True}))
    gone = asyncio.create_task(engine.activities.get_task(ACTIVITY))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    await doing.start("x")
    job = await engine.activities.get_task(ACTIVITY)
    assert job is not None
    assert job.input == '"x"'


async def test_a_cancelled_activity_task_is_not_handed_out(engine: Engine) -> None:
    await engine.activities.create("work")
    doing = await engine.load(machine(Do={"Type": "Task", "Resource": ACTIVITY, "End": True}))
    first, second = await doing.start(1), await doing.start(2)
    await asyncio.sleep(0.01)
    await first.stop()
    job = await engine.activities.get_task(ACTIVITY)
    assert job is not None
    assert job.input == "2"
    await second.stop()


async def test_an_activity_task_waits_and_times_out(engine: Engine) -> None:
    await engine.activities.create("work")
    doing = await engine.load(machine(Do={"Type": "Task", "Resource": ACTIVITY, "TimeoutSeconds": 5, "End": True}))
    execution = await doing.start()
    record = await execution.wait()
    assert record.error == "States.Timeout"
    assert "ActivityTimedOut" in types(execution.history())
    assert await engine.activities.get_task(ACTIVITY, wait_seconds=1) is None
