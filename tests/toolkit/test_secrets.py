"""Secrets: where they come from, and that they do not get out."""

from __future__ import annotations

import json
import logging
import os
import pickle
import stat
import uuid
from pathlib import Path

import pytest

from stepwell.toolkit import logs, redaction
from stepwell.toolkit.environment import Resources
from stepwell.toolkit.errors import SecretInvalid, SecretNotFound
from stepwell.toolkit.secrets import LocalSecret, Secret, SecretHandle

COOKIES = (
    "gp_access_token=eyJhbGciOi.synthetic.value; gp_user_id=00000000-0000-4000-8000-000000000001; session=abcdef123"
)
DOCUMENT = {"gp-access-token": "eyJhbGciOi.synthetic.value", "cookies": COOKIES, "last_updated": "2025-12-01T10:00:00Z"}


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_values", set())
    monkeypatch.setattr(redaction, "_pattern", None)


@pytest.fixture(params=["embedded", "secretsmanager", "ssm"])
def handle(request: pytest.FixtureRequest, tmp_path: Path) -> SecretHandle:
    if request.param == "embedded":
        return Resources("embedded", tmp_path, {"secrets": {"gopro/credentials": {}}}).secret("gopro/credentials")
    request.getfixturevalue("aws_backend")
    name = f"/gopro/credentials-{uuid.uuid4().hex[:8]}"
    declared = {"secrets": {"gopro/credentials": {"name": name, "store": request.param}}}
    return Resources("aws", None, declared).secret("gopro/credentials")


def test_write_and_read(handle: SecretHandle) -> None:
    with pytest.raises(SecretNotFound, match="credentials"):
        handle.read()
    handle.write(DOCUMENT)
    assert handle.read().json() == DOCUMENT
    handle.write("just a text")
    assert handle.read().reveal() == "just a text"
    with pytest.raises(SecretInvalid, match="not JSON") as error:
        handle.read().json()
    assert "just a text" not in str(error.value)
    handle.write("[1]")
    with pytest.raises(SecretInvalid, match="not a JSON object"):
        handle.read().json()


def test_cache(handle: SecretHandle) -> None:
    handle.write("first value")
    assert handle.read(max_age=300).reveal() == "first value"
    other = (
        type(handle)(handle._top.parent, handle.name) if isinstance(handle, LocalSecret) else type(handle)(handle.name)
    )
    other.write("second value")
    assert handle.read(max_age=300).reveal() == "first value"
    assert handle.read().reveal() == "second value"
    assert handle.read(max_age=300).reveal() == "second value"
    handle.write("third value")
    assert handle.read(max_age=300).reveal() == "third value"


def test_file_is_private(tmp_path: Path) -> None:
    secret = LocalSecret(tmp_path, "gopro/credentials")
    secret.write("a private text")
    path = tmp_path / "secrets" / "gopro" / "credentials"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [found.name for found in path.parent.iterdir()] == ["credentials"]
    path.chmod(0o644)
    with pytest.raises(SecretInvalid, match=f"chmod 600 {path}"):
        secret.read()
    path.chmod(0o600)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SecretInvalid, match="UTF-8"):
        secret.read()


def test_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = LocalSecret(tmp_path, "gopro/credentials")
    secret.write("from the file")
    monkeypatch.setenv("STEPWELL_SECRET_GOPRO_CREDENTIALS", "from the environment")
    assert secret.read().reveal() == "from the environment"
    with pytest.raises(SecretInvalid, match="STEPWELL_SECRET_GOPRO_CREDENTIALS"):
        secret.write("x")


@pytest.mark.parametrize("name", ["../x", "a/../b", "", "a//b", "a b", ".hidden", "a\0"])
def test_names_that_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="secret name"):
        LocalSecret(tmp_path, name)


def test_a_failed_write_keeps_the_old_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = LocalSecret(tmp_path, "k")
    secret.write("the old value")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Exception, match="No space left"):
        secret.write("the new value")
    monkeypatch.undo()
    assert secret.read().reveal() == "the old value"
    assert [found.name for found in (tmp_path / "secrets").iterdir()] == ["k"]


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret("k", "hush hush value")
    assert "hush" not in f"{secret} {secret!r} {[secret]}"
    with pytest.raises(TypeError, match="must not leave"):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps({"secret": secret})


def test_what_was_read_is_masked_in_log_lines(handle: SecretHandle, capsys: pytest.CaptureFixture[str]) -> None:
    handle.write(DOCUMENT)
    handle.read()
    log = logs.logger("t")
    log.info(f"cookies are {COOKIES}", nested={"deep": [f"user 00000000-0000-4000-8000-000000000001 of {'x'}"]})
    log.warning("session=abcdef123 and eyJhbGciOi.synthetic.value")
    try:
        raise RuntimeError(f"refused: {DOCUMENT['gp-access-token']}")
    except RuntimeError:
        log.exception("failed")
    out = capsys.readouterr().out
    for part in ("eyJhbGciOi.synthetic.value", "00000000-0000-4000-8000-000000000001", "abcdef123"):
        assert part not in out
    assert out.count(redaction.MASK) >= 4
    assert "RuntimeError: refused: [redacted]" in out


def test_standard_logging_is_masked_by_the_filter(caplog: pytest.LogCaptureFixture) -> None:
    Secret("k", "swordfish-42")
    logger = logging.getLogger("some.library")
    logger.addFilter(redaction.RedactingFilter())
    try:
        raise ValueError("swordfish-42 is wrong")
    except ValueError:
        logger.exception(
            "calling %s with %r", "https://h/p?Signature=abc&x=1", "swordfish-42", extra={"api_key": "k123"}
        )
    (record,) = caplog.records
    text = caplog.text + str(record.__dict__)
    assert "swordfish-42" not in record.getMessage() + (record.exc_text or "")
    assert "Signature=abc" not in text
    assert record.__dict__["api_key"] == redaction.MASK


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("secret", True),
        ("client_secret", True),
        ("api_key", True),
        ("OPENAI_API_KEY", True),
        ("access_token", True),
        ("task_token", True),
        ("Authorization", True),
        ("cookies", True),
        ("password", True),
        ("s3_key", False),
        ("input_tokens", False),
        ("token_count", False),
        ("secret_name", False),
        ("key", False),
    ],
)
def test_fields_by_name(name: str, masked: bool) -> None:
    assert (redaction.fields({name: "some value"})[name] == redaction.MASK) is masked


@pytest.mark.parametrize(
    ("text", "kept", "gone"),
    [
        (
            "GET https://cdn.example/src?Expires=1&Signature=s3cr3t&Key-Pair-Id=k ok",
            "https://cdn.example/src?[redacted] ok",
            "s3cr3t",
        ),
        (
            "https://b.s3.amazonaws.com/k?X-Amz-Credential=AK&X-Amz-Signature=ff",
            "https://b.s3.amazonaws.com/k",
            "X-Amz",
        ),
        ("https://api/x?page=2&per_page=30", "https://api/x?page=2&per_page=30", "!"),
        ("Cookie: a=b1234567; c=d", "Cookie: [redacted]", "b1234567"),
        ("{'Authorization': 'Bearer abcdefghij'}", "Authorization", "abcdefghij"),
        ("sent Bearer abcdefghij.klm", "sent Bearer [redacted]", "abcdefghij"),
        ("no cookies were found", "no cookies were found", "!"),
    ],
)
def test_texts(text: str, kept: str, gone: str) -> None:
    assert kept in redaction.text(text)
    assert gone not in redaction.text(text)
