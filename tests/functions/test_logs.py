"""What functions log: captured line by line, stamped, stored, and found again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from stepwell.functions import Call, FunctionPool, FunctionSpec, LogRecord, LogStore
from stepwell.functions.capture import record_of
from stepwell.functions.logs import timestamp
from tests.functions.conftest import EXECUTION, Bench, new_call

TALKER = """
    import logging, os, subprocess, sys
    log = logging.getLogger("my.module")
    print("importing")
    def handler(event, context):
        print("printed")
        log.info("logged %d", 1, extra={"media_id": "m1"})
        log.debug("not at this level")
        print("to stderr", file=sys.stderr)
        subprocess.run(["echo", "from a child"])
        try:
            1 / 0
        except ZeroDivisionError:
            log.exception("went wrong")
        print('{"level": "WARN", "message": "structured", "event_type": "listing_page", "correlation_id": "own"}')
        print("no line feed", end="")
        return 1
"""


async def test_every_line_is_captured_in_order_and_stamped(bench: Bench, code):
    bench.add(code(TALKER))
    call = new_call(execution=EXECUTION, state="ListMedia", attempt=2)
    await bench.pool.invoke("f", b"{}", call=call)
    assert [(r.level, r.message) for r in bench.records] == [
        ("INFO", "importing"),
        ("INFO", "printed"),
        ("INFO", "logged 1"),
        ("INFO", "to stderr"),
        ("INFO", "from a child"),
        ("ERROR", "went wrong"),
        ("WARNING", "structured"),
        ("INFO", "no line feed"),
    ]
    for record in bench.records:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record.time)
        stamped = (record.function, record.request_id, record.execution, record.state, record.attempt)
        assert stamped == ("f", call.request_id, EXECUTION, "ListMedia", 2)
    correlations = {record.message: record.correlation_id for record in bench.records}
    assert correlations["printed"] == "run-1", "the execution's name, when nothing else is known"
    assert correlations["structured"] == "own"
    assert bench.records[2].logger == "my.module"
    assert bench.records[2].fields == {"media_id": "m1"}
    assert "ZeroDivisionError: division by zero" in bench.records[5].fields["exception"]
    assert bench.records[6].fields == {"event_type": "listing_page"}


async def test_the_log_tail_is_lambdas(bench: Bench, code):
    bench.add(code(TALKER))
    call = new_call()
    first = (await bench.pool.invoke("f", b"{}", call=call)).log_tail.decode()
    assert first.startswith(f"START RequestId: {call.request_id} Version: $LATEST\nimporting\nprinted\n")
    assert re.search(rf"\[INFO\]\t\S+\t{call.request_id}\tlogged 1\n", first)
    assert re.search(
        rf"END RequestId: {call.request_id}\nREPORT RequestId: {call.request_id}\tDuration: [\d.]+ ms\t"
        r"Billed Duration: \d+ ms\tMemory Size: 512 MB\tMax Memory Used: \d+ MB\tInit Duration: [\d.]+ ms\t\n$",
        first,
    )
    second = (await bench()).log_tail.decode()
    assert "importing" not in second
    assert "Init Duration" not in second


async def test_the_log_tail_is_at_most_four_kilobytes(bench: Bench, code):
    bench.add(code("def handler(event, context):\n    for n in range(2000): print('line', n)"))
    tail = (await bench()).log_tail
    assert len(tail) <= 4096
    assert b"line 1999\nEND" in tail
    assert len(bench.records) == 2000


async def test_endless_lines_are_cut(bench: Bench, code):
    bench.add(code("def handler(event, context):\n    print('x' * 1_000_000)"))
    await bench()
    assert sum(len(record.message) for record in bench.records) == 1_000_000
    assert max(len(record.message) for record in bench.records) < 400_000


async def test_the_level_is_the_environments(bench: Bench, code):
    bench.add(code(TALKER), environment={"LOG_LEVEL": "debug"})
    await bench()
    assert "not at this level" in {record.message for record in bench.records}


async def test_records_reach_the_store_and_stderr(tmp_path, code, capfd):
    folder = code("def handler(event, context):\n    print('kept', event)")
    store = LogStore(tmp_path / "logs")
    spec = FunctionSpec(name="f", handler="handler:handler", code=folder)
    async with FunctionPool([spec], logs=store, forward_logs=True) as pool:
        await pool.invoke("f", b"1", call=new_call(execution=EXECUTION))
    assert [record.message for record in LogStore(tmp_path / "logs").read(execution="run-1")] == ["kept 1"]
    assert re.search(r"Z INFO     f kept 1$", capfd.readouterr().err, re.MULTILINE)


async def test_a_store_that_refuses_does_not_fail_the_function(code, capfd):
    class Full(LogStore):
        def write(self, record: LogRecord) -> None:
            raise OSError(28, "No space left on device")

    folder = code("def handler(event, context):\n    print('still shown')\n    return 1")
    spec = FunctionSpec(name="f", handler="handler:handler", code=folder)
    async with FunctionPool([spec], logs=Full(folder / "logs")) as pool:
        assert (await pool.invoke("f", b"1", call=new_call())).payload == b"1"
    shown = capfd.readouterr().err
    assert "No space left on device" in shown
    assert "still shown" in shown


# --- lines


@pytest.mark.parametrize(
    ("line", "level", "message"),
    [
        (b"plain", "INFO", "plain"),
        (b"{not json", "INFO", "{not json"),
        (b"[1]", "INFO", "[1]"),
        (b'{"level":"fatal","message":"m"}', "CRITICAL", "m"),
        (b'{"level":30,"message":"m"}', "INFO", "m"),
        (b"\x1e{broken", "INFO", "{broken"),
        (b"\xff\xfe", "INFO", "\ufffd\ufffd"),
        (b"dos line\r", "INFO", "dos line"),
    ],
)
def test_lines_of_all_kinds(line, level, message):
    record = record_of(line, "f", None)
    assert (record.level, record.message) == (level, message)


def test_the_metric_format_is_kept_whole():
    line = {"_aws": {"Timestamp": 1, "CloudWatchMetrics": []}, "VideosSynced": 3, "Provider": "gopro"}
    assert record_of(json.dumps(line).encode(), "f", None).fields == line


def test_express_executions_have_a_name_too():
    arn = "arn:aws:states:us-east-1:000000000000:express:machine:run-9:5e1d"
    assert record_of(b"x", "f", Call(request_id="1", execution=arn)).correlation_id == "run-9"


# --- the store


def record(number: int, execution: str = EXECUTION, **fields) -> LogRecord:
    fields = {"function": "f", "request_id": f"r{number}", **fields}
    return LogRecord(time=timestamp(number), level="INFO", message=f"line {number}", execution=execution, **fields)


def test_filters(tmp_path: Path):
    store = LogStore(tmp_path)
    for number in range(10):
        store.write(record(number, EXECUTION if number % 2 else EXECUTION + "0", function="fg"[number % 5 == 0]))

    def numbers(**filters) -> list[int]:
        return [int(found.message.split()[1]) for found in store.read(**filters)]

    assert numbers() == list(range(10))
    assert numbers(execution=EXECUTION) == [1, 3, 5, 7, 9]
    assert numbers(execution="run-1") == [1, 3, 5, 7, 9], "not run-10"
    assert numbers(execution="run-10", function="g") == [0]
    assert numbers(request_id="r3") == [3]
    assert numbers(since=timestamp(7)) == [7, 8, 9]
    assert numbers(execution="run-2") == []


def test_a_message_that_mentions_an_execution_is_not_of_it(tmp_path: Path):
    store = LogStore(tmp_path)
    store.write(
        LogRecord(time=timestamp(0), level="INFO", message=f'"{EXECUTION}"', function="f", fields={"x": EXECUTION})
    )
    assert list(store.read(execution=EXECUTION)) == []


def test_rotation_keeps_the_newest(tmp_path: Path):
    store = LogStore(tmp_path, max_bytes=1000, keep=3)
    for number in range(100):
        store.write(record(number))
    files = sorted(tmp_path.iterdir())
    assert len(files) == 3
    assert all(file.stat().st_size <= 1000 for file in files)
    kept = [int(found.message.split()[1]) for found in store.read()]
    assert kept == list(range(kept[0], 100))


def test_a_store_goes_on_where_another_process_was_killed(tmp_path: Path):
    store = LogStore(tmp_path)
    store.write(record(1))
    store.close()
    (file,) = tmp_path.iterdir()
    with file.open("ab") as stream:
        stream.write(b'{"time":"2026-')
    again = LogStore(tmp_path)
    again.write(record(2))
    assert [found.message for found in again.read()] == ["line 1", "line 2"]
    assert len(list(tmp_path.iterdir())) == 1


def test_logs_are_private(tmp_path: Path):
    store = LogStore(tmp_path)
    store.write(record(1))
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o077 == 0


def test_the_text_of_a_record():
    made = record(0)
    made.fields = {"media_id": "m1", "exception": "Traceback..."}
    assert made.text() == '1970-01-01T00:00:00.000Z INFO     f line 0 {"media_id":"m1"}\nTraceback...'
