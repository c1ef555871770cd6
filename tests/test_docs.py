"""The documentation's examples run as they stand."""

from __future__ import annotations

import asyncio
import json
import re
import textwrap
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
ORDER = {
    "StartAt": "Check",
    "States": {
        "Check": {"Type": "Pass", "Next": "Charge"},
        "Charge": {
            "Type": "Task",
            "Resource": "${charge}",
            "Retry": [{"ErrorEquals": ["Busy"]}],
            "Next": "Done",
        },
        "Done": {"Type": "Succeed"},
    },
}
GREETER = {"StartAt": "G", "States": {"G": {"Type": "Task", "Resource": "${greet}", "End": True}}}


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.S)


def test_the_script_example_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(blocks("reference/python.md")[0], {})
    assert capsys.readouterr().out.splitlines() == ["{'text': 'Hello, Ada!'}"] * 2


def test_the_asyncio_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("machine.asl.json").write_text(json.dumps(GREETER))
    source = "import stepwell\nasync def main(greet):\n" + textwrap.indent(blocks("reference/python.md")[1], "    ")
    scope: dict[str, object] = {}
    exec(source + "\n    return result", scope)
    result = asyncio.run(scope["main"](lambda event, context: f"Hello, {event['name']}!"))  # type: ignore[operator]
    assert result == "Hello, Ada!"
    assert capsys.readouterr().out.splitlines()[0] == "1 ExecutionStarted"


def test_the_testing_example_passes(stepwell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("order.asl.json").write_text(json.dumps(ORDER))
    scope: dict[str, object] = {}
    exec(blocks("reference/testing.md")[0], scope)
    scope["test_a_busy_service_is_asked_again"](stepwell)  # type: ignore[operator]
