"""What operators do by hand: fresh cookies, a tidy tracker, a look at the library (section 13). `__main__` is their command line."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cloudsync.credentials import DEFAULT_USER_AGENT, cookie
from cloudsync.errors import AuthenticationError, TokenExpiredError, ValidationError
from cloudsync.keys import SOURCE_MEDIA_ID
from cloudsync.provider import Provider
from cloudsync.tracker import COMPLETED, SOURCE_DELETED
from stepwell.toolkit.objects import Bucket
from stepwell.toolkit.records import Item, Table
from stepwell.toolkit.secrets import SecretHandle


def read_cookies(text: str) -> str:
    """A Cookie header from what was copied out of a browser. Raises ValidationError without `gp_access_token`."""
    cookies = "".join(text.splitlines()).strip().removeprefix("Cookie:").strip()
    if not cookie(cookies, "gp_access_token"):
        raise ValidationError(
            "the file has no gp_access_token cookie; copy the whole Cookie header of a logged-in page"
        )
    return cookies


def update_credentials(
    cookies: str,
    secret: SecretHandle,
    service: Provider,
    *,
    ask: Callable[[str], bool],
    user_agent: str = DEFAULT_USER_AGENT,
    now: datetime | None = None,
) -> bool:
    """Write the secret after the service accepted the cookies, read it back and ask the service again; whether it was written.

    A refusal (401, 403) raises TokenExpiredError, and nothing is written; any other answer is for `ask` to decide. Raises
    AuthenticationError when what was read back does not work.
    """
    status = service.probe(cookies, user_agent)
    if status in (401, 403):
        raise TokenExpiredError(
            f"the service refuses these cookies (status {status}); log in again and copy fresh ones"
        )
    if status != 200 and not ask(f"The service answered {status or 'nothing'}. Store the cookies all the same?"):
        return False
    document = {
        "gp-access-token": cookie(cookies, "gp_access_token"),
        "cookies": cookies,
        "user-agent": user_agent,
        "last_updated": (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    secret.write(json.dumps(document))
    stored = secret.read().json()
    if stored.get("cookies") != cookies:
        raise AuthenticationError("the secret does not hold what was written to it")
    again = service.probe(stored["cookies"], stored["user-agent"])
    if again != status:
        raise AuthenticationError(f"the stored cookies do not work: status {again}, before it was {status}")
    return True


@dataclass(frozen=True)
class Proposal:
    """A record that should go, so that its item is archived again (or counted once)."""

    media_id: str
    reason: str
    s3_key: str | None


def reconcile(bucket: Bucket, table: Table, folder: str) -> list[Proposal]:
    """COMPLETED records that the archive does not bear out: without a key, without an object, or sharing another's key."""
    archived = {summary.key for summary in bucket.list(folder)}
    proposals: list[Proposal] = []
    by_key: dict[str, list[Item]] = defaultdict(list)
    for row in table.scan():
        if row.get("status") != COMPLETED or row.get("note") == SOURCE_DELETED:
            continue
        key = row.get("s3_key")
        if not key:
            proposals.append(Proposal(row["media_id"], "archived, but without a key", None))
        elif key not in archived:
            proposals.append(Proposal(row["media_id"], "the object is missing", key))
        else:
            by_key[key].append(row)
    for key, rows in by_key.items():
        if len(rows) > 1:
            owner = bucket.head(key).metadata.get(SOURCE_MEDIA_ID)
            rows.sort(key=lambda row: (row["media_id"] == owner, str(row.get("sync_timestamp", ""))))
            proposals += [
                Proposal(row["media_id"], f"shares its key with {rows[-1]['media_id']}", key) for row in rows[:-1]
            ]
    return sorted(proposals, key=lambda proposal: (proposal.reason, proposal.media_id))


def remove(table: Table, proposals: Iterable[Proposal]) -> int:
    """Delete the proposed records, unless they changed meanwhile; returns how many."""
    removed = 0
    for proposal in proposals:

        def drop(row: Item | None, key: str | None = proposal.s3_key) -> Item | None:
            same = row is not None and row.get("status") == COMPLETED and (row.get("s3_key") or None) == key
            return None if same else row

        removed += table.mutate(proposal.media_id, drop) is None
    return removed


@dataclass
class PageCount:
    """What one page of the library holds."""

    page: int
    items: int
    kept: int
    filtered_prefix: int
    filtered_no_name: int
    malformed: int


@dataclass
class Inventory:
    """The library page by page, and how the archive compares with it."""

    pages: list[PageCount] = field(default_factory=list)
    duplicates: dict[str, list[str]] = field(default_factory=dict)
    archived: int = 0
    missing: list[str] = field(default_factory=list)
    """Names of kept items that no object in the archive belongs to."""
    orphans: list[str] = field(default_factory=list)
    """Keys whose item is not in the library any more."""


def take_inventory(
    service: Provider,
    cookies: str,
    user_agent: str,
    bucket: Bucket,
    folder: str,
    prefixes: tuple[str, ...],
    per_page: int,
) -> Inventory:
    """Read the whole library and the whole archive. Raises what `Provider.list_page` raises."""
    inventory = Inventory()
    names: dict[str, str] = {}
    for page, items, malformed in _pages(service, cookies, user_agent, per_page):
        named = [item for item in items if item.filename]
        kept = [item for item in named if item.filename.startswith(prefixes)]
        inventory.pages.append(
            PageCount(
                page, len(items) + malformed, len(kept), len(named) - len(kept), len(items) - len(named), malformed
            )
        )
        names |= {item.media_id: item.filename for item in kept}
    holders: dict[str, list[str]] = defaultdict(list)
    for media_id, name in names.items():
        holders[name].append(media_id)
    inventory.duplicates = {name: sorted(ids) for name, ids in sorted(holders.items()) if len(ids) > 1}
    owners = Counter[str]()
    for summary in bucket.list(folder):
        inventory.archived += 1
        owner = bucket.head(summary.key).metadata.get(SOURCE_MEDIA_ID, "")
        owners[owner] += 1
        if owner not in names:
            inventory.orphans.append(summary.key)
    inventory.missing = sorted(f"{name} ({media_id})" for media_id, name in names.items() if not owners[media_id])
    return inventory


def _pages(service: Provider, cookies: str, user_agent: str, per_page: int) -> Iterator[tuple[int, list[Any], int]]:
    number, last = 1, 1
    while number <= last:
        page = service.list_page(cookies, user_agent, number, per_page)
        last = page.pagination.total_pages
        yield number, page.items, page.malformed
        number += 1
