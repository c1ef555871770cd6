"""Whose a data directory is: the partition, region and account of its ARNs.

They are journaled with the first opening, because ARNs are in what is kept and handed out (task tokens, map runs, results): with another
account they would name nothing any more.
"""

from __future__ import annotations

from pathlib import Path

import orjson

from stepwell.engine.arns import Arns
from stepwell.engine.errors import EngineError
from stepwell.engine.journal import FILE, Journal

__all__ = ["ACCOUNT", "PARTITION", "REGION", "OtherHome", "home_of", "settle"]

PARTITION, REGION = "aws", "us-east-1"
ACCOUNT = "000000000000"
"""As most emulators of AWS call themselves: ARNs agree with theirs in whatever order they are started."""
_KEY = ("engine", "home")


class OtherHome(EngineError):
    """The data directory belongs to another account, region or partition than the one asked for."""


def home_of(directory: Path) -> Arns | None:
    """Whose a data directory is; None when there is none yet. Raises JournalError."""
    if not (directory / FILE).exists():
        return None
    journal = Journal(directory, read_only=True)
    try:
        return _stored(journal)
    finally:
        journal._abandon()


def settle(journal: Journal, partition: str | None, region: str | None, account: str | None) -> Arns:
    """The ARNs of a directory that is being opened: those it has, else those asked for. Raises OtherHome where both disagree."""
    stored = _stored(journal)
    if stored is None:
        arns = Arns(partition or PARTITION, region or REGION, account or ACCOUNT)
        if not journal.read_only:
            journal.put(*_KEY, orjson.dumps([arns.partition, arns.region, arns.account]))
        return arns
    for what, asked, found in (
        ("account", account, stored.account),
        ("region", region, stored.region),
        ("partition", partition, stored.partition),
    ):
        if asked is not None and asked != found:
            raise OtherHome(
                f"the data directory {journal.directory} belongs to the {what} {found}, not {asked}; leave the {what} out, or use "
                "another directory"
            )
    return stored


def _stored(journal: Journal) -> Arns | None:
    data = journal.document(*_KEY)
    return None if data is None else Arns(*orjson.loads(data))
