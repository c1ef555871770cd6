"""What `Invoke` with InvocationType Event acknowledged is run, whatever happens to the server."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import boto3
import pytest
from botocore.config import Config

from .conftest import ACCOUNT, REGION, ROLE, Running, archive

# Notes each of its runs; the first waits until the file "open" is there.
NOTE = """
import os, time
def handler(event, context):
    folder = event["folder"]
    with open(os.path.join(folder, "runs"), "a") as file:
        file.write(context.aws_request_id + "\\n")
    until = time.monotonic() + 20
    while not os.path.exists(os.path.join(folder, "open")) and time.monotonic() < until:
        time.sleep(0.01)
    with open(os.path.join(folder, "done"), "a") as file:
        file.write(context.aws_request_id + "\\n")
    if event.get("fail"):
        raise ValueError("no")
"""


def client(url, service="lambda"):
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 0}),
    )


@contextmanager
def serving(data):
    """`stepwell serve` as a process; killed at the end."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from stepwell.cli import main; main()",
            "serve",
            "--port",
            "0",
            "--data",
            str(data),
            "--account",
            ACCOUNT,
        ],
        stdout=subprocess.PIPE,
        env={**os.environ, "AWS_EC2_METADATA_DISABLED": "true"},
    )
    try:
        line = process.stdout.readline().decode()
        yield process, next(word for word in line.split() if word.startswith("http://"))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def create(lambdas, source=NOTE):
    code = {"ZipFile": archive(handler=source)}
    lambdas.create_function(
        FunctionName="note", Runtime="python3.12", Handler="handler.handler", Role=ROLE, Timeout=30, Code=code
    )


def lines(path, count, seconds=20):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = path.read_text().split() if path.exists() else []
        if len(found) >= count:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{path} has fewer than {count} lines")


@pytest.mark.parametrize("begun", [False, True], ids=["before it began", "while it ran"])
def test_an_event_survives_the_servers_death(tmp_path, begun):
    with serving(tmp_path / "data") as (process, url):
        lambdas = client(url)
        create(lambdas)
        event = json.dumps({"folder": str(tmp_path)})
        assert lambdas.invoke(FunctionName="note", InvocationType="Event", Payload=event)["StatusCode"] == 202
        if begun:
            lines(tmp_path / "runs", 1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "done").exists()
    (tmp_path / "open").touch()
    with serving(tmp_path / "data"):
        lines(tmp_path / "done", 1)
    runs = (tmp_path / "runs").read_text().split()
    assert len(set(runs)) == 1, "the same event has the same request id"


def test_a_tasks_event_survives_too(tmp_path):
    with serving(tmp_path / "data") as (process, url):
        create(client(url))
        states = client(url, "stepfunctions")
        definition = {
            "StartAt": "T",
            "States": {
                "T": {
                    "Type": "Task",
                    "Resource": "arn:aws:states:::lambda:invoke",
                    "Parameters": {"FunctionName": "note", "InvocationType": "Event", "Payload.$": "$"},
                    "End": True,
                }
            },
        }
        machine = states.create_state_machine(name="m", definition=json.dumps(definition), roleArn=ROLE)
        arn = states.start_execution(
            stateMachineArn=machine["stateMachineArn"], input=json.dumps({"folder": str(tmp_path)})
        )["executionArn"]
        until = time.monotonic() + 20
        while states.describe_execution(executionArn=arn)["status"] == "RUNNING":
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    (tmp_path / "open").touch()
    with serving(tmp_path / "data"):
        lines(tmp_path / "done", 1)


def journaled(server):
    async def read():
        return [data for _, data in server.engine.journal.documents("invocation")]

    return server.call(read())


def test_a_retry_keeps_its_due_time_and_an_end_is_an_end(tmp_path):
    (tmp_path / "open").touch()
    event = json.dumps({"folder": str(tmp_path), "fail": True})
    with Running(tmp_path / "data") as server:
        server.engine.invocations.retry_seconds = (1.0, 0.01)
        lambdas = server.client("lambda")
        create(lambdas)
        lambdas.put_function_event_invoke_config(FunctionName="note", MaximumRetryAttempts=1)
        lambdas.invoke(FunctionName="note", InvocationType="Event", Payload=event)
        lines(tmp_path / "done", 1)
        first = time.monotonic()
        until = first + 5
        while b"ValueError" not in journaled(server)[0]:
            assert time.monotonic() < until
            time.sleep(0.01)
    with Running(tmp_path / "data") as server:
        lines(tmp_path / "done", 2)
        assert time.monotonic() - first > 0.8
        until = time.monotonic() + 5
        while len(server.engine.invocations):
            assert time.monotonic() < until
            time.sleep(0.01)
    with Running(tmp_path / "data") as server:
        assert len(server.engine.invocations) == 0
        assert journaled(server) == []
