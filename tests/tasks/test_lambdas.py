"""Functions as Resource and through lambda:invoke."""

import base64
import json

import pytest

from stepwell.functions import FunctionPool, FunctionSpec
from stepwell.tasks import Dispatcher, TaskError
from stepwell.tasks.lambdas import Functions

from .conftest import ACCOUNT, REGION, run

ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:"


def echo(event, context):
    return event


def fail(event, context):
    raise ValueError("Some exception was raised.")


def who(event, context):
    return {"request": context.aws_request_id, "client": context.client_context.custom}


class Kept(list):
    """The events that were accepted."""

    async def accept(self, function, payload, *, call, qualifier=None):
        self.append((function, payload, call.request_id))


@pytest.fixture
def kept():
    return Kept()


@pytest.fixture
async def dispatcher(kept):
    specs = [FunctionSpec(name=f.__name__, handler=f, inline=True, typed=False) for f in (echo, fail, who)]
    async with FunctionPool(specs, account=ACCOUNT, region=REGION) as pool:
        yield Dispatcher(functions=Functions(pool, kept))


@pytest.mark.parametrize("event", [0, 0.0, True, "HelloWorld", {}, [], None, {"a": [1, {"b": None}]}])
async def test_a_functions_arn_as_resource(dispatcher, event):
    assert await run(dispatcher, ARN + "echo", event) == event


@pytest.mark.parametrize(
    "name", ["echo", "echo:$LATEST", ARN + "echo", ARN + "echo:$LATEST", f"{ACCOUNT}:function:echo"]
)
async def test_invoke(dispatcher, name):
    result = await run(dispatcher, "lambda:invoke", {"FunctionName": name, "Payload": {"k": 1}})
    http = result.pop("SdkHttpMetadata")
    del result["SdkResponseMetadata"]
    assert result == {"ExecutedVersion": "$LATEST", "Payload": {"k": 1}, "StatusCode": 200}
    assert http["AllHttpHeaders"]["X-Amz-Executed-Version"] == ["$LATEST"]
    assert http["HttpHeaders"]["Content-Length"] == "8", "Lambda's Python writes a space after the colon"


async def test_payloads(dispatcher):
    async def payload(value):
        return (await run(dispatcher, "lambda:invoke", {"FunctionName": "echo", "Payload": value}))["Payload"]

    assert await payload(None) == {}, "no payload is an empty event"
    assert await payload('"text"') == "text", "a string is the event's own JSON text"
    with pytest.raises(TaskError) as caught:
        await payload("not json")
    assert caught.value.error == "Lambda.InvalidRequestContentException"
    assert caught.value.cause.startswith("Could not parse request body into json: Unrecognized token 'not json'")


@pytest.mark.parametrize("resource", [ARN + "fail", "lambda:invoke"])
async def test_a_functions_failure(dispatcher, resource):
    with pytest.raises(TaskError) as caught:
        await run(dispatcher, resource, {"FunctionName": "fail", "Payload": {}})
    assert caught.value.error == "ValueError"
    cause = json.loads(caught.value.cause)
    assert (cause["errorMessage"], cause["errorType"]) == ("Some exception was raised.", "ValueError")
    assert len(cause["requestId"]) == 36
    assert any("raise ValueError" in line for line in cause["stackTrace"])


async def test_a_function_that_does_not_exist(dispatcher):
    for resource, name in (("lambda:invoke", "absent"), (ARN + "absent", "")):
        with pytest.raises(TaskError) as caught:
            await run(dispatcher, resource, {"FunctionName": name})
        assert caught.value.error == "Lambda.ResourceNotFoundException"
        assert caught.value.cause.startswith(
            f"Function not found: {ARN}absent:$LATEST (Service: AWSLambda; Status Code: 404; "
            "Error Code: ResourceNotFoundException; Request ID: "
        )


async def test_kinds_of_invocation(dispatcher, kept):
    arguments = {"FunctionName": "fail", "InvocationType": "Event", "Payload": {"n": 1}}
    event = await run(dispatcher, "lambda:invoke", arguments)
    assert (event["StatusCode"], event["Payload"]) == (202, "")
    await run(dispatcher, "lambda:invoke", arguments)
    [first, second] = kept
    assert first == second, "an attempt that is run again gives the same event"
    assert first[:2] == ("fail", b'{"n":1}')
    dry = await run(dispatcher, "lambda:invoke", {"FunctionName": "fail", "InvocationType": "DryRun"})
    assert dry["StatusCode"] == 204
    tail = await run(dispatcher, "lambda:invoke", {"FunctionName": "echo", "LogType": "Tail"})
    assert base64.b64decode(tail["LogResult"]) is not None
    assert tail["SdkHttpMetadata"]["HttpHeaders"]["X-Amz-Log-Result"] == tail["LogResult"]


async def test_an_attempt_keeps_its_request_id(dispatcher):
    context = base64.b64encode(b'{"custom": {"a": 1}}').decode()
    arguments = {"FunctionName": "who", "ClientContext": context}
    first = (await run(dispatcher, "lambda:invoke", arguments))["Payload"]
    again = (await run(dispatcher, "lambda:invoke", arguments))["Payload"]
    assert first == again
    assert first["client"] == {"a": 1}


async def test_a_function_in_aws(boto, aws):
    refused = Dispatcher(aws=aws)
    with pytest.raises(TaskError) as caught:
        await run(refused, "lambda:invoke", {"FunctionName": "elsewhere", "Payload": {}})
    assert caught.value.error == "Lambda.ResourceNotFoundException"
    assert caught.value.cause.startswith(
        f"Function not found: {ARN}elsewhere:$LATEST (Service: AWSLambda; Status Code: 404; "
    )
