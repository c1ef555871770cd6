"""From a folder to a Project."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import msgspec

from stepwell.functions.spec import MEGABYTE, FunctionSpec
from stepwell.language.diagnostics import DefinitionError, pointer_of
from stepwell.language.source import Source
from stepwell.language.source import load as load_source
from stepwell.project.code import find_fault
from stepwell.project.errors import Mistake, ProjectError
from stepwell.project.names import Names
from stepwell.project.places import KeyPath
from stepwell.project.project import DEFAULT_ENVIRONMENT, Environment, Machine, MachineSchedule, Project
from stepwell.project.reading import Document
from stepwell.project.references import Lookup, UnknownReference, replace, suggestion
from stepwell.project.schedules import Schedule, ScheduleError
from stepwell.project.schema import (
    AlarmDeclaration,
    FunctionDeclaration,
    LoggingDeclaration,
    MachineDeclaration,
    ScheduleDeclaration,
)

FILE = "stepwell.toml"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
_PROJECT_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
_LEVELS = ("ALL", "ERROR", "FATAL", "OFF")


def load_project(path: str | Path, environment: Environment | str | None = None) -> Project:
    """Load a project folder (or its stepwell.toml) for an environment (or the name of one; default ``dev``).

    Raises ProjectError with every mistake found: in stepwell.toml, in references, in handlers that do not exist. Definitions
    are read and substituted, not validated: `stepwell.language.validation` does that. Handler modules are not imported.
    """
    file = Path(path).absolute()
    if file.is_dir():
        file = file / FILE
    if not isinstance(environment, Environment):
        environment = Environment(name=environment or DEFAULT_ENVIRONMENT)
    return _Loading(file, environment).project()


class _Loading:
    """One run of `load_project`: collects mistakes as it goes, so that the user sees all of them at once."""

    def __init__(self, file: Path, environment: Environment) -> None:
        self.file = file
        self.directory = file.parent
        self.environment = environment
        self.document = Document(file, _read(file), environment.name, DEFAULT_ENVIRONMENT)
        self.mistake = self.document.mistake
        self.elsewhere: list[Mistake] = []
        """Mistakes in other files: definitions."""

    def project(self) -> Project:
        self._replace_variables()
        document = self.document
        declared = document.project()
        sections = {
            name: document.section(name)
            for name in (
                "machines",
                "functions",
                "buckets",
                "tables",
                "topics",
                "secrets",
                "queues",
                "workers",
                "alarms",
            )
        }
        if declared is not None and not _PROJECT_NAME.fullmatch(declared.name):
            self.mistake(
                ("project", "name"),
                f"{declared.name!r} is not a project name; use 1-40 lower-case letters, digits and hyphens, a letter first",
            )
        if declared is None:
            raise ProjectError(self._all_mistakes())
        names = Names(declared.name, self.environment, document.data.get("variables", {}), sections, document.broken)
        for section, entries in sections.items():
            for key in entries:
                self._check_name(section, key, names)
        source = (self.directory / declared.source).resolve()
        if not source.is_dir():
            self.mistake(("project", "source"), f"there is no folder {source}; it holds the Python packages")
        for key, table in sections["tables"].items():
            for path, keys in [
                (("key",), table.key),
                *((("indexes", i, "key"), d.key) for i, d in table.indexes.items()),
            ]:
                if not 1 <= len(keys) <= 2:
                    self.mistake(("tables", key, *path), "give one attribute (partition key) or two (and sort key)")
        resources = names.resources()
        project = Project(
            name=declared.name,
            description=declared.description,
            directory=self.directory,
            path=self.file,
            source=source,
            environment=self.environment,
            variables=self.document.data.get("variables", {}),
            machines={k: m for k, d in sections["machines"].items() if (m := self._machine(k, d, names))},
            functions={k: self._function(k, d, names, source, resources) for k, d in sections["functions"].items()},
            buckets=names.named("buckets"),
            tables=names.named("tables"),
            topics=names.named("topics"),
            secrets=names.named("secrets"),
            queues=names.named("queues"),
            workers=sections["workers"],
            alarms={k: self._alarm(k, d, names, sections) for k, d in sections["alarms"].items()},
            resources=resources,
        )
        mistakes = self._all_mistakes()
        if mistakes:
            raise ProjectError(mistakes)
        return project

    def _all_mistakes(self) -> list[Mistake]:
        own = sorted(self.document.mistakes, key=lambda mistake: mistake.line or 0)
        return own + self.elsewhere

    def _replace_variables(self) -> None:
        """``${variables.x}``, ``${env}`` and the like inside stepwell.toml itself; resources are not known yet."""
        data = self.document.data
        project = data.get("project")
        plain = Names(str((project or {}).get("name", "")), self.environment, {}, {})
        variables = data.get("variables", {})
        data["variables"] = replace(variables, _known(plain), self._report(("variables",)))
        known = Names(plain.project, self.environment, data["variables"], {})
        for section, value in data.items():
            if section != "variables":
                data[section] = replace(value, _deferring(known), self._report((section,)))

    def _report(self, prefix: KeyPath) -> Any:
        return lambda path, message: self.mistake((*prefix, *path), message)

    def _check_name(self, section: str, key: str, names: Names) -> None:
        name = names.name(section, key)
        if section in ("machines", "functions", "workers"):
            limit = 64 if section == "functions" else 80
            if not _NAME.fullmatch(name) or len(name) > limit:
                self.mistake(
                    (section, key), f"{name!r} is not a name; use 1-{limit} letters, digits, hyphens and underscores"
                )
        for other in names.keys(section):
            if other < key and names.name(section, other) == name:
                self.mistake((section, key, "name"), f"{section}.{other} is called {name!r} too; names are unique")

    # --- machines

    def _machine(self, key: str, declared: MachineDeclaration, names: Names) -> Machine | None:
        where: KeyPath = ("machines", key)
        path = self.directory / declared.definition
        logging = self._logging(where, declared)
        schedule = self._schedule(key, where, declared)
        _check_json(declared.input, (*where, "input"), self.mistake)
        source = self._definition(path, where)
        if source is None:
            return None
        variables = replace(declared.variables, names.look_up, self._report((*where, "variables")))
        definition = self._substituted(source, path, names.with_variables(variables))
        if declared.timeout is not None and isinstance(definition, dict):
            definition = {**definition, "TimeoutSeconds": int(declared.timeout)}
        name = names.name("machines", key)
        return Machine(
            key=key,
            name=name,
            arn=names.environment.arn("states", f"stateMachine:{name}"),
            type=declared.type,
            path=path,
            source=source,
            text=source.text,
            definition=definition,
            input=declared.input,
            schedule=schedule,
            logging=logging,
            tracing=declared.tracing,
            description=declared.description,
        )

    def _definition(self, path: Path, where: KeyPath) -> Source | None:
        try:
            return load_source(path)
        except DefinitionError as error:
            for found in error.diagnostics:
                self.elsewhere.append(
                    Mistake(path=path, key=found.pointer, message=found.message, line=found.line, column=found.column)
                )
        except FileNotFoundError:
            self.mistake((*where, "definition"), f"there is no file {path}; the path is relative to {FILE}")
        except OSError as error:
            self.mistake((*where, "definition"), f"{path} cannot be read: {error.strerror}")
        return None

    def _substituted(self, source: Source, path: Path, names: Names) -> Any:
        def report(place: KeyPath, message: str) -> None:
            pointer = pointer_of(place)
            line, column = source.place(pointer)
            self.elsewhere.append(Mistake(path=path, key=pointer, message=message, line=line, column=column))

        return replace(source.value, names.look_up, report)

    def _logging(self, where: KeyPath, declared: MachineDeclaration) -> LoggingDeclaration:
        logging = declared.logging
        if logging is None:
            return LoggingDeclaration()
        if isinstance(logging, LoggingDeclaration):
            return logging
        if logging not in _LEVELS:
            self.mistake((*where, "logging"), f"{logging!r} is not possible; use {', '.join(map(repr, _LEVELS))}")
            return LoggingDeclaration()
        return LoggingDeclaration(level=logging)  # type: ignore[arg-type]

    def _schedule(self, key: str, where: KeyPath, declared: MachineDeclaration) -> MachineSchedule | None:
        given = declared.schedule
        if given is None:
            return None
        where = (*where, "schedule")
        full = ScheduleDeclaration(expression=given) if isinstance(given, str) else given
        _check_json(full.input, (*where, "input"), self.mistake)
        try:
            schedule = Schedule.parse(full.expression, full.timezone)
        except ScheduleError as error:
            part = "timezone" if "time zone" in str(error) else "expression"
            self.mistake(where if isinstance(given, str) else (*where, part), str(error))
            return None
        return MachineSchedule(name=declared.name or key, schedule=schedule, declaration=full)

    # --- functions

    def _function(
        self, key: str, declared: FunctionDeclaration, names: Names, source: Path, resources: dict[str, Any]
    ) -> FunctionSpec:
        where: KeyPath = ("functions", key)
        if source.is_dir() and (fault := find_fault(declared.handler, source)):
            self.mistake((*where, "handler"), fault)
        if not 1 <= declared.timeout <= 900:
            self.mistake(
                (*where, "timeout"),
                f'{declared.timeout} s is not possible; use 1 s to "15m", and a worker for longer work',
            )
        memory = math.ceil(declared.memory / MEGABYTE)
        if not 128 <= memory <= 10240:
            self.mistake((*where, "memory"), f'{memory} MB is not possible; use "128MB" to "10GB"')
        if declared.concurrency < 1:
            self.mistake((*where, "concurrency"), f"{declared.concurrency} is not possible; use 1 or more")
        if declared.dead_letter is not None and not names.declares("queues", declared.dead_letter):
            self.mistake(
                (*where, "dead_letter"),
                f"there is no [queues.{declared.dead_letter}]{_queues(declared.dead_letter, names)}",
            )
        environment = {
            "STEPWELL_PROJECT": names.project,
            "STEPWELL_ENV": self.environment.name,
            "STEPWELL_RESOURCES": msgspec.json.encode(resources).decode(),
        }
        given = replace(dict(declared.environment), names.look_up, self._report((*where, "environment")))
        for name, value in given.items():
            environment[name] = ("true" if value else "false") if isinstance(value, bool) else str(value)
        name = names.name("functions", key)
        return FunctionSpec(
            name=name,
            handler=declared.handler,
            code=source,
            memory_mb=memory,
            timeout=float(declared.timeout),
            environment=environment,
            concurrency=max(1, declared.concurrency),
            inline=declared.inline,
            arn=names.environment.arn("lambda", f"function:{name}"),
        )

    # --- alarms

    def _alarm(
        self, key: str, declared: AlarmDeclaration, names: Names, sections: dict[str, dict[str, Any]]
    ) -> AlarmDeclaration:
        where: KeyPath = ("alarms", key)
        changes: dict[str, Any] = {
            "name": names.name("alarms", key),
            "dimensions": replace(declared.dimensions, names.look_up, self._report((*where, "dimensions"))),
        }
        for topic in declared.topics:
            if not names.declares("topics", topic):
                self.mistake(
                    (*where, "topics"), f"there is no [topics.{topic}]{suggestion(topic, list(sections['topics']))}"
                )
        subjects = [kind for kind in ("function", "machine", "queue") if getattr(declared, kind) is not None]
        if len(subjects) > 1 or (declared.namespace is None) == (not subjects):
            self.mistake(where, "give the metric's namespace, or one of function, machine and queue")
            return declared
        for subject in subjects:
            wanted = getattr(declared, subject)
            if not names.declares(f"{subject}s", wanted):
                known = suggestion(wanted, list(sections[f"{subject}s"]))
                self.mistake((*where, subject), f"there is no [{subject}s.{wanted}]{known}")
                continue
            if wanted not in sections[f"{subject}s"]:
                continue
            namespace, dimension, value = names.own_metric(subject, wanted)
            changes["namespace"] = namespace
            changes["dimensions"] = {dimension: value, **changes["dimensions"]}
        return msgspec.structs.replace(declared, **changes)


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except FileNotFoundError:
        message = f"there is no {FILE} here; give a project's folder, or make one with `stepwell init`"
    except UnicodeDecodeError as error:
        message = f"the file is not UTF-8 (byte {error.start})"
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    raise ProjectError([Mistake(path=file, key="", message=message)])


def _known(names: Names) -> Lookup:
    return names.look_up


def _deferring(names: Names) -> Lookup:
    """Replaces variables and the environment's words, and leaves references to resources for later."""

    def look_up(reference: str) -> Any:
        if reference.partition(".")[0] in Names.RESOURCES:
            return "${" + reference + "}"
        return names.look_up(reference)

    return look_up


def _queues(wanted: str, names: Names) -> str:
    return suggestion(wanted, names.keys("queues"))


def _check_json(value: Any, path: KeyPath, mistake: Any) -> None:
    """TOML has values that JSON has not: dates, infinity."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_json(item, (*path, key), mistake)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_json(item, (*path, index), mistake)
    elif isinstance(value, float) and not math.isfinite(value):
        mistake(path, f"JSON has no {value}")
    elif not isinstance(value, str | int | float | bool | None):
        mistake(path, f"JSON has no dates; put {value} in quotes")


__all__ = ["FILE", "UnknownReference", "load_project"]
