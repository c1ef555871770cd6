"""What is registered: state machines with their revisions, versions and aliases, and activities, as the journal keeps them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec
import orjson

from stepwell.engine.arns import Arns, parse
from stepwell.engine.errors import InvalidDefinition, StateMachineDeleting, StateMachineDoesNotExist
from stepwell.engine.journal import Journal
from stepwell.language.model import Machine as CompiledMachine

__all__ = [
    "ActivityDocument",
    "AliasDocument",
    "MachineDocument",
    "Registry",
    "RevisionDocument",
    "Target",
    "VersionDocument",
]

COMPILED_LIMIT = 512
"""So many compiled definitions are kept."""


class _Document(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Kept as MessagePack; fields are only added, with a default. Times are milliseconds since the epoch."""


class MachineDocument(_Document):
    """A state machine. `revision` is its current one; `publish` and the description are those of its creation."""

    name: str
    type: str
    created: int
    revision: int
    status: str = "ACTIVE"
    last_version: int = 0
    published_at_creation: bool = False
    creation_description: str | None = None
    tags: dict[str, str] = {}


class RevisionDocument(_Document):
    """A definition with its role and configuration; never changed. `uuid` None marks the one a machine was created with."""

    machine: str
    type: str
    created: int
    definition: str
    role_arn: str
    uuid: str | None = None
    logging: dict[str, Any] = {}
    tracing: dict[str, Any] = {}
    encryption: dict[str, Any] | None = None


class VersionDocument(_Document):
    """A published revision."""

    number: int
    revision: int
    created: int
    description: str | None = None


class AliasDocument(_Document):
    """`routing` maps one or two version numbers to weights."""

    name: str
    routing: dict[int, int]
    created: int
    updated: int
    description: str | None = None


class ActivityDocument(_Document):
    """An activity."""

    name: str
    created: int
    tags: dict[str, str] = {}
    encryption: dict[str, Any] | None = None


class Target(msgspec.Struct, frozen=True):
    """What an execution is started from."""

    machine: MachineDocument
    revision: int
    version: int | None = None
    alias: str | None = None


class Registry:
    """The registry in memory, written through to the journal."""

    def __init__(self, journal: Journal, arns: Arns, random: Callable[[], float]) -> None:
        self.journal = journal
        self.arns = arns
        self._random = random
        self.machines: dict[str, MachineDocument] = {}
        self.versions: dict[str, dict[int, VersionDocument]] = {}
        self.aliases: dict[str, dict[str, AliasDocument]] = {}
        self.activities: dict[str, ActivityDocument] = {}
        self._revisions: OrderedDict[int, RevisionDocument] = OrderedDict()
        self._compiled: OrderedDict[tuple[int, str], CompiledMachine] = OrderedDict()
        decode = msgspec.msgpack.decode
        for _, data in journal.documents("machine"):
            machine = decode(data, type=MachineDocument)
            self.machines[machine.name] = machine
            self.versions[machine.name] = {}
            self.aliases[machine.name] = {}
        for key, data in journal.documents("version"):
            version = decode(data, type=VersionDocument)
            self.versions[key.rpartition(":")[0]][version.number] = version
        for key, data in journal.documents("alias"):
            alias = decode(data, type=AliasDocument)
            self.aliases[key.rpartition(":")[0]][alias.name] = alias
        for _, data in journal.documents("activity"):
            activity = decode(data, type=ActivityDocument)
            self.activities[activity.name] = activity
        last = journal.document("registry", "last_revision")
        self._last_revision = int(last) if last else 0

    # -- writing

    def put_machine(self, machine: MachineDocument) -> None:
        """Add or change a state machine."""
        self.machines[machine.name] = machine
        self.versions.setdefault(machine.name, {})
        self.aliases.setdefault(machine.name, {})
        self.journal.put("machine", machine.name, msgspec.msgpack.encode(machine))

    def drop_machine(self, name: str) -> None:
        """Remove a state machine with its versions and aliases. Its revisions stay: executions refer to them."""
        for number in list(self.versions.pop(name, {})):
            self.journal.put("version", f"{name}:{number}", None)
        for alias in list(self.aliases.pop(name, {})):
            self.journal.put("alias", f"{name}:{alias}", None)
        del self.machines[name]
        self.journal.put("machine", name, None)

    def add_revision(self, revision: RevisionDocument) -> int:
        """A new revision; gives its number."""
        self._last_revision += 1
        number = self._last_revision
        self.journal.put("revision", str(number), msgspec.msgpack.encode(revision))
        self.journal.put("registry", "last_revision", str(number).encode())
        self._remember(number, revision)
        return number

    def put_version(self, machine: str, version: VersionDocument) -> None:
        """Add a version."""
        self.versions[machine][version.number] = version
        self.journal.put("version", f"{machine}:{version.number}", msgspec.msgpack.encode(version))

    def drop_version(self, machine: str, number: int) -> None:
        """Remove a version."""
        if self.versions[machine].pop(number, None) is not None:
            self.journal.put("version", f"{machine}:{number}", None)

    def put_alias(self, machine: str, alias: AliasDocument) -> None:
        """Add or change an alias."""
        self.aliases[machine][alias.name] = alias
        self.journal.put("alias", f"{machine}:{alias.name}", msgspec.msgpack.encode(alias))

    def drop_alias(self, machine: str, name: str) -> None:
        """Remove an alias."""
        if self.aliases[machine].pop(name, None) is not None:
            self.journal.put("alias", f"{machine}:{name}", None)

    def put_activity(self, activity: ActivityDocument) -> None:
        """Add or change an activity."""
        self.activities[activity.name] = activity
        self.journal.put("activity", activity.name, msgspec.msgpack.encode(activity))

    def drop_activity(self, name: str) -> None:
        """Remove an activity."""
        if self.activities.pop(name, None) is not None:
            self.journal.put("activity", name, None)

    # -- reading

    def machine(self, arn: str) -> MachineDocument:
        """The state machine of an unqualified ARN of this account and region. Raises StateMachineDoesNotExist, InvalidArn."""
        parsed = parse(arn, "stateMachine")
        machine = self.machines.get(parsed.parts[0])
        if machine is None or len(parsed.parts) != 1 or arn != self.arns.machine(machine.name):
            raise StateMachineDoesNotExist(arn)
        return machine

    def target(self, arn: str) -> Target:
        """What to start for the ARN of a state machine, version or alias; an alias with two versions draws one."""
        prefix = self.arns.prefix + "stateMachine:"
        name = arn.removeprefix(prefix)
        machine = self.machines.get(name)  # the common case, without parsing
        if machine is None or name == arn:
            parsed = parse(arn, "stateMachine")
            machine = self.machines.get(parsed.parts[0])
            if machine is None or not arn.startswith(prefix) or len(parsed.parts) > 2:
                raise StateMachineDoesNotExist(arn)
            if machine.status == "DELETING":
                raise StateMachineDeleting(arn)
            return self._qualified(machine, arn, parsed.parts[1])
        if machine.status == "DELETING":
            raise StateMachineDeleting(arn)
        return Target(machine, machine.revision)

    def _qualified(self, machine: MachineDocument, arn: str, qualifier: str) -> Target:
        alias = self.aliases[machine.name].get(qualifier)
        if alias is not None:
            draw = self._random() * 100
            numbers = list(alias.routing)
            number = numbers[0] if draw < alias.routing[numbers[0]] else numbers[-1]
            return Target(machine, self.versions[machine.name][number].revision, number, qualifier)
        found = self.versions[machine.name].get(int(qualifier)) if qualifier.isdecimal() else None
        if found is None:
            raise StateMachineDoesNotExist(arn)
        return Target(machine, found.revision, found.number)

    def revision(self, number: int) -> RevisionDocument:
        """A revision by its number."""
        revision = self._revisions.get(number)
        if revision is None:
            data = self.journal.document("revision", str(number))
            if data is None:
                raise KeyError(f"the journal has no revision {number}")
            revision = msgspec.msgpack.decode(data, type=RevisionDocument)
            self._remember(number, revision)
        return revision

    def _remember(self, number: int, revision: RevisionDocument) -> None:
        self._revisions[number] = revision
        while len(self._revisions) > COMPILED_LIMIT:
            self._revisions.popitem(last=False)

    def compiled(self, number: int, pointer: str = "") -> CompiledMachine:
        """The compiled definition of a revision, or of the children of its distributed Map state at `pointer`."""
        key = (number, pointer)
        compiled = self._compiled.get(key)
        if compiled is None:
            if pointer:
                compiled = self.compiled(number).child(pointer)
            else:
                from stepwell.language.compiler import compile_machine

                compiled = compile_machine(orjson.loads(self.revision(number).definition))
            self._compiled[key] = compiled
            while len(self._compiled) > COMPILED_LIMIT:
                self._compiled.popitem(last=False)
        return compiled


def check_definition(definition: str, type: str) -> None:
    """Refuse a definition that AWS would refuse. Raises InvalidDefinition."""
    from stepwell.language.diagnostics import errors_of, invalid_definition_message
    from stepwell.language.validation import validate

    diagnostics = validate(definition, kind="EXPRESS" if type == "EXPRESS" else "STANDARD")
    if errors_of(diagnostics):
        raise InvalidDefinition(invalid_definition_message(diagnostics, definition), tuple(diagnostics))
