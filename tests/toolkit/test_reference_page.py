"""The examples of docs/reference/toolkit.md do what the page says, on both backends."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import provision

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "toolkit.md"
DECLARED: dict[str, Any] = {
    "buckets": {"archive": {}},
    "tables": {
        "sync-tracker": {
            "key": ["media_id"],
            "indexes": {"status-sync_timestamp-index": {"key": ["status", "sync_timestamp"]}},
        }
    },
    "topics": {"alerts": {}},
    "secrets": {"gopro/credentials": {}},
    "workers": {"renderer": {"program": ["python", "-c", "import time; time.sleep(60)"]}},
}


def examples() -> list[tuple[int, str]]:
    """Line number and text of every Python block."""
    text = PAGE.read_text()
    return [
        (text[: match.start(1)].count("\n"), match[1])
        for match in re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]


def run(skipped: tuple[str, ...]) -> int:
    namespace: dict[str, Any] = {"__name__": "example"}
    done = 0
    for line, code in examples():
        if not code.startswith(skipped):
            exec(compile("\n" * line + code, str(PAGE), "exec"), namespace)
            done += 1
    return done


def test_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("STEPWELL_BACKEND", "embedded")
    monkeypatch.setenv("STEPWELL_DATA", str(tmp_path))
    monkeypatch.setenv("STEPWELL_RESOURCES", json.dumps(DECLARED))
    assert run(("# not run",)) >= 15
    assert "abcdef" not in capsys.readouterr().out


def test_aws(aws_backend: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("STEPWELL_RESOURCES", json.dumps(provision(DECLARED).declared))
    monkeypatch.setenv("STEPWELL_BACKEND", "aws")
    monkeypatch.delenv("STEPWELL_DATA", raising=False)
    assert run(("# not run", "# embedded only")) >= 12
    out = capsys.readouterr().out
    assert "abcdef" not in out
    assert '"CloudWatchMetrics"' in out
