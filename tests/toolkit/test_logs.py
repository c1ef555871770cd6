"""Log lines, as the saved queries expect them."""

from __future__ import annotations

import datetime
import json
import logging
import threading
from decimal import Decimal
from typing import Any

import pytest

from stepwell.toolkit import logger, logs


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Any:
    def read() -> list[dict[str, Any]]:
        out = capsys.readouterr().out
        assert out == "" or out.endswith("\n")
        return [json.loads(line) for line in out.split("\n")[:-1]]

    return read


def test_a_line(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "video-downloader")
    with logs.bind(correlation_id="sched-1", execution_id="arn:x"):
        logger("t").info("done", event_type="video_download_complete", media_id="m", bytes_transferred=12, ratio=0.5)
    (line,) = lines()
    assert list(line)[:6] == ["timestamp", "level", "correlation_id", "function_name", "event_type", "message"]
    moment = datetime.datetime.fromisoformat(line.pop("timestamp"))
    assert abs((datetime.datetime.now(datetime.UTC) - moment).total_seconds()) < 5
    assert line == {
        "level": "INFO",
        "correlation_id": "sched-1",
        "function_name": "video-downloader",
        "event_type": "video_download_complete",
        "message": "done",
        "execution_id": "arn:x",
        "logger": "t",
        "media_id": "m",
        "bytes_transferred": 12,
        "ratio": 0.5,
    }


def test_levels_and_threshold(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    log = logger("t")
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(log, level)("x")
    assert [line["level"] for line in lines()] == ["INFO", "WARN", "ERROR", "CRITICAL"]
    monkeypatch.setenv("LOG_LEVEL", "debug")
    log.debug("x")
    assert [line["level"] for line in lines()] == ["DEBUG"]
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    log.info("x")
    log.warning("x")
    assert [line["level"] for line in lines()] == ["WARN"]


def test_what_is_always_there(lines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    logger("t").info("x")
    (line,) = lines()
    assert (line["correlation_id"], line["function_name"], line["event_type"]) == (None, None, None)


def test_exceptions(lines: Any) -> None:
    log = logger("t")
    try:
        raise ValueError("broken")
    except ValueError as error:
        log.exception("one")
        log.error("two", exc_info=error)
        log.error("three", exc_info=True)
    log.error("four")
    one, two, three, four = lines()
    for line in (one, two, three):
        assert line["level"] == "ERROR"
        assert line["exception"].startswith("Traceback")
        assert line["exception"].endswith("ValueError: broken")
    assert "exception" not in four


def test_nesting_and_bound_loggers(lines: Any) -> None:
    log = logger("t", stage="upload")
    with logs.bind(correlation_id="a", page=1):
        with logs.bind(page=2):
            log.bind(media_id="m").info("inner")
        log.info("outer")
    log.info("outside")
    inner, outer, outside = lines()
    assert (inner["correlation_id"], inner["page"], inner["media_id"], inner["stage"]) == ("a", 2, "m", "upload")
    assert (outer["page"], "media_id" in outer) == (1, False)
    assert outside["correlation_id"] is None
    assert "page" not in outside


def test_a_field_never_replaces_a_fixed_one(lines: Any) -> None:
    logger("t").info("real", level="fake", timestamp="fake", message_id="m")
    with logs.bind(message="fake"):
        logger("t").info("real")
    first, second = lines()
    assert (first["level"], first["context_level"], first["message_id"]) == ("INFO", "fake", "m")
    assert (second["message"], second["context_message"]) == ("real", "fake")


def test_values_of_any_kind(lines: Any) -> None:
    logger("t").info(
        "x",
        a=Decimal("1.5"),
        b={1, 2},
        c=object,
        d=10**30,
        e="\ud800",
        f=datetime.date(2025, 1, 2),
        g=float("nan"),
        h={1: b"x"},
    )
    (line,) = lines()
    assert line["a"] == "1.5"
    assert line["d"] in (str(10**30), 1e30)
    assert line["message"] == "x"


def test_line_feeds_stay_inside_the_line(lines: Any) -> None:
    logger("t").info("a\nb\r\n\u2028c")
    assert lines()[0]["message"] == "a\nb\r\n\u2028c"


def test_threads_do_not_mix_lines(lines: Any) -> None:
    def work(n: int) -> None:
        with logs.bind(correlation_id=str(n)):
            for _ in range(50):
                logger("t").info("x" * 500, n=n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = lines()
    assert len(found) == 400
    assert all(line["correlation_id"] == str(line["n"]) for line in found)


def test_standard_logging_in_the_same_form() -> None:
    record = logging.makeLogRecord(
        {
            "name": "lib",
            "levelno": logging.WARNING,
            "levelname": "WARNING",
            "msg": "took %d s",
            "args": (3,),
            "extra_field": 7,
        }
    )
    with logs.bind(correlation_id="c"):
        line = json.loads(logs.JsonFormatter().format(record))
    assert (line["level"], line["message"], line["logger"], line["extra_field"]) == ("WARN", "took 3 s", "lib", 7)
    assert line["correlation_id"] == "c"
