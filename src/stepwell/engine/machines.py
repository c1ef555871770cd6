"""The registry of state machines: revisions, versions, aliases, tags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stepwell.engine.records import (
    AliasRecord,
    Page,
    StateMachineCreated,
    StateMachineListItem,
    StateMachineOfExecution,
    StateMachineRecord,
    StateMachineUpdated,
    VersionListItem,
    VersionPublished,
)

__all__ = ["Machines"]


class Machines:
    """`engine.machines`. Changes are on disk when a method returns. ARNs may name a version or an alias where AWS allows it."""

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
    ) -> StateMachineCreated:
        """CreateStateMachine. The same request again gives the same answer; another one of that name is refused.

        Raises InvalidName, InvalidArn, InvalidDefinition, InvalidLoggingConfiguration, StateMachineAlreadyExists,
        ValidationException, TooManyTags.
        """
        raise NotImplementedError

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
    ) -> StateMachineUpdated:
        """UpdateStateMachine: a new revision; running executions keep theirs."""
        raise NotImplementedError

    def describe(self, arn: str, *, metadata_only: bool = False) -> StateMachineRecord:
        """DescribeStateMachine of a state machine, version, or map state (`...:name/label`)."""
        raise NotImplementedError

    def describe_for_execution(self, execution_arn: str, *, metadata_only: bool = False) -> StateMachineOfExecution:
        """DescribeStateMachineForExecution."""
        raise NotImplementedError

    def list(self, *, max_results: int = 100, next_token: str | None = None) -> Page[StateMachineListItem]:
        """ListStateMachines, by name."""
        raise NotImplementedError

    async def delete(self, arn: str) -> None:
        """DeleteStateMachine: new executions are refused at once, running ones finish. Deleting what is gone is no error."""
        raise NotImplementedError

    async def publish_version(
        self, arn: str, *, revision_id: str | None = None, description: str | None = None
    ) -> VersionPublished:
        """PublishStateMachineVersion. ConflictException when `revision_id` is not the current revision."""
        raise NotImplementedError

    def list_versions(
        self, arn: str, *, max_results: int = 100, next_token: str | None = None
    ) -> Page[VersionListItem]:
        """ListStateMachineVersions, newest first."""
        raise NotImplementedError

    async def delete_version(self, version_arn: str) -> None:
        """DeleteStateMachineVersion. ConflictException while an alias refers to it."""
        raise NotImplementedError

    async def create_alias(
        self, name: str, routing_configuration: Sequence[Mapping[str, Any]], *, description: str | None = None
    ) -> AliasRecord:
        """CreateStateMachineAlias. `routing_configuration` is one or two of {stateMachineVersionArn, weight}, 100 in sum."""
        raise NotImplementedError

    async def update_alias(
        self,
        alias_arn: str,
        *,
        routing_configuration: Sequence[Mapping[str, Any]] | None = None,
        description: str | None = None,
    ) -> AliasRecord:
        """UpdateStateMachineAlias."""
        raise NotImplementedError

    def describe_alias(self, alias_arn: str) -> AliasRecord:
        """DescribeStateMachineAlias."""
        raise NotImplementedError

    def list_aliases(self, arn: str, *, max_results: int = 100, next_token: str | None = None) -> Page[AliasRecord]:
        """ListStateMachineAliases of a state machine, or of a version."""
        raise NotImplementedError

    async def delete_alias(self, alias_arn: str) -> None:
        """DeleteStateMachineAlias. Deleting what is gone is no error."""
        raise NotImplementedError

    async def tag(self, resource_arn: str, tags: Sequence[Mapping[str, str]]) -> None:
        """TagResource of a state machine or activity: `[{"key", "value"}]`."""
        raise NotImplementedError

    async def untag(self, resource_arn: str, keys: Iterable[str]) -> None:
        """UntagResource."""
        raise NotImplementedError

    def tags(self, resource_arn: str) -> list[dict[str, str]]:
        """ListTagsForResource."""
        raise NotImplementedError
