"""The registry of state machines: revisions, versions, aliases, tags."""

from __future__ import annotations

import builtins
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from stepwell.engine.aliases import Aliases
from stepwell.engine.arns import check_name, parse
from stepwell.engine.clock import Clock
from stepwell.engine.errors import (
    ConflictException,
    ExecutionDoesNotExist,
    InvalidArn,
    InvalidDefinition,
    InvalidLoggingConfiguration,
    MissingRequiredParameter,
    ResourceNotFound,
    ServiceQuotaExceededException,
    StateMachineAlreadyExists,
    StateMachineDeleting,
    StateMachineDoesNotExist,
    TooManyTags,
    ValidationException,
)
from stepwell.engine.journal import Journal
from stepwell.engine.paging import page
from stepwell.engine.records import (
    Page,
    StateMachineCreated,
    StateMachineListItem,
    StateMachineOfExecution,
    StateMachineRecord,
    StateMachineUpdated,
    VersionListItem,
    VersionPublished,
)
from stepwell.engine.registry import (
    MachineDocument,
    Registry,
    RevisionDocument,
    VersionDocument,
    check_definition,
)

__all__ = ["Machines", "merge_tags"]

DEFINITION_LIMIT = 1024 * 1024
TAG_LIMIT = 50
VERSION_LIMIT = 1000


class Machines(Aliases):
    """`engine.machines`. Changes are on disk when a method returns. ARNs may name a version or an alias where AWS allows it."""

    def __init__(
        self,
        registry: Registry,
        journal: Journal,
        clock: Clock,
        is_running: Callable[[str], bool],
        has_log_group: Callable[[str], Awaitable[bool]],
    ) -> None:
        """`has_log_group` says whether there may be a log group of an ARN."""
        self._has_log_group = has_log_group
        self._registry = registry
        self._journal = journal
        self._clock = clock
        self._is_running = is_running

    # -- state machines

    async def create(
        self,
        name: str,
        definition: str,
        role_arn: str,
        *,
        type: str = "STANDARD",
        logging_configuration: Mapping[str, Any] | None = None,
        tracing_configuration: Mapping[str, Any] | None = None,
        encryption_configuration: Mapping[str, Any] | None = None,
        tags: Sequence[Mapping[str, str]] = (),
        publish: bool = False,
        version_description: str | None = None,
        needs_log_group: bool = True,
    ) -> StateMachineCreated:
        """CreateStateMachine. The same request again gives the same answer; role and tags may differ, as on AWS.

        Raises InvalidName, InvalidArn, InvalidDefinition, InvalidLoggingConfiguration, StateMachineAlreadyExists,
        StateMachineDeleting, ValidationException, TooManyTags.
        """
        self._journal.check()
        await self._check_destination(logging_configuration)
        check_name(name)
        if type not in ("STANDARD", "EXPRESS"):
            raise ValidationException(
                f"1 validation error detected: Value '{type}' at 'type' failed to satisfy constraint: "
                "Member must satisfy enum value set: [STANDARD, EXPRESS]"
            )
        if version_description is not None and not publish:
            raise ValidationException("Version description can only be set when publish is true")
        _check_role(role_arn)
        now = self._clock.now()
        revision = RevisionDocument(
            machine=name,
            type=type,
            created=now,
            definition=definition,
            role_arn=role_arn,
            logging=_logging(logging_configuration, needs_log_group),
            tracing=_tracing(tracing_configuration),
            encryption=dict(encryption_configuration) if encryption_configuration else None,
        )
        arn = self._registry.arns.machine(name)
        machine = self._registry.machines.get(name)
        if machine is not None:
            if machine.status == "DELETING":
                raise StateMachineDeleting(arn)
            created_alike = (machine.published_at_creation, machine.creation_description) == (
                publish,
                version_description,
            )
            if not created_alike or not _alike(self._registry.revision(machine.revision), revision):
                raise StateMachineAlreadyExists(arn)
        else:
            _check_definition(definition, type)
            machine = MachineDocument(
                name=name,
                type=type,
                created=now,
                revision=self._registry.add_revision(revision),
                published_at_creation=publish,
                creation_description=version_description,
                tags=merge_tags({}, tags),
            )
            self._registry.put_machine(machine)
            if publish:
                self._publish(machine, version_description)
        await self._journal.committed()
        return StateMachineCreated(
            state_machine_arn=arn,
            creation_date=machine.created / 1000,
            state_machine_version_arn=self._registry.arns.machine(name, 1) if publish else None,
        )

    async def update(
        self,
        state_machine_arn: str,
        *,
        definition: str | None = None,
        role_arn: str | None = None,
        logging_configuration: Mapping[str, Any] | None = None,
        tracing_configuration: Mapping[str, Any] | None = None,
        encryption_configuration: Mapping[str, Any] | None = None,
        publish: bool = False,
        version_description: str | None = None,
        needs_log_group: bool = True,
    ) -> StateMachineUpdated:
        """UpdateStateMachine: a new revision if anything changed; running executions keep theirs."""
        self._journal.check()
        await self._check_destination(logging_configuration)
        machine = self._active(state_machine_arn)
        given = (definition, role_arn, logging_configuration, tracing_configuration, encryption_configuration)
        if all(value is None for value in given):
            raise MissingRequiredParameter(
                "Either the definition, the role ARN, the LoggingConfiguration, or the TracingConfiguration must be specified"
            )
        if version_description is not None and not publish:
            raise ValidationException("Version description can only be set when publish is true")
        old = self._registry.revision(machine.revision)
        if definition is not None:
            _check_definition(definition, machine.type)
        if role_arn is not None:
            _check_role(role_arn)
        now = self._clock.now()
        new = RevisionDocument(
            machine=machine.name,
            type=machine.type,
            created=now,
            uuid=str(uuid.uuid4()),
            definition=old.definition if definition is None else definition,
            role_arn=old.role_arn if role_arn is None else role_arn,
            logging=old.logging if logging_configuration is None else _logging(logging_configuration, needs_log_group),
            tracing=old.tracing if tracing_configuration is None else _tracing(tracing_configuration),
            encryption=old.encryption if encryption_configuration is None else dict(encryption_configuration),
        )
        if new.role_arn != old.role_arn or not _alike(old, new):
            machine.revision = self._registry.add_revision(new)
            self._registry.put_machine(machine)
        else:
            new = old
        version = self._publish(machine, version_description) if publish else None
        await self._journal.committed()
        arns = self._registry.arns
        return StateMachineUpdated(
            update_date=now / 1000,
            revision_id=new.uuid,
            state_machine_version_arn=arns.machine(machine.name, version.number) if version else None,
        )

    async def _check_destination(self, configuration: Mapping[str, Any] | None) -> None:
        """Look for the log group of a configuration that logs anything. Raises InvalidLoggingConfiguration."""
        logging = _logging(configuration, False)
        for destination in logging.get("destinations") or () if logging["level"] != "OFF" else ():
            if not await self._has_log_group(destination["cloudWatchLogsLogGroup"]["logGroupArn"]):
                raise InvalidLoggingConfiguration("Log Destination not found.")

    def describe(self, arn: str, *, metadata_only: bool = False) -> StateMachineRecord:
        """DescribeStateMachine of a state machine, a version, or a map state (`name/label`)."""
        parsed = parse(arn, "stateMachine")
        name, _, label = parsed.parts[0].partition("/")
        machine = self._registry.machines.get(name)
        if machine is None or not arn.startswith(self._registry.arns.machine(name)) or len(parsed.parts) > 2:
            raise StateMachineDoesNotExist(arn)
        number, created, description = machine.revision, machine.created, None
        if len(parsed.parts) == 2:
            qualifier = parsed.parts[1]
            alias = self._registry.aliases[name].get(qualifier)
            if alias is not None:
                qualifier = str(max(alias.routing, key=alias.routing.__getitem__))
            version = self._registry.versions[name].get(int(qualifier)) if qualifier.isdecimal() else None
            if version is None:
                raise StateMachineDoesNotExist(arn)
            number, created, description = version.revision, version.created, version.description
        revision = self._registry.revision(number)
        return StateMachineRecord(
            state_machine_arn=arn,
            name=name,
            status=machine.status,
            definition="" if metadata_only else revision.definition,
            role_arn=revision.role_arn,
            type=machine.type,
            creation_date=created / 1000,
            logging_configuration=revision.logging,
            tracing_configuration=revision.tracing,
            encryption_configuration=revision.encryption,
            label=label or None,
            revision_id=revision.uuid,
            description=description,
        )

    def describe_for_execution(self, execution_arn: str, *, metadata_only: bool = False) -> StateMachineOfExecution:
        """DescribeStateMachineForExecution: what the execution started with, for the children of a map run their parent's."""
        parsed = parse(execution_arn, "execution")
        row = self._journal.find(*parsed.parts[:2]) if len(parsed.parts) == 2 else None
        if row is None or not execution_arn.startswith(self._registry.arns.prefix):
            raise ExecutionDoesNotExist(execution_arn)
        revision = self._registry.revision(row.revision)
        return StateMachineOfExecution(
            state_machine_arn=self._registry.arns.machine(row.resource),
            name=revision.machine,
            definition="" if metadata_only else revision.definition,
            role_arn=revision.role_arn,
            update_date=revision.created / 1000,
            logging_configuration=revision.logging,
            tracing_configuration=revision.tracing,
            encryption_configuration=revision.encryption,
            map_run_arn=row.map_run,
            label=row.resource.partition("/")[2] or None,
            revision_id=revision.uuid,
        )

    def list(self, *, max_results: int = 100, next_token: str | None = None) -> Page[StateMachineListItem]:
        """ListStateMachines, by name."""
        machines = self._registry.machines
        names, token = page(sorted(machines), str, max_results, next_token)
        items = [
            StateMachineListItem(
                state_machine_arn=self._registry.arns.machine(name),
                name=name,
                type=machines[name].type,
                creation_date=machines[name].created / 1000,
            )
            for name in names
        ]
        return Page(items, token)

    async def delete(self, arn: str) -> None:
        """DeleteStateMachine: new executions are refused at once, running ones finish. Deleting what is gone is no error."""
        self._journal.check()
        parsed = parse(arn, "stateMachine")
        machine = self._registry.machines.get(parsed.parts[0])
        if machine is not None and arn == self._registry.arns.machine(machine.name):
            if self._is_running(machine.name):
                machine.status = "DELETING"
                self._registry.put_machine(machine)
            else:
                self._registry.drop_machine(machine.name)
        await self._journal.committed()

    def ended(self, name: str) -> None:
        """The last running execution of a state machine ended: if it is being deleted, it goes."""
        machine = self._registry.machines.get(name)
        if machine is not None and machine.status == "DELETING":
            self._registry.drop_machine(name)

    def _active(self, arn: str) -> MachineDocument:
        machine = self._registry.machine(arn)
        if machine.status == "DELETING":
            raise StateMachineDeleting(arn)
        return machine

    # -- versions

    async def publish_version(
        self, arn: str, *, revision_id: str | None = None, description: str | None = None
    ) -> VersionPublished:
        """PublishStateMachineVersion. ConflictException when `revision_id` is not the current revision."""
        self._journal.check()
        machine = self._active(arn)
        current = self._registry.revision(machine.revision).uuid
        if revision_id is not None and revision_id != (current or "INITIAL"):
            raise ConflictException(
                f"Failed to publish the State Machine version for revision {revision_id}. "
                f"The current State Machine revision is {current or 'INITIAL'}."
            )
        version = self._publish(machine, description)
        await self._journal.committed()
        return VersionPublished(
            creation_date=version.created / 1000,
            state_machine_version_arn=self._registry.arns.machine(machine.name, version.number),
        )

    def _publish(self, machine: MachineDocument, description: str | None) -> VersionDocument:
        """Publish the current revision; the version it has already, if it has one."""
        versions = self._registry.versions[machine.name]
        latest = versions.get(machine.last_version)
        if latest is not None and latest.revision == machine.revision:
            return latest
        if len(versions) >= VERSION_LIMIT:
            raise ServiceQuotaExceededException(f"A state machine can have at most {VERSION_LIMIT} versions.")
        machine.last_version += 1
        version = VersionDocument(
            number=machine.last_version,
            revision=machine.revision,
            created=self._clock.now(),
            description=description,
        )
        self._registry.put_machine(machine)
        self._registry.put_version(machine.name, version)
        return version

    def list_versions(
        self, arn: str, *, max_results: int = 100, next_token: str | None = None
    ) -> Page[VersionListItem]:
        """ListStateMachineVersions, newest first. An unknown state machine has none."""
        parsed = parse(arn, "stateMachine")
        name = parsed.parts[0]
        versions = self._registry.versions.get(name, {})
        numbers, token = page(sorted(versions, reverse=True), str, max_results, next_token)
        items = [
            VersionListItem(
                state_machine_version_arn=self._registry.arns.machine(name, number),
                creation_date=versions[number].created / 1000,
            )
            for number in numbers
        ]
        return Page(items, token)

    async def delete_version(self, version_arn: str) -> None:
        """DeleteStateMachineVersion. ConflictException while an alias refers to it; deleting what is gone is no error."""
        self._journal.check()
        parsed = parse(version_arn, "stateMachine")
        if len(parsed.parts) != 2 or not parsed.parts[1].isdecimal():
            raise InvalidArn(f"Invalid State Machine Version Arn: {version_arn}")
        name, number = parsed.parts[0], int(parsed.parts[1])
        users = sorted(alias.name for alias in self._registry.aliases.get(name, {}).values() if number in alias.routing)
        if users:
            raise ConflictException(
                "Version to be deleted must not be referenced by an alias. "
                f"Current list of aliases referencing this version: [{', '.join(users)}]"
            )
        if name in self._registry.versions:
            self._registry.drop_version(name, number)
        await self._journal.committed()

    # -- tags

    async def tag(self, resource_arn: str, tags: Sequence[Mapping[str, str]]) -> None:
        """TagResource of a state machine or activity: `[{"key", "value"}]`. Raises ResourceNotFound, TooManyTags."""
        self._journal.check()
        self._set_tags(resource_arn, lambda old: merge_tags(old, tags))
        await self._journal.committed()

    async def untag(self, resource_arn: str, keys: Iterable[str]) -> None:
        """UntagResource."""
        self._journal.check()
        gone = set(keys)
        self._set_tags(resource_arn, lambda old: {key: value for key, value in old.items() if key not in gone})
        await self._journal.committed()

    def tags(self, resource_arn: str) -> builtins.list[dict[str, str]]:
        """ListTagsForResource."""
        found: dict[str, str] = {}
        self._set_tags(resource_arn, lambda old: found.update(old) or None)
        return [{"key": key, "value": value} for key, value in found.items()]

    def _set_tags(self, arn: str, change: Callable[[dict[str, str]], dict[str, str] | None]) -> None:
        parsed = parse(arn, "stateMachine", "activity")
        name = parsed.parts[0]
        if parsed.kind == "activity":
            activity = self._registry.activities.get(name)
            if activity is None:
                raise ResourceNotFound(f"Resource not found: '{arn}'", arn)
            tags = change(activity.tags)
            if tags is not None:
                activity.tags = tags
                self._registry.put_activity(activity)
            return
        machine = self._registry.machines.get(name)
        if machine is None or len(parsed.parts) != 1:
            raise ResourceNotFound(f"Resource not found: '{arn}'", arn)
        tags = change(machine.tags)
        if tags is not None:
            machine.tags = tags
            self._registry.put_machine(machine)


def _check_definition(definition: str, type: str) -> None:
    if len(definition.encode()) > DEFINITION_LIMIT:
        raise InvalidDefinition(
            f"Invalid State Machine Definition: 'Definition is longer than {DEFINITION_LIMIT} bytes'"
        )
    check_definition(definition, type)


def _check_role(arn: str) -> None:
    if not arn.startswith("arn:"):
        raise InvalidArn(f"Invalid ARN prefix: {arn}")


def _alike(old: RevisionDocument, new: RevisionDocument) -> bool:
    """Whether CreateStateMachine takes them for the same: everything but the role."""
    return (old.definition, old.type, old.logging, old.tracing, old.encryption) == (
        new.definition,
        new.type,
        new.logging,
        new.tracing,
        new.encryption,
    )


def _logging(given: Mapping[str, Any] | None, needs_log_group: bool = True) -> dict[str, Any]:
    """The logging configuration with AWS's defaults. Raises InvalidLoggingConfiguration."""
    configuration = {**(given or {})}
    configuration.setdefault("includeExecutionData", False)
    level = configuration.setdefault("level", "OFF")
    if level not in ("ALL", "ERROR", "FATAL", "OFF"):
        raise ValidationException(
            f"1 validation error detected: Value '{level}' at 'loggingConfiguration.level' failed to satisfy constraint: "
            "Member must satisfy enum value set: [ALL, ERROR, FATAL, OFF]"
        )
    destinations = configuration.get("destinations") or []
    if len(destinations) > 1 or (needs_log_group and level != "OFF" and not destinations):
        raise InvalidLoggingConfiguration("Must specify exactly one Log Destination.")
    for destination in destinations:
        arn = (destination.get("cloudWatchLogsLogGroup") or {}).get("logGroupArn") or ""
        if not arn.startswith("arn:") or not arn.endswith(":*"):
            raise InvalidLoggingConfiguration("Log Destination must be the ARN of a log group, ending with ':*'.")
    return configuration


def _tracing(given: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"enabled": bool((given or {}).get("enabled", False))}


def merge_tags(old: dict[str, str], tags: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Tags with others added: `[{"key", "value"}]`. Raises TooManyTags."""
    merged = {**old, **{tag["key"]: tag.get("value", "") for tag in tags}}
    if len(merged) > TAG_LIMIT:
        raise TooManyTags(f"a resource can have at most {TAG_LIMIT} tags")
    return merged
