"""Hypothesis strategies: state machines of every kind of state, and what hosts may answer."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"
ACTIVITY = "arn:aws:states:us-east-1:000000000000:activity:a"
RESOURCES = [
    FUNCTION,
    ACTIVITY,
    "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
    "arn:aws:states:::states:startExecution.sync:2",
    "arn:aws:states:::aws-sdk:s3:getObject",
]

values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 50) | st.sampled_from(["", "a", "ü", "{% x %}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abxyn"), inner, max_size=3),
    max_leaves=6,
)

inputs = st.dictionaries(st.sampled_from(["a", "b", "n", "items"]), values, max_size=4) | values

errors = st.sampled_from([["States.ALL"], ["States.TaskFailed"], ["States.Timeout"], ["Boom"], ["Boom", "Other"]])


@st.composite
def retriers(draw: st.DrawFn) -> list[dict[str, Any]]:
    entries = []
    for _ in range(draw(st.integers(0, 2))):
        entry: dict[str, Any] = {"ErrorEquals": draw(errors), "MaxAttempts": draw(st.integers(0, 2))}
        if draw(st.booleans()):
            entry["JitterStrategy"] = "FULL"
        if draw(st.booleans()):
            entry["MaxDelaySeconds"] = 2
        entries.append(entry)
    return entries


def _names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{n}" for n in range(count)]


@st.composite
def workflows(draw: st.DrawFn, depth: int, prefix: str, jsonata: bool) -> dict[str, Any]:
    """States that mostly go forward, so that most machines end; `Fail` and `Succeed` close the line."""
    names = _names(prefix, draw(st.integers(1, 4)))
    states: dict[str, Any] = {}
    for position, name in enumerate(names):
        following = names[position + 1] if position + 1 < len(names) else None
        states[name] = draw(state(depth, name, following, names, jsonata))
    return {"StartAt": names[0], "States": states}


@st.composite
def state(draw: st.DrawFn, depth: int, name: str, following: str | None, names: list[str], jsonata: bool) -> Any:
    kinds = ["Pass", "Pass", "Wait", "Task", "Task", "Choice"]
    if depth:
        kinds += ["Parallel", "Map", "Map", "Distributed"]
    if following is None:
        kinds += ["Succeed", "Fail"]
    kind = draw(st.sampled_from(kinds))
    body: dict[str, Any] = {"Type": kind}
    if kind == "Choice" and following is None:
        kind = body["Type"] = "Pass"
    if kind not in ("Succeed", "Fail", "Choice"):
        body |= {"Next": following} if following else {"End": True}
    if kind == "Succeed":
        return body
    if kind == "Fail":
        return body | draw(st.sampled_from([{}, {"Error": "Boom"}, {"Error": "Boom", "Cause": "because"}]))
    if draw(st.booleans()) and kind != "Choice":
        body["Assign"] = {f"v{draw(st.integers(0, 2))}": draw(values.filter(lambda v: not isinstance(v, str)))}
    if kind == "Choice":
        later = names[names.index(following) :] if following else names
        target = draw(st.sampled_from(later))
        if jsonata:
            body["Choices"] = [{"Condition": "{% $exists($states.input.n) %}", "Next": target}]
        else:
            body["Choices"] = [{"Variable": "$.n", "IsPresent": True, "Next": target}]
        if draw(st.booleans()):
            body["Default"] = following
        return body
    if kind == "Wait":
        return body | {"Seconds": draw(st.integers(0, 30))}
    if kind == "Pass":
        extra = [
            {},
            {"Result": draw(values)},
            {"Parameters": {"p.$": "$"}},
            {"OutputPath": "$.a"},
            {"ResultPath": None},
        ]
        return body | (
            draw(st.sampled_from([{}, {"Output": "{% $states.input.a %}"}]))
            if jsonata
            else draw(st.sampled_from(extra))
        )
    if kind == "Task":
        body["Resource"] = draw(st.sampled_from(RESOURCES))
        if draw(st.booleans()):
            body["TimeoutSeconds"] = draw(st.integers(1, 60))
        if draw(st.booleans()):
            body["HeartbeatSeconds"] = draw(st.integers(1, 9))
    else:
        body |= draw(composite_body(kind, depth, name, jsonata))
    if kind == "Distributed":
        body["Type"] = "Map"
    body["Retry"] = draw(retriers())
    if draw(st.booleans()):
        body["Catch"] = [{"ErrorEquals": draw(errors), "Next": following or name}] if following else []
    if not jsonata and draw(st.booleans()):
        body["ResultPath"] = draw(st.sampled_from(["$.result", None, "$"]))
    return body


@st.composite
def composite_body(draw: st.DrawFn, kind: str, depth: int, name: str, jsonata: bool) -> dict[str, Any]:
    if kind == "Parallel":
        count = draw(st.integers(1, 3))
        return {"Branches": [draw(workflows(depth - 1, f"{name}b{n}_", jsonata)) for n in range(count)]}
    processor = draw(workflows(depth - 1, f"{name}i_", jsonata))
    items = draw(st.lists(values, max_size=5))
    body: dict[str, Any] = {"MaxConcurrency": draw(st.integers(0, 3)), "ItemProcessor": processor}
    if jsonata:
        body["Items"] = [item for item in items if not isinstance(item, str)]
    else:
        body["ItemsPath"] = draw(st.sampled_from(["$.items", "$.items", "$"]))
    if kind == "Distributed":
        processor["ProcessorConfig"] = {
            "Mode": "DISTRIBUTED",
            "ExecutionType": draw(st.sampled_from(["STANDARD", "EXPRESS"])),
        }
        if draw(st.booleans()):
            body["ToleratedFailureCount"] = draw(st.integers(0, 3))
        if draw(st.booleans()):
            body["ItemBatcher"] = {"MaxItemsPerBatch": 2}
        if not jsonata and draw(st.booleans()):
            del body["ItemsPath"]
            body["ItemReader"] = {
                "Resource": "arn:aws:states:::s3:getObject",
                "Parameters": {"Bucket": "b", "Key": "k"},
            }
    return body


@st.composite
def machines(draw: st.DrawFn) -> dict[str, Any]:
    jsonata = draw(st.booleans())
    machine = draw(workflows(2, "s", jsonata))
    if jsonata:
        machine["QueryLanguage"] = "JSONata"
    if draw(st.integers(0, 3)) == 0:
        machine["TimeoutSeconds"] = draw(st.integers(1, 100))
    return machine
