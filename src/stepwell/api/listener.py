"""The address of a server, before there is one: a listening socket, and what functions are told of it.

Whoever opens an engine needs it first, because executions that are recovered call functions at once. Light to import.
"""

from __future__ import annotations

import socket

__all__ = ["OBJECTS", "ServerError", "addresses", "function_environment", "listen", "url_of"]

OBJECTS = "/objects"
"""Below it are the presigned URLs of local buckets."""
BACKLOG = 1_024


class ServerError(Exception):
    """The server cannot start; the message says why and what to do."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; who connects waits until a server takes it. Raises ServerError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ServerError(
            f"Cannot listen on {host}:{port}: {error.strerror or error}. Is another server running? Choose another --port."
        ) from error
    return listener


def url_of(host: str, port: int) -> str:
    """``http://127.0.0.1:8083``"""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def addresses(url: str) -> dict[str, str]:
    """The variables of functions: where task tokens are answered, and what presigned URLs begin with."""
    return {"STEPWELL_API_URL": url, "STEPWELL_OBJECTS_URL": url + OBJECTS}


def function_environment(listener: socket.socket) -> dict[str, str]:
    """For `Engine.open`: the variables by which functions find the server on this socket."""
    host, port = listener.getsockname()[:2]
    return addresses(url_of(host, port))
