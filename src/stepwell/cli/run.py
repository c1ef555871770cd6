"""`stepwell run`: one execution, in this process, durable, with its progress."""

from __future__ import annotations

import asyncio
import json as jsonlib
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepwell.cli.output import INTERRUPTED, STATUS_CODES, UNUSABLE, Problem, pretty, print_json, read_input
from stepwell.cli.progress import Progress
from stepwell.cli.target import DataOption, data_directory

if TYPE_CHECKING:
    from stepwell.engine import Engine, ExecutionRecord, Machine
    from stepwell.engine.handles import Execution


def command(
    source: Annotated[Path, typer.Argument(help="A project folder, or a definition (*.asl.json, *.asl.yaml).")],
    machine: Annotated[str | None, typer.Argument(help="The project's machine, if it has several.")] = None,
    input: Annotated[
        str | None, typer.Option("--input", help="JSON, @FILE, or - for stdin. Default: the project's, or {}.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Execution name; a running one of that name is continued.")
    ] = None,
    data: DataOption = None,
    environment: Annotated[str | None, typer.Option("--env", help="The project's environment. Default: dev.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON; progress goes to stderr.")] = False,
) -> None:
    """Run a state machine and show its progress.

    Everything is written to the data directory before it counts. Interrupted or killed, the execution continues with the same command and
    --name NAME. Exit codes: 0 succeeded, 1 failed, 2 wrong call or file, 3 timed out, 4 aborted, 5 unusable directory, 130 interrupted.
    """
    text = None if input is None else read_input(input)
    if not source.exists():
        raise Problem(f"{source} does not exist; give a project folder or a definition file")
    is_project = source.is_dir() or source.name == "stepwell.toml"
    folder = source if source.is_dir() else source.parent
    directory = data_directory(data, folder if is_project else None)
    raise typer.Exit(_run(source, is_project, machine, text, name, directory, environment, json))


def _run(
    source: Path,
    is_project: bool,
    machine: str | None,
    text: str | None,
    name: str | None,
    directory: Path,
    environment: str | None,
    json: bool,
) -> int:
    from stepwell.api.listener import function_environment, listen
    from stepwell.engine import Engine
    from stepwell.engine.errors import EngineError

    async def main() -> int:
        # Workers that answer task tokens and presigned URLs need an address; a lone definition has neither.
        listener = listen("127.0.0.1", 0) if is_project else None
        told = None if listener is None else function_environment(listener)
        async with Engine.open(directory, environment=told) as engine, _answering(engine, listener):
            chosen, declared = await _machine(engine, source, is_project, machine, environment)
            given = declared if text is None else jsonlib.loads(text)
            execution = await _start(engine, chosen, given, name)
            return await _follow(execution, directory, json)

    try:
        return asyncio.run(main())
    except EngineError as error:
        raise Problem(str(error), UNUSABLE) from error


@asynccontextmanager
async def _answering(engine: Engine, listener: socket.socket | None) -> AsyncIterator[None]:
    """The Step Functions API on a free port of loopback, from the first connection on: most runs never need it."""
    if listener is None:
        yield
        return
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    serving: list[asyncio.Task[None]] = []

    async def answer() -> None:
        server = await asyncio.to_thread(import_module, "stepwell.api.server")
        await server.serve(engine, listener=listener, until=stop)

    def somebody_connects() -> None:
        loop.remove_reader(listener)
        serving.append(loop.create_task(answer()))

    loop.add_reader(listener, somebody_connects)
    try:
        yield
    finally:
        loop.remove_reader(listener)
        stop.set()
        await asyncio.gather(*serving)
        listener.close()


async def _machine(
    engine: Engine, source: Path, is_project: bool, wanted: str | None, environment: str | None
) -> tuple[Machine, Any]:
    """The machine, and the input it gets when none is given: the project's declared one, else `{}`."""
    from stepwell.language import DefinitionError

    try:
        if not is_project:
            if wanted:
                raise Problem(f"{source} is a definition; a machine's name ({wanted!r}) goes with a project folder")
            return await engine.load(source), {}
        from stepwell.project import Environment, ProjectError, load_project

        home = engine.arns  # an execution's functions and topics have the ARNs of the directory it runs in
        place = Environment.of(environment, account=home.account, region=home.region)
        try:
            project = load_project(source, place)
        except ProjectError as error:
            raise Problem(str(error)) from error
        machines = await engine.load_project(project, schedules=False)
    except DefinitionError as error:
        raise Problem(str(error)) from error
    if wanted is None and len(machines) == 1:
        wanted = next(iter(machines))
    if wanted in machines:
        declared = project.machines[wanted].input
        return machines[wanted], {} if declared is None else declared
    known = ", ".join(sorted(machines)) or "none"
    asked = "which machine?" if wanted is None else f"there is no machine {wanted!r}."
    raise Problem(f"{source}: {asked} It declares: {known}")


async def _start(engine: Engine, machine: Machine, input: Any, name: str | None) -> Execution:
    from stepwell.engine.errors import ApiError, ExecutionAlreadyExists

    if name:
        # The same command again after Ctrl-C or a kill: the execution is there, and has gone on since the directory was opened.
        arn = f"{machine.arn.replace(':stateMachine:', ':execution:')}:{name}"
        try:
            execution = engine.execution(arn)
        except ApiError:
            pass
        else:
            if execution.status == "RUNNING":
                return execution
    try:
        return await machine.start(input, name=name)
    except ExecutionAlreadyExists as error:
        raise Problem(f"an execution named {name!r} has ended already; choose another --name. ({error})")
    except ApiError as error:
        raise Problem(f"{type(error).__name__}: {error}")


async def _follow(execution: Execution, directory: Path, json: bool) -> int:
    loop = asyncio.get_running_loop()
    watching = asyncio.ensure_future(_watch(execution, json))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, watching.cancel)
    name = execution.arn.rsplit(":", 1)[1]
    try:
        await watching
    except asyncio.CancelledError:
        words = [word for word in sys.argv[1:] if word != "--name"]
        if name in words:
            words.remove(name)
        again = shlex.join(["stepwell", *words, "--name", name])
        print(f"\nInterrupted. Execution {name} is safe in {directory}; continue it with:\n  {again}", file=sys.stderr)
        return INTERRUPTED
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    record = execution.describe()
    _print_result(record, json)
    return STATUS_CODES.get(record.status, 1)


async def _watch(execution: Execution, json: bool) -> None:
    from rich.console import Console

    console = Console(stderr=json)
    live = console.is_terminal
    progress = Progress()
    screen: AbstractContextManager[Any] = nullcontext()
    if live:
        from rich.live import Live

        screen = Live(console=console, get_renderable=progress.table, refresh_per_second=8)
    else:
        console = Console(stderr=json, width=200, soft_wrap=True)
        console.print(f"execution {execution.arn}", highlight=False)
    with screen:
        async for event in execution.events():
            line = progress.feed(event)
            if line and not live:
                console.print(f"{_offset(progress, event)}  {line}", highlight=False, markup=False)


def _offset(progress: Progress, event: dict[str, Any]) -> str:
    return f"{float(event['timestamp']) - progress.started:8.3f} s"


def _print_result(record: ExecutionRecord, json: bool) -> None:
    if json:
        import msgspec

        answer = msgspec.to_builtins(record)
        for key in ("input", "output"):
            if isinstance(answer.get(key), str):
                answer[key] = jsonlib.loads(answer[key])
        print_json(answer)
        return
    print(f"{record.status}  {record.execution_arn}")
    for title, text in (("error", record.error), ("cause", record.cause)):
        if text:
            print(f"{title}: {text}", file=sys.stderr)
    if record.output is not None:
        print(pretty(record.output))
