"""What belongs to a data directory although nobody has given it yet: the functions and topics of its earlier runs.

An engine takes up its executions when it is opened, and learns its functions only afterwards, by `load` and `load_project`. A
task that comes in between must neither fail nor go to AWS: it waits for its function, and a topic is there from the start. So
the names of functions, and topics as a whole, are journaled when they are given.

    ("function", key)  owner: the project's name, or empty for one given to `load`
    ("topic", ARN)     {"owner", "name", "webhooks"}
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from stepwell.engine.journal import Journal
    from stepwell.functions.pool import FunctionPool
    from stepwell.functions.spec import FunctionSpec

__all__ = ["Belongings", "TopicRecord"]


class TopicRecord(msgspec.Struct, frozen=True):
    """A topic that is kept in this directory."""

    owner: str
    name: str
    webhooks: list[str]


class Belongings:
    """The functions and topics of one engine."""

    def __init__(self, journal: Journal, functions: FunctionPool) -> None:
        self._journal = journal
        self._functions = functions
        self._owners = {key: data.decode() for key, data in journal.documents("function")}
        self._topics = {arn: msgspec.json.decode(data, type=TopicRecord) for arn, data in journal.documents("topic")}
        for key in self._owners:
            functions.expect(key)

    @property
    def topics(self) -> dict[str, TopicRecord]:
        """Topics by ARN, with those of earlier runs."""
        return dict(self._topics)

    def give(self, owner: str, specs: Iterable[FunctionSpec]) -> None:
        """Register functions; a task that waits for one goes on."""
        for spec in specs:
            self._functions.register(spec)
            if self._owners.get(spec.key) != owner:
                self._owners[spec.key] = owner
                self._journal.put("function", spec.key, owner.encode())

    def give_topics(self, topics: dict[str, TopicRecord]) -> None:
        """Take topics, in place of those with their ARNs."""
        for arn, record in topics.items():
            if self._topics.get(arn) != record:
                self._topics[arn] = record
                self._journal.put("topic", arn, msgspec.json.encode(record))

    def drop_others(self, owner: str, functions: Iterable[str], topics: Iterable[str]) -> None:
        """Forget what the owner gave once and gives no more: nobody waits for it, and AWS may have it."""
        for key in {key for key, name in self._owners.items() if name == owner} - set(functions):
            del self._owners[key]
            self._functions.forget(key)
            self._journal.put("function", key, None)
        for arn in {arn for arn, record in self._topics.items() if record.owner == owner} - set(topics):
            del self._topics[arn]
            self._journal.put("topic", arn, None)
