"""The command line: `python -m mediaselect local --session DIR` and `python -m mediaselect serve`."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from mediaselect.hosting import PROJECT, Host
from mediaselect.local import LocalRun

app = typer.Typer(
    help="Choose and enhance photos and videos.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
DataOption = Annotated[
    Path, typer.Option("--data", help="The data directory; a run that was interrupted goes on with it.")
]
SimulatedOption = Annotated[
    bool, typer.Option("--simulated", help="Simulated models instead of Google's: no key, no cost.")
]


@app.command()
def local(
    session: Annotated[
        Path, typer.Option("--session", exists=True, file_okay=False, help="A folder of photos and videos.")
    ],
    data: DataOption = Path(".mediaselect"),
    output: Annotated[Path, typer.Option("--output", help="Where results go.")] = Path("mediaselect-output"),
    context: Annotated[str, typer.Option("--context", help="What the trip was about.")] = "",
    enhance: Annotated[bool, typer.Option("--enhance/--select-only")] = True,
    simulated: SimulatedOption = False,
) -> None:
    """Select and enhance the media of a folder. Without --simulated, GEMINI_API_KEY pays for it."""
    with _models(simulated):
        results = LocalRun(session, data, output, context=context).run(enhance=enhance)
    print(f"results in {output}")
    if any(result["status"] == "error" for result in results.values()):
        raise typer.Exit(1)


@app.command()
def serve(
    data: DataOption = Path(".mediaselect"),
    port: Annotated[int, typer.Option("--port", help="0 takes a free one.")] = 8090,
    user: Annotated[str, typer.Option("--user", help="Whose token is shown.")] = "local",
    simulated: SimulatedOption = False,
) -> None:
    """Serve the HTTP API on 127.0.0.1 until Ctrl-C."""
    with _models(simulated), Host(data, port=port) as host:
        with host.client(user) as client:
            print(f"{host.url}/api/health\nheaders for {user}:")
            for name in ("x-origin-verify", "authorization"):
                print(f"  {name}: {client.headers[name]}")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


@contextlib.contextmanager
def _models(simulated: bool):  # type: ignore[no-untyped-def]
    if not simulated:
        if not os.environ.get("GEMINI_API_KEY"):
            print("mediaselect: set GEMINI_API_KEY, or use --simulated", file=sys.stderr)
            raise typer.Exit(2)
        yield
        return
    sys.path.insert(0, str(PROJECT / "simulators"))
    from geminisim import Gemini

    with Gemini() as gemini:
        os.environ.update(gemini.environment)
        yield


if __name__ == "__main__":
    app()
