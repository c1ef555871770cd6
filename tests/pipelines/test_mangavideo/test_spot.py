"""Worker machines on AWS: the launchers against moto's EC2, and what an instance does with the user data it was given."""

import base64
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from mangaworld import Answer, Simulator

from mangavideo import video
from stepwell import toolkit
from stepwell.toolkit import aws

from . import PROJECT
from .test_acceptance_machines import Api

REGION = "eu-west-1"
IMAGE = "ami-12c6146b"
"""One of those moto has."""


@pytest.fixture(scope="module")
def moto():
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def world(make, moto, monkeypatch):
    """A job whose pages and speech are made, all of it on AWS. `world.place`: where its machines are to be; `world.token`: a task token."""
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    world = make()
    world.token = f"AQCEAAAAKgAAAAMAAAAA-{uuid.uuid4().hex}"
    world.variable(
        AWS_ENDPOINT_URL=moto,
        AWS_REGION=REGION,
        AWS_DEFAULT_REGION=REGION,
        AWS_ACCESS_KEY_ID="test",
        AWS_SECRET_ACCESS_KEY="test",
        AWS_EC2_METADATA_DISABLED="true",
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        STEPWELL_BACKEND="aws",
    )
    world.place = place(world.project.resources, moto)
    world.variable(STEPWELL_RESOURCES=json.dumps(provisioned(world.project.resources, world.place)))
    toolkit.secret("manga-pipeline/deepinfra-api-key").write({"api_key": world.model.key})
    toolkit.secret("manga-pipeline/youtube-oauth").write(world.host.secret())
    for function in ("fetcher", "scriptgen", "ttsgen"):
        world.call(function, job_id="j", continuation_token=None)
    return world


def place(resources, endpoint):
    """What the deployment makes for the worker machines."""
    ec2, iam = aws.client("ec2"), aws.client("iam")
    suffix = uuid.uuid4().hex[:8]
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]][:2]
    vpc = ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"][0]["VpcId"]
    group = ec2.create_security_group(GroupName=f"workers-{suffix}", Description="workers", VpcId=vpc)["GroupId"]
    for role in resources["workers"]:
        iam.create_instance_profile(InstanceProfileName=f"{role}-{suffix}")
    return {
        role: {
            "image_id": IMAGE,
            "subnet_ids": subnets,
            "security_group_ids": [group],
            "instance_profile": f"{role}-{suffix}",
            "max_price": "0.20",
            "boot": [f"export PYTHONPATH={PROJECT}", f"export AWS_ENDPOINT_URL={endpoint}"],
        }
        for role in resources["workers"]
    }


def provisioned(resources, place):
    """The project's declarations with the names of what is made for them here: bucket, tables, topics, secrets."""
    suffix = uuid.uuid4().hex[:8]
    declared = json.loads(json.dumps(resources))
    for kind in ("buckets", "tables", "topics", "secrets"):
        for name, spec in declared[kind].items():
            spec["name"] = f"{spec.get('name', name)}-{suffix}"
    for spec in declared["buckets"].values():
        aws.client("s3").create_bucket(Bucket=spec["name"], CreateBucketConfiguration={"LocationConstraint": REGION})
    for spec in declared["tables"].values():
        create_table(spec)
    declared["topics"]["errors"]["subscriptions"] = ["https://hooks.example/of-the-team"]
    for role, spec in declared["workers"].items():
        spec.update(place[role])
    return declared


def create_table(spec):
    indexes = {name: index["key"] for name, index in spec.get("indexes", {}).items()}
    used = sorted({*spec["key"], *(attribute for key in indexes.values() for attribute in key)})

    def schema(key):
        return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(key, ("HASH", "RANGE"), strict=False)]

    projected = [
        {"IndexName": name, "KeySchema": schema(key), "Projection": {"ProjectionType": "ALL"}}
        for name, key in indexes.items()
    ]
    aws.client("dynamodb").create_table(
        TableName=spec["name"],
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in used],
        KeySchema=schema(spec["key"]),
        **({"GlobalSecondaryIndexes": projected} if projected else {}),
    )


def instance(instance_id):
    return aws.client("ec2").describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]


def user_data(instance_id):
    answer = aws.client("ec2").describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
    return base64.b64decode(answer["UserData"]["Value"]).decode()


def exported(script):
    lines = [line.removeprefix("export ").partition("=") for line in script.splitlines() if line.startswith("export ")]
    return {name: shlex.split(value)[0] for name, _, value in lines}


@pytest.mark.parametrize(("role", "kind"), [("renderer", "c5.2xlarge"), ("uploader", "t3.medium")])
def test_launched_on_ec2(world, role, kind):
    if role == "uploader":
        toolkit.bucket("assets").put("jobs/j/video.mp4", b"a video")
    result = world.call(f"start-{role}", job_id="j", task_token=world.token, attempt=0)
    found = instance(result["instance_id"])
    spec = world.place[role]
    assert result == {
        "job_id": "j",
        "instance_id": found["InstanceId"],
        "instance_type": kind,
        "spot_request_id": found.get("SpotInstanceRequestId"),
    }
    assert (found["InstanceType"], found["ImageId"]) == (kind, spec["image_id"])
    assert found["SubnetId"] == spec["subnet_ids"][0]
    assert [group["GroupId"] for group in found["SecurityGroups"]] == spec["security_group_ids"]
    assert found["IamInstanceProfile"]["Arn"].endswith(f"/{spec['instance_profile']}")
    assert found["MetadataOptions"]["HttpTokens"] == "required"
    assert found["InstanceLifecycle"] == "spot"
    tags = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
    expected = {"Name": f"stepwell-{role}", "job_id": "j", "role": role, "ManagedBy": "manga-video-pipeline"}
    assert expected.items() <= tags.items()
    assert toolkit.table("manga_jobs").get("j")[f"{role}_instance_id"] == found["InstanceId"]

    script = user_data(found["InstanceId"])
    variables = exported(script)
    assert script.splitlines()[-1] == f"python -m mangavideo.{role}"
    assert f"sleep {world.project.resources['workers'][role]['max_lifetime']}; shutdown -h now" in script
    assert (variables["JOB_ID"], variables["AWS_REGION"], variables["STEPWELL_BACKEND"]) == ("j", REGION, "aws")
    assert (variables["S3_BUCKET"], variables["DYNAMODB_JOBS_TABLE"]) == ("assets", "manga_jobs")
    assert variables["CORRELATION_ID"] == "c"
    assert set(json.loads(variables["STEPWELL_RESOURCES"])) == {"project", "buckets", "tables", "secrets"}
    # No secret: neither the token, nor a key, nor an address that is one.
    for secret in (world.token, world.model.key, *world.host.secret().values(), "hooks.example"):
        assert not secret or secret not in script
    parameter = variables["STEPWELL_TASK_TOKEN_PARAMETER"]
    stored = aws.client("ssm").get_parameter(Name=parameter, WithDecryption=True)["Parameter"]
    assert (stored["Type"], stored["Value"]) == ("SecureString", world.token)


def test_a_new_attempt_ends_the_old_machine(world):
    first = world.call("start-renderer", job_id="j", task_token=world.token, attempt=0)["instance_id"]
    again = world.call("start-renderer", job_id="j", task_token=f"{world.token}-2", attempt=1)["instance_id"]
    assert first != again
    assert (instance(first)["State"]["Name"], instance(again)["State"]["Name"]) == ("terminated", "running")
    parameters = [exported(user_data(id))["STEPWELL_TASK_TOKEN_PARAMETER"] for id in (first, again)]
    left = aws.client("ssm").get_parameters(Names=parameters)["Parameters"]
    assert [parameter["Name"] for parameter in left] == parameters[1:], "the token of the old one is gone"


class Metadata(Simulator):
    """The metadata service of an instance; with a notice, its Spot instance is about to be taken away."""

    def __init__(self, notice=None):
        super().__init__()
        self.notice = notice

    def respond(self, request):
        if request.method == "PUT":
            return Answer(200, body=b"metadata-token")
        return Answer(200, self.notice) if self.notice else Answer(404, body=b"")


def boot(folder, instance_id, api, metadata, **variables):
    """Run an instance's user data as it does: by a shell, with nothing but the image around it. The exit code, and what was called."""
    tools = folder / uuid.uuid4().hex
    tools.mkdir()
    calls = tools / "calls"
    for name in ("aws", "shutdown"):
        (tools / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\n')
        (tools / name).chmod(0o755)
    environment = {
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "AWS_ACCESS_KEY_ID": "role",
        "AWS_SECRET_ACCESS_KEY": "role",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
        "STEPWELL_API_URL": api.url,
        "RENDER_DIRECTORY": str(folder / "render"),
        **variables,
    }
    script = tools / "user-data"
    script.write_text(user_data(instance_id))
    process = subprocess.Popen(
        ["bash", str(script)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        code = process.wait(120)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its watchdog too
    said = process.communicate()[0]
    return code, calls.read_text().splitlines(), said


def test_what_an_instance_does(world, tmp_path):
    """The first one is taken away by a Spot notice, the second one makes the video."""
    first = world.call("start-renderer", job_id="j", task_token=world.token, attempt=0)["instance_id"]
    notice = {"action": "terminate", "time": "2026-02-08T03:12:00Z"}
    with Api() as api, Metadata(notice) as metadata:
        code, calls, said = boot(tmp_path, first, api, metadata)
    assert calls[-1] == "shutdown -h now", said
    assert code == 143
    answers = [(name, body) for name, body in api.calls() if name != "SendTaskHeartbeat"]
    assert [(name, body["taskToken"], body["error"]) for name, body in answers] == [
        ("SendTaskFailure", world.token, "SpotInterruption")
    ]
    assert "terminate" in answers[0][1]["cause"]
    assert toolkit.table("manga_jobs").get("j")["status"] == "rendering"
    assert world.token not in said

    second = world.call("start-renderer", job_id="j", task_token=f"{world.token}-2", attempt=1)["instance_id"]
    with Api() as api, Metadata() as metadata:
        code, calls, said = boot(tmp_path, second, api, metadata)
    assert (code, calls[-1]) == (0, "shutdown -h now"), said
    answers = [(name, body) for name, body in api.calls() if name != "SendTaskHeartbeat"]
    assert [(name, body["taskToken"]) for name, body in answers] == [("SendTaskSuccess", f"{world.token}-2")]
    output = json.loads(answers[0][1]["output"])
    assert (output["job_id"], output["status"], output["video_s3_key"]) == ("j", "completed", "jobs/j/video.mp4")
    path = tmp_path / "video.mp4"
    toolkit.bucket("assets").download_file("jobs/j/video.mp4", path)
    assert video.verified(path).video_seconds == pytest.approx(output["duration_seconds"], abs=0.01)
    assert toolkit.table("manga_jobs").get("j")["status"] == "uploading"
    assert not list((tmp_path / "render").glob("*"))
