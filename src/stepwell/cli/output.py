"""What every command shares: how a problem ends it, how input is read, how time and JSON are printed."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

STATUS_CODES = {"SUCCEEDED": 0, "FAILED": 1, "TIMED_OUT": 3, "ABORTED": 4}
USAGE, UNUSABLE, INTERRUPTED = 2, 5, 130

STATUS_COLOURS = {
    "RUNNING": "cyan",
    "SUCCEEDED": "green",
    "FAILED": "red",
    "TIMED_OUT": "yellow",
    "ABORTED": "magenta",
    "PENDING_REDRIVE": "blue",
}


class Problem(Exception):
    """Ends the command: a message for a person (what is wrong, where, what to do) and an exit code."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


def fail(problem: Problem) -> NoReturn:
    """Print the problem to stderr and exit with its code."""
    print(f"stepwell: {problem}", file=sys.stderr)
    raise SystemExit(problem.code)


def read_input(text: str | None) -> str:
    """The JSON of `--input`: the text itself, `@file`, or `-` for stdin; `{}` when absent. Raises Problem."""
    if text is None:
        return "{}"
    where = "--input"
    try:
        if text == "-":
            where, text = "standard input", sys.stdin.read()
        elif text.startswith("@"):
            where = text[1:]
            text = Path(where).read_text(encoding="utf-8")
    except OSError as error:
        raise Problem(f"--input: cannot read {where}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Problem(f"--input: {where} is not UTF-8 text: {error}") from error
    try:
        json.loads(text)
    except RecursionError:
        raise Problem(f"{where} is nested too deeply to be an input") from None
    except ValueError as error:
        raise Problem(f"{where} is not JSON: {error}. Give JSON text, or @FILE to read it from a file.") from error
    return text


def print_json(value: Any) -> None:
    """One JSON document on stdout, for scripts."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def moment(seconds: float | None) -> str:
    """A date for a table: local to nobody, UTC, to the second."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def lasted(start: float, stop: float | None) -> str:
    """How long something took, in the unit a person would use."""
    seconds = (stop if stop is not None else datetime.now(UTC).timestamp()) - start
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def pretty(text: str | None) -> str:
    """JSON text indented; other text as it is."""
    if text is None:
        return ""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except ValueError:
        return text
