"""One state by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stepwell.interpreter.teststate import Mock, Outcome, Situation, Trial, UnmockedError, find_state
from stepwell.language.compiler import compile_machine

from .helpers import machine, passing, task
from .memory_host import identity
from .test_children import mapping


def attempt(state: dict[str, Any], input: Any = None, **fields: Any) -> Trial:
    compiled = compile_machine(machine({"S": state}))
    found = find_state(compiled, "S")
    assert found is not None
    mock = fields.pop("mock", None)
    who = identity(type="EXPRESS", synchronous=True)
    data = json.dumps({} if input is None else input).encode()
    return Trial(found, data, who, at=1_700_000_000_000, seed=1, mock=mock, situation=Situation(**fields))


def outcome(trial: Trial) -> Outcome:
    assert trial.outcome is not None
    return trial.outcome


def test_next_state_need_not_exist() -> None:
    tried = outcome(attempt(passing(Next="Elsewhere")))
    assert (tried.status, tried.next_state, tried.output) == ("SUCCEEDED", "Elsewhere", "{}")


def test_a_task_is_left_to_the_host() -> None:
    trial = attempt(task(Parameters={"x.$": "$.a"}, ResultPath="$.r"), {"a": 1})
    assert trial.outcome is None
    assert trial.task is not None and trial.task.arguments == b'{"x":1}'
    trial.succeed_task(b'"done"')
    tried = outcome(trial)
    assert json.loads(tried.output or "") == {"a": 1, "r": "done"}
    assert tried.inspection == {
        "input": '{"a": 1}',
        "afterInputPath": '{"a": 1}',
        "afterParameters": '{"x":1}',
        "result": '"done"',
        "afterResultSelector": '"done"',
        "afterResultPath": '{"a":1,"r":"done"}',
    }


@pytest.mark.parametrize(("used", "status", "seconds"), [(0, "RETRIABLE", 2), (1, "RETRIABLE", 6), (2, "FAILED", None)])
def test_retry_counts_go_on_where_they_were(used: int, status: str, seconds: int | None) -> None:
    retry = [{"ErrorEquals": ["E"], "IntervalSeconds": 2, "BackoffRate": 3, "MaxAttempts": 2}]
    tried = outcome(attempt(task(Retry=retry), mock=Mock(error="E", cause="c"), retrier_retry_count=used))
    assert (tried.status, tried.error, tried.cause) == (status, "E", "c")
    shown = {"retryIndex": 0, "retryBackoffIntervalSeconds": seconds} if seconds else None
    assert tried.inspection.get("errorDetails") == shown


def test_variables_go_in_and_come_out() -> None:
    tried = outcome(attempt(passing(Assign={"b.$": "$a"}, Parameters={"seen.$": "$a"}), variables={"a": 1}))
    assert json.loads(tried.inspection["variables"]) == {"a": 1, "b": 1}
    assert json.loads(tried.output or "") == {"seen": 1}


def test_a_fault_names_the_state() -> None:
    tried = outcome(attempt(passing(InputPath="$.no")))
    assert (tried.status, tried.error) == ("FAILED", "States.Runtime")
    assert "executing the state 'S'" in str(tried.cause)


def test_map_shows_items_and_selection() -> None:
    state = mapping({"P": passing()}, ItemsPath="$.l", ItemSelector={"v.$": "$$.Map.Item.Value"}, MaxConcurrency=3)
    tried = outcome(attempt(state, {"l": [1, 2]}, mock=Mock(result=b"[3]")))
    assert json.loads(tried.inspection["afterItemsPath"]) == [1, 2]
    assert json.loads(tried.inspection["afterItemSelector"]) == [{"v": 1}, {"v": 2}]
    assert tried.inspection["maxConcurrency"] == 3
    assert tried.output == "[3]"


@pytest.mark.parametrize(
    ("reader", "source"),
    [
        (None, "STATE_DATA"),
        ({"Resource": "arn:aws:states:::s3:getObject", "Parameters": {"Bucket": "b", "Key.$": "$.k"}}, "S3://b/key"),
        ({"Resource": "arn:aws:states:::s3:listObjectsV2", "Parameters": {"Bucket": "b"}}, "S3://b"),
    ],
)
def test_map_says_where_its_items_come_from(reader: dict[str, Any] | None, source: str) -> None:
    fields: dict[str, Any] = {"ItemsPath": "$.l"} if reader is None else {"ItemReader": reader}
    state = mapping({"P": passing()}, ItemSelector={"from.$": "$$.Map.Item.Source"}, **fields)
    more: dict[str, Any] = {}
    if reader is not None:
        state["ItemProcessor"]["ProcessorConfig"] = {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
        more["map_item_reader_data"] = "[1]"
    tried = outcome(attempt(state, {"l": [1], "k": "key"}, mock=Mock(result=b"[3]"), **more))
    assert json.loads(tried.inspection["afterItemSelector"]) == [{"from": source}]


def test_map_needs_a_mock() -> None:
    with pytest.raises(UnmockedError):
        attempt(mapping({"P": passing()}), [1])


def test_wait_does_not_wait() -> None:
    assert outcome(attempt({"Type": "Wait", "Seconds": 1000, "Next": "N"})).next_state == "N"
