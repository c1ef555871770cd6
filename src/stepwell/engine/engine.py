"""The embedded host.

async with Engine.open("./data") as engine:
    machine = await engine.load("machine.asl.json", functions={"greet": greet})
    execution = await machine.start({"name": "Ada"}, name="first")
    async for event in execution.events():
        print(event["type"])
    result = await execution
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import orjson

from stepwell.engine.activities import Activities
from stepwell.engine.arns import Arns
from stepwell.engine.belongings import Belongings, TopicRecord
from stepwell.engine.callbacks import Callbacks
from stepwell.engine.clock import Clock, SystemClock
from stepwell.engine.dispatch import Dispatch, TaskRunner
from stepwell.engine.errors import EngineError, JournalError
from stepwell.engine.eventlog import EventLog
from stepwell.engine.executions import Executions
from stepwell.engine.handles import Execution, Machine
from stepwell.engine.home import settle
from stepwell.engine.host import Host, Observer
from stepwell.engine.journal import Durability, Journal
from stepwell.engine.machines import Machines
from stepwell.engine.mapruns import ItemPort, MapRuns
from stepwell.engine.metrics import Metrics
from stepwell.engine.recovery import Recovery
from stepwell.engine.registry import Registry
from stepwell.engine.retention import DAYS, Retention
from stepwell.engine.schedules import Schedules
from stepwell.engine.service import Service

if TYPE_CHECKING:
    from stepwell.engine.invocations import Invocations
    from stepwell.engine.mocking import Mocks
    from stepwell.engine.monitoring import Monitoring
    from stepwell.functions.pool import FunctionPool
    from stepwell.functions.uploads import Uploads
    from stepwell.project.project import Machine as ProjectMachine
    from stepwell.project.project import Project
    from stepwell.tasks.aws_clients import AwsClients
    from stepwell.tasks.dispatcher import Dispatcher
    from stepwell.tasks.lambdas import FunctionsOf
    from stepwell.tasks.ports import Executions as ExecutionsPort

__all__ = ["Engine", "Mode"]

Mode = Literal["run", "accept", "read"]


class Engine:
    """One journal, one event loop, everything that runs on them."""

    arns: Arns
    machines: Machines
    executions: Executions
    activities: Activities
    callbacks: Callbacks
    map_runs: MapRuns
    schedules: Schedules
    metrics: Metrics
    dispatcher: Dispatcher
    """Does the work of tasks; a `runner` given to `open` goes before it."""
    functions: FunctionPool
    """Runs this engine's functions; `register` adds one."""
    uploads: Uploads
    """The functions uploaded through the Lambda API."""
    invocations: Invocations
    """Asynchronous invocations of functions."""

    def __init__(
        self,
        directory: Path | None,
        *,
        mode: Mode,
        durability: Durability,
        arns: tuple[str | None, str | None, str | None],
        aws_endpoint: str | None,
        clock: Clock,
        runner: TaskRunner | None,
        functions: FunctionPool | None,
        items: ItemPort | None,
        retention_days: float,
        retention_count: int | None,
        mock_file: str | Path | None,
        environment: Mapping[str, str] | None,
    ) -> None:
        self.directory = directory
        self._home = arns
        self.clock = clock
        self.mode = mode
        self._durability: Durability = durability
        self._aws_endpoint = aws_endpoint
        self._runner = runner
        self._given_functions = functions
        self._items = items
        self._mock_file = mock_file
        self._environment = environment or {}
        self._retention = (retention_days, retention_count)
        self._clients: AwsClients | None = None
        self._dispatcher: Dispatcher | None = None
        self._open = False
        self.monitoring: Monitoring | None = None
        """Metrics and alarms of the loaded projects; None until one declares an alarm."""

    @classmethod
    def open(
        cls,
        directory: str | Path | None = None,
        *,
        mode: Mode = "run",
        durability: Durability = "process",
        account: str | None = None,
        region: str | None = None,
        partition: str | None = None,
        aws_endpoint: str | None = None,
        clock: Clock | None = None,
        runner: TaskRunner | None = None,
        functions: FunctionPool | None = None,
        items: ItemPort | None = None,
        retention_days: float = DAYS,
        retention_count: int | None = None,
        mock_file: str | Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Engine:
        """An engine on a data directory (made if absent), or in memory without one. Use it as `async with`.

        mode: "run" runs executions. "accept" takes starts, stops, callbacks and redrives, and carries out nothing: it goes on
            when the directory is opened to run. "read" only looks; it needs no lock, so another process may run the directory.
        durability: "process": what was acknowledged survives `kill -9` and a crash of the program at any moment; a power loss or a
            crash of the kernel may take the last commits, never the consistency. "power": every commit waits for the disk.
        account, region, partition: of its ARNs. A directory keeps those it was made with (at first 000000000000, us-east-1, aws).
        retention_days: closed executions are deleted so long after their end.
        retention_count: only so many executions are kept, the newest by their start, besides those that are open.
        clock, runner, functions, items: replaced by tests; the defaults are the system's clock and `stepwell.tasks`.
        mock_file: a mock configuration file of Step Functions Local (see `stepwell.engine.mockfile`), for `ARN#TestCase`.
        environment: variables that every function gets beneath its own.

        Raises, on entering, OtherHome, MockFileError, DirectoryInUse, JournalTooNew, JournalCorrupt, JournalBusy, JournalFull or
        JournalError.
        """
        return cls(
            None if directory is None else Path(directory),
            mode=mode,
            durability=durability,
            arns=(partition, region, account),
            aws_endpoint=aws_endpoint,
            clock=SystemClock() if clock is None else clock,
            runner=runner,
            functions=functions,
            items=items,
            retention_days=retention_days,
            retention_count=retention_count,
            mock_file=mock_file,
            environment=environment,
        )

    # -- opening and closing

    async def __aenter__(self) -> Engine:
        self.journal = Journal(self.directory, durability=self._durability, read_only=self.mode == "read")
        try:
            self.arns = settle(self.journal, *self._home)
            await self._assemble()
        except BaseException:
            await self.journal.close()
            raise
        self._open = True
        return self

    async def _assemble(self) -> None:
        journal, clock = self.journal, self.clock
        self.metrics = Metrics()
        registry = self.registry = Registry(journal, self.arns, random.random)
        host = self._host = Host(journal, registry, clock, self.metrics)
        recovery = host.recovery = Recovery(host, journal, registry)
        event_log = self._make_log()
        self.machines = Machines(registry, journal, clock, lambda name: name in host.running, event_log.has_group)
        self.activities = Activities(host, registry, clock)
        self.map_runs = MapRuns(host, journal, registry, clock, self._items or self._make_items())
        self.executions = Executions(host, journal, registry, clock, recovery)
        self.callbacks = Callbacks(host)
        self.schedules = Schedules(journal, clock, self.executions)
        host.on_end.append(lambda live: self.machines.ended(live.resource))
        if self.mode != "read":
            host.log = event_log
        if self.mode != "run":
            return
        mocks = self.executions.mocks = self._read_mocks()
        await self._start_functions()
        self.dispatcher = self._dispatcher = self._make_dispatcher()
        self._belongings = Belongings(journal, self.functions)
        self._add_topics()
        runner = self._runner or self.dispatcher
        host.outside = Dispatch(host, clock, runner, self.activities, self.map_runs, mocks)
        await recovery.recover()
        self.invocations.start()
        self.schedules.start()
        self.retention = Retention(journal, clock, *self._retention)
        self.retention.start()

    def _read_mocks(self) -> Mocks | None:
        if self._mock_file is None:
            return None
        from stepwell.engine.mocking import Mocks

        mocks = Mocks(Path(self._mock_file), self.journal)
        self._host.on_end.append(mocks.ended)
        return mocks

    async def _start_functions(self) -> None:
        await self._open_pool()
        # Before recovery: its tasks may be calls of uploaded functions.
        from stepwell.functions.uploads import Uploads

        self.uploads = Uploads(None if self.directory is None else self.directory / "lambda")
        for spec in self.uploads.specs():
            self.functions.register(spec)
        from stepwell.engine.invocations import Invocations
        from stepwell.tasks.destinations import Destinations

        destinations = Destinations(
            self.uploads, self.aws(), lambda arn, event, call: self.invocations.accept(arn, event, call=call)
        )
        self.invocations = Invocations(self.journal, self.clock, self.functions, destinations)

    async def _open_pool(self) -> None:
        if self._given_functions is not None:
            self.functions = self._given_functions
            return
        from stepwell.functions.logs import LogStore
        from stepwell.functions.pool import FunctionPool

        logs = None if self.directory is None else LogStore(self.directory / "logs")
        arns = self.arns
        # Where the toolkit's embedded ports have their data.
        data = {} if self.directory is None else {"STEPWELL_DATA": str(self.directory.absolute())}
        self.functions = FunctionPool(
            logs=logs,
            environment={**data, **self._environment},
            account=arns.account,
            region=arns.region,
            partition=arns.partition,
        )
        await self.functions.__aenter__()

    def _make_dispatcher(self) -> Dispatcher:
        from stepwell.tasks.dispatcher import Dispatcher
        from stepwell.tasks.lambdas import Functions

        functions = Functions(self.functions, self.invocations)
        return Dispatcher(functions=functions, executions=Service(self), aws=self.aws())

    def _make_items(self) -> ItemPort | None:
        if self.mode != "run":
            return None
        from stepwell.tasks.items import Items

        return Items(aws=self.aws(), data=self.directory)

    def _make_log(self) -> EventLog:
        from stepwell.tasks.cloudwatch_logs import CloudWatchLogs

        return EventLog(self.directory, CloudWatchLogs(self.aws()))

    def aws(self) -> AwsClients:
        """How this engine reaches AWS, or the emulator it was given."""
        from stepwell.tasks.aws_clients import AwsClients

        if self._clients is None:
            self._clients = AwsClients(endpoint=self._aws_endpoint, home_account=self.arns.account)
        return self._clients

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop in order: running tasks are cut off without an answer, and run again at the next start."""
        self._open = False
        try:
            if self.mode == "run":
                self.schedules.stop()
                self.retention.stop()
                if self.monitoring is not None:
                    await self.monitoring.close()
                self.dispatcher.detach()
                self._host.stop()
                await self._host.stopped()
                await self.invocations.stop()
                if self._given_functions is None:
                    await self.functions.close()
                self.uploads.close()
            await self._close_log()
            if self.mode == "run":
                await self.dispatcher.close()
            if self._clients is not None:
                await self._clients.close()
        finally:
            await self.journal.close()

    async def _close_log(self) -> None:
        if self._host.log is not None:
            with contextlib.suppress(JournalError):
                await self.journal.committed()  # what is logged was committed
            await self._host.log.close()
            self._host.log = None

    def bind(self, service: ExecutionsPort, functions_of: FunctionsOf | None = None) -> None:
        """Let executions reach the Step Functions service through `service` instead of this engine's own small one.

        `functions_of` gives the functions of another account.
        """
        if self._dispatcher is not None:
            self._dispatcher.bind(service, functions_of)

    # -- loading

    async def load(
        self,
        definition: str | Path | Mapping[str, Any],
        *,
        name: str | None = None,
        type: Literal["STANDARD", "EXPRESS"] = "STANDARD",
        functions: Mapping[str, Callable[..., Any]] | None = None,
        substitutions: Mapping[str, str] | None = None,
        role_arn: str | None = None,
    ) -> Machine:
        """Register a definition (a file's path, or a dict): create it, or update the one of that name.

        `${name}` in its strings is replaced from `substitutions`. `functions` run inline, in this process; `${name}` of each is
        its ARN. The name defaults to the file's, without `.asl.json`; a dict is called "machine".
        Raises DefinitionError with every finding and its place.
        """
        from stepwell.engine.loading import prepare

        for function, handler in (functions or {}).items():
            self._register_inline(function, handler)
        arns = {function: self.arns.function(function) for function in functions or {}}
        text, default_name = prepare(definition, {**arns, **(substitutions or {})}, type)
        return await self.register(name or default_name, text, type=type, role_arn=role_arn)

    async def register(
        self,
        name: str,
        definition: str,
        *,
        type: Literal["STANDARD", "EXPRESS"] | str = "STANDARD",
        role_arn: str | None = None,
        logging_configuration: Mapping[str, Any] | None = None,
        tracing_configuration: Mapping[str, Any] | None = None,
        needs_log_group: bool = True,
    ) -> Machine:
        """Create a state machine, or update the one of that name if anything differs. Raises InvalidDefinition.

        needs_log_group: False takes a logging level without a log group, as no AWS service does: what it asks for is written to
            the data directory.
        """
        arn = self.arns.machine(name)
        role = role_arn or self.arns.role("stepwell")
        existing = self.registry.machines.get(name)
        if existing is None:
            await self.machines.create(
                name,
                definition,
                role,
                type=type,
                logging_configuration=logging_configuration,
                tracing_configuration=tracing_configuration,
                needs_log_group=needs_log_group,
            )
        elif existing.type != type:
            raise EngineError(
                f"the state machine {name} is {existing.type} in this data directory and cannot become {type}; "
                "delete it first, or give it another name"
            )
        else:
            await self.machines.update(
                arn,
                definition=definition,
                role_arn=role,
                logging_configuration=logging_configuration,
                tracing_configuration=tracing_configuration,
                needs_log_group=needs_log_group,
            )
        return Machine(self, arn, type)

    def _register_inline(self, name: str, handler: Callable[..., Any]) -> None:
        from stepwell.functions.spec import FunctionSpec

        spec = FunctionSpec(name=name, handler=handler, inline=True, arn=self.arns.function(name))
        self._belongings.give("", [spec])

    async def load_project(self, project: Project, *, schedules: bool = True) -> dict[str, Machine]:
        """Register a project's machines, functions and (unless told not to) schedules; again is harmless.

        Gives its machines by their key in stepwell.toml. Raises DefinitionError.
        """
        from stepwell.engine.loading import check_file

        self._take(project)
        loaded: dict[str, Machine] = {}
        for key, declared in project.machines.items():
            check_file(declared.path, declared.definition, declared.type)
            loaded[key] = await self.register(
                declared.name,
                orjson.dumps(declared.definition).decode(),
                type=declared.type,
                logging_configuration={
                    "level": declared.logging.level,
                    "includeExecutionData": declared.logging.include_execution_data,
                },
                tracing_configuration={"enabled": declared.tracing},
                needs_log_group=False,
            )
        if schedules:
            for declared in project.machines.values():
                await self._load_schedule(declared)
        self._watch(project)
        return loaded

    def _watch(self, project: Project) -> None:
        """Count what alarms watch, and evaluate them, once a project declares one."""
        if self.mode != "run" or self.directory is None or not project.alarms:
            return
        if self.monitoring is None:
            from stepwell.engine.monitoring import Monitoring

            self.monitoring = Monitoring(self.directory, self.arns.machine(""))
            self._host.on_end.append(self.monitoring.execution_ended)
            self.functions.on_call = self.monitoring.function_called
        self.monitoring.add(project)

    def _take(self, project: Project) -> None:
        """Take a project's functions and topics, which may be waited for."""
        specs = project.functions.values()
        topics = {
            spec["arn"]: TopicRecord(
                project.name,
                spec["name"],
                [url for url in spec.get("subscriptions", ()) if url.startswith(("http://", "https://"))],
            )
            for spec in project.resources.get("topics", {}).values()
        }
        self._belongings.give_topics(topics)
        self._add_topics()
        self._belongings.give(project.name, specs)
        self._belongings.drop_others(project.name, [spec.key for spec in specs], topics)

    def _add_topics(self) -> None:
        """What machines publish to the projects' topics stays here, where their functions' notices go."""
        if self._dispatcher is None or self.directory is None:
            return
        from stepwell.toolkit.notices import LocalTopic

        self._dispatcher.add_topics(
            {
                arn: LocalTopic(self.directory, topic.name, webhooks=topic.webhooks, logged=False)
                for arn, topic in self._belongings.topics.items()
            }
        )

    async def _load_schedule(self, machine: ProjectMachine) -> None:
        if machine.schedule is None:
            return
        declaration = machine.schedule.declaration
        if not declaration.enabled:
            await self.schedules.delete(machine.schedule.name)
            return
        await self.schedules.put(
            machine.schedule.name,
            self.arns.machine(machine.name),
            machine.schedule.schedule,
            input=orjson.dumps(declaration.input),
            catch_up=declaration.catch_up,
            max_age=declaration.max_age,
        )

    # -- looking

    def machine(self, name_or_arn: str) -> Machine:
        """A registered machine. Raises StateMachineDoesNotExist."""
        arn = name_or_arn if name_or_arn.startswith("arn:") else self.arns.machine(name_or_arn)
        return Machine(self, arn, self.machines.describe(arn, metadata_only=True).type)

    def execution(self, arn: str) -> Execution:
        """An execution by its ARN. Raises ExecutionDoesNotExist."""
        self.executions.status(arn)
        return Execution(self, arn)

    def subscribe(self, observer: Observer) -> Callable[[], None]:
        """Call `observer(identity, events)` with each batch of committed history events; gives the unsubscriber.

        EXPRESS executions, whose history is kept nowhere, are seen too. Observers must be quick: they run on the loop.
        """
        self._host.observers.append(observer)
        return lambda: self._host.observers.remove(observer)

    @property
    def open_executions(self) -> int:
        """How many executions are open."""
        return sum(self._host.running.values())
