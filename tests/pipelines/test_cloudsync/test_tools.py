"""What operators do by hand: fresh cookies, starting a run, tidying the tracker, counting the library."""

import json
import os
import subprocess
import sys

import pytest
from mediacloud import BytesContent, Media
from typer.testing import CliRunner

from . import PROJECT


@pytest.fixture
def operate(sync, cloud, monkeypatch):
    """The command line, called as `python -m cloudsync` does, over a test's data directory."""
    world = sync()
    from cloudsync.__main__ import app

    def run(*arguments, answer=""):
        monkeypatch.setenv("PROVIDER_API_BASE", cloud.url)
        monkeypatch.setenv("PAGE_SIZE", "3")
        result = CliRunner().invoke(app, [*arguments, "--data", str(world.data)], input=answer)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    run.world = world
    return run


def secret(world):
    return world.ports.secret("gopro/credentials").read().json()


def test_fresh_cookies_are_checked_stored_and_checked_again(operate, cloud, tmp_path):
    operate.world.remove_secret()
    file = tmp_path / "cookies.txt"
    file.write_text("Cookie: " + cloud.session.cookies.replace("; ", ";\n"))
    result = operate("credentials", str(file), "--user-agent", "Mozilla/5.0 (Mine)")
    assert result.exit_code == 0 and "accepts" in result.output
    stored = secret(operate.world)
    assert set(stored) == {"gp-access-token", "cookies", "user-agent", "last_updated"}
    assert (stored["gp-access-token"], stored["user-agent"]) == (cloud.session.token, "Mozilla/5.0 (Mine)")
    assert stored["cookies"].replace("; ", ";") == cloud.session.cookies.replace("; ", ";")
    assert len(cloud.requests("search")) == 2


def test_refused_cookies_are_not_stored(operate, cloud, tmp_path):
    file = tmp_path / "cookies.txt"
    file.write_text("gp_access_token=old; gp_user_id=u")
    before = secret(operate.world)
    with pytest.raises(Exception, match="refuses these cookies"):
        operate("credentials", str(file))
    assert secret(operate.world) == before


@pytest.mark.parametrize(("answer", "stored"), [("y\n", True), ("n\n", False)])
def test_when_the_service_is_down_the_operator_decides(operate, cloud, tmp_path, answer, stored):
    file = tmp_path / "cookies.txt"
    file.write_text("gp_access_token=new; gp_user_id=u")
    cloud.fail("search", status=503, times=2)
    operate("credentials", str(file), answer=answer)
    assert (secret(operate.world)["gp-access-token"] == "new") is stored


def put(world, media_id, **row):
    world.tracker.put({"media_id": media_id, "status": "COMPLETED", **row})


def test_reconcile(operate):
    world = operate.world
    world.bucket.put("gopro-videos/2025/11/A.MP4", b"a", metadata={"SourceMediaId": "owner"})
    world.bucket.put("gopro-videos/2025/11/B.MP4", b"b", metadata={"SourceMediaId": "b"})
    put(world, "owner", s3_key="gopro-videos/2025/11/A.MP4", sync_timestamp="2025-01-01T00:00:00Z")
    put(world, "sharer", s3_key="gopro-videos/2025/11/A.MP4", sync_timestamp="2025-02-01T00:00:00Z")
    put(world, "b", s3_key="gopro-videos/2025/11/B.MP4")
    put(world, "keyless")
    put(world, "deleted", note="source_deleted")
    put(world, "missing", s3_key="gopro-videos/2025/11/C.MP4")
    world.tracker.put({"media_id": "failed", "status": "FAILED", "s3_key": "gopro-videos/2025/11/D.MP4"})
    result = operate("reconcile", answer="n\n")
    for name in ("sharer", "keyless", "missing"):
        assert name in result.output
    assert len(world.rows()) == 7, "nothing is removed without consent"
    assert "3 records removed" in operate("reconcile", "--yes").output
    assert set(world.rows()) == {"owner", "b", "deleted", "failed"}
    assert "agree" in operate("reconcile").output


def test_reconcile_leaves_what_changed_meanwhile(operate):
    from cloudsync.tools import Proposal, remove

    put(operate.world, "m1", s3_key="k2")
    assert (
        remove(operate.world.tracker, [Proposal("m1", "the object is missing", "k1"), Proposal("gone", "x", None)]) == 1
    )
    assert set(operate.world.rows()) == {"m1"}


def test_inventory(operate, cloud):
    world = operate.world
    names = ["GH1.MP4", "GH2.MP4", "GH1.MP4", "PXL_1.mp4", None, "GH3.MP4"]
    cloud.add(*(Media(f"m{number}", name, BytesContent(b"x")) for number, name in enumerate(names)))
    world.bucket.put("gopro-videos/2025/11/GH2.MP4", b"x", metadata={"SourceMediaId": "m1"})
    world.bucket.put("gopro-videos/2024/11/OLD.MP4", b"x", metadata={"SourceMediaId": "gone"})
    found = json.loads(operate("inventory", "--json").output)
    assert [(page["items"], page["kept"], page["filtered_prefix"], page["filtered_no_name"]) for page in found["pages"]] == [
        (3, 3, 0, 0), (3, 1, 1, 1),
    ]  # fmt: skip
    assert found["duplicates"] == {"GH1.MP4": ["m0", "m2"]}
    assert found["archived"] == 2 and found["orphans"] == ["gopro-videos/2024/11/OLD.MP4"]
    assert found["missing"] == ["GH1.MP4 (m0)", "GH1.MP4 (m2)", "GH3.MP4 (m5)"]
    text = operate("inventory").output
    assert "same name: GH1.MP4" in text and "not archived: GH3.MP4" in text


def test_trigger_here(operate, cloud):
    cloud.add(Media("m1", "GH1.MP4", BytesContent(b"x")))
    command = [sys.executable, "-m", "cloudsync", "trigger", "--data", str(operate.world.data), "--wait"]
    environment = {**os.environ, "PROVIDER_API_BASE": cloud.url, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert operate.world.row("m1")["status"] == "COMPLETED"


def test_trigger_on_aws(monkeypatch):
    """The stack's output names the machine; its execution is polled until it ends."""
    import boto3
    from cloudsync.__main__ import app
    from moto import mock_aws

    for name, value in {
        "AWS_ACCESS_KEY_ID": "t",
        "AWS_SECRET_ACCESS_KEY": "t",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    role = "arn:aws:iam::000000000000:role/r"
    template = {
        "Resources": {
            "M": {
                "Type": "AWS::StepFunctions::StateMachine",
                "Properties": {
                    "RoleArn": role,
                    "DefinitionString": '{"StartAt":"A","States":{"A":{"Type":"Succeed"}}}',
                },
            }
        },
        "Outputs": {"StateMachineArn": {"Value": {"Ref": "M"}}},
    }
    with mock_aws():
        boto3.client("cloudformation").create_stack(StackName="sync", TemplateBody=json.dumps(template))
        result = CliRunner().invoke(app, ["trigger", "--stack", "sync"])
        assert result.exit_code == 0, result.output
        states = boto3.client("stepfunctions")
        arn = result.output.split()[0]
        assert json.loads(states.describe_execution(executionArn=arn)["input"]) == {"manual_trigger": True}

        statuses = iter(["RUNNING", "RUNNING", "ABORTED"])
        real = boto3.client

        def client(name, **options):
            made = real(name, **options)
            if name == "stepfunctions":
                made.describe_execution = lambda **_: {"status": next(statuses)}
            return made

        monkeypatch.setattr(boto3, "client", client)
        result = CliRunner().invoke(app, ["trigger", "--stack", "sync", "--wait", "--interval", "0"])
        assert result.output.split()[1:] == ["RUNNING", "RUNNING", "ABORTED"]
        assert result.exit_code == 1
