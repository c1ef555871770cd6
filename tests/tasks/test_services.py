"""AWS services through both kinds of integration, against moto."""

import asyncio

import pytest

from stepwell.tasks import Dispatcher, TaskError

from .conftest import ACCOUNT, Submissions, request, run


@pytest.fixture
def table(boto):
    client = boto("dynamodb")
    client.create_table(
        TableName="things",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    yield "things"
    client.delete_table(TableName="things")


@pytest.fixture
def bucket(boto):
    client = boto("s3")
    client.create_bucket(Bucket="pail")
    yield "pail"
    for item in client.list_objects_v2(Bucket="pail").get("Contents", []):
        client.delete_object(Bucket="pail", Key=item["Key"])
    client.delete_bucket(Bucket="pail")


async def test_dynamodb_optimised_carries_metadata(dispatcher, table):
    item = {"id": {"S": "id1"}, "data": {"S": "HelloWorld"}}
    put = await run(dispatcher, "dynamodb:putItem", {"TableName": table, "Item": item})
    assert set(put) == {"SdkHttpMetadata", "SdkResponseMetadata"}
    assert put["SdkHttpMetadata"]["HttpStatusCode"] == 200
    got = await run(dispatcher, "dynamodb:getItem", {"TableName": table, "Key": {"id": {"S": "id1"}}})
    assert got["Item"] == item
    assert got["SdkHttpMetadata"]["AllHttpHeaders"]["Content-Length"] == ["53"]


async def test_dynamodb_sdk_has_none(dispatcher, table):
    item = {"id": {"S": "id1"}}
    assert await run(dispatcher, "aws-sdk:dynamodb:putItem", {"TableName": table, "Item": item}) == {}
    found = await run(dispatcher, "aws-sdk:dynamodb:scan", {"TableName": table})
    assert found == {"Count": 1, "Items": [item], "ScannedCount": 1}


async def failure(dispatcher, resource, arguments, **more):
    with pytest.raises(TaskError) as caught:
        await run(dispatcher, resource, arguments, **more)
    return caught.value


async def test_errors_of_the_two_kinds_have_different_words(dispatcher):
    arguments = {"TableName": "absent", "Item": {"id": {"S": "1"}}}
    optimised = await failure(dispatcher, "dynamodb:putItem", arguments)
    assert optimised.error == "DynamoDB.ResourceNotFoundException"
    assert (
        "(Service: AmazonDynamoDBv2; Status Code: 400; Error Code: ResourceNotFoundException; Request ID: "
        in optimised.cause
    )
    assert optimised.cause.endswith("; Proxy: null)")
    sdk = await failure(dispatcher, "aws-sdk:dynamodb:putItem", arguments)
    assert sdk.error == "DynamoDb.ResourceNotFoundException"
    assert "(Service: DynamoDb, Status Code: 400, Request ID: " in sdk.cause


async def test_a_missing_parameter_is_refused_in_the_services_words(dispatcher):
    null = "1 validation error detected: Value null at 'item' failed to satisfy constraint: Member must not be null"
    for resource, error in (
        ("dynamodb:putItem", "DynamoDB.AmazonDynamoDBException"),
        ("aws-sdk:dynamodb:putItem", "DynamoDb.DynamoDbException"),
    ):
        refused = await failure(dispatcher, resource, {"TableName": "t", "Item": None})
        assert (refused.error, refused.cause[: len(null)]) == (error, null)
    queue = {"QueueUrl": "http://localhost/123456789012/q", "MessageBody": None}
    refused = await failure(dispatcher, "sqs:sendMessage", queue)
    assert refused.error == "SQS.AmazonSQSException"
    assert refused.cause.startswith(
        "The request must contain the parameter MessageBody. (Service: AmazonSQS; Status Code: 400; "
    )


async def test_s3(dispatcher, bucket, boto):
    put = await run(dispatcher, "aws-sdk:s3:putObject", {"Bucket": bucket, "Key": "k", "Body": "text data"})
    assert put["ETag"] == '"2b5df3712557f503a9977a8ea893b2c9"'
    assert boto("s3").get_object(Bucket=bucket, Key="k")["Body"].read() == b'"text data"'
    got = await run(dispatcher, "aws-sdk:s3:getObject", {"Bucket": bucket, "Key": "k"})
    assert (got["Body"], got["ContentLength"]) == ('"text data"', 11)
    assert got["LastModified"].endswith("Z")
    missing = await failure(dispatcher, "aws-sdk:s3:getObject", {"Bucket": bucket, "Key": "absent"})
    assert missing.error == "S3.NoSuchKeyException"
    assert missing.cause.startswith("The specified key does not exist. (Service: S3, Status Code: 404, Request ID: ")
    assert ", Extended Request ID: " in missing.cause
    nowhere = await failure(dispatcher, "aws-sdk:s3:listObjects", {"Bucket": "no-such-bucket"})
    assert nowhere.error == "S3.NoSuchBucketException"


async def test_secret_name(dispatcher):
    refused = await failure(dispatcher, "aws-sdk:secretsmanager:getSecretValue", {"SecretId": "absent"})
    assert refused.error == "SecretsManager.ResourceNotFoundException"


async def test_queue_with_task_token(dispatcher, boto):
    url = boto("sqs").create_queue(QueueName="q")["QueueUrl"]
    submitted = Submissions()
    body = {"Message": "hi", "TaskToken": "t-1"}
    resource = "sqs:sendMessage.waitForTaskToken"
    arguments = {"QueueUrl": url, "MessageBody": body}
    assert await run(dispatcher, resource, arguments, submitted, token="t-1") is None
    assert submitted[0]["SdkHttpMetadata"]["AllHttpHeaders"]["Content-Length"] == ["106"]
    assert await run(dispatcher, resource, arguments, submitted, submitted=b"{}") is None, "it is not sent again"
    messages = boto("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert [m["Body"] for m in messages] == ['{"Message":"hi","TaskToken":"t-1"}']


async def test_a_queue_on_a_host_that_does_not_exist(dispatcher):
    lost = await failure(dispatcher, "sqs:sendMessage", {"QueueUrl": "http://no-such-queue-1", "MessageBody": "x"})
    assert lost.error == "SQS.SdkClientException"
    assert lost.cause == "Unable to execute HTTP request: no-such-queue-1: Name or service not known"


async def test_publish(dispatcher, boto):
    arn = boto("sns").create_topic(Name="t")["TopicArn"]
    done = await run(dispatcher, "sns:publish", {"TopicArn": arn, "Message": {"Message": "Hello"}})
    assert done["SdkHttpMetadata"]["HttpHeaders"]["Content-Length"] == "294"
    assert done["SdkHttpMetadata"]["HttpHeaders"]["Content-Type"] == "text/xml"


async def test_events(dispatcher):
    entry = {"Detail": {"a": 1}, "DetailType": "t", "Source": "s"}
    done = await run(dispatcher, "events:putEvents", {"Entries": [entry]})
    assert done["FailedEntryCount"] == 0
    assert set(done) == {"Entries", "FailedEntryCount"}
    bad = await failure(dispatcher, "events:putEvents", {"Entries": [{**entry, "Detail": "jsonstring"}]})
    assert bad.error == "EventBridge.FailedEntry"
    assert bad.cause == (
        '{"Entries":[{"ErrorCode":"MalformedDetail","ErrorMessage":"Detail is malformed."}],"FailedEntryCount":1}'
    )


async def test_credentials_assume_the_role(dispatcher, boto):
    role = boto("iam").create_role(RoleName="other", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    who = await run(dispatcher, "aws-sdk:sts:getCallerIdentity", {}, credentials={"RoleArn": role})
    assert "assumed-role/other" in who["Arn"]
    plain = await run(dispatcher, "aws-sdk:sts:getCallerIdentity", {})
    assert "assumed-role" not in plain["Arn"]


async def test_calls_do_not_block_the_loop(dispatcher, boto):
    url = boto("sqs").create_queue(QueueName="slow")["QueueUrl"]
    poll = asyncio.create_task(run(dispatcher, "aws-sdk:sqs:receiveMessage", {"QueueUrl": url, "WaitTimeSeconds": 2}))
    ticks = 0
    while not poll.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ticks > 50
    assert await poll == {}


@pytest.mark.parametrize(
    "resource", ["dynamodb:query", "nothing:at-all", "aws-sdk:dynamodb:fly", "aws-sdk:atlantis:sink", "sns"]
)
async def test_unknown_resources(dispatcher, resource):
    refused = await failure(dispatcher, resource, {})
    assert (refused.error, refused.phase) == ("States.Runtime", "schedule")


async def test_without_aws():
    alone = Dispatcher()
    refused = await failure(alone, "sns:publish", {"TopicArn": "t", "Message": "m"})
    assert refused.error == "SNS.SdkClientException"
    assert "without access to AWS" in refused.cause
    with pytest.raises(TaskError, match="must be a JSON object"):
        await alone.run(request("sns:publish", [1]), Submissions())
    assert ACCOUNT in request("sns:publish", {}).execution_arn


async def test_a_parameter_of_the_path_that_is_missing(dispatcher):
    error = await failure(dispatcher, "aws-sdk:s3:getObject", {"Key": "k"})
    assert error.error == "S3.SdkClientException"
    assert "Parameter 'Bucket' must not be null" in error.cause


async def test_a_parameter_of_another_type(dispatcher):
    error = await failure(dispatcher, "aws-sdk:s3:putObject", {"Bucket": "b", "Key": "k", "Metadata": "text"})
    assert error.error == "States.Runtime"
    assert 'The value of field "Metadata" must be a JSON object' in error.cause
