"""The command line from outside: what it prints, where it writes, how it exits."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STEPWELL = [sys.executable, "-c", "from stepwell.cli import main; main()"]
ENVIRONMENT = {key: value for key, value in os.environ.items() if not key.startswith(("STEPWELL_", "AWS_"))}

PASS = {"StartAt": "A", "States": {"A": {"Type": "Pass", "Result": {"ok": True}, "End": True}}}
FAIL = {"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "Broken", "Cause": "on purpose"}}}
WAIT = {
    "StartAt": "W",
    "States": {
        "W": {"Type": "Wait", "SecondsPath": "$.seconds", "Next": "Done"},
        "Done": {"Type": "Pass", "Result": "waited", "End": True},
    },
}
TIMED_OUT = {"TimeoutSeconds": 1, "StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 60, "End": True}}}


def stepwell(*words: str | Path, cwd: Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*STEPWELL, *map(str, words)], cwd=cwd, env=ENVIRONMENT, input=stdin, capture_output=True, text=True, timeout=60
    )


def definition(folder: Path, name: str, value: Any) -> Path:
    path = folder / f"{name}.asl.json"
    path.write_text(json.dumps(value))
    return path


def test_run_prints_progress_and_the_output(tmp_path: Path) -> None:
    done = stepwell("run", definition(tmp_path, "pass", PASS), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "A entered" in done.stdout
    assert "SUCCEEDED" in done.stdout
    assert '"ok": true' in done.stdout
    assert (tmp_path / ".stepwell" / "journal.db").exists()


def test_run_json_puts_only_the_result_on_stdout(tmp_path: Path) -> None:
    done = stepwell("run", definition(tmp_path, "pass", PASS), "--json", "--name", "n1", cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert (answer["status"], answer["name"], answer["output"]) == ("SUCCEEDED", "n1", {"ok": True})
    assert "execution succeeded" in done.stderr


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\xff\xfe{}", "is not UTF-8 text"), (b"[" * 100_000 + b"]" * 100_000, "nested too deeply")],
    ids=["bytes", "depth"],
)
def test_an_input_that_cannot_be_one_is_said(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "in.json").write_bytes(content)
    done = stepwell("run", definition(tmp_path, "pass", PASS), "--input", "@in.json", cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert words in done.stderr


def test_a_data_directory_that_is_a_file_is_said(tmp_path: Path) -> None:
    path = definition(tmp_path, "pass", PASS)
    done = stepwell("run", path, "--data", path, cwd=tmp_path)
    assert (done.returncode, json.loads(path.read_text())) == (5, PASS)
    assert "cannot be a data directory (File exists); choose another" in done.stderr


@pytest.mark.parametrize(("machine", "code"), [(FAIL, 1), (TIMED_OUT, 3)], ids=["failed", "timed out"])
def test_the_exit_code_tells_how_the_execution_ended(tmp_path: Path, machine: Any, code: int) -> None:
    assert stepwell("run", definition(tmp_path, "m", machine), cwd=tmp_path).returncode == code


def test_input_comes_from_the_option_a_file_or_stdin(tmp_path: Path) -> None:
    echo = definition(tmp_path, "echo", {"StartAt": "A", "States": {"A": {"Type": "Pass", "End": True}}})
    (tmp_path / "input.json").write_text('{"from": "file"}')
    ways: list[tuple[str, str | None]] = [
        ('{"from": "option"}', None),
        ("@input.json", None),
        ("-", '{"from": "stdin"}'),
    ]
    outputs = [
        json.loads(stepwell("run", echo, "--json", "--input", text, cwd=tmp_path, stdin=stdin).stdout)["output"]["from"]
        for text, stdin in ways
    ]
    assert outputs == ["option", "file", "stdin"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "absent.asl.json"], "absent.asl.json does not exist"),
        (["run", "pass.asl.json", "--input", "{broken"], "--input is not JSON"),
        (["run", "pass.asl.json", "--input", "@absent.json"], "cannot read absent.json"),
        (["run", "pass.asl.json", "other"], "is a definition"),
        (["run", "broken.asl.json"], "broken.asl.json:1:"),
        (["run", "invalid.asl.json"], "/States/A/Next"),
        (["validate", "absent.asl.json"], "absent.asl.json does not exist"),
        (["serve", "--in-memory", "--data", "d"], "exclude each other"),
        (["serve", "--account", "12"], "is not 12 digits"),
        (["serve", "--in-memory", "--auth", "absent.toml"], "absent.toml: cannot be read"),
        (["lits"], "did you mean 'list'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_call_or_file_is_exit_code_2_and_says_what_and_where(
    tmp_path: Path, words: list[str], told: str
) -> None:
    definition(tmp_path, "pass", PASS)
    (tmp_path / "broken.asl.json").write_text('{"StartAt": ')
    definition(tmp_path, "invalid", {"StartAt": "A", "States": {"A": {"Type": "Pass", "Next": "Nowhere"}}})
    done = stepwell(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_directory_of_another_process_is_refused_with_its_number(tmp_path: Path) -> None:
    waiting = definition(tmp_path, "wait", WAIT)
    holder = subprocess.Popen(
        [*STEPWELL, "run", str(waiting), "--input", '{"seconds": 60}'],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        _read_until(holder, "W entered")
        done = stepwell("run", definition(tmp_path, "pass", PASS), cwd=tmp_path)
        assert done.returncode == 5
        assert f"in use by process {holder.pid}" in done.stderr
        listed = stepwell("list", "--json", cwd=tmp_path)  # looking is allowed
        assert [item["status"] for item in json.loads(listed.stdout)] == ["RUNNING"]
    finally:
        holder.kill()
        holder.wait()


def _read_until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if word in line:
            return
    raise AssertionError(f"{word!r} never came")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_an_interrupted_run_is_continued_by_the_same_command(tmp_path: Path, number: signal.Signals) -> None:
    words = ["run", str(definition(tmp_path, "wait", WAIT)), "--input", '{"seconds": 4}', "--name", "n1"]
    first = subprocess.Popen(
        [*STEPWELL, *words], cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    began = time.monotonic()
    _read_until(first, "W entered")
    first.send_signal(number)
    assert first.wait(20) == (130 if number == signal.SIGINT else -9)
    assert first.stderr is not None
    if number == signal.SIGINT:
        message = first.stderr.read()
        assert "is safe in" in message
        assert "--name n1" in message
    again = stepwell(*words, "--json", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    answer = json.loads(again.stdout)
    assert answer["output"] == "waited"
    assert answer["stopDate"] - answer["startDate"] >= 4
    assert time.monotonic() - began < 30
    third = stepwell(*words, cwd=tmp_path)
    assert third.returncode == 2
    assert "has ended already" in third.stderr


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A directory with one succeeded and one failed execution."""
    assert stepwell("run", definition(tmp_path, "good", PASS), "--name", "one", cwd=tmp_path).returncode == 0
    assert stepwell("run", definition(tmp_path, "bad", FAIL), "--name", "two", cwd=tmp_path).returncode == 1
    return tmp_path


def test_list_show_history_of_a_data_directory(finished: Path) -> None:
    rows = json.loads(stepwell("list", "--json", cwd=finished).stdout)
    assert [(row["name"], row["status"]) for row in rows] == [("two", "FAILED"), ("one", "SUCCEEDED")]
    failed = json.loads(stepwell("list", "--status", "failed", "--json", cwd=finished).stdout)
    assert [row["name"] for row in failed] == ["two"]
    assert "SUCCEEDED" in stepwell("list", "good", cwd=finished).stdout
    shown = stepwell("show", "bad/two", cwd=finished).stdout
    assert "Broken" in shown
    assert "on purpose" in shown
    events = json.loads(stepwell("history", "one", "--json", cwd=finished).stdout)
    kinds = ["ExecutionStarted", "PassStateEntered", "PassStateExited", "ExecutionSucceeded"]
    assert [event["type"] for event in events] == kinds
    backwards = json.loads(stepwell("history", "one", "--reverse", "--json", cwd=finished).stdout)
    assert [event["type"] for event in backwards] == kinds[::-1]


def test_a_name_nobody_has_is_refused(finished: Path) -> None:
    for words, told in (
        (["show", "nobody"], "there is no execution named 'nobody'"),
        (["start", "nobody"], "there is no state machine 'nobody' (known: bad, good)"),
    ):
        done = stepwell(*words, cwd=finished)
        assert done.returncode == 2
        assert told in done.stderr


def test_a_directory_that_is_none_is_refused(tmp_path: Path) -> None:
    done = stepwell("list", "--data", tmp_path / "absent", cwd=tmp_path)
    assert done.returncode == 5
    assert "there is no data directory" in done.stderr


def test_start_on_a_directory_runs_when_it_is_next_opened(tmp_path: Path) -> None:
    waiting = definition(tmp_path, "wait", WAIT)
    assert stepwell("run", waiting, "--input", '{"seconds": 0}', cwd=tmp_path).returncode == 0
    arn = stepwell("start", "wait", "--input", '{"seconds": 1}', "--name", "later", cwd=tmp_path).stdout.strip()
    assert arn.endswith(":wait:later")
    time.sleep(1.1)  # its time passes while nobody has the directory open
    assert json.loads(stepwell("show", "later", "--json", cwd=tmp_path).stdout)["status"] == "RUNNING"
    assert stepwell("run", waiting, "--input", '{"seconds": 1}', cwd=tmp_path).returncode == 0
    assert json.loads(stepwell("show", "later", "--json", cwd=tmp_path).stdout)["output"] == '"waited"'


def test_redrive_on_a_directory(finished: Path) -> None:
    assert stepwell("redrive", "two", cwd=finished).returncode == 0
    assert json.loads(stepwell("show", "two", "--json", cwd=finished).stdout)["redriveCount"] == 1
    refused = stepwell("redrive", "one", cwd=finished)
    assert refused.returncode == 5
    assert "Execution is SUCCEEDED and cannot be redriven" in refused.stderr


def test_stop_on_a_directory(tmp_path: Path) -> None:
    waiting = definition(tmp_path, "wait", WAIT)
    assert stepwell("run", waiting, "--input", '{"seconds": 0}', cwd=tmp_path).returncode == 0
    arn = stepwell("start", "wait", "--input", '{"seconds": 60}', "--name", "n", cwd=tmp_path).stdout.strip()
    assert stepwell("stop", arn, "--error", "Enough", cwd=tmp_path).returncode == 0
    shown = json.loads(stepwell("show", "n", "--json", cwd=tmp_path).stdout)
    assert (shown["status"], shown["error"]) == ("ABORTED", "Enough")


CALLED_BACK = {
    "StartAt": "Ask",
    "States": {
        "Ask": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
            "Parameters": {"FunctionName": "${functions.answer}", "Payload": {"token.$": "$$.Task.Token"}},
            "TimeoutSeconds": 30,
            "End": True,
        }
    },
}
ANSWERING = """
import os
from stepwell.toolkit.callbacks import TaskCallback

def handler(event, context):
    TaskCallback(event["token"]).succeed({"by": os.environ["STEPWELL_API_URL"][:17]})
"""


def test_run_answers_the_workers_of_its_project(tmp_path: Path) -> None:
    """A function or a machine that answers a task token reaches the process that runs the execution."""
    (tmp_path / "stepwell.toml").write_text(
        '[project]\nname = "calls"\n[machines.main]\ndefinition = "main.asl.json"\n[functions.answer]\nhandler = "answer:handler"\n'
    )
    (tmp_path / "main.asl.json").write_text(json.dumps(CALLED_BACK))
    (tmp_path / "answer.py").write_text(ANSWERING)
    done = stepwell("run", ".", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"] == {"by": "http://127.0.0.1:"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [*STEPWELL, "serve", "--port", "0", "--data", str(tmp_path / "served")],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    url = re.search(r"http://\S+", process.stdout.readline())
    assert url
    yield url.group()
    process.terminate()
    assert process.wait(20) == 0


def test_the_same_commands_against_a_server(tmp_path: Path, server: str) -> None:
    import boto3

    client = boto3.client(
        "stepfunctions",
        endpoint_url=server,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    client.create_state_machine(name="wait", definition=json.dumps(WAIT), roleArn="arn:aws:iam::000000000000:role/r")
    to = ("--server", server)
    arn = stepwell("start", "wait", "--input", '{"seconds": 60}', "--name", "n", *to, cwd=tmp_path).stdout.strip()
    assert json.loads(stepwell("show", "wait/n", "--json", *to, cwd=tmp_path).stdout)["status"] == "RUNNING"
    assert stepwell("stop", arn, *to, cwd=tmp_path).returncode == 0
    assert [row["status"] for row in json.loads(stepwell("list", "--json", *to, cwd=tmp_path).stdout)] == ["ABORTED"]
    assert "ExecutionAborted" in stepwell("history", "n", *to, cwd=tmp_path).stdout


def test_a_server_that_is_none_is_said(tmp_path: Path) -> None:
    done = stepwell("list", "--server", "http://127.0.0.1:9", cwd=tmp_path)
    assert done.returncode == 5
    assert "no server answers at http://127.0.0.1:9" in done.stderr


def test_listening_beyond_this_machine_needs_keys(tmp_path: Path) -> None:
    done = stepwell("serve", "--in-memory", "--host", "0.0.0.0", "--port", "0", cwd=tmp_path)
    assert done.returncode == 5
    assert "Use --auth, or --insecure" in done.stderr


def test_validate_tells_file_line_and_pointer(tmp_path: Path) -> None:
    good = definition(tmp_path, "good", PASS)
    assert stepwell("validate", good, cwd=tmp_path).returncode == 0
    bad = tmp_path / "bad.asl.yaml"
    bad.write_text("StartAt: A\nStates:\n  A:\n    Type: Pass\n    Next: Nowhere\n")
    done = stepwell("validate", good, bad, cwd=tmp_path)
    assert done.returncode == 1
    assert re.search(r"bad\.asl\.yaml:5:\d+: error \w+ at /States/A/Next", done.stdout)
    report = json.loads(stepwell("validate", bad, "--json", cwd=tmp_path).stdout)
    assert report["result"] == "FAIL"
    assert report["diagnostics"][0]["line"] == 5


def test_help_and_version(tmp_path: Path) -> None:
    assert "run" in stepwell("--help", cwd=tmp_path).stdout
    assert "--input" in stepwell("run", "--help", cwd=tmp_path).stdout
    assert re.fullmatch(r"stepwell \d+\.\d+\.\d+\n", stepwell("--version", cwd=tmp_path).stdout)


def test_one_state_is_tested_with_a_mock(tmp_path: Path) -> None:
    machine = {
        "StartAt": "T",
        "States": {
            "T": {
                "Type": "Task",
                "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f",
                "ResultPath": "$.result",
                "Catch": [{"ErrorEquals": ["Broken"], "Next": "E"}],
                "Next": "E",
            },
            "E": {"Type": "Succeed"},
        },
    }
    path = definition(tmp_path, "m", machine)
    done = stepwell("test", path, "T", "--input", '{"a": 1}', "--mock", '{"b": 2}', "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["status"], answer["nextState"]) == ("SUCCEEDED", "E")
    assert json.loads(answer["output"]) == {"a": 1, "result": {"b": 2}}
    assert json.loads(answer["inspectionData"]["result"]) == {"b": 2}
    caught = stepwell("test", path, "T", "--error", "Broken", cwd=tmp_path)
    assert (caught.returncode, "CAUGHT_ERROR" in caught.stdout) == (0, True)
    assert stepwell("test", path, "T", "--error", "Other", cwd=tmp_path).returncode == 1
    absent = stepwell("test", path, "Nowhere", cwd=tmp_path)
    assert absent.returncode == 2
    assert "Nowhere" in absent.stderr


def test_a_copy_of_a_directory_is_a_directory(finished: Path) -> None:
    done = stepwell("backup", finished / "copy", cwd=finished)
    assert done.returncode == 0, done.stderr
    rows = json.loads(stepwell("list", "--data", finished / "copy", "--json", cwd=finished).stdout)
    assert [row["name"] for row in rows] == ["two", "one"]
    assert stepwell("backup", finished / "copy", cwd=finished).returncode == 2
