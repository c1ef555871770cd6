"""Names and values of AWS services as Step Functions writes them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from stepwell.tasks.aws_models import UnknownField, exception_name, from_sdk, java_name, load_service, to_sdk


@pytest.mark.parametrize(
    ("service_id", "name"),
    [
        ("DynamoDB", "DynamoDb"),
        ("SFN", "Sfn"),
        ("S3", "S3"),
        ("Secrets Manager", "SecretsManager"),
        ("EC2", "Ec2"),
        ("IoT", "Iot"),
        ("CloudWatch Logs", "CloudWatchLogs"),
        ("Elastic Load Balancing v2", "ElasticLoadBalancingV2"),
    ],
)
def test_java_names(service_id, name):
    assert java_name(service_id) == name


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        ("NoSuchKey", "NoSuchKeyException"),
        ("ResourceNotFoundException", "ResourceNotFoundException"),
        ("DBInstanceNotFoundFault", "DBInstanceNotFoundException"),
    ],
)
def test_exception_names(shape, name):
    assert exception_name(shape) == name


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("sfn", "stepfunctions"),
        ("cloudwatchlogs", "logs"),
        ("eventbridge", "events"),
        ("costexplorer", "ce"),
        ("s3", "s3"),
    ],
)
def test_services_by_their_java_package(package, name):
    assert load_service(package).name == name


def shapes(package, action):
    service = load_service(package)
    model = service.model.operation_model(service.operation(action))
    return model.input_shape, model.output_shape


def test_parameters_have_capital_names_and_anything_is_text():
    given, _ = shapes("sfn", "startExecution")
    assert to_sdk({"StateMachineArn": "a", "Input": {"k": [1, None]}, "Name": None}, given) == {
        "stateMachineArn": "a",
        "input": '{"k":[1,null]}',
    }


def test_map_keys_are_the_users_own():
    given, _ = shapes("dynamodb", "putItem")
    item = {"TableName": "t", "Item": {"lowerCase": {"S": "x"}}}
    assert to_sdk(item, given) == item


@pytest.mark.parametrize(
    ("body", "stored"),
    [("text data", b'"text data"'), ({"Dict": "Value"}, b'{"Dict":"Value"}'), (False, b"false"), (0, b"0")],
)
def test_a_body_is_its_json_text(body, stored):
    given, _ = shapes("s3", "putObject")
    assert to_sdk({"Bucket": "b", "Key": "k", "Body": body}, given)["Body"] == stored


def test_unknown_fields_are_refused():
    given, _ = shapes("dynamodb", "putItem")
    with pytest.raises(UnknownField, match='The field "Colour" is not supported'):
        to_sdk({"Colour": 1}, given)


def test_results_in_json():
    _, result = shapes("s3", "getObject")
    answer = {"Body": b"text", "LastModified": datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC), "ContentLength": 4}
    assert from_sdk(answer, result) == {"Body": "text", "LastModified": "2025-01-02T03:04:05Z", "ContentLength": 4}
    assert from_sdk({"Body": b"\xff\x00"}, result) == {"Body": "/wA="}
    assert from_sdk(answer, result, epoch_milliseconds=True)["LastModified"] == 1735787045000


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ({"MessageAttributes": []}, 'The value of field "MessageAttributes" must be a JSON object'),
        ({"MessageAttributes": {"a": 1}}, 'The value of field "MessageAttributes" must be a JSON object'),
        (
            {"MessageAttributes": {"a": {"StringListValues": "x"}}},
            'The value of field "StringListValues" must be a JSON array',
        ),
    ],
)
def test_values_of_another_type_are_refused(parameters: dict[str, Any], complaint: str) -> None:
    shape = load_service("sqs").model.operation_model("SendMessage").input_shape
    with pytest.raises(UnknownField, match=complaint):
        to_sdk(parameters, shape)
