"""The same functions on the AWS adapters, against moto's server: DynamoDB, S3, SNS, Secrets Manager, metric lines."""

import json
import os

import boto3
import httpx
import pytest
from cloudsync.tracker import Tracker
from mediacloud import BLOCK, Media, SyntheticContent

from cloudsync import errors
from stepwell.project import Environment
from stepwell.toolkit import aws
from stepwell.toolkit.records import Schema
from stepwell.toolkit.records.dynamodb import DynamoTable

from .syncing import Sync

REGION = "eu-west-1"


@pytest.fixture(scope="module")
def moto():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def on_aws(moto, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": moto,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    httpx.post(f"{moto}/moto-api/reset")


def table(name, key, *index):
    def schema(*attributes):
        return [{"AttributeName": a, "KeyType": kind} for a, kind in zip(attributes, ("HASH", "RANGE"), strict=False)]

    declared = {
        "IndexName": "status-sync_timestamp-index",
        "KeySchema": schema(*index),
        "Projection": {"ProjectionType": "ALL"},
    }
    boto3.client("dynamodb").create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": attribute, "AttributeType": "S"} for attribute in (key, *index)],
        KeySchema=schema(key),
        **({"GlobalSecondaryIndexes": [declared]} if index else {}),
    )


@pytest.fixture
def calls(on_aws):
    """The requests to DynamoDB's BatchGetItem, and how many keys of each answer are to come back unprocessed."""
    seen, leave = [], []
    client = aws.client("dynamodb")

    def before(params, **_):
        seen.append([key["media_id"]["S"] for key in json.loads(params["body"])["RequestItems"]["tracker"]["Keys"]])

    def after(parsed, **_):
        if leave and (count := leave.pop(0)):
            keys = [{"media_id": {"S": name}} for name in seen[-1][:count]]
            parsed["UnprocessedKeys"] = {"tracker": {"Keys": keys}}

    client.meta.events.register("before-call.dynamodb.BatchGetItem", before)
    client.meta.events.register("after-call.dynamodb.BatchGetItem", after)
    table("tracker", "media_id")
    yield seen, leave
    client.meta.events.unregister("before-call.dynamodb.BatchGetItem", before)
    client.meta.events.unregister("after-call.dynamodb.BatchGetItem", after)


def test_12_statuses_are_read_a_hundred_at_a_time(calls):
    seen, leave = calls
    slept = []
    tracker = Tracker(DynamoTable("tracker", Schema(("media_id",)), sleep=slept.append))
    ids = [f"m{number:03}" for number in range(150)]
    tracker.begin("m007", "run", {}, "k", tracker.now())
    leave += [3, 0, 0]
    found = tracker.statuses([*ids, *ids[:20]])
    assert [len(keys) for keys in seen] == [100, 3, 50]
    assert seen[0] + seen[2] == ids and seen[1] == ids[:3], "unprocessed keys are asked for again, alone"
    assert slept == [1]
    assert found["m007"]["status"] == "IN_PROGRESS"


def test_12_two_requests_when_all_goes_well(calls):
    seen, _ = calls
    Tracker(DynamoTable("tracker", Schema(("media_id",)))).statuses(f"m{number}" for number in range(150))
    assert [len(keys) for keys in seen] == [100, 50]


def test_12_f15_keys_that_stay_unprocessed_are_an_error(calls):
    seen, leave = calls
    slept = []
    leave += [1] * 9
    with pytest.raises(errors.StorageError, match="unprocessed"):
        Tracker(DynamoTable("tracker", Schema(("media_id",)), sleep=slept.append)).statuses(["m1", "m2"])
    assert (len(seen), slept) == (4, [1, 2, 4])


@pytest.fixture
def world(cloud, tmp_path, on_aws):
    home = Environment(account="123456789012")  # moto's
    made = Sync(
        cloud, tmp_path / "data", home, MULTIPART_THRESHOLD=5 * BLOCK, CHUNK_SIZE=5 * BLOCK, STEPWELL_BACKEND="aws"
    )
    names = made.project.resources
    table(names["tables"]["gopro-sync-tracker"]["name"], "media_id", "status", "sync_timestamp")
    table(names["tables"]["gopro-archive-keys"]["name"], "s3_key")
    boto3.client("s3").create_bucket(
        Bucket=names["buckets"]["archive"]["name"], CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    boto3.client("secretsmanager").create_secret(
        Name="gopro/credentials", SecretString=(made.data / "secrets/gopro/credentials").read_text()
    )
    topic = boto3.client("sns", region_name="us-east-1").create_topic(Name=names["topics"]["gopro-sync-alerts"]["name"])
    assert topic["TopicArn"] == names["topics"]["gopro-sync-alerts"]["arn"]
    return made


def test_the_functions_on_aws(cloud, world, capsys):
    sizes = {"small": 1000, "large": 12 * BLOCK}
    cloud.add(*(Media(name, f"GH-{name}.MP4", SyntheticContent(size)) for name, size in sizes.items()))
    assert world.call("token-validator", {})["valid"] is True
    listing = {"provider": "gopro", "correlation_id": "c", "page_number": 1}
    assert world.call("media-lister", listing)["new_count"] == 2
    for name in sizes:
        assert world.download(name)["message"] == "Uploaded"
    assert world.call("media-lister", listing)["already_synced"] == 2
    assert world.download("small")["message"] == "Already synced"

    s3, bucket = boto3.client("s3"), world.project.resources["buckets"]["archive"]["name"]
    for name, size in sizes.items():
        key = f"gopro-videos/2025/11/GH-{name}.MP4"
        head = s3.head_object(Bucket=bucket, Key=key)
        assert head["ContentLength"] == size
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/gopro-archive")
        assert set(head["Metadata"]) == {"idempotencytoken", "sourcemediaid", "sourceprovider"}
        tags = {tag["Key"]: tag["Value"] for tag in s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]}
        assert tags == {"Source": "gopro", "AutoSync": "True"}
    assert s3.head_object(Bucket=bucket, Key="gopro-videos/2025/11/GH-large.MP4")["ETag"].strip('"').endswith("-3")
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")

    rows = boto3.client("dynamodb").query(
        TableName=world.project.resources["tables"]["gopro-sync-tracker"]["name"],
        IndexName="status-sync_timestamp-index",
        KeyConditionExpression="#s = :s",
        ExpressionAttributeNames={"#s": "status"},
        ExpressionAttributeValues={":s": {"S": "COMPLETED"}},
    )["Items"]
    assert {row["media_id"]["S"] for row in rows} == set(sizes)
    assert all(set(row["throughput_mbps"]) == {"N"} for row in rows)

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    metrics = [line for line in lines if "_aws" in line]
    assert {found["Namespace"] for line in metrics for found in line["_aws"]["CloudWatchMetrics"]} == {
        "CloudSync/TokenValidation", "CloudSync/MediaListing", "GoProSync",
    }  # fmt: skip
    assert all(line["Provider"] == "gopro" and line["Environment"] == "dev" for line in metrics)
    assert any(line.get("VideosSynced") == 1 for line in metrics)


def test_f17_objects_are_encrypted_with_the_named_key(cloud, world):
    cloud.add(Media("m1", "GH1.MP4", SyntheticContent(10)), Media("m2", "GH2.MP4", SyntheticContent(6 * BLOCK)))
    world.variables["KMS_KEY_ID"] = "arn:aws:kms:eu-west-1:123456789012:key/mine"
    for name in ("m1", "m2"):
        key = world.download(name)["s3_key"]
        head = boto3.client("s3").head_object(Bucket=world.project.resources["buckets"]["archive"]["name"], Key=key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", world.variables["KMS_KEY_ID"])


def test_f18_a_failed_transfer_leaves_no_upload_on_s3(cloud, world):
    cloud.add(Media("m1", "GH1.MP4", SyntheticContent(12 * BLOCK)))
    cloud.fail("cdn", reset_after=7 * BLOCK)
    bucket = world.project.resources["buckets"]["archive"]["name"]
    with pytest.raises(errors.NetworkError):
        world.download("m1")
    s3 = boto3.client("s3")
    assert not s3.list_multipart_uploads(Bucket=bucket).get("Uploads")
    assert not s3.list_objects_v2(Bucket=bucket).get("Contents")
    assert world.download("m1")["message"] == "Uploaded"


def test_f22_a_head_that_is_refused_fails_the_download(cloud, world):
    """The reference took a forbidden HEAD for "not there" and downloaded again for ever."""
    cloud.add(Media("m1", "GH1.MP4", SyntheticContent(1000)))
    client = aws.client("s3")

    def forbid(http_response, parsed, **_):
        http_response.status_code = 403
        parsed["ResponseMetadata"]["HTTPStatusCode"] = 403
        parsed["Error"] = {"Code": "403", "Message": "Forbidden"}

    client.meta.events.register("after-call.s3.HeadObject", forbid)
    try:
        with pytest.raises(errors.StorageError):
            world.download("m1")
    finally:
        client.meta.events.unregister("after-call.s3.HeadObject", forbid)
    assert not cloud.requests("download")
