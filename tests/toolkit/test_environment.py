"""How a function finds its ports."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stepwell import toolkit
from stepwell.toolkit.environment import Resources, parse_schema
from stepwell.toolkit.errors import ResourceNotDeclared
from stepwell.toolkit.objects.local import LocalBucket
from stepwell.toolkit.records import Index, Schema

DECLARED = {
    "buckets": {"archive": {"name": "gopro-dev-1111"}},
    "tables": {
        "sync-tracker": {
            "name": "tracker-dev",
            "key": ["media_id"],
            "indexes": {"by-status": {"key": ["status", "at"]}},
            "ttl": "expires",
        }
    },
    "topics": {"alerts": {}},
    "secrets": {"gopro/credentials": {}},
    "workers": {"renderer": {"program": ["python", "-c", "pass"]}},
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("STEPWELL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("STEPWELL_BACKEND", "embedded")
    monkeypatch.setenv("STEPWELL_RESOURCES", json.dumps(DECLARED))
    return tmp_path / "data"


def test_everything_by_its_declared_name(environment: Path) -> None:
    toolkit.bucket("archive").put("k", b"x")
    assert (environment / "buckets" / "gopro-dev-1111" / "k").read_bytes() == b"x"
    toolkit.table("sync-tracker").put({"media_id": "m"})
    assert (environment / "tables" / "tracker-dev.sqlite3").exists()
    toolkit.topic("alerts").publish("s", "b")
    assert (environment / "notices" / "alerts.jsonl").exists()
    toolkit.secret("gopro/credentials").write("the secret text")
    assert (environment / "secrets" / "gopro" / "credentials").exists()
    toolkit.metrics("N", a="b").count("x")
    assert (environment / "metrics.sqlite3").exists()
    assert toolkit.worker("renderer").find() == []
    assert toolkit.bucket("archive") is toolkit.bucket("archive")


def test_a_changed_environment_gives_other_ports(
    environment: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = toolkit.bucket("archive")
    monkeypatch.setenv("STEPWELL_DATA", str(tmp_path / "other"))
    assert toolkit.bucket("archive") is not first


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda: toolkit.bucket("archives"),
            r"bucket 'archives' is not declared \(declared: archive\); add \[buckets.archives\] to stepwell.toml",
        ),
        (lambda: toolkit.table("x"), r"table 'x' is not declared \(declared: sync-tracker\)"),
        (lambda: toolkit.topic("x"), "topic 'x'"),
        (lambda: toolkit.secret("a/b"), r'add \[secrets."a/b"\] to stepwell.toml'),
        (lambda: toolkit.worker("x"), "worker 'x'"),
    ],
)
def test_undeclared(environment: Path, ask: Any, message: str) -> None:
    with pytest.raises(ResourceNotDeclared, match=message):
        ask()


def test_without_an_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STEPWELL_DATA", "STEPWELL_BACKEND", "STEPWELL_RESOURCES"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ResourceNotDeclared, match="declared: none"):
        toolkit.bucket("x")
    monkeypatch.setenv("STEPWELL_RESOURCES", json.dumps(DECLARED))
    with pytest.raises(ResourceNotDeclared, match="STEPWELL_DATA"):
        toolkit.bucket("archive")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"STEPWELL_BACKEND": "gcp"}, "must be 'embedded' or 'aws'"),
        ({"STEPWELL_RESOURCES": "{"}, "STEPWELL_RESOURCES is not JSON"),
        ({"STEPWELL_RESOURCES": "[]"}, "must be a JSON object"),
    ],
)
def test_variables_that_make_no_sense(variables: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Resources.from_environment(variables)


def test_schema() -> None:
    spec = {
        "key": ["a", "b"],
        "types": {"b": "N"},
        "indexes": {"i": {"key": ["c"]}, "j": {"key": ["c", "d"]}},
        "ttl": "t",
    }
    assert parse_schema("x", spec) == Schema(("a", "b"), {"i": Index("c"), "j": Index("c", "d")}, {"b": "N"}, "t")
    assert parse_schema("x", {"key": ["a"], "sort": "b"}).key == ("a", "b")


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"key": []},
        {"key": ["a", "b", "c"]},
        {"key": "a"},
        {"key": ["a"], "types": {"a": "X"}},
        {"key": ["a"], "indexes": {"i": {"key": []}}},
    ],
)
def test_schema_that_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="table 'x'"):
        parse_schema("x", spec)


def test_secret_store_that_is_refused() -> None:
    with pytest.raises(ValueError, match="'secretsmanager' or 'ssm'"):
        Resources("aws", None, {"secrets": {"s": {"store": "vault"}}}).secret("s")


@pytest.mark.parametrize("name", ["../x", "", ".x", "a/b", "a b"])
def test_names_that_would_leave_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="bucket name"):
        LocalBucket(tmp_path, name)
    with pytest.raises(ValueError, match="table name"):
        Resources("embedded", tmp_path, {"tables": {"t": {"key": ["a"], "name": name}}}).table("t")


def test_importing_is_light() -> None:
    code = (
        "import sys; from stepwell import toolkit; "
        "print([m for m in ('boto3','botocore','httpx','sqlite3','starlette','prometheus_client') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
