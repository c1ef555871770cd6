"""The same life of a state machine through every client: boto3, botocore's waiters, aiobotocore, the AWS CLI, the JavaScript SDK.

Each registers a machine, runs it, reads every page of its history, redrives it, and tests a state. `make clients` installs the two
that are not Python packages of this environment.
"""

import asyncio
import json
import os
import shutil
import subprocess
import time

import pytest

from tests.conformance.run import ROOT

from .conftest import REGION, ROLE, Running

FAILING = {
    "StartAt": "P",
    "States": {"P": {"Type": "Pass", "Next": "F"}, "F": {"Type": "Fail", "Error": "Oops", "Cause": "why"}},
}
EVENTS = ["ExecutionStarted", "PassStateEntered", "PassStateExited", "FailStateEntered", "ExecutionFailed"]
STATE = json.dumps({"Type": "Pass", "Result": {"x": 1}, "End": True})
EXPECTED = {"status": "FAILED", "events": EVENTS, "redriveCount": 1, "tested": '{"x":1}'}

AWS_CLI = ROOT / ".venv-clients" / "bin" / "aws"
MODULES = ROOT / "tests" / "api" / "clients" / "node_modules"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDCLIENT", "AWS_SECRET_ACCESS_KEY": "s" * 40, "AWS_DEFAULT_REGION": REGION}


@pytest.fixture(scope="module")
def server():
    """With authentication, so that every client's way of signing is checked too."""
    from stepwell.api.auth import AccessKey, Authenticator

    keys = [AccessKey(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"])]
    with Running(authenticator=Authenticator(keys, region=REGION)) as running:
        yield running


def test_boto3(server):
    sfn = server.client(key=KEYS["AWS_ACCESS_KEY_ID"], secret=KEYS["AWS_SECRET_ACCESS_KEY"])
    machine = sfn.create_state_machine(name="boto3", definition=json.dumps(FAILING), roleArn=ROLE)["stateMachineArn"]
    arn = sfn.start_execution(stateMachineArn=machine, input='{"n":1}')["executionArn"]

    def ended():
        while (found := sfn.describe_execution(executionArn=arn))["status"] == "RUNNING":
            time.sleep(0.01)
        return found

    status = ended()["status"]
    pages = sfn.get_paginator("get_execution_history").paginate(executionArn=arn, PaginationConfig={"PageSize": 2})
    events = [event["type"] for page in pages for event in page["events"]]
    sfn.redrive_execution(executionArn=arn)
    redriven = ended()["redriveCount"]
    tested = sfn.test_state(definition=STATE)["output"]
    assert {"status": status, "events": events, "redriveCount": redriven, "tested": tested} == EXPECTED


def test_botocore_waiters(server):
    from botocore.waiter import WaiterModel, create_waiter_with_client

    sfn = server.client(key=KEYS["AWS_ACCESS_KEY_ID"], secret=KEYS["AWS_SECRET_ACCESS_KEY"])
    ends = ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")
    acceptors = [{"state": "success", "matcher": "path", "argument": "status", "expected": end} for end in ends]
    ended = {"operation": "DescribeExecution", "delay": 0.01, "maxAttempts": 1000, "acceptors": acceptors}
    model = WaiterModel({"version": 2, "waiters": {"ExecutionEnded": ended}})
    waiter = create_waiter_with_client("ExecutionEnded", model, sfn)

    machine = sfn.create_state_machine(name="waiters", definition=json.dumps(FAILING), roleArn=ROLE)["stateMachineArn"]
    arn = sfn.start_execution(stateMachineArn=machine)["executionArn"]
    waiter.wait(executionArn=arn)
    pages = sfn.get_paginator("get_execution_history").paginate(executionArn=arn, PaginationConfig={"PageSize": 2})
    events = [event["type"] for page in pages for event in page["events"]]
    status = sfn.describe_execution(executionArn=arn)["status"]
    sfn.redrive_execution(executionArn=arn)
    waiter.wait(executionArn=arn)
    redriven = sfn.describe_execution(executionArn=arn)["redriveCount"]
    tested = sfn.test_state(definition=STATE)["output"]
    assert {"status": status, "events": events, "redriveCount": redriven, "tested": tested} == EXPECTED


async def test_aiobotocore(server):
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    options = {
        "region_name": REGION,
        "endpoint_url": server.url,
        "aws_access_key_id": KEYS["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": KEYS["AWS_SECRET_ACCESS_KEY"],
        "config": AioConfig(inject_host_prefix=False),
    }
    async with get_session().create_client("stepfunctions", **options) as sfn:
        made = await sfn.create_state_machine(name="aio", definition=json.dumps(FAILING), roleArn=ROLE)
        arn = (await sfn.start_execution(stateMachineArn=made["stateMachineArn"], input='{"n":1}'))["executionArn"]

        async def ended():
            while (found := await sfn.describe_execution(executionArn=arn))["status"] == "RUNNING":
                await asyncio.sleep(0.01)
            return found

        status = (await ended())["status"]
        pages = sfn.get_paginator("get_execution_history").paginate(executionArn=arn, PaginationConfig={"PageSize": 2})
        events = [event["type"] async for page in pages for event in page["events"]]
        await sfn.redrive_execution(executionArn=arn)
        redriven = (await ended())["redriveCount"]
        tested = (await sfn.test_state(definition=STATE))["output"]
    assert {"status": status, "events": events, "redriveCount": redriven, "tested": tested} == EXPECTED


@pytest.mark.slow
@pytest.mark.skipif(not AWS_CLI.exists(), reason="the AWS CLI is not installed: make clients")
def test_the_aws_cli(server, tmp_path):
    environment = {**os.environ, **KEYS, "AWS_CONFIG_FILE": str(tmp_path / "none"), "HOME": str(tmp_path)}

    def aws(*arguments, **more):
        command = [str(AWS_CLI), "--endpoint-url", server.url, "--output", "json", "stepfunctions", *arguments]
        done = subprocess.run(command, env={**environment, **more}, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else {}

    definition = json.dumps(FAILING)
    machine = aws("create-state-machine", "--name", "cli", "--role-arn", ROLE, "--definition", definition)
    arn = aws("start-execution", "--state-machine-arn", machine["stateMachineArn"], "--input", '{"n":1}')[
        "executionArn"
    ]

    def ended():
        while (found := aws("describe-execution", "--execution-arn", arn))["status"] == "RUNNING":
            pass
        return found

    status = ended()["status"]
    history = aws("get-execution-history", "--execution-arn", arn, "--page-size", "2")
    aws("redrive-execution", "--execution-arn", arn)
    redriven = ended()["redriveCount"]
    # The CLI cannot be told to leave out the "sync-" it puts before the host for this action: a proxy finds the host all the same.
    tested = aws("test-state", "--definition", STATE, HTTP_PROXY=server.url, NO_PROXY="")["output"]
    events = [event["type"] for event in history["events"]]
    assert {"status": status, "events": events, "redriveCount": redriven, "tested": tested} == EXPECTED


@pytest.mark.slow
@pytest.mark.skipif(
    not MODULES.exists() or shutil.which("node") is None, reason="the SDK is not installed: make clients"
)
def test_the_javascript_sdk(server):
    script = MODULES.parent / "lifecycle.mjs"
    command = ["node", str(script), server.url, json.dumps(FAILING), STATE]
    done = subprocess.run(command, env={**os.environ, **KEYS}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("dates") is True
    assert found == EXPECTED
