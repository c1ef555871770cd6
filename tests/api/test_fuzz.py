"""No input gives a 500: every action, with requests that are nearly right and requests that are not at all."""

import http.client
import json
import logging

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from stepwell.api.actions import ACTIONS

from .conftest import ACCOUNT, REGION, ROLE, Running

EXAMPLES = 600
PREFIX = f"arn:aws:states:{REGION}:{ACCOUNT}"

counted = {"requests": 0, "accepted": 0}


class Errors(logging.Handler):
    """Keeps what the server logs as an error: a fault inside that no client was told of."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.records = []

    def emit(self, record):
        self.records.append(self.format(record))


@pytest.fixture(scope="module")
def server():
    errors = Errors()
    logging.getLogger("stepwell").addHandler(errors)
    with Running() as running:
        sfn = running.client()
        machine = {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}}
        sfn.create_state_machine(name="m", definition=json.dumps(machine), roleArn=ROLE)
        sfn.create_state_machine(name="e", definition=json.dumps(machine), roleArn=ROLE, type="EXPRESS")
        sfn.create_activity(name="a")
        yield running
    logging.getLogger("stepwell").removeHandler(errors)
    assert errors.records == []
    print(f"\nfuzzed: {counted['requests']} requests, {counted['accepted']} of them accepted")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
arns = st.sampled_from(
    [
        f"{PREFIX}:stateMachine:m",
        f"{PREFIX}:stateMachine:m:1",
        f"{PREFIX}:stateMachine:m:live",
        f"{PREFIX}:stateMachine:e",
        f"{PREFIX}:stateMachine:m/label",
        f"{PREFIX}:execution:m:x",
        f"{PREFIX}:express:e:x:y",
        f"{PREFIX}:activity:a",
        f"{PREFIX}:mapRun:m/label:x",
        f"{PREFIX}:mapRun:m",
        "arn:aws:states",
        "arn:aws:states:us-east-1:1:stateMachine:m",
        "arn:::::::::",
        "",
    ]
) | st.text(max_size=30)
paths = st.sampled_from(
    ["$", "$.a", "$.a[0]", "$..a", "$$.Execution", "$.a[?(@.b)]", "$[", "$.a..", "", "$x", "{% $x %}", "{% 1+ %}"]
)
states = st.recursive(
    st.fixed_dictionaries(
        {"Type": st.sampled_from(["Pass", "Task", "Choice", "Wait", "Succeed", "Fail", "Parallel", "Map", "Nope"])},
        optional={
            "Next": st.sampled_from(["A", "B", ""]),
            "End": st.booleans(),
            "Default": st.sampled_from(["A", "B"]),
            "Resource": st.sampled_from(
                ["arn:aws:states:::lambda:invoke", f"{PREFIX}:activity:a", "arn:aws:states:::aws-sdk:s3:getObject", "x"]
            ),
            "InputPath": paths,
            "OutputPath": paths,
            "ResultPath": paths,
            "ItemsPath": paths,
            "Parameters": json_values,
            "Arguments": json_values,
            "Assign": json_values,
            "Output": json_values,
            "Result": json_values,
            "Seconds": json_values,
            "Timestamp": st.text(max_size=20),
            "TimeoutSeconds": json_values,
            "Choices": st.lists(json_values, max_size=2),
            "Retry": st.lists(json_values, max_size=2),
            "Catch": st.lists(json_values, max_size=2),
            "QueryLanguage": st.sampled_from(["JSONata", "JSONPath", "SQL"]),
            "MaxConcurrency": json_values,
            "ItemReader": json_values,
            "Label": st.text(max_size=5),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {
            "Type": st.sampled_from(["Map", "Parallel"]),
            "ItemProcessor": st.fixed_dictionaries(
                {"StartAt": st.just("A"), "States": st.dictionaries(st.just("A"), inner)}
            ),
            "Branches": st.lists(
                st.fixed_dictionaries({"StartAt": st.just("A"), "States": st.dictionaries(st.just("A"), inner)}),
                max_size=2,
            ),
            "End": st.just(True),
        }
    ),
    max_leaves=3,
)
json_paths = st.sampled_from(
    ["$", "$.a", "$.a[0]", "$..a", "$.a[?(@.b>1)]", "$['a','b']", "$.a[*]", "$.a[-1:]", "$$", "$$.Execution.Name"]
)
expressions = st.sampled_from(
    ["$states.input", "$states.input.a", "$states.input.a[0]", "$sum([1,2])", "$states.context.Execution.Id", "$partition([1,2,3],2)",
     "$range(0,3,1)", "$hash('a','MD5')", "1/0", "$error('x')", "$states.input ~> $string", "$map([1..3], function($v){$v*2})", "$random()",
     "{'a': $uuid()}", "$parse('[1]')", "$lookup($states.input, 'a')", "$nothing", "$x"]
).map("{{% {} %}}".format)  # fmt: skip
intrinsics = st.sampled_from(
    ["States.Format('{}', $.a)", "States.Array(1, $.a)", "States.MathAdd($.a, 1)", "States.StringToJson($.a)", "States.UUID()",
     "States.ArrayRange(0, 3, 1)", "States.JsonMerge($, $, false)", "States.Hash($.a, 'MD5')", "States.Base64Decode($.a)",
     "States.ArrayGetItem($.a, 0)", "States.StringSplit($.a, ',')", "States.ArrayPartition($.a, 2)"]
)  # fmt: skip
templates = st.dictionaries(st.sampled_from(["k", "l"]), json_values, max_size=2) | st.dictionaries(
    st.sampled_from(["k.$", "l.$"]), json_paths | intrinsics, min_size=1, max_size=2
)
references = st.sampled_from(["$", "$.a", "$.b", "$.a[0]", "$['a']"])
comparisons = st.sampled_from(
    [
        "NumericEquals",
        "StringLessThan",
        "BooleanEquals",
        "TimestampGreaterThan",
        "StringMatches",
        "IsPresent",
        "IsNull",
        "IsTimestamp",
    ]
)
values = {
    "Numeric": st.integers() | st.floats(-9, 9),
    "String": st.text(max_size=5),
    "Boolean": st.booleans(),
    "Is": st.booleans(),
}
rules = comparisons.flatmap(
    lambda name: st.fixed_dictionaries(
        {
            "Variable": json_paths,
            "Next": st.just("B"),
            name: next((v for k, v in values.items() if name.startswith(k)), st.just("2024-01-01T00:00:00Z")),
        }
    )
)
sound_states = st.one_of(
    st.fixed_dictionaries(
        {"Type": st.just("Pass"), "End": st.just(True)},
        optional={
            "Parameters": templates,
            "Result": json_values,
            "InputPath": json_paths | st.none(),
            "OutputPath": json_paths | st.none(),
            "ResultPath": st.sampled_from(["$", "$.r", "$.a.b", "$.a[0]", None]),
            "Assign": st.dictionaries(st.sampled_from(["x", "y.$"]), json_paths, max_size=2),
        },
    ),
    st.fixed_dictionaries(
        {"Type": st.just("Pass"), "QueryLanguage": st.just("JSONata"), "End": st.just(True)},
        optional={
            "Output": expressions | st.dictionaries(st.sampled_from(["p", "q"]), expressions, max_size=2),
            "Assign": st.dictionaries(st.sampled_from(["x", "y"]), expressions, max_size=2),
        },
    ),
    st.fixed_dictionaries(
        {
            "Type": st.just("Choice"),
            "Default": st.just("B"),
            "Choices": st.lists(
                rules,
                min_size=1,
                max_size=2,
            ),
        }
    ),
    st.fixed_dictionaries({"Type": st.just("Wait"), "Next": st.just("B"), "SecondsPath": references}),
    st.fixed_dictionaries({"Type": st.just("Wait"), "Next": st.just("B"), "TimestampPath": references}),
    st.fixed_dictionaries(
        {"Type": st.just("Fail")}, optional={"ErrorPath": json_paths | intrinsics, "Cause": st.text(max_size=9)}
    ),
    st.fixed_dictionaries(
        {
            "Type": st.just("Map"),
            "End": st.just(True),
            "ItemsPath": references,
            "ItemProcessor": st.just({"StartAt": "C", "States": {"C": {"Type": "Pass", "End": True}}})
            | st.just(
                {
                    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
                    "StartAt": "C",
                    "States": {"C": {"Type": "Pass", "End": True}},
                }
            ),
        },
        optional={"MaxConcurrencyPath": references, "ItemSelector": templates},
    ),
)


def _machine(state):
    alone = "Next" not in state and state["Type"] != "Choice"
    return {"StartAt": "A", "States": {"A": state} if alone else {"A": state, "B": {"Type": "Succeed"}}}


sound_machines = sound_states.map(_machine)
machines = sound_machines | st.fixed_dictionaries(
    {
        "StartAt": st.sampled_from(["A", "B", ""]),
        "States": st.dictionaries(st.sampled_from(["A", "B"]), states, max_size=2),
    },
    optional={"QueryLanguage": st.sampled_from(["JSONata", "JSONPath"]), "TimeoutSeconds": json_values},
)
definitions = sound_machines.map(json.dumps) | machines.map(json.dumps) | states.map(json.dumps) | st.text(max_size=40)
inputs = st.dictionaries(
    st.sampled_from(["a", "b"]),
    json_values | st.lists(json_values, max_size=3) | st.sampled_from(["2024-01-01T00:00:00Z", 0, 1, "a,b"]),
).map(json.dumps)
texts = inputs | json_values.map(json.dumps) | st.text(max_size=30)

FIELDS = {
    "stateMachineArn": arns,
    "executionArn": arns,
    "activityArn": arns,
    "mapRunArn": arns,
    "resourceArn": arns,
    "stateMachineVersionArn": arns,
    "stateMachineAliasArn": arns,
    "roleArn": st.just(ROLE) | arns,
    "definition": definitions,
    "input": texts,
    "output": texts,
    "variables": texts,
    "context": texts,
    "name": st.text(min_size=1, max_size=10),
    "stateName": st.sampled_from(["A", "B", "Z"]),
    "taskToken": st.text(min_size=1, max_size=40),
    "nextToken": st.text(min_size=1, max_size=40),
    "maxResults": st.integers(-1, 1001),
    "type": st.sampled_from(["STANDARD", "EXPRESS"]),
    "inspectionLevel": st.sampled_from(["INFO", "DEBUG", "TRACE"]),
    "reverseOrder": st.booleans(),
    "publish": st.booleans(),
    "error": st.text(max_size=20),
    "cause": st.text(max_size=20),
    "tags": st.lists(
        st.fixed_dictionaries({"key": st.text(min_size=1, max_size=5), "value": st.text(max_size=5)}), max_size=3
    ),
    "tagKeys": st.lists(st.text(min_size=1, max_size=5), max_size=3),
    "routingConfiguration": st.lists(
        st.fixed_dictionaries({"stateMachineVersionArn": arns, "weight": st.integers(0, 100)}), min_size=1, max_size=2
    ),
    "mock": st.fixed_dictionaries({}, optional={"result": texts, "errorOutput": st.just({"error": "E"})}),
    "stateConfiguration": st.fixed_dictionaries(
        {},
        optional={
            "mapIterationFailureCount": st.integers(0, 3),
            "mapItemReaderData": texts,
            "retrierRetryCount": st.integers(0, 3),
        },
    ),
    "loggingConfiguration": st.fixed_dictionaries(
        {}, optional={"level": st.sampled_from(["ALL", "OFF"]), "destinations": st.just([])}
    ),
    "maxConcurrency": st.integers(-1, 10),
    "toleratedFailurePercentage": st.floats(-1, 101),
    "workerName": st.text(min_size=1, max_size=5),
}
requests = (
    st.fixed_dictionaries({}, optional=FIELDS)
    | st.fixed_dictionaries(FIELDS)
    | st.dictionaries(st.sampled_from(sorted(FIELDS)), json_values, max_size=6)
)
# A long poll that finds nothing lasts a minute; it has tests of its own.
actions = st.sampled_from(sorted(set(ACTIONS) - {"GetActivityTask"}))


def send(server, body, headers, method="POST", path="/"):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    data = response.read()
    connection.close()
    return response.status, data


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(action=actions, request=requests)
def test_requests(server, action, request):
    note(f"{action} {json.dumps(request)}")
    status, data = send(server, json.dumps(request), {"X-Amz-Target": f"AWSStepFunctions.{action}"})
    counted["requests"] += 1
    counted["accepted"] += status == 200
    assert status in (200, 400), data
    answer = json.loads(data)
    assert status == 200 or answer["message"] is not None


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(definition=definitions, input=texts, kind=st.sampled_from(["STANDARD", "EXPRESS"]))
def test_definitions_that_are_accepted_run(server, definition, input, kind):
    """What CreateStateMachine takes, StartExecution starts, and nothing but the execution fails."""
    note(definition)

    def call(action, **request):
        counted["requests"] += 1
        status, data = send(server, json.dumps(request), {"X-Amz-Target": f"AWSStepFunctions.{action}"})
        assert status in (200, 400), (action, data)
        return json.loads(data) if status == 200 else None

    arn = f"{PREFIX}:stateMachine:fuzz"
    call("DeleteStateMachine", stateMachineArn=arn)
    created = call("CreateStateMachine", name="fuzz", definition=definition, roleArn=ROLE, type="STANDARD")
    call("ValidateStateMachineDefinition", definition=definition, type=kind, severity="WARNING")
    if created is None:
        return
    started = call("StartExecution", stateMachineArn=arn, input=input)
    if started is None:
        return
    counted["accepted"] += 1
    call("GetExecutionHistory", executionArn=started["executionArn"])
    call("StopExecution", executionArn=started["executionArn"])
    assert call("DescribeExecution", executionArn=started["executionArn"])["status"] != "RUNNING"


@settings(max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    body=st.binary(max_size=200),
    target=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=40),
    authorization=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
)
def test_bytes_and_headers(server, body, target, authorization):
    counted["requests"] += 1
    headers = {"X-Amz-Target": target.strip() or "x", "Authorization": authorization.strip() or "x"}
    status, data = send(server, body, headers)
    assert status in (200, 400), data


segments = st.sampled_from(
    ["2015-03-31", "2017-03-31", "2019-09-25", "functions", "f", "f:1", "invocations", "versions", "aliases", "tags",
     "configuration", "code", "policy", "event-invoke-config", "arn%3Aaws%3Alambda%3Aus-east-1%3A1%3Afunction%3Af", "%00", ".."]
)  # fmt: skip


@settings(max_examples=EXAMPLES // 2, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=st.lists(segments, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts)),
    query=st.sampled_from(["", "?Qualifier=x", "?MaxItems=z&Marker=-1", "?FunctionVersion=ALL"]),
    body=st.binary(max_size=50) | json_values.map(lambda value: json.dumps(value).encode()),
)
def test_the_lambda_api(server, method, path, query, body):
    counted["requests"] += 1
    status, data = send(server, body, {}, method, path + query)
    assert status < 500, data
