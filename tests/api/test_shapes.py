"""What the API says about values that break a rule: AWS's texts."""

import pytest

from stepwell.api.actions import ACTIONS
from stepwell.api.shapes import REQUESTS, SerializationException
from stepwell.engine.errors import ValidationException


def refusal(action, parameters):
    with pytest.raises(ValidationException) as caught:
        REQUESTS[action](parameters)
    return str(caught.value)


def test_every_action_has_a_handler_and_a_request():
    assert len(REQUESTS) == 37
    assert set(ACTIONS) <= set(REQUESTS)


@pytest.mark.parametrize(
    ("action", "parameters", "message"),
    [
        (
            "ListStateMachineAliases",
            {"stateMachineArn": "a", "maxResults": 1001},
            "1 validation error detected: Value '1001' at 'maxResults' failed to satisfy constraint: "
            "Member must have value less than or equal to 1000",
        ),
        (
            "CreateStateMachineAlias",
            {"name": "123", "routingConfiguration": [{"stateMachineVersionArn": "a", "weight": 100}]},
            "1 validation error detected: Value '123' at 'name' failed to satisfy constraint: "
            r"Member must satisfy regular expression pattern: ^(?=.*[a-zA-Z_\-\.])[a-zA-Z0-9_\-\.]+$",
        ),
        (
            "CreateStateMachineAlias",
            {"name": "A" * 81, "routingConfiguration": [{"stateMachineVersionArn": "a", "weight": 100}]},
            f"1 validation error detected: Value '{'A' * 81}' at 'name' failed to satisfy constraint: "
            "Member must have length less than or equal to 80",
        ),
        (
            "DescribeExecution",
            {},
            "1 validation error detected: Value null at 'executionArn' failed to satisfy constraint: "
            "Member must not be null",
        ),
        (
            "CreateStateMachine",
            {"name": "", "definition": "", "roleArn": "r", "type": "FAST"},
            "3 validation errors detected: "
            "Value '' at 'name' failed to satisfy constraint: Member must have length greater than or equal to 1; "
            "Value at 'definition' failed to satisfy constraint: Member must have length greater than or equal to 1; "
            "Value 'FAST' at 'type' failed to satisfy constraint: "
            "Member must satisfy enum value set: [STANDARD, EXPRESS]",
        ),
        (
            "TagResource",
            {"resourceArn": "a", "tags": [{"key": "k", "value": "v"}, {"key": ""}]},
            "1 validation error detected: Value '' at 'tags.2.member.key' failed to satisfy constraint: "
            "Member must have length greater than or equal to 1",
        ),
    ],
)
def test_refusals(action, parameters, message):
    assert refusal(action, parameters) == message


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"executionArn": 1}, "NUMBER_VALUE can not be converted to a String"),
        ({"executionArn": {}}, "START_OBJECT can not be converted to a String"),
        ({"executionArn": "a", "maxResults": "many"}, "STRING_VALUE can not be converted to an Integer"),
        ({"executionArn": "a", "maxResults": True}, "TRUE_VALUE can not be converted to an Integer"),
        ({"executionArn": "a", "reverseOrder": "yes"}, "STRING_VALUE can not be converted to a Boolean"),
    ],
)
def test_wrong_types(parameters, message):
    with pytest.raises(SerializationException, match=message):
        REQUESTS["GetExecutionHistory"](parameters)


def test_null_is_absent_and_unknown_members_are_ignored():
    REQUESTS["UpdateStateMachine"]({"stateMachineArn": "a", "definition": None, "roleArn": None, "new": 1})
