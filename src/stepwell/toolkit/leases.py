"""Leases: at most one holder at a time, for a limited time, over a record.

A lease is a record in any `Table`, under the key the caller gives. It is never deleted, so that its fencing token only ever
grows. Conditions compare the number `expires_ms`, never texts of times.

    with leases.hold(table, "chroma-lines-update", ttl=960, heartbeat=60) as lease:
        for page in pages:
            lease.check()              # raises LeaseLost
            write(page, fence=lease.fence)

A lease protects nothing by itself when a process can be paused for longer than the ttl: what is written under it must carry the
fence or a conditional write (`Bucket.put(if_match=...)`).
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from stepwell.toolkit.errors import LeaseLost, LeaseUnavailable, StorageError
from stepwell.toolkit.logs import logger
from stepwell.toolkit.records import Item, Key, Table

log = logger(__name__)

Clock = Callable[[], float]
Derived = Callable[[str], Mapping[str, Any]]
"""Attributes that follow from the time of expiry, an ISO 8601 text in UTC with microseconds."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How long to wait for somebody else's lease: `tries` attempts, seconds between them growing by `factor`.

    From the third try on, waiting stops at once when the holder's last heartbeat is younger than `live_heartbeat` seconds: such
    a holder will not go away soon.
    """

    tries: int = 10
    first: float = 3.0
    factor: float = 1.5
    longest: float = 10.0
    total: float = 60.0
    live_heartbeat: float = 120.0


NO_WAITING = Waiting(tries=1)


class Lease:
    """A held lease. `fence` is larger than that of every earlier holder. Made by `acquire`."""

    def __init__(
        self, table: Table, key: Key, owner: str, fence: int, ttl: float, clock: Clock, derived: Derived | None = None
    ) -> None:
        self.key = key
        self.owner = owner
        self.fence = fence
        self.ttl = ttl
        self._table = table
        self._clock = clock
        self._derived = derived
        self._lost: str | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def ok(self) -> bool:
        """False once a renewal found the lease lost. Costs nothing; `validate` asks the table."""
        return self._lost is None

    def check(self) -> None:
        """Raise `LeaseLost` if a heartbeat found the lease lost. For the inside of long loops."""
        if self._lost is not None:
            raise LeaseLost(self._lost)

    def validate(self) -> None:
        """Raise `LeaseLost` unless the table says that the lease is held by this holder, now."""
        self.check()
        self._require(self._table.get(self.key))

    def renew(self) -> None:
        """Extend the lease by its ttl from now. Raises `LeaseLost` if it expired or belongs to somebody else."""
        self.check()

        def extend(item: Item | None) -> Item:
            self._require(item)
            assert item is not None
            return {**item, **_times(self._clock(), self.ttl, self._derived)}

        self._table.mutate(self.key, extend)

    def release(self) -> None:
        """Stop the heartbeat and give the lease back, if it is still this holder's. Never raises for a lost lease."""
        self.stop_heartbeat()

        def clear(item: Item | None) -> Item | None:
            if item is None or item.get("owner") != self.owner or item.get("fence") != self.fence:
                return item
            return {**item, "owner": "", "expires_ms": 0}

        if self._lost is None:
            self._lost = f"lease {self.key!r} was released"
            self._table.mutate(self.key, clear)

    def start_heartbeat(self, every: float, *, max_failures: int = 3) -> None:
        """Renew every `every` seconds in a daemon thread.

        A refused renewal loses the lease at once, `max_failures` consecutive errors of the table as well; then `ok` is False.
        """
        if self._thread is not None:
            raise RuntimeError("the heartbeat runs already")

        def beat() -> None:
            failures = 0
            while not self._stop.wait(every):
                try:
                    self.renew()
                    failures = 0
                except LeaseLost:
                    return
                except StorageError as error:
                    failures += 1
                    log.warning(
                        "lease heartbeat failed", key=str(self.key), failures=failures, error_message=str(error)
                    )
                    if failures >= max_failures:
                        self._lost = f"lease {self.key!r}: {failures} heartbeats failed, the last with: {error}"
                        return

        self._thread = threading.Thread(target=beat, name=f"lease {self.key}", daemon=True)
        self._thread.start()

    def stop_heartbeat(self) -> None:
        """Stop the heartbeat; returns within 2 s even when a renewal hangs."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(2.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.release()
        except StorageError as failure:
            # It expires by itself; the error of the block, if any, matters more.
            log.warning("lease not released", key=str(self.key), error_message=str(failure))

    def _require(self, item: Item | None) -> None:
        now = int(self._clock() * 1000)
        if item is None or item.get("owner") != self.owner or item.get("fence") != self.fence:
            holder = (item or {}).get("owner") or "nobody"
            self._lost = f"lease {self.key!r} was taken over: holder {holder}, fence {(item or {}).get('fence')}"
        elif item["expires_ms"] <= now:
            self._lost = f"lease {self.key!r} expired {now - item['expires_ms']} ms ago"
        self.check()


def acquire(
    table: Table,
    key: Key,
    *,
    ttl: float,
    owner: str | None = None,
    waiting: Waiting = NO_WAITING,
    attributes: Mapping[str, Any] | None = None,
    derived: Derived | None = None,
    clock: Clock = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Lease:
    """Take the lease under `key`, if it is free or its holder's time (`ttl` seconds) is over.

    `owner` defaults to a new UUID: two holders never share one. `attributes` are stored with it (run id, index keys), and
    so is what `derived` makes of the time of expiry, whenever that changes (an index by expiry). Raises `LeaseUnavailable` naming
    the holder.
    """
    owner = owner or str(uuid.uuid4())

    def take(item: Item | None) -> Item:
        now = clock()
        if item is not None and item.get("owner") and item.get("expires_ms", 0) >= now * 1000:
            raise _Held(item)
        fence = int((item or {}).get("fence", 0)) + 1
        return {**(item or {}), **(attributes or {}), "owner": owner, "fence": fence, **_times(now, ttl, derived)}

    waited, pause, attempt = 0.0, waiting.first, 1
    while True:
        try:
            stored = table.mutate(key, take)
            assert stored is not None
            return Lease(table, key, owner, int(stored["fence"]), ttl, clock, derived)
        except _Held as held:
            age = clock() - held.item.get("heartbeat_ms", 0) / 1000
            live = attempt >= 3 and age < waiting.live_heartbeat
            if attempt >= waiting.tries or live or waited + pause > waiting.total:
                raise LeaseUnavailable(
                    f"lease {key!r} is held by {held.item['owner']} (last heartbeat {age:.0f} s ago, "
                    f"{attempt} tries, waited {waited:.0f} s)"
                ) from None
        sleep(pause)
        waited += pause
        pause = min(pause * waiting.factor, waiting.longest)
        attempt += 1


@contextlib.contextmanager
def hold(
    table: Table,
    key: Key,
    *,
    ttl: float,
    heartbeat: float | None = None,
    max_failures: int = 3,
    waiting: Waiting = NO_WAITING,
    attributes: Mapping[str, Any] | None = None,
    derived: Derived | None = None,
) -> Iterator[Lease]:
    """`acquire`, with a heartbeat every `heartbeat` seconds (default: a quarter of the ttl), released at the end."""
    with acquire(table, key, ttl=ttl, waiting=waiting, attributes=attributes, derived=derived) as lease:
        lease.start_heartbeat(ttl / 4 if heartbeat is None else heartbeat, max_failures=max_failures)
        yield lease


class _Held(Exception):
    def __init__(self, item: Item) -> None:
        self.item = item


def _times(now: float, ttl: float, derived: Derived | None) -> dict[str, Any]:
    def iso(seconds: float) -> str:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")

    expires = iso(now + ttl)
    return {
        **({} if derived is None else derived(expires)),
        "expires_ms": int((now + ttl) * 1000),
        "expires": expires,
        "heartbeat_ms": int(now * 1000),
        "heartbeat": iso(now),
    }
