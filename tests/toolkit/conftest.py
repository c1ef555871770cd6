"""One contract, two adapters: the `backend` fixture runs a test on a directory and on moto's server."""

from __future__ import annotations

import contextlib
import logging
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from stepwell.toolkit import aws
from stepwell.toolkit.environment import Resources
from stepwell.toolkit.machines.ec2 import Ec2Machines
from stepwell.toolkit.machines.ecs import EcsMachines

ACCOUNT = "123456789012"


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    _make_writes_atomic()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def _make_writes_atomic() -> None:
    """moto checks a write's condition and writes in two steps, DynamoDB in one."""
    from moto.dynamodb.responses import DynamoHandler

    one, answer = threading.Lock(), DynamoHandler.call_action

    def call_action(self: DynamoHandler) -> Any:
        with one:
            return answer(self)

    DynamoHandler.call_action = call_action  # type: ignore[method-assign]


@pytest.fixture
def aws_backend(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {
        "AWS_ENDPOINT_URL": moto_url,
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return moto_url


MakeResources = Callable[[dict[str, Any]], Resources]


@pytest.fixture(params=["embedded", "aws"])
def make_resources(request: pytest.FixtureRequest, tmp_path: Path) -> MakeResources:
    """Resources with everything declared in place; names are made unique, since moto's server lives for the session."""
    if request.param == "embedded":
        return lambda declared: Resources("embedded", tmp_path / "data", declared)
    request.getfixturevalue("aws_backend")
    return provision


def provision(declared: dict[str, Any]) -> Resources:
    """What the deployment does on AWS, for tests."""
    suffix = uuid.uuid4().hex[:10]
    named: dict[str, Any] = {**declared}
    for kind in ("buckets", "tables", "topics"):
        named[kind] = {name: {**spec, "name": f"{name}-{suffix}"} for name, spec in declared.get(kind, {}).items()}
    for spec in named["buckets"].values():
        aws.client("s3").create_bucket(
            Bucket=spec["name"], CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
    for spec in named["tables"].values():
        create_table(spec)
    for spec in named["topics"].values():
        spec["arn"] = aws.client("sns").create_topic(Name=spec["name"])["TopicArn"]
    return Resources("aws", None, named)


def create_table(spec: dict[str, Any]) -> None:
    indexes = {name: index["key"] for name, index in spec.get("indexes", {}).items()}
    used = {*spec["key"], *(attribute for key in indexes.values() for attribute in key)}
    types = spec.get("types", {})

    def schema(key: list[str]) -> list[dict[str, str]]:
        return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(key, ("HASH", "RANGE"), strict=False)]

    arguments: dict[str, Any] = {
        "TableName": spec["name"],
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": n, "AttributeType": types.get(n, "S")} for n in sorted(used)],
        "KeySchema": schema(spec["key"]),
    }
    if indexes:
        arguments["GlobalSecondaryIndexes"] = [
            {"IndexName": name, "KeySchema": schema(key), "Projection": {"ProjectionType": "ALL"}}
            for name, key in indexes.items()
        ]
    aws.client("dynamodb").create_table(**arguments)


EC2: dict[str, Any] = {
    "program": ["python3", "-m", "renderer.main"],
    "image_id": "ami-12c6146b",
    "instance_types": ["c5.2xlarge", "c5.xlarge"],
    "instance_profile": "renderer",
    "volume_gb": 50,
    "max_price": "0.20",
    "max_lifetime": 15300,
    "boot": ["aws s3 cp s3://deployments/bundle.zip ."],
    "environment": {"S3_BUCKET": "assets", "MODE": "test"},
}


@pytest.fixture
def ec2(aws_backend: str) -> Ec2Machines:
    client = aws.client("ec2")
    subnets = [subnet["SubnetId"] for subnet in client.describe_subnets()["Subnets"]][:2]
    iam = aws.client("iam")
    with contextlib.suppress(ClientError):
        iam.create_instance_profile(InstanceProfileName="renderer")
    declared = {"workers": {"renderer": {**EC2, "subnet_ids": subnets}}}
    machines = Resources("aws", None, declared).worker("renderer")
    assert isinstance(machines, Ec2Machines)
    for machine in machines.find():
        machines.terminate(machine.id)
    return machines


@pytest.fixture
def ecs(aws_backend: str) -> EcsMachines:
    from moto.moto_api import state_manager

    # A task of moto's would go on by itself to its end, one state each time it is looked at.
    state_manager.set_transition("ecs::task", {"progression": "manual", "times": 1_000_000})
    client = aws.client("ecs")
    client.create_cluster(clusterName="workers")
    definition = client.register_task_definition(
        family="renderer",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        containerDefinitions=[{"name": "main", "image": "renderer", "essential": True, "memory": 512}],
    )["taskDefinition"]["taskDefinitionArn"]
    subnets = [subnet["SubnetId"] for subnet in aws.client("ec2").describe_subnets()["Subnets"]][:1]
    spec = {
        "program": ["python", "-m", "renderer.main"],
        "cluster": "workers",
        "task_definition": definition,
        "container": "main",
        "subnet_ids": subnets,
        "environment": {"MODE": "test"},
    }
    machines = Resources("aws", None, {"workers": {"renderer": spec}}).worker("renderer")
    assert isinstance(machines, EcsMachines)
    return machines
