"""No input gives a 500: real definitions and inputs, those AWS was recorded with, damaged in a few places."""

import copy
import json
import logging
import os
import random
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.run import SHARED

from .conftest import ACCOUNT, REGION, ROLE, Running
from .test_fuzz import PREFIX, Errors, send

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
FILES = sorted(SHARED.glob("cases/*/*.json"))
counted = {"machines": 0, "executions": 0, "states": 0}

pytestmark = pytest.mark.skipif(not FILES, reason="the recordings are not beside this checkout (../shared/conformance)")

FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"
WORDS = [
    None, True, 0, -1, 1.5, 10**20, "", "$", "$.a", "$.a[0]", "$..a", "$$", "$$.Execution.Id", "$x", "{% $states.input %}", "{% ",
    "x" * 300, "States.Format('{}', $)", "States.ArrayRange(0, 9, 0)", "{% $map([1..9], function($v){$v}) %}", "2024-01-01T00:00:00Z",
    [], {}, [[]], {"a": {"b": [1, {"c": None}]}}, "\u0000", "\U0001f600", "é", "States.ALL", "Next", "End",
]  # fmt: skip
FIELDS = re.findall(
    r"\S+",
    """
    Type Next End Comment InputPath OutputPath ResultPath Parameters ResultSelector Arguments Output Assign Retry Catch Resource
    TimeoutSeconds TimeoutSecondsPath HeartbeatSeconds Credentials Choices Default Variable And Or Not Condition Seconds SecondsPath
    Timestamp TimestampPath Error Cause ErrorPath CausePath Branches ItemsPath Items ItemSelector ItemProcessor ItemReader ItemBatcher
    ResultWriter MaxConcurrency MaxConcurrencyPath ToleratedFailureCount ToleratedFailurePercentage Label QueryLanguage StartAt States
    Result ReaderConfig MaxItems ErrorEquals IntervalSeconds MaxAttempts BackoffRate MaxDelaySeconds JitterStrategy a.$ b
    """,
)


@pytest.fixture(scope="module")
def server():
    errors = Errors()
    logging.getLogger("stepwell").addHandler(errors)
    with Running(
        engine={"aws_endpoint": "http://127.0.0.1:1"}
    ) as running:  # nobody there, and nothing leaves this machine
        yield running
    logging.getLogger("stepwell").removeHandler(errors)
    assert errors.records == []
    print(f"\ndamaged recordings: {counted}")


def nodes(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from nodes(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from nodes(item, (*path, number))


def damaged(value, randomness, times):
    """A copy with a few places replaced, removed, added or moved."""
    root = {"": copy.deepcopy(value)}
    for _ in range(times):
        *path, last = randomness.choice([path for path in nodes(root) if path])
        holder = root
        for step in path:
            holder = holder[step]
        kind = randomness.random()
        if kind < 0.4:
            holder[last] = copy.deepcopy(randomness.choice(WORDS))
        elif kind < 0.6 and path:
            del holder[last]
        elif kind < 0.8 and isinstance(holder, dict):
            holder[randomness.choice(FIELDS)] = copy.deepcopy(randomness.choice(WORDS))
        else:
            *other, end = randomness.choice([path for path in nodes(root) if path])
            source = root
            for step in other:
                source = source[step]
            holder[last] = copy.deepcopy(source[end])
        if "" not in root:
            break
    return root.get("", {})


def call(server, action, **parameters):
    status, data = send(server, json.dumps(parameters).encode(), {"X-Amz-Target": f"AWSStepFunctions.{action}"})
    assert status in (200, 400), (status, data, action, parameters)
    return json.loads(data) if status == 200 else None


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,  # the suite looks at the same ones every time
    suppress_health_check=list(HealthCheck),
)
@given(
    number=st.integers(0, max(len(FILES) - 1, 0)), seed=st.integers(0, 2**32), times=st.sampled_from([1, 1, 1, 2, 3])
)
def test_damaged_recordings(server, number, seed, times):
    randomness = random.Random(seed)
    case = json.loads(re.sub("⟦[^⟧]*⟧", FUNCTION, FILES[number].read_text()))
    for definition in case["definitions"] or [case["definition"]]:
        text = json.dumps(damaged(definition, randomness, times))
        try:
            given = json.loads(case["input"] or "{}")
        except ValueError:
            given = {}
        input = json.dumps(damaged(given, randomness, randomness.randrange(2)))
        express = randomness.random() < 0.3
        name = "express" if express else "standard"
        arn = f"{PREFIX}:stateMachine:damaged-{name}"
        call(server, "DeleteStateMachine", stateMachineArn=arn)
        made = call(
            server,
            "CreateStateMachine",
            name=f"damaged-{name}",
            definition=text,
            roleArn=ROLE,
            type="EXPRESS" if express else "STANDARD",
        )
        call(server, "ValidateStateMachineDefinition", definition=text, severity="WARNING")
        if made is None:
            continue
        counted["machines"] += 1
        started = call(server, "StartExecution", stateMachineArn=arn, input=input)
        if started is not None:
            counted["executions"] += 1
        if started is not None and not express:
            execution = started["executionArn"]
            call(server, "GetExecutionHistory", executionArn=execution)
            call(server, "StopExecution", executionArn=execution)
            assert call(server, "DescribeExecution", executionArn=execution)["status"] != "RUNNING"
            call(server, "RedriveExecution", executionArn=execution)
            call(server, "StopExecution", executionArn=execution)
        for state in (
            list(json.loads(text).get("States", {}).values())[:3] if isinstance(json.loads(text), dict) else []
        ):
            level = randomness.choice(["INFO", "DEBUG", "TRACE"])
            mock = {"result": json.dumps(randomness.choice(WORDS))}
            call(server, "TestState", definition=json.dumps(state), input=input, inspectionLevel=level, mock=mock)
            counted["states"] += 1
