"""The `stepwell` command: one module a command, imported when it is called.

Exit codes: 0 the execution succeeded (or the command did), 1 it failed, 2 the call, the input or a file is wrong, 3 it timed out,
4 it was aborted, 5 the data directory or the server cannot be used, 130 interrupted (the execution is safe and can be continued).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "run": "Run a state machine and show its progress.",
    "serve": "Serve the Step Functions API, running projects and schedules.",
    "validate": "Check definitions and projects.",
    "test": "Test one state, as the TestState API does.",
    "init": "Create a project whose tests pass.",
    "start": "Start an execution and return at once.",
    "list": "List executions.",
    "show": "Show an execution: status, states, output.",
    "history": "Print an execution's events.",
    "logs": "Print what an execution's functions logged.",
    "stop": "Abort an execution.",
    "redrive": "Continue a failed execution from the states that did not succeed.",
    "backup": "Copy a data directory while it is in use.",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script's entry point; ends the process with one of the exit codes above."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    name = arguments[0] if arguments else "--help"
    if name in ("--version", "-V"):
        from stepwell import __version__

        print(f"stepwell {__version__}")
        raise SystemExit(0)
    if name in COMMANDS:
        from stepwell.cli.output import Problem, fail

        module = importlib.import_module(f"stepwell.cli.{name}")
        try:
            raise SystemExit(_invoke(module, arguments))
        except Problem as problem:
            fail(problem)
    if name in ("--help", "-h", "help"):
        print(_help())
        raise SystemExit(0)
    import difflib

    near = difflib.get_close_matches(name, COMMANDS, 1)
    print(f"stepwell: there is no command {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""), file=sys.stderr)
    print(_help(), file=sys.stderr)
    raise SystemExit(2)


def _invoke(module: object, arguments: list[str]) -> int:
    import typer

    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    command = app.command(arguments[0])(module.command)  # type: ignore[attr-defined]
    del command
    return int(app(arguments[1:], prog_name=f"stepwell {arguments[0]}", standalone_mode=True) or 0)


def _help() -> str:
    lines = ["Usage: stepwell COMMAND [OPTIONS] ...", "", "Durable AWS Step Functions state machines, anywhere.", ""]
    lines += [f"  {name:10} {text}" for name, text in COMMANDS.items()]
    lines += ["", "`stepwell COMMAND --help` tells more. " + (__doc__ or "").split("\n\n")[1].replace("\n", " ")]
    return "\n".join(lines)
