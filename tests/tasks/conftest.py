"""Requests as a host makes them, and moto as the AWS that answers."""

import json

import pytest
from moto.server import ThreadedMotoServer

from stepwell.tasks import Dispatcher, TaskRequest
from stepwell.tasks.aws_clients import AwsClients

ACCOUNT = "123456789012"
REGION = "us-east-1"


@pytest.fixture(scope="session")
def moto():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def no_profile(monkeypatch):
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
async def aws(moto):
    clients = AwsClients(moto, ACCOUNT)
    yield clients
    await clients.close()


@pytest.fixture
async def dispatcher(aws):
    made = Dispatcher(aws=aws, poll_seconds=(0.01, 0.02))
    yield made
    await made.close()


@pytest.fixture
def boto(moto):
    import boto3

    def client(service):
        return boto3.client(
            service, endpoint_url=moto, region_name=REGION, aws_access_key_id=ACCOUNT, aws_secret_access_key="test"
        )

    return client


def request(resource, arguments, **more):
    """A task of the execution arn:...:execution:machine:run."""
    kind = "lambda" if ":lambda:" in resource and ":function:" in resource else "service"
    return TaskRequest(
        command=1,
        kind=kind,
        resource=resource if resource.startswith("arn:") else f"arn:aws:states:::{resource}",
        arguments=json.dumps(arguments).encode(),
        state="Work",
        execution_arn=f"arn:aws:states:{REGION}:{ACCOUNT}:execution:machine:run",
        execution_name="run",
        state_machine_arn=f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:machine",
        role_arn=f"arn:aws:iam::{ACCOUNT}:role/machine",
        **more,
    )


class Submissions(list):
    """Collects what was submitted."""

    async def __call__(self, output):
        self.append(json.loads(output))


async def run(dispatcher, resource, arguments, submissions=None, **more):
    output = await dispatcher.run(
        request(resource, arguments, **more), Submissions() if submissions is None else submissions
    )
    return None if output is None else json.loads(output)
