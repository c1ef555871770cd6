"""Who may talk to a server that asks for no credentials: programs of this machine, not web pages.

A page in a browser can reach 127.0.0.1 in two ways: by a request of its own origin's script (CSRF; the browser says so in Origin or
Sec-Fetch-Site), or by a name it controls that suddenly resolves to 127.0.0.1 (DNS rebinding; the name stands in Host).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache


class Guard:
    """Judges the Host, Origin and Sec-Fetch-Site headers. `hosts` are names allowed besides `localhost` and IP addresses."""

    def __init__(self, hosts: Iterable[str] = ()) -> None:
        self._hosts = frozenset(host.lower() for host in hosts)
        self._known = lru_cache(maxsize=256)(self._host_allowed)

    def refusal(self, host: bytes, origin: bytes | None, fetch_site: bytes | None) -> str | None:
        """Why the request is refused, or None."""
        if not self._known(host):
            return f"The host name {_shown(host)} is not this server's. Use 127.0.0.1 or localhost, or start it with --allow-host."
        if fetch_site is not None and fetch_site not in (b"same-origin", b"none"):
            return "Requests of web pages of other origins are refused."
        if origin is not None and not _same_origin(origin, host):
            return f"Requests of web pages of other origins are refused (Origin: {_shown(origin)})."
        return None

    def _host_allowed(self, host: bytes) -> bool:
        name = _hostname(host)
        # SDKs put "sync-" before the host for StartSyncExecution and TestState.
        for candidate in (name, name.removeprefix("sync-")):
            if candidate == "localhost" or candidate.endswith(".localhost") or candidate in self._hosts:
                return True
            try:
                ipaddress.ip_address(candidate)
                return True
            except ValueError:
                continue
        return False


def _hostname(host: bytes) -> str:
    text = host.decode("latin-1").strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if ":" in text else text


def _same_origin(origin: bytes, host: bytes) -> bool:
    _, separator, authority = origin.partition(b"://")
    return bool(separator) and authority.lower() == host.strip().lower()


def _shown(value: bytes) -> str:
    return repr(value[:100].decode("latin-1"))
