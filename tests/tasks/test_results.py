"""ResultWriter: files of a map run's outcomes."""

import json
from types import SimpleNamespace

import pytest

from stepwell.interpreter.effects import WriteResults
from stepwell.tasks import TaskError
from stepwell.tasks.items import Items
from stepwell.toolkit.objects.local import LocalBucket

MAP_RUN = "arn:aws:states:us-east-1:123456789012:mapRun:machine/label:0c3f"


class Children:
    def __init__(self, *children):
        self.children = children

    def page(self, after, limit):
        return [child for child in self.children if child.id > after][:limit]


def child(number, status="SUCCEEDED", output=b"[1, 2]"):
    return SimpleNamespace(
        id=number,
        resource="machine/label",
        name=f"child-{number}",
        status=status,
        start=1738633790099,
        stop=1738633790163,
        redrive_count=0,
        error=None if status == "SUCCEEDED" else "Oops",
        cause=None if status == "SUCCEEDED" else "why",
        input=b'{"n":1}',
        output=output if status == "SUCCEEDED" else None,
    )


def writing(config=None, resource="arn:aws:states:::s3:putObject", **parameters):
    writer = {"Resource": resource, "WriterConfig": config or {}, "Parameters": {"Bucket": "pail", **parameters}}
    return WriteResults(1, MAP_RUN, writer)


@pytest.fixture
def bucket(tmp_path):
    return LocalBucket(tmp_path, "pail")


async def written(tmp_path, bucket, request, *children):
    result = json.loads(await Items(data=tmp_path).write(request, "role", Children(*children)))
    details = result["ResultWriterDetails"]
    return result, json.loads(bucket.get(details["Key"]))


async def test_files_and_manifest(tmp_path, bucket):
    result, manifest = await written(tmp_path, bucket, writing(Prefix="out/"), child(1), child(2, "FAILED"), child(3))
    assert result == {
        "MapRunArn": MAP_RUN,
        "ResultWriterDetails": {"Bucket": "pail", "Key": "out/0c3f/manifest.json"},
    }
    succeeded = bucket.get("out/0c3f/SUCCEEDED_0.json")
    failed = bucket.get("out/0c3f/FAILED_0.json")
    assert manifest == {
        "DestinationBucket": "pail",
        "MapRunArn": MAP_RUN,
        "ResultFiles": {
            "FAILED": [{"Key": "out/0c3f/FAILED_0.json", "Size": len(failed)}],
            "PENDING": [],
            "SUCCEEDED": [{"Key": "out/0c3f/SUCCEEDED_0.json", "Size": len(succeeded)}],
        },
    }
    documents = json.loads(succeeded)
    assert [d["Name"] for d in documents] == ["child-1", "child-3"]
    assert documents[0] == {
        "ExecutionArn": "arn:aws:states:us-east-1:123456789012:execution:machine/label:child-1",
        "Input": '{"n":1}',
        "InputDetails": {"Included": True},
        "Name": "child-1",
        "Output": "[1, 2]",
        "OutputDetails": {"Included": True},
        "RedriveCount": 0,
        "RedriveStatus": "NOT_REDRIVABLE",
        "RedriveStatusReason": "Execution is SUCCEEDED and cannot be redriven",
        "StartDate": "2025-02-04T01:49:50.099Z",
        "StateMachineArn": "arn:aws:states:us-east-1:123456789012:stateMachine:machine/label",
        "Status": "SUCCEEDED",
        "StopDate": "2025-02-04T01:49:50.163Z",
    }
    assert json.loads(failed)[0]["Error"] == "Oops"


async def test_express_children_have_their_own_arns(tmp_path, bucket):
    express = child(1)
    express.resource += ":express"
    await written(tmp_path, bucket, writing(), express)
    [document] = json.loads(bucket.get("0c3f/SUCCEEDED_0.json"))
    assert document["ExecutionArn"] == "arn:aws:states:us-east-1:123456789012:express:machine/label:child-1:child-1"
    assert document["StateMachineArn"] == "arn:aws:states:us-east-1:123456789012:stateMachine:machine/label"


@pytest.mark.parametrize(
    ("config", "name", "text"),
    [
        ({"Transformation": "COMPACT"}, "SUCCEEDED_0.json", "[[1, 2],[1, 2]]"),
        ({"Transformation": "FLATTEN"}, "SUCCEEDED_0.json", "[1,2,1,2]"),
        ({"Transformation": "COMPACT", "OutputType": "JSONL"}, "SUCCEEDED_0.jsonl", "[1, 2]\n[1, 2]\n"),
    ],
)
async def test_writer_config(tmp_path, bucket, config, name, text):
    await written(tmp_path, bucket, writing(config), child(1), child(2))
    assert bucket.get(f"0c3f/{name}").decode() == text


async def test_a_large_export_has_several_files(tmp_path, bucket, monkeypatch):
    monkeypatch.setattr("stepwell.tasks.results.FILE_BYTES", 1000)
    _, manifest = await written(tmp_path, bucket, writing(), *(child(n) for n in range(1, 1201)))
    files = manifest["ResultFiles"]["SUCCEEDED"]
    assert len(files) > 100
    assert sum(len(json.loads(bucket.get(file["Key"]))) for file in files) == 1200


async def test_without_a_place_the_documents_are_the_result(tmp_path):
    documents = json.loads(await Items(data=tmp_path).write(writing(resource=None), "role", Children(child(1))))
    assert documents[0]["Output"] == "[1, 2]"


async def test_a_bucket_that_does_not_exist(tmp_path):
    with pytest.raises(TaskError) as caught:
        await Items(data=tmp_path).write(writing(), "role", Children(child(1)))
    assert caught.value.error == "States.ResultWriterFailed"
