"""Aliases: names for one or two versions of a state machine, with weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stepwell.engine.arns import check_alias_name, parse
from stepwell.engine.clock import Clock
from stepwell.engine.errors import (
    ConflictException,
    ResourceNotFound,
    ServiceQuotaExceededException,
    StateMachineDoesNotExist,
    ValidationException,
)
from stepwell.engine.journal import Journal
from stepwell.engine.paging import page
from stepwell.engine.records import AliasRecord, Page
from stepwell.engine.registry import AliasDocument, MachineDocument, Registry

__all__ = ["Aliases"]

ALIAS_LIMIT = 100


class Aliases:
    """The part of `engine.machines` that is about aliases."""

    _registry: Registry
    _journal: Journal
    _clock: Clock

    async def create_alias(
        self, name: str, routing_configuration: Sequence[Mapping[str, Any]], *, description: str | None = None
    ) -> AliasRecord:
        """CreateStateMachineAlias. `routing_configuration` is one or two of {stateMachineVersionArn, weight}, 100 in sum."""
        self._journal.check()
        check_alias_name(name)
        machine, routing = self._routing(routing_configuration)
        aliases = self._registry.aliases[machine.name]
        alias = aliases.get(name)
        if alias is not None:
            if alias.routing != routing or alias.description != description:
                raise ConflictException(
                    f"State Machine Alias Already Exists: '{self._registry.arns.machine(machine.name, name)}'"
                )
        else:
            if len(aliases) >= ALIAS_LIMIT:
                raise ServiceQuotaExceededException(f"A state machine can have at most {ALIAS_LIMIT} aliases.")
            now = self._clock.now()
            alias = AliasDocument(name=name, routing=routing, created=now, updated=now, description=description)
            self._registry.put_alias(machine.name, alias)
        await self._journal.committed()
        return self._alias_record(machine.name, alias)

    async def update_alias(
        self,
        alias_arn: str,
        *,
        routing_configuration: Sequence[Mapping[str, Any]] | None = None,
        description: str | None = None,
    ) -> AliasRecord:
        """UpdateStateMachineAlias."""
        self._journal.check()
        name, alias = self._alias(alias_arn)
        if routing_configuration is None and description is None:
            raise ValidationException("Either the description or the routing configuration must be specified")
        if routing_configuration is not None:
            machine, alias.routing = self._routing(routing_configuration)
            if machine.name != name:
                raise ValidationException("The versions of an alias must belong to its state machine")
        if description is not None:
            alias.description = description
        alias.updated = self._clock.now()
        self._registry.put_alias(name, alias)
        await self._journal.committed()
        return self._alias_record(name, alias)

    def describe_alias(self, alias_arn: str) -> AliasRecord:
        """DescribeStateMachineAlias. Raises ResourceNotFound."""
        return self._alias_record(*self._alias(alias_arn))

    def list_aliases(self, arn: str, *, max_results: int = 100, next_token: str | None = None) -> Page[AliasRecord]:
        """ListStateMachineAliases of a state machine, or of a version: oldest first."""
        parsed = parse(arn, "stateMachine")
        name = parsed.parts[0]
        if name not in self._registry.machines or not arn.startswith(self._registry.arns.machine(name)):
            raise StateMachineDoesNotExist(arn)
        aliases = self._registry.aliases[name]
        chosen = sorted(aliases.values(), key=lambda alias: (alias.created, alias.name))
        if len(parsed.parts) == 2:
            chosen = [alias for alias in chosen if parsed.parts[1] in map(str, alias.routing)]
        items, token = page(chosen, lambda alias: alias.name, max_results, next_token)
        return Page([self._alias_record(name, alias) for alias in items], token)

    async def delete_alias(self, alias_arn: str) -> None:
        """DeleteStateMachineAlias. Deleting what is gone is no error."""
        self._journal.check()
        parsed = parse(alias_arn, "stateMachine")
        if len(parsed.parts) == 2 and parsed.parts[0] in self._registry.aliases:
            self._registry.drop_alias(parsed.parts[0], parsed.parts[1])
        await self._journal.committed()

    def _alias(self, arn: str) -> tuple[str, AliasDocument]:
        parsed = parse(arn, "stateMachine")
        alias = self._registry.aliases.get(parsed.parts[0], {}).get(parsed.parts[-1])
        if alias is None or len(parsed.parts) != 2:
            raise ResourceNotFound(resource=arn)
        return parsed.parts[0], alias

    def _routing(self, configuration: Sequence[Mapping[str, Any]]) -> tuple[MachineDocument, dict[int, int]]:
        if not 1 <= len(configuration) <= 2:
            raise ValidationException("The routing configuration of an alias must have 1 or 2 versions")
        routing: dict[int, int] = {}
        machine = None
        for entry in configuration:
            arn = str(entry["stateMachineVersionArn"])
            target = self._registry.target(arn)
            if target.version is None or target.alias is not None:
                raise ValidationException(f"The routing configuration must name versions, not '{arn}'")
            if machine is not None and machine is not target.machine:
                raise ValidationException("The versions of an alias must belong to one state machine")
            if target.version in routing:
                raise ValidationException("The routing configuration must not name a version twice")
            machine = target.machine
            routing[target.version] = int(entry["weight"])
        if machine is None or sum(routing.values()) != 100 or any(weight < 0 for weight in routing.values()):
            raise ValidationException("Sum of the weights in the routing configuration must be equal to 100")
        return machine, routing

    def _alias_record(self, machine: str, alias: AliasDocument) -> AliasRecord:
        arns = self._registry.arns
        return AliasRecord(
            state_machine_alias_arn=arns.machine(machine, alias.name),
            name=alias.name,
            routing_configuration=[
                {"stateMachineVersionArn": arns.machine(machine, number), "weight": weight}
                for number, weight in alias.routing.items()
            ],
            creation_date=alias.created / 1000,
            update_date=alias.updated / 1000,
            description=alias.description,
        )
