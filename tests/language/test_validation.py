"""One case per rule. Texts and locations are AWS's where a recording or a measurement of ValidateStateMachineDefinition exists."""

from typing import Any

import pytest

from stepwell.language.source import parse
from stepwell.language.validation import validate, validate_state

Json = dict[str, Any]

LAMBDA = "arn:aws:lambda:us-east-1:111122223333:function:f"
ACTIVITY = "arn:aws:states:us-east-1:111122223333:activity:a"
INVOKE = "arn:aws:states:::lambda:invoke"


def one(state: Json, **top: Any) -> Json:
    """A machine of one state, X, which ends unless it says otherwise."""
    if state.get("Type") not in ("Choice", "Succeed", "Fail") and "Next" not in state:
        state = {"End": True} | state
    return {"StartAt": "X", "States": {"X": state}} | top


def jsonata(state: Json) -> Json:
    return one(state, QueryLanguage="JSONata")


def task(**fields: Any) -> Json:
    return {"Type": "Task", "Resource": LAMBDA} | fields


def service(resource: str, **fields: Any) -> Json:
    return {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "Parameters": {}} | fields


def inner(**config: Any) -> Json:
    processor: Json = {"StartAt": "P", "States": {"P": {"Type": "Pass", "End": True}}}
    return processor | ({"ProcessorConfig": config} if config else {})


def a_map(**fields: Any) -> Json:
    return {"Type": "Map", "ItemProcessor": inner()} | fields


def distributed(**fields: Any) -> Json:
    return {"Type": "Map", "ItemProcessor": inner(Mode="DISTRIBUTED", ExecutionType="STANDARD")} | fields


def choice(*rules: Json, **fields: Any) -> Json:
    return {
        "StartAt": "C",
        "States": {"C": {"Type": "Choice", "Choices": list(rules)} | fields, "E": {"Type": "Succeed"}},
    }


def found(definition: Any, **options: Any) -> list[tuple[str, str, str | None]]:
    return [(d.code, d.message, d.location) for d in validate(definition, **options)]


SCHEMA = "SCHEMA_VALIDATION_FAILED"
TARGET = "MISSING_TRANSITION_TARGET"

FIELDS: list[tuple[Json, str, str]] = [
    # The top level.
    ({}, "These fields are required: [States, StartAt]", "/"),
    ({"StartAt": "A"}, "These fields are required: [States]", "/"),
    ({"States": {"A": {"Type": "Pass", "End": True}}}, "These fields are required: [StartAt]", "/"),
    (one({"Type": "Pass"}, Coment="x"), "Field 'Coment' is not supported", "/"),
    (one({"Type": "Pass"}, Version="2.0"), "Value should be one of the following: [1.0]", "/Version"),
    (
        one({"Type": "Pass"}, QueryLanguage="jsonata"),
        "Value should be one of the following: [JSONPath, JSONata]",
        "/QueryLanguage",
    ),
    (one({"Type": "Pass"}, QueryLanguage=5), "Expected value of type [STRING]", "/QueryLanguage"),
    (one({"Type": "Pass"}, TimeoutSeconds=-1), "Minimum value is 0", "/TimeoutSeconds"),
    # Types and fields of states.
    (
        one({"Type": "Nothing"}),
        "The field 'Type' should have one of these values: [Task, Wait, Pass, Succeed, Fail, Choice, Parallel, Map]",
        "/States/X/Type",
    ),
    (one({}), "These fields are required: [Type]", "/States/X"),
    (one({"Type": "Pass", "Retry": []}), "Field 'Retry' is not supported", "/States/X"),
    (one({"Type": "Pass", "TimeoutSeconds": 5}), "Field 'TimeoutSeconds' is not supported", "/States/X"),
    (one(a_map(TimeoutSeconds=5)), "Field 'TimeoutSeconds' is not supported", "/States/X"),
    (one({"Type": "Wait", "Seconds": 1, "ResultPath": None}), "Field 'ResultPath' is not supported", "/States/X"),
    (one({"Type": "Fail", "End": True}), "Field 'End' is not supported", "/States/X"),
    (one({"Type": "Pass", "Comment": 1}), "Expected value of type [STRING]", "/States/X/Comment"),
    (one({"Type": "Task"}), "These fields are required: [Resource]", "/States/X"),
    (one({"Type": "Parallel"}), "These fields are required: [Branches]", "/States/X"),
    (one({"Type": "Parallel", "Branches": []}), "Value cannot be empty", "/States/X/Branches"),
    (
        one({"Type": "Map"}),
        "This object should have only one of the following fields: [ItemProcessor, Iterator]",
        "/States/X",
    ),
    (
        one(a_map(ItemProcessor={"QueryLanguage": "JSONata"} | inner())),
        "Field 'QueryLanguage' is not supported",
        "/States/X/ItemProcessor",
    ),
    # Next and End.
    (
        {
            "StartAt": "C",
            "States": {
                "C": {"Type": "Choice", "Choices": [{"Variable": "$", "IsNull": True, "Next": "E"}], "Default": "X"},
                "E": {"Type": "Succeed"},
                "X": {"Type": "Pass"},
            },
        },
        "This object should have only one of the following fields: [Next, End]",
        "/States/X",
    ),
    (
        one({"Type": "Pass", "Next": "X", "End": True}),
        "There should only be one of the following fields: [Next, End]",
        "/States/X",
    ),
    # Query languages.
    (
        one({"Type": "Pass", "QueryLanguage": "JSONPath"}, QueryLanguage="JSONata"),
        "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine",
        "/States/X",
    ),
    (
        one({"Type": "Pass", "Output": "{% 1 %}"}),
        "The QueryLanguage is set to 'JSONPath', but field 'Output' is only supported for the 'JSONata' QueryLanguage",
        "/States/X",
    ),
    (
        jsonata({"Type": "Pass", "InputPath": "$.a"}),
        "The QueryLanguage is set to 'JSONata', but field 'InputPath' is only supported for the 'JSONPath' QueryLanguage",
        "/States/X",
    ),
    (
        one(
            a_map(
                QueryLanguage="JSONata",
                ItemProcessor={"StartAt": "P", "States": {"P": {"Type": "Pass", "Output": 1, "End": True}}},
            )
        ),
        "The QueryLanguage is set to 'JSONPath', but field 'Output' is only supported for the 'JSONata' QueryLanguage",
        "/States/X/ItemProcessor/States/P",
    ),
    # Numbers.
    (one(task(TimeoutSeconds=0)), "Minimum value is 1", "/States/X/TimeoutSeconds"),
    (one(task(HeartbeatSeconds=100_000_000)), "Maximum value is 99999999", "/States/X/HeartbeatSeconds"),
    (one(task(TimeoutSeconds="5")), "Expected value of type Integer", "/States/X/TimeoutSeconds"),
    (one(task(TimeoutSeconds=True)), "Expected value of type Integer", "/States/X/TimeoutSeconds"),
    (
        one(task(TimeoutSeconds=1, TimeoutSecondsPath="$.t")),
        "There should only be one of the following fields: [TimeoutSeconds, TimeoutSecondsPath]",
        "/States/X",
    ),
    (one(a_map(MaxConcurrency=-1)), "Minimum value is 0", "/States/X/MaxConcurrency"),
    (one(a_map(ToleratedFailurePercentage=100.5)), "Maximum value is 100", "/States/X/ToleratedFailurePercentage"),
    (one(a_map(MaxConcurrency=2**63)), "Maximum value is 9223372036854775807", "/States/X/MaxConcurrency"),
    # Wait.
    (
        one({"Type": "Wait"}),
        "This object should have only one of the following fields: [SecondsPath, Seconds, TimestampPath, Timestamp]",
        "/States/X",
    ),
    (
        one({"Type": "Wait", "Seconds": 1, "Timestamp": "2030-01-01T00:00:00Z"}),
        "There should only be one of the following fields: [SecondsPath, Seconds, TimestampPath, Timestamp]",
        "/States/X",
    ),
    (
        jsonata({"Type": "Wait"}),
        "This object should have only one of the following fields: [Seconds, Timestamp]",
        "/States/X",
    ),
    (one({"Type": "Wait", "Seconds": -1}), "Minimum value is 0", "/States/X/Seconds"),
    (
        one({"Type": "Wait", "Timestamp": "2016-13-05T21:29:29Z"}),
        "String does not match RFC3339 timestamp",
        "/States/X/Timestamp",
    ),
    (
        one({"Type": "Wait", "Timestamp": "{% $now() %}"}),
        "String does not match RFC3339 timestamp",
        "/States/X/Timestamp",
    ),
    # Paths and templates.
    (one({"Type": "Pass", "InputPath": "Test"}), "Value must be a valid JSONPath.", "/States/X/InputPath"),
    (one({"Type": "Pass", "OutputPath": "$.a["}), "Value must be a valid JSONPath.", "/States/X/OutputPath"),
    (
        one({"Type": "Wait", "SecondsPath": "a"}),
        "Value is not a Reference Path: Reference path didn't start with '$'",
        "/States/X/SecondsPath",
    ),
    (
        one({"Type": "Pass", "ResultPath": "a"}),
        "Value is not a Reference Path: Reference path didn't start with '$'",
        "/States/X/ResultPath",
    ),
    (
        one(task(Parameters={"outputPath.$": "States.format('test-{}.json', $.Comment)"})),
        "The value for the field 'outputPath.$' must be a valid JSONPath or a valid intrinsic function call",
        "/States/X/Parameters",
    ),
    (
        one({"Type": "Pass", "Assign": {"v.$": "Test"}}),
        "The value for the field 'v.$' must be a valid JSONPath or a valid intrinsic function call",
        "/States/X/Assign",
    ),
    (
        one({"Type": "Fail", "Error": "a", "ErrorPath": "$.e"}),
        "There should only be one of the following fields: [Error, ErrorPath]",
        "/States/X",
    ),
    (
        one({"Type": "Fail", "CausePath": "cause"}),
        "Value must be a valid JSONPath or a valid intrinsic function call",
        "/States/X/CausePath",
    ),
    # Retry and Catch.
    (one(task(Retry=[{}])), "These fields are required: [ErrorEquals]", "/States/X/Retry[0]"),
    (one(task(Retry=[{"ErrorEquals": []}])), "Value cannot be empty", "/States/X/Retry[0]/ErrorEquals"),
    (
        one(task(Retry=[{"ErrorEquals": ["States.ALL"]}, {"ErrorEquals": ["E"]}])),
        "States.ALL must appear alone and at end of list",
        "/States/X/Retry[0]/ErrorEquals[0]",
    ),
    (
        one(task(Retry=[{"ErrorEquals": ["E", "States.ALL"]}])),
        "States.ALL must appear alone and at end of list",
        "/States/X/Retry[0]/ErrorEquals[1]",
    ),
    (
        one(task(Retry=[{"ErrorEquals": ["E"], "MaxAttempts": -1}])),
        "Minimum value is 0",
        "/States/X/Retry[0]/MaxAttempts",
    ),
    (
        one(task(Retry=[{"ErrorEquals": ["E"], "MaxDelaySeconds": 31_622_401}])),
        "Maximum value is 31622400",
        "/States/X/Retry[0]/MaxDelaySeconds",
    ),
    (
        one(task(Retry=[{"ErrorEquals": ["E"], "BackoffRate": 0.5}])),
        "Minimum value is 1.0",
        "/States/X/Retry[0]/BackoffRate",
    ),
    (
        one(task(Retry=[{"ErrorEquals": ["E"], "JitterStrategy": "SOME"}])),
        "Value should be one of the following: [NONE, FULL]",
        "/States/X/Retry[0]/JitterStrategy",
    ),
    (one(task(Catch=[{"ErrorEquals": ["E"]}])), "These fields are required: [Next]", "/States/X/Catch[0]"),
    # Choice.
    (choice(Default="E"), "Value cannot be empty", "/States/C/Choices"),
    (
        choice({"Variable": "$", "StringMatches": "T"}, Default="E"),
        "These fields are required: [Next]",
        "/States/C/Choices[0]",
    ),
    (
        choice({"And": [{"Variable": "$.a", "IsNull": True, "Next": "E"}], "Next": "E"}),
        "Field 'Next' is not supported",
        "/States/C/Choices[0]/And[0]",
    ),
    (
        choice({"Not": {"Variable": "$.a", "IsNull": 1}, "Next": "E"}),
        "Expected value of type [BOOLEAN]",
        "/States/C/Choices[0]/Not/IsNull",
    ),
    (
        choice({"Next": "E"}),
        "The object must have only one of the following fields, [And, Or, Not, Variable, Condition]",
        "/States/C/Choices[0]",
    ),
    (
        choice({"Variable": "$.a", "IsNull": True, "IsString": True, "Next": "E"}),
        "There should only be one of the following fields: [IsNull, IsString]",
        "/States/C/Choices[0]",
    ),
    (
        choice({"Variable": "States.ArrayLength($.a)", "NumericEquals": 0, "Next": "E"}),
        "Value is not a Reference Path: Reference path didn't start with '$'",
        "/States/C/Choices[0]/Variable",
    ),
    (
        choice({"Variable": "$.a", "NumericEquals": "0", "Next": "E"}),
        "Expected value of type Float",
        "/States/C/Choices[0]/NumericEquals",
    ),
    (
        choice({"Variable": "$.a", "TimestampEquals": "now", "Next": "E"}),
        "String does not match RFC3339 timestamp",
        "/States/C/Choices[0]/TimestampEquals",
    ),
    (
        choice({"Condition": "{% true %}", "Next": "E"}),
        "The QueryLanguage is set to 'JSONPath', but field 'Condition' is only supported for the 'JSONata' QueryLanguage",
        "/States/C/Choices[0]",
    ),
    (
        choice({"Condition": "true", "Next": "E"}, QueryLanguage="JSONata"),
        "JSONata string must start with {% and end with %}",
        "/States/C/Choices[0]/Condition",
    ),
    # Resources.
    (one({"Type": "Task", "Resource": "createToken"}), "Value is not a valid resource ARN", "/States/X/Resource"),
    (
        one(service("dynamodb:query")),
        "The resource provided arn:aws:states:::dynamodb:query is not recognized. The value is not a valid resource ARN, "
        "or the resource is not available in this region.",
        "/States/X/Resource",
    ),
    (
        one(service("lambda:invoke.sync", Parameters={"FunctionName": "f"})),
        "The resource provided arn:aws:states:::lambda:invoke.sync is not recognized. The value is not a valid resource ARN, "
        "or the resource is not available in this region.",
        "/States/X/Resource",
    ),
    (
        one({"Type": "Task", "Resource": INVOKE}),
        f"Parameters field is required for resource ARN: {INVOKE}",
        "/States/X/Resource",
    ),
    (
        jsonata({"Type": "Task", "Resource": INVOKE}),
        f"Arguments field is required for resource ARN: {INVOKE}",
        "/States/X/Resource",
    ),
    (one(service("lambda:invoke")), "The field 'FunctionName' is required but was missing", "/States/X/Parameters"),
    (one(task(Credentials={})), "The field 'RoleArn' is required but was missing", "/States/X/Credentials"),
    (
        one({"Type": "Task", "Resource": ACTIVITY, "Credentials": {"RoleArn": "r"}}),
        "The field 'Credentials' is not supported for activities",
        "/States/X/Credentials",
    ),
    # Distributed maps.
    (
        one(a_map(ItemProcessor=inner(Mode="DISTRIBUTED"))),
        "These fields are required: [ExecutionType]",
        "/States/X/ItemProcessor/ProcessorConfig",
    ),
    (
        one(a_map(ItemProcessor=inner(Mode="INLINE", ExecutionType="EXPRESS"))),
        "Field 'ExecutionType' is not supported",
        "/States/X/ItemProcessor/ProcessorConfig",
    ),
    (
        one(distributed(ItemReader={"Resource": "arn:aws:states:::s3:unknown", "Parameters": {}})),
        "The field 'Resource' does not match any of the allowed values",
        "/States/X/ItemReader/Resource",
    ),
    (
        one(
            distributed(ItemReader={"Resource": "arn:aws:states:::s3:getObject", "ReaderConfig": {"InputType": "CSV"}})
        ),
        "The field 'CSVHeaderLocation' is required",
        "/States/X/ItemReader/ReaderConfig",
    ),
    (
        one(
            distributed(
                ItemReader={
                    "Resource": "arn:aws:states:::s3:getObject",
                    "ReaderConfig": {"InputType": "CSV", "CSVHeaderLocation": "GIVEN"},
                }
            )
        ),
        "These fields are required: [CSVHeaders]",
        "/States/X/ItemReader/ReaderConfig",
    ),
    (one(distributed(ResultWriter={})), "These fields are required: [Resource, Parameters]", "/States/X/ResultWriter"),
    (
        one(distributed(ItemBatcher={"MaxItemsPerBatch": 0})),
        "Minimum value is 1",
        "/States/X/ItemBatcher/MaxItemsPerBatch",
    ),
]


@pytest.mark.parametrize(("definition", "message", "location"), FIELDS)
def test_a_field_that_is_wrong(definition: Json, message: str, location: str) -> None:
    assert found(definition) == [(SCHEMA, message, location)]


OTHER_CODES: list[tuple[Json, list[tuple[str, str, str | None]]]] = [
    (
        {
            "StartAt": "pass1",
            "States": {"pass1": {"Type": "Pass", "Next": "pass3"}, "pass2": {"Type": "Pass", "End": True}},
        },
        [
            (TARGET, "Missing 'Next' target: pass3", "/States/pass1/Next"),
            (TARGET, 'State "pass2" is not reachable.', "/States/pass2"),
        ],
    ),
    (
        {"StartAt": "?", "States": {"One": {"Type": "Pass", "Next": "Two"}, "Two": {"Type": "Succeed"}}},
        [
            (TARGET, "Missing 'Next' target: ?", "/StartAt"),
            (TARGET, 'State "One" is not reachable.', "/States/One"),
        ],
    ),
    (
        choice({"Variable": "$.x", "IsPresent": True, "Next": "E"}, Default="Ghost"),
        [(TARGET, "Missing 'Next' target: Ghost", "/States/C/Default")],
    ),
    (
        one(task(Catch=[{"ErrorEquals": ["States.ALL"], "Next": "Ghost"}])),
        [(TARGET, "Missing 'Next' target: Ghost", "/States/X/Catch[0]/Next")],
    ),
    (
        {"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Pass", "Next": "A"}}},
        [("MISSING_END_STATE", "Workflow has no terminal state", None)],
    ),
    (
        {"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "NOPE"}}},
        [
            (TARGET, "Missing 'Next' target: NOPE", "/States/A/Next"),
            ("MISSING_END_STATE", "Workflow has no terminal state", None),
        ],
    ),
    (
        one({"Type": "Parallel", "Branches": [inner(), inner()]}),
        [("DUPLICATE_STATE_NAME", "Duplicate State name: P", "/States/X/Branches[1]/States/P")],
    ),
    (
        one({"Type": "Parallel", "Branches": [{"StartAt": "W", "States": {"W": {"Type": "Pass", "Next": "X"}}}]}),
        [(TARGET, "Missing 'Next' target: X", "/States/X/Branches[0]/States/W/Next")],
    ),
    (
        {"StartAt": "x" * 81, "States": {"x" * 81: {"Type": "Succeed"}}},
        [
            (
                "INVALID_STATE_NAME",
                f"Invalid State name: '{'x' * 81}' exceeds the 80-character limit allowed by the service",
                f"/States/{'x' * 81}",
            )
        ],
    ),
    (one(distributed(Label="")), [("INVALID_LABEL_NAME", "Label cannot be empty", "/States/X/Label")]),
    (
        one(distributed(Label="a b")),
        [("INVALID_LABEL_NAME", "Label contains invalid character: ' '", "/States/X/Label")],
    ),
    (
        one(distributed(Label="a" * 41)),
        [("INVALID_LABEL_NAME", "Label cannot exceed 40 characters", "/States/X/Label")],
    ),
    (
        one({"Type": "Pass", "Assign": {"states": 1}}),
        [("RESERVED_VARIABLE_NAME", "Cannot assign to reserved variable '$states'.", "/States/X/Assign/states")],
    ),
    (
        one({"Type": "Pass", "Assign": {"a-b.$": "$.x"}}),
        [
            (
                "INVALID_VARIABLE_NAME",
                "Invalid variable name 'a-b': the variable name contains invalid characters.",
                "/States/X/Assign/a-b.$",
            )
        ],
    ),
    (
        one(
            {
                "Type": "Parallel",
                "Assign": {"v": 1},
                "Branches": [{"StartAt": "W", "States": {"W": {"Type": "Pass", "Assign": {"v.$": "$"}, "End": True}}}],
            }
        ),
        [
            (
                "DUPLICATE_VARIABLE_NAME",
                "The variable name 'v' was already defined in a parent scope.",
                "/States/X/Branches[0]/States/W/Assign/v.$",
            )
        ],
    ),
]


@pytest.mark.parametrize(("definition", "findings"), OTHER_CODES)
def test_names_and_transitions(definition: Json, findings: list[tuple[str, str, str | None]]) -> None:
    assert found(definition) == findings


def test_labels_are_unique() -> None:
    definition = {
        "StartAt": "A",
        "States": {
            "A": distributed(Label="l", Next="B"),
            "B": distributed(Label="l", End=True, ItemProcessor={"StartAt": "Q", "States": {"Q": {"Type": "Succeed"}}}),
        },
    }
    assert found(definition) == [("DUPLICATE_LABEL_NAME", "Duplicate Label name: l", "/States/B/Label")]


EXPRESS = [
    ("sqs:sendMessage.waitForTaskToken", {"QueueUrl": "q", "MessageBody": "b"}, ".waitForTaskToken"),
    ("states:startExecution.sync:2", {"StateMachineArn": "s"}, ".sync"),
]


@pytest.mark.parametrize(("resource", "parameters", "pattern"), EXPRESS)
def test_an_express_machine_can_not_wait_for_a_job(resource: str, parameters: Json, pattern: str) -> None:
    definition = one(service(resource, Parameters=parameters))
    assert found(definition) == []
    # The space before the location is AWS's.
    message = f"Express state machine does not support '{pattern}' service integration "
    assert found(definition, kind="EXPRESS") == [(SCHEMA, message, "/States/X/Resource")]


def test_an_express_machine_has_no_activities_and_no_distributed_maps() -> None:
    activity = one({"Type": "Task", "Resource": ACTIVITY})
    assert found(activity) == []
    assert found(activity, kind="EXPRESS") == [
        (SCHEMA, "Express state machine does not support Activity ARN", "/States/X/Resource")
    ]
    assert found(one(distributed()), kind="EXPRESS") == [
        (
            SCHEMA,
            "The field 'Mode' with value 'DISTRIBUTED' is not supported inside 'EXPRESS' state machines",
            "/States/X/ItemProcessor/ProcessorConfig/Mode",
        )
    ]


def test_child_executions_have_a_type_of_their_own() -> None:
    processor = {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "EXPRESS"},
        "StartAt": "A",
        "States": {"A": {"Type": "Task", "Resource": ACTIVITY, "End": True}},
    }
    assert found(one(a_map(ItemProcessor=processor))) == [
        (SCHEMA, "Express state machine does not support Activity ARN", "/States/X/ItemProcessor/States/A/Resource")
    ]


ACCEPTED: list[Json] = [
    one({"Type": "Pass", "Comment": "{% phone %}", "Parameters": {"v": "{% phone %}"}}),
    jsonata({"Type": "Task", "Resource": LAMBDA, "Retry": [{"ErrorEquals": ["{% phone %}"]}], "Comment": "{% x %}"}),
    jsonata({"Type": "Task", "Resource": LAMBDA, "TimeoutSeconds": "{% 5 %}", "Credentials": {"RoleArn": "{% $r %}"}}),
    one(task(Retry=[], Catch=[])),
    one(task(Retry=[{"ErrorEquals": ["E"], "IntervalSeconds": 0}])),
    one({"Type": "Pass"}, TimeoutSeconds=0, Version="1.0", Comment="c"),
    one({"Type": "Pass", "InputPath": None, "OutputPath": None, "ResultPath": None}),
    one({"Type": "Pass", "InputPath": "$$.Execution.Input", "OutputPath": "$v.a"}),
    one(a_map(ItemsPath="$$.Execution.Input.items", ItemSelector={"i.$": "$$.Map.Item.Index"})),
    one(a_map(MaxConcurrency=9223372036854775807)),
    one({"Type": "Map", "Iterator": inner()}),
    one(distributed(ItemReader={"Resource": "arn:aws:states:::s3:listObjectsV2", "Parameters": {"Bucket": "b"}})),
    one(distributed(ResultWriter={"WriterConfig": {"Transformation": "COMPACT", "OutputType": "JSON"}})),
    one(a_map(QueryLanguage="JSONata", Items="{% [1] %}", Output={"n": "{% $count($states.result) %}"})),
    one(
        {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "B"}, "B": {"Type": "Pass", "Next": "A"}}}
            ],
        }
    ),
    one(service("aws-sdk:s3:listBuckets")),
    one(service("aws-sdk:sqs:sendMessage.waitForTaskToken")),
    one({"Type": "Task", "Resource": "arn:aws-cn:lambda:cn-north-1:111122223333:function:f:live"}),
    one({"Type": "Wait", "Timestamp": "2016-03-14T01:59:00.123+01:00"}),
    choice({"Not": {"Or": [{"Variable": "$.a", "StringEqualsPath": "$$.State.Name"}]}, "Next": "E"}),
    {"StartAt": "X", "States": {"X": {"Type": "Fail", "ErrorPath": "$.e", "CausePath": "States.Format('{}', $.c)"}}},
    {"StartAt": "X", "States": {"X": {"Type": "Pass", "End": False, "Next": "Y"}, "Y": {"Type": "Succeed"}}},
]


@pytest.mark.parametrize("definition", ACCEPTED)
def test_valid_definitions(definition: Json) -> None:
    assert found(definition) == []


def test_distributed_children_may_use_their_parents_names() -> None:
    processor = inner(Mode="DISTRIBUTED", ExecutionType="STANDARD")
    processor["States"]["P"]["Assign"] = {"v": 1}
    assert found(one(a_map(Assign={"v": 1}, ItemProcessor=processor))) == []


def test_warnings_do_not_make_a_definition_invalid() -> None:
    definition = {
        "StartAt": "X",
        "States": {
            "X": {"Type": "Pass", "Result": {"a": "$.b"}, "Next": "Y"},
            "Y": task(Parameters={"a": "$.b", "c": ["States.UUID()"], "d": "costs $5"}, Next="Z"),
            "Z": {"Type": "Fail", "Error": "$.e"},
        },
    }
    assert [(d.severity, d.code, d.location) for d in validate(definition)] == [
        ("WARNING", "PASS_RESULT_IS_STATIC", "/States/X/Result/a"),
        ("WARNING", "NO_DOLLAR", "/States/Y/Parameters/a"),
        ("WARNING", "NO_PATH", "/States/Z/Error"),
    ]


def test_a_downgraded_state_is_not_blamed_for_the_other_languages_fields() -> None:
    state = {"Type": "Map", "QueryLanguage": "JSONPath", "MaxConcurrency": -1, "Output": 1, "ItemProcessor": inner()}
    assert [message for _, message, _ in found(jsonata(state))] == [
        "'QueryLanguage' can not be 'JSONPath' if set to 'JSONata' for whole state machine",
        "Minimum value is 0",
    ]


def test_all_faults_are_found_at_once_and_in_order() -> None:
    definition = one({"Type": "Pass", "QueryLanguage": "foo", "InputPath": "$.a", "Next": "Y"})
    assert [message for _, message, _ in found(definition)] == [
        "The QueryLanguage is set to 'JSONata', but field 'InputPath' is only supported for the 'JSONPath' QueryLanguage",
        "Value should be one of the following: [JSONPath, JSONata]",
        "Missing 'Next' target: Y",
        "Workflow has no terminal state",
    ]


def test_hints_name_what_was_probably_meant() -> None:
    definition = {"StartAt": "Start", "States": {"Strat": {"Type": "Succeed", "OutputPth": "$"}}}
    hints = [d.remedy for d in validate(definition)]
    assert hints[:2] == ["Did you mean OutputPath?", 'Did you mean "Strat"?']


def test_placeholders_are_for_projects() -> None:
    definition = one(
        {"Type": "Task", "Resource": "${functions.media-lister}", "TimeoutSeconds": "${timeout}"},
    )
    assert [message for _, message, _ in found(definition)] == [
        "Value is not a valid resource ARN",
        "Expected value of type Integer",
    ]
    assert found(definition, placeholders=True) == []


def test_numbers_of_retriers_and_choices_may_be_placeholders() -> None:
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": "f"},
        "Next": "C",
    }
    retrier = {
        "ErrorEquals": ["States.ALL"],
        "IntervalSeconds": "${variables.wait}",
        "MaxAttempts": "${variables.tries}",
    }
    rule = {"Variable": "$.n", "NumericGreaterThanEquals": "${variables.most}", "Next": "D"}
    definition = {
        "StartAt": "A",
        "States": {
            "A": {**task, "Retry": [retrier]},
            "C": {"Type": "Choice", "Choices": [rule], "Default": "D"},
            "D": {"Type": "Succeed"},
        },
    }
    assert found(definition, placeholders=True) == []
    assert len(found(definition)) == 3


def test_texts_come_with_their_place() -> None:
    source = parse('{\n"StartAt": "A",\n"States": {\n"A": {"Type": "Pass", "Next": "B"}}}', file="m.json")
    first, second = validate(source)
    assert (first.file, first.line, first.column) == ("m.json", 4, 23)
    assert (second.code, second.line, second.column) == ("MISSING_END_STATE", 1, 1)
    assert [d.line for d in validate(source.text)] == [4, 1]
    assert [d.line for d in validate(source.text.encode())] == [4, 1]
    assert [d.code for d in validate("{")] == ["INVALID_JSON_DESCRIPTION"]
    assert [d.message for d in validate(b'{"\xff": 1}')] == ["Invalid UTF-8 at byte 2"]


@pytest.mark.parametrize("value", [None, 1, "x", [], [{}], True])
def test_a_definition_is_an_object(value: Any) -> None:
    (finding,) = validate(value) if not isinstance(value, str) else validate('"x"')
    assert (finding.message, finding.location) == ("Definition must be a valid JSON object", None)


def test_states_within_states_without_end() -> None:
    state: Json = {"Type": "Pass", "End": True}
    for depth in range(400):
        state = {
            "Type": "Parallel",
            "End": True,
            "Branches": [{"StartAt": f"S{depth}", "States": {f"S{depth}": state}}],
        }
    assert [d.code for d in validate({"StartAt": "X", "States": {"X": state}})][-1] == "TOO_DEEPLY_NESTED"


def test_a_single_state_is_checked_without_its_surroundings() -> None:
    assert validate_state({"Type": "Pass", "Next": "Elsewhere"}) == []
    assert validate_state({"Type": "Pass", "QueryLanguage": "JSONata", "Output": "{% 1 %}", "End": True}) == []
    (finding,) = validate_state({"Type": "Passs", "End": True})
    assert finding.location == "/Type"
