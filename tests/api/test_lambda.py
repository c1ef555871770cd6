"""The Lambda API without Docker: functions from zips, versions, aliases, invocations of every kind."""

import base64
import io
import json
import stat
import time
import zipfile

import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from stepwell.functions.uploads import MAX_UNPACKED, BadArchive, unpack

from .conftest import ACCOUNT, REGION, ROLE, Running, archive

ECHO = "def handler(event, context):\n    return event\n"
RAISE = "def handler(event, context):\n    raise ValueError('no')\n"
ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:"


@pytest.fixture
def functions(running):
    client = running.client("lambda")
    yield client
    for function in client.list_functions()["Functions"]:
        client.delete_function(FunctionName=function["FunctionName"])


def create(client, name="f", source=ECHO, **more):
    options = {"Runtime": "python3.12", "Handler": "handler.handler", "Role": ROLE, "Timeout": 10, **more}
    options.setdefault("Code", {"ZipFile": archive(handler=source)})
    return client.create_function(FunctionName=name, **options)


def invoke(client, name="f", payload=b"{}", **more):
    answer = client.invoke(FunctionName=name, Payload=payload, **more)
    body = answer["Payload"].read()
    return answer, json.loads(body) if body else None


def refusal(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Message"]


def test_from_creation_to_deletion(functions):
    made = create(functions, Environment={"Variables": {"COLOUR": "blue"}}, Description="echoes", MemorySize=256)
    assert (made["FunctionArn"], made["Version"], made["State"]) == (f"{ARN}f", "$LATEST", "Active")
    assert (made["MemorySize"], made["Environment"]) == (256, {"Variables": {"COLOUR": "blue"}})
    answer, result = invoke(functions, payload=b'{"a":[1,null]}')
    assert (answer["StatusCode"], answer["ExecutedVersion"], result) == (200, "$LATEST", {"a": [1, None]})
    got = functions.get_function(FunctionName=f"{ARN}f")
    assert got["Configuration"]["CodeSha256"] == made["CodeSha256"]
    for waiter in ("function_active_v2", "function_updated_v2", "function_exists"):
        functions.get_waiter(waiter).wait(FunctionName="f")
    functions.update_function_configuration(FunctionName="f", Timeout=3, Environment={"Variables": {"COLOUR": "red"}})
    source = "import os\ndef handler(event, context):\n    return [os.environ['COLOUR'], context.function_name, os.environ.get('HOME')]\n"
    functions.update_function_code(FunctionName="f", ZipFile=archive(handler=source))
    colour, name, _ = invoke(functions)[1]
    assert (colour, name) == ("red", "f")
    assert [f["FunctionName"] for f in functions.list_functions()["Functions"]] == ["f"]
    functions.delete_function(FunctionName="f")
    code, status, message = refusal(functions.invoke, FunctionName="f")
    assert (code, status, message) == ("ResourceNotFoundException", 404, f"Function not found: {ARN}f")


def test_a_failure_is_the_functions_own(functions):
    create(functions, source=RAISE)
    answer, document = invoke(functions, LogType="Tail")
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert (document["errorType"], document["errorMessage"]) == ("ValueError", "no")
    assert document["stackTrace"] == [
        "  File \"/var/task/handler.py\", line 2, in handler\n    raise ValueError('no')\n"
    ]
    tail = base64.b64decode(answer["LogResult"]).decode()
    assert tail.startswith("START RequestId: ")
    assert "\nREPORT RequestId: " in tail


def test_limits_apply(functions):
    slow = "import time\ndef handler(event, context):\n    time.sleep(30)\n"
    create(functions, "slow", slow, Timeout=1)
    began = time.monotonic()
    answer, document = invoke(functions, "slow")
    assert (answer["FunctionError"], document["errorType"]) == ("Unhandled", "Sandbox.Timedout")
    assert 0.9 < time.monotonic() - began < 10
    create(functions, "alone", "import time\ndef handler(event, context):\n    time.sleep(0.5)\n")
    functions.put_function_concurrency(FunctionName="alone", ReservedConcurrentExecutions=0)
    assert refusal(functions.invoke, FunctionName="alone")[:2] == ("TooManyRequestsException", 429)
    functions.put_function_concurrency(FunctionName="alone", ReservedConcurrentExecutions=1)
    assert functions.get_function_concurrency(FunctionName="alone")["ReservedConcurrentExecutions"] == 1
    functions.delete_function_concurrency(FunctionName="alone")
    assert refusal(functions.invoke, FunctionName="alone", Payload=b"x" * (6 * 1024 * 1024 + 1))[0] == (
        "RequestTooLargeException"
    )
    assert refusal(functions.invoke, FunctionName="alone", Payload=b"{")[0] == "InvalidRequestContentException"


def test_versions_and_aliases(functions):
    create(functions, source="def handler(event, context):\n    return 1\n")
    one = functions.publish_version(FunctionName="f", Description="first")
    assert (one["Version"], one["FunctionArn"]) == ("1", f"{ARN}f:1")
    assert functions.publish_version(FunctionName="f")["Version"] == "1", "nothing changed"
    functions.update_function_code(
        FunctionName="f", ZipFile=archive(handler="def handler(event, context):\n    return 2\n"), Publish=True
    )
    functions.create_alias(FunctionName="f", Name="live", FunctionVersion="1")
    results = {name: invoke(functions, name)[1] for name in ("f", "f:1", "f:2", "f:live", f"{ARN}f:live")}
    assert results == {"f": 2, "f:1": 1, "f:2": 2, "f:live": 1, f"{ARN}f:live": 1}
    assert invoke(functions, Qualifier="live")[0]["ExecutedVersion"] == "1"
    functions.update_alias(FunctionName="f", Name="live", FunctionVersion="2")
    assert invoke(functions, "f:live")[1] == 2
    assert functions.get_alias(FunctionName="f", Name="live")["FunctionVersion"] == "2"
    assert refusal(functions.delete_function, FunctionName="f", Qualifier="2")[0] == "ResourceConflictException"
    functions.delete_alias(FunctionName="f", Name="live")
    functions.delete_function(FunctionName="f", Qualifier="2")
    versions = [v["Version"] for v in functions.list_versions_by_function(FunctionName="f")["Versions"]]
    assert versions == ["$LATEST", "1"]
    assert refusal(functions.invoke, FunctionName="f:2")[0] == "ResourceNotFoundException"


def test_what_is_refused(functions):
    create(functions)
    assert refusal(create, client=functions)[:2] == ("ResourceConflictException", 409)
    for more, words in (
        ({"Runtime": "nodejs20.x"}, "only Python runtimes"),
        ({"Handler": "nodot"}, "Handler"),
        ({"Layers": [f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:x:1"]}, "Layers is not supported"),
        ({"Code": {"ZipFile": b"no zip"}}, "Could not unzip"),
        ({"Code": {"S3Bucket": "none", "S3Key": "none"}}, "Error occurred while GetObject"),
        ({"PackageType": "Image", "Code": {"ImageUri": "x"}}, "zip file"),
        ({"Environment": {"Variables": {"LONG": "x" * 5000}}}, "4KB limit"),
    ):
        code, status, message = refusal(create, client=functions, name="g", **more)
        assert (code, status) == ("InvalidParameterValueException", 400)
        assert words in message
    assert refusal(create, client=functions, name="g", Timeout=901)[0] == "ValidationException"
    assert refusal(functions.update_function_code, FunctionName="f", ZipFile=b"", RevisionId="old")[0] == (
        "PreconditionFailedException"
    )


def test_tags_and_policy(functions):
    arn = create(functions, Tags={"a": "1"})["FunctionArn"]
    functions.tag_resource(Resource=arn, Tags={"b": "2"})
    functions.untag_resource(Resource=arn, TagKeys=["a"])
    assert functions.list_tags(Resource=arn)["Tags"] == {"b": "2"}
    functions.add_permission(
        FunctionName="f", StatementId="s", Action="lambda:InvokeFunction", Principal="events.amazonaws.com"
    )
    policy = json.loads(functions.get_policy(FunctionName="f")["Policy"])
    assert policy["Statement"][0]["Principal"] == {"Service": "events.amazonaws.com"}
    functions.remove_permission(FunctionName="f", StatementId="s")
    assert refusal(functions.get_policy, FunctionName="f")[0] == "ResourceNotFoundException"


def test_tasks_call_them(running, functions, sfn, make):
    arn = create(functions)["FunctionArn"]
    machine = make({"StartAt": "T", "States": {"T": {"Type": "Task", "Resource": arn, "End": True}}})
    started = sfn.start_execution(stateMachineArn=machine, input='{"k":1}')["executionArn"]
    until = time.monotonic() + 10
    while (done := sfn.describe_execution(executionArn=started))["status"] == "RUNNING":
        assert time.monotonic() < until
        time.sleep(0.02)
    assert (done["status"], done["output"]) == ("SUCCEEDED", '{"k": 1}')


def test_they_are_there_after_a_restart(tmp_path):
    with Running(tmp_path) as server:
        create(server.client("lambda"), Publish=True)
    with Running(tmp_path) as server:
        client = server.client("lambda")
        assert [f["FunctionName"] for f in client.list_functions()["Functions"]] == ["f"]
        assert invoke(client, "f:1", b"7")[1] == 7


@pytest.fixture(scope="module")
def emulator():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def test_asynchronous_invocations_retry_and_then_tell_of_it(emulator):
    import boto3

    with Running(engine={"aws_endpoint": emulator}) as server:
        server.engine.invocations.retry_seconds = (0.01, 0.01)
        options = {"region_name": REGION, "aws_access_key_id": ACCOUNT, "aws_secret_access_key": "x"}
        sqs = boto3.client("sqs", endpoint_url=emulator, **options)
        dead, failed = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("dead", "failed"))
        arns = [f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}" for name in ("dead", "failed")]
        client = server.client("lambda")
        create(client, source=RAISE, DeadLetterConfig={"TargetArn": arns[0]})
        client.put_function_event_invoke_config(
            FunctionName="f", MaximumRetryAttempts=1, DestinationConfig={"OnFailure": {"Destination": arns[1]}}
        )
        answer, _ = invoke(client, payload=b'{"n":1}', InvocationType="Event")
        assert answer["StatusCode"] == 202
        message = receive(sqs, dead)
        assert message["Body"] == '{"n":1}'
        assert message["MessageAttributes"]["ErrorMessage"]["StringValue"] == "no"
        record = json.loads(receive(sqs, failed)["Body"])
        assert record["requestContext"]["condition"] == "RetriesExhausted"
        assert record["requestContext"]["approximateInvokeCount"] == 2
        assert (record["requestPayload"], record["responsePayload"]["errorType"]) == ({"n": 1}, "ValueError")
        assert invoke(client, InvocationType="DryRun")[0]["StatusCode"] == 204


def receive(sqs, url):
    until = time.monotonic() + 15
    while time.monotonic() < until:
        for message in sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"]).get("Messages", []):
            return message
        time.sleep(0.05)
    raise AssertionError("no message")


# -- zips ----------------------------------------------------------------------------------------------------------------------


def zip_of(*entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, mode, data in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            zipped.writestr(info, data)
    return out.getvalue()


FILE = stat.S_IFREG | 0o644


@pytest.mark.parametrize(
    "entry",
    [
        ("../out", FILE, b"x"),
        ("a/../../out", FILE, b"x"),
        ("/out", FILE, b"x"),
        ("..\\out", FILE, b"x"),
        ("link", stat.S_IFLNK | 0o777, b"/etc/passwd"),
        ("pipe", stat.S_IFIFO | 0o644, b""),
    ],
)
def test_a_zip_cannot_leave_its_folder(tmp_path, entry):
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(BadArchive):
        unpack(zip_of(entry), inside)
    assert sorted(tmp_path.iterdir()) == [inside]
    assert not any(path.is_symlink() for path in inside.rglob("*"))


def test_a_zip_that_grows_too_large_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr("stepwell.functions.uploads.MAX_UNPACKED", 10_000)
    with pytest.raises(BadArchive, match="Unzipped size must be smaller"):
        unpack(zip_of(("bomb", FILE, b"0" * 20_000)), tmp_path)
    assert MAX_UNPACKED == 250 * 1024 * 1024


@pytest.mark.parametrize("data", [b"", b"PK", b"\x00" * 100, zip_of(("a", FILE, b"x" * 100))[:-30]])
def test_what_is_no_zip(tmp_path, data):
    with pytest.raises(BadArchive, match="Could not unzip"):
        unpack(data, tmp_path)


def test_files_keep_their_executable_bit_and_lose_the_rest(tmp_path):
    unpack(zip_of(("run", stat.S_IFREG | 0o4777, b"#!"), ("read", FILE, b"x"), ("d/e", 0, b"")), tmp_path)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "read").stat().st_mode) == 0o644
    assert (tmp_path / "d/e").read_bytes() == b""
