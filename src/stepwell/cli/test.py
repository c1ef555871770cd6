"""`stepwell test`: one state by itself, as the TestState API does."""

from __future__ import annotations

import asyncio
import json as jsonlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stepwell.cli.output import UNUSABLE, Problem, pretty, print_json, read_input
from stepwell.cli.target import JsonOption

if TYPE_CHECKING:
    from stepwell.engine import Engine
    from stepwell.project import Project

_CODES = {"SUCCEEDED": 0, "CAUGHT_ERROR": 0, "RETRIABLE": 1, "FAILED": 1}


def command(
    source: Annotated[Path, typer.Argument(help="A project folder, or a definition (*.asl.json, *.asl.yaml).")],
    state: Annotated[str, typer.Argument(help="The state's name.")],
    machine: Annotated[str | None, typer.Option("--machine", help="The project's machine, if it has several.")] = None,
    input: Annotated[str | None, typer.Option("--input", help="JSON, @FILE, or - for stdin.")] = None,
    mock: Annotated[str | None, typer.Option("--mock", help="The task's result: JSON or @FILE.")] = None,
    error: Annotated[str | None, typer.Option("--error", help="The task fails with this error instead.")] = None,
    cause: Annotated[str | None, typer.Option("--cause", help="The cause that goes with --error.")] = None,
    variables: Annotated[str | None, typer.Option("--variables", help="Workflow variables: JSON or @FILE.")] = None,
    environment: Annotated[str | None, typer.Option("--env", help="The project's environment. Default: dev.")] = None,
    aws_endpoint: Annotated[
        str | None, typer.Option("--aws-endpoint", help="Where other AWS services are called. Default: AWS itself.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Test one state: what its input becomes at each step, its output, and where it goes next.

    A task without --mock or --error is really carried out. Exit codes: 0 it succeeded or its error was caught, 1 it failed or would
    be retried, 2 the call or a file is wrong.
    """
    if mock is not None and error is not None:
        raise Problem("--mock and --error exclude each other")
    if cause is not None and error is None:
        raise Problem("--cause goes with --error")
    parameters: dict[str, Any] = {
        "stateName": state,
        "input": read_input(input),
        "inspectionLevel": "DEBUG",
        "roleArn": "arn:aws:iam::000000000000:role/test",
    }
    if mock is not None:
        parameters["mock"] = {"result": read_input(mock)}
    elif error is not None:
        parameters["mock"] = {"errorOutput": {"error": error, **({"cause": cause} if cause is not None else {})}}
    if variables is not None:
        parameters["variables"] = read_input(variables)
    answer = _test(source, machine, environment, aws_endpoint, parameters)
    if json:
        print_json(answer)
    else:
        _print(answer)
    raise typer.Exit(_CODES.get(answer["status"], 1))


def _test(
    source: Path, machine: str | None, environment: str | None, aws_endpoint: str | None, parameters: dict[str, Any]
) -> dict[str, Any]:
    from stepwell.api.teststate import run_test
    from stepwell.engine import Engine
    from stepwell.engine.errors import ApiError, EngineError

    project = _project(source, environment)
    parameters["definition"] = _definition(source, project, machine)

    async def once() -> bytes:
        async with Engine.open(aws_endpoint=aws_endpoint) as engine:
            _register(engine, project)
            return await run_test(engine, parameters)

    try:
        answer: dict[str, Any] = jsonlib.loads(asyncio.run(once()))
    except ApiError as error:
        raise Problem(f"{error.code}: {error.message}") from error
    except EngineError as error:
        raise Problem(str(error), UNUSABLE) from error
    return answer


def _register(engine: Engine, project: Project | None) -> None:
    for function in project.functions.values() if project else ():
        engine.functions.register(function)


def _project(source: Path, environment: str | None) -> Project | None:
    if not source.exists():
        raise Problem(f"{source} does not exist; give a project folder or a definition file")
    if not source.is_dir() and source.name != "stepwell.toml":
        return None
    from stepwell.project import ProjectError, load_project

    try:
        return load_project(source, environment)
    except ProjectError as error:
        raise Problem(str(error)) from error


def _definition(source: Path, project: Project | None, machine: str | None) -> str:
    if project is None:
        from stepwell.language import DefinitionError, load

        try:
            return jsonlib.dumps(load(source).value)
        except DefinitionError as error:
            raise Problem(str(error)) from error
    known = ", ".join(sorted(project.machines)) or "none"
    if machine is None and len(project.machines) == 1:
        machine = next(iter(project.machines))
    if machine is None:
        raise Problem(f"{source}: which --machine? It declares: {known}")
    if machine not in project.machines:
        raise Problem(f"{source}: there is no machine {machine!r}. It declares: {known}")
    return jsonlib.dumps(project.machines[machine].definition)


def _print(answer: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    colour = "green" if _CODES.get(answer["status"]) == 0 else "red"
    following = f"  next: {answer['nextState']}" if answer.get("nextState") else ""
    console.print(f"[{colour}]{answer['status']}[/]{following}")
    for title in ("error", "cause"):
        if answer.get(title):
            console.print(f"{title}: {answer[title]}", markup=False)
    steps = {**answer.get("inspectionData", {}), "output": answer.get("output")}
    for title, value in steps.items():
        if value is not None:
            console.print(f"[bold]{title}[/]")
            console.print(pretty(value) if isinstance(value, str) else jsonlib.dumps(value, indent=2), markup=False)
