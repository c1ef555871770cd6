"""What holds for any machine and any sequence of events."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stepwell.interpreter import Execution, load, load_records, start
from stepwell.interpreter.effects import ReadItems, RunTask, SetTimer, StartChild, WriteResults
from stepwell.interpreter.events import (
    ItemsRead,
    Redriven,
    ResultsWritten,
    TaskFailed,
    TaskHeartbeat,
    TaskQueued,
    TaskStarted,
    TaskSubmitted,
    TaskSucceeded,
    decode,
    encode,
)
from stepwell.language.compiler import compile_machine

from .machines import inputs, machines
from .memory_host import Run, identity


class Answers:
    """A host of moods, the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def __call__(self, run: Run, effect: Any) -> list[Any]:
        dice = self.random
        command = effect.command
        if isinstance(effect, ReadItems):
            if dice.random() < 0.1:
                return [run.event(TaskFailed, command=command, error="States.ItemReaderFailed", cause="gone")]
            cursor = None if effect.cursor == "2" or dice.random() < 0.3 else "1" if effect.cursor is None else "2"
            items = [dice.randint(0, 9) for _ in range(dice.randint(0, 3))]
            return [run.event(ItemsRead, command=command, items=json.dumps(items).encode(), cursor=cursor)]
        if isinstance(effect, WriteResults):
            return [run.event(ResultsWritten, command=command, output=b"{}")]
        events: list[Any] = []
        if effect.kind == "activity":
            events.append(run.event(TaskQueued, command=command))
            if dice.random() < 0.7:
                events.append(run.event(TaskStarted, command=command, worker_name="w"))
        elif effect.token is not None and dice.random() < 0.8:
            events.append(run.event(TaskSubmitted, command=command, output=b'{"id": 1}'))
        if dice.random() < 0.2:
            events.append(run.event(TaskHeartbeat, command=command))
        mood = dice.random()
        if mood < 0.55:
            output = json.dumps(dice.choice([{"a": 1, "n": 2}, [1, 2], None, "x", {"items": [1, 2]}])).encode()
            events.append(run.event(TaskSucceeded, command=command, output=output))
        elif mood < 0.85:
            events.append(run.event(TaskFailed, command=command, error=dice.choice(["Boom", "Other", None]), cause="c"))
        return events


def play(definition: Any, input: Any, seed: int, swap: Any = None, *, redrives: int = 2) -> Run:
    """Run to the end, and redrive what failed."""
    moods = Answers(seed)
    seeds = random.Random(seed + 1)
    machine = compile_machine(definition)
    run = Run(machine, json.dumps(input).encode(), identity(), moods, seeds=lambda: seeds.getrandbits(64), swap=swap)
    run.run()
    if run.finish is None and moods.random.random() < 0.5:
        run.stop(error="Stopped")
    for _ in range(redrives):
        if run.finish is None or run.finish.status == "SUCCEEDED":
            break
        run.finish = None
        run.now += 1000
        run.handle(run.event(Redriven))
        run.run()
    return run


def effects_of(run: Run) -> bytes:
    return msgspec.msgpack.encode(run.effects)


MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@MANY
@given(machines(), inputs, st.integers(0, 1000))
def test_history_ids_are_gapless_and_point_back(definition: Any, input: Any, seed: int) -> None:
    run = play(definition, input, seed)
    for position, event in enumerate(run.history, 1):
        assert event["id"] == position
        assert 0 <= event["previousEventId"] < position
    assert run.execution.event_count == len(run.history)


@MANY
@given(machines(), inputs, st.integers(0, 1000))
def test_the_same_events_give_the_same_bytes(definition: Any, input: Any, seed: int) -> None:
    run = play(definition, input, seed)
    assert effects_of(run) == effects_of(play(definition, input, seed))
    execution, effects = start(
        run.machine,
        json.dumps(input).encode(),
        run.execution.identity,
        at=run.execution.identity.start_time,
        seed=random.Random(seed + 1).getrandbits(64),
    )
    for event in run.log:
        effects += execution.handle(decode(encode(event)))
    assert msgspec.msgpack.encode(effects) == effects_of(run)
    assert execution.dump() == run.execution.dump()


@MANY
@given(machines(), inputs, st.integers(0, 1000))
def test_dump_and_load_at_any_point_change_nothing(definition: Any, input: Any, seed: int) -> None:
    def swap(execution: Execution) -> Execution:
        data = execution.dump()
        loaded = load(execution.machine, data)
        assert loaded.dump() == data
        assert loaded.pending() == execution.pending()
        return loaded

    assert effects_of(play(definition, input, seed, swap)) == effects_of(play(definition, input, seed))


PASS: dict[str, Any] = {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}
BRANCHES_THEN_RUN = {
    "StartAt": "Task",
    "States": {
        "Task": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f", "Next": "Branches"},
        "Branches": {"Type": "Parallel", "Branches": [PASS], "Next": "Run"},
        "Run": {
            "Type": "Map",
            "ItemProcessor": {**PASS, "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}},
            "End": True,
        },
    },
}


@MANY
@example(BRANCHES_THEN_RUN, [None], 1)
@given(machines(), inputs, st.integers(0, 1000))
def test_changed_records_add_up_to_the_whole(definition: Any, input: Any, seed: int) -> None:
    stored: dict[str, dict[str, bytes]] = {}

    def swap(execution: Execution) -> Execution:
        records = stored.setdefault(execution.identity.execution_arn, {})
        for key, data in execution.dump_changes().items():
            if data is None:
                records.pop(key, None)
            else:
                records[key] = data
        assert load_records(execution.machine, records).dump() == execution.dump()
        return execution

    play(definition, input, seed, swap)


@MANY
@given(machines(), inputs, st.integers(0, 1000))
def test_what_is_pending_is_awaited(definition: Any, input: Any, seed: int) -> None:
    def swap(execution: Execution) -> Execution:
        pending = execution.pending()
        for effect in pending:
            if isinstance(effect, (RunTask, ReadItems, StartChild, WriteResults)):
                assert execution.awaits(effect.command)
        if execution.status == "RUNNING":
            assert any(isinstance(effect, SetTimer) for effect in pending)
        else:
            assert not pending
        return execution

    play(definition, input, seed, swap)
